//! The main job, for real: Rufus from a bare Debian to four sites that answer, on every release.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::path::Path;

use crate::support::LabServer;
use crate::support::lab_server::text;
use crate::{fault, preview, removal, rollback, sets};

/// The lines of a report about what was done, without the plan before it.
pub(crate) fn lines<'a>(said: &'a str, end: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.trim_end().ends_with(end)).collect()
}

fn up(os: &str) -> LabServer {
    LabServer::up("rufus", os, Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn from_bare_to_serving_on_debian_12() {
    serves("debian-12");
}

#[test]
fn from_bare_to_serving_on_debian_13() {
    serves("debian-13");
}

fn serves(os: &str) {
    let mut rufus = up(os);
    preview::comes_true(&rufus, &format!("rufus on {os}"), &[]);
    let pages = [
        ("flus.fr", "/about", "flus.fr v1, SQLite with 1 items"),
        ("flus.io", "/i/", "FreshRSS v1 at https://flus.io, PostgreSQL"),
        ("demo.flus.fr", "/about", "demo.flus.fr v1, PostgreSQL with 1 items"),
        ("websub.flus.io", "/about", "websub.flus.io v1, SQLite with 1 items"),
    ];
    for (name, path, content) in pages {
        let page = rufus.page(name, path);
        assert!(page.contains(content), "https://{name}{path} says {page}");
    }
    assert!(rufus.page("flus.fr", "/.env").contains("404"));

    let (code, said) = rufus.apply(&[]);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    let plan = rufus.infra(&["diff", "rufus", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));

    one_parameter(&rufus);
    a_reload_cuts_no_request(&rufus);
    saved_plan(&rufus);
    removal::tells_drift(&rufus);
    removal::removes_a_site_and_puts_it_back(&rufus);
    sets::one_mistake_changes_nothing(&mut rufus);
    if os == "debian-12" {
        fault::survives_cuts(&rufus);
    }
    releases(&rufus);
    switches_back(&rufus);
    keeps_what_could_be_dropped(&rufus);
    no_secret_is_lying_about(&rufus);
    rollback::goes_back(&mut rufus);
    removal::removes_roles(&mut rufus);
}

/// One changed parameter is one changed file and one reload.
fn one_parameter(rufus: &LabServer) {
    let more = ["--set", "nginx.worker_connections=2048"];
    let started = rufus.shell("systemctl show -p ActiveEnterTimestamp nginx php*-fpm");
    let (code, said) = rufus.apply(&more);
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  changed"), ["rufus  file:/etc/nginx/nginx.conf  changed"], "{said}");
    assert_eq!(lines(&said, "  reloaded"), ["rufus  service:nginx  reloaded"], "{said}");
    assert_eq!(lines(&said, "  restarted"), Vec::<&str>::new(), "{said}");
    assert_eq!(rufus.shell("systemctl show -p ActiveEnterTimestamp nginx php*-fpm"), started);
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

/// A request that PHP is answering when its settings change gets its answer.
fn a_reload_cuts_no_request(rufus: &LabServer) {
    let (code, said, page) = std::thread::scope(|scope| {
        let page = scope.spawn(|| rufus.page("flus.fr", "/slow"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let (code, said) = rufus.apply(&["--set", "php-fpm.memory_limit=130M"]);
        (code, said, page.join().unwrap())
    });
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  reloaded").len(), 1, "{said}");
    assert_eq!(page.trim(), "flus.fr took its time");
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

/// A plan in a file is applied as it is, once, and only where nothing has changed since.
fn saved_plan(rufus: &LabServer) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan");
    let file = file.to_str().unwrap();
    let set = "nginx.worker_connections=4096";
    let plan = rufus.infra(&["diff", "rufus", "--lab", "--set", set, "--out", file]);
    assert_eq!(plan.status.code(), Some(2), "{}", text(&plan.stderr));
    let apply = || {
        let output = rufus.infra(&["apply", "--plan", file, "--lab", "--yes"]);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    rufus.shell("chmod 0600 /etc/nginx/nginx.conf");
    let (code, said) = apply();
    assert_eq!(code, Some(3), "{said}");
    let cause = "caused by: `file:/etc/nginx/nginx.conf` is not as it was\n";
    assert!(said.contains(cause), "{said}");
    rufus.shell("chmod 0644 /etc/nginx/nginx.conf");
    let (code, said) = apply();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(lines(&said, "  changed"), ["rufus  file:/etc/nginx/nginx.conf  changed"], "{said}");
    assert_eq!(lines(&said, "  reloaded"), ["rufus  service:nginx  reloaded"], "{said}");
    let (code, said) = apply();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("caused by: there was another run since, by "), "{said}");
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

/// What `releases` leaves; the inventory of the lab says v1.
const RELEASED: &str = "php-app.apps.\"flus.fr\".ref=v2";

/// A release goes forward; one that does not answer, or cannot be set up, is never served.
fn releases(rufus: &LabServer) {
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

/// What only the web server's answer shows to be broken is served for a moment, then no more.
fn switches_back(rufus: &LabServer) {
    let late = "php-app.apps.\"websub.flus.io\"={ref: v3-broken, health: {before_switch: false}}";
    let (code, said) = rufus.apply(&["--set", RELEASED, "--set", late]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("symlink:/srv/websub.flus.io/current  put back"), "{said}");
    let page = rufus.page("websub.flus.io", "/about");
    assert_eq!(page.trim(), "websub.flus.io v1, SQLite with 1 items");
    assert_eq!(rufus.shell("systemctl is-active websub-flus-io-jobs"), "active");
}

/// A set-up that would take a full database for a new one, and empty it, is refused.
fn keeps_what_could_be_dropped(rufus: &LabServer) {
    for (name, count) in [
        ("demo.flus.fr", "runuser -u postgres -- psql -d flus_demo -Atc"),
        ("flus.fr", "sqlite3 /srv/flus.fr/shared/data/db.sqlite"),
    ] {
        let file = format!("/srv/{name}/shared/data/migrations_version.txt");
        rufus.shell(&format!("mv {file} {file}.kept"));
        let release = format!("php-app.apps.\"{name}\".ref=v4-unset");
        let (code, said) = rufus.apply(&["--set", RELEASED, "--set", &release]);
        assert_eq!(code, 3, "{said}");
        let complaint = format!("{name} is lost, but its database is not empty");
        assert!(said.contains(&complaint), "{said}");
        let items = rufus.shell(&format!("cd / && {count} 'SELECT count(*) FROM items'"));
        assert_eq!(items, "1", "{name}");
        rufus.shell(&format!("mv {file}.kept {file}"));
    }
}

/// The secrets are where they are needed and nowhere else.
fn no_secret_is_lying_about(rufus: &LabServer) {
    let key = rufus.shell("sed -n 's/^APP_FLUS_PRIVATE_KEY=//p' /srv/flus.fr/shared/.env");
    assert!(key.len() > 8, "the key is not in the file that should hold it");
    let found = rufus.shell(&format!(
        "grep -rlF -- '{key}' /etc /var/log /var/lib/infra /tmp /run/infra 2>/dev/null"
    ));
    assert_eq!(found, "");
}

/// The longer run of cuts alone, for `INFRA_FAULT_CUTS=200 cargo test --test tests -- --ignored`.
#[test]
#[ignore = "takes half an hour; a sample of it is in `from_bare_to_serving_on_debian_12`"]
fn many_cuts() {
    fault::survives_many_cuts(|number| {
        // A lab is called after the folder of its project.
        let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cuts-{number}"));
        // It may be there from an earlier run.
        let _ = std::fs::remove_file(&project);
        std::os::unix::fs::symlink(env!("CARGO_MANIFEST_DIR"), &project).unwrap();
        let rufus = LabServer::up("rufus", "debian-12", &project);
        let (code, said) = rufus.apply(&[]);
        assert_eq!(code, 0, "{said}");
        rufus
    });
}
