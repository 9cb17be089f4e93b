//! Searching files for what must not be in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The files below `folder` that hold `text`; links are not followed.
pub(crate) fn files_holding(folder: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_holding(&path, text)),
            Ok(kind) if kind.is_file() && holds(&path, text) => found.push(path),
            _ => {}
        }
    }
    found
}

/// Whether a file holds `text`. One that is gone by now holds nothing.
fn holds(path: &Path, text: &[u8]) -> bool {
    fs::read(path).unwrap_or_default().windows(text.len()).any(|window| window == text)
}
