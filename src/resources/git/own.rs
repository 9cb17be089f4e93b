//! Changes and commits that somebody made in a clone, and would lose when the clone is moved or removed.

use super::Git;
use crate::error::{Error, Result};
use crate::resources::probe::Probe;

/// Lists the changes of each submodule, and those of which the last commit is on no branch of its remote.
const OWN_CHANGES: &str = r#"git status --porcelain --untracked-files=no --ignore-submodules=all |
while read -r change; do echo "$displaypath: $change"; done
case $(git log --walk-reflogs -1 --format=%gs HEAD 2>/dev/null) in
commit* | cherry-pick* | merge* | rebase* | revert*)
    test -z "$(git rev-list -1 HEAD --not --branches --remotes --tags 2>/dev/null)" ||
        echo "$displaypath: commits" ;;
esac"#;

impl Git {
    /// The changes in submodules that a move would throw away, one on a line; none without submodules.
    pub(super) fn changes_in_submodules(&self, probe: &dyn Probe) -> Result<String> {
        if !self.submodules || !probe.exists(&format!("{}/.gitmodules", self.path))? {
            return Ok(String::new());
        }
        let foreach = ["submodule", "--quiet", "foreach", "--recursive", OWN_CHANGES];
        Ok(self.ask(probe, &foreach)?.text())
    }

    /// Refuses to move away from commits that somebody made in this clone and that are on no branch of the
    /// remote, nor under a tag: git would soon forget them. A commit that the remote has taken back is none.
    pub(super) fn check_commits(&self, probe: &dyn Probe) -> Result<()> {
        let last = self.ask(probe, &["log", "--walk-reflogs", "-1", "--format=%gs", "HEAD"])?;
        if !is_own_commit(&last.text()) {
            return Ok(());
        }
        let others = ["rev-list", "-1", "HEAD", "--not", "--branches", "--remotes", "--tags"];
        let commit = self.ask(probe, &others)?.text();
        let Some(short) = commit.trim().get(..12) else { return Ok(()) };
        Err(Error::failed(format!("`{}` has commits of its own", self.path))
            .because(format!("no branch and no tag has the commit {short}"))
            .hint("push it or give it a branch, or throw it away with `force: true`"))
    }

    /// Refuses to remove a folder that is no clone, or of which something is nowhere else.
    pub(super) fn check_removal(&self, probe: &dyn Probe) -> Result<()> {
        let path = self.path.as_str();
        let Some(stat) = probe.stat(path)? else { return Ok(()) };
        if probe.stat(&format!("{path}/.git"))?.is_none() {
            return Err(Error::failed(format!("`{path}` is not a work tree of git"))
                .hint("remove it by hand if nothing in it is needed"));
        }
        // The owner need not be said of what goes.
        let owned = Self { user: stat.owner, ..self.clone() };
        owned.check_ground(probe)?;
        let changes = probe.query(&owned.status())?.text();
        if !changes.is_empty() {
            return Err(error(path, &changes));
        }
        owned.check_commits(probe)
    }
}

/// Whether the last thing that HEAD was moved by is a commit that somebody made, as the log of references
/// calls it.
fn is_own_commit(entry: &str) -> bool {
    let made = ["am", "cherry-pick", "commit", "merge", "pull", "rebase", "revert"];
    made.iter()
        .any(|word| entry.strip_prefix(word).is_some_and(|rest| rest.starts_with([':', ' ', '('])))
}

/// The refusal of `changes` in the work tree at `path`.
pub(super) fn error(path: &str, changes: &str) -> Error {
    Error::failed(format!("`{path}` has changes of its own"))
        .because(changes)
        .hint("save them, or throw them away with `force: true`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_commits_from_other_moves() {
        for (entry, is_own) in [
            ("commit: fix", true),
            ("commit (amend): fix", true),
            ("pull: Fast-forward", true),
            ("rebase (finish): returning to refs/heads/main", true),
            ("checkout: moving from main to 1a4d7af", false),
            ("clone: from https://example.org/x", false),
            ("committed", false),
            ("", false),
        ] {
            assert_eq!(is_own_commit(entry), is_own, "{entry}");
        }
    }
}
