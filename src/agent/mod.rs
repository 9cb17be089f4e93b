//! The part that runs on a server: it receives a manifest, checks, applies and reports.

mod apply;
mod emitter;
mod guard;
pub mod host;
pub mod lock;
pub mod plan;
pub mod reboot;
pub mod removal;
mod requests;
pub mod state;
mod undo;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::events::{Event, Outcome, RunEnd, RunRecord, ServiceAction};
use crate::manifest::{Manifest, ResourceId};
use crate::resources::{Attributes, Probe, System};
use crate::secret::Scrubber;
use crate::wire::{self, Request, RunOptions};

use emitter::Emitter;
pub use emitter::Sink;
use guard::Guard;
use host::Host;
use lock::Lock;
use plan::Plan;
use removal::Removal;
use requests::Requests;
use state::State;

/// How many differences between two plans are told.
const MOST_DIFFERENCES: usize = 5;

/// Puts back a change of the way in that nobody proved: what a timer asks for, or the server when
/// it boots.
///
/// # Errors
/// What could not be put back.
pub fn revert(at_boot: bool) -> Result<()> {
    let emitter = Emitter::new(Box::new(|_| Ok(())), Arc::default());
    guard::revert(&mut Host::new(Box::new(emitter), Arc::default()), at_boot)
}

/// Serves one laptop: reads requests from `input` and writes events to `output` until the
/// input ends. Never fails: what goes wrong is an event.
pub fn serve(input: impl Read + Send + 'static, output: impl Write + 'static) {
    // What programs make is readable as anywhere on Debian; infra itself sets every mode.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let stop = Arc::new(AtomicBool::new(false));
    let mut output: Box<dyn Write> = Box::new(output);
    if output.write_all(wire::PREAMBLE).and_then(|()| output.flush()).is_err() {
        return;
    }
    let sink = move |event: &Event| wire::write_frame(&mut output, event);
    let emitter = Emitter::new(Box::new(sink), Arc::clone(&stop));
    let requests = Requests::start(input, Arc::clone(&stop));
    let mut host = Host::new(Box::new(emitter.clone()), stop);
    emitter.emit(Event::Started { facts: host.facts().clone() });
    let end = match answer(&requests, &mut host, &emitter) {
        Ok(()) => Event::Finished,
        Err(error) => Event::Aborted { error },
    };
    emitter.emit(end);
}

fn answer(requests: &Requests, host: &mut Host, emitter: &Emitter) -> Result<()> {
    let (declared, options) = match requests.next()? {
        Some(Request::Check { manifest, options }) => (manifest, options),
        Some(Request::History) => {
            emitter.emit(Event::History(State::load(host)?.runs()));
            return Ok(());
        }
        _ => return Ok(()),
    };
    emitter.scrub(Scrubber::new(declared.secrets.values()));
    // Who waits for another run wants the plan of what it leaves, and nobody in between.
    let lock = match options.lock_wait_seconds {
        0 => None,
        _ => Some(take_lock(&options, host)?),
    };
    let state = State::load(host)?;
    let mut memory = state.memory(host)?;
    if let Some(holder) =
        memory.cut_run.as_ref().filter(|_| lock.is_none()).and_then(|_| lock::holder(state::FOLDER))
    {
        memory.cut_run = None;
        let message = format!("{holder} applies to it right now: this is how it is on the way");
        emitter.emit(Event::Warning { message });
    }
    emitter.emit(Event::Remembered(memory));
    warn_of_packages(&declared, host, emitter)?;
    state.owed_changes().for_each(|id| host.mark_changed(id));
    let (manifest, removal) = Removal::plan(&declared, &state, &options, host)?;
    let foreseen = Plan::foresee(&manifest, host);
    let shown = Plan::make(&manifest, host, &state, &removal, foreseen, |id, outcome, mark| {
        emitter.emit(Event::Checked { id: id.clone(), outcome: outcome.clone(), mark });
    });
    warn_of_rest(&manifest, &removal, host, emitter);
    for (id, action) in &shown.due {
        emitter.emit(Event::ServiceDue { id: id.clone(), action: *action });
    }
    if !shown.also_removed.is_empty() {
        emitter.emit(Event::AlsoRemoved { packages: shown.also_removed.clone() });
    }
    emitter.emit(Event::PlanComplete);
    match requests.next()? {
        Some(Request::Apply) => {
            let guard = Guard::new(requests, options.guard_seconds);
            let _lock = match lock {
                Some(lock) => lock,
                None => take_lock(&options, host)?,
            };
            apply(&declared, &options, &shown, guard, host, emitter)
        }
        _ => Ok(()),
    }
}

/// Tells of packages that the inventory expects not to be there. Nothing is refused for it.
fn warn_of_packages(manifest: &Manifest, probe: &dyn Probe, emitter: &Emitter) -> Result<()> {
    for name in &manifest.expect.without {
        if probe.package(name)?.is_some() {
            let message =
                format!("`{name}` is installed, and its inventory expects that it is not");
            emitter.emit(Event::Warning { message });
        }
    }
    Ok(())
}

/// Names what stays when something goes.
fn warn_of_rest(manifest: &Manifest, removal: &Removal, probe: &dyn Probe, emitter: &Emitter) {
    let steps = manifest.resources.iter().filter(|one| removal.steps.contains_key(&one.id));
    for resource in steps.filter(|one| one.spec.desired().is_none()) {
        // What cannot be asked any more is gone already.
        for rest in resource.spec.leaves(probe).unwrap_or_default() {
            let message = format!("`{}` goes and leaves {rest}", resource.id);
            emitter.emit(Event::Warning { message });
        }
    }
}

/// Takes the lock of the server, as soon as no other run has it.
fn take_lock(options: &RunOptions, system: &mut dyn System) -> Result<Lock> {
    system.make_directory(state::FOLDER, &Attributes::new("root", "root", 0o700))?;
    let wait = Duration::from_secs(u64::from(options.lock_wait_seconds));
    Lock::take(state::FOLDER, &holder(&options.who, now()), wait)
}

/// Applies what was shown, while the lock is held, if the server is still as it was then.
fn apply(
    declared: &Manifest,
    options: &RunOptions,
    shown: &Plan,
    guard: Option<Guard<'_>>,
    host: &mut Host,
    emitter: &Emitter,
) -> Result<()> {
    let mut state = State::load(host)?;
    if guard::recover(host, &mut state)? {
        return Err(Error::failed("what a run that was cut left unproved was put back just now")
            .hint("look at the new plan and apply again"));
    }
    host.forget();
    let (manifest, removal) = Removal::plan(declared, &state, options, host)?;
    let foreseen = shown.foreseen.clone();
    let found = Plan::make(&manifest, host, &state, &removal, foreseen, |_, _, _| {});
    let differences = differences(&manifest, shown, &found);
    if !differences.is_empty() {
        let error = Error::failed("the server changed since the plan was made");
        let error = differences.iter().fold(error, Error::because);
        return Err(error.hint("nothing was changed: look at the new plan and apply again"));
    }
    let before = reboot::reason(host)?;
    begin(options, host, &mut state)?;
    let run = apply::Run::new(&manifest, &removal, host, &mut state, emitter);
    finish(run.guarded(guard).foreseen(&shown.foreseen))?;
    if reboot::reason(host)? != before {
        emitter.emit(Event::Remembered(state.memory(host)?));
    }
    Ok(())
}

/// Notes in the host's history that a run begins, and who does it.
fn begin(options: &RunOptions, system: &mut dyn System, state: &mut State) -> Result<()> {
    let run = RunRecord {
        serial: 0,
        who: options.who.clone(),
        commit: options.commit.clone(),
        is_partial: options.partial,
        started: now(),
        ended: None,
        end: RunEnd::Cut,
        changed: 0,
        removed: 0,
        failed: 0,
    };
    state.begin_run(system, run)
}

/// Applies, and notes how it ended.
fn finish(mut run: apply::Run<'_>) -> Result<()> {
    let result = run.all();
    let end = match &result {
        // What was put back counts, even if the user stopped the run then.
        _ if run.end() == RunEnd::Reverted => RunEnd::Reverted,
        Err(error) if error.kind == Kind::Interrupted => RunEnd::Interrupted,
        Err(_) => RunEnd::Failed,
        Ok(()) => run.end(),
    };
    result.and(run.note_end(end, now()))
}

/// What a plan expects of a service whose configuration may change.
fn due(action: Option<&ServiceAction>) -> &'static str {
    match action {
        Some(ServiceAction::Reload) => "to be reloaded",
        Some(ServiceAction::Restart) => "to be restarted",
        None => "to be left alone",
    }
}

/// What others are told of who holds the lock.
fn holder(who: &str, now: u64) -> String {
    let minutes = now / 60 % (24 * 60);
    format!("{who} since {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// Seconds since 1970, by the host's clock.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Applies a manifest to any system, without a plan before it: what [`serve`] does after the
/// laptop has confirmed the plan. Returns an error if the run cannot go on.
pub fn apply_manifest(
    declared: &Manifest,
    options: &RunOptions,
    system: &mut dyn System,
    sink: Box<Sink>,
) -> Result<()> {
    let emitter = Emitter::new(sink, Arc::default());
    emitter.scrub(Scrubber::new(declared.secrets.values()));
    let mut state = State::load(system)?;
    let owed: Vec<_> = state.owed_changes().cloned().collect();
    for id in &owed {
        system.mark_changed(id);
    }
    let (manifest, removal) = Removal::plan(declared, &state, options, system)?;
    begin(options, system, &mut state)?;
    finish(apply::Run::new(&manifest, &removal, system, &mut state, &emitter))
}

/// In what the server differs from the plan that was shown: phrases, none if it does not.
fn differences(manifest: &Manifest, shown: &Plan, found: &Plan) -> Vec<String> {
    if shown.serial != found.serial {
        return vec!["another run was there in between".to_owned()];
    }
    let outcomes = || manifest.resources.iter().zip(shown.outcomes.iter().zip(&found.outcomes));
    let came_up = outcomes().filter(|(_, (shown, found))| {
        **found == Outcome::Ok && matches!(shown, Outcome::Changed(change) if change.only_starts())
    });
    let came_up: BTreeSet<&ResourceId> = came_up.map(|(resource, _)| &resource.id).collect();
    let resources = outcomes().filter(|(resource, (shown, found))| {
        // A verification may well answer otherwise the second time: it is no part of the plan.
        // Nor is what only has to be waited for.
        let waits = |outcome: &Outcome| {
            matches!(outcome, Outcome::Changed(change) if change.only_waits())
                || *outcome == Outcome::Ok
        };
        let only_waits = waits(shown) && waits(found) || came_up.contains(&resource.id);
        // "Change or ok" was shown, because a service was still starting.
        let was_open = matches!(shown, Outcome::Unknown { .. }) && **found == Outcome::Ok;
        shown != found && !resource.spec.verifies() && !only_waits && !was_open
    });
    let resources = resources.map(|(resource, (shown, found))| {
        let (then, now) = (shown.expectation(), found.expectation());
        if then == now {
            format!("`{}` is not as it was", resource.id)
        } else {
            format!("`{}` was {then}, and is {now} now", resource.id)
        }
    });
    let services: BTreeSet<&ResourceId> = shown.due.keys().chain(found.due.keys()).collect();
    let services = services.into_iter().filter(|id| shown.due.get(id) != found.due.get(id));
    // What systemd has started has read its files, or is told to in the run.
    let services = services.filter(|id| !came_up.contains(id));
    let services = services.map(|id| {
        let (then, now) = (due(shown.due.get(id)), due(found.due.get(id)));
        format!("`{id}` was {then}, and is {now} now")
    });
    let packages = (shown.also_removed != found.also_removed)
        .then(|| "apt would remove other packages beside what goes".to_owned());
    let mut phrases: Vec<String> = resources.chain(services).chain(packages).collect();
    if let Some(more) = phrases.len().checked_sub(MOST_DIFFERENCES).filter(|more| *more > 0) {
        phrases.truncate(MOST_DIFFERENCES);
        phrases.push(format!("{more} more are not as they were"));
    }
    phrases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::manifest::Resource;
    use crate::resources::package::Foreseen;
    use crate::resources::{Change, FieldChange, Spec};

    use super::*;

    /// The plan of one service, of which this would change.
    fn plan(change: Option<FieldChange>) -> Plan {
        plan_of(change.map_or(Outcome::Ok, |field| Outcome::Changed(Change::Update(vec![field]))))
    }

    fn plan_of(outcome: Outcome) -> Plan {
        Plan {
            outcomes: vec![outcome],
            due: BTreeMap::new(),
            foreseen: Foreseen::default(),
            also_removed: Vec::new(),
            released: Vec::new(),
            serial: 1,
        }
    }

    #[test]
    fn a_service_that_comes_up_by_itself_is_no_difference() {
        let name = serde_json::json!({"name": "jobs", "running": true, "enabled": true});
        let spec = Spec::deserialize_kind("service", name).unwrap().unwrap();
        let resource = Resource {
            id: spec.id(),
            role: "app".to_owned(),
            place: String::new(),
            spec,
            requires: Vec::new(),
            reload: Vec::new(),
            restart: Vec::new(),
            guard: None,
            secrets: Vec::new(),
            is_untraceable: false,
        };
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: crate::manifest::Expect::default(),
            resources: vec![resource],
            secrets: BTreeMap::new(),
        };
        let field = |name: &str| FieldChange {
            field: name.to_owned(),
            current: Some("failing again and again".into()),
            desired: true.into(),
        };
        let (running, enabled) = (plan(Some(field("running"))), plan(Some(field("enabled"))));
        assert_eq!(differences(&manifest, &running, &plan(None)), Vec::<String>::new());
        assert_eq!(
            differences(&manifest, &plan(None), &running),
            ["`service:jobs` was as it should be, and is to be changed now"]
        );
        assert_eq!(
            differences(&manifest, &enabled, &plan(None)),
            ["`service:jobs` was to be changed, and is as it should be now"]
        );
        let open = plan_of(Outcome::Unknown { after: manifest.resources[0].id.clone() });
        assert_eq!(differences(&manifest, &open, &plan(None)), Vec::<String>::new());
        assert_eq!(
            differences(&manifest, &open, &running),
            ["`service:jobs` was to be known later, and is to be changed now"]
        );
    }

    #[test]
    fn the_holder_of_the_lock_has_a_time() {
        assert_eq!(holder("ana@laptop", 1_700_000_000), "ana@laptop since 22:13 UTC");
    }
}
