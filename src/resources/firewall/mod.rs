//! `firewall`: what may reach the host, by nftables.

mod rules;

use serde::{Deserialize, Serialize};

use super::bonds::Touch;
use super::fields::{OneOrMany, Presence, yes};
use super::prediction::Prediction;
use super::probe::{Output, Probe};
use super::query::{Command, Query};
use super::removal::{Dropped, UnitBefore};
use super::state::{Change, Current, DIFFERS, State, Value};
use super::system::{Attributes, System, run_checked};
use super::{Resource, WayBack, systemd};
use crate::error::{Context as _, Error, Kind, Result};
use crate::manifest::ResourceId;

/// What may reach the host: everything else is dropped. Needs the package `nftables`.
///
/// Answers to what the host itself asked, its own loopback, ICMP and (unless told otherwise) ssh
/// always pass. The rules live in a table of their own, `inet infra`, for what is addressed to
/// the host: what it forwards, such as the ports that Docker publishes, is left alone, and so
/// are all other tables. `/etc/nftables.conf` is written whole and loaded at boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// What else may come in.
    #[serde(default)]
    pub allow: Vec<Allow>,
    /// What happens to everything else.
    #[serde(default)]
    pub policy: Policy,
    /// The port of sshd.
    #[serde(default = "default_ssh_port")]
    pub ssh_port: u16,
    /// Whether ssh may come in from everywhere. Set it to `false` only with a rule of your own
    /// under `allow` that lets you in.
    #[serde(default = "yes")]
    pub allow_ssh: bool,
    /// Whether it should be there; with `absent` the table goes and nothing is filtered.
    #[serde(default)]
    pub state: Presence,
    /// Of a removal, whether nothing loads rules at boot any more: worked out, never written by hand.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(skip))]
    pub off_at_boot: bool,
}

/// One opening. At least one of `port` and `from` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// A port, a range such as `8000-8100`, or a list of them. All ports if not given.
    #[serde(default)]
    pub port: OneOrMany,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The addresses or networks (`10.0.0.0/8`) that may. All of them if not given.
    #[serde(default)]
    pub from: OneOrMany,
    /// What it is for, shown beside the rule.
    #[serde(default)]
    pub comment: Option<String>,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// What happens to a packet that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It is dropped without an answer.
    #[default]
    Drop,
    /// It comes in.
    Accept,
}

fn default_ssh_port() -> u16 {
    22
}

const FILE: &str = "/etc/nftables.conf";
const NFT: &str = "/usr/sbin/nft";
const UNIT: &str = "nftables.service";

/// What is left in the file when infra no longer filters.
const EMPTY: &str = "#!/usr/sbin/nft -f\n";

impl Firewall {
    fn is_ours(file: &[u8]) -> bool {
        String::from_utf8_lossy(file).contains(rules::HEADING)
    }

    /// How the table that the kernel has compares with these rules; `None` if there is no table.
    fn live(&self, probe: &dyn Probe) -> Result<Option<Value>> {
        let listing = probe.query(&Query::nftables_table("inet", rules::TABLE))?;
        if !listing.success() {
            let complaint = String::from_utf8_lossy(&listing.stderr).into_owned();
            // The one complaint of `nft list table` that is an answer.
            if complaint.contains("No such file or directory") {
                return Ok(None);
            }
            return Err(Error::failed("cannot list the rules of the kernel").because(complaint));
        }
        let listing = serde_json::from_slice(&listing.stdout)
            .context(|| "`nft` answered with something else than JSON".to_owned())?;
        let rules = self.rules();
        let same = match Self::listed(&rules, probe)? {
            Some(wanted) => rules::are_same(&listing, &wanted),
            None => rules::is_loaded(&rules, &listing),
        };
        Ok(Some(Value::from(if same { "yes" } else { DIFFERS })))
    }

    /// The table that the kernel makes of these rules; `None` where this server cannot try.
    fn listed(rules: &rules::Rules, probe: &dyn Probe) -> Result<Option<serde_json::Value>> {
        let query = Query::nftables_table_of(&rules.file(), "inet", rules::TABLE);
        let answer = match probe.answer(&query, &[NFT.to_owned()]) {
            Err(error) if error.kind == Kind::ToolMissing => return Ok(None),
            answer => answer?,
        };
        // A container may not make a network, and a text that nft refuses is an error of the apply.
        let listing = answer.filter(Output::success);
        Ok(listing.and_then(|listing| serde_json::from_slice(&listing.stdout).ok()))
    }

    fn rules(&self) -> rules::Rules {
        rules::Rules::new(self)
    }

    fn hold(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let text = self.rules().file();
        if change.sets("rules") || change.sets("loaded") {
            // Loaded before it is written: a set that the kernel refuses leaves no trace, and
            // all rules are switched at once.
            let check = Command::new(["nft", "--check", "--file", "-"]).stdin(text.as_str());
            run_checked(system, &check).map_err(|error| error.context("nft refuses the rules"))?;
            let load = Command::new(["nft", "--file", "-"]).stdin(text.as_str());
            run_checked(system, &load)?;
        }
        if change.sets("rules") {
            let attributes = Attributes::new("root", "root", 0o755);
            system.write_file(FILE, text.as_bytes(), &attributes)?;
        }
        if change.sets("at_boot") {
            systemd::set(system, "enable", UNIT)?;
        }
        Ok(())
    }
}

impl Resource for Firewall {
    const KIND: &'static str = "firewall";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- firewall:
    allow:
      - { port: [80, 443], comment: web }
      - { port: 5432, from: [10.0.0.0/8, \"2001:db8::/32\"], comment: PostgreSQL }
      - { port: 60000-61000, protocol: udp, comment: mosh }
";

    /// A host has one firewall.
    fn identity(&self) -> String {
        "host".to_owned()
    }

    fn validate(&self) -> Result<(), String> {
        if self.ssh_port == 0 {
            return Err("`ssh_port` cannot be 0".to_owned());
        }
        self.allow.iter().try_for_each(rules::check)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ResourceId::new("package", "nftables")]
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("rules", Value::Content(self.rules().file().into_bytes()))
                .with("loaded", true)
                .with("at_boot", true)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let live = self.live(probe)?;
        let file = probe.read(FILE)?;
        if self.state.is_absent() {
            let is_there = live.is_some() || file.is_some_and(|file| Self::is_ours(&file));
            return Ok(if is_there { Current::Present(State::new()) } else { Current::Absent });
        }
        if live.is_none() && file.is_none() {
            return Ok(Current::Absent);
        }
        let at_boot = probe.unit(UNIT)?.unit_file_state == "enabled";
        Ok(Current::Present(
            State::new()
                .with_some("rules", file.map(Value::Content))
                .with("loaded", live.unwrap_or_else(|| Value::from(false)))
                .with("at_boot", at_boot),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if !change.is_remove() {
            return self.hold(change, system);
        }
        let forget = Command::new(["nft", "--file", "-"]).stdin(rules::NO_TABLE);
        run_checked(system, &forget)?;
        if system.read(FILE)?.is_some_and(|file| Self::is_ours(&file)) {
            let attributes = Attributes::new("root", "root", 0o755);
            system.write_file(FILE, EMPTY.as_bytes(), &attributes)?;
        }
        if self.off_at_boot { systemd::set(system, "disable", UNIT) } else { Ok(()) }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let text = if change.is_remove() { EMPTY.to_owned() } else { self.rules().file() };
        world.file(FILE, text.as_bytes(), "root", "root", 0o755);
    }

    fn way_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
        let listing = probe.query(&Query::nftables_text("inet", rules::TABLE))?;
        let table = if listing.success() { listing.stdout } else { Vec::new() };
        let text = [rules::NO_TABLE.as_bytes(), &table].concat();
        let command = Command::new(["nft", "--file", "-"]).stdin(text);
        let mut back = vec![WayBack { command, outlives_boot: false }];
        if UnitBefore::of(&probe.unit(UNIT)?).is_some_and(|before| !before.enabled) {
            let command = Command::new(["systemctl", "disable", "--", UNIT]);
            back.push(WayBack { command, outlives_boot: true });
        }
        Ok(back)
    }

    fn unit_before(&self, probe: &dyn Probe) -> Result<Option<UnitBefore>> {
        Ok(UnitBefore::of(&probe.unit(UNIT)?))
    }

    fn back_to(&self, before: &UnitBefore) -> Option<Self> {
        Some(Self { off_at_boot: !before.enabled, ..self.clone() })
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let is_written = change.is_remove() || change.sets("rules");
        Ok(is_written.then(|| (FILE.to_owned(), Touch::Replaced)).into_iter().collect())
    }

    fn switches(&self) -> Vec<String> {
        vec![FILE.to_owned()]
    }

    fn units(&self) -> Vec<String> {
        vec![UNIT.to_owned()]
    }
}
