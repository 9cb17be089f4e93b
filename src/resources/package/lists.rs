//! apt's lists of packages: how old they are, and fetching them where some sources do not answer.

use super::apt;
use crate::error::{Error, Result};
use crate::resources::probe::Probe;
use crate::resources::query::Query;
use crate::resources::system::{Attributes, System};

const LISTS: &str = "/var/lib/apt/lists";

const STATE_FOLDER: &str = "/var/lib/infra";

/// There while an `apt-get update` is owed: to a changed source of packages, or to a source that
/// did not answer the last time. A file, because the run that owes it may be cut before a package
/// is installed.
const UPDATE_OWED: &str = "/var/lib/infra/apt-update-owed";

/// How many complaints of apt about its sources are told.
const MOST_COMPLAINTS: usize = 5;

/// Records that the lists of packages have to be fetched before the next installation.
pub(in crate::resources) fn owe_update(system: &mut dyn System) -> Result<()> {
    system.make_directory(STATE_FOLDER, &Attributes::new("root", "root", 0o700))?;
    system.write_file(UPDATE_OWED, b"", &Attributes::new("root", "root", 0o600))
}

/// The knowledge of a run about the lists of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Whether this run has asked all sources for them.
    pub(super) are_fresh: bool,
    /// Why the lists of some sources are missing or old, in apt's words.
    unfetched: Vec<String>,
}

impl Lists {
    /// The lists as they are, where fetching them would change nothing.
    pub(super) fn not_needed() -> Self {
        Self { are_fresh: true, unfetched: Vec::new() }
    }

    /// Fetches the lists if they are missing, older than a day, or if that is owed.
    pub(super) fn fetch_if_due(system: &mut dyn System) -> Result<Self> {
        if are_due(system) { Self::fetch(system) } else { Ok(Self::default()) }
    }

    /// Fetches the lists. A source that does not answer stops nothing that the other sources have:
    /// it is told, and asked again before the next installation.
    pub(super) fn fetch(system: &mut dyn System) -> Result<Self> {
        let output = apt::run(system, &apt::apt_get().arg("update"))?;
        let unfetched = complaints(&output.tail(usize::MAX));
        if !unfetched.is_empty() {
            owe_update(system)?;
            let reasons = unfetched.join("; ");
            system.warn(&format!("apt could not fetch the lists of all sources: {reasons}"));
        } else if !output.success() {
            return Err(apt::explain(&output).context("cannot fetch the lists of packages"));
        } else if system.exists(UPDATE_OWED)? {
            system.remove_file(UPDATE_OWED)?;
        }
        Ok(Self { are_fresh: true, unfetched })
    }

    /// The failure of an installation for which a package was unknown: a source that did not
    /// answer may have it.
    pub(super) fn explain(&self, error: Error) -> Error {
        if self.unfetched.is_empty() {
            return error;
        }
        Error::failed("apt could not fetch the lists of all sources")
            .because(self.unfetched.join("\n"))
            .because(error.message)
            .hint("see why the source does not answer; the next apply asks it again")
    }
}

/// The lines in which apt says that it could not fetch or use the lists of a source. It warns of
/// most of them and exits with zero.
fn complaints(said: &str) -> Vec<String> {
    let signs = ["Failed to fetch ", "The repository '", "GPG error: ", "An error occurred during"];
    let lines = said.lines();
    let complaints = lines.filter_map(|line| line.strip_prefix("W: ").or(line.strip_prefix("E: ")));
    let about_sources = complaints.filter(|line| signs.iter().any(|sign| line.starts_with(sign)));
    about_sources.take(MOST_COMPLAINTS).map(str::to_owned).collect()
}

/// Whether apt has lists of packages at all.
pub(super) fn are_there(probe: &dyn Probe) -> Result<bool> {
    let names = probe.list(LISTS)?.unwrap_or_default();
    Ok(names.iter().any(|name| name.ends_with("Release")))
}

/// Whether the lists of packages are fetched before packages are installed, so that there may be
/// newer ones than those that apt knows of now. Where that cannot be told they are.
pub(super) fn are_due(probe: &dyn Probe) -> bool {
    let is_owed = || probe.exists(UPDATE_OWED).unwrap_or(true);
    let are_missing = || !are_there(probe).unwrap_or_default();
    let are_of_today = || {
        let found = probe.query(&Query::apt_lists_of_today());
        found.is_ok_and(|output| !output.text().is_empty())
    };
    is_owed() || are_missing() || !are_of_today()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_about_sources_are_told_from_other_warnings() {
        let said = "Err:1 http://mirror.example.org/debian bookworm InRelease\n\
            W: Target Packages is configured multiple times\n\
            W: Failed to fetch http://mirror.example.org/InRelease  Could not resolve\n\
            W: Some index files failed to download. They have been ignored.\n\
            E: The repository 'http://old.example.org stable Release' does not have a Release file.";
        assert_eq!(
            complaints(said),
            [
                "Failed to fetch http://mirror.example.org/InRelease  Could not resolve",
                "The repository 'http://old.example.org stable Release' does not have a Release file.",
            ]
        );
        assert!(complaints("E: Could not get lock /var/lib/apt/lists/lock").is_empty());
    }
}
