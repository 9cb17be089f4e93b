//! Accounts that packages have made, and that somebody locked or let expire.

use super::Ground;

crate::tests! {
    ; on one release:
    a_lock_by_hand_is_kept_or_shown = 10,
    accounts_of_packages_have_their_own_names = 10,
    an_account_that_is_used_stays = 20,
}

const HASH: &str = "$6$abcdefgh$Zk5j0nQ4zH3v6mPp1qv8mB1oUq3l0sX9s7mYb7sS9F1m2y3z4A5b6C7d8E9f0G1h2I3j4K5l6M7n8O9p0Q1r2/";

fn contractor(more: &str) -> String {
    format!("  - user: {{ name: contractor, password_hash: '{HASH}'{more} }}\n")
}

fn a_lock_by_hand_is_kept_or_shown(os: &str) {
    let ground = Ground::new(os);
    let shadow =
        |field: u8| ground.server.shell(&format!("getent shadow contractor | cut -d: -f{field}"));
    let locked = format!("!{HASH}");
    ground.hold(&contractor(""));
    ground.server.run("usermod -L contractor; chage -E 0 contractor");
    ground.server.has_nothing_to_do(&[]);
    ground.hold(&contractor(", comment: left"));
    assert_eq!((shadow(2), shadow(8)), (locked.clone(), "0".to_owned()), "both stay");
    let plan = ground.hold(&contractor(", locked: false, expires: never"));
    assert!(plan.contains("locked: yes → no"), "{plan}");
    assert!(plan.contains("expires: 1970-01-01 → never"), "{plan}");
    assert_eq!((shadow(2), shadow(8)), (HASH.to_owned(), String::new()));
    ground.hold(&contractor(", locked: true, expires: 2026-12-31"));
    assert_eq!((shadow(2), shadow(8)), (locked, "20818".to_owned()));
    ground.server.run("passwd -u contractor");
    let plan = ground.server.plan(&[]);
    assert!(plan.contains("locked: no → yes"), "{plan}");
}

/// As `exim4-config` makes its account.
fn accounts_of_packages_have_their_own_names(os: &str) {
    let ground = Ground::new(os);
    let exim = "  - group: ssl-cert\n  - user: { name: Debian-exim, groups: [ssl-cert] }\n";
    let said = ground.refused(exim);
    let refusal = "`Debian-exim` is not a name that Debian accepts for a new account";
    assert!(said.contains(refusal), "{said}");
    ground.server.run("useradd --system --badname Debian-exim; useradd clamav");
    let rest = "  - user: { name: clamav, groups: [Debian-exim] }\n  \
                - file: { path: /etc/passwd.client, content: x, owner: '0', group: Debian-exim }\n";
    ground.hold(&format!("{exim}{rest}"));
    assert_eq!(ground.server.shell("id -Gn Debian-exim"), "Debian-exim ssl-cert");
    assert_eq!(ground.server.shell("id -Gn clamav"), "clamav Debian-exim");
    assert_eq!(ground.server.shell("stat -c %U:%G /etc/passwd.client"), "root:Debian-exim");
    ground.hold("");
    ground.server.run("id Debian-exim && id clamav");
    an_account_goes_when_nobody_names_it(&ground);
}

/// An account that goes makes way for a new one with the number of the old one.
fn an_account_goes_when_nobody_names_it(ground: &Ground) {
    let ann = "  - user: { name: ann, uid: 2000 }\n";
    let unit = "  - systemd_unit: { name: jobs.service, running: true, \
                service: { User: ann, ExecStart: /bin/sleep 1d } }\n";
    ground.hold(&format!("{ann}{unit}"));
    let said = ground.refused(unit);
    assert!(
        said.contains("`systemd_unit:jobs.service` names `user:ann`, which is to go"),
        "{said}"
    );
    let group = "  - file: { path: /srv/ann, content: x, group: ann }\n";
    let said = ground.refused(group);
    assert!(
        said.contains("`file:/srv/ann` names `group:ann`, which goes with `user:ann`"),
        "{said}"
    );
    ground.hold("  - user: { name: bob, uid: 2000 }\n");
    assert_eq!(ground.server.shell("id -nu 2000; id -ng 2000"), "bob\nbob");
}

fn an_account_that_is_used_stays(os: &str) {
    let ground = Ground::new(os);
    let server = &ground.server;
    let (bob, team) =
        ("  - user: { name: bob, uid: 2001 }\n", "  - group: { name: team, gid: 4000 }\n");
    ground.hold(&format!("{bob}{team}"));
    server.run(
        "useradd -u 2500 -g team eve; groupadd -g 4001 crew; setsid runuser -u bob -- sleep 600 >/dev/null 2>&1 </dev/null & \
         until pgrep -u bob -x sleep; do :; done",
    );

    // Neither goes while somebody uses it, and nothing else waits for that.
    let file = "  - file: { path: /etc/motd, content: \"x\\n\" }\n";
    ground.declare(file);
    let plan = server.plan(&[]);
    let process = server.shell("pgrep -u bob -x sleep");
    let stays = format!("user:bob  stays for now: `sleep` (process {process}) runs as `bob`");
    assert!(plan.contains(&stays), "{plan}");
    let team_stays = "group:team  stays for now: it is the primary group of `eve`";
    assert!(plan.contains(team_stays), "{plan}");
    let said = server.converge(&[]);
    assert!(said.contains(&stays) && said.contains(team_stays), "{said}");
    server.run("id bob && getent group team && test $(cat /etc/motd) = x");
    let said = ground.refused("  - user: { name: bob, state: absent }\n");
    assert!(said.contains(&format!("`sleep` (process {process}) runs as `bob`")), "{said}");

    // A number has one holder, declared or not.
    let said = ground.refused(&format!("{bob}{team}  - user: {{ name: ann, uid: 2500 }}\n"));
    assert!(said.contains("`eve` has the uid 2500 already"), "{said}");
    let said = ground.refused(&format!("{bob}{team}  - group: {{ name: web, gid: 4001 }}\n"));
    assert!(said.contains("`crew` has the gid 4001 already"), "{said}");
    ground.declare(&format!("{bob}{team}  - user: {{ name: ann, uid: 2001 }}\n"));
    let (code, said) = ground.diff();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("`user:ann` and `user:bob` both have the uid 2001"), "{said}");

    ground.declare(file);
    server.run("pkill -u bob; userdel eve; while pgrep -u bob; do :; done");
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    server.run("! id bob && ! getent group team");
    a_home_stays_for_the_next_name(&ground);
}

/// An account that gets another name keeps its home, whatever the options allow.
fn a_home_stays_for_the_next_name(ground: &Ground) {
    let server = &ground.server;
    ground.hold("  - user: { name: old, uid: 2100, home: /home/shop }\n");
    server.run("echo kept > /home/shop/kept; useradd -M -d /home/shop/inner guest");
    ground.declare("  - user: { name: new, uid: 2100, home: /home/shop, create_home: false }\n");
    server.converge(&["--allow-data-loss"]);
    server.has_nothing_to_do(&[]);
    assert_eq!(server.shell("id -nu 2100; cat /home/shop/kept"), "new\nkept");
    // The home of somebody else is in it.
    let plan = ground.refused("  - user: { name: new, remove_home: true, state: absent }\n");
    assert!(plan.contains("`user:new` would take the home of `guest` away"), "{plan}");
    ground.declare("");
    server.converge(&["--allow-data-loss"]);
    server.run("! id new && test $(cat /home/shop/kept) = kept");
}
