//! Units that somebody else has set up, and services that die after their reload.

use std::fs;

use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    ; on each release:
    a_unit_is_linked_where_its_file_says_now = 15,
    a_script_starts_at_boot_or_not = 15,
    ; on one release:
    a_unit_is_one_thing_under_all_its_names = 15,
    a_worker_becomes_a_job_of_a_timer_and_a_worker_again = 15,
    a_service_that_dies_after_its_reload_is_put_back = 20,
}

/// The names below `/etc/systemd/system` that lead to the unit.
const LINKS: &str = "cd /etc/systemd/system; find . -lname '*/app.service' | sort | tr '\\n' ' '";

/// A bare server, and its project with one role.
fn messy(os: &str) -> (LabServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/t"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: messy.example.org }\nroles: { t: {} }\n";
    fs::write(folder.path().join("inventory/messy.yaml"), inventory).unwrap();
    declare(&folder, "[]");
    let server = LabServer::bare("messy", os, folder.path());
    (server, folder)
}

/// Declares these resources, and no others.
fn declare(project: &TempDir, resources: &str) {
    let role = format!("description: units\nresources: {resources}\n");
    fs::write(project.path().join("roles/t/role.yaml"), role).unwrap();
}

/// Declares these resources and applies them: the plan holds each of `shown`, and nothing is left.
fn apply(server: &LabServer, project: &TempDir, resources: &str, shown: &[&str]) {
    declare(project, resources);
    let plan = server.plan(&[]);
    for line in shown {
        assert!(plan.contains(line), "no `{line}`: {plan}");
    }
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
}

/// The section `[Install]` of an enabled unit changes, somebody moves a link, and a drop-in of
/// somebody else says where the unit is linked.
fn a_unit_is_linked_where_its_file_says_now(os: &str) {
    let (server, project) = messy(os);
    let unit = |install: &str| {
        format!(
            "[{{ systemd_unit: {{ name: app.service, service: {{ ExecStart: /bin/sleep infinity }}, \
             install: {{ {install} }}, running: true, enabled: true }} }}]"
        )
    };
    apply(&server, &project, &unit("WantedBy: multi-user.target"), &[]);
    assert_eq!(server.run(LINKS), "./multi-user.target.wants/app.service");
    let moved = unit("WantedBy: timers.target, Alias: other.service");
    apply(&server, &project, &moved, &["enabled: as its file says now → yes"]);
    assert_eq!(server.run(LINKS), "./other.service ./timers.target.wants/app.service");

    server.run(
        "cd /etc/systemd/system && mkdir a.target.wants && \
         mv timers.target.wants/app.service a.target.wants",
    );
    let wrong = "enabled: yes, without timers.target.wants, with a.target.wants → yes";
    apply(&server, &project, &moved, &[wrong, "drift"]);
    assert_eq!(server.run(LINKS), "./other.service ./timers.target.wants/app.service");

    server.run(
        "cd /etc/systemd/system && mkdir app.service.d && \
         printf '[Install]\\nWantedBy=\\nWantedBy=basic.target\\n' >app.service.d/own.conf",
    );
    let wrong = "enabled: yes, without basic.target.wants, with timers.target.wants → yes";
    apply(&server, &project, &moved, &[wrong]);
    assert_eq!(server.run(LINKS), "./basic.target.wants/app.service ./other.service");
    apply(&server, &project, "[]", &[]);
    assert_eq!(server.run(LINKS), "");
}

/// The process of the worker does not run on beside the jobs, and the status of a server tells of a job that fails.
fn a_worker_becomes_a_job_of_a_timer_and_a_worker_again(os: &str) {
    const STATE: &str = "echo $(systemctl is-active app) $(systemctl is-enabled app)";
    let (server, project) = messy(os);
    let worker = "[{ systemd_unit: { name: app.service, service: { ExecStart: /bin/sleep infinity, \
                  Restart: always }, install: { WantedBy: multi-user.target }, running: true, enabled: true } }]";
    let job = |program: &str| {
        format!(
            "[{{ systemd_unit: {{ name: app.service, service: {{ Type: oneshot, ExecStart: {program} }} }} }}, \
             {{ systemd_unit: {{ name: app.timer, timer: {{ OnCalendar: yearly }}, \
             install: {{ WantedBy: timers.target }}, running: true, enabled: true }} }}]"
        )
    };
    apply(&server, &project, worker, &[]);
    assert_eq!(server.run(STATE), "active enabled");
    apply(&server, &project, &job("/bin/true"), &["running: yes → no", "enabled: yes → no"]);
    assert_eq!(server.run(STATE), "inactive static");
    assert_eq!(server.run(LINKS), "");
    apply(&server, &project, worker, &["enabled: as its file says now → yes"]);
    assert_eq!(server.run(STATE), "active enabled");

    apply(&server, &project, &job("/bin/false"), &[]);
    let status = || {
        let output = server.infra(&["status", "messy", "--lab"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = status();
    assert_eq!(code, Some(0), "{said}");
    server.run("! systemctl start app");
    let (code, said) = status();
    let is_told =
        said.contains("messy   failed") && said.contains("messy: `app.service` failed at ");
    assert_eq!((code, is_told), (Some(3), true), "{said}");
}

/// systemd makes a unit from a script in `/etc/init.d`, which knows nothing of `[Install]`.
fn a_script_starts_at_boot_or_not(os: &str) {
    const STARTS: &str = "find /etc/rc2.d -name 'S??old'";
    let (server, project) = messy(os);
    server.run(
        "printf '#!/bin/sh\\n### BEGIN INIT INFO\\n# Provides: old\\n# Required-Start: $local_fs\\n\
         # Required-Stop:\\n# Default-Start: 2 3 4 5\\n# Default-Stop: 0 1 6\\n### END INIT INFO\\n\
         exit 0\\n' >/etc/init.d/old && chmod 755 /etc/init.d/old && update-rc.d old defaults && \
         systemctl daemon-reload && systemctl start old",
    );
    assert_ne!(server.run(STARTS), "");
    let off = "[{ service: { name: old, running: false, enabled: false } }]";
    apply(&server, &project, off, &["running: yes → no", "enabled: yes → no"]);
    assert_eq!(server.run(STARTS), "");
    apply(&server, &project, "[{ service: old }]", &["enabled: no → yes"]);
    assert_ne!(server.run(STARTS), "");
    server.run("systemctl stop old && systemctl mask old && update-rc.d old disable");
    apply(&server, &project, "[{ service: old }]", &["enabled: masked → yes"]);
    assert_ne!(server.run(STARTS), "");
}

/// An alias is the unit behind it, also while the alias is not there, and only once; a mask is
/// shown; what ends by itself cannot be kept running.
fn a_unit_is_one_thing_under_all_its_names(os: &str) {
    const STATE: &str = "echo $(systemctl is-active app) $(systemctl is-enabled app)";
    let (server, project) = messy(os);
    server.run(
        "mkdir -p /usr/local/lib/systemd/system && cd /usr/local/lib/systemd/system && \
         printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n\
         Alias=name.service\\n' >app.service && \
         printf '[Service]\\nType=oneshot\\nExecStart=/bin/true\\n' >job.service && \
         systemctl daemon-reload",
    );
    apply(&server, &project, "[{ service: name }]", &["enabled: no → yes"]);
    assert_eq!(server.run(STATE), "active enabled");

    declare(&project, "[{ service: name }, { service: app }]");
    let (code, said) = server.apply(&[]);
    let twice = "`name.service` is another name of `app.service`, which `service:app` holds";
    assert!(code == 3 && said.contains(twice), "{code}: {said}");

    // The record under the alias goes on under the unit's own name.
    let own = "[{ service: app }, { file: { path: /etc/x, content: x } }]";
    apply(&server, &project, own, &[]);
    assert_eq!(server.run(STATE), "active enabled");

    let off = "[{ service: { name: name, running: false, enabled: false } }]";
    apply(&server, &project, off, &["running: yes → no", "enabled: yes → no"]);
    assert_eq!(server.run(STATE), "inactive disabled");

    server.run("systemctl mask --runtime app");
    apply(&server, &project, "[{ service: app }]", &["running: masked → yes"]);
    assert_eq!(server.run(STATE), "active enabled");

    declare(&project, "[{ service: job }]");
    let (code, said) = server.apply(&[]);
    assert!(code == 3 && said.contains("`job.service` cannot be kept running: "), "{code}: {said}");
}

/// The reload succeeds, and the daemon ends a moment later: its file is put back, the daemon runs
/// with it, and its words are shown without their control characters.
fn a_service_that_dies_after_its_reload_is_put_back(os: &str) {
    const DAEMON: &str = r#"#!/usr/bin/perl
if (my $child = fork) { open F, ">/run/app.pid"; print F $child; close F; exit 0 }
$SIG{HUP} = sub { if (-s "/etc/app.conf" > 3) {
    select undef, undef, undef, 0.5; print STDERR "app: \e[31mno such folder\n"; exit 1 } };
sleep 1 while 1;
"#;
    let (server, project) = messy(os);
    let role = |content: &str| {
        let daemon = DAEMON.replace('\n', "\n          ");
        format!(
            "
  - file:
      path: /usr/local/bin/app
      mode: '0755'
      content: |
          {daemon}
  - systemd_unit:
      name: app.service
      service:
        Type: forking
        PIDFile: /run/app.pid
        ExecStart: /usr/local/bin/app
        ExecReload: /bin/kill -HUP $MAINPID
      running: true
  - {{ file: {{ path: /etc/app.conf, content: {content} }}, reload: app }}
  - {{ file: {{ path: /etc/later, content: {content} }} }}
"
        )
    };
    apply(&server, &project, &role("a"), &[]);
    declare(&project, &role("worse"));
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    for words in [
        "`app.service` ended after its reload",
        "app: \\u{1b}[31mno such folder",
        "file:/etc/app.conf  put back as it was",
        "systemd_unit:app.service  restarted",
    ] {
        assert!(said.contains(words), "no `{words}`: {said}");
    }
    assert_eq!(server.run("cat /etc/app.conf; systemctl is-active app"), "aactive");
    let plan = server.plan(&[]);
    assert!(plan.contains("~ file:/etc/app.conf") && !plan.contains("drift"), "{plan}");
}
