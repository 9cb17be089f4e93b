//! What apt would do: versions and dependencies, from its own simulation.

use std::collections::BTreeMap;

use super::{Package, apt, lists, names};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;
use crate::resources::Resource as _;
use crate::resources::probe::{Output, Probe};
use crate::resources::query::Query;
use crate::resources::state::{Change, FieldChange, State, Value};

/// What one transaction with all the missing packages of a manifest would do. Empty where apt
/// cannot tell, for example because the lists of packages are not there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// The packages that would come, with their versions.
    installed: BTreeMap<String, String>,
    /// The packages that would get another version.
    upgraded: BTreeMap<String, String>,
    /// The packages that would have to go.
    removed: Vec<String>,
    /// The packages that would come for names that none has, by those names.
    providers: BTreeMap<String, String>,
    /// Why packages of the manifest cannot become what they should, by their names.
    refused: BTreeMap<String, Error>,
    /// The same, unless the lists of packages that are fetched first say otherwise.
    refused_by_lists: BTreeMap<String, Error>,
    /// The package of the manifest whose change tells what comes beside it.
    first: Option<String>,
    /// Whether the lists of packages will be fetched first, which may bring newer versions.
    lists_are_due: bool,
}

impl Foreseen {
    /// Asks apt, unless nothing is missing. A question costs apt half a second or more, so there
    /// is one for all.
    pub fn ask<'a>(packages: impl Iterator<Item = &'a Package>, probe: &dyn Probe) -> Self {
        let packages: Vec<&Package> = packages.collect();
        let declared = packages.iter().filter(|package| !package.state.is_absent()).copied();
        // An answer that cannot be read is told by the check of the package itself.
        let is_missing = |package: &&Package| is_missing(package, probe).unwrap_or_default();
        let missing: Vec<&Package> = declared.filter(is_missing).collect();
        let mut foreseen = if missing.is_empty() || !lists::are_there(probe).unwrap_or_default() {
            Self::default()
        } else {
            Self::simulate(missing, probe)
        };
        foreseen.refuse(&packages, probe);
        foreseen
    }

    fn simulate(mut missing: Vec<&Package>, probe: &dyn Probe) -> Self {
        let lists_are_due = lists::are_due(probe);
        let mut refused_by_lists = BTreeMap::new();
        // What apt does not know may come with a repository that is to be declared: once more
        // without it.
        for _ in 0..2 {
            let Some(first) = missing.first() else { break };
            let requests: Vec<String> = missing.iter().map(|package| package.request()).collect();
            let Ok(output) = probe.query(&Query::apt_simulation(&requests)) else { break };
            if output.success() {
                let first = Some(first.name.clone());
                let parsed = Self::parse(&output);
                let mut found = Self { refused_by_lists, first, lists_are_due, ..parsed };
                found.look_for_providers(&missing, probe);
                return found;
            }
            let said = output.tail(usize::MAX);
            let refusal =
                |package: &&Package| Some((package.name.clone(), refusal(package, &said)?));
            refused_by_lists.extend(missing.iter().filter_map(refusal));
            if let Some(refusal) = apt::unmet(&said) {
                let all: Vec<&String> = missing.iter().map(|package| &package.name).collect();
                let is_named = |name: &&String| apt::is_unmet(name, &said);
                let named: Vec<&String> = all.iter().copied().filter(is_named).collect();
                let blamed = if named.is_empty() { all } else { named };
                let blamed = blamed.into_iter().map(|name| (name.clone(), refusal.clone()));
                refused_by_lists.extend(blamed);
                break;
            }
            let is_known = |package: &&Package| !apt::is_unknown(&package.name, &said);
            missing.retain(is_known);
        }
        Self { refused_by_lists, lists_are_due, ..Self::default() }
    }

    /// Finds what would come for the names that no package has.
    fn look_for_providers(&mut self, missing: &[&Package], probe: &dyn Probe) {
        let facts = probe.facts();
        for package in missing {
            let name = names::canonical(&package.name, facts);
            if name != package.name {
                self.providers.insert(package.name.clone(), name.to_owned());
            }
        }
        let comes =
            |name: &str| self.installed.contains_key(name) || self.upgraded.contains_key(name);
        let names = missing.iter().map(|package| names::canonical(&package.name, facts));
        let provided = names::provided(names.filter(|name| !comes(name)), probe);
        for (name, providers) in provided {
            if let Some(provider) = providers.into_iter().find(|provider| comes(provider)) {
                self.providers.insert(name, provider);
            }
        }
    }

    /// Finds what somebody holds, and what is to go and to stay under two names.
    fn refuse(&mut self, packages: &[&Package], probe: &dyn Probe) {
        for package in packages {
            // An answer that cannot be read is told by the check of the package itself.
            if is_held(package, probe).unwrap_or_default() {
                let held =
                    Error::failed(format!("`{}` is on hold, and would change", package.name));
                let hint = format!("`apt-mark unhold {}` on the server lets go", package.name);
                self.refused.insert(package.name.clone(), held.hint(hint));
            }
        }
        let absent = packages.iter().filter(|package| package.state.is_absent());
        let absent: Vec<&str> = absent.map(|package| package.name.as_str()).collect();
        let present = || packages.iter().filter(|package| !package.state.is_absent()).copied();
        let mut needed = names::needed(&absent, present(), probe);
        for (name, provider) in &self.providers {
            if absent.contains(&provider.as_str()) {
                needed.insert(provider.clone(), name.clone());
            }
        }
        for (name, by) in needed {
            let clash =
                Error::failed(format!("`{name}` is to be absent, and `{by}` is the same package"));
            let clash = clash.hint("declare the package under one name");
            self.refused.extend([(name, clash.clone()), (by, clash)]);
        }
    }

    /// Why a package that is to change cannot.
    pub fn refusal(&self, id: &ResourceId) -> Option<&Error> {
        let package = Some(id.identity()).filter(|_| id.kind() == Package::KIND)?;
        let by_lists = || self.refused_by_lists.get(package).filter(|_| !self.lists_are_due);
        self.refused.get(package).or_else(by_lists)
    }

    /// `Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])`, with the old version in brackets
    /// before the new one where there is one, and `Remv exim4 [4.96-15]`.
    fn parse(output: &Output) -> Self {
        let mut foreseen = Self::default();
        for line in output.text().lines() {
            let mut words = line.split_whitespace();
            let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
            let name = name.to_owned();
            let version = || line.split_once('(')?.1.split_whitespace().next().map(str::to_owned);
            let is_upgrade = words.next().is_some_and(|word| word.starts_with('['));
            match (verb, version()) {
                ("Inst", Some(version)) if is_upgrade => {
                    foreseen.upgraded.insert(name, version);
                }
                ("Inst", Some(version)) => {
                    foreseen.installed.insert(name, version);
                }
                ("Remv", _) => foreseen.removed.push(name),
                _ => {}
            }
        }
        foreseen
    }

    /// The same, behind a change of where packages come from.
    pub fn with_lists_due(self) -> Self {
        Self { lists_are_due: true, ..self }
    }

    /// Whether packages would have to go for those that come.
    pub fn removes(&self) -> bool {
        !self.removed.is_empty()
    }

    /// The packages that would have to go for those that come.
    pub(super) fn removed(&self) -> &[String] {
        &self.removed
    }

    /// Whether `package` would come.
    pub(super) fn installs(&self, package: &str) -> bool {
        self.installed.contains_key(package)
    }

    /// The package that would come for `name`.
    pub(super) fn provider(&self, name: &str) -> Option<&str> {
        self.providers.get(name).map(String::as_str)
    }

    /// Whether apt could tell what the missing packages need.
    pub(super) fn is_known(&self) -> bool {
        self.first.is_some()
    }

    /// Adds to the change of a package that is to be installed, or to get another version, what apt foresees: its version
    /// and, once in a plan, what comes and goes beside it. `declared` says whether a package has
    /// a resource of its own.
    pub fn describe(&self, package: &str, change: &mut Change, declared: impl Fn(&str) -> bool) {
        let beside = if self.first.as_deref() == Some(package) {
            self.beside(declared)
        } else {
            State::new()
        };
        match change {
            Change::Create(state) => {
                let mut told = std::mem::take(state);
                let provider = self.providers.get(package);
                if told.field("version").is_none() {
                    let or_newer = if self.lists_are_due { " or newer" } else { "" };
                    let version = self.installed.get(provider.map_or(package, String::as_str));
                    let version = version.map(|version| format!("{version}{or_newer}"));
                    told = told.with_some("version", version);
                }
                told = told.with_some("stands for", provider.map(String::as_str));
                let beside = beside.fields();
                *state = beside.fold(told, |told, (field, value)| told.with(field, value.clone()));
            }
            Change::Update(changes) => changes.extend(beside.fields().map(|(field, value)| {
                FieldChange { field: field.to_owned(), current: None, desired: value.clone() }
            })),
            Change::Remove => {}
        }
    }

    /// What comes, changes and goes beside what the manifest names.
    fn beside(&self, declared: impl Fn(&str) -> bool) -> State {
        let upgraded = self.upgraded.keys().filter(|name| !declared(name));
        let provides = |name: &&String| self.providers.values().any(|provider| provider == *name);
        let others = self.installed.keys().filter(|name| !declared(name) && !provides(name));
        let told = with_names(State::new(), "also installs", others);
        let told = with_names(told, "also upgrades", upgraded);
        with_names(told, "also removes", self.removed.iter())
    }
}

/// Whether a declared package is not there, or in another version.
pub(super) fn is_missing(package: &Package, probe: &dyn Probe) -> Result<bool> {
    let found = names::installed(&package.name, probe)?;
    Ok(found.is_none_or(|found| !package.has(&found.version)))
}

/// Whether a package that is to change is kept as it is by `apt-mark hold`.
fn is_held(package: &Package, probe: &dyn Probe) -> Result<bool> {
    let own = names::own(&package.name, probe)?;
    let own = own.filter(|own| own.is_installed && own.is_held);
    Ok(own.is_some_and(|own| package.state.is_absent() || !package.has(&own.version)))
}

/// Why apt refuses a package that it knows.
fn refusal(package: &Package, said: &str) -> Option<Error> {
    let name = &package.name;
    let version = package.version.as_ref().filter(|version| names::is_pattern(version));
    let version = version.filter(|version| apt::lacks_version(name, version, said));
    let no_version = version.map(|version| {
        Error::failed(format!("no version of package `{name}` matches `{version}`"))
            .hint(format!("`apt-cache policy {name}` on the server lists the versions"))
    });
    no_version.or_else(|| apt::ambiguous(name, said)).or_else(|| apt::unknown(name, said))
}

fn with_names<'a>(state: State, field: &str, names: impl Iterator<Item = &'a String>) -> State {
    let names: Vec<&String> = names.collect();
    if names.is_empty() { state } else { state.with(field, Value::set(names)) }
}

/// The packages that apt would remove in answer to `query`, a simulation. If apt cannot tell, neither
/// will the transaction work: it says why.
pub(super) fn removed_by(query: &Query, probe: &dyn Probe) -> Vec<String> {
    probe.query(query).map(|output| Foreseen::parse(&output).removed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_comes_changes_and_goes() {
        let said = "Remv exim4 [4.96-15+deb12u4]\n\
                    Inst nginx-common (1.22.1-9 Debian:12.5/stable [all])\n\
                    Inst nginx (1.22.1-9 Debian:12.5/stable [amd64]) []\n\
                    Inst libssl3 [3.0.11-1] (3.0.13-1 Debian:12.5/stable [amd64])\n\
                    Conf nginx-common (1.22.1-9 Debian:12.5/stable [all])\n";
        let output = Output { stdout: said.into(), ..Output::default() };
        let foreseen = Foreseen { first: Some("nginx".into()), ..Foreseen::parse(&output) };
        let mut change = Change::Create(State::new());
        foreseen.describe("nginx", &mut change, |name| name == "nginx");
        let told = State::new()
            .with("version", "1.22.1-9")
            .with("also installs", Value::set(["nginx-common"]))
            .with("also upgrades", Value::set(["libssl3"]))
            .with("also removes", Value::set(["exim4"]));
        assert_eq!(change, Change::Create(told));

        let mut change = Change::Create(State::new());
        let other = Foreseen { first: None, ..foreseen.clone() }.with_lists_due();
        other.describe("nginx", &mut change, |_| false);
        assert_eq!(change, Change::Create(State::new().with("version", "1.22.1-9 or newer")));

        let field = |field: &str, desired: Value| FieldChange {
            field: field.to_owned(),
            current: None,
            desired,
        };
        let version = field("version", "1.22.1-9".into());
        let mut change = Change::Update(vec![version.clone()]);
        foreseen.describe("nginx", &mut change, |name| name != "exim4");
        let told = vec![version, field("also removes", Value::set(["exim4"]))];
        assert_eq!(change, Change::Update(told));
    }
}
