//! `file`: a regular file with its content, owner, group and mode.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::account;
use super::argv::Argv;
use super::bonds::Touch;
use super::content::Content;
use super::effect;
use super::fields::{AbsolutePath, Mode, Presence, root};
use super::names::Names;
use super::needs;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use super::systemd;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// A regular file with its content, owner, group and mode. Its folder has to be there.
///
/// It is switched atomically: nobody ever sees half of it. A symlink at the path is replaced by
/// the file; a folder there is an error.
///
/// A file of `/etc/ssh/sshd_config.d`, `/etc/sysctl.d` or of the sources of apt is an error while another
/// file wins or its reader refuses it; see docs/state.md. cron has to take each line of a file of
/// `/etc/cron.d` and of `/etc/crontab`, and `visudo -c` a file of `/etc/sudoers.d`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it is.
    pub path: AbsolutePath,
    /// What it holds. Exactly one of `content`, `source` and `template` is given.
    #[serde(default)]
    pub content: Option<Content>,
    /// A file of the role's folder `files/` to copy byte by byte.
    #[serde(default)]
    pub source: Option<String>,
    /// A template of the role's folder `templates/`, or of the project's, to render.
    #[serde(default)]
    pub template: Option<String>,
    /// The user it belongs to.
    #[serde(default = "root")]
    pub owner: String,
    /// The group it belongs to.
    #[serde(default = "root")]
    pub group: String,
    /// Permission bits.
    #[serde(default = "default_mode")]
    pub mode: Mode,
    /// A command that says whether the content is right before it is put in place, such as
    /// `visudo -cf %s`; `%s` stands for the path of a copy that only root can read.
    #[serde(default)]
    pub validate: Option<Argv>,
    /// Writes the content only where there is no file yet; later only owner, group and mode are
    /// held.
    #[serde(default)]
    pub create_only: bool,
    /// A file on the server with this content, whose access list and extended attributes it is to have
    /// as well. Only what was there before infra comes back so.
    #[serde(skip)]
    #[cfg_attr(feature = "cli", schemars(skip))]
    pub copy_of: Option<String>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// In memory, and of root alone: the copy may hold secrets.
const VALIDATION_FOLDER: &str = "/run/infra";

const PLACEHOLDER: &str = "%s";

fn default_mode() -> Mode {
    Mode(0o644)
}

impl File {
    fn bytes(&self) -> Result<&[u8]> {
        self.content.as_ref().map(Content::as_bytes).ok_or_else(|| {
            Error::input(format!("the content of `{}` was not put into the manifest", self.path))
        })
    }

    /// A file that should not be there.
    pub fn absent(path: AbsolutePath) -> Self {
        Self {
            path,
            content: None,
            source: None,
            template: None,
            owner: root(),
            group: root(),
            mode: default_mode(),
            validate: None,
            create_only: false,
            copy_of: None,
            state: Presence::Absent,
        }
    }

    /// The content, as far as it is known.
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_ref().map(Content::as_bytes)
    }

    /// Looks whether the content counts beside other files that its reader reads; `found` is what
    /// is there.
    fn check_effect(&self, found: Option<&[u8]>, probe: &dyn Probe) -> Result<()> {
        let wanted = self.content.as_ref().filter(|_| !self.create_only && !self.state.is_absent());
        let Some(wanted) = wanted.map(Content::as_bytes) else { return Ok(()) };
        effect::check_file(self.path.as_str(), wanted, found == Some(wanted), probe)
    }

    /// Asks the user's command about a copy of the content.
    fn check_content(&self, system: &mut dyn System) -> Result<()> {
        let Some(Argv(argv)) = &self.validate else { return Ok(()) };
        let name = self.path.as_str().rsplit('/').next().unwrap_or_default();
        let copy = format!("{VALIDATION_FOLDER}/{name}");
        system.make_directory(VALIDATION_FOLDER, &Attributes::new("root", "root", 0o700))?;
        system.write_file(&copy, self.bytes()?, &Attributes::new("root", "root", 0o600))?;
        let command = Command::new(argv.iter().map(|arg| arg.replace(PLACEHOLDER, &copy)));
        let result = system.run(&command);
        system.remove_file(&copy)?;
        let output = result?;
        if output.success() {
            return Ok(());
        }
        Err(Error::failed(format!("`{}` refuses the content of `{}`", argv.join(" "), self.path))
            .because(output.tail(20)))
    }
}

impl Resource for File {
    const KIND: &'static str = "file";
    const PRIMARY: Option<&'static str> = Some("path");
    const EXAMPLE: &'static str = "\
- file: { path: /etc/nginx/nginx.conf, template: nginx.conf.j2 }
- file: { path: /usr/local/bin/backup, source: backup.sh, mode: \"0755\" }
- file:
    path: /etc/sudoers.d/deploy
    content: |
      deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload nginx
    mode: \"0440\"
    validate: visudo -cf %s
- file: { path: /etc/nginx/sites-enabled/default, state: absent }
";

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        let given = [
            ("content", self.content.is_some()),
            ("source", self.source.is_some()),
            ("template", self.template.is_some()),
        ];
        let given: Vec<&str> =
            given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match given.as_slice() {
            [] if self.state.is_absent() => {}
            [] => return Err("one of `content`, `source` and `template` is missing".to_owned()),
            [_] => {}
            [one, other, ..] => return Err(format!("`{one}` and `{other}` exclude each other")),
        }
        if !self.state.is_absent() {
            let content = self.content.as_ref().map(Content::as_bytes);
            effect::check_spec(self.path.as_str(), &self.owner, self.mode.0, content)?;
        }
        match &self.validate {
            Some(Argv(argv)) if !argv.iter().any(|arg| arg.contains(PLACEHOLDER)) => {
                Err("`validate` does not say `%s`, the path of what it is to check".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        let program = self.validate.as_ref().and_then(|argv| argv.0.first());
        if let Some(program) = program.filter(|_| change.sets("content"))
            && !probe.is_preview_of_more()
            && !probe.has_program(program)?
            && !needs::may_come(program, probe)
        {
            return Err(Error::tool_missing(program).context("`validate` cannot be asked"));
        }
        let content = self.content().filter(|_| change.sets("content"));
        let Some(text) = content.and_then(|content| str::from_utf8(content).ok()) else {
            return Ok(());
        };
        systemd::check_file(self.path.as_str(), text, probe)
    }

    fn needs(&self) -> Vec<ResourceId> {
        let text = String::from_utf8_lossy(self.content().unwrap_or_default());
        let users = effect::users(self.path.as_str(), &text).into_iter();
        account::named(users.chain([self.owner.as_str()]), [self.group.as_str()])
    }

    fn desired(&self) -> Option<State> {
        if self.state.is_absent() {
            return None;
        }
        let content = self.content.as_ref().map(|content| content.as_bytes().to_vec());
        Some(
            State::new()
                .with_some("content", content.map(Value::Content))
                .with("owner", self.owner.as_str())
                .with("group", self.group.as_str())
                .with("mode", self.mode.to_string()),
        )
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some(stat) = probe.stat(self.path.as_str())? else {
            self.check_effect(None, probe)?;
            return Ok(Current::Absent);
        };
        match stat.kind {
            FileKind::File => {}
            // Its owner and mode say nothing about a file, so all of it will be new.
            FileKind::Symlink => {
                return Ok(Current::Present(State::new().with("content", "a symlink")));
            }
            FileKind::Directory | FileKind::Other => {
                return Err(Error::failed(format!(
                    "`{}` is a {}, not a file",
                    self.path,
                    stat.kind.noun()
                )));
            }
        }
        let content = match &self.content {
            Some(wanted) if self.create_only => Some(wanted.as_bytes().to_vec()),
            Some(_) => probe.read(self.path.as_str())?,
            None => None,
        };
        self.check_effect(content.as_deref(), probe)?;
        Ok(Current::Present(
            State::new()
                .with_some("content", content.map(Value::Content))
                .with("owner", account::owner(&self.owner, stat.owner, probe)?)
                .with("group", account::group(&self.group, stat.group, probe)?)
                .with("mode", Mode(stat.mode).to_string()),
        ))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        let attributes = Attributes::new(&self.owner, &self.group, self.mode.0);
        if change.is_remove() {
            return system.remove_file(path);
        }
        // A former owner may have the file open for writing, and others may have moved a file of
        // root's here: both get another file.
        let is_made_anew = change.sets("content")
            || !self.create_only && (change.sets("owner") || system.can_others_change(path)?);
        if is_made_anew {
            self.check_content(system)?;
            let write = |system: &mut dyn System| match &self.copy_of {
                Some(kept) => system.copy_whole(kept, path, &attributes).map(drop),
                None => system.write_file(path, self.bytes()?, &attributes),
            };
            return effect::keep_if_accepted(&self.switches(), system, write);
        }
        system.set_attributes(path, &attributes)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let path = self.path.as_str();
        if change.is_remove() {
            return world.removed(path);
        }
        let content = match (&self.content, change.sets("content")) {
            (Some(content), true) => content.as_bytes().to_vec(),
            _ => world.read(path).ok().flatten().unwrap_or_default(),
        };
        world.file(path, &content, &self.owner, &self.group, self.mode.0);
        systemd::predict_file(path, world);
    }

    /// What is left to others after it was written is not its own.
    fn replaces(&self) -> Vec<String> {
        if self.create_only { Vec::new() } else { self.switches() }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // What was written once and then left to others is data of theirs.
        let absent = Self {
            content: None,
            source: None,
            template: None,
            validate: None,
            create_only: false,
            copy_of: None,
            state: Presence::Absent,
            ..self.clone()
        };
        Some(if self.create_only {
            Dropped::stays_unless_allowed(absent, "others may have written to it")
        } else {
            Dropped::goes(absent)
        })
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let path = self.path.to_string();
        let touch = match change {
            Change::Remove => Touch::Gone,
            _ if change.sets("content") => Touch::Replaced,
            // A new owner gets a new file.
            _ if change.sets("owner") && !self.create_only => Touch::Replaced,
            _ => Touch::Set,
        };
        Ok(vec![(path, touch)])
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
    }
}
