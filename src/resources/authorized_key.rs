//! `authorized_key`: public keys that may log in as a user.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fields::{OneOrMany, Presence};
use super::prediction::Prediction;
use super::probe::{FileKind, Probe, UserEntry};
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::{Attributes, System};
use super::{Resource, Spec};
use crate::error::{Error, Kind, Result};

/// Public keys that may log in as a user: lines of `~/.ssh/authorized_keys`.
///
/// Other lines of the file stay, unless `exclusive` says that these keys are all there are.
/// `~/.ssh` gets mode 0700 and the file 0600, both owned by the user. A symlink in place of
/// either is an error, because the user could point it anywhere.
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
    /// Whether all other keys of the user go.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether the keys should be there.
    #[serde(default)]
    pub state: Presence,
}

/// One public key of a file.
struct Key<'a> {
    /// The encoded key, which tells it from all others.
    body: &'a str,
    /// What follows it, usually `user@machine`.
    comment: &'a str,
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

    /// The file as it should be, made from the one that is there.
    fn content(&self, current: Option<Vec<u8>>) -> String {
        let current = String::from_utf8_lossy(&current.unwrap_or_default()).into_owned();
        let stays = |line: &&str| {
            let is_key = parse(line).is_some();
            !(self.holds(line) || self.exclusive && is_key)
        };
        let mut lines: Vec<String> = current.lines().filter(stays).map(str::to_owned).collect();
        if !self.state.is_absent() {
            lines.extend(self.lines());
        }
        lines.iter().fold(String::new(), |text, line| format!("{text}{line}\n"))
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
        super::user::check_account_name(&self.user)?;
        if let Some(line) = self.keys().find(|line| parse(line).is_none()) {
            let start: String = line.chars().take(40).collect();
            return Err(format!("`{start}` is not a public key such as `ssh-ed25519 AAAA… name`"));
        }
        if self.keys().next().is_none() && !(self.exclusive && self.state.is_absent()) {
            return Err("needs a `key`".to_owned());
        }
        let options = self.options.as_deref().unwrap_or("x");
        if options.is_empty() || options.contains('\n') {
            return Err("`options` has to be one line".to_owned());
        }
        Ok(())
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
        let Some(folder) = expect(probe, &folder_of(&user), FileKind::Directory)? else {
            return Ok(Current::Absent);
        };
        let path = file_of(&user);
        let Some(file) = expect(probe, &path, FileKind::File)? else {
            return Ok(Current::Absent);
        };
        let content = probe.read(&path)?.unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let counts = |line: &&str| self.holds(line) || (self.exclusive && parse(line).is_some());
        let lines: Vec<&str> = content.lines().map(str::trim).filter(counts).collect();
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

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let user = self.home(system)?;
        let folder = folder_of(&user);
        let path = file_of(&user);
        let attributes = |mode| Attributes::new(&self.user, &user.group, mode);
        if !change.is_remove() {
            system.make_directory(&folder, &attributes(0o700))?;
            system.set_attributes(&folder, &attributes(0o700))?;
        }
        let content = self.content(system.read(&path)?);
        system.write_file(&path, content.as_bytes(), &attributes(0o600))
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let Ok(user) = self.home(world) else { return };
        let path = file_of(&user);
        let content = self.content(world.read(&path).ok().flatten());
        if !change.is_remove() {
            world.directory(&folder_of(&user), &self.user, &user.group, 0o700);
        }
        world.file(&path, content.as_bytes(), &self.user, &user.group, 0o600);
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // A key that should go went; other keys of an exclusive list do not come back.
        Some(Dropped::goes(Self { exclusive: false, state: Presence::Absent, ..self.clone() }))
    }

    fn beside(&self, declared: &Spec) -> Option<Self> {
        let Spec::AuthorizedKey(other) = declared else { return Some(self.clone()) };
        if other.user != self.user || other.state.is_absent() {
            return Some(self.clone());
        }
        let rest = self.keys().filter(|key| !other.holds(key)).map(str::to_owned);
        let key = OneOrMany(rest.collect());
        (!key.0.is_empty()).then(|| Self { key, ..self.clone() })
    }

    /// The file of an account whose home is where Debian puts it.
    fn switches(&self) -> Vec<String> {
        let home = match self.user.as_str() {
            "root" => "/root".to_owned(),
            name => format!("/home/{name}"),
        };
        vec![format!("{home}/.ssh/authorized_keys")]
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
fn expect(probe: &dyn Probe, path: &str, kind: FileKind) -> Result<Option<super::probe::Stat>> {
    match probe.stat(path)? {
        Some(stat) if stat.kind != kind => {
            Err(Error::failed(format!("`{path}` is a {}, not a {}", stat.kind.noun(), kind.noun()))
                .hint("look at what the user put there, and remove it"))
        }
        other => Ok(other),
    }
}

/// Finds the key in a line, which may have options in front of it. Options may hold spaces
/// within quotes, so that the type of the key is searched outside of them.
fn parse(line: &str) -> Option<Key<'_>> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut quoted = false;
    let mut start = 0;
    for (index, c) in line.char_indices().chain([(line.len(), ' ')]) {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                if is_key_type(line.get(start..index)?) {
                    let rest = line.get(index..)?.trim_start();
                    let (body, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
                    let is_body = body.starts_with("AAAA")
                        && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
                    return is_body.then_some(Key { body, comment: comment.trim() });
                }
                start = index + 1;
            }
            _ => {}
        }
    }
    None
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_behind_options() {
        for (line, found) in [
            ("ssh-ed25519 AAAAx ada@laptop", Some(("AAAAx", "ada@laptop"))),
            ("ssh-ed25519 AAAAx", Some(("AAAAx", ""))),
            (
                "from=\"192.0.2.1\",command=\"ssh-x do it\" ssh-rsa AAAAy me at home",
                Some(("AAAAy", "me at home")),
            ),
            ("# ssh-ed25519 AAAAx old", None),
            ("ssh-ed25519 hello", None),
            ("", None),
        ] {
            let key = parse(line).map(|key| (key.body, key.comment));
            assert_eq!(key, found, "{line}");
        }
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
