//! The rules of sudo: it passes over files whose names or attributes it does not like, and over
//! lines that it cannot read.

use super::folder_with_files;
use crate::error::{Error, Kind, Result};
use crate::resources::probe::Probe;
use crate::resources::query::Query;

const MAIN: &str = "/etc/sudoers";
const PARTS: &str = "/etc/sudoers.d";
const PROGRAM: &str = "/usr/sbin/visudo";

/// How visudo calls the rules that it reads from its input.
const INPUT: &str = "stdin:";

/// Whether sudo looks for rules in the file at `path`.
pub(super) fn reads(path: &str) -> bool {
    let name = path.strip_prefix(PARTS).and_then(|rest| rest.strip_prefix('/'));
    path == MAIN || name.is_some_and(|name| !name.contains('/'))
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
    // A file such as `README`, in which nothing is a rule, may well be passed over.
    if !reads(path) || content.is_some_and(says_nothing) {
        return Ok(());
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.contains('.') || name.ends_with('~') {
        return Err(format!(
            "sudo ignores `{name}`: no name with a `.` or a `~` at its end is read"
        ));
    }
    if owner != "root" {
        return Err(format!("sudo ignores `{path}` unless it belongs to `root`"));
    }
    if mode & 0o002 != 0 {
        return Err(format!("sudo ignores `{path}` where everybody can write to it"));
    }
    Ok(())
}

/// Whether all lines are empty or comments. `#include`, and `#` before the number of a user, are none.
fn says_nothing(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.lines().map(str::trim_start).all(|line| match line.strip_prefix('#') {
        Some(rest) => {
            !rest.starts_with("include") && !rest.starts_with(|c: char| c.is_ascii_digit())
        }
        None => line.is_empty(),
    })
}

/// Refuses rules for the file at `path` in which visudo finds a mistake.
///
/// # Errors
/// The words of visudo.
pub(super) fn check_file(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    let mut files = vec![PROGRAM.to_owned()];
    if path == MAIN {
        files.extend(folder_with_files(PARTS, probe)?);
    }
    let answer = match probe.answer(&Query::sudo_rules(text), &files) {
        Err(error) if error.kind == Kind::ToolMissing => return Ok(()),
        answer => answer?,
    };
    match answer.filter(|answer| !answer.success()) {
        Some(answer) => Err(Error::failed(format!("`visudo -c` refuses the content of `{path}`"))
            .because(answer.tail(20).replace(INPUT, &format!("{path}:")))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_sudo_would_ignore() {
        let rule: Option<&[u8]> = Some(b"deploy ALL=(ALL) ALL\n");
        assert_eq!(check("/etc/sudoers.d/deploy", "root", 0o440, rule), Ok(()));
        assert_eq!(check("/etc/sudoers", "root", 0o644, None), Ok(()));
        assert_eq!(check("/etc/sudo.conf", "deploy", 0o666, rule), Ok(()));
        let comments: Option<&[u8]> = Some(b"# Rules of people.\n\n  # See sudoers(5).\n");
        assert_eq!(check("/etc/sudoers.d/README.md", "root", 0o644, comments), Ok(()));
        for (path, owner, mode, message) in [
            (
                "/etc/sudoers.d/deploy.conf",
                "root",
                0o440,
                "sudo ignores `deploy.conf`: no name with a `.` or a `~` at its end is read",
            ),
            (
                "/etc/sudoers.d/deploy",
                "deploy",
                0o440,
                "sudo ignores `/etc/sudoers.d/deploy` unless it belongs to `root`",
            ),
            (
                "/etc/sudoers.d/deploy",
                "root",
                0o666,
                "sudo ignores `/etc/sudoers.d/deploy` where everybody can write to it",
            ),
        ] {
            assert_eq!(check(path, owner, mode, rule), Err(message.to_owned()));
        }
        for rule in ["#include /etc/x\n", "#1000 ALL=(ALL) ALL\n", "  a ALL=(ALL) ALL"] {
            assert!(check("/etc/sudoers.d/a.b", "root", 0o440, Some(rule.as_bytes())).is_err());
        }
    }
}
