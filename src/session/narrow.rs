//! A part of a manifest: what the user named, and what can be compared without secrets.

use std::collections::BTreeSet;

use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Resource, ResourceId};

/// A resource that is not compared, after the server it is on.
pub(super) type Unseen = (String, ResourceId);

/// Takes the resources that hold secrets out of a manifest that was compiled without their
/// values, and returns what was taken.
///
/// # Errors
/// If the values are needed.
pub(super) fn without_values(manifest: &mut Manifest, is_wanted: bool) -> Result<Vec<Unseen>> {
    let holds_secrets = |resource: &Resource| !resource.secrets.is_empty();
    let unseen: Vec<Unseen> = manifest
        .resources
        .iter()
        .filter(|resource| holds_secrets(resource))
        .map(|resource| (manifest.server.clone(), resource.id.clone()))
        .collect();
    if let (Some((server, id)), false) = (unseen.first(), is_wanted) {
        return Err(Error::input(format!("no identity opens the secrets of `{server}`"))
            .because(format!("`{id}` needs them"))
            .hint("name your key with `--identity`, or look with `infra diff --no-secrets`"));
    }
    manifest.resources.retain(|resource| !holds_secrets(resource));
    manifest.secrets.clear();
    Ok(unseen)
}

/// Leaves in the manifest what `only` names, without what `skip` names. The services that a
/// resource notifies stay with it, and so do the commands that wait for its change.
pub(super) fn narrow(manifest: &mut Manifest, only: &[String], skip: &[String]) -> Result<()> {
    let resources = &manifest.resources;
    for name in only.iter().chain(skip) {
        if !resources.iter().any(|resource| is_named(resource, name) || is_part(resource, name)) {
            let server = &manifest.server;
            let error = Error::input(format!("`{server}` has no role or resource `{name}`"));
            let ids = resources.iter().map(|resource| resource.id.to_string());
            let roles = resources.iter().map(|resource| resource.role.clone());
            let known: Vec<String> =
                roles.chain(resources.iter().filter_map(part)).chain(ids).collect();
            let near = nearest(name, known.iter().map(String::as_str));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
    }
    let is_skipped = |resource: &Resource| {
        skip.iter().any(|name| is_named(resource, name) || is_part(resource, name))
    };
    let is_wanted = |resource: &Resource| {
        let is_meant = |name: &String| {
            is_named(resource, name) || is_part(resource, name) || is_common(resource, name)
        };
        (only.is_empty() || only.iter().any(is_meant)) && !is_skipped(resource)
    };
    let mut kept = BTreeSet::new();
    for resource in resources.iter().filter(|resource| is_wanted(resource)) {
        kept.insert(resource.id.clone());
        kept.extend(resource.reload.iter().chain(&resource.restart).cloned());
    }
    for resource in resources.iter().filter(|resource| !is_skipped(resource)) {
        if resource.spec.runs_after_change_of().iter().any(|id| kept.contains(id)) {
            kept.insert(resource.id.clone());
        }
    }
    manifest.resources.retain(|resource| kept.contains(&resource.id));
    Ok(())
}

fn is_named(resource: &Resource, name: &str) -> bool {
    resource.role == name || resource.id.to_string() == name
}

/// The name of the part of a role that a resource belongs to: `php-app/flus.fr`.
fn part(resource: &Resource) -> Option<String> {
    resource.element.as_ref().map(|element| format!("{}/{element}", resource.role))
}

fn is_part(resource: &Resource, name: &str) -> bool {
    part(resource).as_deref() == Some(name)
}

/// Whether a resource is for all parts of the role of which `name` names a part.
fn is_common(resource: &Resource, name: &str) -> bool {
    let role = name.strip_prefix(&resource.role);
    resource.element.is_none() && role.is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Expect;
    use crate::resources::Spec;

    /// Two applications of one role with a package for both, and another role.
    fn manifest() -> Manifest {
        let resource = |role: &str, element: Option<&str>, name: &str| {
            let spec = format!(r#"{{"path": "/{name}"}}"#);
            let spec = Spec::Directory(serde_json::from_str(&spec).unwrap());
            let element = element.map(str::to_owned);
            Resource { element, ..Resource::alone(spec, role.to_owned()) }
        };
        let resources = vec![
            resource("nginx", None, "nginx"),
            resource("php-app", None, "common"),
            resource("php-app", Some("flus.fr"), "fr"),
            resource("php-app", Some("flus.io"), "io"),
        ];
        let (server, expect) = ("rufus".to_owned(), Expect::default());
        Manifest { server, expect, resources, secrets: std::collections::BTreeMap::new() }
    }

    fn kept(only: &[&str], skip: &[&str]) -> Result<String> {
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut manifest = manifest();
        narrow(&mut manifest, &owned(only), &owned(skip))?;
        let ids = manifest.resources.iter().map(|resource| resource.id.identity().to_owned());
        Ok(ids.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_part_of_a_role_is_named_by_its_key() {
        let part = &["php-app/flus.fr"][..];
        assert_eq!(kept(part, &[]).unwrap(), "/common /fr");
        assert_eq!(kept(&[], part).unwrap(), "/nginx /common /io");
        assert_eq!(kept(&["php-app"], part).unwrap(), "/common /io");
        assert_eq!(kept(&["directory:/io"], &[]).unwrap(), "/io");
        assert_eq!(
            kept(&["php-app/flus.fi"], &[]).unwrap_err().to_string(),
            "`rufus` has no role or resource `php-app/flus.fi`\nhint: did you mean `php-app/flus.fr`?"
        );
    }
}
