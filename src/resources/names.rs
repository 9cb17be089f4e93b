//! The things that the names in specs stand for on one server: two names of one thing are one.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use super::filesystems::{self, Mounted, Planned, Source};
use super::fstab::{self, MOUNTS};
use super::probe::Probe;

/// As many symlinks as the kernel itself follows on the way to a path.
const MOST_SYMLINKS: usize = 40;

/// Looks up names on one server.
pub struct Names<'a> {
    probe: &'a dyn Probe,
    /// The targets of symlinks by their paths; `None` where there is no symlink.
    known: RefCell<BTreeMap<String, Option<String>>>,
    mounted: OnceCell<Vec<Mounted>>,
    /// Whether each file system is mounted once.
    is_plain: OnceCell<bool>,
    planned: RefCell<Vec<Planned>>,
}

impl<'a> Names<'a> {
    /// The names of a server on which the symlinks `links`, path and target, are to be.
    pub fn new(probe: &'a dyn Probe, links: BTreeMap<String, String>) -> Self {
        let known = links.into_iter().map(|(path, target)| (path, Some(target)));
        Self {
            probe,
            known: RefCell::new(known.collect()),
            mounted: OnceCell::new(),
            is_plain: OnceCell::new(),
            planned: RefCell::default(),
        }
    }

    /// The names of a server as it is.
    pub fn of(probe: &'a dyn Probe) -> Self {
        Self::new(probe, BTreeMap::new())
    }

    /// The server.
    pub fn probe(&self) -> &'a dyn Probe {
        self.probe
    }

    /// The symlinks that the way to `path` leads over, by their own paths.
    pub fn links_on(&self, path: &str) -> Vec<String> {
        let mut links = Vec::new();
        self.walk(path, false, &mut links);
        links
    }

    /// The first thing that is mounted at the folder `path` or below, but at none of `except`.
    pub fn mounted_in(&self, path: &str, except: &[String]) -> Option<String> {
        let table = self.probe.read(MOUNTS).ok().flatten().unwrap_or_default();
        let folder = self.place(path);
        let mut mounted = fstab::entries(&table).map(|entry| entry.target);
        mounted.find(|target| is_in(target, &folder) && !except.contains(target))
    }

    /// The path of the thing at `path`: every symlink on the way is followed, and none at the end.
    /// A part of the way that is not there, or that cannot be looked at, is taken as written.
    pub fn place(&self, path: &str) -> String {
        self.walk(path, false, &mut Vec::new())
    }

    /// The path of the thing at `path`, with a symlink at its end followed as well.
    pub fn target(&self, path: &str) -> String {
        self.walk(path, true, &mut Vec::new())
    }

    /// Whether two paths are of one thing: over links on the way, or because its file system or folder is
    /// mounted at several places.
    pub fn are_one(&self, one: &str, other: &str) -> bool {
        self.place(one) == self.place(other) || self.on_disk(one) == self.on_disk(other)
    }

    /// The path of the thing at `path` on its file system, such as `8:1:/srv/data`, also where that is still to
    /// be mounted; its place where that is not known.
    pub fn on_disk(&self, path: &str) -> String {
        let place = self.place(path);
        // On most servers, each file system is at one place: nothing has two paths then.
        let is_plain = *self.is_plain.get_or_init(|| filesystems::are_apart(self.mounted()));
        if is_plain && self.planned.borrow().is_empty() {
            return place;
        }
        let place = self.shown_at(place);
        filesystems::on_disk(&place, self.mounted()).unwrap_or(place)
    }

    /// Whether what is at `place` is the folder `other`, mounted there; `None` where nobody can tell.
    pub(super) fn shows(&self, place: &str, other: &str) -> Option<bool> {
        let shown = filesystems::on_disk(place, self.mounted())?;
        Some(shown == filesystems::on_disk(&self.target(other), self.mounted())?)
    }

    /// The path at which the thing at `place` is now, should `place` be where something is to be mounted that
    /// is mounted, or there, elsewhere.
    fn shown_at(&self, place: String) -> String {
        let planned = self.planned.borrow();
        let over = planned.iter().filter(|mount| is_in(&place, &mount.target));
        let Some(mount) = over.max_by_key(|mount| mount.target.len()) else { return place };
        let top = filesystems::over(&place, self.mounted());
        if top.is_some_and(|top| top.target.len() >= mount.target.len()) {
            return place;
        }
        let source = filesystems::place_of(&mount.source, self.mounted(), self);
        let below = filesystems::below(&place, &mount.target);
        source.zip(below).map_or(place.clone(), |(source, below)| filesystems::join(&source, below))
    }

    /// The path at which the thing at `path` is now, where that is another one because of a mount to come.
    pub(super) fn shown_elsewhere(&self, path: &str) -> Option<String> {
        if self.planned.borrow().is_empty() {
            return None;
        }
        let place = self.place(path);
        let shown = self.shown_at(place.clone());
        (shown != place).then_some(shown)
    }

    /// Notes that `source` will be mounted at `path`.
    pub fn will_mount(&self, path: &str, source: Source) {
        let planned = Planned { target: self.target(path), source };
        self.planned.borrow_mut().push(planned);
    }

    fn mounted(&self) -> &[Mounted] {
        self.mounted.get_or_init(|| filesystems::read(self.probe))
    }

    /// Notes that a symlink to `target` will be at `place`, or none.
    pub fn learn(&self, place: &str, target: Option<String>) {
        self.known.borrow_mut().insert(place.to_owned(), target);
    }

    fn walk(&self, path: &str, follows_last: bool, links: &mut Vec<String>) -> String {
        let mut parts: Vec<String> = parts(path).map(str::to_owned).rev().collect();
        let (mut place, mut followed) = (String::new(), 0);
        while let Some(part) = parts.pop() {
            if part == ".." {
                place.truncate(place.rfind('/').unwrap_or_default());
                continue;
            }
            let above = place.len();
            place = place + "/" + &part;
            let may_follow = followed < MOST_SYMLINKS && (follows_last || !parts.is_empty());
            let Some(target) = may_follow.then(|| self.link(&place)).flatten() else { continue };
            followed += 1;
            links.push(place.clone());
            place.truncate(if target.starts_with('/') { 0 } else { above });
            parts.extend(self::parts(&target).map(str::to_owned).rev());
        }
        if place.is_empty() { "/".to_owned() } else { place }
    }

    /// The target of the symlink at `place`.
    fn link(&self, place: &str) -> Option<String> {
        if let Some(known) = self.known.borrow().get(place) {
            return known.clone();
        }
        let found = self.probe.read_link(place).ok().flatten();
        self.known.borrow_mut().insert(place.to_owned(), found.clone());
        found
    }
}

/// The text that `bytes` are in UTF-8, with `\xe9` for each byte that is no part of a character: no two
/// names of a machine become one, and none becomes a name that somebody declares.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes of a name that [`escaped`] told; owned where they are not those of the text.
pub fn bytes(name: &str) -> Cow<'_, [u8]> {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(byte) = byte else { return Cow::Borrowed(name.as_bytes()) };
        bytes.push(byte);
        bytes.extend(part.bytes().skip(2));
    }
    let is_escaped = bytes != name.as_bytes() && escaped(&bytes) == name;
    if is_escaped { Cow::Owned(bytes) } else { Cow::Borrowed(name.as_bytes()) }
}

/// Whether `place` is the folder itself or in it.
pub fn is_in(place: &str, folder: &str) -> bool {
    let rest = place.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The parts of a path that say something.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// An absolute path without what says nothing: empty parts, `.`, and a slash at its end.
pub fn normal(path: &str) -> String {
    let normal =
        parts(path).fold(String::with_capacity(path.len()), |text, part| text + "/" + part);
    if normal.is_empty() { "/".to_owned() } else { normal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_keep_apart() {
        for raw in [&b"Jos\xe9 M\xfcller\xff"[..], b"\xe9", b"plain", "n\u{e9}".as_bytes()] {
            assert_eq!(bytes(&escaped(raw)).as_ref(), raw);
        }
        assert_eq!(escaped(b"Jos\xe9 M\xfcller\xff"), "Jos\\xe9 M\\xfcller\\xff");
        // Names of units, and others that no bytes are told by.
        for name in ["dev-disk-by\\x2dlabel.swap", "a\\xc3\\xa9", "a\\xE9", "a\\x", "a\\xe"] {
            assert_eq!(bytes(name), Cow::Borrowed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_path_has_one_normal_form() {
        for (written, form) in [
            ("/etc//myapp/./app.conf/", "/etc/myapp/app.conf"),
            ("//", "/"),
            ("/.", "/"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(normal(written), form);
        }
    }
}
