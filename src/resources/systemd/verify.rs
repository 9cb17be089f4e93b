//! The words of systemd about a unit file that is not there yet.
//!
//! `systemd-analyze verify` (systemd 252 and later) tells each line that the manager would pass over, as
//! `PATH:LINE: WORDS, ignoring…`, and each unit that it would not load, as `NAME: WORDS Refusing.`

use super::{FOLDER, has_suffix, is_template};
use crate::error::{Error, Kind, Result};
use crate::resources::prediction::Prediction;
use crate::resources::probe::Probe;
use crate::resources::query::Query;
use crate::resources::service;

/// Where people put files of units (systemd.unit(5)).
const FOLDERS: [&str; 3] = [FOLDER, "/usr/local/lib/systemd/system", "/run/systemd/system"];

/// Refuses a file at `path` of a unit, or of a drop-in of it, where systemd would pass over a line, or would not
/// load the unit with it.
///
/// # Errors
/// The lines, with the words of systemd.
pub(in crate::resources) fn check_file(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    let file = path.strip_prefix(FOLDER).map(|file| file.trim_start_matches('/'));
    let Some((name, file)) = unit_of(path).zip(file) else { return Ok(()) };
    let has_unit = file == name || !is_template(name) && probe.unit(name)?.load_state == "loaded";
    // A drop-in of a unit that is still to come is looked at as if it were the unit.
    let file = if has_unit { file } else { name };
    let query = Query::systemd_verify(name, file, text);
    let output = match probe.query(&query) {
        Err(error) if error.kind == Kind::ToolMissing => return Ok(()),
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut causes: Vec<String> =
        said.lines().filter_map(|line| passed_over(line, file, text)).collect();
    let own = format!("{name}: ");
    let is_refusal = |line: &&str| line.starts_with(&own) && line.ends_with("Refusing.");
    let refusals = said.lines().filter(is_refusal).filter(|_| has_unit);
    causes.extend(refusals.map(str::to_owned));
    if causes.is_empty() {
        return Ok(());
    }
    let error = Error::failed(format!("systemd would pass over parts of `{name}`"));
    Err(causes
        .into_iter()
        .fold(error, Error::because)
        .hint("systemd.directives(7) on the server lists what this version knows"))
}

/// The unit that a file is of, or is a drop-in for.
pub fn unit_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let name = match name.split_once('/') {
        Some((folder, file)) => {
            file.strip_suffix(".conf")?;
            folder.strip_suffix(".d")?
        }
        None => name,
    };
    has_suffix(name).then_some(name)
}

/// Notes for a preview that systemd will know the unit whose file will be at `path`: a file that is new is read as
/// soon as somebody names the unit.
pub(in crate::resources) fn predict_file(path: &str, world: &mut Prediction<'_>) {
    let name = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
    let is_unit = |name: &&str| has_suffix(name) && !name.contains('/') && !is_template(name);
    let Some(name) = name.filter(is_unit) else { return };
    let Ok(unit) = world.unit(name) else { return };
    if !unit.exists() {
        world.unit_state(name, service::predicted(unit, Some(false), Some(false), false));
    }
}

/// A line of the unit with the reason why systemd passes over it.
fn passed_over(said: &str, file: &str, text: &str) -> Option<String> {
    let (number, words) =
        said.strip_prefix("/mnt/")?.strip_prefix(file)?.strip_prefix(':')?.split_once(": ")?;
    let number: usize = number.parse().ok()?;
    if !words.to_lowercase().contains("ignoring") {
        return None;
    }
    let line = text.lines().nth(number.checked_sub(1)?)?;
    Some(format!("line {number}, `{}`: {words}", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_counts_for_nothing_is_found() {
        let text = "[Service]\n ExcStart=/bin/true \n";
        for (said, found) in [
            (
                "/mnt/a.service:2: Unknown key 'ExcStart' in section [Service], ignoring.",
                Some(
                    "line 2, `ExcStart=/bin/true`: Unknown key 'ExcStart' in section [Service], ignoring.",
                ),
            ),
            ("/mnt/a.service:2: Standard output type syslog is obsolete, updating.", None),
            ("/mnt/a.service:9: Missing '=', ignoring line.", None),
            ("/lib/systemd/system/b.service:2: Unknown key, ignoring.", None),
            ("a.service: Command /bin/x is not executable: No such file or directory", None),
        ] {
            assert_eq!(passed_over(said, "a.service", text).as_deref(), found, "{said}");
        }
    }

    #[test]
    fn files_of_units_are_known_by_their_paths() {
        for (path, unit) in [
            ("/etc/systemd/system/a.service", Some("a.service")),
            ("/etc/systemd/system/a.service.d/b.conf", Some("a.service")),
            ("/etc/systemd/system/a@.timer", Some("a@.timer")),
            ("/etc/systemd/system/multi-user.target.wants/a.service", None),
            ("/etc/systemd/system/a.service.d/notes", None),
            ("/etc/systemd/timesyncd.conf", None),
        ] {
            assert_eq!(unit_of(path), unit, "{path}");
        }
    }
}
