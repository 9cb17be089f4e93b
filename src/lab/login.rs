//! The keys and files with which ssh reaches the servers of a lab.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::folder::{self, Folder};
use super::program::Program;
use crate::error::{Context as _, Result};

/// Preferred to the exchange that outlives quantum computers, which costs two processors a tenth of
/// a second: no packet of a lab leaves the machine.
const KEX: &str = "^curve25519-sha256";

/// How long the making of a key may take: prime numbers are found by trying, and a busy machine
/// takes many times as long as an idle one.
const KEY_TIMEOUT: Duration = Duration::from_mins(2);

/// Makes an ed25519 key pair at `path` and `path.pub`, where there is none.
///
/// # Errors
/// When ssh-keygen fails.
pub(super) fn make_key(path: &Path, comment: &str) -> Result<()> {
    make_key_of("ed25519", path, comment)
}

/// Makes a key pair of the type `kind` at `path` and `path.pub`, where there is none.
///
/// # Errors
/// When ssh-keygen fails.
pub(super) fn make_key_of(kind: &str, path: &Path, comment: &str) -> Result<()> {
    if path.with_extension("pub").exists() {
        return Ok(());
    }
    // Without a public key the pair is what an interrupted run has left.
    folder::remove_file(path)?;
    let path = path.to_string_lossy();
    let arguments = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", &path];
    Program::new(arguments).timeout(KEY_TIMEOUT).run()?;
    Ok(())
}

/// The public key beside the private key `path`, as `ssh-ed25519 AAAA…`, without its comment.
///
/// # Errors
/// When it cannot be read.
pub(super) fn public_key(path: &Path) -> Result<String> {
    let path = path.with_extension("pub");
    let text = fs::read_to_string(&path).context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// A server as ssh needs to know it.
pub(super) struct Login<'a> {
    pub(super) name: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) host_key: String,
}

/// Writes `ssh_config` and `known_hosts` for these servers, so that `ssh -F …/ssh_config NAME`
/// works for anybody who may read the lab's folder.
///
/// # Errors
/// When they cannot be written.
pub(super) fn write_files(lab: &Folder, logins: &[Login]) -> Result<()> {
    let known = logins.iter().fold(String::new(), |mut text, login| {
        let _ = writeln!(text, "{},{} {}", login.address, login.name, login.host_key);
        text
    });
    folder::write(&lab.known_hosts(), known, 0o600)?;
    folder::write(&lab.ssh_config(), config(lab, logins), 0o600)
}

fn config(lab: &Folder, logins: &[Login]) -> String {
    let mut text = String::from("# Written by `infra lab`. Use it with `ssh -F`.\n");
    for login in logins {
        let _ = writeln!(text, "Host {}\n  HostName {}", login.name, login.address);
    }
    let _ = writeln!(
        text,
        "Host *\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
         GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  ConnectTimeout 10\n  \
         KexAlgorithms {KEX}",
        lab.key().display(),
        lab.known_hosts().display(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_finds_the_servers_by_name() {
        let lab = Folder::new(Path::new("/var/lib/infra-lab")).unwrap();
        let login = Login {
            name: "rufus",
            address: Ipv4Addr::new(10, 200, 4, 2),
            host_key: "ssh-ed25519 AAAA".to_owned(),
        };
        assert_eq!(
            config(&lab, &[login]),
            "# Written by `infra lab`. Use it with `ssh -F`.\n\
             Host rufus\n  HostName 10.200.4.2\n\
             Host *\n  User root\n  IdentityFile /var/lib/infra-lab/key\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile /var/lib/infra-lab/known_hosts\n  \
             GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  ConnectTimeout 10\n  \
             KexAlgorithms ^curve25519-sha256\n"
        );
    }
}
