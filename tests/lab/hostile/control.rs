//! The same neighbour beside two agents on this machine: the agent's own way to files, which loses
//! nothing, and a plain way by paths, which has to lose. Otherwise the neighbour proves nothing.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use infra::agent::host::Host;
use infra::error::{Error, Result};
use infra::manifest::ResourceId;
use infra::resources::bonds::Bonds;
use infra::resources::probe::{Cluster, GroupEntry, SqlRow, UserEntry};
use infra::resources::state::Change;
use infra::resources::{
    Attributes, Facts, FileKind, Output, Probe, Progress, Query, Spec, Stat, System, Unit,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

use super::host;
use super::neighbour::{FLIP, FLIPS, flips_in};

crate::tests! {
    the_door_to_files_loses_nothing = 60,
    the_same_kinds_by_path_lose,
}

/// The longest time that a door may take for all flips. A door that waits for a pipe has lost.
const LONGEST: Duration = Duration::from_mins(2);

/// The same for a door that is to lose: a wait is a loss.
const SHORT: Duration = Duration::from_secs(20);

/// How often each kind is checked and applied, at least.
const ROUNDS: u32 = 300;

/// Something of each kind that needs files alone, in a home.
const KINDS: &[(&str, &str)] = &[
    ("directory", "{ path: HOME/private, mode: '0700' }"),
    ("file", "{ path: HOME/private.txt, content: \"CANARY of root\\n\", mode: '0600' }"),
    ("directory", "{ path: HOME/tree, owner: daemon, group: daemon }"),
    ("file", "{ path: HOME/tree/file, content: in a tree, owner: daemon, group: daemon }"),
    ("file", "{ path: HOME/file, content: a file, owner: daemon, group: daemon, mode: '0640' }"),
    ("file", "{ path: HOME/root-file, content: \"CANARY of root\\n\", mode: '0600' }"),
    ("directory", "{ path: HOME/folder, owner: daemon, group: daemon, mode: '0750' }"),
    ("directory", "{ path: HOME/root-folder, mode: '0700' }"),
    ("line", "{ path: HOME/line, line: a line, create: true }"),
    ("symlink", "{ path: HOME/link, target: file, force: true }"),
    ("command", "{ name: stamped, run: ['true'], stamp: HOME/stamp }"),
];

/// Folders of root's, and a home of `daemon` with the neighbour in it.
struct Neighbour {
    folder: TempDir,
    flipping: Child,
}

impl Neighbour {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["victim", "home", "counts"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["home", "counts"] {
            chown(path(name), Some(1), Some(1)).unwrap();
        }
        fs::write(path("canary"), "CANARY of root\n").unwrap();
        fs::set_permissions(path("canary"), fs::Permissions::from_mode(0o600)).unwrap();
        let flip = FLIP.replace("/root", folder.path().to_str().unwrap());
        fs::write(path("flip.pl"), flip).unwrap();
        let flipping = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--reuid", "daemon", "--regid", "daemon"])
            .args(["--clear-groups", "perl"])
            .args([path("flip.pl"), path("home"), path("counts/all")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, flipping }
    }

    fn home(&self) -> String {
        self.folder.path().join("home").to_str().unwrap().to_owned()
    }

    fn counts(&self) -> String {
        fs::read_to_string(self.folder.path().join("counts/all")).unwrap_or_default()
    }

    /// Whether each name was flipped often enough.
    fn is_done(&self) -> bool {
        let flips = flips_in(&self.counts());
        // The keys of ssh belong to an account's own home.
        let mut flips = flips.iter().filter(|(name, _)| is_used(name)).map(|(_, count)| *count);
        flips.clone().count() == 8 && flips.all(|count| count >= FLIPS)
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.flipping.id()).ok().and_then(Pid::from_raw).unwrap()
    }

    /// The wins of the neighbour by now.
    fn won(&self) -> Vec<String> {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let stopped = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "{stopped:?}");
        let told = self.counts();
        let mut won: Vec<String> =
            told.lines().filter(|line| line.starts_with("won")).map(str::to_owned).collect();
        let root = self.folder.path();
        if fs::read_to_string(root.join("canary")).unwrap() != "CANARY of root\n" {
            won.push("the content of canary".to_owned());
        }
        for (name, mode) in [("canary", 0o600), ("victim", 0o755)] {
            let found = fs::metadata(root.join(name)).unwrap();
            if (found.uid(), found.mode() & 0o777) != (0, mode) {
                won.push(format!("{name}: {} {:o}", found.uid(), found.mode()));
            }
        }
        for entry in fs::read_dir(root.join("victim")).unwrap() {
            won.push(format!("victim/{}", entry.unwrap().file_name().display()));
        }
        won.extend(leaks(&root.join("home")));
        kill_process(self.pid(), Signal::CONT).unwrap();
        won
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ended = self.flipping.kill();
        let _reaped = self.flipping.wait();
    }
}

fn is_used(name: &str) -> bool {
    !["clone", "unpacked", ".ssh", ".ssh/authorized_keys"].contains(&name)
}

/// Files of a home that hold something of root's and that `daemon` can read.
fn leaks(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        if data.is_dir() {
            found.extend(leaks(&path));
        }
        let is_open = data.uid() != 0 || data.mode() & 0o077 != 0;
        if data.is_file() && is_open && fs::read_to_string(&path).unwrap().contains("CANARY") {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Checks and applies each kind by a door, over and over, until the neighbour has won or has flipped
/// often enough.
fn race(door: &mut dyn System, neighbour: &Neighbour) -> Vec<String> {
    let specs: Vec<Spec> = KINDS
        .iter()
        .map(|(kind, fields)| {
            let fields: serde_yaml::Value =
                serde_yaml::from_str(&fields.replace("HOME", &neighbour.home())).unwrap();
            Spec::deserialize_kind(kind, fields).unwrap().unwrap()
        })
        .collect();
    for round in 1.. {
        for spec in &specs {
            let Ok(current) = spec.current(&*door) else { continue };
            if let Some(change) = Change::between(spec.desired().as_ref(), &current) {
                // An error is no win: the run says what it found.
                let _refused = spec.apply(&change, door);
            }
        }
        let won = neighbour.won();
        if !won.is_empty() || round >= ROUNDS && neighbour.is_done() {
            return won;
        }
    }
    unreachable!("the rounds have no end")
}

/// The wins of the neighbour; `waited` if the door takes too long.
fn raced(door: fn() -> Box<dyn System>, longest: Duration) -> Vec<String> {
    let (sender, end) = channel();
    let neighbour = Arc::new(Neighbour::start());
    let own = Arc::clone(&neighbour);
    std::thread::spawn(move || {
        let won = race(door().as_mut(), &own);
        drop(own);
        let _late = sender.send(won);
    });
    match end.recv_timeout(longest) {
        Ok(won) => won,
        Err(RecvTimeoutError::Timeout) => {
            // The thread waits for a pipe, and holds the neighbour.
            kill_process(neighbour.pid(), Signal::KILL).unwrap();
            vec!["waited".to_owned()]
        }
        Err(RecvTimeoutError::Disconnected) => panic!("the race ended early"),
    }
}

fn the_door_to_files_loses_nothing() {
    assert_eq!(raced(|| Box::new(host()), LONGEST), Vec::<String>::new());
}

fn the_same_kinds_by_path_lose() {
    let won = raced(|| Box::new(ByPath(host())), SHORT);
    assert!(!won.is_empty(), "the neighbour wins nothing against an agent without protection");
}

/// Files by their paths, as a program would use them that thinks of no neighbour. Everything else is
/// the agent's own.
struct ByPath(Host);

fn failed(error: &std::io::Error) -> Error {
    Error::failed(error.to_string())
}

impl Probe for ByPath {
    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        let Ok(data) = fs::symlink_metadata(path) else { return Ok(None) };
        Ok(Some(described(&data)))
    }

    fn read_with_stat(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>> {
        let Ok(data) = fs::metadata(path) else { return Ok(None) };
        if !data.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        let file = fs::File::open(path).map_err(|error| failed(&error))?;
        // A device has no end.
        file.take(1 << 20).read_to_end(&mut content).map_err(|error| failed(&error))?;
        Ok(Some((content, described(&data))))
    }

    fn facts(&self) -> &Facts {
        self.0.facts()
    }
    fn bonds(&self, path: &str) -> Result<Bonds> {
        self.0.bonds(path)
    }
    fn read_link(&self, path: &str) -> Result<Option<String>> {
        self.0.read_link(path)
    }
    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        self.0.list(path)
    }
    fn can_others_change(&self, _path: &str) -> Result<bool> {
        Ok(false)
    }
    fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        self.0.user(name)
    }
    fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        self.0.group(name)
    }
    fn users(&self) -> Result<Vec<String>> {
        self.0.users()
    }
    fn groups(&self) -> Result<Vec<String>> {
        self.0.groups()
    }
    fn processes_of(&self, uid: u32) -> Result<Vec<infra::resources::probe::UserProcess>> {
        self.0.processes_of(uid)
    }
    fn package(&self, name: &str) -> Result<Option<String>> {
        self.0.package(name)
    }
    fn packages_of(&self, name: &str) -> Result<Vec<infra::resources::probe::PackageEntry>> {
        self.0.packages_of(name)
    }
    fn unit(&self, name: &str) -> Result<Unit> {
        self.0.unit(name)
    }
    fn query(&self, query: &Query) -> Result<Output> {
        self.0.query(query)
    }
    fn sql(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.0.sql(cluster, database, sql, parameters)
    }
    fn connects(&self, address: SocketAddr, timeout: Duration) -> Result<bool> {
        self.0.connects(address, timeout)
    }
    fn changed(&self, id: &ResourceId) -> bool {
        self.0.changed(id)
    }
}

fn described(data: &fs::Metadata) -> Stat {
    let kind = data.file_type();
    let name = |id: u32| match id {
        0 => "root".to_owned(),
        1 => "daemon".to_owned(),
        other => other.to_string(),
    };
    Stat {
        kind: match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
            (true, _, _) => FileKind::File,
            (_, true, _) => FileKind::Directory,
            (_, _, true) => FileKind::Symlink,
            _ => FileKind::Other,
        },
        mode: data.mode() & 0o7777,
        owner: name(data.uid()),
        group: name(data.gid()),
        size: data.size(),
    }
}

impl ByPath {
    fn set(path: &str, attributes: &Attributes) -> std::io::Result<()> {
        let id = |name: &Option<String>| name.as_ref().map(|name| u32::from(name == "daemon"));
        chown(path, id(&attributes.owner), id(&attributes.group))?;
        match attributes.mode {
            Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }

    fn put(path: &str, make: impl FnOnce(&str) -> std::io::Result<()>) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let new = format!("{folder}/.new-{name}");
        make(&new).and_then(|()| fs::rename(&new, path)).map_err(|error| failed(&error))
    }
}

impl System for ByPath {
    fn write_file(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> Result<()> {
        Self::put(path, |new| {
            fs::write(new, content)?;
            Self::set(new, attributes)
        })
    }

    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let made = fs::create_dir(path).and_then(|()| Self::set(path, attributes));
        made.map_err(|error| failed(&error))
    }

    fn make_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        Self::put(path, |new| symlink(target, new))
    }

    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        Self::set(path, attributes).map_err(|error| failed(&error))
    }

    fn copy_file(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<()> {
        self.0.copy_file(from, to, attributes)
    }
    fn copy_whole(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<Stat> {
        self.0.copy_whole(from, to, attributes)
    }
    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&mut self, path: &str) -> Result<()> {
        self.0.remove_file(path)
    }
    fn remove_directory(&mut self, path: &str) -> Result<()> {
        self.0.remove_directory(path)
    }
    fn remove_tree(&mut self, path: &str) -> Result<()> {
        self.0.remove_tree(path)
    }
    fn run(&mut self, command: &infra::resources::Command) -> Result<Output> {
        self.0.run(command)
    }
    fn run_with_status(
        &mut self,
        command: &infra::resources::Command,
        on_status: &mut dyn FnMut(&mut dyn Progress, &str),
    ) -> Result<Output> {
        self.0.run_with_status(command, on_status)
    }
    fn sql_execute(
        &mut self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.0.sql_execute(cluster, database, sql, parameters)
    }
    fn mark_changed(&mut self, id: &ResourceId) {
        self.0.mark_changed(id);
    }
    fn sleep_milliseconds(&mut self, milliseconds: u32) {
        self.0.sleep_milliseconds(milliseconds);
    }
    fn warn(&mut self, message: &str) {
        self.0.warn(message);
    }
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}
