//! The reader's view: what a program makes of all the files that it reads, of which infra wrote one.
//!
//! A file that is as declared may still count for nothing, because another one wins or because its
//! reader refuses all of them. A kind whose file is read together with others asks here, in every
//! check.

pub(super) mod apt;
pub(super) mod sysctl;

use std::fmt;

use super::probe::Probe;
use crate::error::Result;

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
