//! `line`: one line in a file that somebody else owns the rest of.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::fields::{self, AbsolutePath, Presence};
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe, Stat};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System};
use super::{Resource, Spec};
use crate::error::{Error, Result};

/// One line in a text file that somebody else owns the rest of. A whole file is better held by
/// `file`.
///
/// With `match`, the line takes the place of the first line that matches, and other lines that
/// match go: what counts does not depend on whether the first or the last one wins. Where none
/// matches, it is added at the end.
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

    /// The text of the file and its attributes; `None` where there is none.
    fn content(&self, probe: &dyn Probe) -> Result<Option<(String, Stat)>> {
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
        let Some((bytes, stat)) = probe.read_with_stat(path)? else { return Ok(None) };
        fields::check_lines(path, &bytes)?;
        String::from_utf8(bytes)
            .map(|text| Some((text, stat)))
            .map_err(|_| Error::failed(format!("`{path}` is not a text in UTF-8")))
    }

    /// The words that tell it from others of its file.
    fn words(&self) -> &str {
        self.pattern.as_ref().or(self.text.as_ref()).map_or("", String::as_str)
    }

    /// Whether a line of the file is the one, or one that it replaces.
    fn is_ours(&self, line: &str, regex: Option<&Regex>) -> bool {
        self.text.as_deref() == Some(line) || regex.is_some_and(|regex| regex.is_match(line))
    }

    /// The lines of `text` that are the one or that it replaces.
    fn ours<'a>(&self, text: &'a str) -> Result<Vec<&'a str>> {
        let regex = self.regex().map_err(Error::input)?;
        Ok(text.lines().filter(|line| self.is_ours(line, regex.as_ref())).collect())
    }

    /// `text` as it should be.
    fn edited(&self, text: &str) -> Result<String> {
        let regex = self.regex().map_err(Error::input)?;
        let mut wanted = self.text.as_deref().filter(|_| !self.state.is_absent());
        let mut lines = Vec::new();
        for line in text.lines() {
            if self.is_ours(line, regex.as_ref()) {
                lines.extend(wanted.take());
            } else {
                lines.push(line);
            }
        }
        lines.extend(wanted);
        let mut edited = lines.join("\n");
        if !lines.is_empty() {
            edited.push('\n');
        }
        Ok(edited)
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

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(format!("{} {}", names.target(self.path.as_str()), self.words()))
    }

    fn validate(&self) -> Result<(), String> {
        match (&self.text, &self.pattern) {
            (Some(line), _) if line.contains('\n') => Err("`line` has several lines".to_owned()),
            (None, None) => Err("`line` is missing".to_owned()),
            (None, _) if !self.state.is_absent() => Err("`line` is missing".to_owned()),
            _ => self.regex().map(drop),
        }
    }

    fn desired(&self) -> Option<State> {
        let line = self.text.as_deref().filter(|_| !self.state.is_absent())?;
        Some(State::new().with("line", line))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some((text, _)) = self.content(probe)? else {
            if self.state.is_absent() || self.create {
                return Ok(Current::Absent);
            }
            // A package may bring the file, with or without the line.
            if probe.is_preview_of_more() {
                return Ok(Current::Unknown);
            }
            return Err(Error::failed(format!("`{}` is not there", self.path))
                .hint("declare what brings it before, or say `create: true`"));
        };
        Ok(match self.ours(&text)?.as_slice() {
            [] => Current::Absent,
            lines => Current::Present(State::new().with("line", lines.join(" | "))),
        })
    }

    fn apply(&self, _: &Change, system: &mut dyn System) -> Result<()> {
        let (text, attributes) = match self.content(system)? {
            // The attributes of the file that was read, whatever is there by now.
            Some((text, stat)) => (text, Attributes::new(&stat.owner, &stat.group, stat.mode)),
            None if self.create => (String::new(), Attributes::new("root", "root", 0o644)),
            None => return Err(Error::failed(format!("`{}` is not there", self.path))),
        };
        system.write_file(self.path.as_str(), self.edited(&text)?.as_bytes(), &attributes)
    }

    fn predict(&self, _: &Change, world: &mut Prediction<'_>) {
        let path = self.path.as_str();
        let (text, owner, group, mode) = match self.content(world).ok().flatten() {
            Some((text, stat)) => (text, stat.owner, stat.group, stat.mode),
            None => (String::new(), "root".to_owned(), "root".to_owned(), 0o644),
        };
        if let Ok(edited) = self.edited(&text) {
            world.file(path, edited.as_bytes(), &owner, &group, mode);
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

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
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
            ("", "Port 22\n"),
            ("a", "a\nPort 22\n"),
            ("a\n#Port 1\nb\nPort 2\n", "a\nPort 22\nb\n"),
            ("Port 22\nb\n", "Port 22\nb\n"),
        ] {
            assert_eq!(port.edited(before).unwrap(), after);
        }
        let gone = line("Port 22", None, Presence::Absent);
        assert_eq!(gone.edited("a\nPort 22\n").unwrap(), "a\n");
        assert_eq!(gone.edited("Port 22\n").unwrap(), "");
    }
}
