//! The machine of a server: how systemd-nspawn starts it, when it is up, how it ends.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cgroup;
use super::folder::{self, Folder};
use super::network::Network;
use super::process::{self, Process};
use super::program::{self, Program};
use super::server::{Files, Server};
use super::volume;
use crate::error::{Context as _, Error, Result};

/// How long a machine may take until ssh lets us in, on a busy computer.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);

/// How long systemd in a machine may take to start all units, after ssh answers.
const UNITS_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a machine that was killed may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a machine that starts or ends is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What a machine may not do although its root may do everything else: these act on the kernel
/// that it shares with this computer, such as setting the clock or loading modules.
const WITHHELD: &str = "--drop-capability=CAP_BLOCK_SUSPEND,CAP_MAC_ADMIN,CAP_MAC_OVERRIDE,\
                        CAP_SYSLOG,CAP_SYS_MODULE,CAP_SYS_RAWIO,CAP_SYS_TIME,CAP_WAKE_ALARM";

/// Becomes the program in the arguments behind the first one, in a view of the mounts without the
/// files of other servers; the first argument is the root of this server. A machine keeps the mounts
/// that were there when it was started (systemd-nspawn 252 moves its own root over them), so that the
/// files of a server that has ended would stay in use for as long as another machine runs. A server
/// in the making gets its name at the end, so that a mount may be elsewhere a moment later.
const ALONE: &str = "\
own=$1; shift
others() {
    grep ' overlay infra-lab ' /proc/self/mountinfo | cut -d ' ' -f 5 | while read -r point; do
        case $own/ in \"${point%/}\"/*) ;; *) echo \"$point\" ;; esac
    done
}
tries=0
while found=$(others); [ -n \"$found\" ]; do
    echo \"$found\" | while read -r point; do umount --lazy \"$point\"; done
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo 'the files of other servers stay mounted here' >&2; exit 1; }
done
exec \"$@\"";

impl Server {
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
        self.mount_unless_mounted(lab, &files)?;
        let log = File::create(files.log())
            .context(|| format!("cannot write `{}`", files.log().display()))?;
        let errors = log.try_clone().context(|| "cannot share the log".into())?;
        let cannot = || format!("cannot start the machine of `{}`", self.name);
        // setsid: neither Ctrl-C nor a closed terminal may end the machine.
        let setsid =
            program::find("setsid").ok_or_else(|| Error::failed("`setsid` is not installed"))?;
        let root = files.root();
        // The table of mounts has real paths.
        let root = root.canonicalize().unwrap_or(root);
        let ours = cgroup::are_ours();
        let devices = self.devices(&files, ours)?;
        let group = if ours { Some(cgroup::enter(&network.machine(self.number))?) } else { None };
        let child = Command::new(setsid)
            .args(["unshare", "--mount", "--propagation", "slave", "sh", "-c", ALONE, "sh"])
            .arg(root)
            .args(self.arguments(&files, network, ours))
            .args(devices)
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

    /// Mounts the server's files where they are not mounted, and does before what is left to do of
    /// a save that was cut.
    ///
    /// # Errors
    /// When they cannot be mounted.
    pub(super) fn mount_unless_mounted(&self, lab: &Folder, files: &Files) -> Result<()> {
        if folder::mounts_below(&files.root())?.is_empty() {
            self.complete_layer(lab)?;
            self.mount(lab, files)?;
        }
        Ok(())
    }

    /// Mounts image, layers and upper as one, for the machine or for who prepares its files.
    ///
    /// # Errors
    /// When the file system cannot hold an overlay.
    pub(super) fn mount(&self, lab: &Folder, files: &Files) -> Result<()> {
        let options = self.mount_options(lab, files);
        let root = files.root();
        let arguments = ["mount", "-t", "overlay", "infra-lab", "-o", &options];
        let end = Instant::now() + folder::STILL_IN_USE;
        loop {
            // The mark that another volatile mount was there, for those to whom a loss of power
            // matters. A mount that is refused leaves the mark as well.
            folder::remove(&files.work().join("work/incompat"))?;
            let words = arguments.iter().map(AsRef::as_ref).chain([root.as_os_str()]);
            let output = Program::new(words).folder(lab.root()).output()?;
            if output.success {
                return Ok(());
            }
            // The kernel lets go of the mounts of a machine a moment after its end, and of those
            // that another program has copied with the program's end.
            let is_busy = output.complaint.contains("already mounted");
            if !is_busy || Instant::now() > end {
                return Err(Error::failed(format!("cannot mount the files of `{}`", self.name))
                    .because(program::last_lines(&output.complaint))
                    .hint(
                        "name a folder on another file system with `--lab-dir`, such as ext4 or xfs",
                    ));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Relative to the lab's folder: the kernel takes 4095 characters, and layers may be many.
    /// Volatile: nothing that the server does waits for the disk, and the end of a mount does not
    /// wait for all that anybody has written there. With an index two names of one file in a layer
    /// stay two names of one file when it is written, as git expects of its objects; with redirects a
    /// folder of a layer can be renamed, as Docker does when it starts (<https://docs.kernel.org/filesystems/overlayfs.html>).
    fn mount_options(&self, lab: &Folder, files: &Files) -> String {
        let relative = |path: PathBuf| {
            path.strip_prefix(lab.root()).unwrap_or(&path).to_string_lossy().into_owned()
        };
        let mut lower: Vec<String> =
            self.layers.iter().map(|layer| relative(lab.layer(layer))).collect();
        lower.push(relative(lab.images().join(&self.image)));
        format!(
            "volatile,index=on,redirect_dir=on,lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            relative(files.upper()),
            relative(files.work()),
        )
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

    /// The arguments that give the machine its block devices.
    fn devices(&self, files: &Files, without_systemd: bool) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        for (index, path) in self.volumes.iter().enumerate() {
            let device = volume::attach(&files.volume(index))?;
            let device = device.display();
            arguments.push(format!("--bind={device}:{path}"));
            if !without_systemd {
                arguments.push(format!("--property=DeviceAllow={device} rwm"));
            }
        }
        Ok(arguments)
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
        let running = ["systemctl", "is-system-running", "--wait"];
        let state = loop {
            // Empty where ssh is not let in, or systemd does not answer yet.
            if self.port_answers()
                && let Ok(state) = self.ssh(lab, &running, BOOT_TIMEOUT)
                && !["", "initializing", "offline", "starting", "unknown"]
                    .contains(&state.stdout.trim())
            {
                break state;
            }
            if self.process(lab).is_none() {
                return Err(failed("its machine ended"));
            }
            if started.elapsed() > BOOT_TIMEOUT {
                return Err(failed("ssh does not let us in"));
            }
            std::thread::sleep(POLL);
        };
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

    /// Runs a command on the server.
    ///
    /// # Errors
    /// When `ssh` cannot run or takes too long.
    pub(super) fn ssh(
        &self,
        lab: &Folder,
        command: &[&str],
        timeout: Duration,
    ) -> Result<program::Output> {
        let config = lab.ssh_config();
        let config = config.to_string_lossy();
        let arguments = ["ssh", "-F", &config, "-o", "BatchMode=yes", &self.name];
        Program::new(arguments.iter().chain(command)).timeout(timeout).output()
    }

    /// Ends the machine at once: its files are thrown away.
    ///
    /// # Errors
    /// When it is not ours to end.
    pub(super) fn end_at_once(&self, lab: &Folder) -> Result<()> {
        let Some(process) = self.process(lab) else { return Ok(()) };
        // With its first process all others of the machine end, and systemd-nspawn tidies up.
        process.first_inside().as_ref().unwrap_or(&process).signal(Signal::KILL)
    }

    /// Waits for the machine to end, and ends it the hard way after a while.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn end(&self, lab: &Folder, network: &Network) -> Result<()> {
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
        Ok(())
    }
}

/// Whether `process` ends in this time.
pub(super) fn has_ended(process: &Process, within: Duration) -> bool {
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
    fn layers_lie_over_the_image() {
        let lab = Folder::new(Path::new("/lab")).unwrap();
        let mut server = Server::example("rufus");
        server.layers = vec!["0000000b".to_owned(), "0000000a".to_owned()];
        assert_eq!(
            server.mount_options(&lab, &Files::of(&lab, "rufus")),
            "volatile,index=on,redirect_dir=on,lowerdir=layers/0000000b:layers/0000000a:images/debian-12-00000000,\
             upperdir=servers/rufus/upper,workdir=servers/rufus/work"
        );
    }

    #[test]
    fn a_machine_may_do_what_stays_inside() {
        let lab = Folder::new(Path::new("/lab")).unwrap();
        let server = Server::example("rufus");
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

    /// Every mount of another server goes, also the one whose folder is renamed meanwhile.
    #[test]
    fn a_machine_sees_no_files_of_other_servers() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{text}\n", folder.path().display()))
                .unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let line = |point: &str| format!("1 2 0:3 / {point} rw - overlay infra-lab rw");
        let mounts = ["/lab/own/root", "/lab/a.new/root", "/lab/b/root"].map(line).join("\n");
        fs::write(folder.path().join("mounts"), mounts + "\n").unwrap();
        script("grep", "exec cat mounts");
        script(
            "umount",
            "case $2 in /lab/a.new/*) sed -i s/a.new/a/ mounts; exit 32 ;; esac\nsed -i \"\\\\, $2 ,d\" mounts",
        );
        let output = Command::new("/bin/sh")
            .args(["-c", ALONE, "sh", "/lab/own/root", "echo", "started"])
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n");
        let left = fs::read_to_string(folder.path().join("mounts")).unwrap();
        assert_eq!(left, line("/lab/own/root") + "\n");
    }
}
