//! The reader's view: what a program makes of all the files that it reads, of which infra wrote one.
//!
//! A file that is as declared may still count for nothing, because another one wins or because its
//! reader refuses all of them. A kind whose file is read together with others asks here, in every
//! check.

pub(super) mod apt;
mod cron;
pub(super) mod keys;
pub(super) mod sshd;
mod sudoers;
pub(super) mod sysctl;

use std::fmt;

use super::Spec;
use super::before::Before;
use super::names::bytes;
use super::prediction::Prediction;
use super::probe::Probe;
use super::system::System;
use crate::error::{Error, Result};

/// Says what is wrong with a file at `path` with this owner and mode, whatever the server is, where
/// cron or sudo would pass it over; `content` where it is known.
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check_spec(
    path: &str,
    owner: &str,
    mode: u32,
    content: Option<&[u8]>,
) -> Result<(), String> {
    cron::check(path, owner, mode, content)?;
    sudoers::check(path, owner, mode, content)
}

/// Says what is wrong with a line for the file at `path`, whatever the server is.
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check_line_spec(path: &str, line: &str) -> Result<(), String> {
    if cron::reads(path) { cron::check_line(line) } else { Ok(()) }
}

/// The users that a text in the file at `path` names.
pub(super) fn users<'a>(path: &str, text: &'a str) -> Vec<&'a str> {
    if cron::reads(path) { cron::users(text).collect() } else { Vec::new() }
}

/// Refuses a file whose `content` would not count, or makes its reader refuse all files. It may be
/// in place already.
///
/// # Errors
/// The line of another file that wins, or the words of the reader.
pub(super) fn check_file(
    path: &str,
    content: &[u8],
    is_in_place: bool,
    probe: &dyn Probe,
) -> Result<()> {
    let text = String::from_utf8_lossy(content);
    if is_named(path, "/etc/sysctl.d/", ".conf") {
        return sysctl::check_file(path, &text, probe);
    }
    if sshd::is_of_sshd(path) {
        return sshd::check_file(path, &text, is_in_place, probe);
    }
    if apt::is_source(path) {
        return apt::check_file(path, &text, is_in_place, probe);
    }
    check_alone(path, &text, probe)
}

/// Refuses a file that its reader would pass over, whatever other files there are.
fn check_alone(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    if cron::reads(path) {
        return cron::check_file(path, text, probe);
    }
    if sudoers::reads(path) {
        return sudoers::check_file(path, text, probe);
    }
    Ok(())
}

/// Refuses a `line` of the file at `path` that does not count there, where the file will hold
/// `edited`.
///
/// # Errors
/// The line of a file that wins, where there is one.
pub(super) fn check_line(path: &str, line: &str, edited: &str, probe: &dyn Probe) -> Result<()> {
    let is_of_sshd = sshd::is_of_sshd(path);
    if !is_of_sshd && path != sysctl::OLD_FILE && !is_named(path, "/etc/sysctl.d/", ".conf") {
        return check_alone(path, edited, probe);
    }
    let check = if is_of_sshd { sshd::check_line } else { sysctl::check_line };
    if probe.read(path)?.is_some_and(|content| content == edited.as_bytes()) {
        return check(path, line, probe);
    }
    let mut world = Prediction::new(probe);
    world.file(path, edited.as_bytes(), "root", "root", 0o644);
    check(path, line, &world)?;
    if is_of_sshd { sshd::check_text(path, edited, probe) } else { Ok(()) }
}

/// Whether sshd reads a file, by whatever includes, and whether it reads files beside those in its folder.
pub use sshd::{includes_elsewhere as sshd_includes_elsewhere, reads as read_by_sshd};

/// The files in which sshd looks for keys of an account.
pub use keys::files as key_files;

/// The program that reads the file at `path` together with others, of which one decides.
pub fn read_together(path: &str) -> Option<&'static str> {
    if sshd::is_of_sshd(path) {
        return Some("sshd");
    }
    if path == sysctl::OLD_FILE || is_named(path, "/etc/sysctl.d/", ".conf") {
        return Some("sysctl");
    }
    apt::is_source(path).then_some("apt")
}

/// The program that says whether `spec` counts among other settings that it reads.
pub fn reader_of(spec: &Spec) -> Option<&'static str> {
    match spec {
        Spec::SshdConfig(_) | Spec::AuthorizedKey(_) => Some("sshd"),
        Spec::Sysctl(_) => Some("sysctl"),
        Spec::File(_) | Spec::Line(_) => {
            spec.switches().iter().find_map(|path| read_together(path))
        }
        _ => None,
    }
}

/// A program that reads all of its files, or none where it refuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strict {
    Apt,
    Sshd,
}

impl Strict {
    /// The one that reads one of these files.
    fn of(paths: &[String], probe: &dyn Probe) -> Result<Option<Self>> {
        for path in paths {
            if apt::is_source(path) {
                return Ok(Some(Self::Apt));
            }
            if sshd::reads(path, probe)? {
                return Ok(Some(Self::Sshd));
            }
        }
        Ok(None)
    }

    /// Why it reads none of its files, in its own words.
    fn refusal(self, probe: &dyn Probe) -> Result<Option<String>> {
        match self {
            Self::Apt => apt::refusal(probe),
            Self::Sshd => sshd::refusal(probe),
        }
    }

    /// The beginning of a message.
    fn refuses(self) -> &'static str {
        match self {
            Self::Apt => "apt refuses its sources",
            Self::Sshd => "sshd refuses its configuration",
        }
    }
}

/// Lets `write` switch what is at `paths`, and puts back what was there where a program that reads
/// all of its files or none refuses them then.
///
/// # Errors
/// The words of this program, and what cannot be written.
pub(super) fn keep_if_accepted(
    paths: &[String],
    system: &mut dyn System,
    write: impl FnOnce(&mut dyn System) -> Result<()>,
) -> Result<()> {
    let Some(reader) = Strict::of(paths, system)? else { return write(system) };
    let before = paths.iter().map(|path| Before::of(path, system)).collect::<Result<Vec<_>>>()?;
    write(system)?;
    let Some(words) = reader.refusal(system)? else { return Ok(()) };
    for (path, before) in paths.iter().zip(before).rev() {
        before.restore(path, system)?;
    }
    let path = paths.first().map_or("", String::as_str);
    let error = Error::failed(format!("{} with `{path}`", reader.refuses()))
        .because(words)
        .because("it was put back as it was");
    let is_still_refused = reader.refusal(system)?.is_some();
    let hint = || format!("{} without it as well", reader.refuses());
    Err(if is_still_refused { error.hint(hint()) } else { error })
}

/// Whether `path` is a name of `folder` that ends so.
fn is_named(path: &str, folder: &str, end: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|name| !name.contains('/') && name.ends_with(end))
}

/// The folder at `path` and the paths of all that is in it.
fn folder_with_files(path: &str, probe: &dyn Probe) -> Result<Vec<String>> {
    let names = probe.list(path)?.unwrap_or_default().into_iter();
    let files = names.map(|name| format!("{path}/{name}"));
    Ok(std::iter::once(path.to_owned()).chain(files).collect())
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The path of the file, as its reader finds it.
    pub(super) path: String,
    /// The number of the line; the first one is 1.
    pub(super) line: usize,
}

/// `/etc/x.conf:3`, for messages.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}:{}`", self.path, self.line)
    }
}

/// The files that a pattern of paths leads to.
struct Expanded {
    /// The paths, in the order of glob(3).
    paths: Vec<String>,
    /// The folders that were listed for it.
    folders: Vec<String>,
}

/// The paths that are there and match `pattern`, and `own` if that matches, there or not.
fn expand(pattern: &str, own: &str, probe: &dyn Probe) -> Result<Expanded> {
    let mut paths = vec![String::new()];
    let mut folders = Vec::new();
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut longer = Vec::new();
        for path in paths {
            if !part.contains(['*', '?', '[']) {
                longer.push(format!("{path}/{part}"));
                continue;
            }
            let folder = if path.is_empty() { "/" } else { path.as_str() };
            folders.push(folder.to_owned());
            let names = probe.list(folder)?.unwrap_or_default();
            let names = names.into_iter().filter(|name| matches(part, name));
            longer.extend(names.map(|name| format!("{path}/{name}")));
        }
        paths = longer;
    }
    let mut there = Vec::new();
    for path in paths.into_iter().filter(|path| path != own) {
        if probe.exists(&path)? {
            there.push(path);
        }
    }
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, path) = (parts(pattern), parts(own));
    let is_same_length = pattern.len() == path.len();
    if is_same_length && pattern.iter().zip(&path).all(|(part, name)| matches(part, name)) {
        there.push(own.to_owned());
    }
    there.sort_by(|path, other| bytes(path).cmp(&bytes(other)));
    Ok(Expanded { paths: there, folders })
}

/// Whether a name matches a pattern of glob(3): `*`, `?`, `[a-z]`, `[!a-z]`.
fn matches(pattern: &str, name: &str) -> bool {
    let is_hidden = name.starts_with('.') && !pattern.starts_with('.');
    !is_hidden && matches_rest(pattern.as_bytes(), &bytes(name))
}

fn matches_rest(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| matches_rest(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, name @ ..]) => matches_rest(rest, name),
        ([b'[', rest @ ..], [byte, name @ ..]) => {
            match rest.iter().skip(1).position(|b| *b == b']') {
                Some(end) => is_in(&rest[..=end], *byte) && matches_rest(&rest[end + 2..], name),
                None => *byte == b'[' && matches_rest(rest, name),
            }
        }
        ([b'\\', byte, rest @ ..] | [byte, rest @ ..], [first, name @ ..]) => {
            byte == first && matches_rest(rest, name)
        }
        _ => false,
    }
}

/// Whether a byte is in the set that stands between `[` and `]`.
fn is_in(set: &[u8], byte: u8) -> bool {
    let (set, is_wanted) = match set {
        [b'!' | b'^', rest @ ..] => (rest, false),
        set => (set, true),
    };
    let mut rest = set;
    let mut is_found = false;
    while let [first, after @ ..] = rest {
        rest = after;
        match after {
            [b'-', last, behind @ ..] => {
                is_found |= (*first..=*last).contains(&byte);
                rest = behind;
            }
            _ => is_found |= *first == byte,
        }
    }
    is_found == is_wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_names_as_glob_does() {
        for (pattern, name, is_match) in [
            ("*.conf", "10-infra.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "x.conf.bak", false),
            ("?0-*", "10-infra.conf", true),
            ("[0-9]*", "10-infra.conf", true),
            ("[!0-9]*", "10-infra.conf", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("a**b", "ab", true),
            ("caf?.conf", "caf\\xe9.conf", true),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
