//! The rules by which cron takes a file for one of jobs: it says so only in its log, and ignores all
//! jobs of a file for one line.

use crate::error::{Error, Kind, Result};
use crate::resources::cron::schedule;
use crate::resources::probe::Probe;

const TABLE: &str = "/etc/crontab";
const FOLDER: &str = "/etc/cron.d/";

/// Folders of scripts that `run-parts` starts.
const PARTS: [&str; 8] = [
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/etc/network/if-pre-up.d",
    "/etc/network/if-up.d",
    "/etc/network/if-down.d",
    "/etc/network/if-post-down.d",
];

/// The longest line of a variable, and the longest command, in bytes.
const LONGEST_BYTES: usize = 998;

/// The releases whose cron takes a variable with a value of nothing at all for a job.
const WITHOUT_EMPTY_VALUES: [&str; 2] = ["debian-11", "debian-12"];

/// A line that is no comment and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry<'a> {
    Variable {
        has_value: bool,
    },
    Job {
        /// The user who runs the command.
        user: &'a str,
    },
}

/// Whether cron reads the file at `path` as one of jobs with users. Debian keeps the folder by a
/// file whose name begins with a dot.
pub(super) fn reads(path: &str) -> bool {
    let name = path.strip_prefix(FOLDER);
    path == TABLE || name.is_some_and(|name| !name.contains('/') && !name.starts_with('.'))
}

/// See [`super::check_spec`].
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check(
    path: &str,
    owner: &str,
    mode: u32,
    content: Option<&[u8]>,
) -> Result<(), String> {
    if !reads(path) {
        return check_part(path, mode);
    }
    let name = path.strip_prefix(FOLDER).unwrap_or_default();
    // A file such as `README`, in which nothing is a job, may well be passed over.
    let says_nothing =
        content.is_some_and(|content| entries(&String::from_utf8_lossy(content)).next().is_none());
    if says_nothing {
        return Ok(());
    }
    if !is_plain(name) {
        return Err(format!("cron ignores `{name}`: only letters, digits, `-` and `_` are read"));
    }
    if owner != "root" {
        return Err(format!("cron ignores `{path}` unless it belongs to `root`"));
    }
    if mode & 0o022 != 0 {
        return Err(format!("cron ignores `{path}` where others than its owner can write to it"));
    }
    let Some(content) = content else { return Ok(()) };
    if !content.is_empty() && !content.ends_with(b"\n") {
        return Err(format!("cron ignores `{path}` without a line break at its end"));
    }
    let text = String::from_utf8_lossy(content);
    for (index, line) in text.split('\n').enumerate() {
        check_end(line).map_err(|reason| format!("{}: {reason}", ignored(path, index + 1)))?;
    }
    entries(&text).try_for_each(|(number, entry)| match entry {
        Ok(_) => Ok(()),
        Err(reason) => Err(format!("{}: {reason}", ignored(path, number))),
    })
}

/// Says what is wrong with a script for `run-parts` (run-parts(8)).
fn check_part(path: &str, mode: u32) -> Result<(), String> {
    let Some((folder, name)) = path.rsplit_once('/') else { return Ok(()) };
    if !PARTS.contains(&folder) || name.starts_with('.') {
        return Ok(());
    }
    if !is_plain(name) {
        let read = "only letters, digits, `-` and `_` are read";
        return Err(format!("`run-parts` ignores `{name}` in `{folder}`: {read}"));
    }
    if mode & 0o111 == 0 {
        return Err(format!("`run-parts` ignores `{path}`, which nobody may execute"));
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Says what is wrong with a line of a file of cron.
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check_line(line: &str) -> Result<(), String> {
    check_end(line)?;
    entry(line).map_or(Ok(()), |entry| entry.map(drop))
}

/// Refuses a carriage return at the end of a line that says something. Others may have meant it.
fn check_end(line: &str) -> Result<(), String> {
    if line.ends_with('\r') && entry(line).is_some() {
        return Err("cron takes the carriage return at its end for a part of it".to_owned());
    }
    Ok(())
}

/// The users whose jobs are in a text.
pub(super) fn users(text: &str) -> impl Iterator<Item = &str> {
    entries(text).filter_map(|(_, entry)| match entry {
        Ok(Entry::Job { user }) => Some(user),
        _ => None,
    })
}

/// Refuses a file at `path` with this `text` that the cron of this server would ignore.
///
/// # Errors
/// The first line that cron does not take.
pub(super) fn check_file(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    for (number, entry) in entries(text) {
        match entry.map_err(|reason| Error::failed(reason).context(ignored(path, number)))? {
            Entry::Job { user } if probe.user(user)?.is_none() => {
                return Err(Error::new(Kind::ToolMissing, format!("there is no user `{user}`"))
                    .context(ignored(path, number))
                    .hint(format!("declare `user: {user}` before")));
            }
            Entry::Variable { has_value: false }
                if WITHOUT_EMPTY_VALUES.contains(&probe.facts().os.as_str()) =>
            {
                return Err(Error::failed("this cron does not know a value of nothing at all")
                    .context(ignored(path, number))
                    .hint("write `\"\"` behind the `=`"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn ignored(path: &str, number: usize) -> String {
    format!("cron ignores all of `{path}` for its line {number}")
}

/// The lines that say something, with their numbers.
fn entries(text: &str) -> impl Iterator<Item = (usize, Result<Entry<'_>, String>)> {
    let lines = text.split('\n').enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, entry(line)?)))
}

/// The entry that cron reads in a line; `None` where it passes the line over.
fn entry(line: &str) -> Option<Result<Entry<'_>, String>> {
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(match variable(line) {
        Some(_) if line.len() > LONGEST_BYTES => Err(format!(
            "cron cuts the line of a variable after {LONGEST_BYTES} bytes, and this has {}",
            line.len()
        )),
        Some(has_value) => Ok(Entry::Variable { has_value }),
        None => job(line),
    })
}

/// Whether a line that sets a variable has a value; `None` where it sets none. A name or a value may
/// be in quotes, without more behind them than blanks.
fn variable(line: &str) -> Option<bool> {
    let rest = match line.strip_prefix(['\'', '"']) {
        Some(quoted) => {
            let (name, rest) = quoted.split_at(quoted.find(&line[..1])?);
            (!name.contains('=')).then(|| &rest[1..])?
        }
        None => &line[line.find(|c: char| c.is_ascii_whitespace() || c == '=')?..],
    };
    let value = rest.trim_ascii_start().strip_prefix('=')?.trim_ascii_start();
    let Some(quoted) = value.strip_prefix(['\'', '"']) else { return Some(!value.is_empty()) };
    let behind = &quoted[quoted.find(&value[..1])? + 1..];
    behind.trim_ascii().is_empty().then_some(true)
}

/// Times, a user and a command, with blanks between them.
fn job(line: &str) -> Result<Entry<'_>, String> {
    let is_blank = |c| c == ' ' || c == '\t';
    let count = if line.starts_with('@') { 1 } else { 5 };
    let mut rest = line;
    let mut times = Vec::new();
    for _ in 0..count {
        let (field, behind) = rest.split_once(is_blank).unwrap_or((rest, ""));
        times.push(field);
        rest = behind.trim_start_matches(is_blank);
    }
    let times: Vec<&str> = times.into_iter().filter(|field| !field.is_empty()).collect();
    schedule::check(&times.join(" "))?;
    let Some((user, command)) = rest.split_once(is_blank) else {
        return Err(match rest {
            "" => "it names no user and no command behind the times".to_owned(),
            user => format!("it names no command behind `{user}`, the user"),
        });
    };
    if user.contains('/') {
        return Err(format!("`{user}` is no user: here the user stands before the command"));
    }
    if command.len() > LONGEST_BYTES {
        return Err(format!(
            "its command has {} bytes, and cron takes {LONGEST_BYTES}: put it into a script",
            command.len()
        ));
    }
    Ok(Entry::Job { user })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken or not as by the cron of Debian 12 and 13.
    #[test]
    fn reads_a_line_as_cron_does() {
        let job = |user| Some(Ok(Entry::Job { user }));
        let variable = |has_value| Some(Ok(Entry::Variable { has_value }));
        let wrong = |reason: &str| Some(Err(reason.to_owned()));
        for (line, read) in [
            ("", None),
            (" \t# x", None),
            ("* * * * * root true", job("root")),
            ("  */5,10-20/3 * * JAN sun-3\troot  true % x", job("root")),
            ("@daily\troot\ttrue", job("root")),
            ("* * * * * root FOO=1 true", job("root")),
            ("* * * * * root ", job("root")),
            ("X=1", variable(true)),
            ("X = a b ", variable(true)),
            ("'X' = \"a b\" ", variable(true)),
            ("X=\"\"", variable(true)),
            ("X=", variable(false)),
            ("X=  ", variable(false)),
            ("X=\"a", wrong("`X=\"a` has 1 of 5 fields")),
            ("X=\"a\" b", wrong("`X=\"a\" b` has 2 of 5 fields")),
            ("export X=1", wrong("`export X=1` has 2 of 5 fields")),
            ("* * * * * root true\r", job("root")),
            ("\r", wrong("`\r` has 0 of 5 fields")),
            ("60 * * * * root true", wrong("`60` is not right for the minute of a cron schedule")),
            ("* * * * *", wrong("it names no user and no command behind the times")),
            ("* * * * * root", wrong("it names no command behind `root`, the user")),
            (
                "* * * * * /bin/true -x",
                wrong("`/bin/true` is no user: here the user stands before the command"),
            ),
        ] {
            assert_eq!(entry(line), read, "{line}");
        }
    }

    #[test]
    fn knows_how_long_a_line_may_be() {
        let job = |length| format!("@daily root {}", "x".repeat(length));
        assert_eq!(check_line(&job(998)), Ok(()));
        let message = "its command has 999 bytes, and cron takes 998: put it into a script";
        assert_eq!(check_line(&job(999)), Err(message.to_owned()));
        assert_eq!(check_line(&format!("# {}", job(2000))), Ok(()));
        assert_eq!(check_line(&format!("X={}", "x".repeat(996))), Ok(()));
        let message = "cron cuts the line of a variable after 998 bytes, and this has 999";
        assert_eq!(check_line(&format!("X={}", "x".repeat(997))), Err(message.to_owned()));
    }

    #[test]
    fn says_what_cron_would_ignore() {
        let job: Option<&[u8]> = Some(b"@daily root true\n");
        assert_eq!(check("/etc/cron.d/backup", "root", 0o644, job), Ok(()));
        assert_eq!(check("/etc/cron.d/.placeholder", "x", 0o777, Some(b"x")), Ok(()));
        assert_eq!(
            check("/etc/cron.d/READ.ME", "root", 0o644, Some(b"# Jobs of people.\n")),
            Ok(())
        );
        for (path, owner, mode, content, message) in [
            (
                "/etc/cron.d/crlf",
                "root",
                0o644,
                Some(b"@daily root true\r\n" as &[u8]),
                "cron ignores all of `/etc/cron.d/crlf` for its line 1: cron takes the carriage return at its end \
                 for a part of it",
            ),
            (
                "/etc/cron.d/backup.cron",
                "root",
                0o644,
                job,
                "cron ignores `backup.cron`: only letters, digits, `-` and `_` are read",
            ),
            (
                "/etc/cron.d/backup",
                "deploy",
                0o644,
                job,
                "cron ignores `/etc/cron.d/backup` unless it belongs to `root`",
            ),
            (
                "/etc/crontab",
                "root",
                0o664,
                job,
                "cron ignores `/etc/crontab` where others than its owner can write to it",
            ),
            (
                "/etc/cron.d/backup",
                "root",
                0o644,
                Some(b"@daily root true"),
                "cron ignores `/etc/cron.d/backup` without a line break at its end",
            ),
            (
                "/etc/cron.d/backup",
                "root",
                0o644,
                Some(b"X=1\n\n* * * * 8 root true\n"),
                "cron ignores all of `/etc/cron.d/backup` for its line 3: `8` is not right for the \
                 day of the week of a cron schedule",
            ),
        ] {
            assert_eq!(check(path, owner, mode, content), Err(message.to_owned()));
        }
    }

    #[test]
    fn says_what_run_parts_would_ignore() {
        for (path, mode, message) in [
            ("/etc/cron.daily/backup", 0o755, None),
            ("/etc/cron.daily/.placeholder", 0o644, None),
            ("/etc/cron.other/backup.sh", 0o644, None),
            (
                "/etc/cron.daily/backup.sh",
                0o755,
                Some(
                    "`run-parts` ignores `backup.sh` in `/etc/cron.daily`: only letters, digits, `-` and `_` \
                     are read",
                ),
            ),
            (
                "/etc/network/if-up.d/route",
                0o644,
                Some("`run-parts` ignores `/etc/network/if-up.d/route`, which nobody may execute"),
            ),
        ] {
            let told = check(path, "root", mode, None).err();
            assert_eq!(told.as_deref(), message, "{path}");
        }
    }
}
