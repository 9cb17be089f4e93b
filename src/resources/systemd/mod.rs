//! Units of systemd: their names, their states as fields, and the few things done to them. Shared
//! by the kinds that hold a unit in a state.

mod boot;
mod install;
mod verify;
mod watch;

pub(super) use boot::{Links, unmask};
pub(super) use install::{is_worker, service_type};
pub use verify::unit_of;
pub(super) use verify::{check_file, predict_file};
pub use watch::Watch;

use std::collections::BTreeMap;

use super::excerpt;
use super::names::normal;
use super::probe::{Probe, Unit};
use super::query::{Command, Query};
use super::state::{Change, FAILING, STARTING};
use super::system::{System, run_checked};
use super::workers::Workers;
use crate::error::{Error, Result};

/// Where administrators, and infra, have unit files and links to them.
pub(super) const FOLDER: &str = "/etc/systemd/system";

/// The types of units that have a file of their own.
const SUFFIXES: [&str; 9] =
    ["service", "timer", "socket", "mount", "automount", "target", "path", "slice", "swap"];

/// How long one start, stop or reload may take, in seconds: above systemd's own limit of 90, so
/// that systemd's explanation is seen.
const JOB_SECONDS: u32 = 180;

/// How long a new process has to stay alive to count as started.
const PROOF_MILLISECONDS: u32 = 1000;

/// How long a unit may need from `activating` to `active`, beyond what `systemctl start` waits.
const SETTLE_MILLISECONDS: u32 = 60_000;

/// The time between two looks at a unit.
const LOOK_MILLISECONDS: u32 = 100;

/// How many lines of its journal an error shows.
const JOURNAL_LINES: usize = 15;

/// How many lines of one start are looked through for those that tell most: the stack of a crash may be long.
const START_LINES: &str = "300";

/// How many lines of a unit are asked for where systemd has no name for its last start.
const OTHER_LINES: &str = "15";

/// The unit's full name: a name without a suffix is a service.
pub(super) fn unit_name(name: &str) -> String {
    if has_suffix(name) { name.to_owned() } else { format!("{name}.service") }
}

/// Whether a name ends as that of a unit with a file of its own.
fn has_suffix(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix))
}

/// The unit that mounts something at a path (`systemd-escape --path`).
pub(super) fn mount_unit(path: &str) -> String {
    let path = normal(path);
    let path = path.trim_start_matches('/');
    let is_kept = |at: usize, byte: u8| {
        byte.is_ascii_alphanumeric() || b":_".contains(&byte) || byte == b'.' && at > 0
    };
    let name = path.bytes().enumerate().fold(String::new(), |name, (at, byte)| match byte {
        b'/' => name + "-",
        byte if is_kept(at, byte) => name + &char::from(byte).to_string(),
        byte => format!("{name}\\x{byte:02x}"),
    });
    format!("{}.mount", if name.is_empty() { "-" } else { &name })
}

/// Says what is wrong with the name of a unit.
pub(super) fn check_unit_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if name.is_empty()
        || name.len() > 255
        || name.starts_with(['-', '.'])
        || !name.chars().all(allowed)
    {
        return Err(format!("`{name}` is not a name of a systemd unit"));
    }
    Ok(())
}

/// The unit that `name` means, under its own name: `sshd` is another name of `ssh.service`. Where
/// it `matters`, also one that has this name only while it is enabled.
pub(super) fn find(probe: &dyn Probe, name: &str, matters: bool) -> Result<(String, Unit)> {
    let unit = probe.unit(name)?;
    if !unit.exists()
        && matters
        && let Some(behind) = install::with_alias(probe, name)?
    {
        let unit = probe.unit(&behind)?;
        return Ok((behind, unit));
    }
    Ok((unit.own_name(name).to_owned(), unit))
}

/// Whether a unit with these properties is not running any more once its job is done.
pub(super) fn ends(properties: &BTreeMap<String, String>) -> bool {
    let is = |key: &str, value: &str| properties.get(key).is_some_and(|found| found == value);
    is("Type", "oneshot") && is("RemainAfterExit", "no")
}

/// Why such a unit cannot be kept running.
pub(super) fn ends_because(name: &str) -> String {
    format!(
        "`{name}` cannot be kept running: `Type=oneshot` without `RemainAfterExit=yes` ends when \
         its job is done"
    )
}

/// Whether it is a template such as `worker@.service`, of which only instances can run.
pub(super) fn is_template(unit: &str) -> bool {
    unit.contains("@.")
}

/// Whether applying `change` starts a unit that did not run, so that it reads its configuration.
/// One that is being started already has read it, perhaps before it changed.
pub(super) fn starts(change: &Change) -> bool {
    match change {
        Change::Create(_) => true,
        Change::Update(changes) => {
            changes.iter().any(|change| change.field == "running" && !change.only_waits())
        }
        Change::Remove => false,
    }
}

/// The field `running`: `yes` or `no`, or the reason why it does not run where it should.
pub(super) fn running(unit: &Unit, wanted: bool) -> &'static str {
    match unit.active_state.as_str() {
        "failed" if wanted => "failed",
        "inactive" if wanted && is_masked(unit) => "masked",
        "activating" if unit.sub_state == "auto-restart" && wanted => FAILING,
        "activating" if wanted => STARTING,
        // A stop that is asked for has to end what is only starting as well.
        "active" | "reloading" | "activating" => "yes",
        _ => "no",
    }
}

/// Whether the unit cannot be started by anybody.
pub(super) fn is_masked(unit: &Unit) -> bool {
    unit.load_state == "masked" || unit.unit_file_state.starts_with("masked")
}

/// Lets systemd read its files anew.
pub(super) fn daemon_reload(system: &mut dyn System) -> Result<()> {
    run_checked(system, &systemctl(["daemon-reload"])).map(drop)
}

/// Does one thing to a unit that does not wait for a process: enable, disable, mask, unmask.
pub(super) fn set(system: &mut dyn System, verb: &str, unit: &str) -> Result<()> {
    run_checked(system, &systemctl([verb, "--", unit])).map(drop)
}

/// Stops a unit. One that systemd could not load does not run.
pub(super) fn stop(system: &mut dyn System, unit: &str) -> Result<()> {
    let found = system.unit(unit)?;
    let is_loaded = !matches!(found.load_state.as_str(), "bad-setting" | "error" | "not-found");
    if !is_loaded && !found.is_active() && !unit.contains('*') {
        return Ok(());
    }
    act(system, "stop", unit)
}

/// Starts a unit and waits until it really runs.
///
/// # Errors
/// When it does not start, or dies within its first second; with the last lines of its journal.
pub(super) fn start(system: &mut dyn System, unit: &str) -> Result<()> {
    forget_failures(system, unit)?;
    act(system, "start", unit)?;
    wait_until_active(system, "start", unit)
}

/// Stops and starts a unit and waits until it really runs.
pub(super) fn restart(system: &mut dyn System, unit: &str) -> Result<()> {
    if unit.ends_with(".socket") {
        return restart_socket(system, unit);
    }
    forget_failures(system, unit)?;
    act(system, "restart", unit)?;
    wait_until_active(system, "restart", unit)
}

/// Stops and starts a socket, and the services behind it that run: systemd does not open a socket
/// while one of them does.
fn restart_socket(system: &mut dyn System, unit: &str) -> Result<()> {
    let behind = system.query(&Query::services_behind(unit))?.text();
    let mut services: Vec<&str> = behind.split_whitespace().collect();
    services.retain(|service| system.unit(service).is_ok_and(|unit| unit.is_active()));
    act(system, "stop", unit)?;
    services.iter().try_for_each(|service| act(system, "stop", service))?;
    let started = start(system, unit);
    // The services run again, whatever became of the socket.
    services.iter().try_for_each(|service| start(system, service))?;
    started
}

/// Makes a running unit read its configuration anew; one that cannot is restarted. Starts one
/// that does not run. Whether it lives on is to be watched, unless new workers have shown it.
pub(super) fn reload(system: &mut dyn System, unit: &str) -> Result<Option<Watch>> {
    if unit.ends_with(".socket") {
        return restart_socket(system, unit).map(|()| None);
    }
    let workers = Workers::of(system, unit)?;
    let watch = Watch::new(system, unit)?;
    forget_failures(system, unit)?;
    act(system, "reload-or-restart", unit)?;
    wait_until_active(system, "reload", unit)?;
    if let Some(workers) = workers {
        let replaced = workers.are_replaced(system, unit);
        return replaced.map(|()| None).map_err(|error| with_journal(system, unit, error));
    }
    // A timer has no process that could end.
    if !unit.ends_with(".service") {
        return Ok(None);
    }
    watch.told(system).map(Some)
}

/// systemd refuses to start what was started several times in a row, by its own `Restart=` or by infra, whatever
/// has been repaired since; and a failed unit whose file is gone would stay in the list of failed ones. The
/// count is kept for units in any state, and systemd tells it to nobody.
pub(super) fn forget_failures(system: &mut dyn System, unit: &str) -> Result<()> {
    // It fails where systemd has not loaded the unit, and so counts nothing.
    system.run(&systemctl(["reset-failed", "--", unit])).map(drop)
}

fn act(system: &mut dyn System, verb: &str, unit: &str) -> Result<()> {
    let command = systemctl([verb, "--", unit]).timeout_seconds(JOB_SECONDS);
    let output = system.run(&command)?;
    if output.success() {
        return Ok(());
    }
    let verb = if verb == "reload-or-restart" { "reload" } else { verb };
    // "See systemctl status …" is what we show anyway.
    let said = output.tail(5);
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("See ")).collect();
    let error = Error::failed(format!("`{unit}` did not {verb}")).because(said.join("\n"));
    Err(with_journal(system, unit, error))
}

/// Looks until the unit is active and stays so. `systemctl` returns as soon as a process of
/// `Type=simple` exists, which says nothing about whether it likes its configuration.
fn wait_until_active(system: &mut dyn System, verb: &str, unit: &str) -> Result<()> {
    let mut waited = 0;
    loop {
        let found = system.unit(unit)?;
        let kind = found.properties.get("Type").map(String::as_str);
        let proof = match kind {
            // After a reload the watch sees whether it lives on.
            Some("simple" | "exec" | "idle") if verb != "reload" => PROOF_MILLISECONDS,
            _ => 0,
        };
        match running(&found, true) {
            "yes" if waited >= proof => return instances_run(system, verb, unit, kind),
            // A service of `Type=oneshot` that has done its work is where it should be.
            "no" if kind == Some("oneshot") => return Ok(()),
            "yes" => {}
            "starting" if waited < SETTLE_MILLISECONDS && !system.interrupted() => {}
            state => {
                let error = Error::failed(format!("`{unit}` did not {verb}"));
                let error = match state {
                    "starting" => {
                        error.because(format!("it is still starting after {} s", waited / 1000))
                    }
                    "failed" => error,
                    _ => error.because("it ended right after its start"),
                };
                return Err(with_journal(system, unit, error));
            }
        }
        system.sleep_milliseconds(LOOK_MILLISECONDS);
        waited += LOOK_MILLISECONDS;
    }
}

/// Debian's `postgresql.service` and its like do nothing themselves: they pull in instances such
/// as `postgresql@15-main.service`, and are active even if those failed.
fn instances_run(
    system: &mut dyn System,
    verb: &str,
    unit: &str,
    kind: Option<&str>,
) -> Result<()> {
    let Some(name) = unit.strip_suffix(".service").filter(|_| kind == Some("oneshot")) else {
        return Ok(());
    };
    let pattern = format!("{name}@*.service");
    let output =
        system.run(&systemctl(["list-units", "--failed", "--plain", "--no-legend", &pattern]))?;
    match output.text().split_whitespace().next() {
        None => Ok(()),
        Some(instance) => {
            let error = Error::failed(format!("`{instance}` did not {verb}"));
            Err(with_journal(system, instance, error))
        }
    }
}

/// Adds the end of the unit's journal to an error: of its last start, where systemd has a name for that.
fn with_journal(system: &mut dyn System, unit: &str, error: Error) -> Error {
    let start =
        system.unit(unit).ok().and_then(|unit| unit.properties.get("InvocationID").cloned());
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let journalctl = Command::new(["journalctl"]);
    let (journalctl, asked) = match start.filter(is_id) {
        // Lines of its processes, and lines of systemd about them.
        Some(id) => {
            let own = format!("_SYSTEMD_INVOCATION_ID={id}");
            let about = format!("INVOCATION_ID={id}");
            (journalctl.arg(own).arg("+").arg(about), START_LINES)
        }
        // Further back are errors of starts before.
        None => (journalctl.arg("-u").arg(unit), OTHER_LINES),
    };
    let journalctl =
        ["-n", asked, "--no-pager", "-o", "cat"].into_iter().fold(journalctl, Command::arg);
    let journal = system.run(&journalctl.timeout_seconds(30));
    let lines = journal.map(|output| output.text()).unwrap_or_default();
    let lines = excerpt::last(&lines, JOURNAL_LINES);
    let error = if lines.is_empty() { error } else { error.because(lines) };
    error.hint(format!("`journalctl -u {unit}` on the server shows more"))
}

fn systemctl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new(["systemctl"].into_iter().chain(arguments)).timeout_seconds(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_service() {
        assert_eq!(unit_name("nginx"), "nginx.service");
        assert_eq!(unit_name("php8.2-fpm"), "php8.2-fpm.service");
        assert_eq!(unit_name("certbot.timer"), "certbot.timer");
        assert_eq!(unit_name("postgresql@15-main"), "postgresql@15-main.service");
    }

    #[test]
    fn unit_names_are_checked() {
        assert_eq!(check_unit_name("postgresql@15-main.service"), Ok(()));
        for wrong in ["", "-n", "a b", "../x", "a/b", ".x"] {
            assert_eq!(
                check_unit_name(wrong),
                Err(format!("`{wrong}` is not a name of a systemd unit"))
            );
        }
    }

    #[test]
    fn a_service_that_fails_again_and_again_does_not_run() {
        let unit = |active: &str, sub: &str| Unit {
            active_state: active.into(),
            sub_state: sub.into(),
            ..Unit::default()
        };
        assert_eq!(running(&unit("active", "exited"), true), "yes");
        assert_eq!(running(&unit("activating", "auto-restart"), true), FAILING);
        assert_eq!(running(&unit("activating", "start-pre"), true), "starting");
        assert_eq!(running(&unit("failed", "failed"), true), "failed");
        assert_eq!(running(&unit("failed", "failed"), false), "no");
    }
}
