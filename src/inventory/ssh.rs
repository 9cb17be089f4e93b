//! The key `ssh` of servers and groups.

use super::connection::SshSettings;
use super::layer::{map_of, number, said, text};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Entry, Node};

/// What may be said.
pub(super) const KEYS: &[&str] = &["host", "user", "port", "host_key", "sudo"];

/// How the person who runs infra says what the project cannot say with `key`.
pub(super) fn of_the_user(key: &str) -> Option<&'static str> {
    match key {
        "config_file" => Some("`--ssh-config FILE` or `INFRA_SSH_CONFIG=FILE`"),
        "identity_file" => Some("`--ssh-identity FILE` or `INFRA_SSH_IDENTITY=FILE`"),
        _ => None,
    }
}

/// How the server `name` is reached by what a map of [`KEYS`] says, and the expression of its
/// password for `sudo`.
pub(super) fn settings(
    name: &str,
    node: &Node,
    mistakes: &mut Diagnostics,
) -> (SshSettings, Option<Node>) {
    let mut ssh = SshSettings { host: name.to_owned(), ..SshSettings::default() };
    let mut sudo_password = None;
    for entry in said(node) {
        match &*entry.key {
            "host" => ssh.host = word(entry, mistakes).unwrap_or_else(|| name.to_owned()),
            "user" => ssh.user = word(entry, mistakes),
            "port" => ssh.port = number(entry, "a port from 1 to 65535", mistakes),
            "host_key" => ssh.host_keys = host_keys(entry, mistakes),
            _ => {
                let sudo = map_of(&entry.value, "sudo", &["password"], mistakes);
                sudo_password = said(&sudo).find_map(|entry| password(entry, mistakes));
            }
        }
    }
    (ssh, sudo_password)
}

/// A host or a user: one word that ssh cannot take for an option.
fn word(entry: &Entry, mistakes: &mut Diagnostics) -> Option<String> {
    let text = text(entry, mistakes)?;
    let span = &entry.value.span;
    if text.contains("{{") {
        mistakes.push(
            Diagnostic::at(span, format!("`{}` cannot hold an expression", entry.key))
                .hint("write it out: expressions of other servers use it"),
        );
        return None;
    }
    // The characters of host names, addresses and accounts: older versions of ssh pass others on
    // to a shell (CVE-2023-51385).
    let good = |c: char| c.is_alphanumeric() || "._-:%@+[]".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
        mistakes.push(entry.value.wrong_kind(
            &entry.key,
            "a name of letters, digits and `._-:%@+[]` that does not begin with `-`",
        ));
        return None;
    }
    Some(text)
}

/// A password that is readable in the repository is a mistake.
fn password(entry: &Entry, mistakes: &mut Diagnostics) -> Option<Node> {
    if entry.value.as_str().is_some_and(|text| text.contains("{{")) {
        return Some(entry.value.clone());
    }
    mistakes.push(
        Diagnostic::at(&entry.key_span, "`password` wants an expression that reads a secret")
            .hint("for example `\"{{ secrets.sudo_password }}\"`"),
    );
    None
}

fn host_keys(entry: &Entry, mistakes: &mut Diagnostics) -> Vec<String> {
    let one = std::slice::from_ref(&entry.value);
    let mut keys = Vec::new();
    for node in entry.value.as_list().unwrap_or(one) {
        let key = node.scalar().unwrap_or_default().trim();
        if is_host_key(key) {
            keys.push(key.to_owned());
        } else {
            mistakes.push(
                Diagnostic::at(&node.span, "`host_key` is not the public key of a server")
                    .hint("`ssh-keyscan HOST` prints it: `ssh-ed25519 AAAA…`"),
            );
        }
    }
    keys
}

/// `ssh-ed25519 AAAA…`, maybe with a comment. The key repeats its kind inside.
fn is_host_key(text: &str) -> bool {
    use base64::Engine as _;
    // Another line would be another entry of `known_hosts`.
    if text.contains(|c: char| c.is_control()) {
        return false;
    }
    let mut words = text.split_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else { return false };
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(body) else { return false };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    rest.get(..length) == Some(kind.as_bytes()) && rest.len() > length
}

#[cfg(test)]
mod tests {
    use super::is_host_key;

    #[test]
    fn a_host_key_holds_its_kind() {
        let body = "AAAAC3NzaC1lZDI1NTE5AAAAIGdZwKNdcvj6cF1FVKFgpYqfbLPpYV1b6GAhqFCKxeSx";
        assert!(is_host_key(&format!("ssh-ed25519 {body}")));
        assert!(is_host_key(&format!("ssh-ed25519 {body} root@rufus")));
        assert!(!is_host_key(body));
        assert!(!is_host_key(&format!("ssh-rsa {body}")));
        assert!(!is_host_key("ssh-ed25519 AAAA…"));
        assert!(!is_host_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"));
        assert!(!is_host_key(&format!("ssh-ed25519 {body}\n@cert-authority * ssh-ed25519 {body}")));
        assert!(!is_host_key(&format!("ssh-ed25519 {body} root\rx")));
        assert!(!is_host_key(""));
    }
}
