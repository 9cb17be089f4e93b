//! Older commits.

use std::path::Path;
use std::process::Command;

use crate::support::{LabServer, copy, text};

crate::tests! {
    ; on one release: an_older_commit_brings_back_old_files_removes_new_ones_and_keeps_data = 90,
}

const ITEMS: &str = "sqlite3 /srv/flus.fr/shared/data/db.sqlite 'SELECT count(*) FROM items'";

/// A release with a migration and a new file, and back: by revision, and by the history.
fn an_older_commit_brings_back_old_files_removes_new_ones_and_keeps_data(os: &str) {
    let mut rufus = copy("rufus", os);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    commit_two_versions(rufus.project(), folder);
    let group = folder.join(GROUP);
    rufus.use_project(folder);

    rufus.converge(&["--at", "HEAD~1"]);
    is_at(&rufus, "v1");
    rufus.converge(&[]);
    is_at(&rufus, "v2");
    rufus.run("sqlite3 /srv/flus.fr/shared/data/db.sqlite \"INSERT INTO items VALUES ('mine')\"");

    refuses_old_code_where_nothing_rolls_back(&rufus);
    // The work tree does not matter, and is left as it is.
    std::fs::write(&group, "this is no inventory").unwrap();
    let said = rufus.converge(&["--at", "HEAD~1"]);
    assert!(said.contains("command:migrations of flus.fr that v1 lacks, rolled back"), "{said}");
    assert!(said.contains("rufus  - file:/etc/brand-new  remove (no longer declared)"), "{said}");
    is_at(&rufus, "v1");
    assert_eq!(rufus.shell(ITEMS), "2");
    assert_eq!(std::fs::read_to_string(&group).unwrap(), "this is no inventory");
    git(folder, &["checkout", "-q", "."]);
    rufus.has_nothing_to_do(&["--at", "HEAD~1"]);

    let history = text(&rufus.infra(&["history", "rufus", "--lab"]).stdout);
    let head = &git(folder, &["rev-parse", "HEAD~1"])[..10];
    assert!(history.lines().nth(1).unwrap().contains(head), "{history}");

    // The run before the last was that of v2.
    rufus.lab.succeed(&["rollback", "rufus", "--lab", "--yes"]);
    is_at(&rufus, "v2");
    let status = rufus.infra(&["status", "rufus", "--lab"]);
    let said = text(&status.stdout);
    assert_eq!(status.status.code(), Some(0), "{said}");
    let line = said.lines().nth(1).unwrap();
    assert!(line.starts_with("rufus   ok     0        0      0     "), "{said}");
    assert_eq!(rufus.shell(ITEMS), "2");
}

/// The file of the project that the two versions differ in.
const GROUP: &str = "inventory/lab/rufus.yaml";

/// Makes a git repository of a copy of `project`, with the commit `v1`, and `v2` after it.
fn commit_two_versions(project: &Path, folder: &Path) {
    for part in ["inventory", "roles", "secrets", "templates"] {
        let copied = Command::new("cp").arg("-r").arg(project.join(part)).arg(folder).status();
        assert!(copied.unwrap().success());
    }
    git(folder, &["init", "-q"]);
    commit(folder, "v1");
    let role = "description: new\nresources:\n  - file: { path: /etc/brand-new, content: x }\n";
    std::fs::create_dir(folder.join("roles/new")).unwrap();
    std::fs::write(folder.join("roles/new/role.yaml"), role).unwrap();
    let group = folder.join(GROUP);
    let v1 = std::fs::read_to_string(&group).unwrap();
    let v2 = v1.replacen("flus.git, ref: v1", "flus.git, ref: v2", 1);
    let v2 = v2.replacen("lab-standin: {}", "lab-standin: {}\n  new: {}", 1);
    let v2 = v2.replacen("  nginx:\n", "  nginx:\n    worker_connections: 333\n", 1);
    std::fs::write(&group, v2).unwrap();
    commit(folder, "v2");
}

/// The release `version` is served, its files are there, and those of the other are not.
fn is_at(rufus: &LabServer, version: &str) {
    let page = rufus.page("flus.fr", "/about");
    assert!(page.starts_with(&format!("flus.fr {version}, SQLite with ")), "{page}");
    let is_new = version == "v2";
    let found = rufus.shell(
        "ls /etc/brand-new 2>/dev/null; grep -o 'worker_connections .*;' /etc/nginx/nginx.conf; \
         sqlite3 /srv/flus.fr/shared/data/db.sqlite .tables",
    );
    let words: Vec<&str> = found.split_whitespace().collect();
    let expected: &[&str] = if is_new {
        &["/etc/brand-new", "worker_connections", "333;", "items", "notes"]
    } else {
        &["worker_connections", "1024;", "items"]
    };
    assert_eq!(words, expected);
}

/// The code of v1 meets the schema of v2 as the real application does, and v2 stays.
fn refuses_old_code_where_nothing_rolls_back(rufus: &LabServer) {
    let setup = "[{run: [php, cli, migrations, setup], version_file: data/migrations_version.txt}]";
    let app = format!("php-app.apps.\"flus.fr\"={{ref: v1, setup: {setup}}}");
    let (code, said) = rufus.apply(&["--set", &app]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("MigrationError: Migration0002Notes does not exist"), "{said}");
    let page = rufus.page("flus.fr", "/about");
    assert_eq!(page.trim(), "flus.fr v2, SQLite with 2 items");
    rufus.converge(&[]);
}

fn commit(folder: &Path, message: &str) {
    git(folder, &["add", "."]);
    git(folder, &["commit", "-q", "-m", message]);
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=ana", "-c", "user.email=ana@example.org"]);
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}
