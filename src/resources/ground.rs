//! Places where no program may run as root.

use super::probe::Probe;
use crate::error::{Error, Result};

/// Refuses a `path` that others than root can redirect: a program of root's that is given this
/// path would work on another file or folder.
///
/// `doing` completes the sentence "others can write above `path`, where …".
///
/// # Errors
/// If others can write in a folder on the way to `path`.
pub(super) fn check(path: &str, doing: &str, hint: &str, probe: &dyn Probe) -> Result<()> {
    if !probe.can_others_change(path)? {
        return Ok(());
    }
    let error = Error::failed(format!("others can write above `{path}`, where {doing}"));
    Err(error.hint(hint))
}
