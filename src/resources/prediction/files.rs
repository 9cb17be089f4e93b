//! The files of a server as they will be.

use std::borrow::Cow;

use super::super::probe::{FileKind, Probe as _, Stat};
use super::{PredictedFile, Prediction};
use crate::error::Result;

impl Prediction<'_> {
    /// A regular file will have this content and these attributes.
    pub fn file(&mut self, path: &str, content: &[u8], owner: &str, group: &str, mode: u32) {
        let size = content.len() as u64;
        self.put(path, FileKind::File, owner, group, mode, size, Some(content.to_vec()), None);
    }

    /// A regular file of root will be there; nobody knows yet what it holds.
    pub fn unknown_file(&mut self, path: &str) {
        self.put(path, FileKind::File, "root", "root", 0o644, 0, None, None);
    }

    /// A folder will be there.
    pub fn directory(&mut self, path: &str, owner: &str, group: &str, mode: u32) {
        self.put(path, FileKind::Directory, owner, group, mode, 0, None, None);
    }

    /// A symlink will point to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        let link = Some(target.to_owned());
        self.put(path, FileKind::Symlink, "root", "root", 0o777, target.len() as u64, None, link);
    }

    /// Something will be at `path`.
    pub fn made(&mut self, path: &str) {
        self.made.insert(self.names.place(path));
    }

    /// Nothing will be at `path`, nor below it.
    pub fn removed(&mut self, path: &str) {
        let place = self.names.place(path);
        let below = format!("{place}/");
        self.files.retain(|other, _| !other.starts_with(&below));
        self.names.learn(&place, None);
        self.files.insert(place, PredictedFile::Gone);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place where a predicted file is put together"
    )]
    fn put(
        &mut self,
        path: &str,
        kind: FileKind,
        owner: &str,
        group: &str,
        mode: u32,
        size: u64,
        content: Option<Vec<u8>>,
        link: Option<String>,
    ) {
        let stat = Stat { kind, mode, owner: owner.to_owned(), group: group.to_owned(), size };
        let place = self.names.place(path);
        self.names.learn(&place, link.clone());
        self.files.insert(place, PredictedFile::There { stat, content, link });
    }

    /// The path at which the server has now what will be at `path`.
    pub(super) fn on_server<'b>(&self, path: &'b str) -> Cow<'b, str> {
        match self.names.shown_elsewhere(path) {
            Some(shown) => Cow::Owned(shown),
            None => Cow::Borrowed(path),
        }
    }

    /// The prediction for `path`, or for a folder above it that will be gone. The folder may
    /// be made anew by a later resource, so the nearest word wins.
    pub(super) fn predicted(&self, path: &str) -> Option<&PredictedFile> {
        if self.files.is_empty() {
            return None;
        }
        let place = self.names.place(path);
        if let Some(file) = self.files.get(&place) {
            return Some(file);
        }
        let mut parent = place.as_str();
        while let Some((above, _)) = parent.rsplit_once('/').filter(|(above, _)| !above.is_empty())
        {
            if let Some(gone @ PredictedFile::Gone) = self.files.get(above) {
                return Some(gone);
            }
            parent = above;
        }
        None
    }

    /// Whether others than root can put something else at `path`: where folders on the way will have another
    /// owner or mode, those count.
    pub(super) fn others_can_change(&self, path: &str) -> Result<bool> {
        if self.files.is_empty() {
            return self.real.can_others_change(path);
        }
        let mut ways = vec![self.names.place(path)];
        ways.extend(self.names.links_on(path));
        for way in ways {
            let ends = way.match_indices('/').map(|(end, _)| end).skip(1);
            let folders: Vec<&str> = ends.map(|end| &way[..end]).collect();
            let first = folders.iter().position(|folder| self.files.contains_key(*folder));
            let can = match first.and_then(|first| folders.get(first..)) {
                Some(folders) => self.others_can_change_in(folders)?,
                None => self.real.can_others_change(&way)?,
            };
            if can {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same for a way over these folders, of which the first will be another than it is.
    fn others_can_change_in(&self, folders: &[&str]) -> Result<bool> {
        let Some(first) = folders.first() else { return Ok(false) };
        let above = first.rsplit_once('/').map_or("/", |(above, _)| above);
        // In a sticky folder, nobody else can move a folder of root's.
        let is_sticky = self.real.stat(above)?.is_some_and(|stat| stat.mode & STICKY != 0);
        let is_safe = !self.real.can_others_change(first)?
            || is_sticky && !self.real.can_others_change(above)?;
        if !is_safe {
            return Ok(true);
        }
        for folder in folders {
            let stat = self.stat(folder)?.filter(|stat| stat.kind == FileKind::Directory);
            let is_of_others = |stat: Stat| {
                let has_group = stat.mode & GROUP_WRITES != 0;
                let is_of_group = has_group && !ROOTS_GROUPS.contains(&stat.group.as_str());
                stat.owner != "root" || is_of_group || stat.mode & OTHERS_WRITE != 0
            };
            if stat.is_some_and(is_of_others) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The bits of a mode that let the group, and everybody else, write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// The bit of a folder in which only owners move their things.
const STICKY: u32 = 0o1000;

/// Groups that are for people who administrate (Debian Policy 9.1.2).
const ROOTS_GROUPS: [&str; 2] = ["root", "staff"];
