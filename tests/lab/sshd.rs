//! A real sshd on a high port of 127.0.0.1, in name spaces of its own: everything that is written
//! below `/var/lib` ends with sshd.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use infra::inventory::connection::SshSettings;

use crate::support::wait_until;

/// A running sshd; dropped, sshd and all its sessions end.
pub(crate) struct Sshd {
    process: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
}

/// How the server differs from a plain one.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Size of the file system that holds the agent, as mount's `size=`.
    pub(crate) disk: Option<&'a str>,
    /// Shell code that runs before what the client asks for.
    pub(crate) before: Option<&'a str>,
    /// Programs that are found before those of the system: name and script.
    pub(crate) programs: &'a [(&'a str, &'a str)],
    /// Further lines of its configuration.
    pub(crate) config: &'a str,
}

impl Sshd {
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("infra-sshd").tempdir_in("/tmp").unwrap();
        let path = folder.path();
        for name in ["host", "other_host", "client", "other_client"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path.join(name)));
        }
        let bin = path.join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, script) in setup.programs {
            fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(
            path.join("command"),
            format!(
                "PATH={}:$PATH\n{}\neval \"$SSH_ORIGINAL_COMMAND\"\n",
                bin.display(),
                setup.before.unwrap_or("")
            ),
        )
        .unwrap();
        let (process, port) = serve(path, setup);
        Self { process, folder, port }
    }

    /// Another server, which the same person logs in to with the same key.
    pub(crate) fn another(&self) -> Self {
        let other = Self::start(&Setup::default());
        for name in ["client", "client.pub"] {
            fs::copy(self.file(name), other.file(name)).unwrap();
        }
        other
    }

    /// Settings with which the login works.
    pub(crate) fn settings(&self) -> SshSettings {
        SshSettings {
            host: "127.0.0.1".to_owned(),
            user: Some("root".to_owned()),
            port: Some(self.port),
            host_keys: vec![self.public_key("host")],
            identity_file: Some(self.file("client")),
            config_file: Some(empty_config(self.folder.path())),
            sudo_password: None,
        }
    }

    pub(crate) fn public_key(&self, name: &str) -> String {
        let line = fs::read_to_string(self.file(&format!("{name}.pub"))).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts sshd on a free port. Another port is tried where somebody else took the first one before
/// sshd did.
fn serve(folder: &Path, setup: &Setup<'_>) -> (Child, u16) {
    let log = || fs::read_to_string(folder.join("sshd.log")).unwrap();
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = spawn(folder, setup, port);
        let mut has_ended = false;
        wait_until("sshd to listen", || {
            has_ended = process.try_wait().unwrap().is_some();
            has_ended || log().contains("Server listening on")
        });
        if !has_ended {
            return (process, port);
        }
        assert!(log().contains("Address already in use"), "sshd does not start: {}", log());
    }
}

fn spawn(folder: &Path, setup: &Setup<'_>, port: u16) -> Child {
    // The profile of whoever runs the tests may print.
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n\
         StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nAuthorizedKeysFile {folder}/client.pub\n\
         SetEnv HOME={folder}\n\
         {config}\nForceCommand sh {folder}/command\n",
        folder = folder.display(),
        config = setup.config,
    );
    fs::write(folder.join("sshd_config"), config).unwrap();
    let size = setup.disk.unwrap_or("64m");
    let script = format!(
        // The files of servers in the lab would stay in use for as long as this sshd runs.
        // One of them may get another name in between.
        "others() {{ grep ' overlay infra-lab ' /proc/self/mountinfo | cut -d ' ' -f 5; }}; \
         for _ in $(seq 100); do [ -n \"$(others)\" ] || break; others | xargs umount --lazy; done; \
         mount -t tmpfs -o size={size} tmpfs /var/lib && mkdir -p /run/sshd /boot && \
         mount -t tmpfs tmpfs /boot && \
         exec /usr/sbin/sshd -D -e -f {}/sshd_config",
        folder.display()
    );
    Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "slave",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            &script,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("sshd.log")).unwrap())
        .spawn()
        .unwrap()
}

/// An ssh configuration without the machine's own.
pub(crate) fn empty_config(folder: &Path) -> PathBuf {
    let path = folder.join("ssh_config");
    fs::write(&path, "").unwrap();
    path
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
