//! The package that a name stands for on a server, read in one way by check, plan and removal:
//! the package that has the name, or the one that provides it where apt has no package of the name.

use std::collections::BTreeMap;

use super::Package;
use crate::error::{Error, Result};
use crate::resources::probe::{Facts, PackageEntry, Probe};
use crate::resources::query::Query;

/// The architectures that dpkg takes packages of, one a line.
const ARCHITECTURES: &str = "/var/lib/dpkg/arch";

/// Says what is wrong with a name: `nginx` or `libc6:i386`.
pub(super) fn check(name: &str) -> Result<(), String> {
    let start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let (plain, architecture) = split(name);
    let is_name = plain.len() >= 2
        && plain.starts_with(start)
        && plain.chars().all(|c| start(c) || "+-.".contains(c));
    if !is_name {
        return Err(format!("`{name}` is not a name of a Debian package"));
    }
    match architecture {
        // They stand for one or several architectures, and dpkg has a package for each.
        Some("all" | "any" | "native") => Err(format!(
            "`{name}` names no architecture: leave `:{}` out",
            architecture.unwrap_or_default()
        )),
        Some(text) if text.is_empty() || !text.chars().all(|c| start(c) || c == '-') => {
            Err(format!("`{name}` is not a name of a Debian package"))
        }
        _ => Ok(()),
    }
}

fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(plain, architecture)| (plain, Some(architecture)))
}

/// The name without the server's own architecture, as apt and dpkg say it.
pub(in crate::resources) fn canonical<'a>(name: &'a str, facts: &Facts) -> &'a str {
    let own = match facts.arch.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return name,
    };
    match split(name) {
        (plain, Some(architecture)) if architecture == own => plain,
        _ => name,
    }
}

/// The installed package that `name` stands for. A fork of `apt-cache` that takes 40 ms is needed
/// only where a name is provided by an installed package and by none of that name.
pub(super) fn installed(name: &str, probe: &dyn Probe) -> Result<Option<PackageEntry>> {
    let found = probe.packages_of(name)?;
    let mut found = found.into_iter().filter(|entry| entry.is_installed);
    match found.next() {
        Some(entry) if !entry.has_asked_name && has_package(name, probe) => Ok(None),
        entry => Ok(entry),
    }
}

/// The package of this very name, of which dpkg may have nothing but configuration files.
pub(super) fn own(name: &str, probe: &dyn Probe) -> Result<Option<PackageEntry>> {
    Ok(probe.packages_of(name)?.into_iter().find(|entry| entry.has_asked_name))
}

/// Whether apt can install a package of this very name.
fn has_package(name: &str, probe: &dyn Probe) -> bool {
    let names = [name.to_owned()];
    let Ok(output) = probe.query(&Query::apt_names(&names)) else { return false };
    Answer::all(&output.text()).iter().any(|answer| answer.name == name && answer.can_be_installed)
}

/// The names that no package has, each with the packages that provide it.
pub(super) fn provided<'a>(
    names: impl Iterator<Item = &'a str>,
    probe: &dyn Probe,
) -> BTreeMap<String, Vec<String>> {
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let output = probe.query(&Query::apt_names(&names)).unwrap_or_default();
    let text = output.text();
    let virtual_names = Answer::all(&text).into_iter().filter(|answer| !answer.can_be_installed);
    virtual_names.map(|answer| (answer.name.to_owned(), answer.providers)).collect()
}

/// The answer of `apt-cache showpkg` about one name.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    name: &'a str,
    /// Whether a source has it: a version may also be known only from what dpkg remembers.
    can_be_installed: bool,
    providers: Vec<String>,
}

impl<'a> Answer<'a> {
    fn all(text: &'a str) -> Vec<Self> {
        let mut answers: Vec<Self> = Vec::new();
        let mut part = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("Package: ") {
                answers.push(Self { name, can_be_installed: false, providers: Vec::new() });
                continue;
            }
            let Some(answer) = answers.last_mut() else { continue };
            if let Some((title, "")) =
                line.trim_end().split_once(':').filter(|_| !line.starts_with(' '))
            {
                part = title;
                continue;
            }
            match part {
                "Versions" if !line.starts_with(' ') => {
                    answer.can_be_installed |= line.contains("(/var/lib/apt/lists/");
                }
                "Reverse Provides" => {
                    let name = line.split_whitespace().next().map(str::to_owned);
                    answer.providers.extend(name.filter(|name| !answer.providers.contains(name)));
                }
                _ => {}
            }
        }
        answers
    }
}

/// Refuses a package of an architecture that dpkg does not take, unless an earlier command of a
/// preview may bring that about.
pub(super) fn check_architecture(name: &str, probe: &dyn Probe) -> Result<()> {
    let (_, Some(architecture)) = split(canonical(name, probe.facts())) else { return Ok(()) };
    let enabled = probe.read(ARCHITECTURES)?.unwrap_or_default();
    let enabled = String::from_utf8_lossy(&enabled);
    if enabled.lines().any(|line| line == architecture) || probe.is_preview_after("command") {
        return Ok(());
    }
    Err(Error::failed(format!("the server takes no packages for `{architecture}`")).hint(format!(
        "`dpkg --add-architecture {architecture}` enables it: a `command` before this resource"
    )))
}

/// Whether `version` is what `wanted` asks for, where `*` stands for any text, as apt takes it.
pub(super) fn has_version(wanted: &str, version: &str) -> bool {
    let mut parts = wanted.split('*');
    let Some(mut rest) = parts.next().and_then(|start| version.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = wanted.rsplit('*').next().filter(|_| is_pattern(wanted)) else {
        return rest.is_empty();
    };
    let between: Vec<&str> = parts.collect();
    for part in between.iter().take(between.len().saturating_sub(1)) {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(end)
}

pub(super) fn is_pattern(version: &str) -> bool {
    version.contains('*')
}

/// The packages that go although `declared` ones need them under another name: `absent` ones that
/// a declared name stands for. Each with the name that needs it.
pub(super) fn needed<'a>(
    absent: &[&str],
    declared: impl Iterator<Item = &'a Package>,
    probe: &dyn Probe,
) -> BTreeMap<String, String> {
    let mut needed = BTreeMap::new();
    if absent.is_empty() {
        return needed;
    }
    let facts = probe.facts();
    for package in declared {
        // An answer that cannot be read is told by the check of the package itself.
        let stands_for = installed(&package.name, probe).ok().flatten();
        let name = stands_for.map_or_else(|| package.name.clone(), |entry| entry.name);
        for one in absent.iter().filter(|one| canonical(one, facts) == canonical(&name, facts)) {
            needed.insert((*one).to_owned(), package.name.clone());
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_as_for_apt() {
        for (wanted, version, matches) in [
            ("5:24.*", "5:24.0.7-1~debian.12~bookworm", true),
            ("5:24.*", "5:23.0.6-1~debian.12~bookworm", false),
            ("5:24.*", "5:24", false),
            ("*", "1.0", true),
            ("1.*-1*bookworm", "1.2-1~bookworm", true),
            ("1.*-1*bookworm", "1.2-2~bookworm", false),
            ("1.*2", "1.2", true),
            ("1.2*2", "1.2", false),
            ("1.22.1-9", "1.22.1-9", true),
            ("1.22.1-9", "1.22.1-9+deb12u1", false),
        ] {
            assert_eq!(has_version(wanted, version), matches, "{wanted} {version}");
        }
    }

    #[test]
    fn names_have_an_architecture_or_none() {
        for name in ["nginx", "libc6:i386", "g++", "libstdc++6:kfreebsd-amd64"] {
            assert_eq!(check(name), Ok(()));
        }
        for wrong in ["Nginx", "x", "libc6:", "libc6:I386", "libc6:i386:x", "-x"] {
            assert_eq!(check(wrong), Err(format!("`{wrong}` is not a name of a Debian package")));
        }
        let any = Err("`git:any` names no architecture: leave `:any` out".to_owned());
        assert_eq!(check("git:any"), any);
        let facts = Facts { arch: "x86_64".into(), ..Facts::default() };
        assert_eq!(canonical("git:amd64", &facts), "git");
        assert_eq!(canonical("git:i386", &facts), "git:i386");
    }

    #[test]
    fn answers_of_apt_cache() {
        let text = "Package: git-core\nVersions: \n1:1.7 (/var/lib/dpkg/status)\n\n\
            Reverse Depends: \n  tig,git-core 1:1.5.4\nDependencies: \nProvides: \n\
            Reverse Provides: \ngit 1:2.39.5-0+deb12u2 (= )\ngit 1:2.39.5-0+deb12u3 (= )\n\
            Package: wine32:i386\nVersions: \n\
            8.0 (/var/lib/apt/lists/deb.debian.org_Packages)\n Description Language: \n\n\
            Reverse Depends: \nDependencies: \n8.0 - libc6:i386 (2 2.34) \nProvides: \n\
            8.0 - wine32 (= 8.0) \nReverse Provides: \n";
        let answer = |name, can_be_installed, providers: &[&str]| Answer {
            name,
            can_be_installed,
            providers: providers.iter().map(ToString::to_string).collect(),
        };
        let expected = [answer("git-core", false, &["git"]), answer("wine32:i386", true, &[])];
        assert_eq!(Answer::all(text), expected);
    }
}
