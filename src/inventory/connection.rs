//! How a server is reached, as its inventory says.

use std::path::PathBuf;

use crate::secret::Secret;

/// The key `ssh` of a server. What is `None` or empty is left to the user's own ssh
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshSettings {
    /// A host name, an address, or a `Host` of the ssh configuration; the server's own name where
    /// the inventory gives none.
    pub host: String,
    /// The login user.
    pub user: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The only keys that the server may show, as `ssh-ed25519 AAAA…`, one each. Empty: the
    /// user's `known_hosts` decides, and an unknown key is refused.
    pub host_keys: Vec<String>,
    /// The private key to log in with. Never from the project.
    pub identity_file: Option<PathBuf>,
    /// Read instead of `~/.ssh/config`. Never from the project.
    pub config_file: Option<PathBuf>,
    /// The password of the login user, for `sudo`. `None`: `sudo` must ask for none, or a person
    /// at the terminal is asked.
    pub sudo_password: Option<Secret>,
}
