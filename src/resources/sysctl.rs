//! `sysctl`: a setting of the kernel, now and at boot.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::bonds::{self, Touch};
use super::effect::sysctl::{AtBoot, at_boot, path_of, spaced};
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
/// `at_boot` is the value that all files of sysctl.d(5) together give. The file of infra is called
/// `60-infra-KEY.conf` (`59-…` for `net.ipv4.ip_forward`, with which the kernel changes others), and
/// `zz-infra-KEY.conf` where a file that sorts behind the first one sets
/// another value, so that the declared value counts at the next boot. The plan names that file and
/// its line.
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

/// Where the files of people and of infra are.
const FOLDER: &str = "/etc/sysctl.d/";

/// Settings that change others: a host becomes a router, or a router a host (ip-sysctl of the kernel).
const FIRST: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"];

fn no_value() -> Scalar {
    Scalar(String::new())
}

impl Sysctl {
    /// Where the kernel shows it.
    fn kernel_path(&self) -> String {
        format!("/proc/sys/{}", path_of(&self.key))
    }

    /// The file that sets it at boot.
    fn file(&self) -> String {
        self.file_called(if self.is_first() { "59" } else { "60" })
    }

    /// Whether the kernel changes other settings with it, so that a boot has to set it before them.
    fn is_first(&self) -> bool {
        FIRST.contains(&path_of(&self.key).as_str())
    }

    /// The same, by an older build.
    fn former_file(&self) -> Option<String> {
        self.is_first().then(|| self.file_called("60"))
    }

    /// The same, where other files would win.
    fn last_file(&self) -> String {
        self.file_called("zz")
    }

    fn file_called(&self, beginning: &str) -> String {
        format!("{FOLDER}{beginning}-infra-{}.conf", self.key.replace('/', "."))
    }

    /// The file of infra's that is there; the last one if both are.
    fn held(&self, probe: &dyn Probe) -> Result<Option<String>> {
        for path in [self.last_file(), self.file()] {
            if probe.exists(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The line that sets it at boot, among the files from `path` on.
    fn line_from(&self, path: &str, probe: &dyn Probe) -> Result<Option<AtBoot>> {
        at_boot(&self.key, path.strip_prefix(FOLDER).unwrap_or_default(), probe)
    }

    /// Whether `line` is of somebody else and says another value.
    fn is_against(&self, line: &AtBoot) -> bool {
        !self.switches().contains(&line.origin.path) && line.value != Some(self.wanted())
    }

    /// Where the file has to be for its value to count.
    fn place(&self, probe: &dyn Probe) -> Result<String> {
        let line = self.line_from(&self.file(), probe)?;
        let loses = line.is_some_and(|line| self.is_against(&line));
        let is_last = loses || probe.exists(&self.last_file())?;
        Ok(if is_last { self.last_file() } else { self.file() })
    }

    /// The value at the next boot, with the line that gives it where that is not infra's.
    fn value_at_boot(&self, probe: &dyn Probe) -> Result<Option<String>> {
        if let Some(line) = self.line_from(&self.last_file(), probe)?
            && self.is_against(&line)
        {
            let message =
                format!("{} sets `{}` at boot, after all other files", line.origin, self.key);
            return Err(Error::failed(message).hint("take that line away, or rename its file"));
        }
        let held = self.held(probe)?;
        let Some(line) = self.line_from(held.as_deref().unwrap_or_default(), probe)? else {
            return Ok(None);
        };
        let is_plain = held.is_some() && !self.is_against(&line);
        let value = line.value.unwrap_or_else(|| "nothing".to_owned());
        Ok(Some(if is_plain { value } else { format!("{value}, by {}", line.origin) }))
    }

    fn wanted(&self) -> String {
        spaced(&self.value.0)
    }

    fn file_content(&self) -> String {
        format!("# Managed by infra.\n{} = {}\n", self.key, self.wanted())
    }
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
        if ["true", "false"].contains(&self.value.0.trim()) {
            let number = u8::from(self.value.0.trim() == "true");
            return Err(format!(
                "the kernel knows no `{}`: write `value: {number}`",
                self.value.0.trim()
            ));
        }
        // Line breaks count as blanks there, as in the kernel's own files.
        if self.value.0.contains(|c: char| c.is_control() && !c.is_whitespace()) {
            return Err(format!("the value of `{}` holds a control character", self.key));
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            let value = self.wanted();
            State::new().with("value", value.as_str()).with("at_boot", value)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        if self.state.is_absent() {
            for path in self.switches() {
                if probe.exists(&path)? {
                    return Ok(Current::Present(State::new()));
                }
            }
            return Ok(Current::Absent);
        }
        let Some(value) = probe.read(&self.kernel_path())? else {
            let message = format!("`{}` is not a setting of this kernel", self.key);
            return Err(Error::new(Kind::ToolMissing, message)
                .hint("check the name, or load the kernel module that brings it first"));
        };
        let state = State::new().with("value", spaced(&String::from_utf8_lossy(&value)));
        Ok(Current::Present(state.with_some("at_boot", self.value_at_boot(probe)?)))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if change.is_remove() || !change.sets("value") {
            return Ok(());
        }
        let found = probe.read(&self.kernel_path())?.unwrap_or_default();
        let found = String::from_utf8_lossy(&found).into_owned();
        let are_numbers = |text: &str| text.split_whitespace().all(|it| it.parse::<i128>().is_ok());
        // The kernel also reads `0x1f`, `ff` and lists such as `80,8000-8999`.
        let is_digit = |c: char| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X');
        let is_word = |word: &str| word.contains(|c: char| c.is_ascii_alphabetic() && !is_digit(c));
        let is_text = self.value.0.split_whitespace().any(is_word);
        if !found.trim().is_empty() && are_numbers(&found) && is_text {
            return Err(Error::failed(format!("`{}` is no number", self.value.0))
                .because(format!("`{}` is `{}` now", self.key, spaced(&found))));
        }
        Ok(())
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return self.switches().iter().try_for_each(|path| system.remove_file(path));
        }
        if change.sets("value") {
            // The kernel's files are written in place, as only a program's redirection does it.
            let tee = Command::new(["tee", "--", &self.kernel_path()]).stdin(self.value.0.as_str());
            let output = system.run(&tee)?;
            if !output.success() {
                let message = format!("the kernel refuses `{}` = `{}`", self.key, self.value.0);
                let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let is_value = reason.contains("Invalid argument");
                let error = Error::failed(message).because(reason);
                return Err(if is_value {
                    error.hint("the setting takes no such value")
                } else {
                    error.hint("in a container, only its host may change most settings")
                });
            }
        }
        if change.sets("at_boot") {
            let attributes = Attributes::new("root", "root", 0o644);
            let path = self.place(system)?;
            system.write_file(&path, self.file_content().as_bytes(), &attributes)?;
            for other in self.switches().iter().filter(|other| **other != path) {
                if system.exists(other)? {
                    system.remove_file(other)?;
                }
            }
        }
        Ok(())
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            self.switches().iter().for_each(|path| world.removed(path));
            return;
        }
        if change.sets("at_boot") {
            let path = self.place(world).unwrap_or_else(|_| self.file());
            for other in self.switches().iter().filter(|other| **other != path) {
                world.removed(other);
            }
            world.file(&path, self.file_content().as_bytes(), "root", "root", 0o644);
        }
        let value = format!("{}\n", self.value.0);
        world.file(&self.kernel_path(), value.as_bytes(), "root", "root", 0o644);
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let files = self.switches().into_iter();
        Ok(bonds::written(change, files.map(|file| (file, &["at_boot"][..]))))
    }

    fn switches(&self) -> Vec<String> {
        [self.file(), self.last_file()].into_iter().chain(self.former_file()).collect()
    }
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
