//! The resources of a plan that count among settings of others: none of them may be undone by a later
//! one, or each run would change one of the two.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::events::Outcome;
use crate::manifest::{Resource, ResourceId};
use crate::resources::{Change, Probe, Value, reader_of};

use super::plan::{Checked, change_of};

/// The resources that hold at this place of a plan, each with the program that reads its settings.
#[derive(Default)]
pub(super) struct Steady<'a> {
    resources: Vec<(&'static str, &'a Resource)>,
    /// The resources that would undo earlier ones, and how.
    pub(super) refused: BTreeMap<ResourceId, Error>,
}

impl<'a> Steady<'a> {
    /// Notes a resource with this outcome that holds in `world`, and returns why it may not be changed so:
    /// an earlier one does not hold any more beside it.
    pub(super) fn look(
        &mut self,
        resource: &'a Resource,
        outcome: &Outcome,
        world: &dyn Probe,
    ) -> Option<Error> {
        let reader = reader_of(&resource.spec).filter(|_| resource.spec.desired().is_some())?;
        let undone = match outcome {
            Outcome::Ok => None,
            // Where a preview cannot tell, nobody is blamed.
            Outcome::Changed(_) if matches!(change_of(resource, world), Ok(Checked::Same)) => {
                self.undone(reader, world)
            }
            _ => return None,
        };
        self.resources.push((reader, resource));
        let (first, reason) = undone?;
        let error = Error::failed(format!("`{}` undoes `{}`", resource.id, first.id))
            .because(reason)
            .because(format!("`{}` is declared at {}", first.id, first.place))
            .hint("leave the setting to one of them");
        self.refused.insert(resource.id.clone(), error.clone());
        Some(error)
    }

    /// The first of the resources of one reader that does not hold any more, with the reason.
    fn undone(&self, reader: &str, world: &dyn Probe) -> Option<(&'a Resource, String)> {
        let same = self.resources.iter().filter(|(other, _)| *other == reader);
        same.map(|(_, resource)| *resource).find_map(|resource| {
            let reason = match change_of(resource, world) {
                Ok(Checked::Differs(change)) => in_words(&resource.id, &change),
                Err(error) => error.message,
                Ok(Checked::Same | Checked::Unknown(_)) => return None,
            };
            Some((resource, reason))
        })
    }
}

fn in_words(id: &ResourceId, change: &Change) -> String {
    let Change::Update(fields) = change else { return format!("`{id}` would go") };
    let fields = fields.iter().map(|field| {
        let found = field.current.as_ref().map_or("nothing".into(), Value::summary);
        format!("its `{}` would be {found}, not {}", field.field, field.desired.summary())
    });
    fields.collect::<Vec<_>>().join("; ")
}
