//! The main job, for real: Rufus from a bare Debian to four sites that answer, on every release.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use crate::{fault, removal};

/// A lab with Rufus in it, which ends with the test.
pub(crate) struct Rufus {
    folder: PathBuf,
    address: String,
    /// The project that is applied.
    pub(crate) project: PathBuf,
}

impl Rufus {
    fn up(os: &str) -> Self {
        // The images are shared with the other tests of the lab: the folder is the same.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rufus-{os}"));
        let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut rufus = Self { folder, address: String::new(), project };
        rufus.infra(&["lab", "down"]);
        let up = rufus.infra(&["lab", "up", "rufus", "--os", os]);
        assert!(
            up.status.success(),
            "{}\nThis test needs a machine that can run the lab: root on Linux, and the packages \
             that `.ci/prepare` installs.",
            text(&up.stderr)
        );
        let status = rufus.infra(&["lab", "status", "--output", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["address"].as_str().unwrap().clone_into(&mut rufus.address);
        rufus
    }

    pub(crate) fn infra(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The program, in the project and with the lab of this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("infra"));
        command.args(arguments).current_dir(&self.project);
        command.env("INFRA_LAB_DIR", &self.folder).env("NO_COLOR", "1");
        command
    }

    /// Its address in the lab.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Applies with more arguments; returns the exit code and what was said.
    pub(crate) fn apply(&self, more: &[&str]) -> (i32, String) {
        let output = self.infra(&[&["apply", "rufus", "--lab", "--yes"], more].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap_or(-1), said)
    }

    /// Runs a shell line on the server and returns what it prints.
    pub(crate) fn shell(&self, line: &str) -> String {
        let output = self.infra(&["lab", "ssh", "rufus", line]);
        text(&output.stdout).trim_end().to_owned()
    }

    /// A page, asked from this machine over HTTPS. The certificate is self-signed.
    pub(crate) fn page(&self, name: &str, path: &str) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--resolve"])
            .arg(format!("{name}:443:{}", self.address))
            .arg(format!("https://{name}{path}"))
            .output()
            .unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }
}

impl Drop for Rufus {
    fn drop(&mut self) {
        // A test that fails has its own failure to show.
        self.infra(&["lab", "down"]);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines of a report about what was done, without the plan before it.
pub(crate) fn lines<'a>(said: &'a str, end: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.trim_end().ends_with(end)).collect()
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
    let mut rufus = Rufus::up(os);
    let plan = rufus.infra(&["diff", "rufus", "--lab"]);
    assert_eq!(plan.status.code(), Some(2), "{}", text(&plan.stderr));

    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
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
    removal::tells_drift(&rufus);
    removal::removes_a_site_and_puts_it_back(&rufus);
    if os == "debian-12" {
        fault::survives_cuts(&rufus);
    }
    releases(&rufus);
    switches_back(&rufus);
    keeps_what_could_be_dropped(&rufus);
    no_secret_is_lying_about(&rufus);
    removal::removes_roles(&mut rufus);
}

/// One changed parameter is one changed file and one reload.
fn one_parameter(rufus: &Rufus) {
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

/// What `releases` leaves; the inventory of the lab says v1.
const RELEASED: &str = "php-app.apps.\"flus.fr\".ref=v2";

/// A release goes forward; one that does not answer, or cannot be set up, is never served.
fn releases(rufus: &Rufus) {
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
        // Its code does not know the migrations of v2.
        ("v1", "MigrationError: Migration0002Notes does not exist"),
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
fn switches_back(rufus: &Rufus) {
    let late = "php-app.apps.\"websub.flus.io\"={ref: v3-broken, health: {before_switch: false}}";
    let (code, said) = rufus.apply(&["--set", RELEASED, "--set", late]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("symlink:/srv/websub.flus.io/current  put back"), "{said}");
    let page = rufus.page("websub.flus.io", "/about");
    assert_eq!(page.trim(), "websub.flus.io v1, SQLite with 1 items");
    assert_eq!(rufus.shell("systemctl is-active websub-flus-io-jobs"), "active");
}

/// A set-up that would take a full database for a new one, and empty it, is refused.
fn keeps_what_could_be_dropped(rufus: &Rufus) {
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
fn no_secret_is_lying_about(rufus: &Rufus) {
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
    let rufus = Rufus::up("debian-12");
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
    fault::survives_cuts(&rufus);
}
