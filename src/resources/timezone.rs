//! `timezone`: the local time of the host.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::bonds::Touch;
use super::lines;
use super::prediction::Prediction;
use super::probe::Probe;
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{Attributes, System};
use crate::error::{Error, Kind, Result};

/// The time zone of the host. Needs the package `tzdata`.
///
/// Programs that already run keep the zone they started with: restart the services whose logs
/// and timers should follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Timezone {
    /// The zone, such as `Europe/Paris` or `Etc/UTC`.
    pub name: String,
}

const ZONES: &str = "/usr/share/zoneinfo";
const LINK: &str = "/etc/localtime";
const FILE: &str = "/etc/timezone";

impl Timezone {
    fn zone_file(&self) -> String {
        format!("{ZONES}/{}", self.name)
    }

    fn check_zone(&self, probe: &dyn Probe) -> Result<()> {
        if probe.stat(ZONES)?.is_none() {
            return Err(Error::new(Kind::ToolMissing, "no time zones are on the server")
                .hint("declare the package `tzdata` before this resource"));
        }
        if probe.read(&self.zone_file())?.is_some() {
            return Ok(());
        }
        Err(Error::new(Kind::Input, format!("there is no time zone `{}`", self.name))
            .hint("`timedatectl list-timezones` lists them; old names need `tzdata-legacy`"))
    }
}

impl Resource for Timezone {
    const KIND: &'static str = "timezone";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- timezone: Europe/Paris
";

    /// A host has one time zone, whichever it is.
    fn identity(&self) -> String {
        "host".to_owned()
    }

    fn validate(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        let parts_are_right = self.name.split('/').all(|part| !part.is_empty());
        if parts_are_right && self.name.chars().all(is_name) {
            return Ok(());
        }
        Err(format!("`{}` is not a time zone such as `Europe/Paris`", self.name))
    }

    fn desired(&self) -> Option<State> {
        Some(
            State::new().with("localtime", self.name.as_str()).with("timezone", self.name.as_str()),
        )
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        self.check_zone(probe)?;
        let link = probe.read_link(LINK)?;
        let zone = link.as_deref().and_then(|target| target.split_once("zoneinfo/"));
        let file = probe.read(FILE)?.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        let state = State::new().with_some("localtime", zone.map(|(_, zone)| zone));
        Ok(Current::Present(state.with_some("timezone", file)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.sets("localtime") {
            system.make_symlink(LINK, &self.zone_file())?;
        }
        if change.sets("timezone") {
            let attributes = Attributes::new("root", "root", 0o644);
            system.write_file(FILE, format!("{}\n", self.name).as_bytes(), &attributes)?;
        }
        Ok(())
    }

    fn predict(&self, _: &Change, world: &mut Prediction<'_>) {
        world.symlink(LINK, &self.zone_file());
        world.file(FILE, format!("{}\n", self.name).as_bytes(), "root", "root", 0o644);
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::stays("it stays as it is"))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let files = [("localtime", LINK), ("timezone", FILE)].into_iter();
        let written = files.filter(|(field, _)| change.sets(field));
        Ok(written.map(|(_, path)| (path.to_owned(), Touch::Replaced)).collect())
    }

    fn switches(&self) -> Vec<String> {
        vec![LINK.to_owned(), FILE.to_owned()]
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        vec![(LINK.to_owned(), Share::Whole), (FILE.to_owned(), Share::Part)]
    }

    fn edits(&self, _: &str, content: &[u8], _: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        Ok(Some(lines::of_one(&self.name, content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_stays_below_its_folder() {
        let check = |name: &str| Timezone { name: name.to_owned() }.validate();
        assert_eq!(check("Etc/GMT+1"), Ok(()));
        for wrong in ["", "/Paris", "Europe//Paris", "../passwd", "Europe/Paris "] {
            assert_eq!(
                check(wrong),
                Err(format!("`{wrong}` is not a time zone such as `Europe/Paris`"))
            );
        }
    }
}
