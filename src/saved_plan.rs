//! A plan in a file: what was compiled, and what was seen of the servers then.
//!
//! The text holds the values of secrets. It is written only encrypted, to those who may read the
//! secrets of every server in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::events::{Event, Mark, Outcome, RunRecord, ServiceAction};
use crate::manifest::{Manifest, ResourceId};
use crate::transport::agent::AGENTS;
use crate::wire::RunOptions;

/// Grows when the text changes its form.
const FORMAT: u32 = 2;

/// How many differences of a server are told.
const MOST_DIFFERENCES: usize = 5;

/// What every build can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    infra_plan: u32,
    build: String,
    /// Who made it: `user@laptop`.
    pub who: String,
    /// The git commit of the project, with `-dirty` if the work tree differed.
    pub commit: Option<String>,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Whether it is about servers of the lab.
    pub is_lab: bool,
}

/// What was compiled for one server, and what was seen there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedServer {
    /// What it should be.
    pub manifest: Manifest,
    /// What it was, and what would have changed.
    pub seen: Seen,
}

/// What a check says of one server, as far as an apply depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    serial: u64,
    last_run: Option<RunRecord>,
    outcomes: BTreeMap<ResourceId, (Outcome, Option<Mark>)>,
    due: BTreeMap<ResourceId, ServiceAction>,
    /// Packages that apt would remove beside what goes.
    also_removed: Vec<String>,
    /// Whether the check came to its end.
    is_complete: bool,
}

/// A plan that can be applied later, if nothing has changed by then.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedPlan {
    /// Where it comes from.
    pub header: Header,
    /// How the run goes about its work.
    pub options: RunOptions,
    /// The servers.
    pub servers: Vec<SavedServer>,
}

impl SavedPlan {
    /// A plan made now, by this build.
    pub fn new(options: RunOptions, servers: Vec<SavedServer>, made: u64, is_lab: bool) -> Self {
        let (who, commit) = (options.who.clone(), options.commit.clone());
        let header = Header { infra_plan: FORMAT, build: build(), who, commit, made, is_lab };
        Self { header, options, servers }
    }

    /// The text to encrypt: a line for every build, and the rest for this one.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn text(&self) -> Result<Zeroizing<String>> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::failed("cannot write the plan down").because(error)
        };
        let head = serde_json::to_string(&self.header).map_err(|error| failed(&error))?;
        let untraceable: Vec<Vec<bool>> =
            self.servers.iter().map(|server| untraceable(&server.manifest)).collect();
        let body = postcard::to_stdvec(&(&self.options, &self.servers, untraceable));
        let body = Zeroizing::new(body.map_err(|error| failed(&error))?);
        let mut text = Zeroizing::new(head);
        text.push('\n');
        STANDARD.encode_string(&*body, &mut text);
        Ok(text)
    }

    /// The plan in a decrypted text; `path` is the file for messages.
    ///
    /// # Errors
    /// If it is something else, or was made by another build.
    pub fn parse(path: &str, text: &[u8]) -> Result<Self> {
        let end = text.iter().position(|byte| *byte == b'\n');
        let (head, body) = text.split_at(end.ok_or_else(|| no_plan(path))?);
        let header: Header = serde_json::from_slice(head).map_err(|_| no_plan(path))?;
        if (header.infra_plan, &header.build) != (FORMAT, &build()) {
            return Err(Error::input(format!("`{path}` was made by another build of infra"))
                .because(format!("it was made by {}, and this is {}", header.build, build()))
                .hint("apply it with that build, or make it again with this one"));
        }
        let body = STANDARD.decode(&body[1..]).map(Zeroizing::new).map_err(|_| no_plan(path))?;
        let (options, mut servers, untraceable): (RunOptions, Vec<SavedServer>, Vec<Vec<bool>>) =
            postcard::from_bytes(&body).map_err(|_| no_plan(path))?;
        for (server, untraceable) in servers.iter_mut().zip(untraceable) {
            for (resource, yes) in server.manifest.resources.iter_mut().zip(untraceable) {
                resource.is_untraceable = yes;
            }
        }
        Ok(Self { header, options, servers })
    }
}

/// Of each resource, whether its texts are hidden whole. A manifest leaves it out, because servers
/// have no use for it; who applies a plan has to hide what who made it hid.
fn untraceable(manifest: &Manifest) -> Vec<bool> {
    manifest.resources.iter().map(|resource| resource.is_untraceable).collect()
}

/// The error for a file that is something else.
pub fn no_plan(path: &str) -> Error {
    Error::input(format!("`{path}` is not a saved plan"))
        .hint("`infra diff TARGET --out FILE` saves one")
}

impl Seen {
    /// Something is seen.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Remembered(memory) => {
                self.serial = memory.serial;
                self.last_run.clone_from(&memory.last_run);
            }
            Event::Checked { id, outcome, mark } => {
                self.outcomes.insert(id.clone(), (outcome.clone(), *mark));
            }
            Event::ServiceDue { id, action } => {
                self.due.insert(id.clone(), *action);
            }
            Event::AlsoRemoved { packages } => self.also_removed.clone_from(packages),
            Event::PlanComplete => self.is_complete = true,
            _ => {}
        }
    }

    /// Whether the check came to its end.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the check came to its end, without a resource that could not be checked.
    pub fn is_sound(&self) -> bool {
        let failed = |(outcome, _): &(Outcome, _)| matches!(outcome, Outcome::Failed(_));
        self.is_complete && !self.outcomes.values().any(failed)
    }

    /// What the plan says of a resource, in words.
    fn word(&self, id: &ResourceId) -> &'static str {
        match (self.outcomes.get(id), self.due.get(id)) {
            (Some((Outcome::Ok, _)), Some(ServiceAction::Reload)) => "to be reloaded",
            (Some((Outcome::Ok, _)), Some(ServiceAction::Restart)) => "to be restarted",
            (Some((outcome, _)), _) => outcome.expectation(),
            (None, _) => "no part of it",
        }
    }

    /// In what `now` differs: phrases, none if the plan still holds.
    pub fn differences(&self, now: &Self, manifest: &Manifest) -> Vec<String> {
        let mut phrases = Vec::new();
        if self.serial != now.serial {
            let by = now.last_run.as_ref().map_or(String::new(), |run| format!(", by {}", run.who));
            phrases.push(format!("there was another run since{by}"));
        }
        // A verification may well answer otherwise the second time: it is no part of the plan.
        let verifies = |id: &ResourceId| {
            manifest.resources.iter().any(|one| one.id == *id && one.spec.verifies())
        };
        let ids = self.outcomes.keys().chain(now.outcomes.keys());
        let ids: std::collections::BTreeSet<_> =
            ids.chain(self.due.keys()).chain(now.due.keys()).collect();
        let changed: Vec<_> = ids
            .into_iter()
            .filter(|id| {
                let (then, found) = (self.outcomes.get(*id), now.outcomes.get(*id));
                let outcomes = then.zip(found).map(|((then, _), (found, _))| (then, found));
                let still_holds =
                    outcomes.is_some_and(|(then, found)| then != found && then.still_holds(found));
                let is_same = then == found || still_holds;
                let came_up = outcomes.is_some_and(|(then, found)| then.came_up(found));
                let is_due = self.due.get(*id) != now.due.get(*id) && !came_up;
                (!is_same && !verifies(id)) || is_due
            })
            .collect();
        // After another run each of them is its doing.
        let most = if phrases.is_empty() { MOST_DIFFERENCES } else { 0 };
        let told = changed.iter().take(most);
        phrases.extend(told.map(|id| {
            let (then, now) = (self.word(id), now.word(id));
            if then == now {
                format!("`{id}` is not as it was")
            } else {
                format!("`{id}` was {then}, and is {now} now")
            }
        }));
        match (changed.len().saturating_sub(most), most) {
            (0, _) => {}
            (1, 0) => phrases.push("1 resource is not as it was".to_owned()),
            (count, 0) => phrases.push(format!("{count} resources are not as they were")),
            (more, _) => phrases.push(format!("{more} more are not as they were")),
        }
        if self.also_removed != now.also_removed {
            phrases.push("apt would remove other packages beside what goes".to_owned());
        }
        phrases
    }
}

/// What tells this build from others: its version and its agents.
fn build() -> String {
    let mut hash = Sha256::new();
    for agent in AGENTS {
        hash.update(agent.sha256);
    }
    let hash = format!("{:x}", hash.finalize());
    format!("{}+{}", env!("CARGO_PKG_VERSION"), &hash[..12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::events::Memory;
    use crate::manifest::{Expect, Resource};
    use crate::resources::state::FAILING;
    use crate::resources::{Change, FieldChange, Spec};

    fn plan() -> SavedPlan {
        let mut seen = Seen::default();
        let id = ResourceId::new("file", "/etc/motd");
        let outcome = Outcome::Changed(Change::Remove);
        seen.add(&Event::Checked { id, outcome, mark: Some(Mark::Undeclared) });
        seen.add(&Event::PlanComplete);
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: vec![hidden()],
            secrets: BTreeMap::new(),
        };
        let options = RunOptions { who: "ana@laptop".to_owned(), ..RunOptions::default() };
        SavedPlan::new(options, vec![SavedServer { manifest, seen }], 7, false)
    }

    /// A resource whose texts are not to be shown.
    fn hidden() -> Resource {
        let command = r#"{ "name": "a", "run": ["a"], "unless": ["b"] }"#;
        Resource {
            id: ResourceId::new("command", "a"),
            role: "demo".to_owned(),
            place: "roles/demo/role.yaml:1".to_owned(),
            spec: Spec::Command(serde_json::from_str(command).unwrap()),
            requires: Vec::new(),
            reload: Vec::new(),
            restart: Vec::new(),
            guard: None,
            secrets: vec!["smtp.password".to_owned()],
            is_untraceable: true,
        }
    }

    #[test]
    fn survives_its_text() {
        let plan = plan();
        let text = plan.text().unwrap();
        assert_eq!(SavedPlan::parse("plan", text.as_bytes()).unwrap(), plan);
    }

    #[test]
    fn refuses_what_is_something_else() {
        let text = plan().text().unwrap();
        let cut = &text[..text.len() - 9];
        for text in ["", "smtp:\n  password: x\n", "{}\n", cut] {
            let error = SavedPlan::parse("plan", text.as_bytes()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`plan` is not a saved plan\nhint: `infra diff TARGET --out FILE` saves one"
            );
        }
    }

    #[test]
    fn another_build_is_told_apart() {
        let mut plan = plan();
        plan.header.build = "0.0.9+0123456789ab".to_owned();
        let error = SavedPlan::parse("plan", plan.text().unwrap().as_bytes()).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert_eq!(
            error.to_string(),
            format!(
                "`plan` was made by another build of infra\n\
                 caused by: it was made by 0.0.9+0123456789ab, and this is {}\n\
                 hint: apply it with that build, or make it again with this one",
                build()
            )
        );
    }

    #[test]
    fn a_service_that_came_up_since_is_no_difference() {
        let seen = |current: Option<&str>, due: Option<ServiceAction>| {
            let mut seen = Seen::default();
            let id = ResourceId::new("service", "jobs");
            let field = |current: &str| FieldChange {
                field: "running".to_owned(),
                current: Some(current.into()),
                desired: true.into(),
            };
            let outcome = current.map_or(Outcome::Ok, |current| {
                Outcome::Changed(Change::Update(vec![field(current)]))
            });
            let mark = current.map(|_| Mark::Drift);
            seen.due.extend(due.map(|action| (id.clone(), action)));
            seen.add(&Event::Checked { id, outcome, mark });
            seen
        };
        let manifest = plan().servers.remove(0).manifest;
        let due = Some(ServiceAction::Reload);
        assert_eq!(seen(Some(FAILING), None).differences(&seen(None, due), &manifest), [""; 0]);
        assert_eq!(
            seen(None, None).differences(&seen(Some(FAILING), None), &manifest),
            ["`service:jobs` was as it should be, and is to be changed now"]
        );
        assert_eq!(
            seen(None, None).differences(&seen(None, due), &manifest),
            ["`service:jobs` was as it should be, and is to be reloaded now"]
        );
    }

    #[test]
    fn says_what_is_not_as_it_was() {
        let SavedServer { manifest, seen } = plan().servers.remove(0);
        assert_eq!(seen.differences(&seen, &manifest), Vec::<String>::new());
        let mut now = Seen::default();
        for number in 0..6 {
            let id = ResourceId::new("file", &format!("/etc/{number}"));
            now.add(&Event::Checked { id, outcome: Outcome::Ok, mark: None });
        }
        now.add(&Event::AlsoRemoved { packages: vec!["apt".to_owned()] });
        assert_eq!(
            seen.differences(&now, &manifest),
            [
                "`file:/etc/0` was no part of it, and is as it should be now",
                "`file:/etc/1` was no part of it, and is as it should be now",
                "`file:/etc/2` was no part of it, and is as it should be now",
                "`file:/etc/3` was no part of it, and is as it should be now",
                "`file:/etc/4` was no part of it, and is as it should be now",
                "2 more are not as they were",
                "apt would remove other packages beside what goes",
            ]
        );
        now.also_removed.clear();
        now.add(&Event::Remembered(Memory { serial: 3, ..Memory::default() }));
        assert_eq!(
            seen.differences(&now, &manifest),
            ["there was another run since", "7 resources are not as they were"]
        );
    }
}
