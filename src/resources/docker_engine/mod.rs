//! `docker_engine`: what a Docker engine leaves behind when its packages go.

mod rules;

use serde::{Deserialize, Serialize};

use super::Resource;
use super::docker_compose::engine;
use super::fields::Presence;
use super::prediction::Prediction;
use super::probe::Probe;
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{System, run_checked};
use super::{Command, systemd};
use crate::error::Result;
use crate::manifest::ResourceId;

/// A Docker engine that runs, now and after a boot. Its packages are `package` resources before it,
/// its settings a `file` that restarts the service.
///
/// Where it is absent, or not declared any more, all containers and networks go with it, the
/// bridges and the rules of its firewall too. Volumes and images stay in `/var/lib/docker`, and
/// volumes are named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DockerEngine {
    /// The package that brings it, such as `docker.io`. If infra did not install it, the engine is
    /// left alone when it is no longer declared.
    pub package: String,
    /// Whether it should run.
    #[serde(default)]
    pub state: Presence,
}

const UNIT: &str = "docker.service";

/// What has to stop so that nothing starts it again.
const ALL_UNITS: [&str; 2] = ["docker.socket", UNIT];

/// Where the kernel lists network interfaces.
const INTERFACES: &str = "/sys/class/net";

impl DockerEngine {
    /// The bridges that Docker has made.
    fn bridges(probe: &dyn Probe) -> Result<Vec<String>> {
        let names = probe.list(INTERFACES)?.unwrap_or_default();
        let is_id = |id: &str| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit());
        let mut bridges = Vec::new();
        for name in names {
            // Docker cannot be asked any more. Its containers are gone, so that nothing is in its bridges.
            let is_like = name.strip_prefix("br-").is_some_and(is_id);
            let inside = format!("{INTERFACES}/{name}/brif");
            if name == "docker0" || is_like && probe.list(&inside)?.is_some_and(|it| it.is_empty())
            {
                bridges.push(name);
            }
        }
        Ok(bridges)
    }

    fn remove(system: &mut dyn System) -> Result<()> {
        if system.unit(UNIT)?.active_state == "active" {
            engine::remove(None, system)?;
        }
        for unit in ALL_UNITS {
            if system.unit(unit)?.exists() {
                run_checked(system, &Command::new(["systemctl", "disable", "--now", "--", unit]))?;
            }
        }
        let bridges = Self::bridges(system)?;
        for bridge in &bridges {
            run_checked(system, &Command::new(["ip", "link", "delete", "dev", bridge]))?;
        }
        for program in ["iptables", "ip6tables"] {
            Self::forget_rules(program, &bridges, system)?;
        }
        Ok(())
    }

    /// Takes the rules that Docker made out of the firewall.
    fn forget_rules(program: &str, bridges: &[String], system: &mut dyn System) -> Result<()> {
        let save = Command::new([format!("{program}-save")]);
        let Ok(saved) = system.run(&save) else { return Ok(()) };
        let text = String::from_utf8_lossy(&saved.stdout).into_owned();
        let Some(rest) = rules::without_dockers(&text, bridges).filter(|_| saved.success()) else {
            return Ok(());
        };
        let restore = Command::new([format!("{program}-restore")]).stdin(rest);
        run_checked(system, &restore).map(drop)
    }
}

impl Resource for DockerEngine {
    const KIND: &'static str = "docker_engine";
    const PRIMARY: Option<&'static str> = Some("package");
    const EXAMPLE: &'static str = "- docker_engine: docker.io\n";

    /// A server has one, whoever made its packages: going from one to the other removes none.
    fn identity(&self) -> String {
        "host".to_owned()
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| State::new().with("running", true).with("at_boot", true))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let unit = probe.unit(UNIT)?;
        if self.state.is_absent() {
            let is_off = unit.active_state != "active" && unit.unit_file_state != "enabled";
            let is_gone = is_off && Self::bridges(probe)?.is_empty();
            return Ok(if is_gone { Current::Absent } else { Current::Present(State::new()) });
        }
        if !unit.exists() {
            return Ok(Current::Absent);
        }
        Ok(Current::Present(
            State::new()
                .with("running", unit.active_state == "active")
                .with("at_boot", unit.unit_file_state == "enabled"),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return Self::remove(system);
        }
        systemd::set(system, "enable", UNIT)?;
        systemd::set(system, "start", UNIT)
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }

    fn comes_with(&self) -> Option<ResourceId> {
        Some(ResourceId::new("package", &self.package))
    }

    fn leaves(&self, probe: &dyn Probe) -> Result<Vec<String>> {
        engine::volumes(None, probe)
    }

    fn units(&self) -> Vec<String> {
        ALL_UNITS.map(str::to_owned).to_vec()
    }
}
