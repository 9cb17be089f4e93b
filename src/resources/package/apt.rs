//! Transactions of apt: without questions, waiting for the lock of others, telling how far they
//! are, and explaining what went wrong.

use super::lists::Lists;
use crate::error::{Error, Result};
use crate::resources::probe::Output;
use crate::resources::query::Command;
use crate::resources::system::{Progress, System, run_checked};

/// How long a transaction may take, in seconds: a slow mirror and a hundred packages.
const TRANSACTION_SECONDS: u32 = 3600;

/// How long apt and dpkg wait for another program's lock, in seconds.
const LOCK_SECONDS: u32 = 300;

/// Installs packages, given as `name`, `name=version` or `name/release`, in one transaction.
/// `environment` is handed to the packages' scripts. Unless it `may_remove`, nothing else goes.
pub(super) fn install(
    system: &mut dyn System,
    requests: &[String],
    downgrades: bool,
    may_remove: bool,
    environment: &[(&str, String)],
) -> Result<()> {
    let mut arguments = vec!["--no-install-recommends"];
    if !may_remove {
        arguments.push("--no-remove");
    }
    if downgrades {
        arguments.push("--allow-downgrades");
    }
    let command = arguments.into_iter().fold(apt_get(), Command::arg).arg("install").arg("--");
    let command = requests.iter().fold(command, Command::arg);
    let command =
        environment.iter().fold(command, |command, (name, value)| command.env(*name, value));
    let lists = Lists::fetch_if_due(system)?;
    transact(system, &command, environment, lists)
}

/// Removes packages in one transaction; `verb` is `remove` or `purge`.
pub(super) fn remove(system: &mut dyn System, verb: &str, names: &[String]) -> Result<()> {
    let command = names.iter().fold(apt_get().arg(verb).arg("--"), Command::arg);
    transact(system, &command, &[], Lists::not_needed())
}

/// Runs apt and cures, once each, the two failures that have a cure: lists that are too old, and
/// a dpkg that was interrupted.
fn transact(
    system: &mut dyn System,
    command: &Command,
    environment: &[(&str, String)],
    mut lists: Lists,
) -> Result<()> {
    let mut dpkg_is_whole = false;
    loop {
        let output = run(system, command)?;
        if output.success() {
            return Ok(());
        }
        let said = output.tail(usize::MAX);
        if said.contains("dpkg was interrupted") && !dpkg_is_whole {
            configure_all(system, environment)?;
            dpkg_is_whole = true;
        } else if !lists_may_be_old(&said) {
            return Err(explain(&output));
        } else if lists.are_fresh {
            return Err(lists.explain(explain(&output)));
        } else {
            lists = Lists::fetch(system)?;
        }
    }
}

fn configure_all(system: &mut dyn System, environment: &[(&str, String)]) -> Result<()> {
    let command = Command::new(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"])
        .timeout_seconds(TRANSACTION_SECONDS)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let command =
        environment.iter().fold(command, |command, (name, value)| command.env(*name, value));
    run_checked(system, &command).map(drop).map_err(|error| {
        error.context("dpkg was interrupted earlier and cannot finish what it began")
    })
}

pub(super) fn apt_get() -> Command {
    let lock = format!("DPkg::Lock::Timeout={LOCK_SECONDS}");
    let options = [
        "Dpkg::Use-Pty=0",
        &lock,
        "Dpkg::Options::=--force-confdef",
        "Dpkg::Options::=--force-confold",
        "APT::Status-Fd=3",
    ];
    let command = Command::new(["apt-get", "-y", "-q"])
        .timeout_seconds(TRANSACTION_SECONDS)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("NEEDRESTART_SUSPEND", "1")
        .env("UCF_FORCE_CONFFOLD", "1");
    options.iter().fold(command, |command, option| command.arg("-o").arg(*option))
}

pub(super) fn run(system: &mut dyn System, command: &Command) -> Result<Output> {
    system.run_with_status(command, &mut |progress, line| report(progress, line))
}

/// Passes on a line of `APT::Status-Fd`.
fn report(progress: &mut dyn Progress, line: &str) {
    if let Some((percent, message)) = parse_status(line) {
        progress.progress(Some(percent), message);
    }
}

/// `dlstatus:1:20.5:Retrieving file 1 of 5` and `pmstatus:nginx:45.2:Unpacking nginx (amd64)`.
fn parse_status(line: &str) -> Option<(f32, &str)> {
    let mut parts = line.splitn(4, ':');
    let kind = parts.next()?;
    let _package_or_number = parts.next()?;
    let percent = parts.next()?.parse().ok()?;
    let message = parts.next()?.trim();
    matches!(kind, "dlstatus" | "pmstatus").then_some((percent, message))
}

/// Whether apt said that it does not know `package`, or not in the version or release asked for.
pub(super) fn is_unknown(package: &str, said: &str) -> bool {
    let located = format!("Unable to locate package {package}");
    let quoted = format!("'{package}'");
    said.lines().any(|line| {
        line.ends_with(&located)
            || line.contains(&quoted)
                && (line.ends_with("was not found") || line.ends_with("no installation candidate"))
    })
}

/// The refusal of a package that apt does not know, or not in the version or release asked for, if apt `said` so.
pub(super) fn unknown(package: &str, said: &str) -> Option<Error> {
    let lines = said.lines().filter(|line| is_unknown(package, line));
    lines.filter_map(|line| line.strip_prefix("E: ")).find_map(|line| explain_line(line, said))
}

/// The refusal of a name that several packages provide, if apt `said` so.
pub(super) fn ambiguous(name: &str, said: &str) -> Option<Error> {
    let title = format!("Package {name} is a virtual package provided by:");
    let listed = said.lines().skip_while(|line| *line != title).skip(1);
    let listed = listed.take_while(|line| line.starts_with(' '));
    let mut names: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    let is_more = names.len() > 1;
    is_more.then(|| {
        Error::failed(format!("several packages provide `{name}`"))
            .hint(format!("declare one of them: `{}`", names.join("`, `")))
    })
}

/// Where the packages are listed that cannot be installed.
const UNMET: &str = "The following packages have unmet dependencies:";

/// The refusal of packages whose dependencies cannot be met, if apt `said` so.
pub(super) fn unmet(said: &str) -> Option<Error> {
    let listed = said.lines().skip_while(|line| *line != UNMET).skip(1);
    let listed = listed.take_while(|line| line.starts_with(' '));
    let listed: Vec<&str> = listed.map(str::trim).take(15).collect();
    let is_held = said.lines().any(|line| line.ends_with("you have held broken packages."));
    let hint = if is_held {
        "`apt-mark showhold` on the server lists what is on hold; declare versions that go together"
    } else {
        "declare versions that go together, or one of the packages alone"
    };
    (!listed.is_empty()).then(|| {
        Error::failed("apt cannot install what is declared").because(listed.join("\n")).hint(hint)
    })
}

/// Whether `package` is one of those.
pub(super) fn is_unmet(package: &str, said: &str) -> bool {
    let listed = said.lines().skip_while(|line| *line != UNMET).skip(1);
    let mut listed = listed.take_while(|line| line.starts_with(' '));
    listed.any(|line| line.trim_start().split([' ', ':']).next() == Some(package))
}

/// Whether apt `said` that no version of `package` is the one that was asked for.
pub(super) fn lacks_version(package: &str, version: &str, said: &str) -> bool {
    let line = format!("E: Version '{version}' for '{package}' was not found");
    said.lines().any(|other| other == line)
}

fn lists_may_be_old(said: &str) -> bool {
    ["Unable to locate package", "has no installation candidate", "was not found", "404  Not Found"]
        .iter()
        .any(|sign| said.contains(sign))
}

/// Says in our words what apt complained about, with its own last lines as the cause.
pub(super) fn explain(output: &Output) -> Error {
    let said = output.tail(usize::MAX);
    let known = said
        .lines()
        .filter_map(|line| line.strip_prefix("E: "))
        .find_map(|line| explain_line(line, &said));
    let complaints: Vec<&str> =
        said.lines().filter(|line| line.starts_with("E: ") || line.starts_with("dpkg: ")).collect();
    let cause = match complaints.len() {
        0 => output.tail(15),
        count => complaints.get(count.saturating_sub(15)..).unwrap_or_default().join("\n"),
    };
    match known {
        Some(error) => error.because(cause),
        None => Error::failed(format!("apt-get exited with {}", output.status))
            .because(if complaints.is_empty() { cause } else { output.tail(15) }),
    }
}

/// What `line` means; `said` is all that apt said.
fn explain_line(line: &str, said: &str) -> Option<Error> {
    let quoted = |index: usize| line.split('\'').nth(index).unwrap_or_default();
    let unknown = |name: &str| {
        Error::failed(format!("package `{name}` is not known to apt"))
            .hint("check its name, or declare the `apt_repository` that has it before it")
    };
    if let Some(name) = line.strip_prefix("Unable to locate package ") {
        return Some(unknown(name));
    }
    if line.ends_with("has no installation candidate") {
        let name = quoted(1);
        return Some(ambiguous(name, said).unwrap_or_else(|| unknown(name)));
    }
    if line.starts_with("Version '") && line.ends_with("was not found") {
        let (version, name) = (quoted(1), quoted(3));
        return Some(
            Error::failed(format!("version `{version}` of package `{name}` is not known to apt"))
                .hint(format!("`apt-cache policy {name}` on the server lists the versions")),
        );
    }
    if line.starts_with("Release '") && line.ends_with("was not found") {
        let (release, name) = (quoted(1), quoted(3));
        return Some(
            Error::failed(format!("release `{release}` has no package `{name}`"))
                .hint("declare the `apt_repository` of that release before it"),
        );
    }
    if line.starts_with("Packages need to be removed but remove is disabled") {
        return Some(
            Error::failed("apt would remove other packages, and the plan did not say so")
                .hint("look at a new plan: the lists of packages are newer than those of this one"),
        );
    }
    if line.starts_with("Held packages were changed") {
        return Some(
            Error::failed("a package that is on hold would have to change")
                .hint("`apt-mark showhold` on the server lists them, `apt-mark unhold` lets go"),
        );
    }
    if line.starts_with("Could not get lock") || line.starts_with("Unable to acquire the dpkg") {
        // Said while waiting: `… It is held by process 1234 (unattended-upgr)...`
        let holder =
            said.split("It is held by process ").nth(1).and_then(|rest| rest.lines().next());
        let holder = holder.map_or("", |holder| holder.trim_end_matches('.'));
        let process = if holder.is_empty() { "" } else { ": process " };
        return Some(
            Error::failed(format!("another program holds the lock of apt{process}{holder}"))
                .hint("try again when it is done"),
        );
    }
    if line.starts_with("You don't have enough free space in ") || line.contains("No space left") {
        return Some(
            Error::failed("there is not enough free space to install packages")
                .hint("`df -h` on the server shows where; `apt-get clean` may free some"),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(stderr: &str) -> Error {
        explain(&Output { status: 100, stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() })
    }

    #[test]
    fn status_lines_carry_percent_and_message() {
        assert_eq!(
            parse_status("pmstatus:nginx:45.2:Unpacking nginx (amd64)"),
            Some((45.2, "Unpacking nginx (amd64)"))
        );
        assert_eq!(
            parse_status("dlstatus:1:20.5:Retrieving file 1 of 5: x"),
            Some((20.5, "Retrieving file 1 of 5: x"))
        );
        assert_eq!(parse_status("pmerror:nginx:45.2:failed"), None);
        assert_eq!(parse_status("media-change: x"), None);
    }

    #[test]
    fn apt_s_complaints_are_explained() {
        for (said, message) in [
            ("E: Unable to locate package nginxx", "package `nginxx` is not known to apt"),
            (
                "E: Package 'nginx' has no installation candidate",
                "package `nginx` is not known to apt",
            ),
            (
                "Package awk is a virtual package provided by:\n  mawk 1.3\n  gawk 1:5.2\n\n\
                 E: Package 'awk' has no installation candidate",
                "several packages provide `awk`",
            ),
            (
                "E: Version '9.9' for 'nginx' was not found",
                "version `9.9` of package `nginx` is not known to apt",
            ),
            ("E: Release 'sid' for 'nginx' was not found", "release `sid` has no package `nginx`"),
            (
                "E: Held packages were changed and -y was used without \
                 --allow-change-held-packages.",
                "a package that is on hold would have to change",
            ),
            (
                "E: Packages need to be removed but remove is disabled.",
                "apt would remove other packages, and the plan did not say so",
            ),
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234 \
                 (unattended-upgr)\nE: Unable to acquire the dpkg frontend lock",
                "another program holds the lock of apt: process 1234 (unattended-upgr)",
            ),
            (
                "E: You don't have enough free space in /var/cache/apt/archives/.",
                "there is not enough free space to install packages",
            ),
        ] {
            let error = explained(said);
            let cause = said.lines().filter(|line| line.starts_with("E: ")).collect::<Vec<_>>();
            assert_eq!((error.message.as_str(), error.causes), (message, vec![cause.join("\n")]));
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn the_holder_of_the_lock_is_named_while_apt_waits() {
        let error = explained(
            "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held \
             by process 77 (apt)...\nE: Unable to acquire the dpkg frontend lock \
             (/var/lib/dpkg/lock-frontend), is another process using it?",
        );
        assert_eq!(error.message, "another program holds the lock of apt: process 77 (apt)");
    }

    #[test]
    fn anything_else_shows_the_end_of_the_output() {
        let error = explained("Reading…\nE: Sub-process /usr/bin/dpkg returned an error code (1)");
        assert_eq!(error.message, "apt-get exited with 100");
        assert_eq!(
            error.causes,
            ["Reading…\nE: Sub-process /usr/bin/dpkg returned an error code (1)"]
        );
    }
}
