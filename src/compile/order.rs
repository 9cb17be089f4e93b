//! The order of resources, as far as it can be known without a server.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::{Resource, ResourceId};
use crate::resources::Spec;
use crate::resources::names::is_in;

/// Folders in which packages put nothing: whatever is there was declared, or made by a command or a clone.
const OF_PEOPLE: [&str; 5] = ["/home", "/media", "/mnt", "/root", "/srv"];

/// Refuses a resource that needs another one which is declared later, or declared to be absent.
pub(super) fn check(
    resources: &[Resource],
    places: &BTreeMap<ResourceId, Span>,
    mistakes: &mut Diagnostics,
) {
    let positions: BTreeMap<&ResourceId, usize> =
        resources.iter().enumerate().map(|(position, one)| (&one.id, position)).collect();
    for (position, resource) in resources.iter().enumerate() {
        if resource.spec.desired().is_none() {
            continue;
        }
        let needs = resource.spec.needs();
        let mut wrong = needs.iter().filter_map(|id| {
            let other = *positions.get(id)?;
            let needed = resources.get(other)?;
            let words = if needed.spec.desired().is_none() {
                "is to be absent"
            } else if other > position {
                "is declared later"
            } else {
                return None;
            };
            Some((needed, words))
        });
        let wrong = wrong.next().or_else(|| {
            Some((folder_of_later(resource, position, resources)?, "is declared later"))
        });
        let Some((needed, words)) = wrong else { continue };
        let (Some(place), Some(other)) = (places.get(&resource.id), places.get(&needed.id)) else {
            continue;
        };
        let message = format!("`{}` needs `{}`, which {words}", resource.id, needed.id);
        let hint = match words {
            "is declared later" => "declare it before",
            _ => "let both go, or keep both",
        };
        mistakes.push(Diagnostic::at(place, message).and(other, "declared here").hint(hint));
    }
}

/// The directory that is declared later and in which a resource is made.
fn folder_of_later<'a>(
    resource: &Resource,
    position: usize,
    resources: &'a [Resource],
) -> Option<&'a Resource> {
    let is_made = match &resource.spec {
        Spec::Directory(directory) => !directory.parents,
        Spec::Archive(_) | Spec::File(_) | Spec::Git(_) | Spec::Symlink(_) => true,
        _ => false,
    };
    let path = Some(resource.id.identity()).filter(|_| is_made)?;
    if !OF_PEOPLE.iter().any(|folder| is_in(path, folder)) {
        return None;
    }
    let before = resources.get(..position).unwrap_or_default();
    let may_make = |other: &Resource| {
        let makes = matches!(other.spec, Spec::Command(_) | Spec::Mount(_) | Spec::Volume(_));
        makes || is_in(path, other.id.identity()) && other.spec.desired().is_some()
    };
    if before.iter().any(may_make) {
        return None;
    }
    let mut later = resources.iter().skip(position + 1);
    later.find(|other| {
        let is_folder = matches!(other.spec, Spec::Directory(_)) && other.spec.desired().is_some();
        is_folder && is_in(path, other.id.identity())
    })
}
