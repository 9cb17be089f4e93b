//! The lock-out guard: a change of the way in is undone by itself unless a new connection proves
//! that it locks nobody out.
//!
//! Before the first guarded resource is switched, a record of how everything was is written, and
//! a timer of systemd is started that puts it back: neither needs the connection, the network or
//! the run. A unit that is started at boot does the same for a server that is restarted in the
//! meantime. Whoever takes the record away decides: the run, when the proof is there; the timer,
//! when the time is up.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::events::{RunEnd, ServiceAction};
use crate::manifest::{Resource, ResourceId};
use crate::resources::service::Service;
use crate::resources::{
    Attributes, Command, Probe, Service as _, System, WayBack, run_checked, unit_of,
};
use crate::wire::{self, Request};

use super::lock::Lock;
use super::requests::Requests;
use super::state::{self, State};
use super::undo::Snapshot;

/// Holds how everything was; who removes or renames it first decides.
const RECORD: &str = "/var/lib/infra/guard/record";
/// The record while it is put back.
const REVERTING: &str = "/var/lib/infra/guard/reverting";
/// The record once it is not needed any more.
const CONFIRMED: &str = "/var/lib/infra/guard/confirmed";
const FOLDER: &str = "/var/lib/infra/guard";

/// The name of the transient timer and of the service that it starts.
const TIMER: &str = "infra-guard";
/// Puts everything back at boot.
const BOOT_UNIT: &str = "/etc/systemd/system/infra-guard-boot.service";
const BOOT_FOLDER: &str = "/etc/systemd/system/multi-user.target.wants";
const BOOT_LINK: &str = "/etc/systemd/system/multi-user.target.wants/infra-guard-boot.service";

/// The run itself puts things back when the time is up; the timer only if the run is dead.
const GRACE: Duration = Duration::from_secs(5);

/// How long the timer waits for a run that still holds the lock, before it leaves the state to it.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Begins a record: the layout of what follows. Another version of the agent may find it.
const FORMAT: &[u8] = b"infra guard 2\n";

/// How everything was before the guarded resources were switched.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    snapshots: Vec<Snapshot>,
    /// Programs with what they read, and whether what they put back outlives a boot.
    programs: Vec<(Vec<String>, Vec<u8>, bool)>,
    /// Units that have to read what was put back.
    units: Vec<(String, ServiceAction)>,
    /// Where the laptop is, if sshd told: its attempts to prove may have had it banned.
    client: Option<String>,
}

/// What a run needs to guard its changes: somebody to ask for the proof.
pub(super) struct Guard<'a> {
    requests: &'a Requests,
    timeout: Duration,
    armed: Option<Armed>,
}

/// Guarded resources that were switched and not yet proved.
struct Armed {
    record: Record,
    until: Instant,
}

/// What came of a guarded change.
pub(super) enum Verdict {
    /// A new connection got in.
    Proved,
    /// A new connection got in, and sudo took no password from it.
    PasswordRefused(Error),
    /// None did, and this is why; everything is to be put back.
    Refuted(Error),
}

impl<'a> Guard<'a> {
    /// A guard that asks the laptop; `None` if nothing is to be guarded.
    pub(super) fn new(requests: &'a Requests, seconds: u32) -> Option<Self> {
        let timeout = Duration::from_secs(u64::from(seconds));
        (seconds > 0).then_some(Self { requests, timeout, armed: None })
    }

    /// What was switched and is not yet proved, and for how long it stays.
    pub(super) fn unproved(&self) -> Option<(Vec<ResourceId>, Duration)> {
        let armed = self.armed.as_ref()?;
        let ids = armed.record.snapshots.iter().map(|snapshot| snapshot.id.clone()).collect();
        Some((ids, armed.until.saturating_duration_since(Instant::now())))
    }

    /// Whether so much time has gone by that the proof cannot wait for more resources.
    pub(super) fn is_urgent(&self) -> bool {
        self.unproved().is_some_and(|(_, left)| left < self.timeout * 2 / 3)
    }

    /// Writes down how `resource` is before it is switched, and starts the timer with the first.
    /// `units` read what it switches.
    pub(super) fn watch(
        &mut self,
        resource: &Resource,
        units: Vec<(String, ServiceAction)>,
        system: &mut dyn System,
    ) -> Result<()> {
        let cannot = |error: Error| {
            error.context("cannot guard the way in").hint("nothing was changed; see `guard`")
        };
        let paths = resource.spec.switched_paths(system)?;
        let snapshot = Snapshot::take(&resource.id, Vec::new(), &paths, system)?;
        let programs = resource.spec.way_back(system)?;
        let is_first = self.armed.is_none();
        let client = std::env::var("SSH_CLIENT").ok();
        let client = client.and_then(|text| text.split(' ').next().map(str::to_owned));
        let until = Instant::now() + self.timeout;
        let armed = self
            .armed
            .get_or_insert(Armed { record: Record { client, ..Record::default() }, until });
        let record = &mut armed.record;
        record.snapshots.push(snapshot);
        record.programs.extend(programs.into_iter().map(|WayBack { command, outlives_boot }| {
            (command.argv, command.stdin.unwrap_or_default(), outlives_boot)
        }));
        record.units.extend(units);
        let written = write(record, system);
        if !is_first {
            return written;
        }
        let started = written.and_then(|()| start_timer(self.timeout + GRACE, system));
        if started.is_err() {
            self.armed = None;
            // The error to tell is the first one.
            let _ = disarm(system);
        }
        started.map_err(cannot)
    }

    /// Waits for the laptop to say whether a new connection gets in.
    pub(super) fn verdict(&self) -> Verdict {
        let left = self.unproved().map(|(_, left)| left).unwrap_or_default();
        match self.requests.within(left) {
            Some(Request::Confirm) => Verdict::Proved,
            Some(Request::Refute { error, is_password_wrong: true }) => {
                Verdict::PasswordRefused(error)
            }
            Some(Request::Refute { error, .. }) => Verdict::Refuted(error),
            _ => {
                Verdict::Refuted(Error::new(Kind::Reverted, "nobody proved that a new one gets in"))
            }
        }
    }

    /// The proof is there: what was switched stays. `false` if the timer was faster.
    pub(super) fn settle(&mut self, system: &mut dyn System) -> Result<bool> {
        if system.rename(RECORD, CONFIRMED).is_err() {
            return Ok(false);
        }
        self.armed = None;
        disarm(system)?;
        Ok(true)
    }

    /// Puts everything back. Returns what failed, for each resource or program.
    pub(super) fn revert(&mut self, system: &mut dyn System) -> Vec<(ResourceId, Option<Error>)> {
        let Some(armed) = self.armed.take() else { return Vec::new() };
        // If the timer was faster, putting things back twice does no harm.
        let _ = system.rename(RECORD, REVERTING);
        let mut done = put_back(&armed.record, system);
        let told = armed.record.tell(system);
        let is_back = told.is_ok() && done.iter().all(|(_, error)| error.is_none());
        // What could not be put back is left to the timer, the next boot and the next run.
        let rest = if is_back { disarm(system) } else { told };
        if let (Some((_, first)), Err(error)) = (done.first_mut(), rest) {
            first.get_or_insert(error);
        }
        done
    }
}

impl Record {
    /// Runs the programs that put things back; after a boot, those that are still needed.
    fn run(&self, at_boot: bool, system: &mut dyn System) -> Result<()> {
        let programs = self.programs.iter().rev();
        let programs = programs.filter(|(.., outlives_boot)| *outlives_boot || !at_boot);
        let results: Vec<Result<()>> = programs
            .map(|(argv, stdin, _)| {
                run_checked(system, &Command::new(argv).stdin(stdin.as_slice())).map(drop)
            })
            .collect();
        // At boot as well: systemd has read the files of all units before anything is put back.
        let read = match self.units_put_back().next() {
            Some(_) => run_checked(system, &Command::new(["systemctl", "daemon-reload"])).map(drop),
            None => Ok(()),
        };
        results.into_iter().chain([read]).collect()
    }

    /// The units of which a file was put back.
    fn units_put_back(&self) -> impl Iterator<Item = &str> {
        self.snapshots.iter().flat_map(Snapshot::paths).filter_map(unit_of)
    }

    /// The units that have to read what was put back, and how. A unit of which a file was put back may have been
    /// restarted by its own resource, and systemd closes the sockets that a new file of theirs does not name.
    fn told(&self, probe: &dyn Probe) -> Vec<(String, ServiceAction)> {
        let mut units = self.units.clone();
        for unit in self.units_put_back() {
            let runs = probe
                .unit(unit)
                .is_ok_and(|unit| unit.is_active() || unit.active_state == "failed");
            if runs && !units.iter().any(|(told, _)| told == unit) {
                units.push((unit.to_owned(), ServiceAction::Restart));
            }
        }
        units
    }

    /// Lets the kernel and the services read what was put back.
    fn tell(&self, system: &mut dyn System) -> Result<()> {
        let programs = self.run(false, system);
        let mut units = Vec::new();
        for (unit, action) in self.told(system) {
            let service = Service { running: Some(true), ..Service::named(&unit) };
            units.push(match action {
                ServiceAction::Reload => service.reload(system).map(drop),
                ServiceAction::Restart => service.restart(system),
            });
        }
        if let Some(client) = &self.client {
            let unban = Command::new(["fail2ban-client", "unban", client]).timeout_seconds(30);
            // Where there is no fail2ban nobody was banned by it.
            let _ = system.run(&unban);
        }
        std::iter::once(programs).chain(units).collect()
    }
}

/// Every resource is tried, the last one first.
fn put_back(record: &Record, system: &mut dyn System) -> Vec<(ResourceId, Option<Error>)> {
    let snapshots = record.snapshots.iter().rev();
    snapshots.map(|snapshot| (snapshot.id.clone(), snapshot.restore(system).err())).collect()
}

fn write(record: &Record, system: &mut dyn System) -> Result<()> {
    let record = wire::encode(record).context(|| format!("cannot write `{RECORD}`"))?;
    let bytes = [FORMAT, &record].concat();
    for folder in [state::FOLDER, FOLDER] {
        system.make_directory(folder, &Attributes::new("root", "root", 0o700))?;
    }
    system.write_file(RECORD, &bytes, &Attributes::new("root", "root", 0o600))
}

fn read(path: &str, probe: &dyn Probe) -> Result<Option<Record>> {
    let Some(bytes) = probe.read(path)? else { return Ok(None) };
    let Some(record) = bytes.strip_prefix(FORMAT) else {
        let error = Error::failed(format!("`{path}` is of another version of infra"));
        return Err(
            error.hint("`systemctl start infra-guard-boot` puts back what that run changed")
        );
    };
    let record = wire::decode(record.get(4..).unwrap_or_default());
    record.map(Some).context(|| format!("cannot read `{path}`"))
}

/// The program that puts things back is this one.
fn program() -> Result<String> {
    let path = std::env::current_exe().context(|| "cannot tell where the agent is".to_owned())?;
    Ok(path.to_string_lossy().into_owned())
}

fn start_timer(after: Duration, system: &mut dyn System) -> Result<()> {
    let program = program()?;
    let unit = format!(
        "[Unit]\nDescription=Put back a change of the way in that nobody proved\n\
         ConditionPathExists=|{RECORD}\nConditionPathExists=|{REVERTING}\n\
         DefaultDependencies=no\nAfter=local-fs.target\n\
         Before=network-pre.target nftables.service ssh.service\n\n\
         [Service]\nType=oneshot\nExecStart={program} revert-at-boot\n"
    );
    let root = |mode| Attributes::new("root", "root", mode);
    system.write_file(BOOT_UNIT, unit.as_bytes(), &root(0o644))?;
    system.make_directory(BOOT_FOLDER, &root(0o755))?;
    system.make_symlink(BOOT_LINK, "../infra-guard-boot.service")?;
    // One that is left of a run that was cut has nothing to put back any more.
    let _ = system.run(&Command::new(["systemctl", "stop", "--", &format!("{TIMER}.timer")]));
    let seconds = after.as_secs();
    let start = Command::new(["systemd-run", "--quiet", "--collect"])
        .arg(format!("--unit={TIMER}"))
        .arg(format!("--on-active={seconds}"))
        .arg("--timer-property=AccuracySec=100ms")
        .arg("--description=Put back a change of the way in that nobody proved")
        .arg("--")
        .arg(program)
        .arg("revert");
    run_checked(system, &start).map(drop)
}

/// Takes away everything that would put things back.
fn disarm(system: &mut dyn System) -> Result<()> {
    let stop = Command::new(["systemctl", "stop", "--", &format!("{TIMER}.timer")]);
    // Without a timer, as after a restart of the server, this says that there is no such unit.
    let stopped = system.run(&stop).map(drop);
    let files = [BOOT_LINK, BOOT_UNIT, RECORD, REVERTING, CONFIRMED];
    let removed = files.map(|path| system.remove_file(path));
    stopped.and(removed.into_iter().collect())
}

/// What the timer does when the time is up, or the server when it boots: then nothing runs yet
/// that would have to be told.
///
/// # Errors
/// What could not be put back.
pub(super) fn revert(system: &mut dyn System, at_boot: bool) -> Result<()> {
    // Whoever removes it first has decided; a revert that was cut is done again.
    let _ = system.rename(RECORD, REVERTING);
    let Some(record) = read(REVERTING, system)? else { return Ok(()) };
    let done = put_back(&record, system);
    let told = if at_boot { record.run(true, system) } else { record.tell(system) };
    let noted = note(&record, system);
    let failed = done.into_iter().find_map(|(_, error)| error);
    failed.map_or(told.and(noted), Err)?;
    [BOOT_LINK, BOOT_UNIT, REVERTING].iter().try_for_each(|path| system.remove_file(path))
}

/// Notes in the state what was put back, unless a run is there to do so.
fn note(record: &Record, system: &mut dyn System) -> Result<()> {
    let lock = Lock::take(state::FOLDER, "the guard of the way in", LOCK_WAIT);
    let Ok(_lock) = lock else { return Ok(()) };
    let mut state = State::load(system)?;
    for snapshot in &record.snapshots {
        state.unapplied(&snapshot.id);
    }
    state.end_run(system, RunEnd::Reverted, [0, 0, 0], super::now())
}

/// Puts back what a run that was cut has left unproved. `true` if there was something.
///
/// # Errors
/// If the record cannot be read, or something cannot be put back.
pub fn recover(system: &mut dyn System, state: &mut State) -> Result<bool> {
    let Some(record) = [RECORD, REVERTING].iter().find_map(|path| read(path, system).transpose())
    else {
        return Ok(false);
    };
    let record = record?;
    let failed = put_back(&record, system).into_iter().find_map(|(_, error)| error);
    failed.map_or(Ok(()), Err)?;
    // The files are as they were: a service that does not like that is told of once, and does not
    // stand in the way of the run that mends it.
    let told = record.tell(system);
    for snapshot in &record.snapshots {
        state.unapplied(&snapshot.id);
    }
    state.end_run(system, RunEnd::Reverted, [0, 0, 0], super::now())?;
    disarm(system)?;
    told.map(|()| true)
}
