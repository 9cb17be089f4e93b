//! Services and keys of before infra: each is as it was once nobody declares it any more.

use super::Ground;

crate::tests! {
    ; on one release: services_of_before_are_as_they_were = 30,
}

/// A service that runs and is not enabled, one that is enabled and stopped, one that is masked, and one that a
/// package would have brought.
const UNITS: &str = "for unit in runs starts masked; do \
    printf '[Service]\\nExecStart=/bin/sleep inf\\n[Install]\\nWantedBy=multi-user.target\\n' \
    > /usr/lib/systemd/system/$unit.service; done; cp /usr/lib/systemd/system/{runs,packaged}.service; \
    systemctl daemon-reload; systemctl start runs packaged; systemctl enable -q starts packaged; \
    systemctl mask -q masked";

fn services_of_before_are_as_they_were(os: &str) {
    let ground = Ground::new(os);
    let server = &ground.server;
    server.run(UNITS);
    let states = "for unit in runs starts masked packaged; do echo $(systemctl is-active $unit) \
                  $(systemctl is-enabled $unit); done";
    let before = server.shell(states);
    assert_eq!(before, "active disabled\ninactive enabled\ninactive masked\nactive enabled");
    ground.hold(
        "  - service: runs\n  - service: starts\n  - service: masked\n\
         \x20 - systemd_unit: { name: packaged.service, service: { ExecStart: /bin/sleep 1000 }, \
           install: { WantedBy: multi-user.target }, running: true, enabled: true }\n",
    );
    assert_eq!(server.shell(states), ["active enabled"; 4].join("\n"));
    server.run("pgrep -f 'sleep 1000'");
    let plan = ground.hold("");
    assert!(plan.contains("- systemd_unit:packaged.service"), "{plan}");
    assert_eq!(server.shell(states), before);
    server.run("! pgrep -ax sleep | grep 1000 && test -e /etc/systemd/system/multi-user.target.wants/packaged.service");
    an_exclusive_key_goes(&ground);
    the_words_are_those_of_this_start(&ground);
    the_right_is_remembered(&ground);
    a_service_that_starts_itself_is_put_back(&ground);
    rules_are_loaded_at_boot_as_before(&ground);
    another_name_of_a_service_is_as_before(&ground);
    a_restart_in_place_of_a_reload_is_told(&ground);
}

/// One service cannot reload, another one is stopped.
fn a_restart_in_place_of_a_reload_is_told(ground: &Ground) {
    let resources = |text: &str| {
        format!(
            "  - file: {{ path: /etc/told, content: {text} }}\n    reload: [runs, starts]\n\
             \x20 - service: {{ name: runs, enabled: null }}\n\
             \x20 - service: {{ name: starts, running: null, enabled: null }}\n"
        )
    };
    ground.hold(&resources("one"));
    ground.declare(&resources("two"));
    let plan = ground.server.plan(&[]);
    assert_eq!(plan.matches("~ service:runs  restart\n").count(), 1, "{plan}");
    assert!(!plan.contains("service:starts"), "{plan}");
    let (code, said) = ground.server.apply(&[]);
    assert_eq!((code, said.contains("service:runs  restarted")), (0, true), "{said}");
    assert!(!said.contains("service:starts"), "{said}");
    ground.server.has_nothing_to_do(&[]);
    assert_eq!(ground.server.shell("systemctl is-active starts"), "inactive");
    ground.hold("");
}

/// A service that was enabled before goes on under an alias of it, and is enabled when that is dropped.
fn another_name_of_a_service_is_as_before(ground: &Ground) {
    let server = &ground.server;
    server.run(
        "printf '[Service]\\nExecStart=/bin/sleep inf\\n[Install]\\nWantedBy=multi-user.target\\nAlias=theirs.service\\n' \
         > /etc/systemd/system/ours.service; systemctl daemon-reload; systemctl enable -q ours",
    );
    ground.hold("  - service: ours\n");
    ground.hold("  - service: theirs\n");
    ground.hold("");
    assert_eq!(
        server.shell("systemctl is-active ours; systemctl is-enabled ours"),
        "inactive\nenabled"
    );
}

/// A change by hand is told from one of the inventory also where infra found everything right.
fn the_right_is_remembered(ground: &Ground) {
    let server = &ground.server;
    server.run("printf same > /etc/right.conf");
    ground.declare("  - file: { path: /etc/right.conf, content: same }\n");
    server.converge(&[]);
    server.run("printf other > /etc/right.conf");
    let plan = server.plan(&[]);
    assert!(plan.contains("drift: changed on the server since the last apply"), "{plan}");
}

/// systemd counts its own starts with the bad file: that is nothing against the good one.
fn a_service_that_starts_itself_is_put_back(ground: &Ground) {
    let server = &ground.server;
    let resources = |content: &str| {
        format!(
            "  - file: {{ path: /etc/again.conf, content: {content} }}\n    restart: again\n\
             \x20 - systemd_unit:\n      name: again.service\n      running: true\n      service:\n        \
             ExecStartPre: /bin/grep -q good /etc/again.conf\n        \
             ExecStart: /bin/sleep inf\n        Restart: on-failure\n"
        )
    };
    ground.hold(&resources("good"));
    ground.declare(&resources("bad"));
    for _ in 0..3 {
        let (code, said) = server.apply(&[]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("put back as it was"), "{said}");
        server.run("grep -q good /etc/again.conf && systemctl is-active again");
    }
}

/// The service that loads rules at boot is as before, once they are gone.
fn rules_are_loaded_at_boot_as_before(ground: &Ground) {
    let server = &ground.server;
    let package = "  - package: nftables\n";
    ground.declare(package);
    server.install(&[]);
    let is_enabled = "systemctl is-enabled nftables";
    assert_eq!(server.shell(is_enabled), "disabled");
    ground.hold(&format!("{package}  - firewall: {{}}\n"));
    assert_eq!(server.shell(is_enabled), "enabled");
    ground.hold(package);
    assert_eq!(server.shell(is_enabled), "disabled");
    // The rules go before the program that takes them away.
    ground.hold(&format!("{package}  - firewall: {{}}\n"));
    ground.hold("  - package: { name: nftables, state: absent }\n");
}

fn an_exclusive_key_goes(ground: &Ground) {
    let server = &ground.server;
    server.run(
        "useradd -m ada; install -d -m 700 -o ada -g ada ~ada/.ssh; \
         echo 'ssh-ed25519 AAAAx old' > ~ada/.ssh/authorized_keys; chown ada: ~ada/.ssh/authorized_keys",
    );
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIJ9yMWaCi4sm0hMhjr5sZCuKIZF4LwHpf5A8vAgxqFvv";
    ground.hold(&format!(
        "  - authorized_key: {{ user: ada, key: ssh-ed25519 {key} new, exclusive: true }}\n"
    ));
    ground.hold("");
    server.run("! grep AAAA ~ada/.ssh/authorized_keys");
}

/// A service that does not start is told with its last words, and with none of an earlier start.
fn the_words_are_those_of_this_start(ground: &Ground) {
    let server = &ground.server;
    let script = |lines: &str| {
        server.run(&format!("printf '#!/bin/sh\\n{lines}\\n' > /srv/noisy; chmod 755 /srv/noisy"));
    };
    let unit = |name: &str| {
        format!(
            "  - systemd_unit: {{ name: noisy.service, unit: {{ Description: {name} }}, \
             service: {{ ExecStart: /srv/noisy }}, running: true }}\n"
        )
    };
    script("echo earlier words; exec sleep inf");
    ground.hold(&unit("one"));
    script("echo last words; sleep 0.1; exit 1");
    ground.declare(&unit("two"));
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("last words") && !said.contains("earlier words"), "{said}");
}
