//! `authorized_key`: public keys that may log in as a user.

mod line;
mod options;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::line::{Key, is_no_key, parse};
use super::account;
use super::bonds::Touch;
use super::effect::keys;
use super::fields::{OneOrMany, Presence, is_one_line};
use super::lines::{self, Lines};
use super::names::Names;
use super::needs::is_mounted_before;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe, Stat, UserEntry};
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use super::{Resource, Spec};
use crate::error::{Error, Kind, Result};
use crate::manifest::ResourceId;

/// Public keys that may log in as a user: lines of `~/.ssh/authorized_keys`.
///
/// Other lines of the file stay, unless `exclusive` says that these keys are all there are.
/// `~/.ssh` gets mode 0700 and the file 0600, both owned by the user. A symlink in place of
/// either is an error, because the user could point it anywhere. So is a line of sshd's files by
/// which these keys would not count for the user, and a home that others can write to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AuthorizedKey {
    /// The user who may log in.
    pub user: String,
    /// A public key as in a `.pub` file, or several of them.
    pub key: OneOrMany,
    /// Options in front of each key, such as `from="192.0.2.1",no-pty`.
    #[serde(default)]
    pub options: Option<String>,
    /// Whether all other keys of the user go. No other key of the user may be declared then.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether the keys should be there.
    #[serde(default)]
    pub state: Presence,
}

impl AuthorizedKey {
    /// The lines of the spec; a text may hold several.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let lines = self.key.0.iter().flat_map(|text| text.lines());
        lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// The lines as they should be in the file.
    fn lines(&self) -> Vec<String> {
        let line = |key: &str| match &self.options {
            Some(options) => format!("{options} {key}"),
            None => key.to_owned(),
        };
        self.keys().map(line).collect()
    }

    fn holds(&self, line: &str) -> bool {
        let Some(found) = parse(line) else { return false };
        self.keys().filter_map(parse).any(|key| key.body == found.body)
    }

    fn home(&self, probe: &dyn Probe) -> Result<UserEntry> {
        probe.user(&self.user)?.ok_or_else(|| {
            Error::new(Kind::ToolMissing, format!("there is no user `{}`", self.user))
                .hint(format!("declare `user: {}` before", self.user))
        })
    }

    /// Whether this spec decides about a line of the file. All lines that may be keys count as
    /// keys for an exclusive list, because sshd may know types of keys that infra does not.
    fn decides(&self, line: &str) -> bool {
        self.holds(line) || self.exclusive && !is_no_key(line)
    }

    /// The lines of a file that this spec decides about.
    fn decided<'a>(&self, content: &'a str) -> Vec<&'a str> {
        content.lines().map(str::trim).filter(|line| self.decides(line)).collect()
    }

    /// The file as it should be, made from the one that is there.
    fn content(&self, current: &[u8]) -> Vec<u8> {
        let found = Value::set(self.decided(&lines::readable(current)));
        if !self.state.is_absent() && found == Value::set(self.lines()) {
            return current.to_vec();
        }
        let mut lines = Lines::of(current);
        lines.set(None, |line| self.decides(&lines::readable(line)));
        if !self.state.is_absent() {
            self.lines().iter().for_each(|line| lines.push(line.as_bytes()));
        }
        lines.bytes()
    }

    /// The file and its attributes, if the user may know what it holds: the file is written back
    /// as the user's own.
    fn file(&self, path: &str, probe: &dyn Probe) -> Result<Option<(Vec<u8>, Stat)>> {
        if expect(probe, path, FileKind::File)?.is_none() {
            return Ok(None);
        }
        let Some((content, stat)) = lines::read(path, probe)? else { return Ok(None) };
        let number =
            |name: &str| -> Result<Option<u32>> { Ok(probe.user(name)?.map(|user| user.uid)) };
        let is_own = stat.owner == self.user || number(&stat.owner)? == number(&self.user)?;
        if !is_own && stat.mode & 0o004 == 0 {
            let message = format!("`{path}` belongs to `{}`, not to `{}`", stat.owner, self.user);
            return Err(Error::failed(message).hint("look at what was put there, and remove it"));
        }
        Ok(Some((content, stat)))
    }
}

impl Resource for AuthorizedKey {
    const KIND: &'static str = "authorized_key";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- authorized_key:
    user: root
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9yMWaCi4sm0hMhjr5sZCuKIZF4LwHpf5A8vAgxqFvv ada@laptop
- authorized_key:
    user: deploy
    exclusive: true
    options: restrict,pty
    key:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9yMWaCi4sm0hMhjr5sZCuKIZF4LwHpf5A8vAgxqFvv ada@laptop
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG3PeHSXAmLOO9yx1q0qaXLPDLqpZP4yhkOHWMU4NWhL bob@desk
";

    /// `root/ada@laptop-1f2e3d4c`: the comment for people, and the beginning of the key's hash,
    /// because comments repeat. All keys of a user together are called like the user.
    fn identity(&self) -> String {
        if self.exclusive {
            return self.user.clone();
        }
        let keys: Vec<Key<'_>> = self.keys().filter_map(parse).collect();
        let mut hash = Sha256::new();
        for key in &keys {
            hash.update(key.body);
        }
        let hash = hash
            .finalize()
            .iter()
            .take(4)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let comment = keys.first().map_or("", |key| key.comment).replace(char::is_whitespace, "_");
        let name = if comment.is_empty() { hash } else { format!("{comment}-{hash}") };
        format!("{}/{name}", self.user)
    }

    fn validate(&self) -> Result<(), String> {
        super::account::check_account_name(&self.user)?;
        if let Some(line) = self.keys().find(|line| parse(line).is_none()) {
            let start: String = line.chars().take(40).collect();
            return Err(format!("`{start}` is not a public key such as `ssh-ed25519 AAAA… name`"));
        }
        if let Some(line) = self.keys().find(|line| parse(line).is_some_and(|key| !key.is_whole()))
        {
            let start: String = line.chars().take(40).collect();
            return Err(format!("`{start}` is not a whole public key: its end is missing"));
        }
        if self.keys().next().is_none() && !(self.exclusive && self.state.is_absent()) {
            return Err("needs a `key`".to_owned());
        }
        let options = self.options.as_deref().unwrap_or("x");
        if options.is_empty() || !is_one_line(options) {
            return Err("`options` has to be one line".to_owned());
        }
        self.lines().iter().try_for_each(|line| options::check(line))
    }

    fn needs(&self) -> Vec<ResourceId> {
        account::named([self.user.as_str()], [])
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("keys", Value::set(self.lines()))
                .with("owner", self.user.as_str())
                .with("mode", "0600")
                .with("folder", format!("{} 0700", self.user))
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let absent = self.state.is_absent();
        let user = match self.home(probe) {
            Err(error) if absent && error.kind == Kind::ToolMissing => return Ok(Current::Absent),
            other => other?,
        };
        if !absent {
            keys::check(&self.user, &user, &file_of(&user), probe)?;
        }
        let Some(folder) = expect(probe, &folder_of(&user), FileKind::Directory)? else {
            return Ok(Current::Absent);
        };
        let path = file_of(&user);
        let Some((content, file)) = self.file(&path, probe)? else { return Ok(Current::Absent) };
        let content = lines::readable(&content);
        let lines = self.decided(&content);
        if lines.is_empty() {
            return Ok(Current::Absent);
        }
        Ok(Current::Present(
            State::new()
                .with("keys", Value::set(lines))
                .with("owner", file.owner)
                .with("mode", format!("{:04o}", file.mode))
                .with("folder", format!("{} {:04o}", folder.owner, folder.mode)),
        ))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if change.is_remove() || probe.is_preview_of_more() {
            return Ok(());
        }
        let user = self.home(probe)?;
        if probe.exists(&user.home)? || is_mounted_before(&user.home, probe) {
            return Ok(());
        }
        Err(Error::failed(format!("the home `{}` of `{}` is not there", user.home, self.user))
            .hint("declare it as a `directory` before, or give the user another `home`"))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let user = self.home(system)?;
        let folder = folder_of(&user);
        let path = file_of(&user);
        let attributes = |mode| Attributes::new(&self.user, &user.group, mode);
        if !change.is_remove() {
            system.make_directory(&folder, &attributes(0o700))?;
            system.set_attributes(&folder, &attributes(0o700))?;
        }
        let before = self.file(&path, system)?.map(|(content, _)| content).unwrap_or_default();
        system.write_file(&path, &self.content(&before), &attributes(0o600))
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let Ok(user) = self.home(world) else { return };
        let path = file_of(&user);
        let content = self.content(&world.read(&path).ok().flatten().unwrap_or_default());
        if !change.is_remove() {
            world.directory(&folder_of(&user), &self.user, &user.group, 0o700);
        }
        world.file(&path, &content, &self.user, &user.group, 0o600);
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // A key that should go went; other keys of an exclusive list do not come back.
        Some(Dropped::goes(Self { exclusive: false, state: Presence::Absent, ..self.clone() }))
    }

    /// The keys may have been there, whatever else of the file changes.
    fn is_found(&self, change: &Change, probe: &dyn Probe) -> Result<bool> {
        let Some(user) = probe.user(&self.user)?.filter(|_| !change.is_create()) else {
            return Ok(false);
        };
        let content = self.file(&file_of(&user), probe)?.map(|(content, _)| content);
        let content = lines::readable(&content.unwrap_or_default()).into_owned();
        Ok(content.lines().any(|line| self.holds(line.trim())))
    }

    fn beside(&self, declared: &Spec, _: &Names<'_>) -> Option<Self> {
        let Spec::AuthorizedKey(other) = declared else { return Some(self.clone()) };
        if other.user != self.user || other.state.is_absent() {
            return Some(self.clone());
        }
        let rest = self.keys().filter(|key| !other.holds(key)).map(str::to_owned);
        let key = OneOrMany(rest.collect());
        (!key.0.is_empty()).then(|| Self { key, ..self.clone() })
    }

    fn touches(&self, _: &Change, probe: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let paths = self.switched_paths(probe)?;
        Ok(paths.into_iter().map(|path| (path, Touch::Edited)).collect())
    }

    /// The file of an account whose home is where Debian puts it.
    fn switches(&self) -> Vec<String> {
        let home = match self.user.as_str() {
            "root" => "/root".to_owned(),
            name => format!("/home/{name}"),
        };
        vec![format!("{home}/.ssh/authorized_keys")]
    }

    fn shares(&self, probe: Option<&dyn Probe>) -> Vec<(String, Share)> {
        // Without a server nobody knows where the home is, and all keys of a user are in one file.
        let unknown = || vec![format!("~{}/.ssh/authorized_keys", self.user)];
        let paths = probe.map(|probe| self.switched_paths(probe).unwrap_or_else(|_| unknown()));
        let paths = paths.unwrap_or_else(unknown);
        paths.into_iter().map(|path| (path, Share::Part)).collect()
    }

    fn edits(&self, _: &str, content: &[u8], _: Option<&dyn Probe>) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.content(content)))
    }

    fn switched_paths(&self, probe: &dyn Probe) -> Result<Vec<String>> {
        Ok(match self.home(probe) {
            Ok(user) => vec![file_of(&user)],
            // There is no account, and so no file.
            Err(_) => self.switches(),
        })
    }
}

fn folder_of(user: &UserEntry) -> String {
    format!("{}/.ssh", user.home.trim_end_matches('/'))
}

fn file_of(user: &UserEntry) -> String {
    format!("{}/authorized_keys", folder_of(user))
}

/// What is at `path`, which may be nothing and may not be of another kind.
fn expect(probe: &dyn Probe, path: &str, kind: FileKind) -> Result<Option<Stat>> {
    match probe.stat(path)? {
        Some(stat) if stat.kind != kind => {
            Err(Error::failed(format!("`{path}` is a {}, not a {}", stat.kind.noun(), kind.noun()))
                .hint("look at what the user put there, and remove it"))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The keys are found in the file that holds them, whatever options and other lines are in it, and a
        /// second writing changes no byte.
        #[test]
        fn keys_are_read_back(
            options in proptest::option::of("[a-z-]{1,8}(=\"([a-z ,=#]|\\\\\"){0,9}\")?"),
            bodies in proptest::collection::btree_set("[A-Za-z0-9+/]{4,9}", 1..4),
            before in proptest::collection::vec(any::<u8>(), 0..60),
            exclusive in any::<bool>(),
        ) {
            let keys: Vec<String> = bodies.iter().map(|body| format!("ssh-ed25519 AAAA{body} me@x")).collect();
            let key = OneOrMany(keys);
            let spec = AuthorizedKey { user: "ada".into(), key, options, exclusive, state: Presence::Present };
            let after = spec.content(&before);
            let text = lines::readable(&after);
            for body in &bodies {
                let is_found = |line: &&str| parse(line).is_some_and(|key| key.body == format!("AAAA{body}"));
                prop_assert_eq!(text.lines().filter(is_found).count(), 1);
            }
            prop_assert_eq!(spec.content(&after), after);
        }
    }

    #[test]
    fn an_exclusive_list_leaves_comments_and_nothing_else() {
        let mut spec = AuthorizedKey {
            user: "root".into(),
            key: OneOrMany(vec!["ssh-ed25519 AAAAx ada".into()]),
            options: None,
            exclusive: true,
            state: Presence::Present,
        };
        let before = b"# k\xe9ys\ncommand=\"\\\"\" ssh-rsa AAAAy bob\nnew-type AAAAz\n\n";
        assert_eq!(spec.content(before), b"# k\xe9ys\n\nssh-ed25519 AAAAx ada\n");
        spec.exclusive = false;
        assert_eq!(spec.content(b"a\xe9\nssh-rsa AAAAx"), b"a\xe9\nssh-ed25519 AAAAx ada\n");
        assert_eq!(spec.content(b""), b"ssh-ed25519 AAAAx ada\n");
        assert_eq!(spec.content(b"#\r\n#\r\n"), b"#\r\n#\r\nssh-ed25519 AAAAx ada\r\n");
        spec.state = Presence::Absent;
        assert_eq!(spec.content(b"ssh-rsa AAAAx\n# \xe9"), b"# \xe9");
    }

    #[test]
    fn identities_tell_keys_with_one_comment_apart() {
        let spec = |body: &str| AuthorizedKey {
            user: "root".into(),
            key: OneOrMany(vec![format!("ssh-ed25519 {body} ada")]),
            options: None,
            exclusive: false,
            state: Presence::Present,
        };
        assert_eq!(spec("AAAAx").identity(), "root/ada-84e6d8c7");
        assert_ne!(spec("AAAAx").identity(), spec("AAAAy").identity());
    }
}
