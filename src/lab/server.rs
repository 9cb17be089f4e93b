//! One server of a lab: what is noted about it, and its files.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::folder::{self, Folder};
use super::login::{self, Login};
use super::network::{self, Network};
use super::packages;
use super::release::Release;
use super::volume;
use crate::error::{Context as _, Error, Result};

/// The file with the configuration of the interface. It sorts before systemd's own file for
/// containers, which would ask for an address.
pub(super) const INTERFACE: &str = "etc/systemd/network/10-lab.network";

/// A server that was brought up; its machine may have ended since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    /// As the inventory calls it.
    pub(super) name: String,
    /// What it runs.
    pub(super) release: Release,
    /// The image below it.
    pub(super) image: String,
    /// Its place in the lab's block of addresses.
    pub(super) number: u32,
    /// Where it is reached.
    pub(super) address: Ipv4Addr,
    /// The saved folders between its image and what it writes, topmost first.
    #[serde(default)]
    pub(super) layers: Vec<String>,
    /// The paths in it of block devices that are files of this computer.
    #[serde(default)]
    pub(super) volumes: Vec<String>,
}

/// The paths of one server.
pub(super) struct Files {
    /// Holds the others.
    folder: PathBuf,
}

impl Files {
    pub(super) fn of(lab: &Folder, name: &str) -> Self {
        Self { folder: lab.server(name) }
    }

    fn record(&self) -> PathBuf {
        self.folder.join("server.json")
    }

    /// What the server wrote over its image.
    pub(super) fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Image, layers and upper as one.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(super) fn pid(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// The process of a machine that was told to shut down.
    pub(super) fn ending(&self) -> PathBuf {
        self.folder.join("ending")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What stands behind one of its block devices.
    pub(super) fn volume(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index}.volume"))
    }

    pub(super) fn host_key(&self) -> PathBuf {
        self.folder.join("host_key")
    }

    /// No other machine beside this process can have been given this.
    pub(super) fn directory_argument(&self) -> String {
        format!("--directory={}", self.root().display())
    }
}

/// Refuses a `name` that no server can have.
///
/// # Errors
/// When it cannot be a host name and the name of a folder.
pub(super) fn check_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("a server of the lab cannot be called `{name}`"))
        .because("a host name has up to 63 letters, digits, hyphens and dots"))
}

/// Whether `name` can be a host name and the name of a folder.
pub(super) fn is_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && name.chars().all(is_inner)
        && is_end(name.chars().next())
        && is_end(name.chars().last())
}

/// A new machine id, 32 hexadecimal digits.
///
/// # Errors
/// When the kernel gives none.
pub(super) fn machine_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context(|| "cannot make a machine id".into())?;
    Ok(id.trim().replace('-', ""))
}

impl Server {
    /// The server called `name`; `None` when it is not up.
    ///
    /// # Errors
    /// When what is noted about it cannot be read.
    pub(super) fn find(lab: &Folder, name: &str) -> Result<Option<Self>> {
        let path = Files::of(lab, name).record();
        let cannot = || format!("cannot read `{}`", path.display());
        match fs::read(&path) {
            Ok(record) => serde_json::from_slice(&record).context(cannot).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(cannot),
        }
    }

    /// All servers of the lab, sorted by name.
    ///
    /// # Errors
    /// When what is noted about them cannot be read.
    pub(super) fn all(lab: &Folder) -> Result<Vec<Self>> {
        let mut servers = Vec::new();
        for name in folder::names(&lab.servers())? {
            // One that is not put together yet.
            if !name.starts_with('.') {
                servers.extend(Self::find(lab, &name)?);
            }
        }
        Ok(servers)
    }

    /// Makes the server's files; they appear complete or not at all.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn create(&self, lab: &Folder, network: &Network) -> Result<()> {
        let unfinished = self.begin(lab)?;
        let host_key =
            fs::read(unfinished.host_key()).context(|| "cannot read the host key".into())?;
        let login_key = login::public_key(&lab.key())?;
        let upper = unfinished.upper();
        let host_key_path = upper.join("etc/ssh/ssh_host_ed25519_key");
        folder::write(&host_key_path, host_key, 0o600)?;
        let public = login::public_key(&unfinished.host_key())?;
        folder::write(&host_key_path.with_extension("pub"), format!("{public}\n"), 0o644)?;
        folder::write(&upper.join("root/.ssh/authorized_keys"), format!("{login_key}\n"), 0o600)?;
        for private in ["root", "root/.ssh"] {
            folder::set_mode(&upper.join(private), 0o700)?;
        }
        for (path, content) in self.configuration(network)? {
            folder::write(&upper.join(path), content, 0o644)?;
        }
        if !self.volumes.is_empty() {
            folder::write(&upper.join(volume::GENERATOR), volume::GENERATOR_TEXT, 0o755)?;
        }
        packages::share(&lab.packages(self.release), &packages::folder_of(&upper), &[])?;
        self.complete(lab, &unfinished)
    }

    /// Makes the folder in which the files of a new server are put together, with its host key.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn begin(&self, lab: &Folder) -> Result<Files> {
        let unfinished = Files::of(lab, &format!(".{}", self.name));
        folder::remove(&unfinished.folder)?;
        for path in [unfinished.upper(), unfinished.work(), unfinished.root()] {
            folder::create(&path)?;
        }
        login::make_key(&unfinished.host_key(), &self.key_comment())?;
        Ok(unfinished)
    }

    /// Names the folder that [`Server::begin`] made: from now on the server is there.
    ///
    /// # Errors
    /// When it cannot be named.
    pub(super) fn complete(&self, lab: &Folder, unfinished: &Files) -> Result<()> {
        self.note(unfinished)?;
        let folder = lab.server(&self.name);
        fs::rename(&unfinished.folder, &folder)
            .context(|| format!("cannot name `{}`", folder.display()))
    }

    /// Writes the record among `files`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn note(&self, files: &Files) -> Result<()> {
        let record = serde_json::to_vec_pretty(self).context(|| "cannot note the server".into())?;
        folder::write(&files.record(), record, 0o600)
    }

    /// The comment of its host keys.
    pub(super) fn key_comment(&self) -> String {
        format!("{} in the lab", self.name)
    }

    /// The files that differ from one server to another, relative to its root.
    fn configuration(&self, network: &Network) -> Result<Vec<(&'static str, String)>> {
        let name = &self.name;
        let hosts = format!(
            "127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        );
        Ok(vec![
            ("etc/hostname", format!("{name}\n")),
            ("etc/hosts", hosts),
            ("etc/machine-id", machine_id()? + "\n"),
            ("etc/resolv.conf", network::resolver()),
            (INTERFACE, self.interface(network)),
        ])
    }

    /// The configuration of its interface.
    pub(super) fn interface(&self, network: &Network) -> String {
        format!(
            "[Match]\nName=host0\n\n[Link]\nMTUBytes={}\n\n[Network]\nAddress={}/{}\nGateway={}\n\
             IPv6AcceptRA=no\nLinkLocalAddressing=no\n",
            network.mtu,
            self.address,
            network.range.prefix(),
            network.range.gateway(),
        )
    }

    /// The keys for ssh.
    ///
    /// # Errors
    /// When the server's host key cannot be read.
    pub(super) fn login(&self, lab: &Folder) -> Result<Login<'_>> {
        let host_key = login::public_key(&Files::of(lab, &self.name).host_key())?;
        Ok(Login { name: &self.name, address: self.address, host_key })
    }

    /// Waits for the machine to end, keeps its packages for the next server, and removes its
    /// files.
    ///
    /// # Errors
    /// When it does not end, or its files cannot be removed.
    pub(super) fn remove(&self, lab: &Folder, network: &Network) -> Result<()> {
        self.end(lab, network)?;
        let files = Files::of(lab, &self.name);
        self.keep_packages(lab)?;
        // The record goes last, so that `down` finds the server again if this is interrupted.
        folder::remove(&files.root())?;
        (0..self.volumes.len()).try_for_each(|index| volume::detach(&files.volume(index)))?;
        folder::remove(&files.upper())?;
        folder::remove(&files.folder)
    }

    /// Keeps the packages that the server fetched so far.
    ///
    /// # Errors
    /// When they cannot be linked.
    pub(super) fn keep_packages(&self, lab: &Folder) -> Result<()> {
        let from = packages::folder_of(&Files::of(lab, &self.name).upper());
        packages::share(&from, &lab.packages(self.release), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Server {
        /// A server for tests.
        pub(in crate::lab) fn example(name: &str) -> Self {
            Self {
                name: name.to_owned(),
                release: Release::Debian12,
                image: "debian-12-00000000".to_owned(),
                number: 7,
                address: Ipv4Addr::new(10, 200, 4, 7),
                layers: Vec::new(),
                volumes: Vec::new(),
            }
        }
    }

    #[test]
    fn a_server_of_an_earlier_version_has_no_layers() {
        let record = r#"{"name": "rufus", "release": "debian-12", "image": "debian-12-00000000",
            "number": 7, "address": "10.200.4.7"}"#;
        let server: Server = serde_json::from_str(record).unwrap();
        assert_eq!(server, Server::example("rufus"));
    }

    #[test]
    fn a_server_that_is_not_put_together_is_none() {
        let temporary = tempfile::tempdir().unwrap();
        let lab = Folder::new(&temporary.path().join("lab")).unwrap();
        let server = Server::example("rufus");
        server.note(&Files::of(&lab, ".rufus")).unwrap();
        assert_eq!(Server::all(&lab), Ok(vec![]));
        server.note(&Files::of(&lab, "rufus")).unwrap();
        assert_eq!(Server::all(&lab), Ok(vec![server]));
    }

    #[test]
    fn names_are_host_names() {
        for name in ["rufus", "web-1", "a.example.org", "X"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", ".", "..", "a/b", "-a", "a-", "a b", "é", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
