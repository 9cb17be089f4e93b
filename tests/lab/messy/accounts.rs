//! Accounts that packages have made, and that somebody locked or let expire.

use super::Ground;

crate::tests! {
    ; on each release:
    a_lock_by_hand_is_kept_or_shown = 10,
    accounts_of_packages_have_their_own_names = 10,
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
    let said = ground.refused(&format!("{group}  - user: {{ name: ann, state: absent }}\n"));
    assert!(
        said.contains("`file:/srv/ann` names `group:ann`, which goes with `user:ann`"),
        "{said}"
    );
    ground.hold("  - user: { name: bob, uid: 2000 }\n");
    assert_eq!(ground.server.shell("id -nu 2000; id -ng 2000"), "bob\nbob");
}
