//! `hostname`: the name of the host, to itself.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::prediction::Prediction;
use super::probe::Probe;
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use crate::error::Result;

/// The name of the host: the kernel's, `/etc/hostname`, and the line of `/etc/hosts` that lets
/// the host find itself by it.
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

/// The address by which a Debian host without a fixed one finds itself.
const OWN_ADDRESS: &str = "127.0.1.1";

impl Hostname {
    /// The names of its own address in `/etc/hosts`, the canonical one first.
    fn own_names(&self) -> String {
        self.fqdn.iter().chain([&self.name]).cloned().collect::<Vec<_>>().join(" ")
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
                .with("hosts", self.own_names()),
        )
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let text = |path| -> Result<String> {
            let bytes = probe.read(path)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        Ok(Current::Present(
            State::new()
                .with("name", text(KERNEL)?)
                .with("at_boot", text(FILE)?)
                .with_some("hosts", own_names_in(&text(HOSTS)?)),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let attributes = Attributes { owner: None, group: None, mode: None };
        if change.sets("hosts") {
            let hosts = system.read(HOSTS)?.unwrap_or_default();
            let hosts = with_own_names(&String::from_utf8_lossy(&hosts), &self.own_names());
            system.write_file(HOSTS, hosts.as_bytes(), &attributes)?;
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
        let hosts = world.read(HOSTS).ok().flatten().unwrap_or_default();
        let hosts = with_own_names(&String::from_utf8_lossy(&hosts), &self.own_names());
        world.file(HOSTS, hosts.as_bytes(), "root", "root", 0o644);
        let name = format!("{}\n", self.name);
        for path in [KERNEL, FILE] {
            world.file(path, name.as_bytes(), "root", "root", 0o644);
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::stays("it stays as it is"))
    }

    fn switches(&self) -> Vec<String> {
        vec![FILE.to_owned(), HOSTS.to_owned()]
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

/// The names of the host's own address.
fn own_names_in(hosts: &str) -> Option<String> {
    let line = hosts.lines().find(|line| is_own(line))?;
    let names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
    Some(names.collect::<Vec<_>>().join(" "))
}

/// `/etc/hosts` with the host's own address in the place where it was, or below `localhost`.
fn with_own_names(hosts: &str, names: &str) -> String {
    let own = format!("{OWN_ADDRESS}\t{names}");
    let mut lines: Vec<&str> = hosts.lines().collect();
    if let Some(index) = lines.iter().position(|line| is_own(line)) {
        lines[index] = &own;
    } else {
        let localhost = lines.iter().position(|line| line.starts_with("127.0.0.1"));
        lines.insert(localhost.map_or(0, |index| index + 1), &own);
    }
    lines.join("\n") + "\n"
}

fn is_own(line: &str) -> bool {
    line.split_whitespace().next() == Some(OWN_ADDRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_stays_in_its_place() {
        let hosts = "127.0.0.1\tlocalhost\n127.0.1.1 vm.example.org vm # own\n\n::1 localhost\n";
        assert_eq!(own_names_in(hosts).as_deref(), Some("vm.example.org vm"));
        assert_eq!(
            with_own_names(hosts, "rufus"),
            "127.0.0.1\tlocalhost\n127.0.1.1\trufus\n\n::1 localhost\n"
        );
        assert_eq!(
            with_own_names("# mine\n127.0.0.1 localhost\n::1 localhost", "rufus"),
            "# mine\n127.0.0.1 localhost\n127.0.1.1\trufus\n::1 localhost\n"
        );
        assert_eq!(with_own_names("", "rufus"), "127.0.1.1\trufus\n");
    }

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
