//! Scripts that roles put on servers, with stand-ins for the programs that they ask.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A site with two releases: `v1` has one migration, `v2` has two and is served.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(version_file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder };
        for (release, migrations) in [("v1", &["M1"][..]), ("v2", &["M1", "M2"])] {
            let code = site.root().join("releases").join(release);
            fs::create_dir_all(code.join("migrations")).unwrap();
            for name in migrations {
                fs::write(code.join("migrations").join(format!("{name}.php")), "").unwrap();
            }
            std::os::unix::fs::symlink("../../shared/data", code.join("data")).unwrap();
        }
        fs::create_dir_all(site.root().join("shared/data")).unwrap();
        fs::write(site.version_file(), version_file).unwrap();
        fs::write(site.root().join("shared/data/db.sqlite"), "content").unwrap();
        std::os::unix::fs::symlink("releases/v2", site.root().join("current")).unwrap();
        site
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("flus.fr")
    }

    fn version_file(&self) -> PathBuf {
        self.root().join("shared/data/version")
    }

    /// How `schema` ends, and its output, with `program` as what answers for the database.
    fn schema(&self, action: &str, release: &str, program: &str, more: &[&str]) -> (i32, String) {
        for name in ["psql", "sqlite3"] {
            let path = self.folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{program}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/php-app/files/schema");
        let root = self.root();
        let output = Command::new("sh")
            .arg(script)
            .args([action, "root", root.to_str().unwrap(), release, "data/version", "migrations"])
            .args(more)
            .env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().display()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text.trim().to_owned())
    }

    fn harm(&self, kind: &str, release: &str, program: &str) -> (i32, String) {
        let database = if kind == "sqlite" { "data/db.sqlite" } else { "flus" };
        self.schema("harm", release, program, &[kind, database, "flus"])
    }
}

const FULL: &str = "cat > /dev/null; echo 3";
const EMPTY: &str = "cat > /dev/null; echo 0";

#[test]
fn a_set_up_that_could_drop_a_database_is_told_so() {
    for kind in ["sqlite", "postgresql"] {
        let lost = "`data/version` of flus.fr is lost, but its database is not empty: the set-up \
                    could drop it; restore the file from the backup of the database";
        assert_eq!(Site::new("").harm(kind, "v2", FULL), (0, lost.to_owned()), "{kind}");
        assert_eq!(Site::new("").harm(kind, "v2", EMPTY).0, 1, "{kind}: it holds none");
        assert_eq!(Site::new("M1\n").harm(kind, "v2", FULL).0, 1, "{kind}: the version is known");
    }
}

#[test]
fn a_version_of_an_empty_database_is_refused() {
    for kind in ["sqlite", "postgresql"] {
        let (code, said) = Site::new("M1\n").harm(kind, "v2", EMPTY);
        assert_eq!(code, 0, "{kind}");
        assert!(said.contains("names a schema, but its database is empty"), "{said}");
    }
    assert_eq!(Site::new("M1\n").harm("none", "v2", EMPTY).0, 1);
}

#[test]
fn a_version_that_names_nothing_of_the_release_is_refused() {
    let (code, said) = Site::new("20191226_first\n").harm("sqlite", "v2", FULL);
    assert_eq!(code, 0);
    let begin = "`data/version` of flus.fr names nothing that v2 has (20191226_first): ";
    assert!(said.starts_with(begin), "{said}");
    // The newer release knows the last migration, which is all that is written down: it is undone first.
    assert_eq!(Site::new("M2\n").harm("sqlite", "v1", FULL).0, 1);
}

/// Production is there and only does not answer: a set-up must not take it for empty.
#[test]
fn a_database_that_does_not_answer_is_not_empty() {
    for kind in ["sqlite", "postgresql"] {
        for program in ["exit 1", "exit 2", "echo locked >&2; exit 5", "exit 127", "true"] {
            assert_eq!(Site::new("").harm(kind, "v2", program).0, 2, "{kind}: {program}");
        }
    }
    let no_tables = "grep -q pg_database && echo 1 && exit; exit 1";
    let site = Site::new("");
    assert_eq!(site.harm("postgresql", "v2", no_tables).0, 2, "it is there and cannot be read");
}

#[test]
fn a_release_is_compared_with_the_migrations_that_ran() {
    for (version_file, release, action, code) in [
        ("M1\nM2\n", "v2", "behind", 1),
        ("M2\n", "v2", "behind", 1),
        ("M1\r\n", "v2", "behind", 0),
        ("", "v2", "behind", 0),
        ("M1\n", "v1", "behind", 1),
        ("M1\n", "v9", "behind", 1),
        ("M1\nM2\n", "v1", "ahead", 0),
        ("M2\n", "v1", "ahead", 0),
        ("M1\nM2\n", "v2", "ahead", 1),
        ("M1\n", "v1", "ahead", 1),
        ("", "v1", "ahead", 1),
        // A newer release may have put its oldest migrations together.
        ("M0\nM1\n", "v2", "ahead", 1),
        ("X1\nX2\n", "v2", "ahead", 1),
        ("M1\n", "v2", "changes", 0),
        ("M1\nM2\n", "v1", "changes", 0),
        ("M1\nM2\n", "v2", "changes", 1),
        // An application that was never set up has nothing to lose.
        ("", "v2", "changes", 1),
    ] {
        let site = Site::new(version_file);
        let found = site.schema(action, release, "exit 1", &[]).0;
        assert_eq!(found, code, "{version_file:?} {release} {action}");
    }
}

#[test]
fn migrations_are_undone_by_the_release_that_knows_them() {
    let undo = |version_file: &str, words: &[&str]| {
        let words: Vec<&str> = ["echo"].into_iter().chain(words.iter().copied()).collect();
        Site::new(version_file).schema("undo", "v1", "exit 1", &words)
    };
    assert_eq!(undo("M1\nM2\n", &["rollback"]), (0, "rollback --steps=1".to_owned()));
    assert_eq!(undo("M2\n", &["-psteps={steps}", "x"]), (0, "-psteps=1 x".to_owned()));
    assert_eq!(undo("M1\nM2\nM3\n", &["rollback"]).0, 2, "nobody knows M3");
}

/// A restored file belongs to root until somebody says otherwise.
#[test]
fn a_version_file_that_nobody_can_write_is_told() {
    let site = Site::new("M1\n");
    if rustix::process::geteuid().is_root() {
        // Root can write everything, so that the script runs as somebody else.
        return as_nobody(&site);
    }
    fs::set_permissions(site.version_file(), fs::Permissions::from_mode(0o444)).unwrap();
    unwritable(&site.schema("unwritable", "v2", "exit 1", &[]));
}

fn as_nobody(site: &Site) {
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(site.folder.path(), open).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/php-app/files/schema");
    let text = fs::read_to_string(script).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "sh",
            "-c",
            &text,
            "schema",
        ])
        .args([
            "unwritable",
            "nobody",
            site.root().to_str().unwrap(),
            "v2",
            "data/version",
            "migrations",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    unwritable(&(output.status.code().unwrap(), said));
}

fn unwritable(found: &(i32, String)) {
    assert_eq!(found.0, 0, "{}", found.1);
    assert!(found.1.contains("cannot write `data/version` of flus.fr"), "{}", found.1);
    assert!(found.1.contains("run `chown -R"), "{}", found.1);
}

/// A pipe never ends, and nobody but the application can have put it there.
#[test]
fn a_version_file_that_is_no_file_is_told() {
    let site = Site::new("");
    fs::remove_file(site.version_file()).unwrap();
    assert!(Command::new("mkfifo").arg(site.version_file()).status().unwrap().success());
    assert_eq!(site.schema("behind", "v2", "exit 1", &[]).0, 0);
    let (code, said) = site.harm("sqlite", "v2", FULL);
    assert_eq!((code, said.as_str()), (0, "`data/version` of flus.fr is no file"));
}

/// How `prune-releases` leaves the folder of releases.
#[test]
fn old_releases_go_and_what_is_served_stays() {
    let folder = tempfile::tempdir().unwrap();
    let releases = folder.path().join("releases");
    for (index, name) in ["v1", "v2", "v3", "v4", ".infra-v9"].iter().enumerate() {
        let release = releases.join(name);
        fs::create_dir_all(release.join(".git")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + index as u64);
        fs::File::open(&release).unwrap().set_modified(time).unwrap();
    }
    fs::create_dir(releases.join("not-a-release")).unwrap();
    std::os::unix::fs::symlink("releases/v1", folder.path().join("current")).unwrap();
    let prune = |release: &str, keep: &str| {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/php-app/files/prune-releases");
        let status = Command::new("sh")
            .arg(script)
            .args([folder.path().to_str().unwrap(), release, keep])
            .status()
            .unwrap();
        let mut left: Vec<String> = fs::read_dir(&releases)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        (status.code().unwrap(), left.join(" "))
    };
    // `v1` is served, `v4` is wanted, and `v3` is the newest of the others.
    assert_eq!(prune("v4", "2"), (0, "not-a-release v1 v3 v4".to_owned()));
    assert_eq!(prune("v4", "2"), (0, "not-a-release v1 v3 v4".to_owned()));
    assert_eq!(prune("v4", "1"), (0, "not-a-release v1 v4".to_owned()));
}

/// The work of the script of the stand-ins: each repository with its tags and their commits.
fn stand_ins() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/lab-standin/files");
    let sources = folder.path().join("src");
    let copied = Command::new("cp").arg("-r").arg(&files).arg(&sources).status().unwrap();
    assert!(copied.success());
    let done = Command::new("sh")
        .arg(files.join("build"))
        .arg(folder.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "git") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let format = format!("--format={name} %(refname:lstrip=2) %(objectname)");
            let mut git = Command::new("git");
            git.arg("-C").arg(&path).args(["for-each-ref", &format, "refs/tags"]);
            let tags = git.output().unwrap();
            found.extend(String::from_utf8(tags.stdout).unwrap().lines().map(str::to_owned));
        }
    }
    found.sort();
    found
}

/// Every server of a lab builds them anew, and a release is known by its commit.
#[test]
fn stand_ins_have_their_tags_and_always_the_same_commits() {
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(stand_ins);
        (stand_ins(), other.join().unwrap())
    });
    assert_eq!(first, second);
    for tag in [
        "flus v1 ",
        "flus v4-unset ",
        "flus v0.44 ",
        "flus v2.5.4 ",
        "flus.fr 3dfe5fb ",
        "freshrss v2 ",
        "freshrss 1.24.3 ",
        "taust f3d74e9 ",
        "taust-client 2022 ",
        "webubbub 1.0.0-alpha-2 ",
        "xExtension-Flus v1.2.1 ",
    ] {
        assert!(first.iter().any(|line| line.starts_with(tag)), "{tag} is not in {first:#?}");
    }
}
