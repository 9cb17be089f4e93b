//! Things that were there before infra, and others that somebody made since: they outlive the declaration.

use super::Ground;

crate::tests! {
    ; on one release: what_others_made_outlives_the_declaration = 30
}

fn what_others_made_outlives_the_declaration(os: &str) {
    let ground = Ground::new(os);
    units_of_before_come_back(&ground);
    a_mask_of_before_comes_back(&ground);
    a_unit_that_cannot_be_loaded_goes(&ground);
    a_mount_loses_what_nobody_asks_for(&ground);
    commits_of_others_stay(&ground);
    a_locale_goes_alone(&ground);
    a_put_back_file_keeps_its_list(&ground);
    a_correction_mends_a_service(&ground);
}

/// A drop-in and two units by hand, which run; the second is not said to run or to be enabled.
const UNITS: &str = "cd /etc/systemd/system; mkdir one.service.d; \
    printf '[Service]\\nLimitNOFILE=9\\n' > one.service.d/limits.conf; \
    for unit in one two; do printf '[Service]\\nExecStart=/bin/sleep inf\\n[Install]\\nWantedBy=multi-user.target\\n' \
    > $unit.service; done; systemctl enable -q --now one two; sha256sum *.service */limits.conf > /root/sums";

fn units_of_before_come_back(ground: &Ground) {
    let server = &ground.server;
    server.run(UNITS);
    ground.hold(
        "  - systemd_unit: { name: one.service, service: { ExecStart: /bin/sleep 1000 }, \
           install: { WantedBy: multi-user.target }, running: true, enabled: true }\n\
         \x20 - systemd_unit: { name: two.service, service: { ExecStart: /bin/sleep 1000 }, \
           install: { WantedBy: multi-user.target } }\n\
         \x20 - systemd_unit: { name: one.service, dropin: limits, service: { LimitNOFILE: 4096 } }\n",
    );
    ground.declare("");
    let plan = server.plan(&[]);
    assert_eq!(plan.matches("back as it was before infra").count(), 3, "{plan}");
    assert!(!plan.contains("remove"), "{plan}");
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    server.run(
        "cd /etc/systemd/system && sha256sum --check --quiet /root/sums && \
         systemctl is-active one two && systemctl is-enabled one two && \
         test \"$(systemctl show -P NeedDaemonReload one two | sort -u | tr -d '\\n')\" = no && \
         pgrep -f 'sleep inf'",
    );
}

/// An empty file masks a unit as a link to `/dev/null` does.
fn a_mask_of_before_comes_back(ground: &Ground) {
    let server = &ground.server;
    server.run(": > /etc/systemd/system/void.service; systemctl daemon-reload");
    ground.hold(
        "  - systemd_unit: { name: void.service, service: { ExecStart: /bin/sleep 3000 }, running: true }\n",
    );
    ground.hold("");
    server.run("cd /etc/systemd/system && test -e void.service -a ! -s void.service && ! pgrep -ax sleep | grep 3000");
}

fn a_unit_that_cannot_be_loaded_goes(ground: &Ground) {
    let server = &ground.server;
    let said = ground.refused(
        "  - systemd_unit: { name: ssh.service, dropin: more, service: { ExecStart: /bin/true } }\n",
    );
    assert!(said.contains("more than one ExecStart="), "{said}");
    for (unit, refusal) in [
        (
            "name: w.service, service: { ExecStart: /bin/true, WorkingDirectory: /srv/w }",
            "`/srv/w` is not on the",
        ),
        ("name: w.service, service: { ExecStart: sleep-x 9 }", "`sleep-x` is not on the server"),
        (
            "name: w.service, unit: { Requires: x.service }, service: { ExecStart: /bin/true }",
            "`x.service` is not a unit",
        ),
        (
            "name: w.service, service: { ExecStart: /bin/true, LogsDirectory: w, \
           StandardOutput: 'append:/var/log/w/log' }",
            "`/var/log/w` is not on the server",
        ),
        ("name: w.timer, timer: { OnCalendar: daily }", "`w.service` is not a unit"),
    ] {
        let said = ground.refused(&format!("  - systemd_unit: {{ {unit}, running: true }}\n"));
        assert!(said.contains(refusal), "{said}");
    }
    ground.hold(
        "  - systemd_unit: { name: w.service, service: { ExecStart: sleep 3600, StateDirectory: w, \
           WorkingDirectory: /var/lib/w, StandardOutput: 'append:/var/lib/w.log' }, running: true }\n\
         \x20 - systemd_unit: { name: v.timer, unit: { Requires: '-.mount w.service' }, \
           timer: { OnCalendar: daily, Unit: w.service }, running: true }\n",
    );
    // systemd has this unit without a file.
    let slice = |key: &str| {
        format!(
            "  - systemd_unit: {{ name: system.slice, dropin: more, slice: {{ {key}: 90% }} }}\n"
        )
    };
    let said = ground.refused(&slice("MemoryHih"));
    assert!(said.contains("would pass over parts of `system.slice`"), "{said}");
    ground.hold(&slice("MemoryHigh"));
    ground.declare(
        "  - systemd_unit: { name: bad.service, service: { ExecStart: relative/path }, running: true }\n",
    );
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    ground.declare("");
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    server.run("test ! -e /etc/systemd/system/bad.service");
}

fn a_mount_loses_what_nobody_asks_for(ground: &Ground) {
    let server = &ground.server;
    server.run(
        "mkdir /srv/data /mnt/data; echo '/srv/data /mnt/data none bind,ro 0 0' >> /etc/fstab; \
         mount -o bind /srv/data /mnt/data; mount -o remount,bind,ro /mnt/data",
    );
    let mount = "  - mount: { path: /mnt/data, device: /srv/data, fstype: none, options: bind }\n";
    ground.hold(mount);
    server.run("touch /mnt/data/written");
}

fn commits_of_others_stay(ground: &Ground) {
    let server = &ground.server;
    let git = "  - package: git\n";
    ground.declare(git);
    server.install(&[]);
    server.run(
        "git config --global user.email x@example.org; git config --global user.name x; \
         git init -q -b main /srv/up; cd /srv/up; echo 1 > f; git add f; git commit -qm 1",
    );
    let clone = "  - git: { path: /srv/app, repository: /srv/up, ref: main }\n";
    ground.hold(&format!("{git}{clone}"));
    server.run(
        "cd /srv/app; echo fix > fix; git add fix; git commit -qm fix; \
         mkdir /srv/plain; echo precious > /srv/plain/x",
    );
    let absent = "  - git: { path: /srv/app, repository: /srv/up, ref: main, state: absent }\n";
    let plain = "  - git: { path: /srv/plain, repository: /srv/up, ref: main, state: absent }\n";
    for (resource, refusal) in [
        (clone, "`/srv/app` has commits of its own"),
        (absent, "`/srv/app` has commits of its own"),
        (plain, "`/srv/plain` is not a work tree of git"),
    ] {
        let said = ground.refused(&format!("{git}{resource}"));
        assert!(said.contains(refusal), "{said}");
        let (code, said) = server.apply(&[]);
        assert_eq!(code, 3, "{said}");
    }
    server.run("test $(cat /srv/app/fix) = fix && test $(cat /srv/plain/x) = precious");
    // On a branch, the commit is safe.
    server.run("git -C /srv/app branch kept");
    ground.hold(&format!("{git}{clone}"));
    server.run("test ! -e /srv/app/fix && git -C /srv/app show kept:fix");
}

fn a_locale_goes_alone(ground: &Ground) {
    let server = &ground.server;
    let locales = "  - package: locales\n";
    ground.declare(&format!("{locales}  - locale: fr_FR.UTF-8\n"));
    server.install(&[]);
    server.run("localedef -i es_ES -f UTF-8 es_ES.UTF-8");
    ground.hold(&format!("{locales}  - locale: {{ name: fr_FR.UTF-8, state: absent }}\n"));
    server.run("locale -a | grep es_ES && ! locale -a | grep fr_FR");
    let plan = ground.hold(locales);
    assert!(!plan.contains("locale"), "nothing is left to tell of: {plan}");
}

fn a_put_back_file_keeps_its_list(ground: &Ground) {
    let server = &ground.server;
    let packages = "  - package: acl\n  - package: cron\n";
    ground.declare(packages);
    server.install(&[]);
    server.run(
        "mkdir /srv/jobs; echo good > /srv/jobs/a; setfacl -m u:daemon:r /srv/jobs/a; \
                getfacl -p /srv/jobs/a > /root/list",
    );
    ground.declare(&format!(
        "{packages}  - file: {{ path: /srv/jobs/a, content: bad }}\n    restart: cron\n\
         \x20 - service: {{ name: cron, validate: grep -q good /srv/jobs/a }}\n"
    ));
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("put back"), "{said}");
    server.run("grep -qx good /srv/jobs/a && getfacl -p /srv/jobs/a | diff - /root/list");
}

/// The service has read nothing of the bad line when it reloads, and does not start with it any more.
fn a_correction_mends_a_service(ground: &Ground) {
    let server = &ground.server;
    let settings = |content: &str| {
        let file = format!("  - file: {{ path: /etc/demo.conf, content: {content} }}\n");
        ground.add_role("settings", &format!("{file}    reload: demo.service\n"));
    };
    ground.declare(
        "  - systemd_unit:\n      name: demo.service\n      running: true\n      service:\n        \
         ExecStartPre: /bin/sh -c '! grep -q bad /etc/demo.conf'\n        ExecStart: /bin/sleep inf\n        \
         ExecReload: /bin/true\n",
    );
    for content in ["good", "bad"] {
        settings(content);
        server.converge(&[]);
    }
    server.run("! systemctl restart demo");
    settings("good");
    server.converge(&[]);
    server.run("systemctl is-active demo && grep -qx good /etc/demo.conf");
    server.has_nothing_to_do(&[]);
}
