//! Keeping the services of new packages from starting before their configuration is there.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::resources::probe::Probe;
use crate::resources::query::Command;
use crate::resources::system::{Attributes, System};
use crate::resources::systemd::{self, Links};

/// What Debian's `invoke-rc.d` and `deb-systemd-invoke` ask before they touch a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The host's own policy while ours is in its place.
const OWN_POLICY: &str = "/usr/sbin/policy-rc.d.before-infra";

/// The units that our policy kept from starting, one a line, until the next boot.
const HELD: &str = "/run/infra-held-services";

/// Does nothing unless the environment says that infra installs: left behind by a run that was
/// cut, it is harmless.
const SCRIPT: &str = include_str!("policy-rc.d");

/// What tells our policy from another, whichever version of infra wrote it.
const MARK: &str = "# Written by infra while it installs packages.";

/// Calls `install` with the variables for apt's environment, while no service can start that does
/// not run now. What does run may be restarted by its upgrade.
pub(super) fn while_held(
    system: &mut dyn System,
    install: impl FnOnce(&mut dyn System, &[(&str, String)]) -> Result<()>,
) -> Result<()> {
    let environment = [
        ("INFRA_HOLDS_SERVICES", "1".to_owned()),
        ("INFRA_RUNNING_SERVICES", running_services(system)?.join(" ")),
    ];
    put_policy(system)?;
    let installed = install(system, &environment);
    let restored = take_policy_away(system);
    installed.and(restored)
}

fn put_policy(system: &mut dyn System) -> Result<()> {
    // One that a run left behind when it was cut is replaced; the host's own is kept.
    let is_ours = system
        .read(POLICY)?
        .is_some_and(|content| content.windows(MARK.len()).any(|window| window == MARK.as_bytes()));
    if !is_ours && system.stat(POLICY)?.is_some() {
        system.rename(POLICY, OWN_POLICY)?;
    }
    system.write_file(POLICY, SCRIPT.as_bytes(), &Attributes::new("root", "root", 0o755))
}

fn take_policy_away(system: &mut dyn System) -> Result<()> {
    if system.stat(OWN_POLICY)?.is_some() {
        system.rename(OWN_POLICY, POLICY)
    } else {
        system.remove_file(POLICY)
    }
}

/// The services that run, without the suffix.
fn running_services(system: &mut dyn System) -> Result<Vec<String>> {
    let states = "--state=active,reloading,activating";
    let list = ["systemctl", "list-units", "--type=service", states, "--plain", "--no-legend"];
    let output = system.run(&Command::new(list).timeout_seconds(60))?;
    let units = output.text();
    let names = units.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(|unit| unit.strip_suffix(".service").unwrap_or(unit).to_owned()).collect())
}

/// Whether `unit` came with a package and was kept from starting.
pub fn is_held(unit: &str, probe: &dyn Probe) -> bool {
    // No such file, or one that nobody can read: nothing is known of the unit.
    let held = probe.read(HELD).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&held).lines().any(|line| systemd::unit_name(line) == unit)
}

/// Starts what was kept from starting and what no resource has an opinion on, as Debian would
/// have done; called when the resources behind the packages are in place. `declared` holds the
/// full names of the units that resources hold in a state. Returns the units it started.
///
/// # Errors
/// When one of them does not start. The others are started nevertheless.
pub fn start_held(system: &mut dyn System, declared: &BTreeSet<String>) -> Result<Vec<String>> {
    let Some(held) = system.read(HELD)? else { return Ok(Vec::new()) };
    let held = String::from_utf8_lossy(&held).into_owned();
    let own_name = |name: &String| Ok(system.unit(name)?.own_name(name).to_owned());
    let declared: BTreeSet<String> = declared.iter().map(own_name).collect::<Result<_>>()?;
    let units: BTreeSet<String> = held
        .lines()
        .filter(|line| systemd::check_unit_name(line).is_ok())
        .map(systemd::unit_name)
        .filter(|unit| !declared.contains(unit) && !systemd::is_template(unit))
        .collect();
    let mut started = Vec::new();
    let mut result = Ok(());
    for name in units {
        let unit = system.unit(&name)?;
        // What a package ships disabled is not for us to start.
        let is_off = [false.into(), "masked".into()];
        if unit.is_active() || is_off.contains(&Links::of(&name).enabled(system, &unit, true)?) {
            continue;
        }
        match systemd::start(system, &name) {
            Ok(()) => started.push(name),
            Err(error) => result = result.and(Err(error)),
        }
    }
    system.remove_file(HELD)?;
    result.map(|()| started)
}
