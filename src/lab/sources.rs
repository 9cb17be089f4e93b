//! Where the lab gets Debian from: where this machine gets it from.

use std::fs;
use std::path::Path;

use super::folder;
use super::program::Program;
use super::release::Release;
use crate::error::{Error, Result};

/// Settings of apt that say how things are fetched, and so hold for the servers as well.
const FETCH_SETTINGS: &[&str] = &[
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::Retries",
    "Acquire::http",
    "Acquire::https",
];

/// The addresses of Debian's archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    archive: String,
    security: String,
}

impl Mirror {
    /// The mirror that this machine's own apt uses.
    ///
    /// # Errors
    /// If it uses none.
    pub(super) fn of_this_machine() -> Result<Self> {
        let mut entries = Vec::new();
        let apt = Path::new("/etc/apt");
        let mut paths = vec![apt.join("sources.list")];
        let parts = apt.join("sources.list.d");
        for name in folder::names(&parts).unwrap_or_default() {
            paths.push(parts.join(name));
        }
        for path in paths {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => entries.extend(one_line_entries(&text)),
                Some("sources") => entries.extend(deb822_entries(&text)),
                _ => {}
            }
        }
        Self::of(&entries)
    }

    /// The first archive that looks like Debian's, and the first that looks like its security
    /// team's; the machine may run another release.
    fn of(entries: &[(String, String)]) -> Result<Self> {
        let find = |ending: &str, is_suite: &dyn Fn(&str) -> bool| {
            entries
                .iter()
                .map(|(uri, suite)| (uri.trim_end_matches('/'), suite))
                .find(|(uri, suite)| {
                    uri.starts_with("http") && uri.ends_with(ending) && is_suite(suite)
                })
                .map(|(uri, _)| uri.to_owned())
        };
        let is_release = |suite: &str| {
            Release::ALL.iter().any(|release| release.codename() == suite) || suite == "stable"
        };
        let is_security = |suite: &str| suite.ends_with("-security");
        let archive = find("/debian", &is_release).ok_or_else(|| {
            Error::failed("apt on this machine knows no mirror of Debian")
                .hint("add one to `/etc/apt/sources.list.d/`: the lab's servers use the same")
        })?;
        // A mirror has both, side by side.
        let beside = || format!("{archive}-security");
        let security = find("/debian-security", &is_security).unwrap_or_else(beside);
        Ok(Self { archive, security })
    }

    /// One line a suite, for mmdebstrap.
    pub(super) fn lines(&self, release: Release) -> String {
        let (Self { archive, security }, name) = (self, release.codename());
        format!(
            "deb {archive} {name} main\n\
             deb {archive} {name}-updates main\n\
             deb {security} {name}-security main\n"
        )
    }

    /// The same as a current Debian writes it.
    pub(super) fn deb822(&self, release: Release, keyring: &str) -> String {
        let (Self { archive, security }, name) = (self, release.codename());
        format!(
            "Types: deb\nURIs: {archive}\nSuites: {name} {name}-updates\nComponents: main\n\
             Signed-By: {keyring}\n\n\
             Types: deb\nURIs: {security}\nSuites: {name}-security\nComponents: main\n\
             Signed-By: {keyring}\n"
        )
    }
}

/// URI and suite of each line of a `.list` file.
fn one_line_entries(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

/// URI and suite of each paragraph of a `.sources` file, each with each.
fn deb822_entries(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let values = paragraph.lines().filter_map(|line| line.strip_prefix(name));
            values.flat_map(str::split_whitespace).map(str::to_owned).collect::<Vec<_>>()
        };
        if !field("Types:").contains(&"deb".to_owned()) || field("Enabled:") == ["no"] {
            continue;
        }
        for uri in field("URIs:") {
            entries.extend(field("Suites:").into_iter().map(|suite| (uri.clone(), suite)));
        }
    }
    entries
}

/// The settings of this machine's apt that say how things are fetched (proxies, certificates,
/// checks of dates), as lines of an `apt.conf`. None where there is no apt.
///
/// # Errors
/// When apt is there and its configuration is broken.
pub(super) fn fetch_settings() -> Result<String> {
    if super::program::find("apt-config").is_none() {
        return Ok(String::new());
    }
    Ok(parse_settings(&Program::new(["apt-config", "dump"]).run()?))
}

fn parse_settings(dump: &str) -> String {
    let is_wanted = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default();
        FETCH_SETTINGS.iter().any(|setting| {
            name.strip_prefix(setting).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
    };
    dump.lines().filter(|line| is_wanted(line) && !line.ends_with(" \"\";")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Mirror {
        /// A mirror for tests.
        pub(in crate::lab) fn example() -> Self {
            let archive = "http://mirror.example/debian".to_owned();
            Self { security: format!("{archive}-security"), archive }
        }
    }

    #[test]
    fn takes_the_mirror_of_this_machine() {
        let text = "Types: deb deb-src\n# old\nURIs: http://mirror.example/debian/\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://mirror.example/debian-security\n\
                    Suites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nEnabled: no\nURIs: http://other.example/debian\nSuites: trixie\n";
        let mirror = Mirror::of(&deb822_entries(text)).unwrap();
        assert_eq!(
            mirror.lines(Release::Debian13),
            "deb http://mirror.example/debian trixie main\n\
             deb http://mirror.example/debian trixie-updates main\n\
             deb http://mirror.example/debian-security trixie-security main\n"
        );
        let text = "# deb http://old.example/debian stable main\n\
                    deb [signed-by=/a.gpg arch=amd64] https://apt.example/tool stable main\n\
                    deb [arch=amd64] https://mirror.example/debian stable main\n";
        let mirror = Mirror::of(&one_line_entries(text)).unwrap();
        assert_eq!(mirror.archive, "https://mirror.example/debian");
    }

    #[test]
    fn says_that_there_is_no_mirror() {
        let elsewhere = [("http://archive.example/ubuntu".to_owned(), "noble".to_owned())];
        assert_eq!(
            Mirror::of(&elsewhere).unwrap_err().to_string(),
            "apt on this machine knows no mirror of Debian\n\
             hint: add one to `/etc/apt/sources.list.d/`: the lab's servers use the same"
        );
        let own = [("http://mirror.example/debian".to_owned(), "bookworm".to_owned())];
        let mirror = Mirror::of(&own).unwrap();
        assert!(mirror.deb822(Release::Debian12, "/k.gpg").ends_with(
            "\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n\
             Components: main\nSigned-By: /k.gpg\n"
        ));
    }

    #[test]
    fn takes_only_settings_about_fetching() {
        let dump = "APT::Architecture \"amd64\";\nAcquire \"\";\nAcquire::http \"\";\n\
                    Acquire::http::Proxy \"http://proxy.example:3128\";\n\
                    Acquire::httpsfoo \"x\";\nAcquire::Check-Date \"false\";\nDPkg::x \"y\";\n";
        assert_eq!(
            parse_settings(dump),
            "Acquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Check-Date \"false\";\n"
        );
    }
}
