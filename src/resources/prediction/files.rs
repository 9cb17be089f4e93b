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

    /// What is predicted for `path`, or for a folder above it that will be gone. The folder may
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
        let mut ways = vec![self.names.place(path)];
        ways.extend(self.names.links_on(path));
        let folders = || {
            let ends =
                ways.iter().flat_map(|way| way.match_indices('/').map(move |it| (way, it.0)));
            ends.map(|(way, end)| if end == 0 { "/" } else { &way[..end] })
        };
        if !folders().any(|folder| self.files.contains_key(folder)) {
            return self.real.can_others_change(path);
        }
        for folder in folders() {
            let stat = self.stat(folder)?.filter(|stat| stat.kind == FileKind::Directory);
            let is_of_others = |stat: Stat| {
                let is_of_group = stat.group != "root" && stat.mode & GROUP_WRITES != 0;
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
