//! `sysctl`: a setting of the kernel, now and at boot.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::fields::{Presence, Scalar};
use super::prediction::Prediction;
use super::probe::Probe;
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System};
use crate::error::{Error, Kind, Result};

/// A setting of the kernel: set at once, and again at every boot from a file of its own in
/// `/etc/sysctl.d/`.
///
/// With `state: absent` the file goes; the kernel keeps the value until the next boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// The setting, such as `net.ipv4.ip_forward`. Where a part of it contains a dot, write it
    /// with slashes: `net/ipv4/conf/eth0.5/forwarding`.
    pub key: String,
    /// Its value; several are separated by spaces.
    #[serde(default = "no_value")]
    pub value: Scalar,
    /// Whether infra should hold it.
    #[serde(default)]
    pub state: Presence,
}

fn no_value() -> Scalar {
    Scalar(String::new())
}

impl Sysctl {
    fn path_below(&self, separator: char) -> String {
        if self.key.contains('/') { self.key.clone() } else { self.key.replace(separator, "/") }
    }

    /// Where the kernel shows it.
    fn kernel_path(&self) -> String {
        format!("/proc/sys/{}", self.path_below('.'))
    }

    /// The file that sets it at boot.
    fn file(&self) -> String {
        format!("/etc/sysctl.d/60-infra-{}.conf", self.key.replace('/', "."))
    }

    fn file_content(&self) -> String {
        format!("# Managed by infra.\n{} = {}\n", self.key, spaced(&self.value.0))
    }
}

/// The kernel separates values by tabs, people by spaces.
fn spaced(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Resource for Sysctl {
    const KIND: &'static str = "sysctl";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- sysctl: { key: vm.swappiness, value: 10 }
- sysctl: { key: net.core.somaxconn, state: absent }
";

    fn identity(&self) -> String {
        self.key.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let parts: Vec<&str> = self.key.split(['.', '/']).collect();
        if !self.key.chars().all(is_key) || parts.len() < 2 || parts.contains(&"") {
            return Err(format!("`{}` is not a kernel setting such as `vm.swappiness`", self.key));
        }
        if !self.state.is_absent() && self.value.0.trim().is_empty() {
            return Err(format!("`{}` needs a `value`", self.key));
        }
        // Line breaks count as blanks there, as in the kernel's own files.
        if self.value.0.contains(|c: char| c.is_control() && !c.is_whitespace()) {
            return Err(format!("the value of `{}` holds a control character", self.key));
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            let value = spaced(&self.value.0);
            State::new().with("value", value.as_str()).with("at_boot", value)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let file = probe.read(&self.file())?;
        if self.state.is_absent() {
            let there = |_| Current::Present(State::new());
            return Ok(file.map_or(Current::Absent, there));
        }
        let Some(value) = probe.read(&self.kernel_path())? else {
            let message = format!("`{}` is not a setting of this kernel", self.key);
            return Err(Error::new(Kind::ToolMissing, message)
                .hint("check the name, or load the kernel module that brings it first"));
        };
        let state = State::new().with("value", spaced(&String::from_utf8_lossy(&value)));
        let at_boot = file.as_deref().map(|file| value_in(&String::from_utf8_lossy(file)));
        Ok(Current::Present(state.with_some("at_boot", at_boot)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return system.remove_file(&self.file());
        }
        if change.sets("value") {
            // The kernel's files are written in place, as only a program's redirection does it.
            let tee = Command::new(["tee", "--", &self.kernel_path()]).stdin(self.value.0.as_str());
            let output = system.run(&tee)?;
            if !output.success() {
                let message = format!("the kernel refuses `{}` = `{}`", self.key, self.value.0);
                let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Error::failed(message)
                    .because(reason)
                    .hint("in a container, only its host may change most settings"));
            }
        }
        if change.sets("at_boot") {
            let attributes = Attributes::new("root", "root", 0o644);
            system.write_file(&self.file(), self.file_content().as_bytes(), &attributes)?;
        }
        Ok(())
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(&self.file());
            return;
        }
        world.file(&self.file(), self.file_content().as_bytes(), "root", "root", 0o644);
        let value = format!("{}\n", self.value.0);
        world.file(&self.kernel_path(), value.as_bytes(), "root", "root", 0o644);
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.file()]
    }
}

/// The value that a file of `sysctl.d` sets.
fn value_in(file: &str) -> String {
    let settings = file.lines().rev().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let mut values = settings.filter_map(|line| line.split_once('='));
    values.next().map(|(_, value)| spaced(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(key: &str) -> Sysctl {
        Sysctl { key: key.to_owned(), value: Scalar("1".to_owned()), state: Presence::Present }
    }

    #[test]
    fn finds_a_setting_whose_name_contains_a_dot() {
        assert_eq!(sysctl("vm.swappiness").kernel_path(), "/proc/sys/vm/swappiness");
        let dotted = sysctl("net/ipv4/conf/eth0.5/forwarding");
        assert_eq!(dotted.kernel_path(), "/proc/sys/net/ipv4/conf/eth0.5/forwarding");
        assert_eq!(dotted.file(), "/etc/sysctl.d/60-infra-net.ipv4.conf.eth0.5.forwarding.conf");
    }

    #[test]
    fn refuses_what_is_no_setting() {
        for key in ["swappiness", "vm..swappiness", "../etc/passwd", "vm.a b", ""] {
            assert_eq!(
                sysctl(key).validate(),
                Err(format!("`{key}` is not a kernel setting such as `vm.swappiness`"))
            );
        }
    }
}
