//! Runs `infra` in small projects and compares what it says with a file.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transcript {
    /// `stdout.txt`; the exit code is 0.
    Output,
    /// `stderr.txt`; the exit code is 1, because the input is wrong.
    Error,
}

impl Transcript {
    /// Runs the case in each folder below `folder`. With `UPDATE` in the environment the
    /// expectations are written anew.
    pub(crate) fn check_all(self, folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        cases.sort();
        assert!(!cases.is_empty(), "no case in {}", folder.display());
        let wrong: Vec<String> = cases.iter().filter_map(|case| self.difference(case)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What differs from the expectation, if anything does.
    fn difference(self, case: &Path) -> Option<String> {
        let arguments = std::fs::read_to_string(case.join("args.txt"));
        let arguments = arguments.unwrap_or_else(|_| "check all".to_owned());
        let output = Command::new(env!("CARGO_BIN_EXE_infra"))
            .args(arguments.split_whitespace())
            .current_dir(case)
            .env_clear()
            .env("HOME", case)
            .output()
            .unwrap();
        let (found, file, code) = match self {
            Self::Output => (&output.stdout, "stdout.txt", 0),
            Self::Error => (&output.stderr, "stderr.txt", 1),
        };
        let found = String::from_utf8_lossy(found);
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        if output.status.code() != Some(code) {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Some(format!("--- {name}: {}, wanted {code}\n{errors}", output.status));
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(case.join(file), found.as_bytes()).unwrap();
        }
        let wanted = std::fs::read_to_string(case.join(file)).unwrap_or_default();
        (found != wanted).then(|| format!("--- {name}: wanted\n{wanted}--- found\n{found}"))
    }
}
