//! The look at a server when its plan was made, and the differences from the look now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::events::{Event, Mark, Outcome, RunRecord, ServiceAction};
use crate::manifest::{Manifest, ResourceId};

/// How many differences of a server are told.
const MOST_DIFFERENCES: usize = 5;

/// The result of the check of one server, as far as an apply depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    serial: u64,
    /// Tells the machine from others.
    machine: String,
    last_run: Option<RunRecord>,
    outcomes: BTreeMap<ResourceId, (Outcome, Option<Mark>)>,
    due: BTreeMap<ResourceId, ServiceAction>,
    /// Packages that apt would remove beside what goes.
    also_removed: Vec<String>,
    /// Whether the check came to its end.
    is_complete: bool,
}

impl Seen {
    /// Something is seen.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Remembered(memory) => {
                self.serial = memory.serial;
                self.machine.clone_from(&memory.machine);
                self.last_run.clone_from(&memory.last_run);
            }
            Event::Checked { id, outcome, mark } => {
                let mut outcome = outcome.clone();
                if let Outcome::Changed(change) = &mut outcome {
                    // The agent does the same to a part of them, depending on the others.
                    change.shorten();
                    change.shorten_contents();
                }
                self.outcomes.insert(id.clone(), (outcome, *mark));
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

    /// The word of the plan about a resource.
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
        if self.machine != now.machine {
            phrases.push("this is another machine".to_owned());
        }
        if self.serial != now.serial {
            let by = now.last_run.as_ref().map_or(String::new(), |run| format!(", by {}", run.who));
            phrases.push(format!("there was another run since{by}"));
        }
        // A verification may well answer otherwise the second time: it is no part of the plan.
        let verifies = |id: &ResourceId| {
            manifest.resources.iter().any(|one| one.id == *id && one.spec.verifies())
        };
        let ids = self.outcomes.keys().chain(now.outcomes.keys());
        let ids: BTreeSet<_> = ids.chain(self.due.keys()).chain(now.due.keys()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Memory;
    use crate::resources::state::FAILING;
    use crate::resources::{Change, FieldChange, State, Value};
    use crate::saved_plan::SavedServer;
    use crate::saved_plan::tests::plan;

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

    /// How much of a content is sent depends on the other changes of the server.
    #[test]
    fn a_content_is_the_same_whole_and_by_its_hash() {
        let seen = |content: &str, is_short: bool| {
            let content = Value::Content(content.repeat(2000).into_bytes());
            let mut change = Change::Create(State::new().with("content", content));
            if is_short {
                change.shorten_contents();
            }
            let mut seen = Seen::default();
            let id = ResourceId::new("file", "/etc/motd");
            seen.add(&Event::Checked { id, outcome: Outcome::Changed(change), mark: None });
            seen
        };
        assert_eq!(seen("x", false), seen("x", true));
        let manifest = plan().servers.remove(0).manifest;
        assert_eq!(
            seen("x", false).differences(&seen("y", true), &manifest),
            ["`file:/etc/motd` is not as it was"]
        );
    }

    #[test]
    fn says_what_is_not_as_it_was() {
        let SavedServer { manifest, seen, .. } = plan().servers.remove(0);
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
        now.add(&Event::Remembered(Box::new(Memory { serial: 3, ..Memory::default() })));
        assert_eq!(
            seen.differences(&now, &manifest),
            ["there was another run since", "7 resources are not as they were"]
        );
    }
}
