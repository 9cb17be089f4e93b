//! `infra apply`: makes servers match the inventory.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::cli::Context;
use crate::error::{Error, Kind};
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::fleet::Stop;
use crate::report::{self, Report};
use crate::session::{Selection, Session, runtime, tell};
use crate::shown;
use crate::wire::RunOptions;

use super::saved::Saved;

/// The arguments of `infra apply`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("names", |names| names.required(false).required_unless_present("plan")))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask before changing anything.
    #[arg(long)]
    yes: bool,
    /// Apply this plan, saved by `infra diff --out FILE`, if nothing has changed since.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "only", "skip", "set", "at", "allow_data_loss"])]
    plan: Option<PathBuf>,
    /// Apply to N servers at a time, in the order of the targets, and to no more once one has
    /// failed or could not be reached.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    serial: Option<u16>,
    /// How long to wait for another run on the same server: `90`, `90s`, `5m`, `1h`.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
    lock_wait: u32,
    /// How long a change of the way in (sshd, the firewall, keys) stays unless a new connection
    /// proves that it locks nobody out: `90`, `90s`, `5m`; `0` guards nothing.
    #[arg(long, value_name = "TIME", default_value_t = GUARD_SECONDS, value_parser = seconds)]
    guard_timeout: u32,
}

/// How long servers may take to end what is in hand: a little more than the agent gives a program
/// before it kills it.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// How long a guarded change stays without a proof, in seconds, unless the user says otherwise.
const GUARD_SECONDS: u32 = 60;

impl Args {
    /// Applies to everything selected, without a question.
    pub fn unattended(selection: Selection) -> Self {
        Self::of(selection, true)
    }

    /// Applies everything selected; `yes` without a question.
    pub fn of(selection: Selection, yes: bool) -> Self {
        let guard_timeout = GUARD_SECONDS;
        Self { selection, yes, plan: None, serial: None, lock_wait: 0, guard_timeout }
    }
}

/// Prints the plan, asks, applies it, and prints what happened.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let options = RunOptions {
        lock_wait_seconds: args.lock_wait,
        guard_seconds: args.guard_timeout,
        who: who(),
        ..RunOptions::default()
    };
    let saved = match &args.plan {
        Some(path) => Some(Saved::open(path, args.selection.targets.lab, context)?),
        None => None,
    };
    if !args.yes && !report::terminal::can_ask() {
        return Err(Error::input("nobody is at a terminal to say `yes`")
            .hint("look at `infra diff`, then apply with `--yes`")
            .into());
    }
    if let Some(saved) = saved.as_ref().filter(|_| args.yes) {
        report::note(&saved.announced());
    }
    let mut session = match &saved {
        Some(saved) => saved.session(&args.selection.targets, options, context)?,
        None => args.selection.open(context, options, false)?,
    };
    let runtime = runtime()?;
    let mut changed = session.names();
    let seen = runtime.block_on(session.check())?;
    if let Some(saved) = &saved
        && saved.refuse(&seen, &mut session.report)?
    {
        return Ok(session.report.finish()?);
    }
    let reached = reached(&session.report, &changed, args.serial);
    let left = changed.split_off(reached);
    let with_changes = session.report.servers_with_changes();
    changed.retain(|name| with_changes.contains(name));
    if let Some((lost, after)) = left.split_first() {
        let after: Vec<&String> = after.iter().filter(|name| with_changes.contains(name)).collect();
        leave(&mut session.report, lost, &after)?;
    }
    let visits = std::mem::take(&mut session.visits);
    if let Some(wrong) = session.report.wrong_input() {
        leave(&mut session.report, &wrong, &changed.iter().collect::<Vec<_>>())?;
        return Ok(session.report.finish()?);
    }
    if changed.is_empty() {
        return Ok(session.report.finish()?);
    }
    let asks = !args.yes && changed.iter().any(|name| session.report.changes_something(name));
    if asks && !confirm(&session.report, &changed, saved.as_ref())? {
        report::note("nothing was changed");
        return Ok(ExitCode::Interrupted);
    }
    let at_once = args.serial.map_or(changed.len(), usize::from);
    let is_interrupted = runtime.block_on(apply(&mut session, &changed, at_once))?;
    let code = session.report.finish()?;
    if !visits.is_empty() && code == ExitCode::Done {
        report::note(&format!("\nlook at it:\n  {}", visits.join("\n  ")));
    }
    Ok(if is_interrupted { ExitCode::Interrupted } else { code })
}

/// How many of `servers` are worked on: all of them, or with `--serial` those before the first that
/// has no plan. The order is there because what comes later relies on what came before.
fn reached(report: &Report, servers: &[String], serial: Option<u16>) -> usize {
    let lost = servers.iter().position(|name| report.has_no_plan(name));
    lost.filter(|_| serial.is_some()).unwrap_or(servers.len())
}

/// Says that nothing is done on `servers`, because `failed` failed before it was their turn.
fn leave(report: &mut Report, failed: &str, servers: &[&String]) -> std::io::Result<()> {
    let message = format!("left as it is, because `{failed}` failed");
    servers
        .iter()
        .try_for_each(|server| report.event(server, &Event::Warning { message: message.clone() }))
}

fn confirm(report: &Report, servers: &[String], saved: Option<&Saved>) -> std::io::Result<bool> {
    for (server, message) in report.without_plan() {
        report::note(&left_out(server, message));
    }
    let changes = match report.changes(servers) {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let names = match servers {
        [one] => format!("`{one}`"),
        many => format!("{} servers", many.len()),
    };
    if let Some(saved) = saved {
        report::note(&saved.announced());
    }
    report.ask(&format!("Make {changes} on {names}?"))
}

fn left_out(server: &str, message: &str) -> String {
    format!("`{server}` is left out: {}", shown::line(message))
}

/// Applies the plans, `at_once` servers at a time, and says whether the user stopped it.
async fn apply(session: &mut Session, servers: &[String], at_once: usize) -> std::io::Result<bool> {
    let (stop, stopped) = watch::channel(Stop::No);
    let mut batches = servers.chunks(at_once.max(1));
    while let Some(batch) = batches.next() {
        let report = &mut session.report;
        let applying =
            session.fleet.apply(batch, &stopped, |server, news| tell(report, server, news));
        tokio::select! {
            done = applying => done?,
            () = last_interrupt(&stop) => {
                let error = Error::new(Kind::Interrupted, "stopped at once")
                    .hint("what was in hand may be half done; apply again");
                for server in batch {
                    session.report.failed(server, error.clone())?;
                }
                return Ok(true);
            }
        }
        if *stopped.borrow() > Stop::No {
            return Ok(true);
        }
        if let Some(failed) = batch.iter().find(|server| session.report.has_failed(server)) {
            leave(&mut session.report, failed, &batches.flatten().collect::<Vec<_>>())?;
            return Ok(false);
        }
    }
    Ok(false)
}

/// Asks everything to stop soon at the first Ctrl-C, and now at the second. Returns at the third, or
/// when what was in hand has not ended by then.
async fn last_interrupt(stop: &watch::Sender<Stop>) {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the first Ctrl-C ends the process.
        return std::future::pending().await;
    }
    stop.send_replace(Stop::Soon);
    report::note("stopping after the resource in hand; once more to stop it half-way");
    // Nothing else can be done with a failure here than to stop.
    let _ = tokio::signal::ctrl_c().await;
    stop.send_replace(Stop::Now);
    report::note("stopping what is in hand");
    let _ = tokio::time::timeout(LAST_WORDS, tokio::signal::ctrl_c()).await;
}

/// `user@machine`, for the history and the lock.
pub(super) fn who() -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{machine}")
}

/// The seconds in a text such as `90`, `5m`, `1h` or `7d`.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let scale = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let number: u32 = number.parse().map_err(|_| "expected a time such as `5m`".to_owned())?;
    number.checked_mul(scale).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{left_out, seconds};

    #[test]
    fn a_server_forges_no_line_of_the_question() {
        assert_eq!(
            left_out("rufus", "no\x1b[2J\nhint: yes"),
            "`rufus` is left out: no\\u{1b}[2J\\nhint: yes"
        );
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("90", Ok(90)),
            ("90s", Ok(90)),
            ("5m", Ok(300)),
            ("1h", Ok(3600)),
            ("7d", Ok(604_800)),
        ] {
            assert_eq!(seconds(text), expected);
        }
        assert_eq!(seconds("soon"), Err("expected a time such as `5m`".to_owned()));
    }
}
