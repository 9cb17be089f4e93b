//! In what a server differs from the plan that was shown, when the plan is about to be applied.

use std::collections::BTreeSet;

use crate::events::{Outcome, ServiceAction};
use crate::manifest::{Manifest, ResourceId};

use super::plan::Plan;

/// How many differences between two plans are told.
const MOST_DIFFERENCES: usize = 5;

/// One way in which the server differs from the plan that was shown.
pub(super) struct Difference {
    /// `NAME was …, and is … now`.
    pub(super) phrase: String,
    /// Whether systemd is about to undo the difference: it starts a service again that has ended.
    pub(super) may_settle: bool,
}

/// In what the server differs from the plan that was shown: nothing if it does not.
pub(super) fn differences(manifest: &Manifest, shown: &Plan, found: &Plan) -> Vec<Difference> {
    let firm = |phrase: String| Difference { phrase, may_settle: false };
    if shown.serial != found.serial {
        return vec![firm("another run was there in between".to_owned())];
    }
    if ids_of(&shown.released) != ids_of(&found.released)
        || shown.outcomes.len() != found.outcomes.len()
    {
        return vec![firm("other resources than then are no longer declared".to_owned())];
    }
    let outcomes = || {
        let resources = manifest.resources.iter().zip(shown.outcomes.iter().zip(&found.outcomes));
        // A verification may well answer otherwise the second time: it is no part of the plan.
        resources.filter(|(resource, _)| !resource.spec.verifies())
    };
    let ids = |holds: fn(&Outcome, &Outcome) -> bool| -> BTreeSet<&ResourceId> {
        let resources = outcomes().filter(|(_, (shown, found))| holds(shown, found));
        resources.map(|(resource, _)| &resource.id).collect()
    };
    let (came_up, fell) = (ids(Outcome::came_up), ids(Outcome::fell));
    let differs = |id: &ResourceId, then: &str, now: &str| Difference {
        phrase: if then == now {
            format!("`{id}` is not as it was")
        } else {
            format!("`{id}` was {then}, and is {now} now")
        },
        may_settle: fell.contains(id),
    };
    let resources = outcomes().filter(|(_, (shown, found))| !shown.still_holds(found));
    let resources = resources.map(|(resource, (shown, found))| {
        differs(&resource.id, shown.expectation(), found.expectation())
    });
    let services: BTreeSet<&ResourceId> = shown.due.keys().chain(found.due.keys()).collect();
    let services = services.into_iter().filter(|id| shown.due.get(id) != found.due.get(id));
    // What systemd has started has read its files, or is told to in the run.
    let services = services.filter(|id| !came_up.contains(id));
    let services = services.map(|id| differs(id, due(shown.due.get(id)), due(found.due.get(id))));
    let packages = (shown.together.also_removed != found.together.also_removed)
        .then(|| firm("apt would remove other packages beside what goes".to_owned()));
    let mut all: Vec<Difference> = resources.chain(services).chain(packages).collect();
    let rest = all.split_off(all.len().min(MOST_DIFFERENCES));
    if !rest.is_empty() {
        let may_settle = rest.iter().any(|difference| difference.may_settle);
        let phrase = format!("{} more are not as they were", rest.len());
        all.push(Difference { phrase, may_settle });
    }
    all
}

fn ids_of(released: &[(ResourceId, String)]) -> Vec<&ResourceId> {
    released.iter().map(|(id, _)| id).collect()
}

/// The action that a plan expects of a service whose configuration may change.
fn due(action: Option<&ServiceAction>) -> &'static str {
    match action {
        Some(ServiceAction::Reload) => "to be reloaded",
        Some(ServiceAction::Restart) => "to be restarted",
        None => "to be left alone",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::manifest::{Expect, Resource};
    use crate::resources::package::{Foreseen, Together};
    use crate::resources::state::{FAILING, STARTING};
    use crate::resources::{Change, FieldChange, Spec};

    use super::*;

    /// The plan of one service, of which these fields would change: name and current value.
    fn plan(fields: &[(&str, &str)]) -> Plan {
        let fields = fields.iter().map(|(name, current)| FieldChange {
            field: (*name).to_owned(),
            current: Some((*current).into()),
            desired: true.into(),
        });
        let fields: Vec<_> = fields.collect();
        plan_of(if fields.is_empty() {
            Outcome::Ok
        } else {
            Outcome::Changed(Change::Update(fields))
        })
    }

    fn open() -> Plan {
        plan_of(Outcome::Unknown { after: manifest().resources[0].id.clone() })
    }

    fn plan_of(outcome: Outcome) -> Plan {
        Plan {
            outcomes: vec![outcome],
            due: BTreeMap::new(),
            foreseen: Foreseen::default(),
            refused: BTreeMap::new(),
            contradicting: BTreeMap::new(),
            together: Together::default(),
            released: Vec::new(),
            serial: 1,
        }
    }

    /// A manifest of one service.
    fn manifest() -> Manifest {
        let name = serde_json::json!({"name": "jobs", "running": true, "enabled": true});
        let spec = Spec::deserialize_kind("service", name).unwrap().unwrap();
        let resource = Resource::alone(spec, "app".to_owned());
        Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: vec![resource],
            secrets: BTreeMap::new(),
        }
    }

    /// The phrases, and for each whether it may settle.
    fn told(shown: &Plan, found: &Plan) -> Vec<(String, bool)> {
        let differences = differences(&manifest(), shown, found).into_iter();
        differences.map(|difference| (difference.phrase, difference.may_settle)).collect()
    }

    const OK: &[(&str, &str)] = &[];
    const FALLEN: (&str, &str) = ("running", FAILING);
    const RISING: (&str, &str) = ("running", STARTING);
    const OFF: (&str, &str) = ("enabled", "no");

    #[test]
    fn a_service_that_comes_up_by_itself_is_no_difference() {
        for (shown, found) in [
            (&[FALLEN][..], OK),
            (&[RISING], OK),
            (OK, &[RISING]),
            (&[FALLEN, OFF], &[OFF]),
            (&[RISING, OFF], &[OFF]),
            (&[OFF], &[RISING, OFF]),
        ] {
            assert_eq!(told(&plan(shown), &plan(found)), [], "{shown:?} {found:?}");
        }
        for found in [OK, &[RISING]] {
            assert_eq!(told(&open(), &plan(found)), [], "{found:?}");
        }
        // systemd starts it with its new files, which the plan had left to the start.
        let mut due = plan(&[RISING]);
        due.due.insert(manifest().resources[0].id.clone(), ServiceAction::Reload);
        assert_eq!(told(&plan(&[FALLEN]), &due), []);
        let phrase = "`service:jobs` was to be left alone, and is to be reloaded now";
        assert_eq!(told(&plan(OK), &due), [(phrase.to_owned(), false)]);
        let phrase = "`service:jobs` was to be changed, and is as it should be now";
        assert_eq!(told(&plan(&[OFF]), &plan(OK)), [(phrase.to_owned(), false)]);
        let phrase = "`service:jobs` is not as it was";
        assert_eq!(told(&plan(&[OFF]), &plan(&[RISING])), [(phrase.to_owned(), false)]);
    }

    #[test]
    fn a_service_that_systemd_starts_again_may_settle() {
        let phrase = "`service:jobs` was as it should be, and is to be changed now";
        assert_eq!(told(&plan(OK), &plan(&[FALLEN])), [(phrase.to_owned(), true)]);
        // Stopped by somebody, or for good: nothing starts it again.
        for state in ["no", "failed"] {
            let found = plan(&[("running", state)]);
            assert_eq!(told(&plan(OK), &found), [(phrase.to_owned(), false)], "{state}");
        }
        assert_eq!(told(&plan(OK), &plan(&[FALLEN, OFF])), [(phrase.to_owned(), false)]);
        let phrase = "`service:jobs` was to be known later, and is to be changed now";
        assert_eq!(told(&open(), &plan(&[FALLEN])), [(phrase.to_owned(), true)]);
        let phrase = "`service:jobs` is not as it was";
        assert_eq!(told(&plan(&[OFF]), &plan(&[FALLEN, OFF])), [(phrase.to_owned(), true)]);
    }

    #[test]
    fn other_resources_that_are_no_longer_declared_are_a_difference() {
        let mut found = plan(OK);
        found.released.push((ResourceId::new("directory", "/srv/a"), "it holds data".to_owned()));
        let phrase = "other resources than then are no longer declared";
        assert_eq!(told(&plan(OK), &found), [(phrase.to_owned(), false)]);
        found = plan(OK);
        found.outcomes.push(Outcome::Changed(Change::Remove));
        assert_eq!(told(&plan(OK), &found), [(phrase.to_owned(), false)]);
    }
}
