//! `group`: a group of users.

use serde::{Deserialize, Serialize};

use super::account::{self, check_account_name};
use super::bonds::{self, Touch};
use super::fields::Presence;
use super::prediction::Prediction;
use super::probe::{GroupEntry, Probe};
use super::query::Command;
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{System, run_checked};
use super::{Resource, WayBack};
use crate::error::Result;
use crate::manifest::ResourceId;

/// A group of users. Who belongs to it is said by `user`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; a free one if not given. Files keep the old number when it changes.
    #[serde(default)]
    pub gid: Option<u32>,
    /// When it is made, takes its number from those of the system's own groups.
    #[serde(default)]
    pub system: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

impl Resource for Group {
    const KIND: &'static str = "group";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- group: deploy
- group: { name: backup-readers, system: true }
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        check_account_name(&self.name)?;
        account::check_number("gid", self.gid)?;
        if self.state.is_absent() && self.name == "root" {
            return Err("no server works without the group `root`".to_owned());
        }
        Ok(())
    }

    fn takes_accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
        let group = probe.group(&self.name)?.filter(|_| self.state.is_absent());
        Ok(account::named([], group.map(|_| self.name.as_str())))
    }

    fn claims(&self, probe: Option<&dyn Probe>) -> Result<Vec<String>> {
        let gid = match probe.filter(|_| self.state.is_absent()) {
            Some(probe) => probe.group(&self.name)?.map(|group| group.gid),
            None => self.gid,
        };
        Ok(gid.iter().map(|gid| format!("gid {gid}")).collect())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| State::new().with_some("gid", self.gid))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        Ok(match probe.group(&self.name)? {
            // A program of an earlier resource chooses it.
            Some(entry) if entry.gid == account::UNKNOWN => {
                Current::Present(State::new().with("gid", "not known yet"))
            }
            Some(entry) => Current::Present(State::new().with("gid", entry.gid)),
            None => return account::missing(&self.name, !self.state.is_absent(), probe),
        })
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let mut command = match change {
            Change::Create(_) => Command::new(["groupadd"]),
            Change::Update(_) => Command::new(["groupmod"]),
            Change::Remove => Command::new(["groupdel"]),
        };
        if let Some(gid) = self.gid.filter(|_| change.sets("gid")) {
            command = command.arg("--gid").arg(gid.to_string());
        }
        if change.is_create() && self.system {
            command = command.arg("--system");
        }
        run_checked(system, &command.arg("--").arg(&self.name)).map(drop)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.group_entry(&self.name, None);
            return;
        }
        let known = world.group(&self.name).ok().flatten().unwrap_or_default();
        let gid = self.gid.unwrap_or(known.gid);
        world.group_entry(&self.name, Some(GroupEntry { gid, ..known }));
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        match self.gid {
            _ if change.is_remove() => account::check_is_nobodys_group(&self.name, probe),
            Some(gid) if change.sets("gid") => account::check_gid_is_free(gid, &self.name, probe),
            _ => Ok(()),
        }
    }

    fn touches(&self, _: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        Ok(bonds::by_program(&bonds::GROUPS))
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        bonds::GROUPS.iter().map(|path| ((*path).to_owned(), Share::Part)).collect()
    }

    fn way_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
        let Some(entry) = probe.group(&self.name)? else { return Ok(Vec::new()) };
        // The group may be there still.
        let command = Command::new(["groupadd", "--force", "--gid"]).arg(entry.gid.to_string());
        let command = match entry.members.as_slice() {
            [] => command,
            members => command.arg("--users").arg(members.join(",")),
        };
        let command = command.arg("--").arg(&self.name);
        Ok(vec![WayBack { command, outlives_boot: true }])
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        if self.system {
            let absent = Self { state: Presence::Absent, ..self.clone() };
            return Some(Dropped::stays_unless_allowed(absent, "it may own data"));
        }
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }
}
