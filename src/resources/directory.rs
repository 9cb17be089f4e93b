//! `directory`: a folder with its owner, group and mode.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::account;
use super::bonds::Touch;
use super::fields::{AbsolutePath, Mode, Presence, root};
use super::names::Names;
use super::needs;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{Attributes, System};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// A folder with its owner, group and mode. Its parent has to be there, unless `parents` is said.
///
/// With `state: absent` an empty folder is removed; one that holds anything is an error unless
/// `recursive` says that its content may go as well. The folders of the system (`/etc`, `/var/lib`…) stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where it is.
    pub path: AbsolutePath,
    /// The user it belongs to.
    #[serde(default = "root")]
    pub owner: String,
    /// The group it belongs to.
    #[serde(default = "root")]
    pub group: String,
    /// Permission bits.
    #[serde(default = "default_mode")]
    pub mode: Mode,
    /// Makes it where it is missing, and leaves owner, group and mode alone from then on: for a
    /// folder that a program takes for itself when it starts.
    #[serde(default)]
    pub only_create: bool,
    /// Makes the folders above it as well where they are missing: they belong to root and have the mode
    /// 0755. They stay when it goes.
    #[serde(default)]
    pub parents: bool,
    /// With `state: absent`, removes what it holds as well.
    #[serde(default)]
    pub recursive: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

fn default_mode() -> Mode {
    Mode(0o755)
}

impl Directory {
    fn missing_parents(&self, probe: &dyn Probe) -> Result<Vec<String>> {
        needs::missing_parents(self.path.as_str(), probe)
    }
}

impl Resource for Directory {
    const KIND: &'static str = "directory";
    const PRIMARY: Option<&'static str> = Some("path");
    const EXAMPLE: &'static str = "\
- directory: { path: /srv/flus.fr/shared, owner: www-data, group: www-data, mode: \"0750\" }
";

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn takes_folder(&self, _: &dyn Probe) -> Result<Option<String>> {
        Ok(self.state.is_absent().then(|| self.path.to_string()))
    }

    fn needs(&self) -> Vec<ResourceId> {
        account::named([self.owner.as_str()], [self.group.as_str()])
    }

    fn desired(&self) -> Option<State> {
        if self.state.is_absent() {
            return None;
        }
        // What is not asked for is not compared.
        Some(if self.only_create {
            State::new().with("there", true)
        } else {
            State::new()
                .with("owner", self.owner.as_str())
                .with("group", self.group.as_str())
                .with("mode", self.mode.to_string())
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let path = self.path.as_str();
        let Some(stat) = probe.stat(path)? else { return Ok(Current::Absent) };
        if stat.kind != FileKind::Directory {
            let message = format!("`{path}` is a {}, not a directory", stat.kind.noun());
            return Err(Error::failed(message));
        }
        if self.state.is_absent()
            && !self.recursive
            && probe.list(path)?.is_some_and(|names| !names.is_empty())
        {
            return Err(Error::failed(format!("`{path}` is not empty"))
                .hint("move away what it holds, or let it go as well with `recursive: true`"));
        }
        Ok(Current::Present(
            State::new()
                .with("there", true)
                .with("owner", account::owner(&self.owner, stat.owner, probe)?)
                .with("group", account::group(&self.group, stat.group, probe)?)
                .with("mode", Mode(stat.mode).to_string()),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let attributes = Attributes::new(&self.owner, &self.group, self.mode.0);
        match change {
            Change::Create(_) => {
                let above = Attributes::new("root", "root", 0o755);
                let missing = if self.parents { self.missing_parents(system)? } else { Vec::new() };
                missing.iter().try_for_each(|folder| system.make_directory(folder, &above))?;
                system.make_directory(self.path.as_str(), &attributes)
            }
            Change::Update(_) => system.set_attributes(self.path.as_str(), &attributes),
            Change::Remove if self.recursive => system.remove_tree(self.path.as_str()),
            Change::Remove => system.remove_directory(self.path.as_str()),
        }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(self.path.as_str());
        } else {
            let missing = self.missing_parents(world).unwrap_or_default();
            for folder in missing.iter().filter(|_| self.parents) {
                world.directory(folder, "root", "root", 0o755);
            }
            world.directory(self.path.as_str(), &self.owner, &self.group, self.mode.0);
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { recursive: false, state: Presence::Absent, ..self.clone() };
        let with_data = Self { recursive: true, ..absent.clone() };
        let stays = Some("it is not empty".to_owned());
        Some(Dropped { gently: Some(absent), with_data: Some(with_data), stays })
    }

    fn loses_data(&self, probe: &dyn Probe) -> Result<bool> {
        let path = self.path.as_str();
        Ok(!self.recursive && probe.list(path)?.is_some_and(|names| !names.is_empty()))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let touch = match change {
            Change::Create(_) => Touch::Made,
            Change::Update(_) => Touch::Set,
            Change::Remove => Touch::Gone,
        };
        Ok(vec![(self.path.to_string(), touch)])
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        // Where a folder should go, nothing else can be declared: it would be no folder the next time.
        let share = if self.state.is_absent() { Share::Whole } else { Share::Folder };
        vec![(self.path.to_string(), share)]
    }
}
