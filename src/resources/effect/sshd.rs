//! The settings of sshd, as it reads them: `/etc/ssh/sshd_config` and what that includes.
//!
//! Of two lines with one keyword the first one counts, and a line of a `Match` block counts for the
//! connections of this block, whatever stands outside. A few keywords add up.

use super::{Origin, expand, is_named};
use crate::error::{Error, Kind, Result};
use crate::resources::names::Names;
use crate::resources::probe::{Output, Probe};
use crate::resources::query::Query;

/// The file that is read first.
pub(in crate::resources) const MAIN: &str = "/etc/ssh/sshd_config";

/// Whose files the packaged one includes.
const PARTS: &str = "/etc/ssh/sshd_config.d/";

const PROGRAM: &str = "/usr/sbin/sshd";

/// How sshd calls a configuration that it reads from its input.
const INPUT: &str = "/dev/stdin";

/// Beginnings of the words of an sshd that cannot look at its configuration yet.
const UNREADY: [&str; 2] =
    ["Missing privilege separation directory", "sshd: no hostkeys available"];

/// Where relative paths of `Include` begin.
const FOLDER: &str = "/etc/ssh";

/// As in sshd itself.
const DEEPEST: usize = 16;

/// Keywords whose lines add up.
const ADDING: [&str; 11] = [
    "acceptenv",
    "allowgroups",
    "allowusers",
    "denygroups",
    "denyusers",
    "hostkey",
    "listenaddress",
    "logverbose",
    "port",
    "setenv",
    "subsystem",
];

/// Older names of keywords, and values that mean the same.
const SAME: [(&str, &str); 6] = [
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("keepalive", "tcpkeepalive"),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"),
    ("hostbasedacceptedkeytypes", "hostbasedacceptedalgorithms"),
    ("without-password", "prohibit-password"),
];

/// A line that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resources) struct Setting {
    /// The keyword in lowercase, under the name that `sshd -T` prints.
    pub(in crate::resources) keyword: String,
    value: String,
    /// The line as it stands, for messages.
    text: String,
    /// The `Match` line that it stands below.
    block: Option<String>,
    /// Where it stands.
    pub(in crate::resources) origin: Origin,
}

impl Setting {
    /// The words of its value as they stand, without quotes.
    pub(super) fn words(&self) -> Vec<String> {
        split(&self.text).map(|(_, value)| words(&value)).unwrap_or_default()
    }
}

/// `PasswordAuthentication yes` by `/etc/x.conf:3`, for messages.
impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} says `{}`", self.origin, self.text)?;
        match &self.block {
            Some(block) => write!(f, " below `{block}`"),
            None => Ok(()),
        }
    }
}

/// The effect of a file of sshd beside all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resources) enum Verdict {
    /// Every setting counts.
    Counts,
    /// No file includes it.
    Unread,
    /// This line is read before and says something else.
    Behind(Setting),
}

/// All that sshd reads, in its order, with one file as it will be.
pub(in crate::resources) struct Reading<'a> {
    own: (&'a str, &'a str),
    probe: &'a dyn Probe,
    settings: Vec<Setting>,
    /// The files and folders that were looked at.
    looked_at: Vec<String>,
    is_read: bool,
}

impl<'a> Reading<'a> {
    /// Reads everything, where the file at `path` will hold `content`.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(in crate::resources) fn of(
        path: &'a str,
        content: &'a str,
        probe: &'a dyn Probe,
    ) -> Result<Self> {
        let mut reading = Self {
            own: (path, content),
            probe,
            settings: Vec::new(),
            looked_at: Vec::new(),
            is_read: false,
        };
        reading.read(MAIN, None, 0)?;
        Ok(reading)
    }

    fn read(&mut self, path: &str, block: Option<&str>, depth: usize) -> Result<()> {
        self.looked_at.push(path.to_owned());
        let text = if path == self.own.0 {
            self.is_read = true;
            self.own.1.to_owned()
        } else {
            String::from_utf8_lossy(&self.probe.read(path)?.unwrap_or_default()).into_owned()
        };
        let mut block = block.map(str::to_owned);
        for (index, line) in text.lines().enumerate() {
            let Some((keyword, value)) = split(line) else { continue };
            match keyword.as_str() {
                "match" => block = Some(line.trim().to_owned()),
                "include" if depth < DEEPEST => {
                    for pattern in words(&value) {
                        self.include(&pattern, block.as_deref(), depth + 1)?;
                    }
                }
                _ => self.settings.push(Setting {
                    keyword: one_name(&keyword).to_owned(),
                    value: one_name(&value.to_ascii_lowercase()).to_owned(),
                    text: line.trim().to_owned(),
                    block: block.clone(),
                    origin: Origin { path: path.to_owned(), line: index + 1 },
                }),
            }
        }
        Ok(())
    }

    fn include(&mut self, pattern: &str, block: Option<&str>, depth: usize) -> Result<()> {
        let pattern = match pattern.strip_prefix('/') {
            Some(_) => pattern.to_owned(),
            None => format!("{FOLDER}/{pattern}"),
        };
        let found = expand(&pattern, self.own.0, self.probe)?;
        self.looked_at.extend(found.folders);
        found.paths.iter().try_for_each(|path| self.read(path, block, depth))
    }

    fn is_own(&self, setting: &Setting) -> bool {
        setting.origin.path == self.own.0
    }

    /// The effect of the file's own settings outside `Match` blocks.
    pub(in crate::resources) fn verdict(&self) -> Verdict {
        if !self.is_read {
            return Verdict::Unread;
        }
        let is_own = |one: &&Setting| self.is_own(one) && one.block.is_none();
        for own in self.settings.iter().filter(is_own) {
            if ADDING.contains(&own.keyword.as_str()) {
                continue;
            }
            let same = |one: &&Setting| one.block.is_none() && one.keyword == own.keyword;
            if let Some(first) = self.settings.iter().find(same)
                && first.value != own.value
            {
                return Verdict::Behind(first.clone());
            }
        }
        Verdict::Counts
    }

    /// The first line of a `Match` block that says something else for some connections.
    pub(in crate::resources) fn exception(&self) -> Option<&Setting> {
        let own = || self.settings.iter().filter(|one| self.is_own(one) && one.block.is_none());
        self.settings
            .iter()
            .filter(|one| one.block.is_some() && !self.is_own(one))
            .find(|one| own().any(|own| own.keyword == one.keyword && own.value != one.value))
    }

    /// The program and the files of which its answers depend.
    fn files(&self) -> Vec<String> {
        [&[PROGRAM.to_owned()], self.looked_at.as_slice()].concat()
    }

    /// The output of `sshd -T`; `None` where an earlier resource of a preview changes what sshd reads.
    fn answer(&self) -> Result<Option<Output>> {
        self.probe.answer(&Query::sshd_settings(None), &self.files())
    }

    /// The line that counts for `user` among those with one keyword; `None` where none says it, or
    /// where an earlier resource of a preview changes what sshd reads.
    ///
    /// # Errors
    /// If sshd cannot be asked.
    pub(super) fn for_user(&self, keyword: &str, user: &str) -> Result<Option<&Setting>> {
        let lines: Vec<&Setting> =
            self.settings.iter().filter(|one| one.keyword == keyword).collect();
        if lines.iter().all(|one| one.block.is_none()) {
            return Ok(lines.first().copied());
        }
        // A group of the user may decide.
        let accounts = ["/etc/passwd", "/etc/group"].map(str::to_owned);
        let files = [self.files().as_slice(), &accounts].concat();
        let answer = match self.probe.answer(&Query::sshd_settings_for(user), &files) {
            Err(error) if error.kind == Kind::ToolMissing => None,
            answer => answer?,
        };
        let text = answer.filter(Output::success).map(|answer| answer.text()).unwrap_or_default();
        let said = text.lines().find_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '));
        let said = said.map(str::to_ascii_lowercase);
        let is_said = |one: &&&Setting| said.as_deref() == Some(&words(&one.value).join(" "));
        Ok(lines.iter().find(is_said).copied())
    }

    /// A line of `sshd -T` that is missing although the file asks for it; `None` too where an
    /// earlier resource of a preview changes what sshd reads.
    ///
    /// # Errors
    /// If sshd refuses its configuration, with its words.
    pub(in crate::resources) fn missing(&self) -> Result<Option<String>> {
        let Some(all) = self.answer()? else { return Ok(None) };
        if !all.success() {
            return words_of_refusal(&all).map_or(Ok(None), |words| Err(refused(words)));
        }
        let files = self.files();
        // By itself the file says in sshd's own words what it asks for.
        let own = self.probe.answer(&Query::sshd_settings(Some(self.own.1)), &files)?;
        // Without the host keys that another file names, sshd does not answer.
        let Some(own) = own.filter(Output::success) else { return Ok(None) };
        let (all, own) = (all.text(), own.text());
        let all: Vec<&str> = all.lines().collect();
        let is_asked = |line: &&str| {
            let keyword = line.split(' ').next().unwrap_or_default();
            self.settings.iter().any(|one| self.is_own(one) && one.keyword == keyword)
        };
        let is_said = |line: &&str| all.iter().any(|one| are_one(one, line));
        Ok(own.lines().filter(is_asked).find(|line| !is_said(line)).map(str::to_owned))
    }
}

/// Whether two lines of `sshd -T` are the same but for the port of an address, which another file may say.
fn are_one(line: &str, own: &str) -> bool {
    let without_port = |line: &str| {
        let address = line.strip_prefix("listenaddress ")?;
        Some(address.rsplit_once(':').map_or(address, |(address, _)| address).to_owned())
    };
    line == own || without_port(line).is_some_and(|address| Some(address) == without_port(own))
}

/// Whether the file at `path` is sshd's own one, or of the folder that this includes.
pub(super) fn is_of_sshd(path: &str) -> bool {
    path == MAIN || is_named(path, PARTS, ".conf")
}

/// Whether sshd reads the file at `path`, under this or another name.
///
/// # Errors
/// If one of its files cannot be read.
pub fn reads(path: &str, probe: &dyn Probe) -> Result<bool> {
    let reading = Reading::of(path, "", probe)?;
    let names = Names::of(probe);
    let target = names.target(path);
    Ok(reading.is_read || reading.looked_at.iter().any(|one| names.target(one) == target))
}

/// Whether sshd looks for files outside `/etc/ssh/`.
///
/// # Errors
/// If one of its files cannot be read.
pub fn includes_elsewhere(probe: &dyn Probe) -> Result<bool> {
    let reading = Reading::of("", "", probe)?;
    Ok(reading.looked_at.iter().any(|path| path != "/etc/ssh" && !path.starts_with("/etc/ssh/")))
}

/// Why sshd would not start with its configuration, in its own words.
///
/// # Errors
/// If sshd cannot be asked.
pub(super) fn refusal(probe: &dyn Probe) -> Result<Option<String>> {
    match Reading::of("", "", probe)?.answer() {
        Ok(answer) => Ok(answer.as_ref().and_then(words_of_refusal)),
        Err(error) if error.kind == Kind::ToolMissing => Ok(None),
        Err(error) => Err(error),
    }
}

fn refused(words: String) -> Error {
    Error::failed("`sshd -T` refuses the configuration").because(words)
}

fn words_of_refusal(answer: &Output) -> Option<String> {
    let words = answer.tail(20);
    let is_refused = !answer.success() && !UNREADY.iter().any(|start| words.starts_with(start));
    is_refused.then_some(words)
}

/// Refuses a file at `path` that will hold `text` where sshd finds a mistake in this text itself.
pub(in crate::resources) fn check_text(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    let answer = match probe.query(&Query::sshd_settings(Some(text))) {
        Err(error) if error.kind == Kind::ToolMissing => return Ok(()),
        answer => answer?,
    };
    match words_of_refusal(&answer).filter(|words| words.contains(INPUT)) {
        Some(words) => Err(Error::failed(format!("sshd refuses the content of `{path}`"))
            .because(words.replace(INPUT, path))),
        None => Ok(()),
    }
}

/// Refuses the file at `path` with this `text` where its settings do not count, or sshd refuses
/// them.
pub(super) fn check_file(
    path: &str,
    text: &str,
    is_in_place: bool,
    probe: &dyn Probe,
) -> Result<()> {
    if !probe.exists(MAIN)? {
        // The package brings both, and its own file includes the folder.
        return Ok(());
    }
    if path == MAIN && is_in_place {
        // It says itself which others come before its own lines.
        return refusal(probe)?.map_or(Ok(()), |words| Err(refused(words)));
    }
    if path == MAIN {
        return check_text(path, text, probe);
    }
    let reading = Reading::of(path, text, probe)?;
    if let Some(other) = reading.exception() {
        return Err(Error::failed(other.to_string())
            .because(format!("that is not what `{path}` says, for some connections"))
            .hint("take that line away, or declare `sshd_config` with `exceptions: true`"));
    }
    let against = match reading.verdict() {
        Verdict::Unread => format!("`{MAIN}` does not include `{path}`"),
        Verdict::Behind(line) => format!("{line}, and `{path}` is read after it"),
        Verdict::Counts if is_in_place => match reading.missing()? {
            Some(line) => format!("`sshd -T` does not say `{line}`, as `{path}` does"),
            None => return Ok(()),
        },
        Verdict::Counts => return check_text(path, text, probe),
    };
    Err(Error::failed(against)
        .because("sshd keeps the first value that it reads")
        .hint("declare `sshd_config` instead of the file: it has its settings read first"))
}

/// Refuses a `line` of the file at `path` that sets something which does not count.
pub(super) fn check_line(path: &str, line: &str, probe: &dyn Probe) -> Result<()> {
    let Some((keyword, value)) = split(line) else { return Ok(()) };
    let (keyword, value) = (one_name(&keyword), value.to_ascii_lowercase());
    if ADDING.contains(&keyword) || matches!(keyword, "match" | "include") {
        return Ok(());
    }
    // No file stands in for another one.
    let reading = Reading::of("", "", probe)?;
    let same = |one: &&Setting| one.keyword == keyword;
    let is_in_block =
        |one: &Setting| one.block.is_some() && one.origin.path == path && one.text == line.trim();
    if let Some(below) = reading.settings.iter().find(|one| is_in_block(one)) {
        // Its block decides for whom it counts, where that is the one that is meant.
        let block = below.block.as_deref().unwrap_or_default();
        if line.starts_with([' ', '\t']) || block.eq_ignore_ascii_case("match all") {
            return Ok(());
        }
        let message = format!("`{}` stands below `{block}` in `{path}`", line.trim());
        return Err(Error::failed(message)
            .because("it counts for the connections of that block alone")
            .hint("declare `sshd_config` instead, or indent the line if that block is meant"));
    }
    match reading.settings.iter().filter(same).find(|one| one.block.is_none()) {
        // sshd reads all lines or none.
        Some(first) if first.value == one_name(&value) => reading.missing().map(drop),
        Some(first) => Err(Error::failed(format!("{first}, before `{}` in `{path}`", line.trim()))
            .because("sshd keeps the first value that it reads")
            .hint("declare `sshd_config` instead of the line: it has its settings read first")),
        None => Err(Error::failed(format!("`{MAIN}` does not include `{path}`"))),
    }
}

/// The keyword of a line in lowercase, and what it sets.
fn split(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (keyword, value) = line.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value);
    let value = value.split(" #").next().unwrap_or_default();
    Some((keyword.to_ascii_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Words of a line, without the quotes around them.
fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
}

fn one_name(text: &str) -> &str {
    SAME.iter().find(|(other, _)| *other == text).map_or(text, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_as_sshd_does() {
        for (line, read) in [
            ("  PermitRootLogin  no ", Some(("permitrootlogin", "no"))),
            ("Port=22", Some(("port", "22"))),
            ("Port = 22 # a port", Some(("port", "22"))),
            ("# Port 22", None),
            ("", None),
        ] {
            let read = read.map(|(keyword, value)| (keyword.to_owned(), value.to_owned()));
            assert_eq!(split(line), read, "{line}");
        }
    }
}
