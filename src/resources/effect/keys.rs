//! Whether sshd takes a user's keys from the file that holds them.

use super::sshd::{MAIN, Reading, Setting};
use crate::error::{Error, Result};
use crate::resources::account;
use crate::resources::names::Names;
use crate::resources::probe::{Probe, UserEntry};

/// The files of `AuthorizedKeysFile` where nothing else is said (`sshd_config(5)`).
const USUAL: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// Refuses keys of the user `name` in the file at `path` that would not count.
///
/// # Errors
/// The line of sshd's files that says so, or the folder that others can write to.
pub(in crate::resources) fn check(
    name: &str,
    user: &UserEntry,
    path: &str,
    probe: &dyn Probe,
) -> Result<()> {
    if !probe.exists(MAIN)? {
        return Ok(());
    }
    let reading = Reading::of("", "", probe)?;
    let is_no = |line: &&Setting| line.words() == ["no"];
    if let Some(line) = reading.for_user("pubkeyauthentication", name)?.filter(is_no) {
        return Err(Error::failed(line.to_string())
            .because(format!("sshd takes no keys of `{name}`"))
            .hint("take that line away, before the keys are declared"));
    }
    if let Some(line) = reading.for_user("authorizedkeysfile", name)? {
        let names = Names::of(probe);
        let place = names.target(path);
        let mut files = line.words().into_iter().map(|file| expanded(&file, name, user));
        if !files.any(|file| names.target(&file) == place) {
            return Err(Error::failed(line.to_string())
                .because(format!("sshd does not look for keys of `{name}` in `{path}`"))
                .hint("name `.ssh/authorized_keys` there as well, before the keys are declared"));
        }
    }
    match reading.for_user("strictmodes", name)?.filter(is_no) {
        Some(_) => Ok(()),
        None => check_home(name, user, probe),
    }
}

/// The files in which sshd looks for the keys of the user `name`.
///
/// # Errors
/// If the files of sshd cannot be read.
pub fn files(name: &str, user: &UserEntry, probe: &dyn Probe) -> Result<Vec<String>> {
    let reading = Reading::of("", "", probe)?;
    let said = reading.for_user("authorizedkeysfile", name)?.map(Setting::words);
    let files = said.unwrap_or_else(|| USUAL.map(str::to_owned).to_vec());
    Ok(files.iter().map(|file| expanded(file, name, user)).collect())
}

/// sshd takes no keys from a home that others can write to.
fn check_home(name: &str, user: &UserEntry, probe: &dyn Probe) -> Result<()> {
    if user.uid == account::UNKNOWN {
        // A preview does not know the number of an account to come: a home that is there already
        // may become its own.
        return Ok(());
    }
    let home = Names::of(probe).target(&user.home);
    let Some(stat) = probe.stat(&home)? else { return Ok(()) };
    let owner = probe.user(&stat.owner)?;
    let is_owned = stat.owner == "root" || owner.is_some_and(|owner| owner.uid == user.uid);
    let may_group = stat.mode & 0o020 == 0 || is_group_of_one(&stat.group, name, user, probe)?;
    let is_closed = stat.mode & 0o002 == 0 && may_group;
    let reason = match (is_owned, is_closed) {
        (true, true) => return Ok(()),
        (false, _) => format!("it belongs to `{}`", stat.owner),
        (true, false) => format!("its mode is {:04o}", stat.mode),
    };
    Err(Error::failed(format!("sshd takes no keys of `{name}` from `{home}`: {reason}"))
        .because("others could put keys there")
        .hint("declare a `directory` with its owner and `mode: \"0755\"` before the keys"))
}

/// Whether the user `name` and nobody else is in a group: Debian's sshd lets such a group write.
fn is_group_of_one(group: &str, name: &str, user: &UserEntry, probe: &dyn Probe) -> Result<bool> {
    let Some(entry) = probe.group(group)? else { return Ok(false) };
    let accounts = probe.read("/etc/passwd")?.unwrap_or_default();
    let (gid, uid) = (entry.gid.to_string(), user.uid.to_string());
    let others = String::from_utf8_lossy(&accounts).lines().any(|line| {
        let mut numbers = line.split(':').skip(2);
        numbers.next() != Some(&uid) && numbers.next() == Some(&gid)
    });
    let is_alone = !others && entry.members.iter().all(|member| member == name);
    Ok(is_alone && (user.group == group || !entry.members.is_empty()))
}

/// A file of `AuthorizedKeysFile`, with what its tokens stand for.
fn expanded(file: &str, name: &str, user: &UserEntry) -> String {
    let uid = user.uid.to_string();
    let home = user.home.trim_end_matches('/');
    let mut parts = file.split('%');
    let mut path = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        let (value, rest) = match part.chars().next() {
            Some('h') => (home, &part[1..]),
            Some('u') => (name, &part[1..]),
            Some('U') => (uid.as_str(), &part[1..]),
            Some(_) => ("%", part),
            // `%%`: what follows is no token.
            None => ("%", parts.next().unwrap_or_default()),
        };
        path = path + value + rest;
    }
    if path.starts_with('/') { path } else { format!("{home}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_files_as_sshd_does() {
        let user = UserEntry { uid: 1000, home: "/home/ada/".into(), ..UserEntry::default() };
        for (file, path) in [
            (".ssh/authorized_keys", "/home/ada/.ssh/authorized_keys"),
            ("%h/keys", "/home/ada/keys"),
            ("/etc/ssh/keys/%u-%U", "/etc/ssh/keys/ada-1000"),
            ("/etc/%%u/%%%u", "/etc/%u/%ada"),
            ("none", "/home/ada/none"),
        ] {
            assert_eq!(expanded(file, "ada", &user), path);
        }
    }
}
