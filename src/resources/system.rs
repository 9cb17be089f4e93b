//! Changing a server. Only `apply` receives a [`System`].

use super::probe::{Cluster, Output, Probe, SqlRow, Stat};
use super::query::Command;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// Everything an apply may do, on top of reading. Each operation is done when it returns, names
/// what it was about in its error, and is safe to repeat.
pub trait System: Probe {
    /// Puts a regular file in place atomically: written beside it, synced, given its owner and
    /// mode, renamed, and the folder synced. A folder above `path` that someone else can write
    /// and that holds a symlink on the way is an error.
    fn write_file(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> Result<()>;

    /// Puts a copy of the regular file at `from` in place atomically, whatever its size.
    fn copy_file(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<()>;

    /// The same, with the access list and the extended attributes of the file at `from`. Returns what
    /// that file is.
    fn copy_whole(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<Stat>;

    /// Gives the regular file at `path` what [`Probe::extended`] returned of it earlier. Its mode is to be
    /// set afterwards: an access list brings one of its own.
    fn give_extended(&mut self, _path: &str, _extended: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        Ok(())
    }

    /// Makes one folder, whose parent is there.
    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()>;

    /// Puts a symlink in place atomically.
    fn make_symlink(&mut self, path: &str, target: &str) -> Result<()>;

    /// Sets owner, group and mode of what is at `path`, never of what a symlink points to.
    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<()>;

    /// Renames `from` to `to` on the same file system.
    fn rename(&mut self, from: &str, to: &str) -> Result<()>;

    /// Removes a file or a symlink; nothing there is fine.
    fn remove_file(&mut self, path: &str) -> Result<()>;

    /// Removes an empty folder; nothing there is fine.
    fn remove_directory(&mut self, path: &str) -> Result<()>;

    /// Removes a folder with all it holds, without following symlinks; nothing there is fine.
    fn remove_tree(&mut self, path: &str) -> Result<()>;

    /// Runs a program. A program that is not there is an error of the kind `ToolMissing`; an exit
    /// code other than zero is no error (see [`run_checked`]); the time running out is one.
    fn run(&mut self, command: &Command) -> Result<Output>;

    /// As [`System::run`], and calls `on_status` with each line that the program writes to file
    /// descriptor 3 (apt's `APT::Status-Fd`).
    fn run_with_status(
        &mut self,
        command: &Command,
        on_status: &mut dyn FnMut(&mut dyn Progress, &str),
    ) -> Result<Output>;

    /// Executes statements in a PostgreSQL cluster of the host as its superuser, outside a
    /// transaction.
    fn sql_execute(
        &mut self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>>;

    /// Records that `id` has changed in this run, for [`Probe::changed`].
    fn mark_changed(&mut self, id: &ResourceId);

    /// Waits; for retries with an end.
    fn sleep_milliseconds(&mut self, milliseconds: u32);

    /// Tells something that is no failure, as a lowercase phrase.
    fn warn(&mut self, message: &str);

    /// Whether the user has asked the run to stop; long waits look at it.
    fn interrupted(&self) -> bool;
}

/// Where long steps tell how far they are.
pub trait Progress {
    /// Between 0 and 100, if known, and what is being done.
    fn progress(&mut self, percent: Option<f32>, message: &str);

    /// Something that is no failure, as a lowercase phrase.
    fn warn(&mut self, message: &str);
}

/// Owner, group and mode of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// A user's name; what is there (or root, for something new) if `None`.
    pub owner: Option<String>,
    /// A group's name; likewise.
    pub group: Option<String>,
    /// Permission bits; what is there (or 0644 and 0755 for something new) if `None`.
    pub mode: Option<u32>,
}

impl Attributes {
    /// Owner, group and mode, all given.
    pub fn new(owner: &str, group: &str, mode: u32) -> Self {
        Self { owner: Some(owner.to_owned()), group: Some(group.to_owned()), mode: Some(mode) }
    }
}

/// Runs `command` and turns an exit code other than zero into an error that shows the last lines
/// of its output.
pub fn run_checked(system: &mut dyn System, command: &Command) -> Result<Output> {
    let output = system.run(command)?;
    if output.success() {
        return Ok(output);
    }
    let error = Error::failed(format!("`{}` exited with {}", command.display(), output.status));
    let tail = output.tail(20);
    Err(if tail.is_empty() { error } else { error.because(tail) })
}
