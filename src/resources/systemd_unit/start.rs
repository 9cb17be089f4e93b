//! Things that a unit needs where it is to start, beside what systemd tells of its lines.

use super::{SystemdUnit, sections};
use crate::error::{Error, Result};
use crate::resources::probe::Probe;

/// Signs in front of the program of a command (systemd.service(5), "Command lines").
const SIGNS: [char; 5] = ['@', '-', ':', '+', '!'];

impl SystemdUnit {
    /// Refuses a target of `[Install]` that the server does not have: nothing would start the unit, and systemd
    /// makes a link all the same.
    pub(super) fn check_targets(&self, probe: &dyn Probe) -> Result<()> {
        let text = self.rendered();
        let targets = sections::words(&text, &["WantedBy", "RequiredBy", "UpheldBy"]);
        let mut targets = targets.filter(|name| name.ends_with(".target") && !name.contains('%'));
        if self.enabled != Some(true) || probe.is_preview_of_more() {
            return Ok(());
        }
        let is_missing = |name: &&str| probe.unit(name).is_ok_and(|unit| !unit.exists());
        match targets.find(is_missing) {
            Some(name) => Err(Error::failed(format!("`{name}` is not a unit of this server"))
                .because(format!("`{}` is to start with it", self.name))
                .hint("correct the section `install`, or declare that target before")),
            None => Ok(()),
        }
    }

    /// Refuses a program or a file of variables that is not there: systemd would not start the service.
    pub(super) fn check_files(&self, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() {
            return Ok(());
        }
        let text = self.rendered();
        // A failure of a command with a dash is none, and a file with a dash may be missing.
        let commands = values(&text, &["ExecStart", "ExecStartPre"]);
        let programs = commands.filter_map(|line| line.split_whitespace().next());
        let programs = programs.filter(|program| !program.starts_with('-'));
        for program in programs.map(|program| program.trim_start_matches(SIGNS)) {
            if is_plain(program) && !probe.has_program(program)? {
                return Err(self.cannot_start(program));
            }
        }
        let files = values(&text, &["EnvironmentFile"]).filter(|path| !path.starts_with('-'));
        for path in files {
            if is_plain(path) && !probe.exists(path)? {
                return Err(self.cannot_start(path));
            }
        }
        Ok(())
    }

    fn cannot_start(&self, path: &str) -> Error {
        Error::failed(format!("`{path}` is not on the server"))
            .because(format!("`{}` would not start without it", self.name))
            .hint("correct the path, or declare before this unit what brings it")
    }
}

/// Whether a path has nothing for systemd to fill in: specifiers, variables, patterns, quotes.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['%', '$', '*', '?', '[', '"', '\\'])
}

/// The values of some keys of a unit file.
fn values<'a>(text: &'a str, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(key, _)| keys.contains(&key.trim()));
    pairs.map(|(_, value)| value.trim())
}
