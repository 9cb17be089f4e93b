//! The packages that apt takes away together with others, or for others: none of them may be one that
//! is declared.

use std::collections::BTreeMap;
use std::fmt;

use super::foresee::{is_missing, removed_by};
use super::{Foreseen, Package, names};
use crate::error::Error;
use crate::manifest::ResourceId;
use crate::resources::Resource as _;
use crate::resources::probe::{Probe, WayIn};
use crate::resources::query::Query;

/// The way out where one package needs another one.
const BOTH: &str = "let both go, or keep both";

/// The way out where such a package is to go.
const ANOTHER_WAY: &str = "give the server another way in first, and use that";

/// The packages that are not to go, by their own names: the name to tell, and why they stay.
type Kept = BTreeMap<String, (String, Reason)>;

/// Why a package is not to go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Declared,
    WayIn,
    /// The shell of a declared user, by the user's name.
    ShellOf(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("is declared"),
            Self::WayIn => f.write_str("is how infra logs in"),
            Self::ShellOf(user) => write!(f, "has the shell of `user:{user}`"),
        }
    }
}

/// Shells that every server has.
const SHELLS_OF_ALL: [&str; 4] = ["bash", "false", "nologin", "sh"];

/// Things of a manifest that need packages.
#[derive(Clone, Debug, Default)]
pub struct Needed<'a> {
    /// The packages that are to be there.
    pub packages: Vec<&'a Package>,
    /// The users that are to be there, with their shells.
    pub shells: Vec<(String, String)>,
}

/// The packages that apt would take away beside those of a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Together {
    /// The packages that would go with those that go, because they depend on them; sorted.
    pub also_removed: Vec<String>,
    /// Why packages can neither go nor come: a declared one would go. By their names.
    refused: BTreeMap<String, Error>,
    /// Why packages stay that nobody declares any more. By their names.
    staying: BTreeMap<String, String>,
}

impl Together {
    /// Asks apt about the `packages` of a manifest. `kept` needs those among them that are to be there, and
    /// others that stay declared. Of those that go, nobody declares the ones that `is_dropped` names: they
    /// stay where others need them. Nothing is asked where nothing goes.
    pub fn ask(
        packages: &[&Package],
        kept: &Needed<'_>,
        is_dropped: impl Fn(&Package) -> bool,
        foreseen: &Foreseen,
        probe: &dyn Probe,
    ) -> Self {
        let mut staying: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let is_rest = |one: &&&Package| !staying.contains_key(&one.name);
            let rest: Vec<&Package> = packages.iter().filter(is_rest).copied().collect();
            let together = Self::ask_once(&rest, kept, foreseen, probe);
            let dropped = rest.iter().filter(|one| !one.is_wanted() && is_dropped(one));
            let needed = dropped.filter_map(|one| {
                Some((one.name.clone(), together.refused.get(&one.name)?.message.clone()))
            });
            let needed: Vec<(String, String)> = needed.collect();
            if needed.is_empty() {
                return Self { staying, ..together };
            }
            staying.extend(needed);
        }
    }

    fn ask_once(
        packages: &[&Package],
        kept: &Needed<'_>,
        foreseen: &Foreseen,
        probe: &dyn Probe,
    ) -> Self {
        let going = going(packages, probe);
        let mut together = Self { also_removed: also_removed(&going, probe), ..Self::default() };
        together.refuse_twins(packages, foreseen, probe);
        let absent = packages.iter().filter(|package| !package.is_wanted());
        let absent = absent.map(|package| package.name.clone());
        let kept_away: Vec<String> =
            absent.filter(|name| going.contains(name) || foreseen.installs(name)).collect();
        if kept_away.is_empty() && !foreseen.removes() {
            return together;
        }
        let present = packages.iter().filter(|package| package.is_wanted());
        let coming = present.filter(|one| is_missing(one, probe).unwrap_or_default());
        let coming: BTreeMap<String, String> =
            coming.map(|package| (package.name.clone(), package.request())).collect();
        together.refuse_needed(&coming, &kept_away, foreseen, probe);
        let shells = &kept.shells;
        let mut kept = by_package(kept.packages.iter().copied(), probe);
        together.keep_way_in(&going, &mut kept, probe);
        together.keep_shells(shells, &going, &mut kept, probe);
        let lost = lost(&together.also_removed, &kept);
        if !lost.is_empty() {
            let taken = |name: &String| also_removed(std::slice::from_ref(name), probe);
            together.refuse(&going, &lost, taken, &kept, BOTH);
        }
        let lost = self::lost(foreseen.removed(), &kept);
        if !lost.is_empty() {
            let names: Vec<String> = coming.keys().cloned().collect();
            let taken = |name: &String| {
                let request = coming.get(name).cloned().unwrap_or_default();
                removed_by(&Query::apt_simulation(&[request]), probe)
            };
            together.refuse(
                &names,
                &lost,
                taken,
                &kept,
                "apt cannot have both: declare one of them",
            );
        }
        together
    }

    /// Refuses to take away the packages that the login of this very run needs, and adds them to those that
    /// are `kept`.
    fn keep_way_in(&mut self, going: &[String], kept: &mut Kept, probe: &dyn Probe) {
        let way_in = probe.way_in();
        let needed = way_in.iter().flat_map(WayIn::packages).map(|name| (*name).to_owned());
        let account = way_in.as_ref().and_then(|way| probe.user(&way.account).ok().flatten());
        let shell = account.and_then(|account| package_of_shell(&account.shell, probe));
        for needed in needed.chain(shell) {
            kept.entry(needed.clone()).or_insert_with(|| (needed.clone(), Reason::WayIn));
            for name in going.iter().filter(|name| names::canonical(name, probe.facts()) == needed)
            {
                let error = Error::failed(format!("infra logs in by `package:{name}`"));
                let error = error.hint(ANOTHER_WAY);
                self.refused.insert(name.clone(), error);
            }
        }
    }

    /// Refuses to take away the packages of the shells of declared users, and adds them to those that are
    /// `kept`.
    fn keep_shells(
        &mut self,
        shells: &[(String, String)],
        going: &[String],
        kept: &mut Kept,
        probe: &dyn Probe,
    ) {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for (user, shell) in shells {
            first.entry(shell).or_insert(user);
        }
        for (shell, user) in first {
            let Some(package) = package_of_shell(shell, probe) else { continue };
            for name in going.iter().filter(|name| names::canonical(name, probe.facts()) == package)
            {
                let error =
                    Error::failed(format!("`package:{name}` has the shell of `user:{user}`"))
                        .because(format!("`{shell}` would go, and nobody could log in as `{user}`"))
                        .hint(format!("give `user:{user}` another shell, or keep the package"));
                self.refused.insert(name.clone(), error);
            }
            let reason = Reason::ShellOf(user.to_owned());
            kept.entry(package.clone()).or_insert((package, reason));
        }
    }

    /// Refuses names that stand for a package that is declared under another name and is not there yet.
    fn refuse_twins(&mut self, packages: &[&Package], foreseen: &Foreseen, probe: &dyn Probe) {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for package in packages.iter().filter(|package| package.is_wanted()) {
            let name = package.name.as_str();
            let own = names::canonical(name, probe.facts());
            let other = *first.entry(foreseen.provider(name).unwrap_or(own)).or_insert(name);
            if other != name {
                let error = Error::failed(format!(
                    "`package:{name}` is `package:{other}` under another name"
                ));
                let error = error.hint("declare it once, under one name");
                self.refused.insert(name.to_owned(), error);
            }
        }
    }

    /// Refuses packages that are to come and need some that are to be absent.
    fn refuse_needed(
        &mut self,
        coming: &BTreeMap<String, String>,
        absent: &[String],
        foreseen: &Foreseen,
        probe: &dyn Probe,
    ) {
        if coming.is_empty() || absent.is_empty() || !foreseen.is_known() {
            return;
        }
        // apt takes a name with a `-` behind it for a package that is not to be there.
        let excludes = |coming: Vec<&String>, absent: &[String]| {
            let requests = coming.into_iter().cloned();
            let without = absent.iter().map(|name| format!("{name}-"));
            let query = Query::apt_simulation(&requests.chain(without).collect::<Vec<_>>());
            let said = probe.query(&query).ok().filter(|output| !output.success());
            said.is_some_and(|output| output.tail(usize::MAX).contains("unmet dependencies"))
        };
        if !excludes(coming.values().collect(), absent) {
            return;
        }
        for name in absent {
            let needs = coming
                .iter()
                .filter(|(_, request)| excludes(vec![request], std::slice::from_ref(name)));
            for (by, _) in needs {
                let error = Error::failed(format!("`package:{by}` needs `package:{name}`"))
                    .because(format!("`package:{name}` is to be absent, or is no longer declared"))
                    .hint(BOTH);
                self.refused.extend([(by.clone(), error.clone()), (name.clone(), error)]);
            }
        }
    }

    /// Why a package that is to change cannot.
    pub fn refusal(&self, id: &ResourceId) -> Option<&Error> {
        self.refused.get(id.identity()).filter(|_| id.kind() == Package::KIND)
    }

    /// Why a package stays that nobody declares any more.
    pub fn stays(&self, id: &ResourceId) -> Option<&String> {
        self.staying.get(id.identity()).filter(|_| id.kind() == Package::KIND)
    }

    /// Refuses those of `names` that take one of the `lost` packages away, as each of them alone says; all
    /// of them where they do so only together.
    fn refuse(
        &mut self,
        names: &[String],
        lost: &[String],
        taken: impl Fn(&String) -> Vec<String>,
        kept: &Kept,
        hint: &str,
    ) {
        let by_name = |name: &String| {
            let taken = if names.len() > 1 { taken(name) } else { Vec::new() };
            let first = lost.iter().find(|lost| names.len() == 1 || taken.contains(lost))?;
            Some((name.clone(), first.clone()))
        };
        let mut blamed: Vec<(String, String)> = names.iter().filter_map(by_name).collect();
        if let Some(first) = lost.first().filter(|_| blamed.is_empty()) {
            blamed = names.iter().map(|name| (name.clone(), first.clone())).collect();
        }
        for (name, lost) in blamed {
            let Some((kept, because)) = kept.get(&lost) else { continue };
            let error = Error::failed(format!("`package:{name}` would take `package:{kept}` away"))
                .because(format!("`package:{kept}` {because}, and apt would remove `{lost}`"));
            let hint = if *because == Reason::WayIn { ANOTHER_WAY } else { hint };
            self.refused.insert(name, error.hint(hint));
        }
    }
}

fn lost(removed: &[String], kept: &Kept) -> Vec<String> {
    removed.iter().filter(|name| kept.contains_key(*name)).cloned().collect()
}

/// The declared names by the packages that they stand for.
fn by_package<'a>(kept: impl Iterator<Item = &'a Package>, probe: &dyn Probe) -> Kept {
    let named = kept.map(|package| {
        // An answer that cannot be read is told by the check of the package itself.
        let found = names::installed(&package.name, probe).ok().flatten();
        let name = found.map_or_else(|| package.name.clone(), |found| found.name);
        let kept = (package.name.clone(), Reason::Declared);
        (names::canonical(&name, probe.facts()).to_owned(), kept)
    });
    named.collect()
}

/// The packages that are declared absent and are there.
fn going(packages: &[&Package], probe: &dyn Probe) -> Vec<String> {
    let absent = packages.iter().filter(|package| !package.is_wanted());
    let there = absent.filter(|package| matches!(probe.package(&package.name), Ok(Some(_))));
    there.map(|package| package.name.clone()).collect()
}

/// The packages that apt would remove together with `going`, because they depend on them; sorted.
fn also_removed(going: &[String], probe: &dyn Probe) -> Vec<String> {
    if going.is_empty() {
        return Vec::new();
    }
    let mut removed = removed_by(&Query::apt_removal_simulation(going), probe);
    let is_going = |name: &String| {
        going.iter().any(|one| names::canonical(one, probe.facts()) == name.as_str())
    };
    removed.retain(|name| !is_going(name));
    removed.sort();
    removed.dedup();
    removed
}

/// The package that has a shell, unless every server has it.
fn package_of_shell(shell: &str, probe: &dyn Probe) -> Option<String> {
    let without_usr = |path: &str| path.strip_prefix("/usr").unwrap_or(path).to_owned();
    let name = shell.rsplit('/').next().filter(|name| !SHELLS_OF_ALL.contains(name))?;
    let output = probe.query(&Query::packages_with(&format!("*bin/{name}"))).ok()?;
    let text = output.text();
    let is_shell = |line: &&str| {
        line.split_once(": ").is_some_and(|(_, path)| without_usr(path) == without_usr(shell))
    };
    let (packages, _) = text.lines().find(is_shell)?.split_once(": ")?;
    packages.split([',', ':']).next().map(str::to_owned)
}
