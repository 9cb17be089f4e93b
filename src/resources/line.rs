//! `line`: one line in a file that somebody else owns the rest of.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::account;
use super::bonds::Touch;
use super::effect;
use super::fields::{AbsolutePath, Presence};
use super::lines::{self, Lines};
use super::names::Names;
use super::needs;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe, Stat};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System};
use super::{Resource, Spec};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// One line in a text file that somebody else owns the rest of. A whole file is better held by
/// `file`.
///
/// With `match`, the line takes the place of the first line that matches, and other lines that
/// match go: what counts does not depend on whether the first or the last one wins. Where none
/// matches, it is added at the end. All other lines keep their bytes, whatever the character set of
/// the file is. The new line ends with `\r\n` where the first line and most others do.
///
/// Once nobody declares it any more, a line that infra added goes, and one in the place of another stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The file.
    pub path: AbsolutePath,
    /// The line, without its end. With `state: absent` it may be left out if `match` is given.
    #[serde(default, rename = "line")]
    pub text: Option<String>,
    /// A regular expression for the lines that it replaces, or that go with `state: absent`.
    #[serde(default, rename = "match")]
    pub pattern: Option<String>,
    /// Makes the file, `0644 root:root`, where there is none.
    #[serde(default)]
    pub create: bool,
    /// Whether the line should be there.
    #[serde(default)]
    pub state: Presence,
}

impl Line {
    fn regex(&self) -> Result<Option<Regex>, String> {
        let Some(pattern) = &self.pattern else { return Ok(None) };
        Regex::new(pattern).map(Some).map_err(|error| {
            format!("`{pattern}` is not a regular expression: {}", error.to_string().to_lowercase())
        })
    }

    /// The content of the file and its attributes; `None` where there is none.
    fn content(&self, probe: &dyn Probe) -> Result<Option<(Vec<u8>, Stat)>> {
        let path = self.path.as_str();
        match probe.stat(path)?.map(|stat| stat.kind) {
            None => return Ok(None),
            Some(FileKind::File) => {}
            Some(kind) => {
                let error = Error::failed(format!("`{path}` is a {}, not a file", kind.noun()));
                let target = probe.read_link(path)?;
                let hint = |target| format!("name the file that it points to: `{target}`");
                return Err(target.map(hint).into_iter().fold(error, Error::hint));
            }
        }
        let found = lines::read(path, probe)?;
        if found.as_ref().is_some_and(|(content, _)| content.contains(&0)) {
            // UTF-16, or no text at all.
            return Err(Error::failed(format!("`{path}` holds zero bytes"))
                .because("infra edits lines of texts in which a character of ASCII is one byte"));
        }
        Ok(found)
    }

    /// The words that tell it from others of its file.
    fn words(&self) -> &str {
        self.pattern.as_ref().or(self.text.as_ref()).map_or("", String::as_str)
    }

    /// Whether a line of the file is the one, or one that it replaces. A pattern finds a line with
    /// or without a carriage return at its end.
    fn is_ours(&self, line: &[u8], regex: Option<&Regex>) -> bool {
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        let matches = |line| regex.is_some_and(|regex| regex.is_match(&lines::readable(line)));
        self.text.as_ref().is_some_and(|text| text.as_bytes() == line)
            || matches(line)
            || bare != line && matches(bare)
    }

    /// The lines of the file that are the one or that it replaces, for people.
    fn ours(&self, content: &[u8]) -> Result<Vec<String>> {
        let regex = self.regex().map_err(Error::input)?;
        let lines = Lines::of(content);
        let ours = lines.texts().filter(|line| self.is_ours(line, regex.as_ref()));
        Ok(ours.map(lines::shown).collect())
    }

    /// The file as it should be.
    fn edited(&self, content: &[u8]) -> Result<Vec<u8>> {
        let regex = self.regex().map_err(Error::input)?;
        let wanted = self.text.as_deref().filter(|_| !self.state.is_absent());
        let mut lines = Lines::of(content);
        lines.set(wanted.map(str::as_bytes), |line| self.is_ours(line, regex.as_ref()));
        Ok(lines.bytes())
    }
}

impl Resource for Line {
    const KIND: &'static str = "line";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- line:
    path: /etc/login.defs
    match: ^#?\\s*UMASK\\s
    line: \"UMASK 027\"
- line: { path: /etc/hosts, match: \\sold\\.flus\\.io$, state: absent }
";

    /// A file may hold several of them.
    fn identity(&self) -> String {
        format!("{} {}", self.path, self.words())
    }

    fn needs(&self) -> Vec<ResourceId> {
        let text = self.text.as_deref().unwrap_or_default();
        account::named(effect::users(self.path.as_str(), text), [])
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(format!("{} {}", names.target(self.path.as_str()), self.words()))
    }

    fn validate(&self) -> Result<(), String> {
        match (&self.text, &self.pattern) {
            (Some(line), _) if line.contains('\n') => Err("`line` has several lines".to_owned()),
            (None, None) => Err("`line` is missing".to_owned()),
            (None, _) if !self.state.is_absent() => Err("`line` is missing".to_owned()),
            (Some(line), _) if !self.state.is_absent() => {
                effect::check_line_spec(self.path.as_str(), line)?;
                self.regex().map(drop)
            }
            _ => self.regex().map(drop),
        }
    }

    fn desired(&self) -> Option<State> {
        let line = self.text.as_deref().filter(|_| !self.state.is_absent())?;
        Some(State::new().with("line", line))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some((content, _)) = self.content(probe)? else {
            if self.state.is_absent() || self.create {
                return Ok(Current::Absent);
            }
            // A package may bring the file, with or without the line.
            if probe.is_preview_of_more() || needs::may_come(self.path.as_str(), probe) {
                return Ok(Current::Unknown);
            }
            return Err(Error::failed(format!("`{}` is not there", self.path))
                .hint("declare what brings it before, or say `create: true`"));
        };
        if let Some(line) = self.text.as_deref().filter(|_| !self.state.is_absent()) {
            let edited = self.edited(&content)?;
            effect::check_line(self.path.as_str(), line, &lines::readable(&edited), probe)?;
        }
        Ok(match self.ours(&content)?.as_slice() {
            [] => Current::Absent,
            lines => Current::Present(State::new().with("line", lines.join(" | "))),
        })
    }

    fn apply(&self, _: &Change, system: &mut dyn System) -> Result<()> {
        let (content, attributes) = match self.content(system)? {
            // The attributes of the file that was read, whatever is there by now.
            Some((content, stat)) => {
                (content, Attributes::new(&stat.owner, &stat.group, stat.mode))
            }
            None if self.create => (Vec::new(), Attributes::new("root", "root", 0o644)),
            None => return Err(Error::failed(format!("`{}` is not there", self.path))),
        };
        let edited = self.edited(&content)?;
        effect::keep_if_accepted(&self.switches(), system, |system| {
            system.write_file(self.path.as_str(), &edited, &attributes)
        })
    }

    fn predict(&self, _: &Change, world: &mut Prediction<'_>) {
        let path = self.path.as_str();
        let (content, owner, group, mode) = match self.content(world).ok().flatten() {
            Some((content, stat)) => (content, stat.owner, stat.group, stat.mode),
            None => (Vec::new(), "root".to_owned(), "root".to_owned(), 0o644),
        };
        if let Ok(edited) = self.edited(&content) {
            world.file(path, &edited, &owner, &group, mode);
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // Only the line itself: what it replaced is gone, and others may match the pattern.
        Some(match &self.text {
            Some(_) => {
                Dropped::goes(Self { pattern: None, state: Presence::Absent, ..self.clone() })
            }
            None => Dropped::leaves_nothing(),
        })
    }

    fn beside(&self, declared: &Spec, names: &Names<'_>) -> Option<Self> {
        let is_same = |other: &Self| {
            let file = |line: &Self| names.target(line.path.as_str());
            other.text == self.text && !other.state.is_absent() && file(other) == file(self)
        };
        match declared {
            Spec::Line(other) if is_same(other) => None,
            _ => Some(self.clone()),
        }
    }

    fn touches(&self, _: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        Ok(vec![(self.path.to_string(), Touch::Edited)])
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
    }

    fn makes(&self, change: &Change) -> Vec<String> {
        let may_make = self.create && !change.is_remove();
        may_make.then(|| self.path.to_string()).into_iter().collect()
    }

    fn edits(&self, _: &str, content: &[u8], _: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        self.edited(content).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str, pattern: Option<&str>, state: Presence) -> Line {
        Line {
            path: AbsolutePath::parse("/etc/x").unwrap(),
            text: Some(line.to_owned()),
            pattern: pattern.map(str::to_owned),
            create: false,
            state,
        }
    }

    #[test]
    fn takes_the_place_of_what_matches() {
        let port = line("Port 22", Some("^#?Port "), Presence::Present);
        for (before, after) in [
            (&b""[..], &b"Port 22\n"[..]),
            (b"a", b"a\nPort 22\n"),
            (b"a\n#Port 1\nb\nPort 2\n", b"a\nPort 22\nb\n"),
            (b"Port 22\nb\n", b"Port 22\nb\n"),
            (b"\xe9\nPort \xe9\nb", b"\xe9\nPort 22\nb"),
            (b"a\r\nPort 2\r\n", b"a\r\nPort 22\r\n"),
        ] {
            assert_eq!(port.edited(before).unwrap(), after);
        }
        let gone = line("Port 22", None, Presence::Absent);
        assert_eq!(gone.edited(b"a\nPort 22\n").unwrap(), b"a\n");
        assert_eq!(gone.edited(b"Port 22\n").unwrap(), b"");
    }

    #[test]
    fn a_pattern_finds_lines_with_a_carriage_return_as_data() {
        let port = line("port=1", Some("^port=[0-9]+$"), Presence::Present);
        assert_eq!(port.ours(b"a\nport=2\r\nb\n").unwrap(), ["port=2\r"]);
        assert_eq!(port.edited(b"a\nport=2\r\nb\n").unwrap(), b"a\nport=1\nb\n");
        assert_eq!(port.ours(b"caf\xe9\nport=1\n").unwrap(), ["port=1"]);
    }
}
