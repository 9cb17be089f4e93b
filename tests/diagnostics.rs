//! What the user is told about mistakes, word for word.
//!
//! A case is a folder in `tests/diagnostics/`: a project (`inventory/`, `roles/` …), the
//! arguments in `args.txt` (`check all` if there is none) and what `infra` says in `stderr.txt`.
//! `UPDATE=1 cargo test diagnostics` writes that file anew; read it before you keep it.

use std::path::Path;
use std::process::Command;

#[test]
fn every_mistake_is_told_word_for_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut cases: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    let wrong: Vec<String> = cases.iter().filter_map(|case| difference(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What differs from the expectation, if anything does.
fn difference(case: &Path) -> Option<String> {
    let arguments = std::fs::read_to_string(case.join("args.txt"));
    let arguments = arguments.unwrap_or_else(|_| "check all".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_infra"))
        .args(arguments.split_whitespace())
        .current_dir(case)
        .env_clear()
        .env("HOME", case)
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stderr).into_owned();
    let file = case.join("stderr.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    let name = case.file_name().unwrap_or_default().to_string_lossy();
    if output.status.code() != Some(1) {
        return Some(format!("--- {name}: ended with {}, wanted 1\n{found}", output.status));
    }
    (found != wanted).then(|| format!("--- {name}: wanted\n{wanted}--- found\n{found}"))
}
