//! `swap`: a file that extends the memory.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::bonds::Touch;
use super::fields::{AbsolutePath, Presence};
use super::fstab::{self, Entry, Places};
use super::ground;
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::query::{Command, Query};
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use crate::error::{Error, Result};
use crate::octal;
use crate::size::Size;

/// A swap file, in use now and after every boot.
///
/// To change its size it is taken out of use and made anew. How eagerly it is used is the
/// kernel's setting `vm.swappiness`: see `sysctl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The file.
    #[serde(default = "default_path")]
    pub path: AbsolutePath,
    /// How large it is, such as `1 GiB`.
    #[serde(default)]
    pub size: Option<Size>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

fn default_path() -> AbsolutePath {
    AbsolutePath::fixed("/swapfile")
}

/// `mkswap` wants ten pages; less than a megabyte is a forgotten unit.
const SMALLEST_BYTES: u64 = 1_000_000;

/// Writing zeros to a slow disk.
const FILL_TIMEOUT_SECONDS: u32 = 1800;

impl Swap {
    fn entry(&self) -> Entry {
        Entry {
            source: self.path.to_string(),
            target: "none".to_owned(),
            fstype: "swap".to_owned(),
            options: "sw".to_owned(),
            passes: (0, 0),
        }
    }

    /// Whether `/etc/fstab` has an entry for it, with whatever options.
    fn is_listed(&self, probe: &dyn Probe) -> Result<bool> {
        let (entry, places) = (self.entry(), Places::of(probe)?);
        Ok(fstab::entries(&fstab::read(probe)?).any(|other| places.are_one(&other, &entry)))
    }

    fn is_active(&self, probe: &dyn Probe) -> Result<bool> {
        let table = probe.read("/proc/swaps")?.unwrap_or_default();
        let table = String::from_utf8_lossy(&table).into_owned();
        let path = octal::escape(self.path.as_str());
        Ok(table.lines().any(|line| line.split([' ', '\t']).next() == Some(&path)))
    }

    /// Refuses a place where others can put another file: root's programs write to it by its path.
    fn check_ground(&self, probe: &dyn Probe) -> Result<()> {
        let hint = "put the file into a folder of root's";
        ground::check(self.path.as_str(), "root would make a swap file", hint, probe)
    }

    fn deactivate(&self, system: &mut dyn System) -> Result<()> {
        if self.is_active(system)? {
            run_checked(system, &Command::new(["swapoff", "--", self.path.as_str()]))?;
        }
        Ok(())
    }

    /// Makes the file in its size, readable by nobody but root from its first byte on.
    fn make(&self, size: Size, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        system.remove_file(path)?;
        system.write_file(path, b"", &Attributes::new("root", "root", 0o600))?;
        let bytes = size.0.to_string();
        let allocate = Command::new(["fallocate", "--length", &bytes, path]);
        if !system.run(&allocate)?.success() {
            // Not every file system can reserve space; all can be filled with zeros.
            let (of, count) = (format!("of={path}"), format!("count={bytes}"));
            let fill = ["dd", "if=/dev/zero", &of, "bs=1M", &count, "iflag=count_bytes"];
            let fill = Command::new(fill).arg("conv=notrunc,fsync");
            run_checked(system, &fill.timeout_seconds(FILL_TIMEOUT_SECONDS))?;
        }
        run_checked(system, &Command::new(["mkswap", path])).map(drop)
    }

    /// Whether `mkswap` has been over it. A run that was cut right before leaves a file of the right
    /// size that no kernel takes.
    fn is_formatted(&self, probe: &dyn Probe) -> Result<bool> {
        let found = probe.query(&Query::blkid(self.path.as_str()))?;
        Ok(String::from_utf8_lossy(&found.stdout).lines().any(|line| line == "TYPE=swap"))
    }

    /// Refuses a file that somebody has other things in: no swap, and no zeros as of a run that was cut.
    fn check_file(&self, probe: &dyn Probe) -> Result<()> {
        let path = self.path.as_str();
        if self.is_formatted(probe)? || probe.query(&Query::starts_with_zeros(path))?.success() {
            return Ok(());
        }
        Err(Error::failed(format!("`{path}` is no swap file"))
            .because("infra would write over it".to_owned())
            .hint("move it away, or name another `path`"))
    }

    fn activate(&self, system: &mut dyn System) -> Result<()> {
        let command = Command::new(["swapon", "--", self.path.as_str()]);
        run_checked(system, &command).map(drop).map_err(|error| {
            error
                .context(format!("the kernel does not take `{}` as swap", self.path))
                .hint("a container has no swap of its own: declare it on its host")
        })
    }

    fn hold(&self, change: &Change, size: Size, system: &mut dyn System) -> Result<()> {
        let is_unfinished =
            !change.sets("size") && change.sets("active") && !self.is_formatted(system)?;
        if change.sets("size") || is_unfinished {
            self.deactivate(system)?;
            if let Err(error) = self.make(size, system) {
                // Half a file would only take space.
                system.remove_file(self.path.as_str())?;
                return Err(error);
            }
        } else if change.sets("mode") {
            let attributes = Attributes::new("root", "root", 0o600);
            system.set_attributes(self.path.as_str(), &attributes)?;
        }
        if !self.is_active(system)?
            && let Err(error) = self.activate(system)
        {
            if change.is_create() {
                system.remove_file(self.path.as_str())?;
            }
            return Err(error);
        }
        if self.is_listed(system)? {
            return Ok(());
        }
        fstab::write(system, &self.entry(), true)
    }
}

impl Resource for Swap {
    const KIND: &'static str = "swap";
    const PRIMARY: Option<&'static str> = Some("path");
    const EXAMPLE: &'static str = "\
- swap: { path: /swapfile, size: 1 GiB }
";

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.target(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        match self.size {
            _ if self.state.is_absent() => Ok(()),
            None => Err("a swap file needs a `size` such as `1 GiB`".to_owned()),
            Some(size) if size.0 < SMALLEST_BYTES => {
                Err(format!("{size} is too small for a swap file"))
            }
            Some(_) => Ok(()),
        }
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with_some("size", self.size.map(|size| size.to_string()))
                .with("mode", "0600")
                .with("active", true)
                .with("at_boot", true)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        if !self.state.is_absent() {
            self.check_ground(probe)?;
        }
        let at_boot = self.is_listed(probe)?;
        match probe.stat(self.path.as_str())? {
            None if at_boot && self.state.is_absent() => Ok(Current::Present(State::new())),
            None => Ok(Current::Absent),
            Some(stat) if stat.kind == FileKind::File => {
                let is_active = self.is_active(probe)?;
                if !is_active && stat.size > 0 {
                    self.check_file(probe)?;
                }
                Ok(Current::Present(
                    State::new()
                        .with("size", Size(stat.size).to_string())
                        .with("mode", format!("{:04o}", stat.mode))
                        .with("active", is_active)
                        .with("at_boot", at_boot),
                ))
            }
            Some(stat) => Err(Error::failed(format!(
                "`{}` is a {}, not a swap file",
                self.path,
                stat.kind.noun()
            ))),
        }
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        self.check_ground(system)?;
        if change.is_remove() {
            self.deactivate(system)?;
            fstab::write(system, &self.entry(), false)?;
            return system.remove_file(self.path.as_str());
        }
        match self.size {
            Some(size) => self.hold(change, size, system),
            None => Err(Error::input("a swap file needs a `size` such as `1 GiB`")),
        }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let is_kept = !change.is_remove() && self.is_listed(world).unwrap_or(true);
        let listed = fstab::after(&self.entry(), !change.is_remove(), fstab::FSTAB, world);
        if let Ok(table) = listed
            && !is_kept
        {
            world.file(fstab::FSTAB, &table, "root", "root", 0o644);
        }
        if change.is_remove() {
            world.removed(self.path.as_str());
        }
    }

    fn touches(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        if !change.is_remove() && self.is_listed(probe)? {
            return Ok(Vec::new());
        }
        fstab::touches(&self.entry(), !change.is_remove(), probe)
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        vec![(self.path.to_string(), Share::Whole), (fstab::FSTAB.to_owned(), Share::Part)]
    }

    fn edits(&self, _: &str, content: &[u8], probe: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        let Some(probe) = probe else { return Ok(None) };
        let (entry, places, is_kept) = (self.entry(), Places::of(probe)?, !self.state.is_absent());
        let is_listed = fstab::entries(content).any(|other| places.are_one(&other, &entry));
        if is_kept && is_listed {
            return Ok(Some(content.to_vec()));
        }
        Ok(Some(places.with_entry(content, &entry, is_kept)))
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }
}
