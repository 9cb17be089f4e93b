//! `hostname`: the name of the host, to itself.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::bonds::Touch;
use super::hosts::Hosts;
use super::lines;
use super::prediction::Prediction;
use super::probe::Probe;
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use crate::error::Result;

/// The name of the host: the kernel's, `/etc/hostname`, and the line of `/etc/hosts` that lets
/// the host find itself by it.
///
/// This is a line for 127.0.1.1, above all other lines with the name. The names of before go from
/// there; other names on that line and all other lines stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Hostname {
    /// The name without a domain: `rufus`.
    pub name: String,
    /// The name with its domain, `rufus.flus.io`; it has to begin with `name`.
    #[serde(default)]
    pub fqdn: Option<String>,
}

const KERNEL: &str = "/proc/sys/kernel/hostname";
const FILE: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";

impl Hostname {
    /// The names of its own address in `/etc/hosts`, the canonical one first.
    fn own_names(&self) -> Vec<&str> {
        self.fqdn.iter().chain([&self.name]).map(String::as_str).collect()
    }

    /// `/etc/hosts` with the names of the host, which is called `former` as yet.
    fn with_own_names(&self, former: &str, probe: &dyn Probe) -> Result<Vec<u8>> {
        Ok(Hosts::of(&table(probe)?, &self.own_names(), former).edited())
    }
}

impl Resource for Hostname {
    const KIND: &'static str = "hostname";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- hostname: { name: rufus, fqdn: rufus.flus.io }
";

    /// A host has one name, whatever it is.
    fn identity(&self) -> String {
        "host".to_owned()
    }

    fn validate(&self) -> Result<(), String> {
        check_label(&self.name)?;
        let Some(fqdn) = &self.fqdn else { return Ok(()) };
        fqdn.split('.').try_for_each(check_label)?;
        let domain = fqdn.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('.'));
        match domain {
            Some(_) => Ok(()),
            None => Err(format!("`{fqdn}` does not begin with `{}.`", self.name)),
        }
    }

    fn desired(&self) -> Option<State> {
        Some(
            State::new()
                .with("name", self.name.as_str())
                .with("at_boot", self.name.as_str())
                .with("hosts", self.own_names().join(" ")),
        )
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let name = text(KERNEL, probe)?;
        let table = table(probe)?;
        let hosts = Hosts::of(&table, &self.own_names(), &name).found();
        Ok(Current::Present(
            State::new()
                .with("name", name)
                .with("at_boot", text(FILE, probe)?)
                .with_some("hosts", hosts),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let attributes = Attributes { owner: None, group: None, mode: None };
        if change.sets("hosts") {
            let hosts = self.with_own_names(&text(KERNEL, system)?, system)?;
            system.write_file(HOSTS, &hosts, &attributes)?;
        }
        if change.sets("at_boot") {
            system.write_file(FILE, format!("{}\n", self.name).as_bytes(), &attributes)?;
        }
        if change.sets("name") {
            run_checked(system, &Command::new(["hostname", &self.name]))?;
        }
        Ok(())
    }

    fn predict(&self, _: &Change, world: &mut Prediction<'_>) {
        let former = text(KERNEL, world);
        if let Ok(hosts) = former.and_then(|former| self.with_own_names(&former, world)) {
            world.file(HOSTS, &hosts, "root", "root", 0o644);
        }
        let name = format!("{}\n", self.name);
        for path in [KERNEL, FILE] {
            world.file(path, name.as_bytes(), "root", "root", 0o644);
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::stays("it stays as it is"))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let files = [("hosts", HOSTS), ("at_boot", FILE)].into_iter();
        let written = files.filter(|(field, _)| change.sets(field));
        Ok(written.map(|(_, path)| (path.to_owned(), Touch::Edited)).collect())
    }

    fn switches(&self) -> Vec<String> {
        vec![FILE.to_owned(), HOSTS.to_owned()]
    }

    fn edits(&self, path: &str, content: &[u8], _: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        if path == FILE {
            return Ok(Some(lines::of_one(&self.name, content)));
        }
        let hosts = || Hosts::of(content, &self.own_names(), &self.name);
        let is_right = hosts().found() == Some(self.own_names().join(" "));
        Ok(Some(if is_right { content.to_vec() } else { hosts().edited() }))
    }
}

/// RFC 1123: letters, digits and hyphens, 63 at most.
fn check_label(label: &str) -> Result<(), String> {
    let is_right = (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-');
    if is_right {
        return Ok(());
    }
    Err(format!("`{label}` is not a host name: letters, digits and hyphens, 63 at most"))
}

/// The content of `/etc/hosts`.
fn table(probe: &dyn Probe) -> Result<Vec<u8>> {
    Ok(lines::read(HOSTS, probe)?.map(|(content, _)| content).unwrap_or_default())
}

/// The content of a file of one line; empty where there is none.
fn text(path: &str, probe: &dyn Probe) -> Result<String> {
    let content = probe.read(path)?.unwrap_or_default();
    Ok(lines::shown(content.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_label() {
        assert_eq!(check_label("rufus-2"), Ok(()));
        for wrong in ["", "-a", "a-", "a_b", "a.b", "é"] {
            assert_eq!(
                check_label(wrong),
                Err(format!(
                    "`{wrong}` is not a host name: letters, digits and hyphens, 63 at most"
                ))
            );
        }
    }
}
