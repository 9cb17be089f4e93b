//! The doors to files and to SQL, held by a machine: no part of infra goes around them.

use std::path::Path;

use crate::tidy::{code_lines, module_of, sources, texts};

/// Ways of the standard library and of rustix to a file by its path.
const BY_PATH: &[&str] = &[
    "std::fs::",
    "fs::File",
    "File::open",
    "File::create",
    "OpenOptions",
    "read_to_string(",
    "read_dir(",
    "symlink_metadata(",
    ".metadata()",
    ".exists()?",
    ".is_file()",
    ".is_dir()",
    "rustix::fs::open",
    "rustix::fs::stat",
];

/// Files of the agent that look at what only root and the kernel write, with fixed paths.
const FIXED_PATHS: &[&str] = &[
    "src/agent/host/accounts.rs",
    "src/agent/host/clusters.rs",
    "src/agent/host/facts.rs",
    "src/agent/host/tasks.rs",
    "src/agent/host/packages.rs",
    "src/agent/host/processes.rs",
    "src/agent/lock.rs",
];

#[test]
fn the_agent_and_the_kinds_reach_files_by_their_door_alone() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let is_server_side =
            module_of(&path).is_some_and(|module| module == "agent" || module == "resources");
        let shown = path.to_string_lossy().into_owned();
        if !is_server_side
            || shown.starts_with("src/agent/host/files/")
            || FIXED_PATHS.contains(&shown.as_str())
        {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if BY_PATH.iter().any(|way| line.contains(way)) {
                wrong.push(format!("{shown}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "not through `agent::host::files`:\n{}", wrong.join("\n"));
}

#[test]
fn the_files_of_a_project_are_read_by_their_door_alone() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let shown = path.to_string_lossy().into_owned();
        let is_reader = ["src/compile/", "src/inventory/", "src/secrets/store.rs"];
        let is_reader = is_reader.iter().any(|start| shown.starts_with(start));
        // The files of a revision are written by infra itself, below a folder of its own, and git's list of files
        // is compared with names and kinds alone.
        if !is_reader || shown.starts_with("src/inventory/revision") {
            continue;
        }
        for (number, line) in code_lines(&text) {
            let is_owner = line.contains("std::fs::metadata(folder)");
            let is_group = line.contains("inventory/groups");
            if BY_PATH.iter().any(|way| line.contains(way)) && !is_owner && !is_group {
                wrong.push(format!("{shown}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "not through `files::Files`:\n{}", wrong.join("\n"));
}

/// The examples stand for projects of their own: what they share with the project of Flus is a copy.
#[test]
fn the_roles_of_examples_are_the_projects_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (example, folder) in ["php-app", "rsync-sites"].iter().flat_map(|name| {
        ["roles", "templates"].map(|folder| (root.join("examples").join(name), folder))
    }) {
        let mut folders = vec![example.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                seen += 1;
                let own = root.join(path.strip_prefix(&example).unwrap());
                if std::fs::read(&own).ok() != std::fs::read(&path).ok() {
                    wrong.push(path.display().to_string());
                }
            }
        }
    }
    assert!(seen > 20, "{seen} files");
    assert!(wrong.is_empty(), "copy these again from `roles/` and `templates/`: {wrong:#?}");
}

/// The owner of a database can put functions, operators and tables of their own in front of
/// PostgreSQL's, for whoever names those without their schema.
#[test]
fn every_name_in_sql_has_its_schema() {
    let mut questions = 0;
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        for sql in literals(&text).filter(|text| text.contains("SELECT ")) {
            questions += 1;
            wrong.extend(unqualified(&sql).map(|name| format!("{}: {name}", path.display())));
        }
    }
    assert!(questions >= 4, "{questions} questions");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Scripts of roles ask as a superuser with a fixed search path, or as the application's own role.
#[test]
fn the_scripts_of_roles_fix_the_search_path() {
    let mut seen = 0;
    for (path, text) in texts("roles").into_iter().filter(|(_, text)| text.contains("psql ")) {
        seen += 1;
        let is_of_role = text.contains("-U \"$role\"");
        let is_fixed = text.contains("PGOPTIONS='-c search_path=pg_catalog'");
        assert!(is_of_role || is_fixed, "{}", path.display());
        let sql = text.split("-c \\\n").nth(1).and_then(|rest| rest.split('"').nth(1));
        let wrong: Vec<String> = sql.map(unqualified).into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
    }
    assert_eq!(seen, 3);
}

#[test]
fn names_without_a_schema_are_found() {
    for (sql, found) in [
        ("SELECT a.b FROM pg_extension a", "pg_extension"),
        ("SELECT lower(a.b) FROM pg_catalog.pg_class a", "lower"),
        ("SELECT a.b::text FROM pg_catalog.pg_class a", "text"),
        ("SELECT a.b FROM pg_catalog.pg_class a WHERE a.b = $1", "="),
        ("SELECT a.b FROM pg_catalog.pg_class a JOIN evil.b c ON true", "evil.b"),
    ] {
        assert_eq!(unqualified(sql).collect::<Vec<_>>(), [found], "{sql}");
    }
    let good = "SELECT coalesce(pg_catalog.lower(a.b), '=') FROM pg_catalog.pg_class a \
                WHERE a.b OPERATOR(pg_catalog.=) $1";
    assert_eq!(unqualified(good).next(), None);
}

/// The string literals of a source file, on one line each.
fn literals(text: &str) -> impl Iterator<Item = String> {
    let code: Vec<&str> = code_lines(text).map(|(_, line)| line.trim()).collect();
    let code = code.join("\n").replace("\\\n", "").replace("\\\"", "'");
    let literals: Vec<String> = code.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    literals.into_iter()
}

/// The names and operators of a statement that say no schema of PostgreSQL's own.
fn unqualified(sql: &str) -> impl Iterator<Item = String> {
    const SYNTAX: &[&str] = &["coalesce", "OPERATOR", "IN", "SELECT", "ALL"];
    // A text in quotes is no name.
    let plain: String = sql.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let operators = regex::Regex::new(r"OPERATOR\(pg_catalog\.[=<>]+\)").unwrap();
    let spaced = operators.replace_all(&plain, "");
    let is_name = |c: char| c.is_alphanumeric() || "_.$".contains(c);
    let mut wrong = Vec::new();
    let mut before = String::new();
    let mut rest: &str = &spaced;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if length == 0 {
            if "=<>|~!+*/-".contains(first) {
                wrong.push(first.to_string());
            }
            let is_cast = rest.starts_with("::");
            rest = &rest[first.len_utf8()..];
            if is_cast {
                "::".clone_into(&mut before);
            }
            continue;
        }
        let (name, after) = rest.split_at(length);
        let is_called = after.starts_with('(') && !SYNTAX.contains(&name);
        let is_table = ["FROM", "JOIN", "::"].contains(&before.as_str());
        if (is_called || is_table) && !name.starts_with("pg_catalog.") {
            wrong.push(name.to_owned());
        }
        name.clone_into(&mut before);
        rest = after;
    }
    wrong.into_iter()
}
