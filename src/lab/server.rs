//! One server of a lab: its files, its machine, its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::folder::{self, Folder};
use super::login::{self, Login};
use super::network::{self, Network};
use super::packages;
use super::process::{self, Process};
use super::program::{self, Program};
use super::release::Release;
use crate::error::{Context as _, Error, Result};

/// How long a machine may take until ssh lets us in, on a busy computer.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);

/// How long systemd in a machine may take to start all units, after ssh answers.
const UNITS_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a machine may take to shut down. Its files are thrown away, so it is not worth more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a machine that starts or ends is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What a machine may not do although its root may do everything else: these act on the kernel
/// that it shares with this computer, such as setting the clock or loading modules.
const WITHHELD: &str = "--drop-capability=CAP_BLOCK_SUSPEND,CAP_MAC_ADMIN,CAP_MAC_OVERRIDE,\
                        CAP_SYSLOG,CAP_SYS_MODULE,CAP_SYS_RAWIO,CAP_SYS_TIME,CAP_WAKE_ALARM";

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
}

/// The paths of one server.
struct Files {
    /// Holds the others.
    folder: PathBuf,
}

impl Files {
    fn of(lab: &Folder, name: &str) -> Self {
        Self { folder: lab.server(name) }
    }

    fn record(&self) -> PathBuf {
        self.folder.join("server.json")
    }

    /// What the server wrote over its image.
    fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Image and upper as one.
    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn pid(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn host_key(&self) -> PathBuf {
        self.folder.join("host_key")
    }

    /// Only one machine can have been given this.
    fn directory_argument(&self) -> String {
        format!("--directory={}", self.root().display())
    }
}

/// Whether `name` can be a host name and the name of a folder.
///
/// # Errors
/// When it cannot.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_good = name.len() <= 63
        && name.chars().all(is_inner)
        && is_end(name.chars().next())
        && is_end(name.chars().last());
    if is_good {
        return Ok(());
    }
    Err(Error::input(format!("a server of the lab cannot be called `{name}`"))
        .because("a host name has up to 63 letters, digits, hyphens and dots"))
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
            servers.extend(Self::find(lab, &name)?);
        }
        Ok(servers)
    }

    /// Makes the server's files; they appear complete or not at all.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn create(&self, lab: &Folder, network: &Network) -> Result<()> {
        let unfinished = Files::of(lab, &format!(".{}", self.name));
        folder::remove(&unfinished.folder)?;
        for path in [unfinished.upper(), unfinished.work(), unfinished.root()] {
            folder::create(&path)?;
        }
        login::make_key(&unfinished.host_key(), &format!("{} in the lab", self.name))?;
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
        packages::share(&lab.packages(self.release), &packages::folder_of(&upper))?;
        let record = serde_json::to_vec_pretty(self).context(|| "cannot note the server".into())?;
        folder::write(&unfinished.record(), record, 0o600)?;
        let folder = lab.server(&self.name);
        fs::rename(&unfinished.folder, &folder)
            .context(|| format!("cannot name `{}`", folder.display()))
    }

    /// The files that differ from one server to another, relative to its root.
    fn configuration(&self, network: &Network) -> Result<Vec<(&'static str, String)>> {
        let name = &self.name;
        let hosts = format!(
            "127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        );
        // Sorts before systemd's own file for containers, which would ask for an address.
        let interface = format!(
            "[Match]\nName=host0\n\n[Link]\nMTUBytes={}\n\n[Network]\nAddress={}/{}\nGateway={}\n\
             IPv6AcceptRA=no\nLinkLocalAddressing=no\n",
            network.mtu,
            self.address,
            network.range.prefix(),
            network.range.gateway(),
        );
        let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .context(|| "cannot make a machine id".into())?
            .replace('-', "");
        Ok(vec![
            ("etc/hostname", format!("{name}\n")),
            ("etc/hosts", hosts),
            ("etc/machine-id", machine_id),
            ("etc/resolv.conf", network::resolver()),
            ("etc/systemd/network/10-lab.network", interface),
        ])
    }

    /// The machine's process, if it runs.
    pub(super) fn process(&self, lab: &Folder) -> Option<Process> {
        let files = Files::of(lab, &self.name);
        let recorded = fs::read_to_string(files.pid()).ok();
        recorded
            .and_then(|text| Process::recorded(&text))
            // A run that was killed between starting the machine and noting it.
            .or_else(|| Process::with_argument("systemd-nspawn", &files.directory_argument()))
    }

    /// Starts the machine; it outlives this process.
    ///
    /// # Errors
    /// When its files cannot be mounted or systemd-nspawn does not start.
    pub(super) fn boot(&self, lab: &Folder, network: &Network) -> Result<()> {
        let files = Files::of(lab, &self.name);
        if folder::mounts_below(&files.root())?.is_empty() {
            self.mount(lab, &files)?;
        }
        let log = File::create(files.log())
            .context(|| format!("cannot write `{}`", files.log().display()))?;
        let errors = log.try_clone().context(|| "cannot share the log".into())?;
        let cannot = || format!("cannot start the machine of `{}`", self.name);
        // setsid: neither Ctrl-C nor a closed terminal may end the machine.
        let setsid =
            program::find("setsid").ok_or_else(|| Error::failed("`setsid` is not installed"))?;
        let ours = cgroup::are_ours();
        let group = if ours { Some(cgroup::enter(&network.machine(self.number))?) } else { None };
        let child = Command::new(setsid)
            .args(self.arguments(&files, network, ours))
            .env_clear()
            .env("PATH", program::PATH)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .context(cannot)?;
        drop(group);
        process::of_child(&child)?.write(&files.pid())
    }

    fn mount(&self, lab: &Folder, files: &Files) -> Result<()> {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lab.images().join(&self.image).display(),
            files.upper().display(),
            files.work().display(),
        );
        let root = files.root();
        let arguments = ["mount", "-t", "overlay", "infra-lab", "-o", &options];
        let arguments = arguments.iter().map(AsRef::as_ref).chain([root.as_os_str()]);
        Program::new(arguments).run().map_err(|error| {
            error
                .context(format!("cannot mount the files of `{}`", self.name))
                .hint("name a folder on another file system with `--lab-dir`, such as ext4 or xfs")
        })?;
        Ok(())
    }

    /// The command line of the machine. `without_systemd`: this host has no systemd that could
    /// put the machine into a scope of its own.
    fn arguments(&self, files: &Files, network: &Network, without_systemd: bool) -> Vec<String> {
        let mut arguments = vec!["systemd-nspawn".to_owned(), "--quiet".to_owned()];
        if without_systemd {
            arguments.push("--keep-unit".to_owned());
        }
        arguments.extend(
            [
                "--register=no",
                // Docker and firewalls need these.
                "--capability=all",
                WITHHELD,
                "--system-call-filter=add_key keyctl bpf",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--console=read-only",
            ]
            .map(str::to_owned),
        );
        arguments.push(format!("--machine={}", network.machine(self.number)));
        arguments.push(format!("--hostname={}", self.name));
        arguments.push(format!("--network-bridge={}", network.bridge()));
        arguments.push(files.directory_argument());
        arguments.push("--boot".to_owned());
        arguments
    }

    /// Waits until ssh lets us in and systemd has started all units.
    ///
    /// # Errors
    /// When the machine ends, or takes too long; the end of its console is among the causes.
    pub(super) fn wait_until_up(&self, lab: &Folder, notice: &dyn Fn(&str)) -> Result<()> {
        let started = Instant::now();
        let files = Files::of(lab, &self.name);
        let failed = |reason: &str| {
            let log = fs::read(files.log()).unwrap_or_default();
            Error::failed(format!("`{}` did not come up", self.name))
                .because(reason)
                .because(program::last_lines(&String::from_utf8_lossy(&log)))
                .hint(format!("its console is in `{}`", files.log().display()))
        };
        while !(self.port_answers()
            && self.ssh(lab, &["true"], BOOT_TIMEOUT).is_ok_and(|o| o.success))
        {
            if self.process(lab).is_none() {
                return Err(failed("its machine ended"));
            }
            if started.elapsed() > BOOT_TIMEOUT {
                return Err(failed("ssh does not let us in"));
            }
            std::thread::sleep(POLL);
        }
        let state = self.ssh(lab, &["systemctl", "is-system-running", "--wait"], UNITS_TIMEOUT)?;
        if state.stdout.trim() != "running" {
            let units = ["systemctl", "--failed", "--plain", "--no-legend"];
            let units = self.ssh(lab, &units, UNITS_TIMEOUT)?.stdout;
            notice(&format!(
                "{}: systemd says `{}`\n{}",
                self.name,
                state.stdout.trim(),
                program::last_lines(&units)
            ));
        }
        Ok(())
    }

    /// Much cheaper to ask than ssh, several times a second.
    fn port_answers(&self) -> bool {
        TcpStream::connect_timeout(&SocketAddr::from((self.address, 22)), POLL * 10).is_ok()
    }

    fn ssh(&self, lab: &Folder, command: &[&str], timeout: Duration) -> Result<program::Output> {
        let config = lab.ssh_config();
        let config = config.to_string_lossy();
        let arguments = ["ssh", "-F", &config, "-o", "BatchMode=yes", &self.name];
        Program::new(arguments.iter().chain(command)).timeout(timeout).output()
    }

    /// The keys for ssh.
    ///
    /// # Errors
    /// When the server's host key cannot be read.
    pub(super) fn login(&self, lab: &Folder) -> Result<Login<'_>> {
        let host_key = login::public_key(&Files::of(lab, &self.name).host_key())?;
        Ok(Login { name: &self.name, address: self.address, host_key })
    }

    /// Asks the machine to shut down; it may take a while.
    ///
    /// # Errors
    /// When it is not ours to end.
    pub(super) fn shut_down(&self, lab: &Folder) -> Result<()> {
        // systemd-nspawn passes this on as the signal that means "shut down" to systemd.
        self.process(lab).map_or(Ok(()), |process| process.signal(Signal::TERM))
    }

    /// Waits for the machine to end, ends it the hard way after a while, keeps its packages for
    /// the next server, and removes its files.
    ///
    /// # Errors
    /// When it does not end, or its files cannot be removed.
    pub(super) fn remove(&self, lab: &Folder, network: &Network) -> Result<()> {
        let files = Files::of(lab, &self.name);
        if let Some(process) = self.process(lab) {
            if !has_ended(&process, SHUTDOWN_TIMEOUT) {
                process.signal(Signal::KILL)?;
            }
            if !has_ended(&process, SHUTDOWN_TIMEOUT) {
                return Err(Error::failed(format!("the machine of `{}` does not end", self.name))
                    .because(format!("process {} is still there", process.pid())));
            }
        }
        if cgroup::are_ours() {
            cgroup::remove(&network.machine(self.number))?;
        }
        self.keep_packages(lab)?;
        // The record goes last, so that `down` finds the server again if this is interrupted.
        folder::remove(&files.root())?;
        folder::remove(&files.upper())?;
        folder::remove(&files.folder)
    }

    /// Keeps the packages that the server fetched so far.
    ///
    /// # Errors
    /// When they cannot be linked.
    pub(super) fn keep_packages(&self, lab: &Folder) -> Result<()> {
        let from = packages::folder_of(&Files::of(lab, &self.name).upper());
        packages::share(&from, &lab.packages(self.release))
    }
}

fn has_ended(process: &Process, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while process.is_running() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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

    #[test]
    fn a_machine_may_do_what_stays_inside() {
        let lab = Folder::new(Path::new("/lab")).unwrap();
        let server = Server {
            name: "rufus".to_owned(),
            release: Release::Debian12,
            image: "debian-12-00000000".to_owned(),
            number: 7,
            address: Ipv4Addr::new(10, 200, 4, 7),
        };
        let arguments = server.arguments(&Files::of(&lab, "rufus"), &Network::example(), true);
        assert_eq!(
            arguments,
            [
                "systemd-nspawn",
                "--quiet",
                "--keep-unit",
                "--register=no",
                "--capability=all",
                "--drop-capability=CAP_BLOCK_SUSPEND,CAP_MAC_ADMIN,CAP_MAC_OVERRIDE,CAP_SYSLOG,\
                 CAP_SYS_MODULE,CAP_SYS_RAWIO,CAP_SYS_TIME,CAP_WAKE_ALARM",
                "--system-call-filter=add_key keyctl bpf",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--console=read-only",
                "--machine=i0a1b2c-7",
                "--hostname=rufus",
                "--network-bridge=infra-0a1b2c",
                "--directory=/lab/servers/rufus/root",
                "--boot",
            ]
        );
    }
}
