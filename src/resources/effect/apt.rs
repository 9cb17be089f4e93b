//! The sources of apt, as apt reads them: one that it refuses takes all others with it.

use super::{Origin, folder_with_files};
use crate::error::{Error, Result};
use crate::resources::probe::Probe;
use crate::resources::query::Query;

/// The file that is read before those of [`PARTS`], which are read by their names.
const LIST: &str = "/etc/apt/sources.list";
const PARTS: &str = "/etc/apt/sources.list.d";

/// Other files that decide how apt reads them.
const PROGRAM: &str = "/usr/bin/apt-get";
const CONFIGURATION: &str = "/etc/apt/apt.conf";
const CONFIGURATION_PARTS: &str = "/etc/apt/apt.conf.d";

/// The releases whose apt also refuses an archive that is named with a key first and without one
/// behind it.
const STRICT: [&str; 2] = ["debian-11", "debian-12"];

/// Why apt reads none of its sources, in its own words; `None` if it reads them, or if an earlier
/// resource of a preview changes them.
///
/// # Errors
/// If apt cannot be asked.
pub(super) fn refusal(probe: &dyn Probe) -> Result<Option<String>> {
    let mut files = vec![PROGRAM.to_owned(), CONFIGURATION.to_owned(), LIST.to_owned()];
    for folder in [CONFIGURATION_PARTS, PARTS] {
        files.extend(folder_with_files(folder, probe)?);
    }
    let answer = probe.answer(&Query::apt_sources(), &files)?;
    Ok(answer.filter(|answer| !answer.success()).map(|answer| {
        let text = String::from_utf8_lossy(&answer.stderr);
        let mut errors: Vec<&str> = Vec::new();
        // apt says each of them twice.
        for line in text.lines().filter(|line| line.starts_with("E: ")) {
            if !errors.contains(&line) {
                errors.push(line);
            }
        }
        errors.join("\n")
    }))
}

/// Whether apt takes the file at `path` for one of its sources.
pub(super) fn is_source(path: &str) -> bool {
    let folder = format!("{PARTS}/");
    let is_named = |end| super::is_named(path, &folder, end);
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let has_name = path.strip_prefix(&folder).is_some_and(|name| name.chars().all(is_taken));
    path == LIST || has_name && (is_named(".list") || is_named(".sources"))
}

/// Looks whether apt reads the file at `path` beside the other sources: asks apt where the file is
/// in place, and looks for an entry that it could not stand beside where it is not.
///
/// # Errors
/// The line of another file, or the words of apt.
pub(in crate::resources) fn check_file(
    path: &str,
    text: &str,
    is_in_place: bool,
    probe: &dyn Probe,
) -> Result<()> {
    if !is_in_place {
        return conflict(path, text, probe)?.map_or(Ok(()), |entry| Err(entry.error()));
    }
    let Some(words) = refusal(probe)? else { return Ok(()) };
    let error = Error::failed("apt reads none of its sources").because(words);
    let Some(entry) = conflict(path, text, probe)? else { return Err(error) };
    Err(error.because(format!("{} names the same archive as `{path}`", entry.origin)))
}

/// An archive as one entry names it: an address and a suite, with the key that signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    origin: Origin,
    uris: Vec<String>,
    suites: Vec<String>,
    signed_by: Option<Vec<String>>,
}

/// The entry of another file that cannot stand beside `text`, the content of the file at `path`.
///
/// # Errors
/// If the sources cannot be read.
fn conflict(path: &str, text: &str, probe: &dyn Probe) -> Result<Option<Entry>> {
    let own = entries(path, text);
    let is_strict = STRICT.contains(&probe.facts().os.as_str());
    let files = std::iter::once(LIST.to_owned()).chain(folder_with_files(PARTS, probe)?);
    for other in files.filter(|other| other != path && is_source(other)) {
        let other = other.as_str();
        let Some(bytes) = probe.read(other)? else { continue };
        // Those of `PARTS` sort as their names do.
        let is_later = other != LIST && other > path;
        let conflicts = |entry: &Entry| {
            own.iter().filter(|own| own.is_about_same(entry)).any(|own| {
                match (&own.signed_by, &entry.signed_by) {
                    (Some(key), Some(other)) => key != other,
                    (Some(_), None) => is_strict && is_later,
                    (None, Some(_)) => is_strict && !is_later,
                    (None, None) => false,
                }
            })
        };
        let found = entries(other, &String::from_utf8_lossy(&bytes)).into_iter().find(conflicts);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl Entry {
    fn is_about_same(&self, other: &Self) -> bool {
        let shares =
            |these: &[String], others: &[String]| these.iter().any(|one| others.contains(one));
        shares(&self.uris, &other.uris) && shares(&self.suites, &other.suites)
    }

    /// An error that names it.
    fn error(&self) -> Error {
        Error::failed(format!("{} names the same archive with another `Signed-By`", self.origin))
            .because("apt would read none of its sources")
            .hint("take that entry away: by hand, or by a `file` with `state: absent` before this")
    }
}

/// The enabled entries of a file, in the format that its name tells.
fn entries(path: &str, text: &str) -> Vec<Entry> {
    let is_format =
        |extension: &str| path.rsplit_once('.').is_some_and(|(_, end)| end == extension);
    match (is_format("sources"), is_format("list")) {
        (true, _) => stanzas(path, text),
        (_, true) => lines(path, text),
        _ => Vec::new(),
    }
}

/// `deb [signed-by=KEY] URI SUITE COMPONENT…`, one a line.
fn lines(path: &str, text: &str) -> Vec<Entry> {
    let entry = |(index, line): (usize, &str)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (kind, rest) = line.split_once(char::is_whitespace)?;
        let is_source = matches!(kind, "deb" | "deb-src");
        let rest = Some(rest.trim_start()).filter(|_| is_source)?;
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let keys = options.split_whitespace().find_map(|one| one.strip_prefix("signed-by="));
        Some(Entry {
            origin: Origin { path: path.to_owned(), line: index + 1 },
            uris: vec![address(words.next()?)],
            suites: vec![words.next()?.to_owned()],
            signed_by: keys.map(|keys| keys.split(',').map(str::to_owned).collect()),
        })
    };
    text.lines().enumerate().filter_map(entry).collect()
}

/// Paragraphs of fields, as in a control file of Debian.
fn stanzas(path: &str, text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut fields: Vec<(usize, String, String)> = Vec::new();
    let end = [(usize::MAX, "")];
    for (index, line) in text.lines().enumerate().chain(end) {
        if line.trim().is_empty() {
            found.extend(stanza(path, &std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, _, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with('#'))
        {
            fields.push((index, name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    found
}

fn stanza(path: &str, fields: &[(usize, String, String)]) -> Option<Entry> {
    let words = |name: &str| {
        let (_, _, value) = fields.iter().find(|(_, field, _)| field == name)?;
        Some(value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let is_off = |value: &String| {
        ["no", "false", "0", "off", "disable", "without"].contains(&value.as_str())
    };
    if words("enabled").is_some_and(|words| words.first().is_some_and(is_off)) {
        return None;
    }
    Some(Entry {
        origin: Origin { path: path.to_owned(), line: fields.first()?.0 + 1 },
        uris: words("uris")?.iter().map(|uri| address(uri)).collect(),
        suites: words("suites")?,
        signed_by: words("signed-by").filter(|keys| !keys.is_empty()),
    })
}

/// apt ends each address with a slash.
fn address(uri: &str) -> String {
    format!("{}/", uri.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats() {
        let list = "# deb http://a x y\ndeb [ arch=amd64 signed-by=/k ] http://a/d/ x main # y\n";
        let sources = "# A comment.\nTypes: deb\nURIs: http://a/d\n http://b\nsuites: x z\n\
                       Components: main\n# Another.\nSigned-By: /k\n\nTypes: deb\nURIs: http://c\n\
                       Suites: x\nEnabled: no\n";
        let [one] = &entries("/x.list", list)[..] else { panic!("not one entry") };
        let [other] = &entries("/x.sources", sources)[..] else { panic!("not one entry") };
        assert_eq!(one.origin.to_string(), "`/x.list:2`");
        assert_eq!(other.origin.to_string(), "`/x.sources:2`");
        assert_eq!(one.signed_by, other.signed_by);
        assert!(one.is_about_same(other));
        assert_eq!(other.uris, ["http://a/d/", "http://b/"]);
        assert_eq!(entries("/x.sources.save", sources), []);
    }
}
