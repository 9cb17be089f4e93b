//! The password of a user, and its lock.

use super::User;
use crate::error::{Error, Result};
use crate::resources::account::{self, Password};
use crate::resources::query::Command;
use crate::resources::system::{System, run_checked};
use crate::secret::Secret;

/// Characters of a hash of the old DES kind (crypt(5)).
const DES_CHARACTERS: usize = 13;

impl User {
    /// Refuses a password in the place of its hash: it would be readable in `/etc/shadow`, and open nothing. Only
    /// the server is asked, since placeholders of secrets are no hashes either.
    pub(super) fn check_hash(&self) -> Result<()> {
        let Some(hash) = self.password_hash.as_ref().map(Secret::expose) else { return Ok(()) };
        let is_of_des = hash.len() == DES_CHARACTERS
            && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
        if hash.starts_with(['$', '_', '*', '!']) || is_of_des || self.state.is_absent() {
            return Ok(());
        }
        let message = format!("`password_hash` of `{}` is no hash of a password", self.name);
        Err(Error::failed(message).hint("`openssl passwd -6` makes a hash that begins with `$`"))
    }

    /// The password field that `hash` makes of the one that is there.
    pub(super) fn password_field(&self, hash: &str, found: &str) -> String {
        let is_locked = self.locked.unwrap_or_else(|| Password::of(found).is_locked());
        let lock = if is_locked && !account::is_no_hash(hash) { "!" } else { "" };
        format!("{lock}{hash}")
    }

    /// Through standard input, so that the hash is not in the list of processes.
    pub(super) fn set_password(&self, hash: &Secret, system: &mut dyn System) -> Result<()> {
        let found = system.user(&self.name)?.and_then(|user| user.password_hash);
        let field = self.password_field(hash.expose(), &found.unwrap_or_default());
        let line = format!("{}:{field}\n", self.name);
        run_checked(system, &Command::new(["chpasswd", "-e"]).stdin(line)).map(drop)
    }

    pub(super) fn predicted_password(&self, found: Option<String>) -> String {
        let found = found.unwrap_or_else(|| "!".to_owned());
        let password = Password::of(&found);
        match (&self.password_hash, self.locked) {
            (Some(hash), _) => self.password_field(hash.expose(), &found),
            (None, Some(wanted)) if password.counts_as_locked(wanted) != wanted => {
                format!("{}{}", if wanted { "!" } else { "" }, password.hash)
            }
            (None, _) => found,
        }
    }

    pub(super) fn set_lock(&self, system: &mut dyn System) -> Result<()> {
        let found = system.user(&self.name)?.and_then(|user| user.password_hash);
        // Each call takes one `!` away.
        let locks = found.as_deref().map_or(1, |field| Password::of(field).locks).clamp(1, 8);
        let (option, times) =
            if self.locked == Some(true) { ("--lock", 1) } else { ("--unlock", locks) };
        let command = Command::new(["usermod", option, "--"]).arg(&self.name);
        (0..times).try_for_each(|_| run_checked(system, &command).map(drop))
    }
}
