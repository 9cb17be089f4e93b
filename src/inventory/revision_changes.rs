//! The files that a project reads and that no commit has: found on the disk, symlinks resolved.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The folders of a project that anything is read from.
pub(super) const FOLDERS: [&str; 4] = ["inventory", "roles", "secrets", "templates"];

/// As many files and folders are looked at; more count as other ones than those of a commit.
const MOST: usize = 100_000;

/// As many symlinks are followed on the way to one file, as the kernel does (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The most parts of one way, those of the targets of its symlinks included.
const MOST_STEPS: usize = 400;

/// Whether the project at `root` reads a file that git does not compare: one that `listing`, the output of
/// `git ls-files -v -z`, lacks or has with a flag.
pub(super) fn has_any(root: &Path, listing: &[u8]) -> bool {
    let mut known: BTreeSet<&Path> = BTreeSet::new();
    for entry in listing.split(|byte| *byte == 0) {
        let [tag, b' ', path @ ..] = entry else { continue };
        let path = Path::new(OsStr::from_bytes(path));
        // A small letter is the flag `assume-unchanged`, `S` the flag `skip-worktree`.
        if !tag.is_ascii_lowercase() && *tag != b'S' {
            known.insert(path);
        } else if FOLDERS.iter().any(|folder| path.starts_with(folder)) && is_of_project(path) {
            return true;
        }
    }
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    let mut visited = BTreeSet::new();
    let mut plain = BTreeSet::new();
    let mut looked_at = 0;
    while let Some(path) = open.pop() {
        looked_at += 1;
        if looked_at > MOST {
            return true;
        }
        let way = Way::to(&path, root, &mut plain);
        let is_known = way.links.iter().all(|link| known.contains(link.as_path()));
        let Some(place) = way.place else {
            if !is_known && is_of_project(&path) {
                return true;
            }
            continue;
        };
        if is_refused(&path, &place) {
            continue;
        }
        let found = fs::symlink_metadata(root.join(&place));
        if found.as_ref().is_ok_and(fs::Metadata::is_dir) {
            if !is_known {
                return true;
            }
            // The first folder says which files are a part of the project.
            let first = path.iter().next().map(OsStr::to_owned);
            if visited.insert((first, place)) {
                let Ok(names) = names(&root.join(&path)) else { return true };
                open.extend(names.iter().map(|name| path.join(name)));
            }
            continue;
        }
        let is_known = is_known && (found.is_err() || known.contains(place.as_path()));
        // Git knows no pipes, sockets and devices, and nobody reads them.
        let is_file = found.map_or(true, |found| found.is_file());
        if !is_known && is_file && is_of_project(&path) {
            return true;
        }
    }
    false
}

/// How a path of a project leads to a file.
#[derive(Default)]
struct Way {
    /// The place of the file, below the project, with no symlink in it; `None` if it cannot be read.
    place: Option<PathBuf>,
    /// The symlinks on the way.
    links: Vec<PathBuf>,
}

impl Way {
    /// The way from `root` to `path`, which leads nowhere where [`crate::files`] refuses it. `plain` are places that
    /// are known to be no symlinks: most ways lead over the same folders.
    fn to(path: &Path, root: &Path, plain: &mut BTreeSet<PathBuf>) -> Self {
        let mut way = Self::default();
        let mut place = PathBuf::new();
        let mut parts: VecDeque<OsString> = parts(path).collect();
        let mut steps = 0;
        while let Some(part) = parts.pop_front() {
            steps += 1;
            if steps > MOST_STEPS {
                return way;
            }
            if part == ".." {
                if !place.pop() {
                    return way;
                }
                continue;
            }
            place.push(part);
            if plain.contains(&place) {
                continue;
            }
            let Ok(target) = fs::read_link(root.join(&place)) else {
                plain.insert(place.clone());
                continue;
            };
            way.links.push(place.clone());
            if target.is_absolute() || way.links.len() > MOST_LINKS {
                return way;
            }
            place.pop();
            for part in self::parts(&target).rev() {
                parts.push_front(part);
            }
        }
        way.place = Some(place);
        way
    }
}

/// The parts of a relative path that lead on.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    let leads_on = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(leads_on).map(|part| part.as_os_str().to_owned())
}

/// Whether [`crate::files`] refuses what a symlink of the project leads to.
fn is_refused(path: &Path, place: &Path) -> bool {
    let is_hidden = |part: &OsStr| part.as_bytes().starts_with(b".");
    let is_secret = place.starts_with("secrets") && !path.starts_with("secrets");
    path != place && (is_secret || place.iter().any(is_hidden))
}

/// The names in a folder, without git's own.
fn names(folder: &Path) -> std::io::Result<Vec<OsString>> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.iter().map(fs::DirEntry::file_name).filter(|name| name != ".git").collect())
}

/// Whether a file at `path`, relative to the project, is a part of the project: `git` need not know it, and
/// editors leave others.
fn is_of_project(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let has_ending = |endings: &[&str]| {
        path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known))
    };
    let is_left_over = name.ends_with(b"~")
        || name.starts_with(b".#")
        || name.starts_with(b"#")
        || name == b".DS_Store"
        || has_ending(&["swp", "swo"]);
    match path.components().next() {
        Some(Component::Normal(folder)) if folder == "inventory" => has_ending(&["yaml"]),
        Some(Component::Normal(folder)) if folder == "secrets" => has_ending(&["age", "yaml"]),
        _ => !is_left_over,
    }
}
