//! The lab: throw-away Debian servers on this machine, with real systemd, sshd and apt.
//!
//! A server is an overlay over the image of its release, run by systemd-nspawn on a bridge. A
//! server that was saved is an overlay over its saved layers and the image.
//! Everything is in one folder, except the bridge, a table of nftables, two settings of the kernel
//! with notes of them in `/run/infra-lab`, and a lock file; `down` of the last server puts all but
//! the lock file back. Each machine is ended by its own process.

mod cgroup;
mod folder;
mod image;
mod internet;
mod login;
mod machine;
mod network;
mod packages;
mod process;
mod program;
mod range;
mod release;
mod requirements;
mod saves;
mod server;
mod settings;
mod sources;
mod volume;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

pub use release::Release;
pub use saves::SaveStatus;

use crate::error::{Error, Result};
use crate::inventory::connection::SshSettings;
use folder::{Folder, Lock};
use image::Recipe;
use network::Network;
use saves::Save;
use server::Server;

/// Where the lab is unless the user names another folder.
pub const DEFAULT_FOLDER: &str = "/var/lib/infra-lab";

/// The servers in one folder. Two labs in two folders do not meet.
#[derive(Clone, Debug)]
pub struct Lab {
    folder: Folder,
}

/// A server that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As the inventory calls it.
    pub name: String,
    /// What it is to run; `None`: what it runs if it is up, else the oldest release.
    pub release: Option<Release>,
    /// Block devices that it is to have when it is made, by their paths in it: `/dev/disk/by-id/…`.
    pub volumes: Vec<String>,
}

impl Wanted {
    /// A server to try something on.
    pub fn empty(name: &str, release: Option<Release>) -> Self {
        Self { name: name.to_owned(), release, volumes: Vec::new() }
    }
}

/// A server as it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// As the inventory calls it.
    pub name: String,
    /// What it runs.
    pub os: Release,
    /// Where ssh reaches it.
    pub address: Ipv4Addr,
    /// The process of its machine; `None` when it has ended.
    pub pid: Option<i32>,
}

/// What `down` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Images, saves and fetched packages, so that the next `up` is quick.
    Images,
    /// Nothing.
    Nothing,
}

impl Lab {
    /// The lab in `folder`, which need not be there yet.
    ///
    /// # Errors
    /// When the path cannot be the folder of a lab.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self { folder: Folder::new(folder)? })
    }

    /// Checks that this machine can run a lab.
    ///
    /// # Errors
    /// The error names everything that is missing.
    pub fn check_requirements() -> Result<()> {
        requirements::check()
    }

    /// Installs the Debian packages that this machine lacks to run a lab.
    ///
    /// # Errors
    /// When apt fails.
    pub fn install_requirements(notice: &dyn Fn(&str)) -> Result<()> {
        requirements::install(notice)
    }

    /// Brings up the servers that are not up yet, and returns when all of them let ssh in.
    /// `notice` is told what is being done.
    ///
    /// # Errors
    /// When this machine cannot run a lab, or a server does not come up.
    pub fn up(&self, wanted: &[Wanted], notice: &dyn Fn(&str)) -> Result<()> {
        requirements::check()?;
        for server in wanted {
            server::check_name(&server.name)?;
        }
        let lock = self.folder.lock(notice)?;
        let network = self.ready()?;
        let mut booted = Vec::new();
        for server in wanted {
            let server = self.ensure(server, &network, notice)?;
            self.start(&server, &network, notice)?;
            booted.push(server);
        }
        self.let_in(lock, &booted, notice)
    }

    /// Prepares what servers need outside of their files.
    fn ready(&self) -> Result<Network> {
        login::make_key(&self.folder.key(), "infra lab")?;
        // Two labs that choose their addresses at once would choose the same ones.
        let held = settings::hold()?;
        let network = Network::of(&self.folder)?;
        network.up(&held, &self.folder)?;
        drop(held);
        for server in Server::all(&self.folder)? {
            server.keep_packages(&self.folder)?;
        }
        Ok(network)
    }

    /// Starts the machine of a server unless it runs.
    fn start(&self, server: &Server, network: &Network, notice: &dyn Fn(&str)) -> Result<()> {
        server.let_end(&self.folder, network)?;
        if server.process(&self.folder).is_none() {
            notice(&format!("{}: starting {}", server.name, server.release));
            server.boot(&self.folder, network)?;
        }
        Ok(())
    }

    /// Lets ssh know of the servers, and waits until all of them are up; others may use the lab in
    /// the meantime.
    fn let_in(&self, lock: Lock, booted: &[Server], notice: &dyn Fn(&str)) -> Result<()> {
        self.write_logins()?;
        self.clean()?;
        drop(lock);
        for server in booted {
            server.wait_until_up(&self.folder, notice)?;
            notice(&format!("{}: up, {} at {}", server.name, server.release, server.address));
        }
        Ok(())
    }

    /// Removes images of earlier recipes that no server and no save stands on any more, and layers
    /// likewise.
    fn clean(&self) -> Result<()> {
        self.sweep()?;
        let mut keep: Vec<String> =
            Server::all(&self.folder)?.into_iter().map(|server| server.image).collect();
        for save in Save::all(&self.folder)? {
            keep.extend(save.servers.into_iter().map(|server| server.image));
        }
        for release in Release::ALL {
            keep.push(Recipe::new(release)?.name());
        }
        image::clean(&self.folder, &keep)
    }

    /// The server `wanted`, with its files.
    fn ensure(&self, wanted: &Wanted, network: &Network, notice: &dyn Fn(&str)) -> Result<Server> {
        let name = &wanted.name;
        if let Some(server) = Server::find(&self.folder, name)? {
            return match wanted.release {
                // Its files were made for the other release.
                Some(release) if release != server.release => {
                    Err(Error::input(format!("`{name}` is up in the lab with {}", server.release))
                        .hint(format!("run `infra lab down {name}` first")))
                }
                _ => Ok(server),
            };
        }
        let release = wanted.release.unwrap_or_default();
        let recipe = Recipe::new(release)?;
        recipe.ensure(&self.folder, notice)?;
        let (number, address) = self.place(network)?;
        let (image, layers, volumes) = (recipe.name(), Vec::new(), wanted.volumes.clone());
        let server =
            Server { name: name.clone(), release, image, number, address, layers, volumes };
        server.create(&self.folder, network)?;
        Ok(server)
    }

    /// A number and an address that no server has.
    fn place(&self, network: &Network) -> Result<(u32, Ipv4Addr)> {
        let used: Vec<u32> =
            Server::all(&self.folder)?.iter().map(|server| server.number).collect();
        let number = (2..u32::MAX).find(|number| !used.contains(number)).unwrap_or(u32::MAX);
        Ok((number, network.range.server(number)?))
    }

    /// Ends the servers called `names` (all when there are none) and removes what they wrote; the
    /// network goes with the last one.
    ///
    /// # Errors
    /// When a name is unknown (nothing is done then), or something cannot be removed.
    pub fn down(&self, names: &[String], keep: Keep, notice: &dyn Fn(&str)) -> Result<()> {
        if !self.folder.root().exists() {
            return names.first().map_or(Ok(()), |name| Err(not_there(name)));
        }
        let _lock = self.folder.lock(notice)?;
        let (ended, left) = self.chosen(names)?;
        for server in &ended {
            server.end_at_once(&self.folder)?;
        }
        let network = Network::of(&self.folder)?;
        let mut failure = None;
        for server in &ended {
            match server.remove(&self.folder, &network) {
                Ok(()) => notice(&format!("{}: down", server.name)),
                // The others are to end all the same.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        self.sweep()?;
        if !left.is_empty() {
            return self.write_logins();
        }
        Network::down(&self.folder)?;
        // With what an interrupted `up` may have left.
        folder::remove(&self.folder.servers())?;
        if keep == Keep::Nothing {
            return folder::remove(self.folder.root());
        }
        self.write_logins()
    }

    /// The servers called `names` (all when there are none), and the others.
    fn chosen(&self, names: &[String]) -> Result<(Vec<Server>, Vec<Server>)> {
        let all = Server::all(&self.folder)?;
        for name in names {
            if !all.iter().any(|server| server.name == *name) {
                return Err(not_there(name));
            }
        }
        Ok(all.into_iter().partition(|server| names.is_empty() || names.contains(&server.name)))
    }

    fn write_logins(&self) -> Result<()> {
        let servers = Server::all(&self.folder)?;
        let logins: Result<Vec<_>> =
            servers.iter().map(|server| server.login(&self.folder)).collect();
        login::write_files(&self.folder, &logins?)
    }

    /// The servers that were brought up, sorted by name.
    ///
    /// # Errors
    /// When the lab's folder cannot be read.
    pub fn status(&self) -> Result<Vec<Status>> {
        let servers = Server::all(&self.folder)?;
        Ok(servers
            .into_iter()
            .map(|server| Status {
                pid: server.process(&self.folder).map(|process| process.pid()),
                name: server.name,
                os: server.release,
                address: server.address,
            })
            .collect())
    }

    /// How `server` is reached: everything that its inventory says of the real one is replaced.
    ///
    /// # Errors
    /// When it is not up.
    pub fn connection(&self, server: &str) -> Result<SshSettings> {
        let found = self.find_up(server)?;
        let login = found.login(&self.folder)?;
        Ok(SshSettings {
            host: found.address.to_string(),
            user: Some("root".to_owned()),
            port: Some(22),
            host_keys: vec![login.host_key],
            identity_file: Some(self.folder.key()),
            config_file: Some(self.folder.ssh_config()),
            sudo_password: None,
        })
    }

    /// What `server` runs.
    ///
    /// # Errors
    /// When it is not up.
    pub fn os(&self, server: &str) -> Result<Release> {
        Ok(self.find_up(server)?.release)
    }

    /// A configuration of ssh in which the servers have their names: `ssh -F FILE rufus`.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.ssh_config()
    }

    fn find_up(&self, name: &str) -> Result<Server> {
        server::check_name(name)?;
        Server::find(&self.folder, name)?
            .filter(|server| server.process(&self.folder).is_some())
            .ok_or_else(|| not_up(name))
    }
}

fn not_up(name: &str) -> Error {
    Error::input(format!("`{name}` is not up in the lab"))
        .hint(format!("run `infra lab up {name}`"))
}

fn not_there(name: &str) -> Error {
    Error::input(format!("there is no `{name}` in the lab"))
        .hint("`infra lab status` lists its servers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_up_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let lab = Lab::open(&folder.path().join("lab")).unwrap();
        let text = "`rufus` is not up in the lab\nhint: run `infra lab up rufus`";
        assert_eq!(lab.connection("rufus").unwrap_err().to_string(), text);
        assert_eq!(lab.os("rufus").unwrap_err().to_string(), text);
        let down = lab.down(&["rufus".to_owned()], Keep::Images, &|_| {});
        let text = "there is no `rufus` in the lab\nhint: `infra lab status` lists its servers";
        assert_eq!(down.unwrap_err().to_string(), text);
        assert_eq!(lab.down(&[], Keep::Nothing, &|_| {}), Ok(()));
        assert_eq!(lab.status(), Ok(vec![]));
    }

    #[test]
    fn a_name_that_is_no_host_name_is_refused() {
        let lab = Lab::open(Path::new("/nonexistent")).unwrap();
        for name in ["../x", "", "-x", "a b", "x."] {
            assert_eq!(
                lab.connection(name).unwrap_err().message,
                format!("a server of the lab cannot be called `{name}`")
            );
        }
    }
}
