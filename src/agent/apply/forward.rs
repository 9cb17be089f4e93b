//! A service that does not start because of a file that a later role corrects: the correction is made
//! first, or nobody but somebody on the server could mend it.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::manifest::{Resource, ResourceId};
use crate::resources::Spec;

use super::super::plan::{Checked, change_of, notifications};
use super::Run;

impl<'a> Run<'a> {
    /// Applies what is declared later for a service that did not start: files that are there and differ.
    /// Returns whether anything was changed.
    pub(super) fn bring_forward(&mut self, service: &ResourceId) -> Result<bool> {
        let resources = &self.manifest.resources;
        let position = resources.iter().position(|other| other.id == *service);
        let later = position.map_or(resources.len(), |position| position + 1);
        let indexes: Vec<usize> = (later..resources.len())
            .filter(|index| resources.get(*index).is_some_and(|one| self.corrects(one, service)))
            .collect();
        let mut has_changed = false;
        for index in indexes {
            if self.failed.is_some() || self.system.interrupted() {
                break;
            }
            let Some(resource) = resources.get(index) else { continue };
            self.step(index)?;
            self.forwarded.insert(&resource.id);
            has_changed = true;
        }
        Ok(has_changed && self.failed.is_none())
    }

    /// Whether a resource changes a file that is there, and that the service reads.
    fn corrects(&self, resource: &'a Resource, service: &ResourceId) -> bool {
        let is_file = matches!(
            resource.spec,
            Spec::File(_) | Spec::Line(_) | Spec::Symlink(_) | Spec::SystemdUnit(_)
        );
        is_file
            && !self.forwarded.contains(&resource.id)
            && notifications(resource).any(|(id, _)| id == service)
            && matches!(change_of(resource, self.system), Ok(Checked::Differs(_)))
    }

    /// The service of a step that is about nothing else.
    pub(super) fn started_alone(
        group: &[(&'a Resource, crate::resources::Change)],
    ) -> Option<&'a ResourceId> {
        match group {
            [(resource, _)] if resource.spec.as_service().is_some() => Some(&resource.id),
            _ => None,
        }
    }
}

/// The resources that were applied before their turn.
pub(super) type Forwarded<'a> = BTreeSet<&'a ResourceId>;
