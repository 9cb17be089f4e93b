//! Scripts that roles put on servers, with stand-ins for the programs that they ask.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// How `schema-version-lost` ends, with `program` as what answers for the database.
fn lost(kind: &str, program: &str, version: &str) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["psql", "sqlite3"] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{program}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let version_file = folder.path().join("version");
    fs::write(&version_file, version).unwrap();
    let database = folder.path().join("db.sqlite");
    fs::write(&database, "content").unwrap();
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/php-app/files/schema-version-lost");
    Command::new("sh")
        .arg(script)
        .args([&version_file, Path::new(kind), &database, Path::new("role")])
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .output()
        .unwrap()
        .status
        .code()
}

#[test]
fn a_set_up_that_could_drop_a_database_is_told_so() {
    for kind in ["sqlite", "postgresql"] {
        assert_eq!(lost(kind, "cat > /dev/null; echo 3", ""), Some(0), "{kind}: it holds tables");
        assert_eq!(lost(kind, "cat > /dev/null; echo 0", ""), Some(1), "{kind}: it holds none");
        assert_eq!(lost(kind, "exit 1", "20"), Some(1), "{kind}: the version is known");
    }
}

/// Production is there and only does not answer: a set-up must not take it for empty.
#[test]
fn a_database_that_does_not_answer_is_not_empty() {
    for kind in ["sqlite", "postgresql"] {
        for program in ["exit 1", "exit 2", "echo locked >&2; exit 5", "exit 127", "true"] {
            assert_eq!(lost(kind, program, ""), Some(2), "{kind}: {program}");
        }
    }
    let no_tables = "grep -q pg_database && echo 1 && exit; exit 1";
    assert_eq!(lost("postgresql", no_tables, ""), Some(2), "it is there and cannot be read");
}
