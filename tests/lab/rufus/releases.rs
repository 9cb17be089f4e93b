//! Releases of applications: only those that answer are served, and no data is lost.

use crate::support::copy;

crate::tests! {
    ; on one release:
    a_new_release_is_served_and_a_broken_one_never_is = 60,
    a_release_that_only_the_web_server_shows_to_be_broken_is_put_back = 30,
    a_set_up_that_could_drop_a_full_database_is_refused = 30,
}

/// One release does not answer, another cannot be set up: visitors still see the release before.
fn a_new_release_is_served_and_a_broken_one_never_is(os: &str) {
    let rufus = copy("rufus", os);
    let release = |tag: &str| {
        let set = format!("php-app.apps.\"flus.fr\".ref={tag}");
        rufus.apply(&["--set", &set])
    };
    let (code, said) = release("v2");
    assert_eq!(code, 0, "{said}");
    assert_eq!(rufus.page("flus.fr", "/about").trim(), "flus.fr v2, SQLite with 1 items");
    let current = rufus.shell("readlink /srv/flus.fr/current");
    for (broken, complaint) in [
        ("v3-broken", "answers 500, not 200"),
        ("v4-unset", "MigrationError: this release cannot be set up"),
    ] {
        let (code, said) = release(broken);
        assert_eq!(code, 3, "{broken}: {said}");
        assert!(said.contains(complaint), "{broken}: {said}");
        assert_eq!(rufus.shell("readlink /srv/flus.fr/current"), current, "{broken}");
        assert_eq!(rufus.page("flus.fr", "/about").trim(), "flus.fr v2, SQLite with 1 items");
    }
    let (code, said) = release("v2");
    assert_eq!(code, 0, "{said}");
}

/// Without a check before the switch the release is served for a moment, then no more.
fn a_release_that_only_the_web_server_shows_to_be_broken_is_put_back(os: &str) {
    let rufus = copy("rufus", os);
    let late = "php-app.apps.\"websub.flus.io\"={ref: v3-broken, health: {before_switch: false}}";
    let (code, said) = rufus.apply(&["--set", late]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("symlink:/srv/websub.flus.io/current  put back"), "{said}");
    let page = rufus.page("websub.flus.io", "/about");
    assert_eq!(page.trim(), "websub.flus.io v1, SQLite with 1 items");
    assert_eq!(rufus.shell("systemctl is-active websub-flus-io-jobs"), "active");
}

/// A set-up that would take a full database for a new one would empty it.
fn a_set_up_that_could_drop_a_full_database_is_refused(os: &str) {
    let rufus = copy("rufus", os);
    for (name, count) in [
        ("demo.flus.fr", "runuser -u postgres -- psql -d flus_demo -Atc"),
        ("flus.fr", "sqlite3 /srv/flus.fr/shared/data/db.sqlite"),
    ] {
        let file = format!("/srv/{name}/shared/data/migrations_version.txt");
        rufus.run(&format!("mv {file} {file}.kept"));
        let release = format!("php-app.apps.\"{name}\".ref=v4-unset");
        let (code, said) = rufus.apply(&["--set", &release]);
        assert_eq!(code, 3, "{said}");
        let complaint = format!("{name} is lost, but its database is not empty");
        assert!(said.contains(&complaint), "{said}");
        let items = rufus.shell(&format!("cd / && {count} 'SELECT count(*) FROM items'"));
        assert_eq!(items, "1", "{name}");
        rufus.run(&format!("mv {file}.kept {file}"));
    }
}
