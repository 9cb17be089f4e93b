//! `sshd_config`: settings of sshd that count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Resource;
use super::effect;
use super::effect::sshd::{self, MAIN, Reading, Verdict};
use super::fields::{OneOrMany, Presence, is_one_line};
use super::prediction::Prediction;
use super::probe::{FileKind, Probe, Stat};
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use crate::error::{Error, Result};

/// Settings of sshd, in a file of their own: `/etc/ssh/sshd_config.d/NAME.conf`.
///
/// They count, as `sshd -T` says, or they are not `ok`. sshd keeps the first value that it reads.
/// Where `/etc/ssh/sshd_config` includes the file behind other values or not at all, as on servers
/// that were upgraded for years, infra puts an `Include` of this one file on its first line; the plan
/// names the line that won before. Give it `reload: ssh` and `guard: access`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SshdConfig {
    /// The name of its file.
    pub name: String,
    /// Keywords of `sshd_config(5)` and their values. A list gives a line for each; `null` is not
    /// said.
    #[serde(default)]
    pub settings: BTreeMap<String, Option<OneOrMany>>,
    /// Whether `Match` blocks of others may say something else for some connections. If not, one
    /// that does so is an error, with its line.
    #[serde(default)]
    pub exceptions: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

const FOLDER: &str = "/etc/ssh/sshd_config.d";

impl SshdConfig {
    fn path(&self) -> String {
        format!("{FOLDER}/{}.conf", self.name)
    }

    fn content(&self) -> String {
        let values =
            self.settings.iter().filter_map(|(keyword, values)| Some((keyword, values.as_ref()?)));
        let lines = values.flat_map(|(keyword, OneOrMany(values))| {
            values.iter().map(move |value| format!("{keyword} {}\n", in_words_of_sshd(value)))
        });
        lines.fold("# Managed by infra.\n".to_owned(), |text, line| text + &line)
    }

    /// The line of sshd's own file by which it is read first.
    fn include(&self) -> String {
        format!("Include {}", self.path())
    }

    /// sshd's own file and its attributes.
    fn main(probe: &dyn Probe) -> Result<(Vec<u8>, Stat)> {
        let is_file = probe.stat(MAIN)?.is_some_and(|stat| stat.kind == FileKind::File);
        let found = if is_file { probe.read_with_stat(MAIN)? } else { None };
        found.ok_or_else(|| Error::tool_missing(MAIN))
    }

    /// sshd's own file with the line in front of the rest, or without the line.
    fn edited(&self, main: &[u8], is_wanted: bool) -> Vec<u8> {
        let include = self.include();
        let is_ours = |line: &&[u8]| line.trim_ascii_end() == include.as_bytes();
        let mut edited = if is_wanted { format!("{include}\n").into_bytes() } else { Vec::new() };
        let lines = main.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_ours(line));
        edited.extend(lines.flatten());
        edited
    }

    fn has_include(&self, main: &[u8]) -> bool {
        self.edited(main, false).len() != main.len()
    }

    /// The effect of the settings once the file is in place.
    fn verdict(&self, probe: &dyn Probe) -> Result<Verdict> {
        let (path, content) = (self.path(), self.content());
        let reading = Reading::of(&path, &content, probe)?;
        match reading.exception().filter(|_| !self.exceptions) {
            Some(other) => Err(Error::failed(format!("{other}"))
                .because(format!("that is not what `{}` says, for some connections", self.name))
                .hint("take that line away, or say `exceptions: true`")),
            None => Ok(reading.verdict()),
        }
    }

    /// Whether the settings count, and what stands against them.
    fn counts(&self, is_in_place: bool, probe: &dyn Probe) -> Result<String> {
        let verdict = self.verdict(probe)?;
        if !is_in_place {
            sshd::check_text(&self.path(), &self.content(), probe)?;
        }
        match verdict {
            Verdict::Counts => {}
            Verdict::Unread => return Ok(format!("no, `{MAIN}` does not include it")),
            Verdict::Behind(line) => return Ok(format!("no, {line} before")),
        }
        if !is_in_place {
            return Ok("yes".to_owned());
        }
        let (path, content) = (self.path(), self.content());
        match Reading::of(&path, &content, probe)?.missing()? {
            None => Ok("yes".to_owned()),
            Some(line) => Err(Error::failed(format!("`sshd -T` does not say `{line}`"))
                .because(format!("`{path}` asks for it, and no line before it says otherwise"))),
        }
    }
}

/// The words that YAML takes for a boolean.
fn in_words_of_sshd(value: &str) -> &str {
    match value {
        "true" => "yes",
        "false" => "no",
        other => other,
    }
}

impl Resource for SshdConfig {
    const KIND: &'static str = "sshd_config";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- sshd_config:
    name: 10-hardening
    settings: { PasswordAuthentication: no, MaxAuthTries: 4, AcceptEnv: [LANG, LC_*] }
  reload: ssh
  guard: access
- sshd_config: { name: 50-cloud-init, state: absent }
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(allowed) {
            return Err(format!("`{}` is not a name of a file of sshd", self.name));
        }
        if self.state.is_absent() {
            return Ok(());
        }
        if self.settings.values().all(Option::is_none) {
            return Err("needs `settings`".to_owned());
        }
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (keyword, values) in &self.settings {
            let lower = keyword.to_ascii_lowercase();
            if keyword.is_empty() || !keyword.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(format!("`{keyword}` is not a keyword of sshd"));
            }
            if matches!(lower.as_str(), "match" | "include") {
                return Err(format!("`{keyword}` is no setting: write a `file` for it"));
            }
            if let Some(other) = seen.insert(lower, keyword) {
                return Err(format!("`{other}` and `{keyword}` are one keyword"));
            }
            let values = values.iter().flat_map(|OneOrMany(values)| values);
            let is_wrong = |value: &&String| value.trim().is_empty() || !is_one_line(value);
            if values.into_iter().any(|value| is_wrong(&value)) {
                return Err(format!("the value of `{keyword}` has to be one line"));
            }
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("content", Value::Content(self.content().into_bytes()))
                .with("owner", "root")
                .with("mode", "0600")
                .with("counts", true)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let path = self.path();
        let stat = probe.stat(&path)?;
        if self.state.is_absent() {
            let is_included = match Self::main(probe) {
                Ok((main, _)) => self.has_include(&main),
                Err(_) => false,
            };
            let is_there = stat.is_some() || is_included;
            return Ok(if is_there { Current::Present(State::new()) } else { Current::Absent });
        }
        Self::main(probe)?;
        let Some(stat) = stat else {
            let counts = self.counts(false, probe)?;
            // The file alone would not do: the plan shows what else there is to do.
            return Ok(match counts.as_str() {
                "yes" => Current::Absent,
                _ => Current::Present(State::new().with("counts", counts)),
            });
        };
        let content = match stat.kind {
            FileKind::File => probe.read(&path)?.unwrap_or_default(),
            kind => {
                let message = format!("`{path}` is a {}, not a file", kind.noun());
                return Err(Error::failed(message));
            }
        };
        let counts = self.counts(content == self.content().as_bytes(), probe)?;
        Ok(Current::Present(
            State::new()
                .with("content", Value::Content(content))
                .with("owner", stat.owner)
                .with("mode", format!("{:04o}", stat.mode))
                .with("counts", counts),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let (main, stat) = Self::main(system)?;
        let attributes = Attributes::new(&stat.owner, &stat.group, stat.mode);
        if change.is_remove() {
            if self.has_include(&main) {
                system.write_file(MAIN, &self.edited(&main, false), &attributes)?;
            }
            return system.remove_file(&self.path());
        }
        if !system.exists(FOLDER)? {
            system.make_directory(FOLDER, &Attributes::new("root", "root", 0o755))?;
        }
        effect::keep_if_accepted(&self.switches(), system, |system| {
            if ["content", "owner", "mode"].iter().any(|field| change.sets(field)) {
                let own = Attributes::new("root", "root", 0o600);
                system.write_file(&self.path(), self.content().as_bytes(), &own)?;
            }
            if self.verdict(system)? != Verdict::Counts {
                system.write_file(MAIN, &self.edited(&main, true), &attributes)?;
            }
            Ok(())
        })
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let path = self.path();
        let main = Self::main(world).ok();
        if change.is_remove() {
            world.removed(&path);
        } else {
            world.file(&path, self.content().as_bytes(), "root", "root", 0o600);
        }
        let is_edited = match self.verdict(world) {
            _ if change.is_remove() => {
                main.as_ref().is_some_and(|(main, _)| self.has_include(main))
            }
            verdict => !matches!(verdict, Ok(Verdict::Counts) | Err(_)),
        };
        if let Some((main, stat)) = main.filter(|_| is_edited) {
            let edited = self.edited(&main, !change.is_remove());
            world.file(MAIN, &edited, &stat.owner, &stat.group, stat.mode);
        }
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path(), MAIN.to_owned()]
    }

    fn edits(&self, _: &str, content: &[u8], probe: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        let Some(probe) = probe else { return Ok(None) };
        if self.state.is_absent() {
            return Ok(Some(self.edited(content, false)));
        }
        let mut world = Prediction::new(probe);
        world.file(MAIN, content, "root", "root", 0o644);
        world.file(&self.path(), self.content().as_bytes(), "root", "root", 0o600);
        let is_right = self.verdict(&world)? == Verdict::Counts;
        Ok(Some(if is_right { content.to_vec() } else { self.edited(content, true) }))
    }

    fn replaces(&self) -> Vec<String> {
        vec![self.path()]
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { state: Presence::Absent, settings: BTreeMap::new(), ..self.clone() };
        Some(Dropped::goes(absent))
    }
}
