//! `command`: a program to run when its work is not done yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Resource;
use super::account;
use super::argv::{self, Argv};
use super::fields::AbsolutePath;
use super::needs;
use super::patience;
use super::prediction::Prediction;
use super::probe::{Output, Probe};
use super::query::{self, Query};
use super::stamp;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use crate::error::{Error, Kind, Result};
use crate::manifest::ResourceId;
use crate::secret::Secret;

/// A program to run. It must say when its work is done already, by one or more of `creates`,
/// `stamp`, `unless`, `only_if`, `if_exists`, `dry_run` and `when_changed`; it runs only if each of those
/// that are given says that it must.
///
/// The programs in `unless`, `only_if`, `dry_run` and `refuse_if` run in every check, previews included:
/// they must only read. The program and its arguments are a list and meet no shell; for a shell
/// line write `[sh, -c, "…"]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments.
    pub run: Argv,
    /// What it is called in reports; its arguments where none is given.
    #[serde(default)]
    pub name: Option<String>,
    /// The user to run it as; root where none is given.
    #[serde(default)]
    pub user: Option<String>,
    /// The folder to run it in; `/` where none is given.
    #[serde(default)]
    pub cwd: Option<AbsolutePath>,
    /// Variables of its environment. They may hold secrets.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// What it reads from its standard input. It may hold secrets.
    #[serde(default)]
    pub stdin: Option<Secret>,
    /// Ended, and counted as failed, after this many seconds.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// A path that the program makes: there, its work is done.
    #[serde(default)]
    pub creates: Option<AbsolutePath>,
    /// A file that infra writes after the program succeeded, and that depends on `run`, `cwd`,
    /// `stamp_key`, `env` and `stdin`: there and equal, its work is done. Of what `env` and `stdin`
    /// hold it reveals nothing; that a secret in them has changed makes the program run again.
    #[serde(default)]
    pub stamp: Option<AbsolutePath>,
    /// What else the work depends on: a version, for example. A new value makes it run again.
    #[serde(default)]
    pub stamp_key: Option<String>,
    /// A program that succeeds if the work is to be done once more, although `creates` or `stamp`
    /// say that it is done.
    #[serde(default)]
    pub again_if: Option<Argv>,
    /// A program that succeeds if the work is done.
    #[serde(default)]
    pub unless: Option<Argv>,
    /// A program that succeeds if there is work.
    #[serde(default)]
    pub only_if: Option<Argv>,
    /// A path without which there is no work: what `only_if` asks about, for example.
    #[serde(default)]
    pub if_exists: Option<AbsolutePath>,
    /// A program that changes nothing and says what `run` would do.
    #[serde(default)]
    pub dry_run: Option<DryRun>,
    /// Resources after whose change there is work.
    #[serde(default)]
    pub when_changed: Vec<String>,
    /// A program that succeeds if running would do harm, and exits with 1 if not: the resource
    /// fails in the first case, in a preview too. Another exit code says that it could not find
    /// out, which is no permission either.
    #[serde(default)]
    pub refuse_if: Option<Argv>,
    /// The message then; the first line that the program prints is the cause. Without a message that
    /// line is the message.
    #[serde(default)]
    pub refuse_message: Option<String>,
    /// A text that `run` prints when it fails, for a program that exits with 0 all the same.
    #[serde(default)]
    pub failed_if_output: Option<String>,
}

/// A program that says what another would do. It gets the same environment and input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DryRun {
    /// The program and its arguments. Where it fails, there is work: what it asks may not be there
    /// yet.
    pub run: Argv,
    /// A part of what it says when there is nothing to do.
    pub nothing: String,
    /// Whether what it says may be shown although the command holds secrets: it then tells none,
    /// not even old ones. Those that infra knows are masked all the same.
    #[serde(default)]
    pub tells_no_secrets: bool,
}

/// How much of what a dry run says is kept, in characters. Less of it is shown: it is cut once the
/// secrets in it are masked, since nobody finds half a secret.
const MOST_KEPT: usize = 16 * 1024;

/// How much of the reason of `refuse_if` is shown, in characters.
const MOST_SAID: usize = 500;

fn default_timeout() -> u32 {
    query::Command::DEFAULT_TIMEOUT_SECONDS
}

impl Command {
    fn program(&self, argv: &Argv) -> query::Command {
        let mut command =
            query::Command::new(argv.0.iter().cloned()).timeout_seconds(self.timeout_seconds);
        command.user.clone_from(&self.user);
        command.cwd = self.cwd.as_ref().map(ToString::to_string);
        command.env =
            self.env.iter().map(|(name, value)| (name.clone(), value.expose().into())).collect();
        command
    }

    /// Whether a guard succeeds; `None` if it cannot be run yet.
    fn succeeds(&self, argv: &Argv, probe: &dyn Probe) -> Result<Option<bool>> {
        let guard = self.program(argv);
        // A question is short, however long the command itself may take.
        let most = guard.timeout_seconds.min(query::Command::DEFAULT_TIMEOUT_SECONDS);
        match probe.query(&Query::guard(guard.timeout_seconds(most))) {
            Ok(output) => Ok(Some(output.success())),
            Err(error) if error.kind == Kind::ToolMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether every guard that is given says that there is work; `None` if that cannot be known.
    fn has_work(&self, probe: &dyn Probe) -> Result<Option<bool>> {
        let own = ResourceId::new(Self::KIND, &self.identity());
        let mut awaited = self.runs_after_change_of().into_iter();
        // It has run in this very run: the changes that it waited for are dealt with.
        if !self.when_changed.is_empty()
            && (probe.changed(&own) || !awaited.any(|id| probe.changed(&id)))
        {
            return Ok(Some(false));
        }
        if let Some(path) = &self.if_exists
            && !probe.exists(path.as_str())?
        {
            return Ok(Some(false));
        }
        if self.is_noted_as_done(probe)? && !self.is_due_again(probe)? {
            return Ok(Some(false));
        }
        if let Some(argv) = &self.unless
            && self.succeeds(argv, probe)? == Some(true)
        {
            return Ok(Some(false));
        }
        match &self.only_if {
            Some(argv) => self.succeeds(argv, probe),
            None => Ok(Some(true)),
        }
    }

    /// Whether `creates` or `stamp` say that the work is done.
    fn is_noted_as_done(&self, probe: &dyn Probe) -> Result<bool> {
        if let Some(path) = &self.creates
            && probe.exists(path.as_str())?
        {
            return Ok(true);
        }
        let Some(path) = &self.stamp else { return Ok(false) };
        let found = probe.read(path.as_str())?;
        Ok(found.is_some_and(|found| stamp::is_of(&found, &self.stamp_hash(), &self.kept())))
    }

    /// Whether what is noted as done has to be done once more.
    fn is_due_again(&self, probe: &dyn Probe) -> Result<bool> {
        let Some(argv) = &self.again_if else { return Ok(false) };
        // A program that is not there yet cannot say that anything has changed.
        Ok(self.succeeds(argv, probe)? == Some(true))
    }

    /// What there is to do, as the dry run says; `None` if nothing.
    fn foretold(&self, dry_run: &DryRun, probe: &dyn Probe) -> Result<Option<String>> {
        let mut command = self.program(&dry_run.run);
        command.stdin = self.stdin.as_ref().map(|text| text.expose().as_bytes().to_vec());
        let output = match probe.query(&Query::guard(command)) {
            Ok(output) => output,
            Err(error) if error.kind == Kind::ToolMissing => return Ok(Some(String::new())),
            Err(error) => return Err(error),
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.success() {
            return Ok(Some(String::new()));
        }
        let lines: Vec<&str> =
            said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let (mut kept, mut length) = (Vec::new(), 0);
        for line in lines {
            length += line.chars().count();
            if length > MOST_KEPT {
                break;
            }
            kept.push(line);
        }
        Ok((!said.contains(&dry_run.nothing)).then_some(kept.join("; ")))
    }

    /// What it is given, which may be secret.
    fn kept(&self) -> Vec<&str> {
        let env = self.env.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]);
        // An input of its own cannot be taken for a variable.
        env.chain(self.stdin.iter().flat_map(|text| ["", text.expose()])).collect()
    }

    fn stamp_mode(&self) -> u32 {
        // Who knows the salt can try values of a secret that is easy to guess.
        if self.kept().is_empty() { 0o644 } else { 0o600 }
    }

    fn stamp_hash(&self) -> String {
        let mut hash = Sha256::new();
        let cwd = self.cwd.as_ref().map(AbsolutePath::as_str);
        let parts = self.run.0.iter().map(String::as_str);
        for part in parts.chain(cwd).chain(self.stamp_key.as_deref()) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        format!("{:x}", hash.finalize())
    }

    fn refuse(&self, probe: &dyn Probe) -> Result<()> {
        let Some(argv) = &self.refuse_if else { return Ok(()) };
        let program = argv.0.join(" ");
        // A guard against harm that cannot be asked is no permission. What it asks may be brought
        // by the same run, though: then it is asked again before the command runs.
        let is_too_early = probe.is_preview_of_more();
        let output = match probe.query(&Query::guard(self.program(argv))) {
            Ok(output) if output.success() => output,
            Ok(output) if output.status == 1 || is_too_early => return Ok(()),
            Ok(output) => {
                return Err(Error::failed("cannot find out whether running it would do harm")
                    .because(format!("`{program}` exited with {}", output.status))
                    .because(output.tail(5)));
            }
            Err(error) if error.kind == Kind::ToolMissing && is_too_early => return Ok(()),
            Err(error) => return Err(error),
        };
        let text = output.text();
        let said = text.lines().next().map(|line| line.chars().take(MOST_SAID).collect::<String>());
        let said = said.filter(|line| !line.is_empty());
        let because = said.clone().unwrap_or_else(|| format!("`{program}` succeeds"));
        match (&self.refuse_message, said) {
            (Some(message), _) => Err(Error::failed(message.clone()).because(because)),
            (None, Some(said)) => Err(Error::failed(said)),
            (None, None) => Err(Error::failed("running it would do harm").because(because)),
        }
    }

    /// Finds the text by which a program that exits with 0 says that it has failed.
    fn check_output(&self, output: &Output) -> Result<()> {
        let Some(text) = self.failed_if_output.as_deref() else { return Ok(()) };
        let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        if !has(&output.stdout) && !has(&output.stderr) {
            return Ok(());
        }
        let program = self.program(&self.run).display();
        Err(Error::failed(format!("`{program}` failed: its output holds `{text}`"))
            .because(output.tail(20)))
    }
}

impl Resource for Command {
    const KIND: &'static str = "command";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- command:
    name: the schema of flus.fr
    run: [php, cli, migrations, setup, --seed]
    user: www-data
    cwd: /srv/flus.fr/current
    stamp: /srv/flus.fr/shared/.migrated
    stamp_key: v1.2.4
";

    fn needed_paths(&self) -> Vec<String> {
        // Such a command may have nothing to do before its program is there.
        if self.only_if.is_some() || self.unless.is_some() {
            return Vec::new();
        }
        let program = self.run.0.first().filter(|program| program.starts_with('/'));
        program.cloned().into_iter().chain(self.cwd.iter().map(ToString::to_string)).collect()
    }

    fn identity(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.run.0.join(" "))
    }

    fn validate(&self) -> Result<(), String> {
        let is_guarded = self.creates.is_some()
            || self.stamp.is_some()
            || self.unless.is_some()
            || self.only_if.is_some()
            || self.if_exists.is_some()
            || self.dry_run.is_some()
            || !self.when_changed.is_empty();
        if !is_guarded {
            return Err(format!(
                "command `{}` does not say when it is already done: give it `creates`, `stamp`, \
                 `unless`, `only_if`, `if_exists`, `dry_run` or `when_changed`",
                self.identity()
            ));
        }
        match self.when_changed.iter().find(|id| ResourceId::parse(id).is_none()) {
            Some(id) => Err(format!("`{id}` in `when_changed` has not the form `kind:identity`")),
            None => patience::check("timeout_seconds", self.timeout_seconds),
        }?;
        if self.again_if.is_some() && self.creates.is_none() && self.stamp.is_none() {
            return Err("`again_if` is about `creates` or `stamp`, and neither is given".to_owned());
        }
        match self.failed_if_output.as_deref() {
            Some("") => Err("`failed_if_output` is empty".to_owned()),
            _ => Ok(()),
        }
    }

    fn needs(&self) -> Vec<ResourceId> {
        account::named(self.user.as_deref(), [])
    }

    fn desired(&self) -> Option<State> {
        Some(State::new().with("done", true))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let done = match self.has_work(probe)? {
            None if probe.is_preview_of_more() => return Ok(Current::Unknown),
            None => {
                let program = self.only_if.as_ref().and_then(|argv| argv.0.first());
                return Err(Error::tool_missing(program.map_or("", String::as_str)));
            }
            Some(has_work) => !has_work,
        };
        if done {
            return Ok(Current::Present(State::new().with("done", true)));
        }
        if let Some(dry_run) = &self.dry_run {
            match self.foretold(dry_run, probe)? {
                None => return Ok(Current::Present(State::new().with("done", true))),
                // It could not be asked: what it will say then is not known, only that there is work.
                Some(said) if said.is_empty() && probe.is_preview_of_more() => {
                    return Ok(Current::Present(State::new()));
                }
                Some(said) if said.is_empty() => {}
                Some(said) => {
                    self.refuse(probe)?;
                    return Ok(Current::Present(State::new().with("done", said)));
                }
            }
        }
        self.refuse(probe)?;
        Ok(Current::Present(State::new().with("done", done)))
    }

    fn check_obstacles(&self, _: &Change, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() {
            return Ok(());
        }
        let folder = self.stamp.as_ref().and_then(|stamp| stamp.as_str().rsplit_once('/'));
        if let Some((folder, _)) = folder
            && !folder.is_empty()
            && !probe.exists(folder)?
            && !needs::may_come(folder, probe)
        {
            return Err(Error::failed(format!("the folder `{folder}` of `stamp` is not there"))
                .hint(format!("declare `directory: {folder}` before")));
        }
        if let Some(cwd) = &self.cwd
            && !probe.exists(cwd.as_str())?
            && !needs::may_come(cwd.as_str(), probe)
        {
            return Err(Error::failed(format!("the folder `{cwd}` of `cwd` is not there"))
                .hint(format!("declare `directory: {cwd}` before")));
        }
        let has_own_path = self.env.contains_key("PATH");
        match self.run.0.first().filter(|_| !has_own_path) {
            Some(program) if !probe.has_program(program)? && !needs::may_come(program, probe) => {
                Err(Error::tool_missing(program))
            }
            Some(program) => argv::check_executable(program, probe),
            None => Ok(()),
        }
    }

    fn apply(&self, _change: &Change, system: &mut dyn System) -> Result<()> {
        let mut command = self.program(&self.run);
        command.stdin = self.stdin.as_ref().map(|text| text.expose().as_bytes().to_vec());
        self.check_output(&run_checked(system, &command)?)?;
        // The command may have brought that program itself.
        if let Some(argv) = &self.unless
            && self.succeeds(argv, system)?.is_none()
        {
            let program = argv.0.first().map_or("", String::as_str);
            return Err(Error::tool_missing(program).context("`unless` cannot be asked"));
        }
        system.mark_changed(&ResourceId::new(Self::KIND, &self.identity()));
        if let Some(path) = &self.stamp {
            let text = stamp::text(&self.stamp_hash(), &self.kept(), &stamp::salt()?);
            let attributes = Attributes::new("root", "root", self.stamp_mode());
            system.write_file(path.as_str(), text.as_bytes(), &attributes)?;
        }
        Ok(())
    }

    fn predict(&self, _change: &Change, world: &mut Prediction<'_>) {
        if let Some(path) = &self.creates {
            world.made(path.as_str());
        }
        if let Some(path) = &self.stamp {
            let text = stamp::text(&self.stamp_hash(), &self.kept(), &stamp::Salt::default());
            world.file(path.as_str(), text.as_bytes(), "root", "root", self.stamp_mode());
        }
        let id = ResourceId::new(Self::KIND, &self.identity());
        world.brings_more(&id);
        let creates = self.creates.iter().map(ToString::to_string);
        world.command(id, self.run.0.iter().skip(1).cloned().chain(creates));
    }

    fn runs_after_change_of(&self) -> Vec<ResourceId> {
        self.when_changed.iter().filter_map(|id| ResourceId::parse(id)).collect()
    }
}
