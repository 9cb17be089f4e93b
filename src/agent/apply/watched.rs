//! Services that were told to reload: they are watched while the run goes on, and for a moment at
//! its end, until they have shown that they live on.

use crate::error::Result;
use crate::events::{Event, ServiceAction};
use crate::manifest::ResourceId;

use super::super::plan::raise;
use super::super::undo::Snapshot;
use super::Run;

/// The time between two looks at the end of a run.
const LOOK_MILLISECONDS: u32 = 50;

impl Run<'_> {
    /// Forgets the snapshots that `which` selects, because what they belong to works, as far as is
    /// known: those of watched services are kept until that is sure.
    pub(super) fn let_go(&mut self, which: impl Fn(&Snapshot) -> bool) {
        let (gone, rest): (Vec<_>, _) = std::mem::take(&mut self.undo).into_iter().partition(which);
        self.undo = rest;
        let is_watched =
            |snapshot: &Snapshot| snapshot.services.iter().any(|id| self.watched.contains_key(id));
        self.kept_for_watched.extend(gone.into_iter().filter(is_watched));
    }

    /// Looks at each watched service once. For one that ended, what was switched is put back.
    pub(super) fn look_at_watched(&mut self) -> Result<()> {
        let ids: Vec<ResourceId> = self.watched.keys().cloned().collect();
        for id in ids {
            let Some(mut watch) = self.watched.remove(&id) else { continue };
            match watch.is_over(self.system) {
                Ok(false) => {
                    self.watched.insert(id, watch);
                }
                Ok(true) => self.has_lived_on(&id)?,
                Err(error) => {
                    let action = ServiceAction::Reload;
                    let event = Event::ServiceDone { id: id.clone(), action, error: Some(error) };
                    self.emitter.emit(event);
                    self.failed.get_or_insert_with(|| id.clone());
                    let kept = std::mem::take(&mut self.kept_for_watched).into_iter();
                    let (back, kept): (Vec<_>, _) =
                        kept.partition(|snapshot| snapshot.services.contains(&id));
                    self.kept_for_watched = kept;
                    self.undo.splice(0..0, back);
                    self.put_back(|snapshot| snapshot.services.contains(&id));
                    // There is nothing left that could be told to read the old files.
                    if self.due.contains_key(&id) {
                        raise(&mut self.due, &id, ServiceAction::Restart);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until all have shown that they live on, or were put back.
    pub(super) fn watch_to_the_end(&mut self) -> Result<()> {
        while !self.watched.is_empty() && !self.system.interrupted() {
            self.system.sleep_milliseconds(LOOK_MILLISECONDS);
            self.watched.values_mut().for_each(|watch| watch.has_waited(LOOK_MILLISECONDS));
            self.look_at_watched()?;
            if !self.due.is_empty() {
                self.settle(self.manifest.resources.len())?;
            }
        }
        Ok(())
    }

    fn has_lived_on(&mut self, id: &ResourceId) -> Result<()> {
        let watched = &self.watched;
        self.kept_for_watched
            .retain(|snapshot| snapshot.services.iter().any(|id| watched.contains_key(id)));
        // More may have been switched for it since.
        if self.due.contains_key(id) {
            return Ok(());
        }
        self.state.settle_service(self.system, id)
    }
}
