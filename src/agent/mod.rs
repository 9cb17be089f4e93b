//! The part that runs on a server: it receives a manifest, checks, applies and reports.

mod apply;
mod differences;
mod emitter;
pub mod failed;
pub mod guard;
pub mod host;
pub mod lock;
pub mod maintenance;
mod output;
mod packages;
pub mod plan;
pub mod reboot;
pub mod removal;
mod requests;
pub mod state;
mod steady;
mod told;
mod twins;
mod undo;
mod way_in;
mod world;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::events::{Event, Outcome, RunEnd, RunRecord};
use crate::manifest::Manifest;
use crate::resources::{Attributes, Probe, Spec, System};
use crate::secret::Scrubber;
use crate::wire::{Request, RunOptions};

use differences::differences;
use emitter::Emitter;
pub use emitter::Sink;
use guard::Guard;
use host::Host;
use lock::Lock;
use output::Output;
use plan::Plan;
use removal::Removal;
use requests::Requests;
use state::State;

/// How long systemd may take to start a service again that ended behind the plan.
const SETTLING: Duration = Duration::from_secs(10);

/// How long a service has to run that has ended behind the plan.
const PROOF: Duration = Duration::from_secs(1);

/// The time between two looks at a server that may settle.
const LOOK_MILLISECONDS: u32 = 200;

/// Puts back a change of the way in that nobody proved: what a timer asks for, or the server when
/// it boots.
///
/// # Errors
/// What could not be put back.
pub fn revert(at_boot: bool) -> Result<()> {
    let emitter = Emitter::new(Box::new(|_| Ok(())), Arc::default());
    guard::revert(&mut Host::unknown(Box::new(emitter), Arc::default()), at_boot)
}

/// Serves one laptop: reads requests from `input` and writes events to `output` until the
/// input ends. Never fails: what goes wrong is an event.
pub fn serve(input: impl Read + Send + 'static, output: impl Write + Send + 'static) {
    // What programs make is readable as anywhere on Debian; infra itself sets every mode.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let stop = Arc::new(AtomicBool::new(false));
    let Ok(output) = Output::start(output) else { return };
    let sink = Arc::clone(&output);
    let emitter = Emitter::new(Box::new(move |event| sink.send(event)), Arc::clone(&stop));
    let requests = Requests::start(input, Arc::clone(&stop));
    let answered = Host::new(Box::new(emitter.clone()), stop).and_then(|mut host| {
        emitter.emit(Event::Started { facts: host.facts().clone() });
        answer(&requests, &mut host, &emitter, &output)
    });
    let end = match answered {
        Ok(()) => Event::Finished,
        Err(error) => Event::Aborted { error },
    };
    emitter.emit(end);
}

fn answer(
    requests: &Requests,
    host: &mut Host,
    emitter: &Emitter,
    output: &Arc<Output>,
) -> Result<()> {
    let (declared, options) = match requests.next()? {
        Some(Request::Check { manifest, options }) => (manifest, options),
        Some(Request::History) => {
            emitter.emit(Event::History(State::load(host)?.runs()));
            return Ok(());
        }
        _ => return Ok(()),
    };
    output.beat();
    emitter.scrub(Scrubber::new(declared.secrets.values()));
    // Who waits for another run wants the plan of what it leaves, and nobody in between.
    let lock = match options.lock_wait_seconds {
        0 => None,
        _ => Some(take_lock(&options, host)?),
    };
    let mut state = State::load(host)?;
    let mut memory = state.memory(host)?;
    if options.asks_failed {
        memory.failed_units = failed::units(host)?;
    }
    if let Some(holder) =
        memory.cut_run.as_ref().filter(|_| lock.is_none()).and_then(|_| lock::holder(state::FOLDER))
    {
        memory.cut_run = None;
        let message = format!("{holder} applies to it right now: this is how it is on the way");
        emitter.emit(Event::Warning { message });
    }
    state.owed_changes().for_each(|id| host.mark_changed(id));
    let (manifest, removal) = Removal::plan(&declared, &mut state, &options, host)?;
    memory.is_outdated =
        state.is_unsaved() || !removal.forgotten.is_empty() || state.lacks(&declared);
    emitter.emit(Event::Remembered(Box::new(memory)));
    warn_of_packages(&declared, host, emitter)?;
    let foreseen = Plan::foresee(&manifest, host);
    let shown = Plan::make(&manifest, host, &state, &removal, foreseen, |id, outcome, mark| {
        emitter.emit(Event::Checked { id: id.clone(), outcome: outcome.clone(), mark });
    });
    warn_of_rest(&manifest, &removal, host, emitter);
    warn_of_losses(&manifest, &shown, &removal, &state, host, emitter);
    for (id, action) in &shown.due {
        emitter.emit(Event::ServiceDue { id: id.clone(), action: *action });
    }
    let also_removed = &shown.together.also_removed;
    if !also_removed.is_empty() {
        emitter.emit(Event::AlsoRemoved { packages: also_removed.clone() });
    }
    emitter.emit(Event::PlanComplete);
    output.rest(true);
    let next = requests.next()?;
    output.rest(false);
    match next {
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

/// Names what goes beside the things of the plan, or cannot come back once it is applied.
fn warn_of_losses(
    manifest: &Manifest,
    plan: &Plan,
    removal: &Removal,
    state: &State,
    probe: &dyn Probe,
    emitter: &Emitter,
) {
    for (resource, outcome) in manifest.resources.iter().zip(&plan.outcomes) {
        let Outcome::Changed(change) = outcome else { continue };
        let step = removal.steps.get(&resource.id);
        let managed = step.and_then(|step| state.resources().get(&step.of));
        // A file that cannot be read is an error of its own check.
        if managed.is_some_and(|one| one.is_edited(state.key(), probe).unwrap_or_default()) {
            let message =
                format!("`{}` goes with what was changed in it since the last apply", resource.id);
            emitter.emit(Event::Warning { message });
        }
        if let Some(reason) = state.lost_with(resource, probe) {
            let message = format!("what `{}` finds is not kept: {reason}", resource.id);
            emitter.emit(Event::Warning { message });
        }
        if way_in::waits_for_boot(resource, probe) {
            let message = format!(
                "`{}` is read at the next boot: name its service in `reload` or `restart`, and a new connection \
                 proves that it locks nobody out",
                resource.id
            );
            emitter.emit(Event::Warning { message });
        }
        if let Spec::Mount(mount) = &resource.spec
            && change.sets("mounted")
            && probe
                .list(mount.path.as_str())
                .is_ok_and(|names| names.is_some_and(|it| !it.is_empty()))
        {
            let message = format!("`{}` hides what is in `{}`", resource.id, mount.path);
            emitter.emit(Event::Warning { message });
        }
        let folder = resource.spec.takes_folder(probe).ok().flatten();
        if let Some(folder) = folder.filter(|folder| folder != resource.id.identity()) {
            let message = format!("`{}` goes with `{folder}` and all that is in it", resource.id);
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
    let (manifest, removal) = Removal::plan(declared, &mut state, options, host)?;
    shown.is_consistent(&manifest, &removal)?;
    is_as_shown(&manifest, shown, host, &state, &removal)?;
    let before = reboot::reason(host)?;
    begin(options, host, &mut state)?;
    let run = apply::Run::new(&manifest, &removal, host, &mut state, emitter);
    finish(run.guarded(guard).planned(shown))?;
    if reboot::reason(host)? != before {
        emitter.emit(Event::Remembered(Box::new(state.memory(host)?)));
    }
    Ok(())
}

/// Looks whether the server is still as it was when the plan was made.
///
/// # Errors
/// When it is not, with what differs.
fn is_as_shown(
    manifest: &Manifest,
    shown: &Plan,
    host: &mut Host,
    state: &State,
    removal: &Removal,
) -> Result<()> {
    let end = Instant::now() + SETTLING;
    // Since when a service that had ended is back, for a while.
    let (mut has_fallen, mut back) = (false, None);
    loop {
        let found =
            Plan::make(manifest, host, state, removal, shown.foreseen.clone(), |_, _, _| {});
        let differences = differences(manifest, shown, &found);
        has_fallen |= differences.iter().any(|difference| difference.may_settle);
        if differences.is_empty() && !has_fallen {
            return Ok(());
        }
        if !differences.is_empty() || found.waits() {
            back = None;
        } else if back.get_or_insert_with(Instant::now).elapsed() >= PROOF {
            return Ok(());
        }
        if host.interrupted() {
            let error = Error::new(Kind::Interrupted, "stopped before anything was changed");
            return Err(error.hint("apply again to go on"));
        }
        if !has_fallen || Instant::now() > end {
            let error = Error::failed("the server changed since the plan was made");
            let error = if differences.is_empty() {
                error.because("a service ended, and has not come back in 10 seconds")
            } else {
                differences.into_iter().map(|one| one.phrase).fold(error, Error::because)
            };
            return Err(error.hint("nothing was changed: look at the new plan and apply again"));
        }
        host.sleep_milliseconds(LOOK_MILLISECONDS);
    }
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
    let (manifest, removal) = Removal::plan(declared, &mut state, options, system)?;
    removal.is_consistent(&manifest)?;
    begin(options, system, &mut state)?;
    finish(apply::Run::new(&manifest, &removal, system, &mut state, &emitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_lock_has_a_time() {
        assert_eq!(holder("ana@laptop", 1_700_000_000), "ana@laptop since 22:13 UTC");
    }
}
