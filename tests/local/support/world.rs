//! What a test says about a server: its files, accounts, packages, units and answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use infra::resources::probe::{GroupEntry, PackageEntry, SqlRow, UserEntry};
use infra::resources::{Facts, Unit};

/// A server, or a patch of one: in a patch, what is `null` goes and what is not named stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct World {
    /// By path.
    pub(crate) files: BTreeMap<String, Option<Node>>,
    /// By name.
    pub(crate) users: BTreeMap<String, Option<User>>,
    /// By name.
    pub(crate) groups: BTreeMap<String, Option<Group>>,
    /// Packages by name: a text is the version of an installed one.
    pub(crate) packages: BTreeMap<String, Option<PackageState>>,
    /// By full name.
    pub(crate) units: BTreeMap<String, Option<UnitState>>,
    /// What programs answer. In a patch they come before the ones that were there.
    pub(crate) answers: Vec<Answer>,
    /// What PostgreSQL answers; likewise.
    pub(crate) sql: Vec<SqlAnswer>,
    /// Programs that are not on the server; PostgreSQL is missing as `postgresql`.
    pub(crate) missing: Option<Vec<String>>,
    /// Folders where others than root can put things.
    pub(crate) writable_by_others: Vec<String>,
    /// The account that is logged in.
    pub(crate) login: Option<String>,
    /// The processes that run, in a patch beside those of before.
    pub(crate) processes: Vec<WorldProcess>,
    /// Addresses with ports that accept connections.
    pub(crate) ports: Option<Vec<SocketAddr>>,
    /// Resources that have changed earlier in the same run.
    pub(crate) changed: Vec<String>,
    /// What the host is; a Debian 12 if not given.
    pub(crate) facts: Option<HostFacts>,
}

/// A process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorldProcess {
    pub(crate) uid: u32,
    pub(crate) name: String,
    /// The service that it belongs to.
    #[serde(default)]
    pub(crate) unit: Option<String>,
}

/// What is at a path: a text is short for a file of that content.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Node {
    /// The content of a file with the usual attributes.
    Text(String),
    /// Anything.
    Full(FullNode),
}

/// A file, if neither `directory` nor `symlink` is given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FullNode {
    pub(crate) content: String,
    pub(crate) directory: bool,
    pub(crate) symlink: Option<String>,
    /// A device, socket or pipe.
    pub(crate) device: bool,
    /// A file of this many bytes, whatever it holds.
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) group: Option<String>,
    /// How many names it has (hard links).
    pub(crate) names: Option<u64>,
    /// `immutable` or `append-only`.
    pub(crate) flag: Option<String>,
}

/// A user; its home is `/home/NAME`, its shell `/bin/bash` and its group that of its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct User {
    uid: Option<u32>,
    group: Option<String>,
    groups: Vec<String>,
    comment: String,
    home: Option<String>,
    shell: Option<String>,
    password_hash: Option<String>,
    /// Days since 1970.
    expires: Option<u32>,
}

impl User {
    /// As a kind sees it.
    pub(crate) fn entry(&self, name: &str) -> UserEntry {
        UserEntry {
            uid: self.uid.unwrap_or(1000),
            group: self.group.clone().unwrap_or_else(|| name.to_owned()),
            groups: self.groups.clone(),
            comment: self.comment.clone(),
            home: self.home.clone().unwrap_or_else(|| format!("/home/{name}")),
            shell: self.shell.clone().unwrap_or_else(|| "/bin/bash".to_owned()),
            password_hash: self.password_hash.clone(),
            expires: self.expires,
        }
    }
}

/// A group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Group {
    gid: Option<u32>,
    members: Vec<String>,
}

impl Group {
    /// As a kind sees it.
    pub(crate) fn entry(&self) -> GroupEntry {
        GroupEntry { gid: self.gid.unwrap_or(1000), members: self.members.clone() }
    }
}

/// A package that dpkg knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum PackageState {
    /// The version of one that is installed.
    Version(String),
    /// Any.
    Full(FullPackage),
}

/// A package in whatever state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullPackage {
    version: String,
    #[serde(default)]
    provides: Vec<String>,
    #[serde(default)]
    held: bool,
    /// Only its configuration files are there.
    #[serde(default)]
    removed: bool,
}

impl PackageState {
    /// As a kind sees it, and what it provides.
    pub(crate) fn entry(&self, name: &str) -> (PackageEntry, Vec<String>) {
        let full = match self {
            Self::Full(full) => full.clone(),
            Self::Version(version) => {
                let version = version.clone();
                FullPackage { version, provides: Vec::new(), held: false, removed: false }
            }
        };
        let entry = PackageEntry {
            name: name.to_owned(),
            version: full.version,
            is_installed: !full.removed,
            is_held: full.held,
            has_asked_name: false,
        };
        (entry, full.provides)
    }
}

/// A unit that systemd has loaded; it is inactive and disabled if nothing else is said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UnitState {
    load_state: Option<String>,
    active_state: Option<String>,
    sub_state: Option<String>,
    unit_file_state: Option<String>,
    needs_daemon_reload: bool,
    properties: BTreeMap<String, String>,
}

impl UnitState {
    /// As a kind sees it.
    pub(crate) fn unit(&self) -> Unit {
        let or = |text: &Option<String>, default: &str| {
            text.clone().unwrap_or_else(|| default.to_owned())
        };
        let active_state = or(&self.active_state, "inactive");
        let sub_state = if active_state == "active" { "running" } else { "dead" };
        Unit {
            load_state: or(&self.load_state, "loaded"),
            sub_state: or(&self.sub_state, sub_state),
            active_state,
            unit_file_state: or(&self.unit_file_state, "disabled"),
            needs_daemon_reload: self.needs_daemon_reload,
            properties: self.properties.clone(),
        }
    }
}

/// What a program answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// The program and its first arguments; the longest match answers.
    pub(crate) run: Vec<String>,
    #[serde(default)]
    pub(crate) stdout: String,
    #[serde(default)]
    pub(crate) stderr: String,
    #[serde(default)]
    pub(crate) status: i32,
    /// The program does not end within its time.
    #[serde(default)]
    pub(crate) hangs: bool,
    /// How long the program takes: it does not end within less time.
    #[serde(default)]
    pub(crate) seconds: u32,
    /// What an apply that runs it brings about; a check brings nothing about.
    #[serde(default)]
    pub(crate) then: Option<World>,
    /// A patch that happens by itself after an apply has run it.
    #[serde(default)]
    pub(crate) later: Option<Later>,
}

/// A patch that happens by itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Later {
    /// How long somebody has to wait for it.
    pub(crate) milliseconds: u32,
    pub(crate) world: World,
}

/// What PostgreSQL answers to a statement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlAnswer {
    /// The cluster, as `15/main` or a port; the only one if not given.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
    /// Any database if not given.
    #[serde(default)]
    pub(crate) database: Option<String>,
    /// Words of the statement, its beginning or all of it.
    pub(crate) sql: String,
    /// Any parameters if not given.
    #[serde(default)]
    pub(crate) parameters: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) rows: Vec<SqlRow>,
    /// What an apply that executes it brings about.
    #[serde(default)]
    pub(crate) then: Option<World>,
}

/// What a host is, as far as a kind asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HostFacts {
    os: String,
    codename: String,
    arch: String,
    hostname: String,
    cpus: u32,
    memory_bytes: u64,
    disk_bytes: u64,
}

impl Default for HostFacts {
    fn default() -> Self {
        Self {
            os: "debian-12".to_owned(),
            codename: "bookworm".to_owned(),
            arch: "x86_64".to_owned(),
            hostname: "rufus".to_owned(),
            cpus: 2,
            memory_bytes: 2 << 30,
            disk_bytes: 40 << 30,
        }
    }
}

impl HostFacts {
    /// As a kind sees them.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            os: self.os.clone(),
            codename: self.codename.clone(),
            arch: self.arch.clone(),
            hostname: self.hostname.clone(),
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disk_bytes,
        }
    }
}
