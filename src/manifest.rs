//! The contract between the two ends: the compiled input of one server.
//!
//! Puppet calls the same thing a catalog. The same input compiles to the same bytes: every map
//! is ordered and nothing in it depends on time or place.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resources::Spec;
use crate::resources::names::normal;
use crate::secret::Secret;

/// Everything one server should be, in the order in which it is made so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name of the server: its file name in `inventory/`.
    pub server: String,
    /// The facts it was compiled with; the agent reports where the real ones differ.
    pub expect: Expect,
    /// The resources, in the order written.
    pub resources: Vec<Resource>,
    /// The secrets that the resources use, by dotted name, so that the agent can mask them in
    /// what it reports.
    pub secrets: BTreeMap<String, Secret>,
}

/// The facts a manifest was compiled with, as the inventory's `expect` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// `debian-12`, for example: `ID` and `VERSION_ID` of `/etc/os-release`.
    pub os: Option<String>,
    /// Number of processors.
    pub cpus: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Size of the root file system in bytes.
    pub disk_bytes: Option<u64>,
    /// Packages that should not be there, and are reported if they are.
    pub without: Vec<String>,
}

/// One thing to hold in a state, with what is asked around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// How it is written everywhere: `kind:identity`.
    pub id: ResourceId,
    /// The role that asked for it.
    pub role: String,
    /// Where it is written: `roles/nginx/role.yaml:12`.
    pub place: String,
    /// The key of the outermost `for_each` over a map that it is made in, such as the domain of an
    /// application. Only the client asks, so that it does not travel.
    #[serde(skip)]
    pub element: Option<String>,
    /// The state to hold.
    pub spec: Spec,
    /// Resources that must not have failed before this one is applied.
    pub requires: Vec<ResourceId>,
    /// Services to reload when this one changed; they are resources of the same manifest.
    pub reload: Vec<ResourceId>,
    /// Services to restart when this one changed.
    pub restart: Vec<ResourceId>,
    /// Whether its change may lock everybody out, so that it has to be proved harmless.
    pub guard: Option<Guard>,
    /// Dotted names of the secrets that its content holds; keys of [`Manifest::secrets`].
    pub secrets: Vec<String>,
    /// Whether one of them may be in it in a form that no search finds, so that its texts are
    /// hidden whole. Only reports ask, so that it does not travel.
    #[serde(skip)]
    pub is_untraceable: bool,
}

impl Resource {
    /// A resource of a role with nothing asked around it, which is written nowhere.
    pub fn alone(spec: Spec, role: String) -> Self {
        Self {
            id: spec.id(),
            role,
            place: String::new(),
            element: None,
            spec,
            requires: Vec::new(),
            reload: Vec::new(),
            restart: Vec::new(),
            guard: None,
            secrets: Vec::new(),
            is_untraceable: false,
        }
    }
}

/// What a change of a resource could take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The way in: sshd, the firewall, the keys and the sudo of who logs in.
    Access,
}

/// `kind:identity`, unique in a manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId(String);

impl ResourceId {
    /// Joins a kind and what identifies one resource of it.
    pub fn new(kind: &str, identity: &str) -> Self {
        Self(format!("{kind}:{identity}"))
    }

    /// The id that `text` writes, if it has the form `kind:identity`. An identity that is a path may
    /// be spelled in any way.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, identity) = text.split_once(':')?;
        let is_id = !kind.is_empty() && !identity.is_empty();
        let is_path = kind != "line" && identity.starts_with('/');
        is_id.then(
            || {
                if is_path { Self::new(kind, &normal(identity)) } else { Self(text.to_owned()) }
            },
        )
    }

    /// The part before the first colon.
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(kind, _)| kind)
    }

    /// The part after the first colon.
    pub fn identity(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, identity)| identity)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
