//! `package`: a Debian package, installed or not.

mod apt;
mod brings;
mod foresee;
mod held;
mod lists;
mod names;
mod together;

pub use foresee::Foreseen;
pub use held::{is_held, start_held};
pub(super) use lists::owe_update;
pub(super) use names::canonical;
pub use together::{Needed, Together};

use serde::{Deserialize, Serialize};

use super::Resource;
use super::fields::Presence;
use super::names::Names;
use super::prediction::Prediction;
use super::probe::Probe;
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::System;
use crate::error::Result;
use crate::manifest::ResourceId;

/// A Debian package, installed or not. Packages that follow each other are installed in one
/// transaction of apt, without recommended packages and without questions; configuration files
/// that were edited are kept.
///
/// The lists of packages are fetched when they are missing, older than a day, or when an
/// `apt_repository` changed. A service that a package brings is not started before the resources
/// behind it have put its configuration in place: `service` starts it.
///
/// A name that only one package provides stands for that package (`git-core` for `git`), and one
/// that several provide for the one of them that is installed. `state: absent` is about the package of
/// the very name.
///
/// With `state: absent` the package is removed and its configuration files stay, unless `purge`
/// says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name, such as `nginx`; or `libc6:i386` for another architecture than the server's own,
    /// which has to be enabled.
    pub name: String,
    /// The version, such as `1.22.1-9+deb12u1`, or a pattern in which `*` stands for any text, such
    /// as `5:24.*`; any version if not given. An older one replaces a newer one.
    #[serde(default)]
    pub version: Option<String>,
    /// The release it comes from when it is installed, such as `bookworm-backports`.
    #[serde(default)]
    pub default_release: Option<String>,
    /// With `state: absent`, removes its configuration files as well.
    #[serde(default)]
    pub purge: bool,
    /// Whether it is removed when it is no longer declared, if infra installed it. Otherwise it
    /// stays.
    #[serde(default)]
    pub remove_when_dropped: bool,
    /// Whether it should be installed.
    #[serde(default)]
    pub state: Presence,
}

impl Package {
    /// Whether it is to be installed.
    pub fn is_wanted(&self) -> bool {
        !self.state.is_absent()
    }

    /// Whether `version` is one that it may have.
    fn has(&self, version: &str) -> bool {
        self.version.as_ref().is_none_or(|wanted| names::has_version(wanted, version))
    }

    /// What it is called in a request to install it.
    fn request(&self) -> String {
        match (&self.version, &self.default_release) {
            (Some(version), _) => format!("{}={version}", self.name),
            (None, Some(release)) => format!("{}/{release}", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// Applies the changes of packages that follow each other in a manifest, in as few transactions
/// of apt as their order allows: one, unless some are installed and others removed.
///
/// Other packages go for those that come only if it `may_remove` them.
///
/// # Errors
/// When apt fails; the error names the package if apt does.
pub fn apply_all(
    items: &[(&Package, &Change)],
    may_remove: bool,
    system: &mut dyn System,
) -> Result<()> {
    for group in items.chunk_by(|a, b| action(a) == action(b)) {
        let names = || group.iter().map(|(package, _)| package.name.clone()).collect::<Vec<_>>();
        match group.first().map(action) {
            Some(Action::Install) => {
                let requests: Vec<_> = group.iter().map(|(package, _)| package.request()).collect();
                let downgrades = group.iter().any(|(package, _)| package.version.is_some());
                held::while_held(system, |system, running| {
                    apt::install(system, &requests, downgrades, may_remove, running)
                })?;
            }
            Some(Action::Remove) => apt::remove(system, "remove", &names())?,
            Some(Action::Purge) => apt::remove(system, "purge", &names())?,
            None => {}
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Action {
    Install,
    Remove,
    Purge,
}

fn action((package, change): &(&Package, &Change)) -> Action {
    match change {
        Change::Remove if package.purge => Action::Purge,
        Change::Remove => Action::Remove,
        Change::Create(_) | Change::Update(_) => Action::Install,
    }
}

impl Resource for Package {
    const KIND: &'static str = "package";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- package: nginx
- package: { name: postgresql-16, version: 16.4-1.pgdg120+1 }
- package: { name: borgmatic, default_release: bookworm-backports }
- package: { name: docker-ce, version: 5:24.* }
- package: libc6:i386
- package: { name: apache2, state: absent }
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        if self.state.is_absent() {
            return Ok(names::canonical(&self.name, names.probe().facts()).to_owned());
        }
        let found = names::installed(&self.name, names.probe())?;
        let name = found.map_or_else(|| self.name.clone(), |found| found.name);
        Ok(names::canonical(&name, names.probe().facts()).to_owned())
    }

    fn validate(&self) -> Result<(), String> {
        names::check(&self.name)?;
        let plain = |text: &str, more: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-.:~".contains(c);
            !text.is_empty() && text.chars().all(|c| is_plain(c) || more.contains(c))
        };
        if let Some(version) = self.version.as_ref().filter(|version| !plain(version, "*")) {
            return Err(format!("`{version}` is not a version of a Debian package"));
        }
        if let Some(release) = self.default_release.as_ref().filter(|release| !plain(release, "")) {
            return Err(format!("`{release}` is not a Debian release"));
        }
        if self.version.is_some() && self.default_release.is_some() {
            return Err("`version` excludes `default_release`".to_owned());
        }
        if self.purge && !self.state.is_absent() {
            return Err("`purge` needs `state: absent`".to_owned());
        }
        Ok(())
    }

    fn desired(&self) -> Option<State> {
        let version = self.version.as_deref();
        (!self.state.is_absent()).then(|| State::new().with_some("version", version))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        if self.state.is_absent() {
            // The provider of the name is another package. Configuration files do not serve.
            let own = names::own(&self.name, probe)?;
            let is_there = own.is_some_and(|own| own.is_installed || self.purge);
            return Ok(if is_there { Current::Present(State::new()) } else { Current::Absent });
        }
        let Some(found) = names::installed(&self.name, probe)? else {
            names::check_architecture(&self.name, probe)?;
            return Ok(Current::Absent);
        };
        let version = match &self.version {
            Some(wanted) if self.has(&found.version) => wanted.clone(),
            _ => found.version,
        };
        Ok(Current::Present(State::new().with("version", version)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        apply_all(&[(self, change)], false, system)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.package_version(&self.name, None);
            brings::predict_removal(&self.name, world);
            return;
        }
        let version = self.version.clone().unwrap_or_default();
        world.package_version(&self.name, Some(version));
        brings::predict_installation(&self.name, world);
        world.brings_more(&ResourceId::new(Self::KIND, &self.identity()));
    }

    fn dropped_on(&self, probe: &dyn Probe) -> Option<Dropped<Self>> {
        // Its name may stand for something else by the time that it is no longer declared.
        let found = names::installed(&self.name, probe).ok().flatten();
        let name = found.map_or_else(|| self.name.clone(), |found| found.name);
        Self { name, ..self.clone() }.dropped()
    }

    fn allowed(&self, field: &str, value: &Value) -> bool {
        let pattern = self.version.as_ref().filter(|version| names::is_pattern(version));
        match (field, pattern, value) {
            ("version", Some(pattern), Value::Text(version)) => {
                names::has_version(pattern, version)
            }
            _ => false,
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { state: Presence::Absent, ..self.clone() };
        if self.remove_when_dropped {
            return Some(Dropped::goes(absent));
        }
        Some(Dropped::stays_unless_allowed(absent, "it stays installed"))
    }
}
