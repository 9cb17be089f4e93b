//! `mount`: a file system in its place, now and at boot.

mod options;

use serde::{Deserialize, Serialize};

use super::bonds::Touch;
use super::fields::{AbsolutePath, is_one_line};
use super::filesystems::{Source, device};
use super::fstab::{self, Entry, MOUNTS, Places};
use super::ground;
use super::names::{Names, normal};
use super::needs::is_mounted_before;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::query::Command;
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use super::systemd::{self, FOLDER};
use super::{Resource, Spec};
use crate::error::{Error, Kind, Result};

/// A file system mounted at a folder, by an entry of `/etc/fstab`.
///
/// It never formats: the file system has to be there. An entry that names the same device in
/// another way, such as `UUID=…`, is kept. With `state: absent` it is unmounted and its entry
/// goes; the data stays on the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The folder; it is made where it is not there, in a folder that is.
    pub path: AbsolutePath,
    /// What is mounted: `/dev/disk/by-id/…`, `UUID=…`, `LABEL=…`, `tmpfs`, `server:/path`.
    #[serde(default)]
    pub device: String,
    /// The type of its file system.
    #[serde(default = "default_fstype")]
    pub fstype: String,
    /// Comma-separated options, such as `defaults,nofail,discard`.
    #[serde(default = "default_options")]
    pub options: String,
    /// Whether it should be mounted.
    #[serde(default)]
    pub state: Mounted,
}

/// Whether a file system should be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mounted {
    /// It should be mounted, now and at boot.
    #[default]
    Mounted,
    /// It should not be mounted.
    Absent,
}

fn default_fstype() -> String {
    "ext4".to_owned()
}

fn default_options() -> String {
    "defaults".to_owned()
}

impl Mount {
    fn entry(&self) -> Entry {
        // The order of checks at boot: after the root file system, and only where there is a
        // device to check.
        let pass =
            if self.device.starts_with("/dev/") || self.device.contains('=') { 2 } else { 0 };
        Entry {
            source: self.device.clone(),
            target: self.path.to_string(),
            fstype: self.fstype.clone(),
            options: self.options.clone(),
            passes: (0, pass),
        }
    }

    /// Whether its device is a folder.
    pub fn is_bind(&self) -> bool {
        self.has("bind") || self.has("rbind")
    }

    /// Whether the folder at its own place stays to be seen: bound to itself, or below an overlay.
    pub fn shows_itself(&self) -> bool {
        let path = self.path.as_str();
        let mut folders = self.options.split(',').filter_map(|it| it.strip_prefix("lowerdir="));
        self.is_bind() && self.device == path
            || folders.any(|folders| folders.split(':').any(|folder| folder == path))
    }

    /// The folder that it shows.
    pub fn source(&self) -> Source {
        if self.is_bind() {
            return Source::Folder(self.device.clone());
        }
        let folder = options::subvolume(&self.options).unwrap_or_else(|| "/".to_owned());
        Source::Device { device: self.device.clone(), folder }
    }

    /// The entries of fstab for this place; at boot the first one counts (systemd-fstab-generator(8)).
    fn listed(&self, probe: &dyn Probe) -> Result<Vec<Entry>> {
        self.listed_in(&fstab::read(probe)?, probe)
    }

    fn listed_in(&self, table: &[u8], probe: &dyn Probe) -> Result<Vec<Entry>> {
        let (places, own) = (Places::of(probe)?, self.entry());
        Ok(fstab::entries(table).filter(|entry| places.are_one(entry, &own)).collect())
    }

    /// The entry as it should be where this one is listed: the user's own way to name the folder and the
    /// device, and to order the checks, is kept.
    fn entry_beside(&self, listed: Option<Entry>, probe: &dyn Probe) -> Entry {
        let mut entry = self.entry();
        if let Some(listed) = listed {
            entry.target = normal(&listed.target);
            if self.device_as(&listed.source, probe) == self.device {
                (entry.source, entry.passes) = (listed.source, listed.passes);
            }
        }
        entry
    }

    /// What is mounted at this place, on top of whatever is below.
    fn live(&self, probe: &dyn Probe) -> Result<Option<Entry>> {
        let place = Places::of(probe)?.place(self.path.as_str());
        let table = probe.read(MOUNTS)?.unwrap_or_default();
        let live = fstab::entries(&table).filter(|entry| entry.target == place).last();
        // Mounted as soon as somebody looks into the folder.
        let waits = |live: &Entry| live.fstype == "autofs" && self.has("x-systemd.automount");
        Ok(live.map(|live| if waits(&live) { self.entry() } else { live }))
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|known| known == option)
    }

    /// A source in the words of the spec where both name the same device.
    fn device_as(&self, source: &str, probe: &dyn Probe) -> String {
        let names = Names::of(probe);
        let is_same =
            source == self.device || device(source, &names) == device(&self.device, &names);
        if is_same { self.device.clone() } else { source.to_owned() }
    }

    fn check_device(&self, probe: &dyn Probe) -> Result<()> {
        let may_come = probe.is_preview_of_more() || is_mounted_before(&self.device, probe);
        if self.is_bind() && !probe.exists(&self.device)? && !may_come {
            return Err(Error::failed(format!("the folder `{}` is not there", self.device))
                .hint(format!("declare `directory: {}` before", self.device)));
        }
        let device = device(&self.device, &Names::of(probe));
        if self.is_bind() || !device.starts_with("/dev/") || probe.stat(&device)?.is_some() {
            return Ok(());
        }
        Err(Error::failed(format!("the device `{}` is not there", self.device))
            .hint("attach the volume, or correct `device`"))
    }

    /// Refuses a place that shows something else.
    fn check_shown(&self, live: &Entry, probe: &dyn Probe) -> Result<()> {
        let names = Names::of(probe);
        let message = if self.is_bind() {
            let (path, folder) = (self.path.as_str(), self.device.as_str());
            if names.shows(&live.target, folder) != Some(false) {
                return Ok(());
            }
            format!("`{path}` shows another folder than `{folder}`")
        } else if self.device_as(&live.source, probe) != self.device {
            format!("`{}` holds another file system: `{}`", self.path, live.source)
        } else {
            return options::check_subvolume(self, &live.options);
        };
        Err(Error::failed(message).hint("unmount it, or correct `device`"))
    }

    /// Refuses a place that systemd mounts by a unit: beside such a file, it does not read the entry of fstab
    /// (systemd.mount(5)).
    fn check_unit(&self, probe: &dyn Probe) -> Result<()> {
        let unit = format!("{FOLDER}/{}", systemd::mount_unit(self.path.as_str()));
        if !probe.exists(&unit)? {
            return Ok(());
        }
        let message = format!("`{unit}` mounts `{}` at boot, whatever fstab says", self.path);
        Err(Error::failed(message).hint("remove that unit, or this resource"))
    }

    /// Refuses a place that others can move away: root's programs mount by its path.
    fn check_ground(&self, probe: &dyn Probe) -> Result<()> {
        let hint = "mount it in a folder of root's, such as `/mnt`, and link to it from there";
        ground::check(self.path.as_str(), "root would mount", hint, probe)
    }

    fn hold(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        if system.stat(path)?.is_none() {
            system.make_directory(path, &Attributes::new("root", "root", 0o755))?;
        }
        let entry = self.entry_beside(self.listed(system)?.into_iter().next(), system);
        // Mounted before it is listed: an entry that cannot be mounted would stop the next boot.
        if self.live(system)?.is_none() {
            let how = ["mount", "-t", &self.fstype, "-o", &self.options, "--"];
            let mount = Command::new(how).arg(&self.device).arg(path);
            run_checked(system, &mount).map_err(|error| {
                if !self.device.starts_with("/dev/") && !self.device.contains('=') || self.is_bind()
                {
                    return error;
                }
                error.hint("infra never formats: the file system has to be made by hand once")
            })?;
        } else if change.sets("options") {
            let before = self.live(system)?.map(|live| live.options).unwrap_or_default();
            let options = format!("remount,{}", options::of_remount(&before, &self.options));
            run_checked(system, &Command::new(["mount", "-o", &options, "--", path]))?;
        }
        fstab::write(system, &entry, true)?;
        daemon_reload(system)?;
        Ok(())
    }
}

impl Resource for Mount {
    const KIND: &'static str = "mount";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- mount:
    path: /mnt/data
    device: /dev/disk/by-id/scsi-0HC_Volume_12345678
    options: defaults,nofail,discard
";

    fn beside(&self, declared: &Spec, names: &Names<'_>) -> Option<Self> {
        match declared {
            Spec::Volume(volume) if volume.known_as(names).ok() == self.known_as(names).ok() => {
                None
            }
            _ => Some(self.clone()),
        }
    }

    fn needed_paths(&self) -> Vec<String> {
        self.is_bind().then(|| self.device.clone()).into_iter().collect()
    }

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.target(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        if self.path.as_str() == "/" {
            return Err("the root file system is not infra's to mount".to_owned());
        }
        if self.state == Mounted::Mounted && self.device.is_empty() {
            return Err(format!("the mount at `{}` needs a `device`", self.path));
        }
        if !is_one_line(&self.device) {
            return Err("`device` has to be one line".to_owned());
        }
        for (field, text) in [("fstype", &self.fstype), ("options", &self.options)] {
            if text.is_empty() || text.contains(char::is_whitespace) || !is_one_line(text) {
                return Err(format!("`{field}` is one word without spaces"));
            }
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        (self.state == Mounted::Mounted).then(|| {
            State::new()
                .with("device", self.device.as_str())
                .with("fstype", self.fstype.as_str())
                .with("options", self.options.as_str())
                .with("mounted", true)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let (listed, live) = (self.listed(probe)?, self.live(probe)?);
        if self.state == Mounted::Absent {
            let is_there = !listed.is_empty() || live.is_some();
            return Ok(if is_there { Current::Present(State::new()) } else { Current::Absent });
        }
        if let Some(stat) = probe.stat(self.path.as_str())?
            && stat.kind != FileKind::Directory
        {
            let message = format!("`{}` is a {}, not a folder", self.path, stat.kind.noun());
            return Err(Error::failed(message));
        }
        if live.is_none() {
            self.check_ground(probe)?;
        }
        self.check_device(probe)?;
        self.check_unit(probe)?;
        if let Some(live) = &live {
            self.check_shown(live, probe)?;
        }
        let mut listed = listed.into_iter();
        let (first, others) = (listed.next(), listed.count());
        let Some(listed) = first else {
            return Ok(match live {
                Some(_) => Current::Present(State::new().with("mounted", true)),
                None => Current::Absent,
            });
        };
        let others = others_in_words(others);
        let in_force = live.as_ref().and_then(|live| options::otherwise(self, &live.options));
        let in_force = in_force.map(|words| format!(" (mounted with {words})"));
        let options = [listed.options.as_str(), &others, in_force.as_deref().unwrap_or_default()];
        Ok(Current::Present(
            State::new()
                .with("device", self.device_as(&listed.source, probe))
                .with("fstype", listed.fstype)
                .with("options", options.concat())
                .with("mounted", live.is_some()),
        ))
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        let (listed, live) = (self.listed(probe)?.into_iter().next(), self.live(probe)?);
        let options = listed.zip(live);
        let options = options.map(|(listed, live)| options::traced(&listed.options, &live.options));
        Ok(State::new().with_some("options", options))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        self.check_ground(system)?;
        if !change.is_remove() {
            return self.hold(change, system);
        }
        if self.live(system)?.is_some() {
            run_checked(system, &Command::new(["umount", "--", self.path.as_str()])).map_err(
                |error| match error.kind {
                    Kind::Failed | Kind::TimedOut => {
                        error.hint("`fuser -vm` shows which processes use it")
                    }
                    _ => error,
                },
            )?;
        }
        fstab::write(system, &self.entry(), false)?;
        daemon_reload(system)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let listed = fstab::after(&self.entry(), !change.is_remove(), fstab::FSTAB, world);
        if let Ok(table) = listed {
            world.file(fstab::FSTAB, &table, "root", "root", 0o644);
        }
        if !change.is_remove() {
            world.mounted(self.path.as_str(), self.source());
        }
        // The kernel has its own path for it.
        let path = Places::of(world).map(|places| places.place(self.path.as_str()));
        let entry = Entry { target: path.unwrap_or_default(), ..self.entry() };
        if let Ok(live) = fstab::after(&entry, !change.is_remove(), MOUNTS, world) {
            world.file(MOUNTS, &live, "root", "root", 0o444);
        }
        if !change.is_remove() && matches!(world.stat(self.path.as_str()), Ok(None)) {
            world.directory(self.path.as_str(), "root", "root", 0o755);
        }
    }

    fn touches(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let is_listed = ["device", "fstype", "options"].iter().any(|field| change.sets(field));
        if !change.is_remove() && !is_listed {
            return Ok(Vec::new());
        }
        fstab::touches(&self.entry(), !change.is_remove(), probe)
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        vec![(fstab::FSTAB.to_owned(), Share::Part)]
    }

    fn edits(&self, _: &str, content: &[u8], probe: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        let Some(probe) = probe else { return Ok(None) };
        let mut listed = self.listed_in(content, probe)?.into_iter();
        let (first, others, is_kept) =
            (listed.next(), listed.count(), self.state == Mounted::Mounted);
        let entry = self.entry_beside(first.clone(), probe);
        let is_right = first.is_some_and(|first| {
            Entry { target: entry.target.clone(), ..first } == entry && others == 0
        });
        if is_kept && is_right {
            return Ok(Some(content.to_vec()));
        }
        Ok(Some(Places::of(probe)?.with_entry(content, &entry, is_kept)))
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Mounted::Absent, ..self.clone() }))
    }
}

/// Further entries of the same place.
fn others_in_words(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (and another entry)".to_owned(),
        _ => format!(" (and {others} more entries)"),
    }
}

/// systemd makes its mount units from fstab, and reads it only when told.
fn daemon_reload(system: &mut dyn System) -> Result<()> {
    run_checked(system, &Command::new(["systemctl", "daemon-reload"])).map(drop)
}
