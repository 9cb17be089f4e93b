//! What ssh and sudo say when they fail, told in the words of the inventory.
//!
//! ssh has no error codes, only text; the texts are those of OpenSSH 8 to 10 and are held by
//! tests against a real server.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind};
use crate::inventory::connection::SshSettings;

/// Something ssh says, what it means, and what can be done.
struct Known {
    /// Any of these in ssh's log.
    says: &'static [&'static str],
    /// `{server}`, `{host}` and `{login}` are filled in.
    means: &'static str,
    hint: &'static str,
    /// Whether a person at a terminal may help: a passphrase, a password.
    needs_person: bool,
}

/// The first that matches counts.
const KNOWN: &[Known] = &[
    Known {
        says: &["REMOTE HOST IDENTIFICATION HAS CHANGED"],
        means: "`{server}` shows another host key than the one we know: \
                someone may be in between, or the server was installed anew",
        hint: "ask whoever runs the server; if the new key is right, {change_key}",
        needs_person: false,
    },
    Known {
        says: &["host key is known for"],
        means: "the host key of `{server}` is not known",
        hint: "compare what `{keyscan}` prints with the server's own \
               `/etc/ssh/ssh_host_ed25519_key.pub`, then write it into `inventory/{server}.yaml` \
               as `ssh.host_key`",
        needs_person: false,
    },
    Known {
        says: &["Host key verification failed"],
        means: "the host key of `{server}` was refused",
        hint: "run `ssh {login}` to see why",
        needs_person: false,
    },
    Known {
        says: &["Could not resolve hostname"],
        means: "cannot reach `{server}`: there is no host `{host}`",
        hint: "check `ssh.host` in `inventory/{server}.yaml`, and the network",
        needs_person: false,
    },
    Known {
        says: &["Connection refused"],
        means: "cannot reach `{server}`: `{host}` refuses connections",
        hint: "check `ssh.host` and `ssh.port` in `inventory/{server}.yaml`, and that sshd runs",
        needs_person: false,
    },
    Known {
        says: &["timed out", "Operation timed out"],
        means: "cannot reach `{server}`: `{host}` does not answer",
        hint: "check `ssh.host` and `ssh.port` in `inventory/{server}.yaml`, the network and the \
               firewall",
        needs_person: false,
    },
    Known {
        says: &["No route to host", "Network is unreachable"],
        means: "cannot reach `{server}`: no way leads to `{host}`",
        hint: "check the network",
        needs_person: false,
    },
    Known {
        says: &["Too many authentication failures"],
        means: "`{server}` refused us after too many keys",
        hint: "name the right one with `--ssh-identity FILE`",
        needs_person: false,
    },
    Known {
        says: &["Permission denied ("],
        means: "`{server}` does not let `{login}` in",
        hint: "check that `ssh {login}` works; `ssh.user` in `inventory/{server}.yaml` and \
               `--ssh-identity` say who we are",
        needs_person: true,
    },
    Known {
        says: &["Connection closed by", "Connection reset by", "kex_exchange_identification"],
        means: "`{server}` closed the connection before the login",
        hint: "check that `ssh {login}` works",
        needs_person: false,
    },
];

/// Whether the same attempt may succeed with a person at the terminal.
pub(super) fn needs_person(log: &str) -> bool {
    known(log).is_some_and(|known| known.needs_person)
}

/// Whether the server, or the host before it, closed the connection before the exchange of keys: nobody
/// was asked for a key yet, so that another attempt is no failed login. A server that says why it does so
/// is not tried again.
pub(super) fn is_turned_away(log: &str) -> bool {
    let is_before = |line: &str| {
        line.contains("kex_exchange_identification") && !line.contains("Not allowed at this time")
    };
    let is_closed = ["Connection closed by", "Connection reset by"];
    log.lines().any(is_before)
        && is_closed.iter().any(|words| log.contains(words))
        && !log.contains("Not allowed at this time")
        // The reason is known, and told.
        && !["Could not resolve", "refused", "timed out", "No route", "unreachable"]
            .iter()
            .any(|words| log.contains(words))
}

/// Whether something took the connection and did not greet in time.
pub(super) fn is_silent(log: &str) -> bool {
    log.contains("timed out during banner exchange")
}

/// Why the master of `server` did not start, from its log.
pub(super) fn of_ssh(server: &str, settings: &SshSettings, log: &str) -> Error {
    let login = match &settings.user {
        Some(user) => format!("{user}@{}", settings.host),
        None => settings.host.clone(),
    };
    let change_key = if settings.host_keys.is_empty() {
        format!("remove the old one with `ssh-keygen -R {}`", settings.host)
    } else {
        format!("change `ssh.host_key` in `inventory/{server}.yaml`")
    };
    let keyscan = match settings.port {
        Some(port) => format!("ssh-keyscan -p {port} {}", settings.host),
        None => format!("ssh-keyscan {}", settings.host),
    };
    let fill = |text: &str| {
        text.replace("{server}", server)
            .replace("{host}", &settings.host)
            .replace("{login}", &login)
            .replace("{keyscan}", &keyscan)
            .replace("{change_key}", &change_key)
    };
    let cause = changed_key(settings, log).unwrap_or_else(|| telling_lines(log));
    let error = match known(log) {
        Some(known) => Error::new(Kind::Unreachable, fill(known.means)).hint(fill(known.hint)),
        None => Error::new(Kind::Unreachable, format!("cannot connect to `{server}`")),
    };
    if cause.is_empty() { error } else { error.because(cause) }
}

/// The key that a server shows and those that its inventory has, where they differ: ssh would name the copy
/// of the inventory's keys that it was given.
fn changed_key(settings: &SshSettings, log: &str) -> Option<String> {
    if !log.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return None;
    }
    let shown = log.lines().map(str::trim).find(|line| line.starts_with("SHA256:"))?;
    let known: Vec<String> = settings.host_keys.iter().filter_map(|key| fingerprint(key)).collect();
    let shown = shown.trim_end_matches(['.', '\r']);
    (!known.is_empty())
        .then(|| format!("the server shows `{shown}`, its inventory has `{}`", known.join("`, `")))
}

/// The fingerprint of `ssh-ed25519 AAAA…`, as `ssh-keygen -l` prints it.
fn fingerprint(key: &str) -> Option<String> {
    let blob = STANDARD.decode(key.split_whitespace().nth(1)?).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))))
}

/// Whether an error of a connection may be over in a moment: nobody was asked for a key yet. One
/// who is refused again and again is soon banned by the server.
pub fn may_pass(error: &Error) -> bool {
    let passing = ["Connection refused", "Connection reset", "kex_exchange_identification"];
    let way = ["timed out", "No route to host", "Network is unreachable"];
    let mut words = passing.iter().chain(&way);
    words.any(|words| error.causes.iter().any(|cause| cause.contains(words)))
}

fn known(log: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.says.iter().any(|text| log.contains(text)))
}

/// The last lines of a log, without the banner of a changed key and what ssh always says.
fn telling_lines(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.trim_end_matches('\r').trim_end())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .filter(|line| !line.starts_with("Warning: Permanently added"))
        // What ssh says of a connection through `infra dial`, which has said why by then.
        .filter(|line| !line.contains("UNKNOWN port 65535"))
        .filter(|line| !(log.starts_with("ssh: ") && line.starts_with("kex_exchange_")))
        .collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

/// Why the agent did not start, from what the server wrote to its standard error. `password` says
/// whether a password was given to sudo.
pub(super) fn of_start(server: &str, settings: &SshSettings, stderr: &str, end: &str) -> Error {
    let login = settings.user.as_deref().unwrap_or("the login user");
    let sudo_refuses =
        ["is not in the sudoers file", "is not allowed to", "may not run sudo", "no tty present"];
    let text = stderr.replace(super::bootstrap::SUDO_PROMPT, "");
    let cause = telling_lines(&text);
    let error = if sudo_refuses.iter().any(|says| text.contains(says)) {
        Error::new(Kind::Unreachable, format!("`{login}` may not use sudo on `{server}`"))
            .hint(format!("let `{login}` use sudo there, or set `ssh.user` to `root`"))
    } else if text.contains("there is no sudo") {
        Error::new(Kind::Unreachable, format!("`{login}` is not root on `{server}`"))
            .hint("install sudo there, or set `ssh.user` to `root`")
    } else if text.contains("No space left on device") {
        Error::failed(format!("no space is left on `{server}` for the agent"))
            .hint("free some space on `/var`")
    } else if text.contains("Exec format error") || text.contains("not executable") {
        Error::failed(format!("the agent does not run on the processor of `{server}`"))
    } else {
        Error::failed(format!("the agent did not start on `{server}`"))
    };
    match (cause.is_empty(), end.is_empty()) {
        (false, _) => error.because(cause),
        (true, false) => error.because(end),
        (true, true) => error,
    }
}

/// sudo wants a password and nobody can give one.
pub(super) fn no_sudo_password(server: &str, settings: &SshSettings) -> Error {
    let login = settings.user.as_deref().unwrap_or("the login user");
    Error::new(Kind::Unreachable, format!("sudo on `{server}` asks for the password of `{login}`"))
        .hint("run at a terminal, set `ssh.sudo.password`, or let sudo ask for none")
}

/// sudo did not take the password.
pub(super) fn wrong_sudo_password(server: &str, settings: &SshSettings) -> Error {
    let login = settings.user.as_deref().unwrap_or("the login user");
    Error::new(Kind::Unreachable, format!("wrong sudo password for `{login}` on `{server}`"))
}
