//! Whether a unit starts at boot: its links in `/etc/systemd/system` against what `[Install]` says,
//! and those of scripts in `/etc/init.d`.

use std::collections::BTreeSet;

use super::install::{self, Install};
use super::{FOLDER, is_masked, is_template, run_checked, set, systemctl};
use crate::error::Result;
use crate::resources::state::{LINKED_OTHERWISE, Value};
use crate::resources::{Prediction, Probe, System, Unit};

/// Where links are that are gone after a boot.
const RUNTIME: &str = "/run/systemd/system";

/// The folders of the levels at which Debian starts services.
const LEVELS: [&str; 5] = ["2", "3", "4", "5", "S"];

/// A unit whose links are asked for.
#[derive(Clone, Copy)]
pub(in crate::resources) struct Links<'a> {
    /// Its own name, with the suffix.
    name: &'a str,
    /// The text that its file has or will have, where infra writes it.
    file: Option<&'a str>,
    /// Whether infra says what `[Install]` says: then also of the units that it names in `Also`.
    is_own: bool,
}

impl<'a> Links<'a> {
    /// Those of a unit of a package, or of an administrator.
    pub(in crate::resources) fn of(name: &'a str) -> Self {
        Self { name, file: None, is_own: false }
    }

    /// Those of a unit whose file infra writes.
    pub(in crate::resources) fn of_file(name: &'a str, text: &'a str) -> Self {
        Self { name, file: Some(text), is_own: true }
    }

    /// The field `enabled`: `yes` or `no`, or what is wrong where it should be `yes`. A unit that
    /// has no say in it, because others pull it in, is what is wanted.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(in crate::resources) fn enabled(
        self,
        probe: &dyn Probe,
        unit: &Unit,
        wanted: bool,
    ) -> Result<Value> {
        match self.file_state(probe, unit)?.as_str() {
            // systemd tells the states of instances alone.
            _ if is_template(self.name) => {
                let said: Vec<_> =
                    self.said(probe)?.into_iter().filter(|said| !said.is_empty()).collect();
                Ok((!said.is_empty() && has_links(probe, &said, wanted)?).into())
            }
            _ if is_masked(unit) => Ok(if wanted { "masked".into() } else { false.into() }),
            "generated" => Ok(has_script_links(probe, self.name, unit)?.unwrap_or(wanted).into()),
            "indirect" => {
                let also = self.also(probe)?;
                let has_none = also.is_empty();
                Ok(if has_none { wanted } else { has_links(probe, &also, wanted)? }.into())
            }
            "enabled" if wanted => self.compared(probe, unit),
            "enabled" => Ok(true.into()),
            // Other links below `/run` are those of generators, which make them at each boot.
            "enabled-runtime" if wanted && !in_folders(probe, RUNTIME, self.name)?.is_empty() => {
                Ok("until the next boot".into())
            }
            "static" | "transient" | "alias" | "enabled-runtime" => Ok(wanted.into()),
            // systemd remembers what it has read, and not what somebody links by hand.
            "disabled" if !wanted => Ok((!self.found(probe, unit)?.is_empty()).into()),
            _ => Ok(false.into()),
        }
    }

    /// The word of systemd for the unit's file, or the one that it will have once it has read the files that are
    /// there, or are about to be: before that, systemd tells what another `[Install]` said.
    fn file_state(self, probe: &dyn Probe, unit: &Unit) -> Result<String> {
        let told = unit.unit_file_state.as_str();
        let may_be_old = match told {
            "static" | "indirect" => true,
            // Words about another file, which that of infra takes the place of.
            "alias" | "generated" | "transient" => self.file.is_some(),
            "disabled" => unit.needs_daemon_reload,
            _ => false,
        };
        if !may_be_old || is_template(self.name) {
            return Ok(told.to_owned());
        }
        let install = Install::read(probe, self.name, self.file)?;
        let said = install.has_file().then(|| install.state_without_links(&probe.facts().os));
        Ok(said.unwrap_or(told).to_owned())
    }

    /// The field `enabled` where the file is about to change: links that are right for the file as it is are
    /// nobody's doing but the file's.
    pub(in crate::resources) fn enabled_now(
        self,
        probe: &dyn Probe,
        unit: &Unit,
        wanted: bool,
    ) -> Result<Value> {
        let enabled = self.enabled(probe, unit, wanted)?;
        let is_right = || Self { file: None, ..self }.enabled(probe, unit, wanted);
        let differs = wanted && self.file.is_some() && enabled != true.into();
        Ok(if differs && is_right()? == true.into() { LINKED_OTHERWISE.into() } else { enabled })
    }

    /// Makes it start at boot, or not.
    ///
    /// # Errors
    /// When systemd refuses.
    pub(in crate::resources) fn set(self, system: &mut dyn System, wanted: bool) -> Result<()> {
        let was_enabled = system.unit(self.name)?.unit_file_state == "enabled";
        // A linked file goes with all other links to it, and only its path brings it back.
        let linked = system.read_link(&format!("{FOLDER}/{}", self.name))?;
        let linked = linked.filter(|target| target.starts_with('/') && target != "/dev/null");
        if wanted {
            self.forget_lost_names(system)?;
        }
        match (wanted, linked) {
            (true, linked) if was_enabled => {
                set(system, "reenable", linked.as_deref().unwrap_or(self.name))
            }
            (true, _) => set(system, "enable", self.name),
            (false, None) => set(system, "disable", self.name),
            (false, Some(target)) => {
                set(system, "disable", self.name)?;
                set(system, "link", &target)
            }
        }
    }

    /// Takes away links under other names of the unit that lead to files which are gone: systemd
    /// would not make them anew. A package that had another name leaves such links.
    fn forget_lost_names(self, system: &mut dyn System) -> Result<()> {
        let said = self.said(system)?.unwrap_or_default();
        for link in said.iter().filter(|link| !link.contains('/')) {
            let path = format!("{FOLDER}/{link}");
            let target = system.read_link(&path)?.filter(|target| target.starts_with('/'));
            if let Some(target) = target
                && !system.exists(&target)?
            {
                system.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Records the links that will be there.
    pub(in crate::resources) fn predict(self, world: &mut Prediction<'_>, wanted: bool) {
        let unit = world.unit(self.name).unwrap_or_default();
        let found = self.found(world, &unit).unwrap_or_default();
        let said = self.said(world).ok().flatten();
        let Some(mut made) = said.filter(|_| wanted).or((!wanted).then(BTreeSet::new)) else {
            return;
        };
        for link in found.difference(&made) {
            world.removed(&format!("{FOLDER}/{link}"));
        }
        let also = self.also(world).unwrap_or_default().into_iter().flatten();
        if wanted {
            made.extend(also);
        } else {
            also.for_each(|link| world.removed(&format!("{FOLDER}/{link}")));
        }
        for link in &made {
            world.symlink(&format!("{FOLDER}/{link}"), &format!("{FOLDER}/{}", self.name));
        }
    }

    /// The links that are there since the file on the server asks for them, and that `next`, the text which takes
    /// its place, does not ask for.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(in crate::resources) fn left_behind(
        self,
        probe: &dyn Probe,
        next: &str,
    ) -> Result<Vec<String>> {
        let said = Self { file: None, ..self }.said(probe)?.unwrap_or_default();
        let next = Links::of_file(self.name, next).said(probe)?;
        // Nobody but systemd can tell which links the new file asks for.
        let Some(next) = next else { return Ok(Vec::new()) };
        let mut left = Vec::new();
        for link in said.difference(&next) {
            if self.is_made(probe, link)? {
                left.push(format!("{FOLDER}/{link}"));
            }
        }
        Ok(left)
    }

    /// Compares what is linked with what `[Install]` says.
    fn compared(self, probe: &dyn Probe, unit: &Unit) -> Result<Value> {
        let Some(said) = self.said(probe)?.filter(|said| !said.is_empty()) else {
            return Ok(true.into());
        };
        let mut missing = BTreeSet::new();
        for link in &said {
            if !self.is_made(probe, link)? {
                missing.insert(link.clone());
            }
        }
        let found = self.found(probe, unit)?;
        if self.is_own {
            for link in self.also(probe)?.into_iter().flatten() {
                if !is_link(probe, FOLDER, &link)? {
                    missing.insert(link);
                }
            }
        }
        let end = format!("/{}", self.name);
        let short = |link: &String| link.strip_suffix(&end).unwrap_or(link).to_owned();
        let missing = missing.iter().map(|link| format!("without {}", short(link)));
        let more = found.difference(&said).map(|link| format!("with {}", short(link)));
        let all: Vec<String> =
            std::iter::once("yes".to_owned()).chain(missing).chain(more).collect();
        Ok(all.join(", ").into())
    }

    /// Whether a link of the unit is there; its other names have to lead to it.
    fn is_made(self, probe: &dyn Probe, link: &str) -> Result<bool> {
        if link.contains('/') {
            return is_link(probe, FOLDER, link);
        }
        let target = probe.read_link(&format!("{FOLDER}/{link}"))?;
        let file = target.as_deref().map(|target| target.rsplit('/').next().unwrap_or(target));
        let name = install::template(self.name);
        Ok(file.is_some() && (file == Some(self.name) || file == name.as_deref()))
    }

    fn said(self, probe: &dyn Probe) -> Result<Option<BTreeSet<String>>> {
        let install = Install::read(probe, self.name, self.file)?;
        Ok(install.links(self.name, &probe.facts().os))
    }

    /// The links of the other units that are enabled and disabled with it.
    fn also(self, probe: &dyn Probe) -> Result<Vec<BTreeSet<String>>> {
        let install = Install::read(probe, self.name, self.file)?;
        let others = install.words("Also").iter().filter(|other| *other != self.name);
        let links = others.map(|other| Links::of(other).said(probe));
        let links: Vec<_> = links.collect::<Result<_>>()?;
        Ok(links.into_iter().flatten().filter(|links| !links.is_empty()).collect())
    }

    /// The links to it: in folders of other units, and under other names.
    fn found(self, probe: &dyn Probe, unit: &Unit) -> Result<BTreeSet<String>> {
        let mut found = in_folders(probe, FOLDER, self.name)?;
        let names = unit.properties.get("Names").map(String::as_str).unwrap_or_default();
        for name in names.split_whitespace().filter(|name| *name != self.name) {
            if is_link(probe, FOLDER, name)? {
                found.insert(name.to_owned());
            }
        }
        Ok(found)
    }
}

/// The links to a unit in the folders of other units.
fn in_folders(probe: &dyn Probe, below: &str, name: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for folder in probe.list(below)?.unwrap_or_default() {
        let is_folder = [".wants", ".requires", ".upholds"].iter().any(|end| folder.ends_with(end));
        let link = format!("{folder}/{name}");
        if is_folder && is_link(probe, below, &link)? {
            found.insert(link);
        }
    }
    Ok(found)
}

/// Whether a link is there that does not lead to nowhere on purpose.
fn is_link(probe: &dyn Probe, below: &str, link: &str) -> Result<bool> {
    let target = probe.read_link(&format!("{below}/{link}"))?;
    Ok(target.is_some_and(|target| target != "/dev/null"))
}

/// Whether all links are there, or where none is wanted, any of them.
fn has_links(probe: &dyn Probe, units: &[BTreeSet<String>], wanted: bool) -> Result<bool> {
    for link in units.iter().flatten() {
        if is_link(probe, FOLDER, link)? != wanted {
            return Ok(!wanted);
        }
    }
    Ok(wanted)
}

/// Whether a script in `/etc/init.d` is started at boot; `None` for a unit that is not made from
/// one.
fn has_script_links(probe: &dyn Probe, name: &str, unit: &Unit) -> Result<Option<bool>> {
    let source =
        unit.properties.get("SourcePath").and_then(|path| path.strip_prefix("/etc/init.d/"));
    let Some(script) = source.or_else(|| name.strip_suffix(".service")) else { return Ok(None) };
    if source.is_none() && !probe.exists(&format!("/etc/init.d/{script}"))? {
        return Ok(None);
    }
    // `S`, the place in the order, the name.
    let starts = |link: &String| {
        let place = link.strip_prefix('S').and_then(|link| link.strip_suffix(script));
        place.is_some_and(|place| place.len() == 2 && place.bytes().all(|c| c.is_ascii_digit()))
    };
    for level in LEVELS {
        if probe.list(&format!("/etc/rc{level}.d"))?.unwrap_or_default().iter().any(starts) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Takes a mask away, wherever it is.
pub(in crate::resources) fn unmask(system: &mut dyn System, name: &str, unit: &Unit) -> Result<()> {
    if unit.unit_file_state == "masked-runtime" {
        return run_checked(system, &systemctl(["unmask", "--runtime", "--", name])).map(drop);
    }
    set(system, "unmask", name)
}
