//! The part that runs on a server: it receives a manifest, checks, applies and reports.

mod apply;
mod emitter;
pub mod host;
pub mod lock;
pub mod plan;
mod requests;
pub mod state;
mod undo;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::manifest::Manifest;
use crate::resources::{Attributes, Probe as _, System};
use crate::secret::Scrubber;
use crate::wire::{self, Request, RunOptions};

use emitter::Emitter;
pub use emitter::Sink;
use host::Host;
use plan::Plan;
use requests::Requests;
use state::State;

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
    let Some(Request::Check { manifest, options }) = requests.next()? else {
        return Ok(());
    };
    emitter.scrub(Scrubber::new(manifest.secrets.values()));
    let state = State::load(host)?;
    state.owed_changes().for_each(|id| host.mark_changed(id));
    let foreseen = Plan::foresee(&manifest, host);
    let shown = Plan::make(&manifest, host, &state, foreseen, |resource, outcome| {
        emitter.emit(Event::Checked {
            id: resource.id.clone(),
            outcome: outcome.clone(),
            mark: None,
        });
    });
    for (id, action) in &shown.due {
        emitter.emit(Event::ServiceDue { id: id.clone(), action: *action });
    }
    emitter.emit(Event::PlanComplete);
    match requests.next()? {
        Some(Request::Apply) => apply(&manifest, &options, &shown, host, emitter),
        _ => Ok(()),
    }
}

/// Applies what was shown, if the server is still as it was then.
fn apply(
    manifest: &Manifest,
    options: &RunOptions,
    shown: &Plan,
    host: &mut Host,
    emitter: &Emitter,
) -> Result<()> {
    host.make_directory(state::FOLDER, &Attributes::new("root", "root", 0o700))?;
    let wait = Duration::from_secs(u64::from(options.lock_wait_seconds));
    let _lock = lock::Lock::take(state::FOLDER, &options.who, wait)?;
    let mut state = State::load(host)?;
    host.forget();
    let found = Plan::make(manifest, host, &state, shown.foreseen.clone(), |_, _| {});
    if let Some(id) = first_difference(manifest, shown, &found) {
        return Err(Error::failed("the server changed since the plan was made")
            .because(format!("`{id}` is not as it was"))
            .hint("look at the new plan and apply again"));
    }
    apply::Run::new(manifest, host, &mut state, emitter).all()
}

/// Applies a manifest to any system, without a plan before it: what [`serve`] does after the
/// laptop has confirmed the plan. Returns an error if the run cannot go on.
pub fn apply_manifest(manifest: &Manifest, system: &mut dyn System, sink: Box<Sink>) -> Result<()> {
    let emitter = Emitter::new(sink, Arc::default());
    emitter.scrub(Scrubber::new(manifest.secrets.values()));
    let mut state = State::load(system)?;
    let owed: Vec<_> = state.owed_changes().cloned().collect();
    for id in &owed {
        system.mark_changed(id);
    }
    apply::Run::new(manifest, system, &mut state, &emitter).all()
}

fn first_difference(manifest: &Manifest, shown: &Plan, found: &Plan) -> Option<String> {
    let outcomes = shown.outcomes.iter().zip(&found.outcomes);
    let resource = manifest.resources.iter().zip(outcomes).find(|(resource, (shown, found))| {
        // A verification may well answer otherwise the second time: it is no part of the plan.
        shown != found && !resource.spec.verifies()
    });
    let service = || {
        let all = shown.due.iter().chain(&found.due);
        all.map(|(id, _)| id).find(|id| shown.due.get(id) != found.due.get(id))
    };
    resource.map(|(resource, _)| &resource.id).or_else(service).map(ToString::to_string)
}
