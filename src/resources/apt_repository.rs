//! `apt_repository`: a source of packages beside Debian's own, with the key that signs it.

use serde::{Deserialize, Serialize};

use super::bonds::{self, Touch};
use super::effect::{self, apt};
use super::fields::{AbsolutePath, OneOrMany, Presence};
use super::package::owe_update;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use super::{Resource, url};
use crate::error::{Error, Result};

/// A source of packages: `/etc/apt/sources.list.d/NAME.sources`, and the key that signs it.
///
/// It counts only while apt reads its sources: where apt refuses them, as for two files that name one
/// archive with different keys, the new file is put back at once.
///
/// The lists of packages are fetched once, before the next `package` that is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AptRepository {
    /// What its files are called.
    pub name: String,
    /// Where it is: one address or several.
    #[serde(default)]
    pub uris: OneOrMany,
    /// Its suites, such as `bookworm` or `bookworm-backports`; an exact path that ends in `/` for
    /// a repository without suites.
    #[serde(default)]
    pub suites: OneOrMany,
    /// Its components, such as `main`; none where the suite is an exact path.
    #[serde(default)]
    pub components: OneOrMany,
    /// `deb`, `deb-src` or both.
    #[serde(default = "default_types")]
    pub types: OneOrMany,
    /// The architectures to use; that of the server if none is given.
    #[serde(default)]
    pub architectures: OneOrMany,
    /// The armored public key that signs it; kept in `/etc/apt/keyrings/NAME.asc`.
    #[serde(default)]
    pub key: Option<String>,
    /// A file on the server with the key, instead of `key`.
    #[serde(default)]
    pub signed_by: Option<AbsolutePath>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// The schemes of archives on other servers (sources.list(5)).
const OF_SERVERS: [&str; 8] =
    ["ftp", "http", "https", "mirror", "mirror+http", "mirror+https", "tor+http", "tor+https"];

fn default_types() -> OneOrMany {
    OneOrMany(vec!["deb".to_owned()])
}

impl AptRepository {
    fn sources_path(&self) -> String {
        format!("/etc/apt/sources.list.d/{}.sources", self.name)
    }

    fn key_path(&self) -> String {
        format!("/etc/apt/keyrings/{}.asc", self.name)
    }

    /// The source in the format deb822.
    fn sources(&self) -> String {
        let signed_by = match (&self.key, &self.signed_by) {
            (Some(_), _) => vec![self.key_path()],
            (None, Some(path)) => vec![path.to_string()],
            (None, None) => Vec::new(),
        };
        [
            ("Types", &self.types.0),
            ("URIs", &self.uris.0),
            ("Suites", &self.suites.0),
            ("Components", &self.components.0),
            ("Architectures", &self.architectures.0),
            ("Signed-By", &signed_by),
        ]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .fold("# Managed by infra.\n".to_owned(), |text, (field, values)| {
            format!("{text}{field}: {}\n", values.join(" "))
        })
    }

    /// The key with exactly one line break at its end.
    fn key_content(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("{}\n", key.trim()))
    }
}

impl Resource for AptRepository {
    const KIND: &'static str = "apt_repository";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- apt_repository:
    name: backports
    uris: http://mirror.example/debian
    suites: bookworm-backports
    components: main
    signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
- apt_repository: { name: old-vendor, state: absent }
";

    fn needed_paths(&self) -> Vec<String> {
        self.signed_by.iter().map(ToString::to_string).collect()
    }

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(allowed) {
            return Err(format!("`{}` is not a name that apt accepts for a source", self.name));
        }
        if self.state.is_absent() {
            return Ok(());
        }
        if self.uris.0.is_empty() {
            return Err("needs `uris`".to_owned());
        }
        if self.suites.0.is_empty() {
            return Err("needs `suites`".to_owned());
        }
        let is_path = |suite: &String| suite.ends_with('/');
        if self.components.0.is_empty() && !self.suites.0.iter().all(is_path) {
            return Err("needs `components`, or a suite that ends in `/`".to_owned());
        }
        if !self.components.0.is_empty() && self.suites.0.iter().any(is_path) {
            return Err("`components` goes with no suite that ends in `/`".to_owned());
        }
        let is_address = |uri: &String| uri.contains(":/") && !uri.starts_with(':');
        if let Some(uri) = self.uris.0.iter().find(|uri| !is_address(uri)) {
            return Err(format!("`{uri}` is no address such as `https://mirror.example/debian`"));
        }
        self.uris.0.iter().try_for_each(|uri| url::check_server(uri, &OF_SERVERS))?;
        let lists = [&self.uris, &self.suites, &self.components, &self.types, &self.architectures];
        let mut texts = lists.into_iter().flat_map(|list| &list.0);
        if let Some(text) = texts.find(|text| {
            text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control())
        }) {
            return Err(format!("`{text}` holds a space: write a list instead"));
        }
        match (&self.key, &self.signed_by) {
            (Some(_), Some(_)) => Err("`key` excludes `signed_by`".to_owned()),
            (None, None) => Err("needs the `key` that signs it, or `signed_by`".to_owned()),
            (Some(key), None) if !is_armored(key) => {
                Err("`key` is not an armored public key: it begins with \
                 `-----BEGIN PGP PUBLIC KEY BLOCK-----`"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("source", Value::Content(self.sources().into_bytes()))
                .with("mode", "0644")
                .with_some("key", self.key_content().map(|key| Value::Content(key.into_bytes())))
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let key = probe.read(&self.key_path())?;
        let sources = self.sources();
        let Some(stat) = probe.stat(&self.sources_path())? else {
            if !self.state.is_absent() {
                apt::check_file(&self.sources_path(), &sources, false, probe)?;
            }
            let only_key_is_left =
                self.state.is_absent() && key.is_some() && !self.is_key_shared(probe)?;
            return Ok(if only_key_is_left {
                Current::Present(State::new())
            } else {
                Current::Absent
            });
        };
        if stat.kind != FileKind::File {
            return Err(Error::failed(format!(
                "`{}` is a {}, not a file",
                self.sources_path(),
                stat.kind.noun()
            )));
        }
        let source = probe.read(&self.sources_path())?.unwrap_or_default();
        if !self.state.is_absent() {
            apt::check_file(&self.sources_path(), &sources, source == sources.as_bytes(), probe)?;
        }
        Ok(Current::Present(
            State::new()
                .with("source", Value::Content(source))
                .with("mode", format!("{:04o}", stat.mode))
                .with_some("key", key.map(Value::Content)),
        ))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        match &self.signed_by {
            Some(key)
                if !change.is_remove()
                    && !probe.exists(key.as_str())?
                    && !probe.is_preview_of_more() =>
            {
                Err(Error::failed(format!("there is no key `{key}`"))
                    .hint("give the `key` itself, or declare before what brings its file"))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        // First, so that a run which is cut in between fetches the lists once too often.
        owe_update(system)?;
        if change.is_remove() {
            system.remove_file(&self.sources_path())?;
            if self.is_key_shared(system)? {
                return Ok(());
            }
            return system.remove_file(&self.key_path());
        }
        effect::keep_if_accepted(&self.switches(), system, |system| self.write(change, system))
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(&self.sources_path());
            if !self.is_key_shared(world).unwrap_or(true) {
                world.removed(&self.key_path());
            }
        } else {
            let sources = self.sources();
            world.file(&self.sources_path(), sources.as_bytes(), "root", "root", 0o644);
            if let Some(key) = self.key_content() {
                world.file(&self.key_path(), key.as_bytes(), "root", "root", 0o644);
            }
        }
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self { state: Presence::Absent, ..self.clone() }))
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let files = [(self.sources_path(), &["source", "mode"][..]), (self.key_path(), &["key"])];
        Ok(bonds::written(change, files))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.sources_path(), self.key_path()]
    }
}

impl AptRepository {
    /// Whether another source names the key.
    fn is_key_shared(&self, probe: &dyn Probe) -> Result<bool> {
        let (own, key) = (self.sources_path(), self.key_path());
        let folder = "/etc/apt/sources.list.d";
        let names = probe.list(folder)?.unwrap_or_default().into_iter();
        let others = names.map(|name| format!("{folder}/{name}")).filter(|path| *path != own);
        for path in others.chain(["/etc/apt/sources.list".to_owned()]) {
            let content = probe.read(&path)?.unwrap_or_default();
            if String::from_utf8_lossy(&content).contains(&key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts the key and then the source in place.
    fn write(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let attributes = Attributes::new("root", "root", 0o644);
        if let Some(key) = self.key_content().filter(|_| change.sets("key")) {
            let folder = Attributes::new("root", "root", 0o755);
            system.make_directory("/etc/apt/keyrings", &folder)?;
            system.write_file(&self.key_path(), key.as_bytes(), &attributes)?;
        }
        if change.sets("source") || change.sets("mode") {
            system.write_file(&self.sources_path(), self.sources().as_bytes(), &attributes)?;
        }
        Ok(())
    }
}

fn is_armored(key: &str) -> bool {
    let key = key.trim();
    key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        && key.ends_with("-----END PGP PUBLIC KEY BLOCK-----")
}
