//! One key that secrets are encrypted to.

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::identity::{Callbacks, plain};

/// A public key that age can encrypt to, or the word `passphrase`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// How age treats it.
    pub kind: KeyKind,
    /// As age writes it, without a comment.
    pub text: String,
}

/// The kinds of recipients that age knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// `age1…`
    X25519,
    /// `age1tag1…`: a key in hardware.
    Tag,
    /// `age1tagpq1…`: the same, safe from quantum computers.
    TagPq,
    /// `ssh-ed25519 …`
    SshEd25519,
    /// `ssh-rsa …`
    SshRsa,
    /// `age1NAME1…`: encrypted by the program `age-plugin-NAME`.
    Plugin(String),
    /// Whoever knows the passphrase.
    Passphrase,
}

impl Key {
    /// Reads a key as `recipients.yaml` has it; comments of SSH keys are dropped.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let key = |kind, text: String| Ok(Self { kind, text });
        if text == "passphrase" {
            return key(KeyKind::Passphrase, text.to_owned());
        }
        if text.starts_with("ssh-") {
            return match text.parse::<age::ssh::Recipient>() {
                Ok(known @ age::ssh::Recipient::SshEd25519(..)) => {
                    key(KeyKind::SshEd25519, known.to_string())
                }
                Ok(known @ age::ssh::Recipient::SshRsa(..)) => {
                    key(KeyKind::SshRsa, known.to_string())
                }
                Err(error) => Err(ssh_refusal(&error)),
            };
        }
        if text.starts_with("AGE-SECRET-KEY-") || text.starts_with("AGE-PLUGIN-") {
            return Err("it is an identity, which must stay secret: make a new one".to_owned());
        }
        if let Ok(known) = text.parse::<age::x25519::Recipient>() {
            return key(KeyKind::X25519, known.to_string());
        }
        if text.parse::<age::tag::Recipient>().is_ok() {
            return key(KeyKind::Tag, text.to_owned());
        }
        if text.parse::<age::tagpq::Recipient>().is_ok() {
            return key(KeyKind::TagPq, text.to_owned());
        }
        match text.parse::<age::plugin::Recipient>() {
            Ok(known) => key(KeyKind::Plugin(known.plugin().to_owned()), text.to_owned()),
            Err(_) if text.starts_with("age1") => Err("its letters do not add up".to_owned()),
            Err(_) => Err("this is no kind of key that age knows".to_owned()),
        }
    }

    /// What stands for it in the header of a file: half of the SHA-256 of its text.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(&self.text)[..16]);
        half
    }

    /// What age encrypts to.
    ///
    /// # Errors
    /// Says why it cannot be used here: a plugin may be missing.
    pub(super) fn recipient(
        &self,
        callbacks: &Callbacks,
    ) -> Result<Box<dyn age::Recipient + Send>, String> {
        let broken = || format!("`{}` is no key", self.text);
        Ok(match &self.kind {
            KeyKind::X25519 => {
                Box::new(self.text.parse::<age::x25519::Recipient>().map_err(|_| broken())?)
            }
            KeyKind::Tag => {
                Box::new(self.text.parse::<age::tag::Recipient>().map_err(|_| broken())?)
            }
            KeyKind::TagPq => {
                Box::new(self.text.parse::<age::tagpq::Recipient>().map_err(|_| broken())?)
            }
            KeyKind::SshEd25519 | KeyKind::SshRsa => {
                Box::new(self.text.parse::<age::ssh::Recipient>().map_err(|_| broken())?)
            }
            KeyKind::Plugin(name) => {
                let key = self.text.parse::<age::plugin::Recipient>().map_err(|_| broken())?;
                let plugin =
                    age::plugin::RecipientPluginV1::new(name, &[key], &[], callbacks.clone());
                Box::new(plugin.map_err(plain)?)
            }
            KeyKind::Passphrase => return Err("a passphrase is no key".to_owned()),
        })
    }

    /// The tag by which age finds the stanza of an SSH key.
    pub(super) fn ssh_tag(&self) -> Option<String> {
        let encoded = self.text.strip_prefix("ssh-")?.split(' ').nth(1)?;
        let key = BASE64_STANDARD.decode(encoded).ok()?;
        Some(BASE64_STANDARD_NO_PAD.encode(&Sha256::digest(key)[..4]))
    }
}

fn ssh_refusal(error: &age::ssh::ParseRecipientKeyError) -> String {
    use age::ssh::ParseRecipientKeyError as Refusal;
    match error {
        Refusal::Unsupported(kind) => format!("age cannot encrypt to `{kind}`"),
        Refusal::RsaModulusTooLarge => "this RSA key is too long for age".to_owned(),
        Refusal::RsaModulusTooSmall => "this RSA key has fewer than 2048 bits".to_owned(),
        _ => "this is no SSH public key".to_owned(),
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519 => f.write_str("age"),
            Self::Tag => f.write_str("age tag"),
            Self::TagPq => f.write_str("age post-quantum tag"),
            Self::SshEd25519 => f.write_str("ssh-ed25519"),
            Self::SshRsa => f.write_str("ssh-rsa"),
            Self::Plugin(name) => write!(f, "plugin {name}"),
            Self::Passphrase => f.write_str("passphrase"),
        }
    }
}
