//! `volume`: a block device with a file system, made once, in its place.

use serde::{Deserialize, Serialize};

use super::bonds::Touch;
use super::fields::AbsolutePath;
use super::filesystems::Source;
use super::mount::{Mount, Mounted};
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::query::{Command, Query};
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{System, run_checked};
use super::{Resource, Spec};
use crate::error::{Error, Result};

/// A block device of a provider, with a file system that is made once and mounted now and at boot.
///
/// The file system is made only on a device that holds nothing at all: no file system, no
/// partitions, no other signature, and nothing but zeros at its beginning. What a device holds is
/// never replaced, nor is it mounted over a folder that is not empty; and a server that starts without it starts all the same (`nofail`). With
/// `state: absent`, or when it is not declared any more, it is unmounted; its data stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The folder; it is made where it is not there.
    pub path: AbsolutePath,
    /// The device, by a name that stays the same: `/dev/disk/by-id/…`.
    pub device: AbsolutePath,
    /// The type of its file system.
    #[serde(default)]
    pub filesystem: Filesystem,
    /// Comma-separated options of the mount.
    #[serde(default = "default_options")]
    pub options: String,
    /// Whether it should be mounted.
    #[serde(default)]
    pub state: Mounted,
}

/// A type of file system that infra makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Filesystem {
    /// Made by `mkfs.ext4`, of the package `e2fsprogs`.
    #[default]
    Ext4,
    /// Made by `mkfs.xfs`, of the package `xfsprogs`.
    Xfs,
}

fn default_options() -> String {
    "defaults,nofail,discard".to_owned()
}

/// What a device holds.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Filesystem(String),
}

impl Filesystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

impl Volume {
    /// The folder that it shows.
    pub fn source(&self) -> Source {
        self.mount().source()
    }

    fn mount(&self) -> Mount {
        Mount {
            path: self.path.clone(),
            device: self.device.to_string(),
            fstype: self.filesystem.name().to_owned(),
            options: self.options.clone(),
            state: self.state,
        }
    }

    /// The program that makes its file system.
    fn program(&self) -> String {
        format!("mkfs.{}", self.filesystem.name())
    }

    /// What the device holds.
    ///
    /// # Errors
    /// If it holds anything but one file system, or nothing at all.
    fn holds(&self, probe: &dyn Probe) -> Result<Holds> {
        let device = self.device.as_str();
        let found = probe.query(&Query::blkid(device))?;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        let value = |name: &str| {
            let mut pairs = said.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let refused = |what: String| {
            Error::failed(format!("`{device}` holds {what}"))
                .hint("infra never replaces what is on a device; empty it by hand if you are sure")
        };
        match (found.status, value("TYPE"), value("PTTYPE")) {
            (0, Some(kind), _) if value("USAGE").as_deref() == Some("filesystem") => {
                Ok(Holds::Filesystem(kind))
            }
            (0, Some(kind), _) => Err(refused(format!("`{kind}`"))),
            (0, None, Some(table)) => Err(refused(format!("a partition table (`{table}`)"))),
            // blkid says 2 where it recognizes nothing.
            (2, None, None) => {
                let start = probe.query(&Query::starts_with_zeros(device))?;
                if start.success() {
                    return Ok(Holds::Nothing);
                }
                Err(refused("something that is no file system".to_owned()))
            }
            _ => Err(refused("what cannot be told for sure".to_owned()).because(found.tail(5))),
        }
    }

    /// Refuses to mount over what is in the folder: it would be hidden, not gone, and whoever needs
    /// it would begin anew on the volume.
    fn check_folder(&self, mount: &Current, probe: &dyn Probe) -> Result<()> {
        let is_mounted = matches!(mount, Current::Present(state)
            if state.fields().any(|field| field == ("mounted", &true.into())));
        let inside = if is_mounted { None } else { probe.list(self.path.as_str())? };
        match inside.and_then(|names| names.into_iter().next()) {
            None => Ok(()),
            Some(name) => Err(Error::failed(format!("`{}` is not empty", self.path))
                .because(format!("`{name}` is in it, which a mount would hide"))
                .hint("move what is in it away, and onto the volume once it is mounted")),
        }
    }

    fn check_filesystem(&self, found: &str) -> Result<()> {
        let (device, wanted) = (&self.device, self.filesystem.name());
        if found == wanted {
            return Ok(());
        }
        Err(Error::failed(format!(
            "`{device}` holds a file system of type `{found}`, not `{wanted}`"
        ))
        .hint("infra never replaces what is on a device; correct `filesystem`"))
    }
}

impl Resource for Volume {
    const KIND: &'static str = "volume";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- volume: { path: /mnt/data, device: /dev/disk/by-id/scsi-0HC_Volume_12345678 }
";

    fn beside(&self, declared: &Spec, names: &Names<'_>) -> Option<Self> {
        match declared {
            Spec::Mount(mount) if mount.known_as(names).ok() == self.known_as(names).ok() => None,
            _ => Some(self.clone()),
        }
    }

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.target(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        if !self.device.as_str().starts_with("/dev/") {
            return Err(format!("`{}` is no device: its path begins with `/dev/`", self.device));
        }
        self.mount().validate()
    }

    fn desired(&self) -> Option<State> {
        let mount = self.mount().desired()?;
        let state = State::new().with("filesystem", self.filesystem.name());
        Some(mount.fields().fold(state, |state, (name, value)| state.with(name, value.clone())))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let mount = self.mount().current(probe)?;
        if self.state == Mounted::Absent {
            return Ok(mount);
        }
        if probe.stat(self.device.as_str())?.is_some_and(|stat| stat.kind == FileKind::File) {
            return Err(Error::failed(format!("`{}` is a file, not a device", self.device)));
        }
        self.check_folder(&mount, probe)?;
        let filesystem = match self.holds(probe)? {
            Holds::Nothing => None,
            Holds::Filesystem(found) => {
                self.check_filesystem(&found)?;
                Some(found)
            }
        };
        let state = State::new().with_some("filesystem", filesystem.clone());
        match (mount, filesystem) {
            (Current::Unknown, _) => Ok(Current::Unknown),
            (Current::Absent, None) => Ok(Current::Absent),
            (Current::Absent, Some(_)) => Ok(Current::Present(state)),
            (Current::Present(mount), _) => {
                let add = |state: State, (name, value): (&str, &super::state::Value)| {
                    state.with(name, value.clone())
                };
                Ok(Current::Present(mount.fields().fold(state, add)))
            }
        }
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        self.mount().traces(probe)
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        let program = self.program();
        let is_made = !change.is_remove() && change.sets("filesystem");
        if is_made && !probe.is_preview_of_more() && !probe.has_program(&program)? {
            return Err(Error::tool_missing(&program));
        }
        Ok(())
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        // Asked once more, right before.
        if !change.is_remove() && self.holds(system)? == Holds::Nothing {
            let program = self.program();
            let make = Command::new([program.as_str(), "-q", self.device.as_str()]);
            run_checked(system, &make.timeout_seconds(3600))?;
        }
        self.mount().apply(change, system)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        self.mount().predict(change, world);
    }

    fn touches(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        self.mount().touches(change, probe)
    }

    fn shares(&self, probe: Option<&dyn Probe>) -> Vec<(String, Share)> {
        self.mount().shares(probe)
    }

    fn edits(
        &self,
        path: &str,
        content: &[u8],
        probe: Option<&dyn Probe>,
    ) -> Result<Option<Vec<u8>>> {
        self.mount().edits(path, content, probe)
    }

    /// The file system may be older than infra; its place is what goes.
    fn is_found(&self, _: &Change, probe: &dyn Probe) -> Result<bool> {
        Ok(matches!(self.mount().current(probe)?, Current::Present(_)))
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Mounted::Absent, ..self.clone() }))
    }
}
