//! What apt would do: versions and dependencies, from its own simulation.

use std::collections::BTreeMap;

use super::{Package, apt, lists};
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
    /// The package of the manifest whose change tells what comes beside it.
    first: Option<String>,
    /// Whether the lists of packages will be fetched first, which may bring newer versions.
    lists_are_due: bool,
}

impl Foreseen {
    /// Asks apt, unless nothing is missing. A question costs apt half a second or more, so there
    /// is one for all.
    pub fn ask<'a>(packages: impl Iterator<Item = &'a Package>, probe: &dyn Probe) -> Self {
        let is_missing = |package: &&Package| match probe.package(&package.name) {
            Ok(Some(there)) => package.version.as_ref().is_some_and(|version| *version != there),
            found => found == Ok(None),
        };
        let declared = packages.filter(|package| !package.state.is_absent());
        let mut missing: Vec<&Package> = declared.filter(is_missing).collect();
        let has_lists = lists::are_there(probe).unwrap_or_default();
        // What apt does not know may come with a repository that is to be declared: once more
        // without it.
        for _ in 0..2 {
            let (Some(first), true) = (missing.first(), has_lists) else { break };
            let requests: Vec<String> = missing.iter().map(|package| package.request()).collect();
            let Ok(output) = probe.query(&Query::apt_simulation(&requests)) else { break };
            if output.success() {
                return Self {
                    first: Some(first.name.clone()),
                    lists_are_due: lists::are_due(probe),
                    ..Self::parse(&output)
                };
            }
            let said = output.tail(usize::MAX);
            let is_known = |package: &&Package| !apt::is_unknown(&package.name, &said);
            missing.retain(is_known);
        }
        Self::default()
    }

    /// `Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])`, with the old version in brackets
    /// before the new one where there is one, and `Remv exim4 [4.96-15]`.
    fn parse(output: &Output) -> Self {
        let mut foreseen = Self::default();
        for line in output.text().lines() {
            let mut words = line.split_whitespace();
            let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
            let name = name.split(':').next().unwrap_or(name).to_owned();
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
                if told.field("version").is_none() {
                    let or_newer = if self.lists_are_due { " or newer" } else { "" };
                    let version = self.installed.get(package);
                    let version = version.map(|version| format!("{version}{or_newer}"));
                    told = told.with_some("version", version);
                }
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
        let others = self.installed.keys().filter(|name| !declared(name));
        let told = with_names(State::new(), "also installs", others);
        let told = with_names(told, "also upgrades", upgraded);
        with_names(told, "also removes", self.removed.iter())
    }
}

fn with_names<'a>(state: State, field: &str, names: impl Iterator<Item = &'a String>) -> State {
    let names: Vec<&String> = names.collect();
    if names.is_empty() { state } else { state.with(field, Value::set(names)) }
}

/// The packages that apt would remove together with those that are declared absent, because they
/// depend on them; sorted. Nothing is asked where nothing goes.
pub fn also_removed<'a>(
    packages: impl Iterator<Item = &'a Package>,
    probe: &dyn Probe,
) -> Vec<String> {
    let absent = packages.filter(|package| package.state.is_absent());
    let there = absent.filter(|package| matches!(probe.package(&package.name), Ok(Some(_))));
    let names: Vec<String> = there.map(|package| package.name.clone()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    // If apt cannot tell, neither will the removal work: it says why.
    let Ok(output) = probe.query(&Query::apt_removal_simulation(&names)) else { return Vec::new() };
    let mut removed = Foreseen::parse(&output).removed;
    removed.retain(|name| !names.contains(name));
    removed.sort();
    removed.dedup();
    removed
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
