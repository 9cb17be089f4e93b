//! A change that nobody trusts yet: what servers may be asked about it.
//!
//! The trusted revision says how servers are reached, and what they are asked. A resource of the
//! change takes part where it is the trusted one word for word, or where its check looks at
//! nothing else and shows nothing else than that of the trusted one. Of all others the servers do
//! not even hear.

use std::collections::BTreeSet;

use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::Spec;

/// Takes out of `manifest` what a server may not be asked, and returns the ids. `trusted` is the
/// manifest of the trusted revision, without what depends on secrets.
pub(super) fn distrust(manifest: &mut Manifest, trusted: &Manifest) -> Vec<ResourceId> {
    let known = |resource: &Resource| {
        trusted.resources.iter().find(|known| known.id == resource.id).is_some_and(|known| {
            known.spec == resource.spec || looks_no_further(&resource.spec, &known.spec)
        })
    };
    let (kept, unknown) = std::mem::take(&mut manifest.resources).into_iter().partition(known);
    manifest.resources = kept;
    manifest.expect = trusted.expect.clone();
    unknown.into_iter().map(|resource| resource.id).collect()
}

/// Whether the check of `changed` reads nothing that the check of `trusted` does not read, shows
/// nothing that it does not show, and starts no program.
///
/// The identity of these two kinds is their path, and all that they look at is there. Other kinds
/// search with patterns, follow names to other files, or ask programs.
fn looks_no_further(changed: &Spec, trusted: &Spec) -> bool {
    let is_path_alone = match (changed, trusted) {
        (Spec::File(changed), Spec::File(trusted)) => {
            // What is written once and then left to others is not shown by the trusted one.
            changed.create_only == trusted.create_only
        }
        // To remove a directory is to look into the directory.
        (Spec::Directory(_), Spec::Directory(_)) => changed.desired().is_some(),
        _ => false,
    };
    let fields = |spec: &Spec| -> BTreeSet<String> {
        let desired = spec.desired().unwrap_or_default();
        desired.fields().map(|(name, _)| name.to_owned()).collect()
    };
    is_path_alone && fields(changed).is_subset(&fields(trusted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Expect;

    fn manifest(resources: &[(&str, &str)]) -> Manifest {
        let resource = |(kind, spec): &(&str, &str)| {
            let spec: serde_yaml::Value = serde_yaml::from_str(spec).unwrap();
            let spec = Spec::deserialize_kind(kind, spec).unwrap().unwrap();
            let place = "roles/demo/role.yaml:1".to_owned();
            Resource { place, ..Resource::alone(spec, "demo".to_owned()) }
        };
        Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: resources.iter().map(resource).collect(),
            secrets: std::collections::BTreeMap::new(),
        }
    }

    /// Each row: a kind, the trusted spec (none: the change adds the resource), the changed one, and
    /// whether a server is asked about it.
    const CASES: &[(&str, &str, &str, bool)] = &[
        ("file", "{ path: /etc/motd, content: a }", "{ path: /etc/motd, content: b }", true),
        ("file", "{ path: /etc/motd, content: a }", "{ path: /etc/motd, state: absent }", true),
        ("file", "{ path: /etc/motd, state: absent }", "{ path: /etc/motd, content: b }", false),
        ("file", "", "{ path: /etc/shadow, content: b }", false),
        ("file", "{ path: /a, content: a, create_only: true }", "{ path: /a, content: b }", false),
        ("directory", "{ path: /srv, mode: '0755' }", "{ path: /srv, mode: '0700' }", true),
        ("directory", "{ path: /srv }", "{ path: /srv, state: absent }", false),
        ("symlink", "{ path: /a, target: b }", "{ path: /a, target: c }", false),
        ("symlink", "{ path: /a, target: b }", "{ path: /a, target: b }", true),
        ("line", "{ path: /a, line: b, match: ^b }", "{ path: /a, line: b, match: ^p }", false),
        ("command", "{ name: a, run: [b], unless: [c] }", "{ name: a, run: [b] }", false),
        (
            "command",
            "{ name: a, run: [b], unless: [c] }",
            "{ name: a, run: [b], unless: [c] }",
            true,
        ),
        ("package", "{ name: nginx }", "{ name: nginx, version: '1' }", false),
        ("port_check", "{ port: 80 }", "{ port: 80, host: 10.0.0.1 }", false),
    ];

    #[test]
    fn a_server_is_asked_what_the_trusted_revision_asks() {
        for (kind, trusted, changed, is_asked) in CASES {
            let before = if trusted.is_empty() { vec![] } else { vec![(*kind, *trusted)] };
            let mut manifest = manifest(&[(*kind, *changed)]);
            let ids = distrust(&mut manifest, &self::manifest(&before));
            assert_eq!(manifest.resources.len(), usize::from(*is_asked), "{kind} {changed}");
            assert_eq!(ids.len(), usize::from(!*is_asked), "{kind} {changed}");
        }
    }
}
