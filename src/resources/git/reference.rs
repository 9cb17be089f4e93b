//! Which commit a `ref` names. The name is read in one way, in every check and in every apply: as a
//! tag, else as a branch of the remote, else as a commit.

use super::Git;
use crate::error::{Error, Kind, Result};
use crate::manifest::ResourceId;
use crate::resources::probe::{Output, Probe};
use crate::resources::query::{Command, Query};
use crate::resources::system::System;

/// The knowledge of a clone about a `ref`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The commit that is checked out.
    pub(super) head: Option<String>,
    tag: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
}

const TAGS: &str = "refs/tags/";
const HEADS: &str = "refs/heads/";

impl Known {
    /// The commit that a clone which has just fetched takes.
    pub(super) fn target(self) -> Option<String> {
        self.tag.or(self.branch).or(self.commit)
    }
}

/// Kinds of which no change lets a remote answer that did not before.
const BESIDE: [&str; 8] = [
    "cron",
    "group",
    "locale",
    "postgresql_database",
    "postgresql_extension",
    "postgresql_role",
    "stamp",
    "timezone",
];

impl Git {
    /// The one question to a clone: each program takes longer than all the files of a role.
    fn question(&self, folder: &str) -> Command {
        let names = match self.written_out() {
            Some((TAGS, name)) => format!("{TAGS}{name}^{{commit}}\n\n\n"),
            Some((_, name)) => format!("\nrefs/remotes/origin/{name}^{{commit}}\n\n"),
            None => {
                let name = &self.reference;
                let commit = if is_commit(name) { name.as_str() } else { "" };
                format!(
                    "{TAGS}{name}^{{commit}}\nrefs/remotes/origin/{name}^{{commit}}\n\
                     {commit}^{{commit}}\n"
                )
            }
        };
        self.command(folder, &["cat-file", "--batch-check=%(objectname)"])
            .stdin(format!("HEAD\n{names}"))
    }

    /// The two kinds of names that may be written out in full, where only one of them is meant.
    fn written_out(&self) -> Option<(&'static str, &str)> {
        [TAGS, HEADS].into_iter().find_map(|kind| Some((kind, self.reference.strip_prefix(kind)?)))
    }

    /// The knowledge of the clone in `folder`, asked in a check.
    pub(super) fn known(&self, folder: &str, probe: &dyn Probe) -> Result<Known> {
        let question = self.question(folder).timeout_seconds(super::QUESTION_SECONDS);
        Ok(read(&probe.query(&Query::git(question))?))
    }

    /// The knowledge of the clone in `folder` after it was changed.
    pub(super) fn known_now(&self, folder: &str, system: &mut dyn System) -> Result<Known> {
        Ok(read(&system.run(&self.question(folder))?))
    }

    /// The commit that the work tree is to be at, as far as it is known; `None` if it is none that
    /// the clone has. A tag or a commit is not looked up again once the clone has it.
    pub(super) fn wanted(&self, known: &Known, probe: &dyn Probe) -> Result<Option<String>> {
        if let Some(tag) = &known.tag {
            return Ok(Some(tag.clone()));
        }
        let may_be_commit = is_commit(&self.reference) && known.branch.is_none();
        if may_be_commit && known.commit.is_some() {
            return Ok(known.commit.clone());
        }
        let at_remote = self.at_remote(probe)?;
        Ok(at_remote.or_else(|| known.commit.clone()))
    }

    /// Refuses a tag or branch that the remote says it does not have, and a remote that does not answer. Before
    /// its key is there, or whatever else an earlier resource brings, the apply tells.
    pub(super) fn check_reference(&self, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() {
            return Ok(());
        }
        let plays_no_part = |id: &&ResourceId| BESIDE.contains(&id.kind());
        match self.at_remote(probe) {
            Ok(None) if !is_commit(&self.reference) => Err(self.unknown_reference()),
            // A path that is not whole is asked for in another folder than the clone's.
            Err(_) if self.repository.starts_with('.') => Ok(()),
            Err(error)
                if error.kind != Kind::ToolMissing
                    && probe.changed_before().iter().all(plays_no_part) =>
            {
                Err(error.hint("correct its address, or see whether this server may read it"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unknown_reference(&self) -> Error {
        Error::failed(format!("`{}` is not in `{}`", self.reference, self.repository))
            .hint("a tag, a commit of at least seven digits or a branch is needed")
    }

    /// The commit of the tag or branch at the remote.
    fn at_remote(&self, probe: &dyn Probe) -> Result<Option<String>> {
        // Root's git has nothing to read in a work tree of another user.
        let is_there = !self.is_fetched_by_root() && probe.exists(self.path.as_str())?;
        let folder = if is_there { self.path.as_str() } else { "/" };
        let name = self.written_out().map_or(self.reference.as_str(), |(_, name)| name);
        let (tag, branch) = (format!("{TAGS}{name}"), format!("{HEADS}{name}"));
        let peeled = format!("{tag}^{{}}");
        // The commit of an annotated tag counts, not the tag itself.
        let mut names = vec![&*peeled, &*tag, &*branch];
        match self.written_out() {
            Some((TAGS, _)) => names.truncate(2),
            Some(_) => names = vec![&*branch],
            None => {}
        }
        let question = [&["ls-remote", "--", &self.repository], &names[..]].concat();
        let question = self.remote(folder, &question).timeout_seconds(super::QUESTION_SECONDS);
        let remote = probe.query(&Query::git(question))?;
        if !remote.success() {
            return Err(Error::failed(format!("`{}` does not answer", self.repository))
                .because(remote.tail(5)));
        }
        let text = remote.text();
        let of = |wanted: &&str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(_, name)| name == wanted).map(|(commit, _)| commit.to_owned())
        };
        Ok(names.iter().find_map(of))
    }
}

fn read(answer: &Output) -> Known {
    let text = answer.text();
    let mut lines = text.lines().map(|line| {
        // Everything else says that there is no such name.
        (line.len() >= 40 && is_commit(line)).then(|| line.to_owned())
    });
    let mut next = || lines.next().flatten();
    Known { head: next(), tag: next(), branch: next(), commit: next() }
}

/// Whether a name may be that of a commit.
pub(super) fn is_commit(reference: &str) -> bool {
    (7..=64).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}
