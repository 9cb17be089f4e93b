//! `locale`: a language and character set that programs may use.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::bonds::Touch;
use super::fields::Presence;
use super::lines::{self, Lines};
use super::names::Names;
use super::prediction::Prediction;
use super::probe::Probe;
use super::query::{Command, Query};
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use crate::error::{Error, Kind, Result};
use crate::manifest::ResourceId;

/// A locale of the C library, generated on the host. Needs the package `locales`.
///
/// Programs that already run do not see a new locale: restart them (PHP, for example).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Locale {
    /// Its name as in `/usr/share/i18n/SUPPORTED`: `fr_FR.UTF-8`.
    pub name: String,
    /// Whether it is the language of the whole system: `LANG` in `/etc/default/locale`.
    #[serde(default)]
    pub default: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// The locales that no list makes.
const BUILT_IN: [&str; 3] = ["C", "C.utf8", "POSIX"];

const SUPPORTED: &str = "/usr/share/i18n/SUPPORTED";
const LIST: &str = "/etc/locale.gen";
const DEFAULT: &str = "/etc/default/locale";

impl Locale {
    /// Its line in the list of what to generate: `fr_FR.UTF-8 UTF-8`.
    fn line(&self, probe: &dyn Probe) -> Result<String> {
        let Some(supported) = probe.read(SUPPORTED)? else {
            return Err(Error::new(Kind::ToolMissing, "no locales are on the server")
                .hint("declare the package `locales` before this resource"));
        };
        let supported = String::from_utf8_lossy(&supported).into_owned();
        let mut lines = supported.lines().map(str::trim);
        lines.find(|line| name_of(line) == Some(&self.name)).map(str::to_owned).ok_or_else(|| {
            Error::new(Kind::Input, format!("there is no locale `{}`", self.name))
                .hint(format!("`{SUPPORTED}` on the server lists them"))
        })
    }

    fn set_list(&self, listed: bool, system: &mut dyn System) -> Result<()> {
        let line = self.line(system)?;
        let list = with_line(&self::list(system)?, &line, listed);
        let attributes = Attributes { owner: None, group: None, mode: None };
        system.write_file(LIST, &list, &attributes)
    }
}

impl Resource for Locale {
    const KIND: &'static str = "locale";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- locale: { name: fr_FR.UTF-8, default: true }
- locale: en_GB.UTF-8
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ResourceId::new("package", "locales")]
    }

    fn known_as(&self, _: &Names<'_>) -> Result<String> {
        Ok(normalized(&self.name))
    }

    fn validate(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        if self.name.is_empty() || !self.name.chars().all(is_name) {
            return Err(format!("`{}` is not a locale such as `fr_FR.UTF-8`", self.name));
        }
        if self.state.is_absent() && BUILT_IN.contains(&normalized(&self.name).as_str()) {
            return Err(format!("`{}` is a part of the C library, and stays", self.name));
        }
        if self.default && self.state.is_absent() {
            return Err("`default` cannot go with `state: absent`".to_owned());
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("generated", true)
                .with("listed", true)
                .with_some("default", self.default.then_some(self.name.as_str()))
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let line = self.line(probe)?;
        let list = list(probe)?;
        let listed =
            list.split(|byte| *byte == b'\n').any(|other| other.trim_ascii() == line.as_bytes());
        let generated = is_generated(&self.name, probe)?;
        if !listed && !generated {
            return Ok(Current::Absent);
        }
        let default = probe.read(DEFAULT)?.unwrap_or_default();
        let default = language(&String::from_utf8_lossy(&default));
        Ok(Current::Present(
            State::new()
                .with("generated", generated)
                .with("listed", listed)
                .with_some("default", default),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            self.set_list(false, system)?;
            // `locale-gen` would remove all that somebody made without the list as well.
            let name = normalized(&self.name);
            let delete = Command::new(["localedef", "--delete-from-archive", "--", &name]);
            return run_checked(system, &delete).map(drop);
        }
        if change.sets("listed") {
            self.set_list(true, system)?;
        }
        if change.sets("generated") {
            run_checked(system, &Command::new(["locale-gen", "--keep-existing"]))?;
        }
        if change.sets("default") {
            let setting = format!("LANG={}", self.name);
            run_checked(system, &Command::new(["update-locale", &setting]))?;
        }
        Ok(())
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::stays("it stays generated"))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let is_listed = change.is_remove() || change.sets("listed");
        let list = is_listed.then(|| (LIST.to_owned(), Touch::Edited));
        let default = change.sets("default").then(|| (DEFAULT.to_owned(), Touch::ByProgram));
        Ok(list.into_iter().chain(default).collect())
    }

    fn switches(&self) -> Vec<String> {
        vec![LIST.to_owned(), DEFAULT.to_owned()]
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        let default = self.default.then(|| (DEFAULT.to_owned(), Share::Part));
        [(LIST.to_owned(), Share::Part)].into_iter().chain(default).collect()
    }

    fn edits(
        &self,
        path: &str,
        content: &[u8],
        probe: Option<&dyn Probe>,
    ) -> Result<Option<Vec<u8>>> {
        if path == LIST {
            let line = probe.map(|probe| self.line(probe)).transpose()?;
            return Ok(line.map(|line| with_line(content, &line, !self.state.is_absent())));
        }
        if language(&String::from_utf8_lossy(content)).as_ref() == Some(&self.name) {
            return Ok(Some(content.to_vec()));
        }
        let mut lines = Lines::of(content);
        lines
            .set(Some(format!("LANG={}", self.name).as_bytes()), |line| line.starts_with(b"LANG="));
        Ok(Some(lines.bytes()))
    }
}

/// Whether the server has the locale, in any spelling of its name.
pub(super) fn is_generated(name: &str, probe: &dyn Probe) -> Result<bool> {
    let wanted = normalized(name);
    let known = probe.query(&Query::locales())?;
    Ok(known.text().lines().any(|name| normalized(name) == wanted))
}

/// The first word of a line of the list, commented out or not.
fn name_of(line: &str) -> Option<&str> {
    line.trim_start_matches(['#', ' ']).split_whitespace().next()
}

/// The list of what to generate.
fn list(probe: &dyn Probe) -> Result<Vec<u8>> {
    Ok(lines::read(LIST, probe)?.map(|(list, _)| list).unwrap_or_default())
}

/// The list with `line` in it, or commented out.
fn with_line(list: &[u8], line: &str, listed: bool) -> Vec<u8> {
    let commented = format!("# {line}");
    let new = if listed { line } else { commented.as_str() };
    let mut lines = Lines::of(list);
    let found: Vec<bool> = lines
        .texts()
        .map(|other| lines::readable(other).trim_start_matches(['#', ' ']).trim_end() == line)
        .collect();
    for index in (0..found.len()).filter(|index| found[*index]) {
        lines.replace(index, new.as_bytes());
    }
    if listed && !found.contains(&true) {
        lines.push(line.as_bytes());
    }
    lines.bytes()
}

/// As `locale -a` prints it: the character set in lower case, without hyphens.
fn normalized(name: &str) -> String {
    let (name, modifier) = name.split_once('@').map_or((name, None), |(n, m)| (n, Some(m)));
    let (language, charset) = name.split_once('.').map_or((name, None), |(l, c)| (l, Some(c)));
    let charset = charset.map(|charset| {
        let plain = charset.chars().filter(char::is_ascii_alphanumeric);
        format!(".{}", plain.collect::<String>().to_ascii_lowercase())
    });
    let modifier = modifier.map(|modifier| format!("@{modifier}"));
    format!("{language}{}{}", charset.unwrap_or_default(), modifier.unwrap_or_default())
}

/// The value of `LANG` in a file of shell assignments.
fn language(file: &str) -> Option<String> {
    let mut values = file.lines().rev().filter_map(|line| line.trim().strip_prefix("LANG="));
    values.next().map(|value| value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_c_library_writes_them() {
        for (written, printed) in [
            ("fr_FR.UTF-8", "fr_FR.utf8"),
            ("fr_FR", "fr_FR"),
            ("de_DE.ISO-8859-15@euro", "de_DE.iso885915@euro"),
            ("C.UTF-8", "C.utf8"),
        ] {
            assert_eq!(normalized(written), printed);
            assert_eq!(normalized(printed), printed);
        }
    }

    #[test]
    fn a_line_is_uncommented_where_it_is_and_else_added() {
        let list =
            b"# donn\xe9es\n# en_GB.UTF-8 UTF-8\n# fr_FR ISO-8859-1\n# fr_FR.UTF-8 UTF-8\n# end";
        let on = with_line(list, "fr_FR.UTF-8 UTF-8", true);
        assert_eq!(
            on,
            b"# donn\xe9es\n# en_GB.UTF-8 UTF-8\n# fr_FR ISO-8859-1\nfr_FR.UTF-8 UTF-8\n# end"
        );
        assert_eq!(with_line(&on, "fr_FR.UTF-8 UTF-8", false), list);
        assert_eq!(with_line(b"a b", "fr_FR.UTF-8 UTF-8", true), b"a b\nfr_FR.UTF-8 UTF-8\n");
    }

    #[test]
    fn the_last_language_counts() {
        assert_eq!(language("LANG=\"C\"\n LANG=fr_FR.UTF-8\n").as_deref(), Some("fr_FR.UTF-8"));
        assert_eq!(language("#LANG=C\n"), None);
    }
}
