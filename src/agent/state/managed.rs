//! What the host remembers of one resource that infra manages.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::Result;
use crate::events::{Mark, ServiceAction};
use crate::manifest::{Guard, Resource, ResourceId};
use crate::resources::{
    Change, DIFFERS, Dropped, FieldChange, LINKED_OTHERWISE, Names, OUTDATED, Probe, Spec,
    State as Fields, UnitBefore, Value,
};

/// One resource that infra manages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Managed {
    /// The role that declared it.
    pub role: String,
    /// Where it stood among the others: what came last goes first.
    pub order: u32,
    /// The services to tell when it goes.
    pub notifies: Vec<(ResourceId, ServiceAction)>,
    /// The paths whose whole content is its own.
    pub paths: Vec<String>,
    /// A keyed hash of each field as it was last applied; empty until that has succeeded.
    pub fields: BTreeMap<String, String>,
    /// The same of what the server had after that, for fields that are told in words of the spec.
    #[serde(default)]
    pub traces: BTreeMap<String, String>,
    /// Where its paths led when it was applied last, over the links on the way; `None` where an older
    /// build applied it.
    #[serde(default)]
    pub places: Option<BTreeMap<String, String>>,
    /// What becomes of it when it is no longer declared.
    pub dropped: Dropped<Spec>,
    /// Whether it was there before infra: what infra did not make, it does not take away.
    pub existed: bool,
    /// How the unit that it holds was before infra; `None` for other kinds, for units that infra brought, and
    /// where an older build applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_before: Option<UnitBefore>,
    /// Whether its going may lock everybody out.
    #[serde(default)]
    pub guard: Option<Guard>,
    /// Whether what is on the server holds secrets, so that no difference of it may be shown:
    /// also while a run takes the last one out.
    pub holds_secrets: bool,
}

impl Managed {
    /// A resource at its place in the manifest, nothing of it applied yet; `None` if there is
    /// nothing to remember of its kind.
    pub fn of(resource: &Resource, order: usize, existed: bool, probe: &dyn Probe) -> Option<Self> {
        let notifies = super::super::plan::notifications(resource);
        Some(Self {
            role: resource.role.clone(),
            order: u32::try_from(order).unwrap_or(u32::MAX),
            notifies: notifies.map(|(id, action)| (id.clone(), action)).collect(),
            paths: resource.spec.replaces(),
            fields: BTreeMap::new(),
            traces: BTreeMap::new(),
            places: Some(places(resource, probe)),
            dropped: resource.spec.dropped_on(probe)?,
            existed,
            unit_before: None,
            guard: resource.guard,
            holds_secrets: !resource.secrets.is_empty(),
        })
    }

    /// The paths whose content is its own and that lead elsewhere than when it was `known` to be
    /// applied: each with the place then and now.
    pub fn moved_since(&self, known: &Self) -> Vec<(String, String, String)> {
        let (Some(then), Some(now)) = (&known.places, &self.places) else { return Vec::new() };
        let places = self.paths.iter().filter_map(|path| {
            let (then, now) = (then.get(path)?, now.get(path)?);
            (then != now).then(|| (path.clone(), then.clone(), now.clone()))
        });
        places.collect()
    }

    /// Whether it stays since it was there before infra. Where a file of before comes back, that is not left
    /// as it is; the containers of a project are.
    pub fn stays_as_found(&self) -> bool {
        let is_project = matches!(self.away(), Some(Spec::DockerCompose(_)));
        self.existed && (self.paths.is_empty() || is_project)
    }

    /// The spec that takes it away, if there is one.
    pub fn away(&self) -> Option<&Spec> {
        self.dropped.gently.as_ref().or(self.dropped.with_data.as_ref())
    }

    /// Whether somebody has changed the content of its one file since it was applied last.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_edited(&self, key: &Key, probe: &dyn Probe) -> Result<bool> {
        let (Some(known), [path]) = (self.fields.get("content"), self.paths.as_slice()) else {
            return Ok(false);
        };
        let content = probe.read(path)?;
        Ok(content.is_some_and(|content| key.hash(&Value::Content(content)) != *known))
    }

    /// Whether its name stands for another thing than when it was `known` to be applied: where infra
    /// has only found that, somebody else brought it.
    pub fn stands_for_another(&self, known: &Self) -> bool {
        !known.fields.is_empty() && self.away().map(Spec::id) != known.away().map(Spec::id)
    }

    /// Whether a change is the inventory's, or one that somebody made on the server; `traces` are
    /// what the server has now.
    pub fn mark(&self, key: &Key, change: &Change, traces: &Fields) -> Option<Mark> {
        if self.fields.is_empty() {
            return None;
        }
        let applied = |field: &str, value: &Value| {
            self.fields.get(field).is_some_and(|known| *known == key.hash(value))
        };
        let was_right = |field: &str, value: &Value| {
            applied(field, value) || self.away().is_some_and(|spec| spec.allowed(field, value))
        };
        let (is_own, is_drift) = match change {
            // It was there when it was last applied.
            Change::Create(state) => {
                (!state.fields().all(|(field, value)| applied(field, value)), true)
            }
            Change::Update(changes) => {
                let is_outdated = |change: &FieldChange| {
                    let own = [OUTDATED, LINKED_OTHERWISE];
                    own.iter().any(|own| change.current == Some((*own).into()))
                };
                let changes: Vec<_> = changes.iter().filter(|one| !is_outdated(one)).collect();
                if changes.is_empty() {
                    return None;
                }
                let is_own = !changes.iter().all(|change| applied(&change.field, &change.desired));
                let is_drift = changes.iter().any(|change| {
                    let is_known = self.fields.contains_key(&change.field);
                    let trace = traces.field(&change.field);
                    match (&change.current, trace, self.traces.get(&change.field)) {
                        (_, Some(now), Some(then)) => is_known && *then != key.hash(now),
                        // An older build kept no traces: nobody can tell any more.
                        (_, Some(_), None) => false,
                        // Not what is asked for now, which says nothing of what was there before.
                        (Some(value), ..) if is_own && *value == Value::from(DIFFERS) => false,
                        (Some(value), ..) => is_known && !was_right(&change.field, value),
                        (None, ..) => is_known,
                    }
                });
                (is_own, is_drift)
            }
            Change::Remove => return None,
        };
        match (is_own, is_drift) {
            (false, true) => Some(Mark::Drift),
            (true, true) => Some(Mark::AlsoDrift),
            (_, false) => None,
        }
    }
}

/// The place of each path that a resource is about.
fn places(resource: &Resource, probe: &dyn Probe) -> BTreeMap<String, String> {
    let names = Names::of(probe);
    let paths = super::super::twins::paths(resource, probe).into_iter();
    paths.map(|path| (path.clone(), names.place(&path))).collect()
}

/// The key of the hashes: without it nobody can tell a value by trying likely ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// A key from 32 random bytes.
    pub fn new(random: &[u8]) -> Self {
        Self(hex(random))
    }

    /// The key in a file of its own.
    pub fn from_file(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).trim().to_owned())
    }

    /// The key as its file holds it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hashes of the fields of a state.
    pub fn hashes(&self, state: &Fields) -> BTreeMap<String, String> {
        state.fields().map(|(field, value)| (field.to_owned(), self.hash(value))).collect()
    }

    /// 64 bits of HMAC-SHA256: enough to tell a change, too little to be of other use.
    pub fn hash(&self, value: &Value) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()) else {
            // HMAC takes keys of any length.
            return String::new();
        };
        match value {
            Value::Text(text) | Value::Hidden(text) => mac.update(text.as_bytes()),
            Value::Content(bytes) => mac.update(bytes),
            Value::Digest { sha256, .. } => mac.update(sha256),
            Value::Set(names) => names.iter().for_each(|name| {
                mac.update(name.as_bytes());
                mac.update(&[0]);
            }),
        }
        hex(&mac.finalize().into_bytes()[..8])
    }
}

/// Bytes as lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
