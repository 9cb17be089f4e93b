//! Things that were there before infra, also where infra was there once and let go.

use super::{Original, State};
use crate::error::Result;
use crate::manifest::Resource;
use crate::resources::{Change, FileKind, Names, Probe, System, Value};

impl State {
    /// Keeps what others put at `path`, should they have put anything there.
    pub(super) fn keep_foreign(&mut self, path: &str, system: &mut dyn System) -> Result<()> {
        if self.is_foreign(path, system)
            && let Some(original) = Original::keep(path, system)?
        {
            self.originals.insert(path.to_owned(), original);
        }
        self.left.remove(&Names::of(system).place(path));
        Ok(())
    }

    /// Whether the thing at `path` is of others: no managed resource holds it, and it is not what infra
    /// let go there.
    fn is_foreign(&self, path: &str, probe: &dyn Probe) -> bool {
        if self.resources.values().any(|known| known.paths.iter().any(|held| held == path)) {
            return false;
        }
        match self.left.get(&Names::of(probe).place(path)) {
            Some(left) => self.content_of(path, probe).as_ref() != Some(left),
            None => true,
        }
    }

    /// Notes what infra lets go at `paths`: as long as it is the same, it is of nobody else.
    pub(super) fn leave(&mut self, paths: &[String], probe: &dyn Probe) {
        for path in paths {
            let place = Names::of(probe).place(path);
            match self.content_of(path, probe) {
                Some(content) => self.left.insert(place, content),
                None => self.left.remove(&place),
            };
        }
    }

    /// A hash of what is at `path`.
    fn content_of(&self, path: &str, probe: &dyn Probe) -> Option<String> {
        let value = match probe.stat(path).ok()??.kind {
            FileKind::File => Value::Content(probe.read(path).ok()??),
            FileKind::Symlink => Value::Text(probe.read_link(path).ok()??),
            FileKind::Directory | FileKind::Other => return None,
        };
        Some(self.key.hash(&value))
    }

    /// Notes what applying `change` makes beside what is the resource's own.
    pub(super) fn note_made(&mut self, resource: &Resource, change: &Change, probe: &dyn Probe) {
        for path in resource.spec.makes(change) {
            let place = Names::of(probe).place(&path);
            self.is_unsaved |= match probe.stat(&path) {
                Ok(None) => self.made.insert(place),
                // A folder of before, even if infra made one there once.
                Ok(Some(stat)) if stat.kind == FileKind::Directory => self.made.remove(&place),
                _ => false,
            };
        }
    }

    /// Whether infra made what is at `place`.
    pub fn has_made(&self, place: &str) -> bool {
        self.made.contains(place)
    }

    /// Why what is at the paths of `resource` cannot come back once it is applied, if that is so.
    pub fn lost_with(&self, resource: &Resource, probe: &dyn Probe) -> Option<String> {
        let replaced = resource.spec.replaces();
        let mut foreign = replaced.iter().filter(|path| self.is_foreign(path, probe));
        foreign.find_map(|path| Original::is_lost(path, probe))
    }
}
