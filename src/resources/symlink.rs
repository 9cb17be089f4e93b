//! `symlink`: a symbolic link and where it points.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::effect;
use super::fields::{AbsolutePath, Presence};
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::System;
use super::systemd;
use crate::error::{Error, Result};

/// A symbolic link. It switches atomically: there is no moment without it.
///
/// A file or a folder in its place is an error, unless `force` says that a file, or an empty
/// folder, may go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Symlink {
    /// Where the link is.
    pub path: AbsolutePath,
    /// Where it points, as written into the link: a relative target counts from its folder.
    #[serde(default)]
    pub target: Option<String>,
    /// Lets it replace a file or an empty folder.
    #[serde(default)]
    pub force: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

impl Resource for Symlink {
    const KIND: &'static str = "symlink";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- symlink: { path: /etc/nginx/sites-enabled/flus.fr, target: ../sites-available/flus.fr }
- symlink: { path: /etc/nginx/sites-enabled/default, state: absent }
";

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        match (&self.target, self.state) {
            (None, Presence::Present) => Err("a symlink needs a `target`".to_owned()),
            (Some(target), _) if target.is_empty() => Err("`target` is empty".to_owned()),
            _ => Ok(()),
        }
    }

    fn desired(&self) -> Option<State> {
        let target = self.target.as_deref().filter(|_| !self.state.is_absent())?;
        Some(State::new().with("target", target))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let path = self.path.as_str();
        match probe.stat(path)?.map(|stat| stat.kind) {
            None => Ok(Current::Absent),
            Some(FileKind::Symlink) => {
                let target = probe.read_link(path)?.unwrap_or_default();
                Ok(Current::Present(State::new().with("target", target)))
            }
            // Something else there is not the link that should go.
            Some(_) if self.state.is_absent() => Ok(Current::Absent),
            Some(FileKind::Directory)
                if self.force && probe.list(path)?.is_some_and(|names| !names.is_empty()) =>
            {
                Err(Error::failed(format!("`{path}` is a directory that is not empty"))
                    .hint("move away what it holds"))
            }
            Some(kind) if self.force => {
                let what = format!("a {}", kind.noun());
                Ok(Current::Present(State::new().with("target", what)))
            }
            Some(kind) => {
                Err(Error::failed(format!("`{path}` is a {}, not a symlink", kind.noun()))
                    .hint("remove it, or let the link replace it with `force: true`"))
            }
        }
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        if change.is_remove() {
            return system.remove_file(path);
        }
        if matches!(system.stat(path)?.map(|stat| stat.kind), Some(FileKind::Directory)) {
            system.remove_directory(path)?;
        }
        let target = self.target.as_deref().unwrap_or_default();
        effect::keep_if_accepted(&self.switches(), system, |system| {
            system.make_symlink(path, target)
        })
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        match &self.target {
            Some(target) if !change.is_remove() => {
                world.symlink(self.path.as_str(), target);
                // A link to `/dev/null` masks the unit.
                if target != "/dev/null" {
                    systemd::predict_file(self.path.as_str(), world);
                }
            }
            _ => world.removed(self.path.as_str()),
        }
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, force: false, ..self.clone() }))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
    }
}
