//! A real sshd on a high port of 127.0.0.1, in name spaces of its own: what it writes below
//! `/var/lib` is gone with it. Needs root, as the lab does.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use infra::inventory::connection::SshSettings;

/// A running sshd; dropped, it and all its sessions are gone.
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
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nAuthorizedKeysFile {folder}/client.pub\n\
             ForceCommand sh {folder}/command\n",
            folder = path.display(),
        );
        fs::write(path.join("sshd_config"), config).unwrap();
        let size = setup.disk.unwrap_or("64m");
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs /var/lib && mkdir -p /run/sshd /boot && \
             mount -t tmpfs tmpfs /boot && \
             exec /usr/sbin/sshd -D -f {}/sshd_config",
            path.display()
        );
        let process = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path.join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let sshd = Self { process, folder, port };
        sshd.wait();
        sshd
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

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.file("sshd.log")).unwrap_or_default();
            assert!(Instant::now() < end, "sshd does not start (it needs root): {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
