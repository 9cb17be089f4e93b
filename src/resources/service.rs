//! `service`: a systemd unit of a package, running or not, started at boot or not.

use serde::{Deserialize, Serialize};

use super::argv::Argv;
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{Probe, Unit};
use super::query::Command;
use super::removal::{Dropped, UnitBefore};
use super::state::{Change, Current, State};
use super::system::System;
use super::systemd::{self, Links, Watch};
use super::{Resource, Spec, WayBack};
use crate::error::{Error, Kind, Result};

/// A systemd unit that a package brought: whether it runs, and whether it starts at boot.
///
/// Others name it in `reload` and `restart`. Before it reads its configuration anew, `validate`
/// has to succeed. A start counts only when the unit is really active and its process is still
/// there a second later; if not, the end of its journal is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The unit; without a suffix such as `.timer`, a service. Of another name of a unit, such as
    /// `sshd`, the unit behind it is taken.
    pub name: String,
    /// Whether it runs. `null` leaves it as it is. A unit that ends when its job is done
    /// (`Type=oneshot` without `RemainAfterExit=yes`) cannot be kept running.
    #[serde(default = "some_yes")]
    pub running: Option<bool>,
    /// Whether it starts at boot: linked where its `[Install]` says, and nowhere else; a script in
    /// `/etc/init.d` has its links in `/etc/rc?.d`. `null` leaves it as it is. A unit that cannot
    /// be enabled, because others pull it in (`static`), is fine either way.
    #[serde(default = "some_yes")]
    pub enabled: Option<bool>,
    /// Makes it impossible to start, by hand or by another unit: stopped and not enabled,
    /// whatever `running` and `enabled` say.
    #[serde(default)]
    pub masked: bool,
    /// A command that says whether its configuration is right, such as `nginx -t`: a list of
    /// arguments, or a text that is split at its spaces. It runs before every reload and restart.
    #[serde(default)]
    pub validate: Option<Argv>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn some_yes() -> Option<bool> {
    Some(true)
}

/// The services of Debian that load the rules of a firewall.
const FIREWALLS: [&str; 5] = [
    "firewalld.service",
    "netfilter-persistent.service",
    "nftables.service",
    "shorewall.service",
    "ufw.service",
];

impl Service {
    /// The full name of its unit, with the suffix.
    pub fn unit(&self) -> String {
        systemd::unit_name(&self.name)
    }

    /// The same service, to be told of changes and otherwise left as it is.
    pub fn left_alone(&self) -> Self {
        Self { running: None, enabled: None, masked: false, ..self.clone() }
    }

    /// Whether it is to be stopped.
    pub fn stops(&self) -> bool {
        self.wants_running() == Some(false)
    }

    /// Whether it is to start at boot, where that is said.
    pub fn starts_at_boot(&self) -> Option<bool> {
        self.wants_enabled()
    }

    /// Whether its start or stop decides about connections.
    pub fn is_firewall(&self) -> bool {
        FIREWALLS.contains(&self.unit().as_str())
    }

    /// Of a service of this name, all that is known where nothing else is.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), running: None, enabled: None, masked: false, validate: None }
    }

    fn wants_running(&self) -> Option<bool> {
        if self.masked { Some(false) } else { self.running }
    }

    fn wants_enabled(&self) -> Option<bool> {
        if self.masked { None } else { self.enabled }
    }

    /// The unit under its own name.
    fn find(&self, probe: &dyn Probe) -> Result<(String, Unit)> {
        let matters = self.wants_running() == Some(true) || self.wants_enabled() == Some(true);
        systemd::find(probe, &self.unit(), matters)
    }
}

impl Resource for Service {
    const KIND: &'static str = "service";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- service: { name: nginx, validate: nginx -t }
- service: { name: certbot.timer, running: true, enabled: true }
- service: { name: apache2, running: false, enabled: false }
";

    fn identity(&self) -> String {
        self.name.strip_suffix(".service").unwrap_or(&self.name).to_owned()
    }

    fn validate(&self) -> Result<(), String> {
        systemd::check_unit_name(&self.name)?;
        if systemd::is_template(&self.unit()) {
            return Err(format!(
                "`{}` is a template: name an instance such as `{}1`",
                self.name,
                self.name.split_inclusive('@').next().unwrap_or_default()
            ));
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        // A masked unit neither runs nor is enabled, so its unmasking needs no field of its own.
        Some(
            State::new()
                .with_some("running", self.wants_running())
                .with_some("enabled", self.wants_enabled())
                .with_some("masked", self.masked.then_some(true)),
        )
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let (name, unit) = self.find(probe)?;
        let is_there = unit.exists() || has_template(probe, &name)?;
        let (running, enabled) = (self.wants_running(), self.wants_enabled());
        if !is_there && (running == Some(true) || enabled == Some(true)) {
            return Err(not_a_unit(&name));
        }
        if running == Some(true) && systemd::ends(&unit.properties) {
            return Err(Error::failed(systemd::ends_because(&name))
                .hint("declare `running: null`, and let a timer or a `command` run it"));
        }
        let wanted = enabled.unwrap_or_default();
        Ok(Current::Present(
            State::new()
                .with("running", systemd::running(&unit, running.unwrap_or_default()))
                .with("enabled", Links::of(&name).enabled(probe, &unit, wanted)?)
                .with("masked", systemd::is_masked(&unit)),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let (name, unit) = self.find(system)?;
        if unit.needs_daemon_reload {
            systemd::daemon_reload(system)?;
        }
        let running = self.wants_running().filter(|_| change.sets("running"));
        let enabled = self.wants_enabled().filter(|_| change.sets("enabled"));
        let is_needed = running == Some(true) || enabled == Some(true);
        if is_needed && systemd::is_masked(&unit) {
            systemd::unmask(system, &name, &unit)?;
        }
        if let Some(enabled) = enabled {
            Links::of(&name).set(system, enabled)?;
        }
        match running {
            Some(true) => systemd::start(system, &name)?,
            Some(false) => systemd::stop(system, &name)?,
            None => {}
        }
        if change.sets("masked") && self.masked {
            systemd::set(system, "mask", &name)?;
        }
        Ok(())
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let Ok((name, unit)) = self.find(world) else { return };
        let (running, enabled) = (self.wants_running(), self.wants_enabled());
        if let Some(enabled) = enabled.filter(|_| change.sets("enabled")) {
            Links::of(&name).predict(world, enabled);
        }
        let unit = predicted(unit, running, enabled, self.masked);
        world.unit_state(&self.unit(), unit.clone());
        world.unit_state(&name, unit);
    }

    fn way_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
        if !self.is_firewall() {
            return Ok(Vec::new());
        }
        let (name, unit) = self.find(probe)?;
        let verb = if unit.is_active() { "restart" } else { "stop" };
        let command = Command::new(["systemctl", verb, "--", &name]);
        Ok(vec![WayBack { command, outlives_boot: false }])
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        if self.masked {
            return Some(Dropped::stays("it stays masked"));
        }
        let off = |wanted: Option<bool>| wanted.filter(|yes| *yes).map(|_| false);
        let (running, enabled) = (off(self.running), off(self.enabled));
        Some(Dropped::goes(Self { running, enabled, ..self.clone() }))
    }

    fn unit_before(&self, probe: &dyn Probe) -> Result<Option<UnitBefore>> {
        let (name, unit) = self.find(probe)?;
        let enabled = Links::of(&name).enabled(probe, &unit, true)? == true.into();
        Ok(UnitBefore::of(&unit).map(|before| UnitBefore { enabled, ..before }))
    }

    /// Each field on its own: a service that ran before infra, and was not enabled, runs on.
    fn back_to(&self, before: &UnitBefore) -> Option<Self> {
        let running = self.running.filter(|_| !before.running);
        let enabled = self.enabled.filter(|_| !before.enabled);
        let is_left = running.is_some() || enabled.is_some() || before.masked;
        is_left.then(|| Self { running, enabled, masked: before.masked, ..self.clone() })
    }

    fn beside(&self, declared: &Spec, _: &Names<'_>) -> Option<Self> {
        (!declared.units().contains(&self.unit())).then(|| self.clone())
    }

    fn holds_unit(&self, probe: &dyn Probe, thoroughly: bool) -> Result<Option<String>> {
        if thoroughly {
            return Ok(Some(systemd::find(probe, &self.unit(), true)?.0));
        }
        Ok(Some(self.find(probe)?.0))
    }

    fn units(&self) -> Vec<String> {
        vec![self.unit()]
    }

    fn as_service(&self) -> Option<&dyn super::Service> {
        Some(self)
    }
}

impl super::Service for Service {
    fn validate_command(&self) -> Option<Command> {
        self.validate.as_ref().map(|argv| Command::new(argv.0.iter().cloned()))
    }

    fn stays_stopped(&self, probe: &dyn Probe) -> Result<bool> {
        let (name, _) = self.find(probe)?;
        stays_stopped(self.wants_running(), &name, probe)
    }

    /// A service that should not run stays as it is.
    fn reload(&self, system: &mut dyn System) -> Result<Option<Watch>> {
        let (name, _) = self.find(system)?;
        if may_run(self.wants_running(), &name, system)? {
            return systemd::reload(system, &name);
        }
        Ok(None)
    }

    /// A service that should not run stays as it is.
    fn restart(&self, system: &mut dyn System) -> Result<()> {
        let (name, _) = self.find(system)?;
        if may_run(self.wants_running(), &name, system)? {
            systemd::restart(system, &name)?;
        }
        Ok(())
    }
}

/// Whether a unit is to be stopped, or is stopped and left so. A unit that is still to come may run.
pub(super) fn stays_stopped(running: Option<bool>, name: &str, probe: &dyn Probe) -> Result<bool> {
    let unit = probe.unit(name)?;
    Ok(!running.unwrap_or_else(|| unit.is_active() || !unit.exists()))
}

/// Whether a reload or restart, which starts what does not run, is wanted: not for a service that
/// should be stopped, nor for one that is left as it is and is stopped. Files that systemd has
/// not read yet are read first.
pub(super) fn may_run(running: Option<bool>, name: &str, system: &mut dyn System) -> Result<bool> {
    let unit = system.unit(name)?;
    if unit.needs_daemon_reload {
        systemd::daemon_reload(system)?;
    }
    Ok(running.unwrap_or_else(|| unit.is_active()))
}

/// How a unit will be once it is started, stopped, enabled, disabled or masked.
pub(super) fn predicted(
    unit: Unit,
    running: Option<bool>,
    enabled: Option<bool>,
    masked: bool,
) -> Unit {
    let (active_state, sub_state) = match running {
        Some(true) => ("active", "running"),
        Some(false) => ("inactive", "dead"),
        None => (unit.active_state.as_str(), unit.sub_state.as_str()),
    };
    let unit_file_state = match enabled {
        _ if masked => "masked",
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => unit.unit_file_state.as_str(),
    };
    Unit {
        load_state: if masked { "masked" } else { "loaded" }.to_owned(),
        active_state: active_state.to_owned(),
        sub_state: sub_state.to_owned(),
        unit_file_state: unit_file_state.to_owned(),
        needs_daemon_reload: false,
        properties: unit.properties,
    }
}

/// Whether `name` is an instance of a template that is declared before it; in a preview systemd
/// does not know that yet.
pub(super) fn has_template(probe: &dyn Probe, name: &str) -> Result<bool> {
    let parts = name.split_once('@').zip(name.rsplit_once('.'));
    let Some(((before, _), (_, suffix))) = parts else { return Ok(false) };
    let file = format!("/etc/systemd/system/{before}@.{suffix}");
    Ok(probe.stat(&file)?.is_some())
}

fn not_a_unit(name: &str) -> Error {
    Error::new(Kind::ToolMissing, format!("`{name}` is not a unit of this server"))
        .hint("check the name, or declare the package that brings it before this resource")
}
