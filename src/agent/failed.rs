//! Units of systemd that have failed, whether or not anybody declares them: a job of a timer fails while the timer
//! itself is as it should be.

use std::collections::BTreeMap;

use crate::error::{Kind, Result};
use crate::events::FailedUnit;
use crate::resources::{Probe, Query};

/// How many units are told at most.
const MOST_UNITS: usize = 200;

/// The units that have failed, and those that systemd starts again and again since they fail; the last to fail
/// comes first. Empty on a host without systemd.
///
/// # Errors
/// If systemd does not answer.
pub fn units(probe: &dyn Probe) -> Result<Vec<FailedUnit>> {
    let output = match probe.query(&Query::failed_units()) {
        Err(error) if error.kind == Kind::ToolMissing => return Ok(Vec::new()),
        output => output?,
    };
    if !output.success() {
        return Ok(Vec::new());
    }
    let mut units: Vec<FailedUnit> = output.text().split("\n\n").filter_map(unit).collect();
    units.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.name.cmp(&b.name)));
    units.truncate(MOST_UNITS);
    Ok(units)
}

/// The unit of one paragraph.
fn unit(paragraph: &str) -> Option<FailedUnit> {
    let fields: BTreeMap<&str, &str> =
        paragraph.lines().filter_map(|line| line.split_once('=')).collect();
    let name = fields.get("Id").filter(|name| !name.is_empty())?;
    // Between the question for the list and that for the unit, it may have been started.
    let is_restarted = match *fields.get("ActiveState")? {
        "failed" => false,
        "activating" if fields.get("SubState")?.starts_with("auto-restart") => true,
        _ => return None,
    };
    let since = fields.get("InactiveEnterTimestamp").and_then(|time| time.strip_prefix('@'));
    Some(FailedUnit {
        name: (*name).to_owned(),
        since: since.and_then(|time| time.parse().ok()).filter(|time| *time > 0),
        is_restarted,
    })
}
