//! What resources ask of each other: names become resources, and each name stands for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::Failure;
use super::scope::Scope;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::{Resource, ResourceId};
use crate::resources::clashes;
use crate::yaml::Node;

/// A resource whose links to others are still names.
pub(super) struct Linked {
    pub(super) resource: Resource,
    pub(super) span: Span,
    pub(super) requires: Vec<(String, Span)>,
    pub(super) reload: Vec<(String, Span)>,
    pub(super) restart: Vec<(String, Span)>,
}

/// The names in `requires`, `reload` or `restart`.
pub(super) fn links(
    node: Option<&Node>,
    what: &str,
    scope: &Arc<Scope>,
) -> Result<Vec<(String, Span)>, Failure> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let node = scope.evaluate(node)?;
    let one = std::slice::from_ref(&node);
    let mut names = Vec::new();
    for element in node.as_list().unwrap_or(one) {
        match element.scalar() {
            Some(name) => names.push((name.to_owned(), element.span.clone())),
            None if element.is_null() => {}
            None => return Err(Box::new(element.wrong_kind(what, "a name or a list of names"))),
        }
    }
    Ok(names)
}

/// Each id once. Two roles may ask for the very same thing, a package for example: then the first
/// stays, with what both ask for around it. Anything else of the same id is a mistake.
fn unique(
    linked: Vec<Linked>,
    mistakes: &mut Diagnostics,
) -> (Vec<Linked>, BTreeMap<ResourceId, Span>) {
    let mut places: BTreeMap<ResourceId, Span> = BTreeMap::new();
    let mut kept: Vec<Linked> = Vec::with_capacity(linked.len());
    for one in linked {
        let Some(first) = places.get(&one.resource.id) else {
            places.insert(one.resource.id.clone(), one.span.clone());
            kept.push(one);
            continue;
        };
        match kept.iter_mut().find(|known| known.resource.id == one.resource.id) {
            Some(known) if known.resource.spec == one.resource.spec => {
                known.requires.extend(one.requires);
                known.reload.extend(one.reload);
                known.restart.extend(one.restart);
                known.resource.guard = known.resource.guard.or(one.resource.guard);
            }
            _ => {
                let message = format!("`{}` is declared twice", one.resource.id);
                let mistake = Diagnostic::at(&one.span, message);
                mistakes.push(if *first == one.span {
                    mistake.label("differently in two rounds of a `for_each`")
                } else {
                    mistake.label("differently here").and(first, "first here")
                });
            }
        }
    }
    (kept, places)
}

/// Refuses two resources that decide otherwise about one file, or want what only one of them can have.
fn alone(resources: &[Resource], places: &BTreeMap<ResourceId, Span>, mistakes: &mut Diagnostics) {
    let place = |resource: &Resource| places.get(&resource.id);
    for clash in clashes(resources, None) {
        let (Some(first), Some(second)) = (place(clash.first), place(clash.second)) else {
            continue;
        };
        let mistake = Diagnostic::at(second, clash.message()).label("declared here");
        mistakes.push(mistake.and(first, "and here").hint(clash.hint()));
    }
    let mut claimed: BTreeMap<String, &Resource> = BTreeMap::new();
    for resource in resources.iter().filter(|one| one.spec.desired().is_some()) {
        // Without a server, nothing can go wrong.
        for claim in resource.spec.claims(None).unwrap_or_default() {
            let Some(other) = claimed.insert(claim.clone(), resource) else { continue };
            let (Some(first), Some(second)) = (place(other), place(resource)) else { continue };
            let message = format!("`{}` and `{}` both have the {claim}", resource.id, other.id);
            let mistake = Diagnostic::at(second, message).label("declared here");
            mistakes.push(mistake.and(first, "and here").hint("give one of them another"));
        }
    }
}

/// Turns the names in links into resources, and refuses two resources of the same id, or that undo each
/// other.
pub(super) fn resolve(linked: Vec<Linked>, mistakes: &mut Diagnostics) -> Vec<Resource> {
    let (linked, places) = unique(linked, mistakes);
    let services: Vec<ResourceId> = linked
        .iter()
        .filter(|one| one.resource.spec.as_service().is_some())
        .map(|one| one.resource.id.clone())
        .collect();
    let mut resources = Vec::with_capacity(linked.len());
    for one in linked {
        let mut resource = one.resource;
        for (name, span) in &one.requires {
            if let Some(id) = ResourceId::parse(name).filter(|id| places.contains_key(id)) {
                resource.requires.push(id);
                continue;
            }
            let ids: Vec<String> = places.keys().map(ToString::to_string).collect();
            mistakes.push(
                Diagnostic::at(span, format!("`{name}` is not a resource of this server"))
                    .suggest(name, ids.iter().map(String::as_str)),
            );
        }
        for id in resource.spec.runs_after_change_of() {
            if !places.contains_key(&id) {
                let ids: Vec<String> = places.keys().map(ToString::to_string).collect();
                let id = id.to_string();
                mistakes.push(
                    Diagnostic::at(&one.span, format!("`{id}` is not a resource of this server"))
                        .suggest(&id, ids.iter().map(String::as_str)),
                );
            }
        }
        for (names, links) in
            [(&one.reload, &mut resource.reload), (&one.restart, &mut resource.restart)]
        {
            for (name, span) in names {
                match service(name, &services) {
                    Some(id) => links.push(id.clone()),
                    None => mistakes.push(
                        Diagnostic::at(span, format!("no resource declares the service `{name}`"))
                            .suggest(name, services.iter().map(ResourceId::identity)),
                    ),
                }
            }
        }
        resources.push(resource);
    }
    alone(&resources, &places, mistakes);
    super::order::check(&resources, &places, mistakes);
    resources
}

/// The service that a link means: `nginx`, `nginx.service` or `service:nginx`.
fn service<'a>(name: &str, services: &'a [ResourceId]) -> Option<&'a ResourceId> {
    let plain = |text: &str| text.strip_suffix(".service").unwrap_or(text).to_owned();
    services.iter().find(|id| id.to_string() == name || plain(id.identity()) == plain(name))
}
