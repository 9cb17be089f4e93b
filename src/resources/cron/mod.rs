//! `cron`: a command at set times, in a file of its own in `/etc/cron.d`.

pub(super) mod schedule;
mod variable;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Resource;
use super::account;
use super::fields::{Presence, is_one_line, root};
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use crate::error::{Error, Kind, Result};
use crate::manifest::ResourceId;

/// The program that reads `/etc/cron.d`; the package `cron` brings it.
const CRON: &str = "/usr/sbin/cron";

/// The longest command that cron takes. It ignores the whole file of a longer one.
const LONGEST_COMMAND_BYTES: usize = 998;

/// A command at set times: `/etc/cron.d/infra-NAME`.
///
/// The times are given as `schedule`, or field by field, where a field that is not given is `*`.
/// Unlike everywhere else the command is a line for a shell, because that is what cron runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cron {
    /// What its file is called: letters, digits, `-` and `_`.
    pub name: String,
    /// The user who runs it.
    #[serde(default = "root")]
    pub user: String,
    /// Five fields such as `*/5 * * * *`, or `@daily`, `@hourly`, `@reboot`…
    #[serde(default)]
    pub schedule: Option<String>,
    /// Minutes, 0 to 59.
    #[serde(default)]
    pub minute: Option<schedule::Field>,
    /// Hours, 0 to 23.
    #[serde(default)]
    pub hour: Option<schedule::Field>,
    /// Days of the month, 1 to 31.
    #[serde(default)]
    pub day: Option<schedule::Field>,
    /// Months, 1 to 12 or `jan` to `dec`.
    #[serde(default)]
    pub month: Option<schedule::Field>,
    /// Days of the week, 0 to 7 (0 and 7 are Sunday) or `sun` to `sat`.
    #[serde(default)]
    pub weekday: Option<schedule::Field>,
    /// The line that `/bin/sh` runs, of at most 998 bytes: cron ignores a file with a longer one.
    /// cron reads a bare `%` as a line break: write `\%`.
    #[serde(default)]
    pub command: String,
    /// Variables, such as `MAILTO` and `PATH`. cron's own `PATH` is `/usr/bin:/bin`. An empty
    /// `MAILTO` sends no mail. Blanks before a value and quotes around it are part of the value.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

impl Cron {
    fn path(&self) -> String {
        format!("/etc/cron.d/infra-{}", self.name)
    }

    fn fields(&self) -> [&Option<schedule::Field>; 5] {
        [&self.minute, &self.hour, &self.day, &self.month, &self.weekday]
    }

    /// The times in the form of a line of cron.
    fn times(&self) -> String {
        if let Some(schedule) = &self.schedule {
            return schedule.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        self.fields().map(|field| field.as_ref().map_or("*", |field| field.as_str())).join(" ")
    }

    /// cron ignores a last line that does not end in a line break.
    fn content(&self) -> String {
        let line = |(name, value): (&String, &String)| variable::line(name, value).ok();
        let variables: String = self.env.iter().filter_map(line).collect();
        format!("# Managed by infra.\n{variables}{} {} {}\n", self.times(), self.user, self.command)
    }
}

impl Resource for Cron {
    const KIND: &'static str = "cron";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- cron: { name: freshrss, user: www-data, schedule: \"*/15 * * * *\", command: php /srv/rss/app/actualize_script.php }
- cron:
    name: dump
    hour: 3
    minute: 30
    command: pg_dump flus | gzip > /var/backups/flus-$(date +\\%u).sql.gz
    user: postgres
    env: { MAILTO: root, PATH: \"/usr/local/bin:/usr/bin:/bin\" }
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(allowed) {
            return Err(format!(
                "`{}` is not a name that cron reads: only letters, digits, `-` and `_`",
                self.name
            ));
        }
        super::account::check_account_name(&self.user)?;
        if self.state.is_absent() {
            return Ok(());
        }
        let by_field = self.fields().iter().any(|field| field.is_some());
        match (&self.schedule, by_field) {
            (Some(_), true) => {
                return Err("`schedule` excludes `minute`, `hour` and the others".to_owned());
            }
            (None, false) => return Err("needs a `schedule`".to_owned()),
            _ => schedule::check(&self.times())?,
        }
        if self.command.trim().is_empty() {
            return Err("needs a `command`".to_owned());
        }
        if !is_one_line(&self.command) {
            return Err("`command` has to be one line".to_owned());
        }
        if has_bare_percent(&self.command) {
            return Err("cron reads a bare `%` as a line break: write `\\%`".to_owned());
        }
        if self.command.trim_start().len() > LONGEST_COMMAND_BYTES {
            return Err(format!(
                "`command` has {} bytes, and cron ignores a file with more than \
                 {LONGEST_COMMAND_BYTES} in one: put it into a script",
                self.command.trim_start().len()
            ));
        }
        self.env.iter().try_for_each(|(name, value)| variable::line(name, value).map(drop))
    }

    fn needs(&self) -> Vec<ResourceId> {
        let mut needed = account::named([self.user.as_str()], []);
        needed.push(ResourceId::new("package", "cron"));
        needed
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("content", Value::Content(self.content().into_bytes()))
                .with("owner", "root")
                .with("mode", "0644")
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some(stat) = probe.stat(&self.path())? else {
            if !self.state.is_absent() {
                self.check_surroundings(probe)?;
            }
            return Ok(Current::Absent);
        };
        if stat.kind != FileKind::File {
            return Err(Error::failed(format!(
                "`{}` is a {}, not a file",
                self.path(),
                stat.kind.noun()
            )));
        }
        if !self.state.is_absent() {
            self.check_surroundings(probe)?;
        }
        Ok(Current::Present(
            State::new()
                .with("content", Value::Content(probe.read(&self.path())?.unwrap_or_default()))
                .with("owner", stat.owner)
                .with("mode", format!("{:04o}", stat.mode)),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return system.remove_file(&self.path());
        }
        let attributes = Attributes::new("root", "root", 0o644);
        system.write_file(&self.path(), self.content().as_bytes(), &attributes)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(&self.path());
        } else {
            world.file(&self.path(), self.content().as_bytes(), "root", "root", 0o644);
        }
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { state: Presence::Absent, command: String::new(), ..self.clone() };
        Some(Dropped::goes(Self { env: BTreeMap::new(), ..absent }))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path()]
    }
}

impl Cron {
    /// cron says nothing about a file that it cannot use, so we look for what it needs.
    fn check_surroundings(&self, probe: &dyn Probe) -> Result<()> {
        if probe.stat(CRON)?.is_none() {
            return Err(Error::tool_missing("cron"));
        }
        if probe.user(&self.user)?.is_none() {
            return Err(Error::new(Kind::ToolMissing, format!("there is no user `{}`", self.user))
                .hint(format!("declare `user: {}` before", self.user)));
        }
        Ok(())
    }
}

fn has_bare_percent(command: &str) -> bool {
    let mut escaped = false;
    command.chars().any(|c| {
        let bare = c == '%' && !escaped;
        escaped = c == '\\' && !escaped;
        bare
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_needs_a_backslash() {
        assert!(!has_bare_percent("date +\\%u"));
        assert!(has_bare_percent("date +%u"));
        assert!(has_bare_percent("date +\\\\%u"));
    }
}
