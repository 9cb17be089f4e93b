//! The comparison of two revisions without any server: what the change declares otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Selection, at_revision, scratch};
use crate::cli::Context;
use crate::compile::Compiler;
use crate::events::{Event, Outcome};
use crate::inventory::{ALL, Inventory, Project, Server};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::report::Report;
use crate::resources::{Change, FieldChange, State, Value};
use crate::saved_plan::Way;
use crate::secrets::{self, Folder, IdentitySource, PLANS_FILE, Store};
use crate::yaml::Node;

/// So many changed files of a server are named.
const MOST_FILES: usize = 10;

/// Stands for a field that is not there any more.
const NOTHING: &str = "(nothing)";

/// The servers of one revision.
struct Side {
    inventory: Inventory,
    manifests: BTreeMap<String, Arc<Manifest>>,
}

impl Selection {
    /// Reports how the servers of the project differ from what `revision` declares. Nothing is
    /// asked of a server, no identity is needed, and placeholders stand in for secrets.
    ///
    /// # Errors
    /// Every mistake in the project, now and at the revision.
    pub fn since(&self, context: &Context, revision: &str) -> anyhow::Result<Report> {
        let project = self.project(context)?;
        let work_tree = context.project()?;
        let base = work_tree.base_of(revision, self.at.as_deref().unwrap_or("HEAD"))?;
        let old_project = work_tree.trusted_at(&base, scratch()?.path())?;
        let changed_files = project.changed_since(&old_project);
        let new = Inventory::load(&project, self.targets.lab, &self.set)
            .map_err(|mistakes| self.named(mistakes.into()))?;
        let old = Inventory::load(&old_project, self.targets.lab, &[])
            .map_err(|mistakes| at_revision(mistakes.into(), revision))?;
        let names = self.targets.names_in_either(&new, &old)?;
        let new = side(&project, new, &names).map_err(|error| self.named(error))?;
        let old = side(&old_project, old, &names).map_err(|error| at_revision(error, revision))?;
        let shown = names.iter().filter_map(|name| {
            new.manifests.get(name).or_else(|| old.manifests.get(name)).map(Arc::clone)
        });
        let mut report = Report::new(context.output, context.verbose > 0, context.colored(), shown);
        // Nobody is asked for a passphrase: without an identity at hand the files speak.
        let identity = IdentitySource { ask: None, ..context.identity.clone() };
        let old_folder = Folder::new(&old_project.root, &identity);
        let new_folder = Folder::new(&project.root, &identity);
        for name in &names {
            let mut messages = of_server(name, &old, &new);
            messages.extend(touched(name, &old, &new, &changed_files));
            let mut files = files_of(name, &old, self.targets.lab);
            files.extend(files_of(name, &new, self.targets.lab));
            for file in files {
                messages.extend(secrets::differences(&file, &old_folder, &new_folder)?);
            }
            for message in messages {
                report.event(name, &Event::Declared { message })?;
            }
            for event in differences(name, &old, &new) {
                report.event(name, &event)?;
            }
        }
        Ok(report)
    }
}

/// The manifests of those of `names` that the revision has.
fn side(project: &Project, inventory: Inventory, names: &BTreeSet<String>) -> anyhow::Result<Side> {
    let store = Store::placeholders();
    let compiler = Compiler::new(project, &inventory, &store);
    let mut manifests = BTreeMap::new();
    let mut mistakes = crate::diagnostic::Diagnostics::new();
    for name in names.iter().filter(|name| inventory.servers.contains_key(*name)) {
        match compiler.compile(name, None) {
            Ok(manifest) => {
                manifests.insert(name.clone(), Arc::new(manifest));
            }
            Err(found) => mistakes.extend(found),
        }
    }
    drop(compiler);
    Ok(mistakes.into_result(Side { inventory, manifests })?)
}

/// The files of secrets that a server of one revision reads, and the key for plans for it.
fn files_of(name: &str, side: &Side, lab: bool) -> BTreeSet<String> {
    let server = side.inventory.servers.get(name);
    let files = server.map(|server| Store::files_of(name, &server.groups, lab));
    let plans = (!lab).then(|| PLANS_FILE.to_owned());
    files.unwrap_or_default().into_iter().chain(plans).collect()
}

/// How a server differs beside its resources, as lowercase phrases.
fn of_server(name: &str, old: &Side, new: &Side) -> Vec<String> {
    let servers = [old, new].map(|side| side.inventory.servers.get(name));
    let [Some(before), Some(after)] = servers else {
        return vec![match servers {
            [None, _] => "the change adds this server".to_owned(),
            _ => "the change removes this server: infra does nothing on it any more".to_owned(),
        }];
    };
    let mut settings = Way::from(&before.ssh).differences(&Way::from(&after.ssh));
    let password = |server: &Server| {
        server.sudo_password.as_ref().and_then(Node::as_str).unwrap_or(NOTHING).to_owned()
    };
    let groups = |server: &Server| server.groups.join(", ");
    let expect = |server: &Server| serde_json::to_string(&server.expect).unwrap_or_default();
    let more = [
        ("ssh.sudo.password", password(before), password(after)),
        ("groups", groups(before), groups(after)),
        ("expect", expect(before), expect(after)),
    ];
    settings.extend(more.into_iter().filter(|(_, before, after)| before != after));
    let phrase = |(setting, before, after): (&str, String, String)| {
        format!("`{setting}` changes from `{before}` to `{after}`")
    };
    settings.into_iter().map(phrase).collect()
}

/// The changed files that a server is made from, as a phrase. They are named because placeholders
/// stand in for secrets: how a role decides on the value of a secret cannot be seen in its resources.
fn touched(name: &str, old: &Side, new: &Side, changed: &BTreeSet<String>) -> Option<String> {
    let mut places = vec!["templates/".to_owned(), format!("inventory/{name}.yaml")];
    for server in [old, new].iter().filter_map(|side| side.inventory.servers.get(name)) {
        places.extend(server.roles.iter().map(|role| format!("roles/{}/", role.name)));
        let groups = server.groups.iter().map(String::as_str).chain([ALL]);
        places.extend(groups.map(|group| format!("inventory/groups/{group}.yaml")));
    }
    let files: Vec<String> = changed
        .iter()
        .filter(|file| places.iter().any(|place| file.starts_with(place.as_str())))
        .map(|file| format!("`{file}`"))
        .collect();
    let more = match files.len().saturating_sub(MOST_FILES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = files.iter().take(MOST_FILES).cloned().collect::<Vec<_>>().join(", ");
    (!files.is_empty()).then(|| format!("the change touches {named}{more}"))
}

/// The events that tell how the resources of a server differ.
fn differences(name: &str, old: &Side, new: &Side) -> Vec<Event> {
    let declared = |message: String| Event::Declared { message };
    let mut events = Vec::new();
    let (before, after) = (old.manifests.get(name), new.manifests.get(name));
    if after.is_none() {
        return vec![Event::PlanComplete];
    }
    let resources =
        |manifest: Option<&Arc<Manifest>>| manifest.map_or(Vec::new(), |m| m.resources.clone());
    let (before, after) = (resources(before), resources(after));
    if is_reordered(&before, &after) {
        events.push(declared("the order of its resources changes".to_owned()));
    }
    let find = |resources: &[Resource], id: &ResourceId| {
        resources.iter().find(|resource| resource.id == *id).cloned()
    };
    for resource in &after {
        let outcome = match find(&before, &resource.id) {
            None => Outcome::Changed(Change::Create(State::from_fields(fields(resource)))),
            Some(known) => {
                changed(&fields(&known), &fields(resource)).map_or(Outcome::Ok, Outcome::Changed)
            }
        };
        events.push(Event::Checked { id: resource.id.clone(), outcome, mark: None });
    }
    for resource in before.iter().filter(|known| find(&after, &known.id).is_none()) {
        let outcome = Outcome::Changed(Change::Remove);
        events.push(Event::Checked { id: resource.id.clone(), outcome, mark: None });
    }
    events.push(Event::PlanComplete);
    events
}

/// Whether resources that both have stand in another order.
fn is_reordered(before: &[Resource], after: &[Resource]) -> bool {
    let ids = |resources: &[Resource]| -> Vec<ResourceId> {
        resources.iter().map(|resource| resource.id.clone()).collect()
    };
    let (before, after) = (ids(before), ids(after));
    let both = |ids: &[ResourceId], others: &[ResourceId]| -> Vec<ResourceId> {
        let others: BTreeSet<&ResourceId> = others.iter().collect();
        ids.iter().filter(|id| others.contains(id)).cloned().collect()
    };
    both(&before, &after) != both(&after, &before)
}

fn changed(before: &[(String, Value)], after: &[(String, Value)]) -> Option<Change> {
    let find = |fields: &[(String, Value)], name: &str| {
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
    };
    let gone = before.iter().filter(|(name, _)| find(after, name).is_none());
    let gone = gone.map(|(name, _)| (name, Value::from(NOTHING)));
    let kept = after.iter().map(|(name, value)| (name, value.clone()));
    let changes: Vec<FieldChange> = kept
        .chain(gone)
        .map(|(name, desired)| FieldChange {
            field: name.clone(),
            current: find(before, name),
            desired,
        })
        .filter(|change| change.current.as_ref() != Some(&change.desired))
        .collect();
    (!changes.is_empty()).then_some(Change::Update(changes))
}

/// Everything that a resource declares: the fields of its state, those of its spec that are no part
/// of the state, and its relations to others.
fn fields(resource: &Resource) -> Vec<(String, Value)> {
    let desired = resource.spec.desired().unwrap_or_default();
    let mut fields: Vec<(String, Value)> =
        desired.fields().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let spec = serde_json::to_value(&resource.spec).unwrap_or_default();
    let inner = spec.as_object().and_then(|spec| spec.values().next()?.as_object().cloned());
    for (name, value) in inner.unwrap_or_default() {
        let is_known = fields.iter().any(|(known, _)| *known == name)
            || ["name", "path"].contains(&name.as_str()) && value == resource.id.identity()
            || (name.as_str(), &value) == ("state", &"present".into());
        fields.extend(value_of(&value).filter(|_| !is_known).map(|value| (name, value)));
    }
    let ids = |ids: &[ResourceId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, ids) in [
        ("requires", ids(&resource.requires)),
        ("reload", ids(&resource.reload)),
        ("restart", ids(&resource.restart)),
    ] {
        if !ids.is_empty() {
            fields.push((name.to_owned(), Value::from(ids.join(", ").as_str())));
        }
    }
    if resource.guard.is_some() {
        fields.push(("guard".to_owned(), Value::from("access")));
    }
    fields
}

/// A field of a spec, unless nothing is said with it.
fn value_of(value: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    match value {
        Json::Null => None,
        Json::Array(list) if list.is_empty() => None,
        Json::Object(map) if map.is_empty() => None,
        Json::String(text) if text.contains('\n') => Some(Value::Content(text.clone().into())),
        Json::String(text) => Some(Value::from(text.as_str())),
        other => Some(Value::from(other.to_string().as_str())),
    }
}
