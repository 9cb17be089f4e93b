//! `git`: a work tree at one commit of a repository.

mod mirror;
mod own;
mod reference;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::account;
use super::fields::{AbsolutePath, Presence, is_one_line, root, yes};
use super::ground;
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Output, Probe};
use super::query::{Command, Query};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use super::{Resource, url};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;
use crate::secret::Secret;

/// A work tree of a git repository, at a tag, a commit or the newest commit of a branch, its
/// submodules included.
///
/// It is cloned beside its place and renamed when it is complete. A tag or commit is not looked
/// up again once it is checked out; a branch is asked of the remote in every check. Where a tag and
/// a branch have the same name, the tag is meant. Files that were changed on the server, submodules
/// included, are reported, and thrown away only with `force`; so are commits that no branch and no tag
/// has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// Where the work tree is.
    pub path: AbsolutePath,
    /// Where it comes from.
    pub repository: String,
    /// A tag, a branch or a commit (at least seven digits), looked for in this order. To name a
    /// branch that has the name of a tag, write `refs/heads/NAME`; `refs/tags/NAME` is a tag only.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The user who owns the work tree; git runs as this user.
    #[serde(default = "root")]
    pub user: String,
    /// Whether submodules are checked out.
    #[serde(default = "yes")]
    pub submodules: bool,
    /// `user:password` for a repository over https. It reaches git through its environment. Where
    /// the work tree belongs to another user than root, root fetches, and this user's git, which
    /// the user can look into, gets what was fetched; submodules are then fetched without it.
    #[serde(default)]
    pub credential: Option<Secret>,
    /// Folders in the work tree that belong to something else: changes in them do not count.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Throws away what was changed or committed in the work tree.
    #[serde(default)]
    pub force: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// A clone of a large repository over a slow line takes its time.
const TIMEOUT_SECONDS: u32 = 1800;

/// A check: its git runs as the work tree's user, whose own settings may let it wait.
const QUESTION_SECONDS: u32 = 120;

/// Without it git fetches the submodules of what it fetches, from where they were before.
const OWN_LEVEL: &str = "fetch.recurseSubmodules=false";

/// Brings the submodules of a submodule to where it wants them.
const NEXT_LEVEL: &str = "git submodule --quiet sync && git submodule --quiet update --init";

const UP_TO_DATE: &str = "up to date";

/// The schemes of repositories on other servers (git-clone(1)).
const OF_SERVERS: [&str; 6] = ["ftp", "ftps", "git", "http", "https", "ssh"];

impl Git {
    fn command(&self, folder: &str, arguments: &[&str]) -> Command {
        let arguments = ["git", "-C", folder].into_iter().chain(arguments.iter().copied());
        Command::new(arguments)
            .user(self.user.clone())
            .env("GIT_TERMINAL_PROMPT", "0")
            .timeout_seconds(TIMEOUT_SECONDS)
    }

    /// A command that asks the remote. With a credential, only root's git may run it.
    fn remote(&self, folder: &str, arguments: &[&str]) -> Command {
        let command = self.command(folder, arguments);
        let (Some(credential), Some(origin)) = (&self.credential, self.origin()) else {
            return command;
        };
        let command = command.user("root");
        let basic = base64::engine::general_purpose::STANDARD.encode(credential.expose());
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", format!("http.{origin}/.extraHeader"))
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"))
    }

    /// `https://host` of the repository: who is asked with the credential. Submodules may be
    /// elsewhere.
    fn origin(&self) -> Option<String> {
        let rest = self.repository.strip_prefix("https://")?;
        let authority = rest.split('/').next()?;
        let host = authority.rsplit('@').next()?;
        Some(format!("https://{host}"))
    }

    /// The command that lists what was changed in the work tree. Submodules are looked at on
    /// their own: one that was not moved yet is no change of the user's.
    fn status(&self) -> Query {
        let status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"];
        let mut command = self.command(self.path.as_str(), &status);
        command.argv.extend(["--".to_owned(), ".".to_owned()]);
        command.argv.extend(self.exclude.iter().map(|path| format!(":(exclude){path}")));
        Query::git(command.timeout_seconds(QUESTION_SECONDS))
    }

    fn ask(&self, probe: &dyn Probe, arguments: &[&str]) -> Result<Output> {
        let command = self.command(self.path.as_str(), arguments);
        probe.query(&Query::git(command.timeout_seconds(QUESTION_SECONDS)))
    }

    /// What the work tree is at, in the words of the spec where they fit.
    fn at(&self, probe: &dyn Probe) -> Result<String> {
        let known = self.known(self.path.as_str(), probe)?;
        let Some(head) = &known.head else { return Ok("nothing".to_owned()) };
        let is_there = self.wanted(&known, probe)?.as_ref() == Some(head);
        let short = head.get(..12).unwrap_or(head);
        Ok(if is_there { self.reference.as_str() } else { short }.to_owned())
    }

    /// Whether the submodules are where the work tree wants them. A checkout does not move them.
    fn submodules(&self, probe: &dyn Probe) -> Result<&'static str> {
        if !probe.exists(&format!("{}/.gitmodules", self.path))? {
            return Ok(UP_TO_DATE);
        }
        let status = self.ask(probe, &["submodule", "status", "--recursive"])?;
        let is_right = status.success()
            && String::from_utf8_lossy(&status.stdout).lines().all(|line| line.starts_with(' '));
        Ok(if is_right { UP_TO_DATE } else { "outdated" })
    }

    /// Refuses a work tree of somebody else, in which git would refuse to work.
    fn check_owner(&self, owner: &str) -> Result<()> {
        if owner == self.user {
            return Ok(());
        }
        let message = format!("`{}` belongs to `{owner}`, not to `{}`", self.path, self.user);
        Err(Error::failed(message)
            .hint(format!("say `user: {owner}`, or move the folder away and apply again")))
    }

    /// Refuses to run git as root where others could swap its settings and hooks for theirs: in a
    /// folder above, in the work tree itself, or in its `.git`.
    fn check_ground(&self, probe: &dyn Probe) -> Result<()> {
        if self.user != "root" {
            return Ok(());
        }
        let settings = format!("{}/.git/config", self.path);
        let hint = "name the owner of the work tree with `user`";
        ground::check(&settings, "git would run as root", hint, probe)
    }

    fn check_out(&self, folder: &str, system: &mut dyn System) -> Result<()> {
        let Some(commit) = self.known_now(folder, system)?.target() else {
            return Err(self.unknown_reference());
        };
        let force: &[&str] = if self.force { &["--force"] } else { &[] };
        let arguments = [&["checkout", "--quiet", "--detach"], force, &[&commit]].concat();
        run_checked(system, &self.command(folder, &arguments))?;
        if self.submodules {
            let git = if self.is_fetched_by_root() { Self::command } else { Self::remote };
            // Level by level: the addresses of the next one are in what was just checked out.
            for arguments in
                [&["sync"][..], &["update", "--init"], &["foreach", "--recursive", NEXT_LEVEL]]
            {
                let submodule = ["-c", OWN_LEVEL, "submodule", "--quiet"];
                run_checked(system, &git(self, folder, &[&submodule, arguments].concat()))?;
            }
        }
        Ok(())
    }

    fn clone_repository(&self, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let temporary = format!("{parent}/.infra-{name}");
        system.remove_tree(&temporary)?;
        let group = system.user(&self.user)?.map(|user| user.group);
        let group =
            group.ok_or_else(|| Error::failed(format!("there is no user `{}`", self.user)))?;
        system.make_directory(&temporary, &Attributes::new(&self.user, &group, 0o755))?;
        let cloned = self.clone_into(&temporary, &group, system);
        // The rest of a failed clone takes room for ever: nothing names that folder again once
        // another `ref` is wanted.
        let removed = if cloned.is_err() { system.remove_tree(&temporary) } else { Ok(()) };
        cloned?;
        removed?;
        system.rename(&temporary, path)
    }

    fn clone_into(&self, temporary: &str, group: &str, system: &mut dyn System) -> Result<()> {
        let clone = |from: &str, command: fn(&Self, &str, &[&str]) -> Command| {
            command(self, temporary, &["clone", "--quiet", "--no-checkout", "--", from, "."])
        };
        if self.is_fetched_by_root() {
            let bundle = self.fetch_as_root(group, system)?;
            let cloned = run_checked(system, &clone(&bundle, Self::command));
            system.remove_file(&bundle)?;
            cloned?;
            self.set_url(temporary, system)?;
        } else {
            run_checked(system, &clone(&self.repository, Self::remote))?;
        }
        self.check_out(temporary, system)
    }

    fn update(&self, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        self.set_url(path, system)?;
        let fetch = ["fetch", "--quiet", "--tags", "--force", "--prune", "--no-recurse-submodules"];
        if self.is_fetched_by_root() {
            let group = system.user(&self.user)?.map(|user| user.group).unwrap_or_default();
            let bundle = self.fetch_as_root(&group, system)?;
            let from = [&bundle, "+refs/heads/*:refs/remotes/origin/*"];
            let fetched = run_checked(system, &self.command(path, &[&fetch[..], &from].concat()));
            system.remove_file(&bundle)?;
            fetched?;
        } else {
            run_checked(system, &self.remote(path, &[&fetch[..], &["origin"]].concat()))?;
        }
        self.check_out(path, system)
    }

    /// Sets the address that the work tree at `path` is fetched from.
    fn set_url(&self, path: &str, system: &mut dyn System) -> Result<()> {
        let set_url = ["remote", "set-url", "origin", "--", &self.repository];
        run_checked(system, &self.command(path, &set_url)).map(drop)
    }

    /// Whether root fetches for another user.
    fn is_fetched_by_root(&self) -> bool {
        self.credential.is_some() && self.user != "root"
    }
}

impl Resource for Git {
    const KIND: &'static str = "git";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- git:
    path: /srv/flus.fr/releases/c6007fa
    repository: https://github.com/flusio/flus.fr.git
    ref: c6007fa
";

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        let wrong = |text: &str| text.is_empty() || text.starts_with('-') || !is_one_line(text);
        if wrong(&self.reference) || wrong(&self.repository) {
            return Err("`ref` and `repository` may not be empty or begin with `-`".to_owned());
        }
        if self.credential.is_some() && self.origin().is_none() {
            return Err("a `credential` is only for a `repository` over https".to_owned());
        }
        if self.state.is_absent() {
            return Ok(());
        }
        url::check_server(&self.repository, &OF_SERVERS)
    }

    fn takes_folder(&self, _: &dyn Probe) -> Result<Option<String>> {
        Ok((self.state.is_absent()).then(|| self.path.to_string()))
    }

    fn needs(&self) -> Vec<ResourceId> {
        let mut needed = account::named([self.user.as_str()], []);
        needed.push(ResourceId::new("package", "git"));
        needed
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("repository", self.repository.as_str())
                .with("ref", self.reference.as_str())
                .with_some("submodules", self.submodules.then_some(UP_TO_DATE))
                .with("work tree", "clean")
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let path = self.path.as_str();
        if !self.state.is_absent() {
            self.check_ground(probe)?;
        }
        let Some(stat) = probe.stat(path)? else { return Ok(Current::Absent) };
        if stat.kind != FileKind::Directory {
            let message = format!("`{path}` is a {}, not a work tree", stat.kind.noun());
            return Err(Error::failed(message));
        }
        if self.state.is_absent() {
            return Ok(Current::Present(State::new()));
        }
        if probe.stat(&format!("{path}/.git"))?.is_none() {
            return Err(Error::failed(format!("`{path}` is not a work tree of git"))
                .hint("move the folder away, and apply again"));
        }
        self.check_owner(&stat.owner)?;
        let url = self.ask(probe, &["config", "--get", "remote.origin.url"])?.text();
        let status = probe.query(&self.status())?.text();
        let of_submodules = self.changes_in_submodules(probe)?;
        let changes = [status.as_str(), of_submodules.as_str()].join("\n").trim().to_owned();
        if !changes.is_empty() && !self.force {
            return Err(own::error(path, &changes));
        }
        let at = self.at(probe)?;
        if at != self.reference && !self.force {
            self.check_commits(probe)?;
        }
        let submodules = if self.submodules { Some(self.submodules(probe)?) } else { None };
        Ok(Current::Present(
            State::new()
                .with("repository", url)
                .with("ref", at)
                .with_some("submodules", submodules)
                .with("work tree", if changes.is_empty() { "clean" } else { "changed" }),
        ))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        match change {
            Change::Remove if self.force => Ok(()),
            Change::Remove => self.check_removal(probe),
            Change::Create(_) => self.check_reference(probe),
            Change::Update(_) if change.sets("ref") => self.check_reference(probe),
            Change::Update(_) => Ok(()),
        }
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        Ok(State::new().with_some("ref", self.known(self.path.as_str(), probe)?.head))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        match change {
            Change::Create(_) => {
                self.check_ground(system)?;
                self.clone_repository(system)
            }
            Change::Update(_) => {
                self.check_ground(system)?;
                self.update(system)
            }
            Change::Remove => {
                system.remove_tree(&self.mirror())?;
                system.remove_tree(self.path.as_str())
            }
        }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(self.path.as_str());
        } else {
            world.directory(self.path.as_str(), &self.user, &self.user, 0o755);
            world.brings_more(&ResourceId::new(Self::KIND, &self.identity()));
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // Allowing the loss of data means these as well.
        let absent =
            Self { credential: None, force: true, state: Presence::Absent, ..self.clone() };
        Some(Dropped::stays_unless_allowed(absent, "it may hold data beside what was cloned"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_for_the_host_of_the_repository_alone() {
        let git = |repository: &str| -> Git {
            let fields = serde_json::json!({
                "path": "/srv/x", "repository": repository, "ref": "main",
                "credential": "me:hunter2",
            });
            serde_json::from_value(fields).unwrap()
        };
        for (repository, key) in [
            ("https://flus.fr/a/b.git", "http.https://flus.fr/.extraHeader"),
            ("https://me@flus.fr:8443/b", "http.https://flus.fr:8443/.extraHeader"),
        ] {
            let command = git(repository).remote("/srv/x", &["fetch"]);
            let keys: Vec<&str> = command
                .env
                .iter()
                .filter(|(name, _)| name.starts_with("GIT_CONFIG_KEY"))
                .map(|(_, value)| value.as_str())
                .collect();
            assert_eq!(keys, [key]);
        }
    }
}
