//! Reading a server. A check receives a [`Probe`] and nothing else, so it cannot write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bonds::Bonds;
use super::excerpt;
use super::query::Query;
use crate::error::Result;
use crate::manifest::ResourceId;

/// The folders in which programs are found by their names, as infra runs them.
pub const PROGRAMS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Everything a check may ask. Implemented by the host itself (`agent::host`), by the prediction
/// that a preview reads through, and by the tests' in-memory server.
pub trait Probe {
    /// What the host is.
    fn facts(&self) -> &Facts;

    /// What is at `path`, without following a symlink at its end; `None` if nothing is.
    fn stat(&self, path: &str) -> Result<Option<Stat>>;

    /// Whether anything is at `path`; a dangling symlink counts.
    fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.stat(path)?.is_some())
    }

    /// Whether a program can be found by its name, or is at its path. Of a path that is relative, nothing is said.
    fn has_program(&self, program: &str) -> Result<bool> {
        let has_name = |folder: &&str| self.exists(&format!("{folder}/{program}"));
        if program.contains('/') {
            return if program.starts_with('/') { self.exists(program) } else { Ok(true) };
        }
        for folder in PROGRAMS {
            if has_name(&folder)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The content of the regular file at `path` (a symlink is followed), and the attributes of
    /// the very file that it was read from; `None` if there is none. A kind that writes the content
    /// back writes these attributes with it: the name may be another file's by then.
    fn read_with_stat(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>>;

    /// The access list and the extended attributes of the regular file at `path`, by name, where root alone
    /// can have put it there. A server may have none of them.
    fn extended(&self, _path: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    /// The content alone, where it goes nowhere but into a comparison.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.read_with_stat(path)?.map(|(content, _)| content))
    }

    /// Where the symlink at `path` points; `None` if there is no symlink.
    fn read_link(&self, path: &str) -> Result<Option<String>>;

    /// The names in the folder at `path`, sorted; `None` if there is no folder.
    fn list(&self, path: &str) -> Result<Option<Vec<String>>>;

    /// Whether others than root can put something else at `path`, or at a folder on the way: then
    /// no program of root's may be sent there by this path.
    fn can_others_change(&self, path: &str) -> Result<bool>;

    /// The bonds of the thing at `path` to its place: further names, and flags that forbid changes.
    fn bonds(&self, path: &str) -> Result<Bonds>;

    /// The user `name`; `None` if there is none.
    fn user(&self, name: &str) -> Result<Option<UserEntry>>;

    /// The group `name`; `None` if there is none.
    fn group(&self, name: &str) -> Result<Option<GroupEntry>>;

    /// The names of the users that the host's own tables list, sorted.
    fn users(&self) -> Result<Vec<String>>;

    /// The names of the groups that the host's own tables list, sorted.
    fn groups(&self) -> Result<Vec<String>>;

    /// The processes of the user with this number, apart from those of containers.
    fn processes_of(&self, uid: u32) -> Result<Vec<UserProcess>>;

    /// The version of the installed package of this very name, such as `nginx` or `libc6:i386`;
    /// `None` if it is not (fully) installed.
    fn package(&self, name: &str) -> Result<Option<String>>;

    /// The package that dpkg has under this name, and the installed packages that provide it or have it for
    /// another architecture.
    fn packages_of(&self, name: &str) -> Result<Vec<PackageEntry>>;

    /// The systemd unit `name`, with its suffix.
    fn unit(&self, name: &str) -> Result<Unit>;

    /// Runs a program that only reads. A program that is not there is an error of the kind
    /// `ToolMissing`; an exit code other than zero is no error.
    fn query(&self, query: &Query) -> Result<Output>;

    /// The answer of a program that depends on nothing but `files`: programs, files and folders.
    /// The answer of an earlier run is taken while all of them are as they were then. `None` where
    /// a preview changes one of them: nobody can ask before the apply.
    fn answer(&self, query: &Query, _files: &[String]) -> Result<Option<Output>> {
        self.query(query).map(Some)
    }

    /// Rows of a question to a PostgreSQL cluster of the host, as text, in a read-only transaction.
    /// No server there is an error of the kind `ToolMissing`. `$1`, `$2` … in `sql` stand for
    /// `parameters`, all of them texts.
    fn sql(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>>;

    /// Whether something accepts a TCP connection there within `timeout`.
    fn connects(&self, address: SocketAddr, timeout: Duration) -> Result<bool>;

    /// The way by which somebody is on the host who would be locked out without it; `None` where nobody
    /// is, or where the way is not known.
    fn way_in(&self) -> Option<WayIn> {
        None
    }

    /// Whether this resource has changed in this run (or will, in a preview), or is still owed
    /// its consequences from an earlier run that was cut.
    fn changed(&self, id: &ResourceId) -> bool;

    /// Announces the units that later calls of [`Probe::unit`] will ask about, so that one
    /// question to systemd serves them all.
    fn preload_units(&self, _names: &[String]) {}

    /// Whether something that the host lacks may be brought by an earlier resource of this kind in the same
    /// run: always `false` outside a preview.
    fn is_preview_after(&self, _kind: &str) -> bool {
        false
    }

    /// The earlier resources that will have changed the host: none outside a preview.
    fn changed_before(&self) -> Vec<&ResourceId> {
        Vec::new()
    }

    /// Whether one of them is of these kinds.
    fn is_after_change_of(&self, kinds: &[&str]) -> bool {
        self.changed_before().iter().any(|id| kinds.contains(&id.kind()))
    }

    /// Whether something that the host lacks may be brought by an earlier resource of any kind.
    fn is_preview_of_more(&self) -> bool {
        false
    }

    /// The last command of a preview so far whose arguments name `name`, a path or the name of a thing: nobody
    /// knows how that will be.
    fn command_about(&self, _name: &str) -> Option<ResourceId> {
        None
    }

    /// Whether a unit with this beginning is there, stopped, and will be started by an earlier
    /// resource of a preview: what it holds cannot be asked yet.
    fn will_start(&self, _prefix: &str) -> bool {
        false
    }

    /// Whether an earlier resource of a preview starts or restarts a unit.
    fn starts_units(&self) -> bool {
        false
    }

    /// The last resource of a preview so far that brings what nobody can list before: once it is applied, all
    /// is known.
    fn last_unpredictable(&self) -> Option<ResourceId> {
        None
    }
}

/// A PostgreSQL cluster of a host, as a spec names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cluster {
    /// The one that the host starts; several are an error.
    #[default]
    Only,
    /// By version and name, as `pg_lsclusters` lists it: `15/main`.
    Named(String),
    /// By its port.
    Port(u16),
}

impl Cluster {
    /// The name that the spec gives it, if any: `15/main`, `5433`.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Only => None,
            Self::Named(name) => Some(name.clone()),
            Self::Port(port) => Some(port.to_string()),
        }
    }
}

/// A row: one text, or NULL, for each column.
pub type SqlRow = Vec<Option<String>>;

/// A login over OpenSSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayIn {
    /// The account of the login.
    pub account: String,
    /// The unit of the daemon that let it in.
    pub unit: Option<String>,
}

impl WayIn {
    /// The packages that such a login needs.
    pub fn packages(&self) -> &'static [&'static str] {
        if self.account == "root" { &["openssh-server"] } else { &["openssh-server", "sudo"] }
    }
}

/// A process that runs as some user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProcess {
    /// Its number.
    pub pid: u32,
    /// The name of its program, as the kernel cuts it.
    pub name: String,
    /// The service that it belongs to.
    pub unit: Option<String>,
}

/// What a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `debian-12`: `ID` and `VERSION_ID` of `/etc/os-release`.
    pub os: String,
    /// `bookworm`: `VERSION_CODENAME`.
    pub codename: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// The kernel's host name.
    pub hostname: String,
    /// Number of processors online.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Size of the root file system in bytes.
    pub disk_bytes: u64,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Regular file, folder or something else.
    pub kind: FileKind,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u32,
    /// The owner's name, or its number where it has no name.
    pub owner: String,
    /// The group's name, or its number where it has no name.
    pub group: String,
    /// Size in bytes.
    pub size: u64,
}

/// The kinds of things a path can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

impl FileKind {
    /// The word for it in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "device, socket or pipe",
        }
    }
}

/// A line of `/etc/passwd`, with the groups that list the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserEntry {
    /// The user's number.
    pub uid: u32,
    /// The name of its primary group.
    pub group: String,
    /// The names of the other groups that list it, sorted.
    pub groups: Vec<String>,
    /// The comment field.
    pub comment: String,
    /// The home folder.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// The password field of `/etc/shadow`, if it could be read.
    pub password_hash: Option<String>,
    /// The first day on which nobody gets in by it, in days since 1 January 1970.
    pub expires: Option<u32>,
}

/// A line of `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupEntry {
    /// The group's number.
    pub gid: u32,
    /// The users it lists, sorted.
    pub members: Vec<String>,
}

/// A package as dpkg knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageEntry {
    /// Its name: `nginx`, or `libc6:i386` where that is not the server's own architecture.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it is fully installed; otherwise it was removed and its configuration files stayed.
    pub is_installed: bool,
    /// Whether somebody keeps it as it is by `apt-mark hold`.
    pub is_held: bool,
    /// Whether it has the name that was asked for, and is not another one that provides it.
    pub has_asked_name: bool,
}

/// What systemd knows of a unit, in the words of `systemctl show`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `loaded`, `not-found`, `masked`…
    pub load_state: String,
    /// `active`, `inactive`, `failed`, `activating`…
    pub active_state: String,
    /// `running`, `exited`, `dead`, `auto-restart`…
    pub sub_state: String,
    /// `enabled`, `disabled`, `static`, `masked`, or empty.
    pub unit_file_state: String,
    /// Whether its files changed on disk since systemd read them.
    pub needs_daemon_reload: bool,
    /// Other properties by name, where a query asked for them.
    pub properties: BTreeMap<String, String>,
}

impl Unit {
    /// Whether systemd has it.
    pub fn exists(&self) -> bool {
        !matches!(self.load_state.as_str(), "" | "not-found")
    }

    /// Whether it has no way to read its configuration anew while it runs.
    pub fn cannot_reload(&self) -> bool {
        self.properties.get("CanReload").is_some_and(|can| can == "no")
    }

    /// Its own name, where it was asked for as `name`: that may be another name of it.
    pub fn own_name<'a>(&'a self, name: &'a str) -> &'a str {
        let id = self.properties.get("Id").map(String::as_str);
        id.filter(|id| !id.is_empty() && self.exists()).unwrap_or(name)
    }

    /// Whether it runs, or has done its one job and counts as running.
    pub fn is_active(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "reloading")
    }
}

/// What a program answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 + the signal's number if a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it exited with zero.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Its standard output as text, without space at the ends.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// At most `lines` lines of both of its outputs, for error messages: the last ones, and those that name what
    /// went wrong.
    pub fn tail(&self, lines: usize) -> String {
        let text = [self.stdout.as_slice(), self.stderr.as_slice()]
            .map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
        let parts: Vec<&str> =
            text.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        excerpt::last(&parts.join("\n"), lines)
    }
}
