//! Copies: servers with the files of a saved one and an identity of their own.

use std::fs;

use super::guest::Guest;
use super::layer;
use super::record::{Save, Saved};
use crate::error::{Context as _, Result};
use crate::lab::folder::{self, Folder};
use crate::lab::login;
use crate::lab::network::{self, Network};
use crate::lab::packages::{self, ARCHIVES};
use crate::lab::server::{self, Files, INTERFACE, Server};

/// Is there on a server that the outside world of a lab was told to.
const JOINED: &str = "var/lib/lab-internet/joined.pem";

/// Secrets that systemd made for the machine; it makes new ones where there are none.
const SECRETS: &[&str] = &["var/lib/systemd/credential.secret", "var/lib/systemd/random-seed"];

impl Server {
    /// Makes the server's files from those of `saved`; they appear complete or not at all.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn create_from(
        &self,
        save: &Save,
        saved: &Saved,
        lab: &Folder,
        network: &Network,
    ) -> Result<()> {
        let unfinished = self.begin(lab)?;
        if let Some(top) = self.layers.first() {
            layer::copy_attributes(&lab.layer(top), &unfinished.upper())?;
        }
        for index in 0..self.volumes.len() {
            save.copy_volume(saved, index, lab, &unfinished.volume(index))?;
        }
        // Through the mount: a folder made beside it would hide owner and mode of the saved one.
        self.mount(lab, &unfinished)?;
        let root = unfinished.root();
        let written = Guest::open(&root).and_then(|guest| {
            self.write_identity(&guest, &saved.name, &unfinished, network)?;
            // Only a cache: a server that has something else there gets no packages.
            let _ = guest.write_folder(ARCHIVES);
            guest.names(ARCHIVES)
        });
        folder::unmount_below(&root)?;
        let saved_packages = written?;
        Guest::open(&unfinished.upper())?.with_folder(ARCHIVES, |archives| {
            packages::share(&lab.packages(self.release), archives, &saved_packages)
        })?;
        self.complete(lab, &unfinished)
    }

    /// Writes everything that two servers in one network may not share.
    fn write_identity(
        &self,
        guest: &Guest,
        saved_name: &str,
        unfinished: &Files,
        network: &Network,
    ) -> Result<()> {
        let machine_id = server::machine_id()? + "\n";
        guest.write("etc/machine-id", &machine_id, 0o444)?;
        // Usually a link to the one above.
        if guest.is_file("var/lib/dbus/machine-id")? {
            guest.write("var/lib/dbus/machine-id", &machine_id, 0o444)?;
        }
        guest.write(INTERFACE, &self.interface(network), 0o644)?;
        // The outside world of this lab, if it has one, has another address than that of the save.
        if guest.is_file(JOINED)? {
            guest.write("etc/resolv.conf", &network::resolver(), 0o644)?;
        }
        SECRETS.iter().try_for_each(|path| guest.remove(path))?;
        self.write_host_keys(guest, unfinished)?;
        // A role may have written these for the saved name; a copy of that name keeps them.
        if self.name != saved_name {
            guest.write("etc/hostname", &format!("{}\n", self.name), 0o644)?;
            let hosts = guest.read("etc/hosts")?.unwrap_or_default();
            guest.write("etc/hosts", &with_own_name(&hosts, &self.name), 0o644)?;
        }
        Ok(())
    }

    /// Replaces each host key by a new one of its type.
    fn write_host_keys(&self, guest: &Guest, unfinished: &Files) -> Result<()> {
        let names = guest.names("etc/ssh")?;
        let mut kinds: Vec<&str> = names.iter().filter_map(|name| key_type(name)).collect();
        // The lab knows the server by this one.
        if !kinds.contains(&"ed25519") {
            kinds.push("ed25519");
        }
        for kind in kinds {
            let mut path = unfinished.host_key();
            if kind != "ed25519" {
                path.set_file_name(format!("host_key_{kind}"));
                login::make_key_of(kind, &path, &self.key_comment())?;
            }
            let private = fs::read_to_string(&path)
                .context(|| format!("cannot read `{}`", path.display()))?;
            let public = login::public_key(&path)?;
            let place = format!("etc/ssh/ssh_host_{kind}_key");
            guest.write(&place, &private, 0o600)?;
            guest.write(&format!("{place}.pub"), &format!("{public}\n"), 0o644)?;
            if kind != "ed25519" {
                folder::remove_file(&path)?;
                folder::remove_file(&path.with_extension("pub"))?;
            }
        }
        Ok(())
    }
}

/// The type of key in a file such as `ssh_host_rsa_key`.
fn key_type(file: &str) -> Option<&str> {
    let kind = file.strip_prefix("ssh_host_")?.strip_suffix("_key")?;
    ["ecdsa", "ed25519", "rsa"].contains(&kind).then_some(kind)
}

/// The lines of `/etc/hosts`, with `name` in that for the server itself.
fn with_own_name(hosts: &str, name: &str) -> String {
    let own = format!("127.0.1.1\t{name}");
    let is_own = |line: &str| line.split_whitespace().next() == Some("127.0.1.1");
    let mut lines: Vec<&str> =
        hosts.lines().map(|line| if is_own(line) { &own } else { line }).collect();
    if !lines.contains(&own.as_str()) {
        lines.push(&own);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_server_changes() {
        assert_eq!(
            with_own_name(
                "127.0.0.1\tlocalhost\n 127.0.1.1 rufus.example rufus # own\n\n::1 rufus\n",
                "copy"
            ),
            "127.0.0.1\tlocalhost\n127.0.1.1\tcopy\n\n::1 rufus\n"
        );
        assert_eq!(with_own_name("127.0.0.1 x", "copy"), "127.0.0.1 x\n127.0.1.1\tcopy\n");
        assert_eq!(with_own_name("", "copy"), "127.0.1.1\tcopy\n");
    }

    #[test]
    fn knows_host_keys_by_their_files() {
        assert_eq!(key_type("ssh_host_rsa_key"), Some("rsa"));
        for other in ["ssh_host_rsa_key.pub", "ssh_host_dsa_key", "ssh_host_x y_key", "sshd_config"]
        {
            assert_eq!(key_type(other), None, "{other}");
        }
    }
}
