//! The files of a project that differ between two revisions.

use std::collections::BTreeSet;

use super::Project;
use crate::files::Files;

/// The folders whose files say what servers are, secrets apart.
const FOLDERS: [&str; 3] = ["inventory", "roles", "templates"];

/// As many folders in one another are looked into.
const DEEPEST: usize = 32;

impl Project {
    /// The paths of files that this project and `old` do not have with the same content. A file that
    /// one of them cannot read differs.
    pub fn changed_since(&self, old: &Self) -> BTreeSet<String> {
        let sides = [Files::below(&self.root), Files::below(&old.root)];
        let mut changed = BTreeSet::new();
        for folder in FOLDERS {
            walk(&sides, folder, DEEPEST, &mut changed);
        }
        changed
    }
}

fn walk(sides: &[Files; 2], path: &str, depth: usize, changed: &mut BTreeSet<String>) {
    let names = sides.each_ref().map(|side| side.names(path).ok().flatten());
    if names.iter().all(Option::is_none) {
        let [new, old] = sides.each_ref().map(|side| side.bytes(path));
        if !matches!((new, old), (Ok(new), Ok(old)) if new == old) {
            changed.insert(path.to_owned());
        }
        return;
    }
    let names: BTreeSet<String> = names.into_iter().flatten().flatten().collect();
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        if depth == 0 {
            changed.insert(format!("{path}/{name}"));
        } else {
            walk(sides, &format!("{path}/{name}"), depth - 1, changed);
        }
    }
}
