//! The login of a user: what closes it, and what opens it again.

use super::User;
use crate::error::{Error, Result};
use crate::resources::WayBack;
use crate::resources::account::Password;
use crate::resources::probe::Probe;
use crate::resources::query::Command;
use crate::resources::state::Change;

impl User {
    /// Whether somebody who is logged in as this user may not get in again, once it is as declared or,
    /// if that is known, once it is changed so.
    pub fn may_close_login(&self, change: Option<&Change>) -> bool {
        let declared = [
            ("group", self.group.is_some()),
            ("groups", self.groups.is_some()),
            ("shell", self.shell.is_some()),
            ("locked", self.locked.is_some()),
            ("expires", self.expires.is_some()),
        ];
        let mut declared = declared.iter().filter(|(_, is_declared)| *is_declared);
        declared.any(|(field, _)| change.is_none_or(|change| change.sets(field)))
    }

    /// The programs that let somebody in again as before.
    pub(super) fn programs_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
        let Some(entry) = probe.user(&self.name)? else { return Ok(Vec::new()) };
        let usermod = |options: &[&str]| {
            let command = Command::new(["usermod"]);
            let command = options.iter().fold(command, |command, option| command.arg(*option));
            WayBack { command: command.arg("--").arg(&self.name), outlives_boot: true }
        };
        let expires = entry.expires.map_or_else(String::new, |day| day.to_string());
        let groups = entry.groups.join(",");
        let mut back = vec![usermod(&[
            "--gid",
            &entry.group,
            "--groups",
            &groups,
            "--shell",
            &entry.shell,
            "--expiredate",
            &expires,
        ])];
        if let Some(field) = entry.password_hash.as_ref().filter(|_| self.password_hash.is_some()) {
            // The lock is a part of it. Through standard input, as it was set.
            let command =
                Command::new(["chpasswd", "-e"]).stdin(format!("{}:{field}\n", self.name));
            back.push(WayBack { command, outlives_boot: true });
            return Ok(back);
        }
        let password = entry.password_hash.as_deref().map(Password::of);
        if let Some(password) = password.filter(|it| self.locked.is_some() && !it.hash.is_empty()) {
            let option = if password.is_locked() { "--lock" } else { "--unlock" };
            back.push(usermod(&[option]));
        }
        Ok(back)
    }

    /// Refuses a shell that is not there: nobody could log in.
    pub(super) fn check_shell(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        let sets = !change.is_remove() && change.sets("shell") && !probe.is_preview_of_more();
        match self.shell.as_ref().filter(|_| sets) {
            Some(shell) if !probe.exists(shell.as_str())? => {
                Err(Error::failed(format!("the shell `{shell}` is not on the server"))
                    .hint("declare the package that brings it before"))
            }
            _ => Ok(()),
        }
    }
}
