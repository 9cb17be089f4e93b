//! Every program that a check may run on a server, and nothing else.
//!
//! A [`Query`] can only be made by the constructors of this file, and none of them changes the
//! server: that, and the fact that a check receives only a `Probe`, is why a preview is safe.
//! The one exception is [`Query::guard`], the user's own `unless` or `only_if`.

use std::collections::BTreeMap;

/// Touched by every `apt-get update`, whether or not there was anything new.
const APT_LISTS_PARTIAL: &str = "/var/lib/apt/lists/partial";

/// apt as a simulation, without its lock and without `/var/log/apt/eipp.log.xz`, which even a
/// simulation writes otherwise (`Dir::Log::Planner` in `man apt.conf`).
const APT_SIMULATION: [&str; 7] =
    ["apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", "-o", "Dir::Log::Planner="];

/// A program that only reads, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    command: Command,
}

/// A program to run: a list of arguments, never a shell line.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The user to run as; root if `None`.
    pub user: Option<String>,
    /// The folder to run in.
    pub cwd: Option<String>,
    /// Variables beside a small fixed environment (`PATH`, `LANG=C.UTF-8`, `HOME`).
    pub env: BTreeMap<String, String>,
    /// What it reads; nothing if `None`.
    pub stdin: Option<Vec<u8>>,
    /// Ended after this many seconds.
    pub timeout_seconds: u32,
}

/// Its arguments and nothing of its environment or input, which may hold secrets.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command")
            .field("argv", &self.argv)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// How long a program may take unless its resource says otherwise.
    pub const DEFAULT_TIMEOUT_SECONDS: u32 = 300;

    /// A program with its arguments, as root, in `/`.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            timeout_seconds: Self::DEFAULT_TIMEOUT_SECONDS,
            ..Self::default()
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Runs it as `user`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Runs it in `cwd`.
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Feeds it `stdin`.
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Ends it after `seconds`.
    pub fn timeout_seconds(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// The program.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The arguments joined by spaces, for messages only.
    pub fn display(&self) -> String {
        self.argv.join(" ")
    }
}

impl Query {
    /// The user's own `unless` or `only_if`: trusted to read only, as documented.
    pub fn guard(command: Command) -> Self {
        Self { command }
    }

    /// What to run.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// Whether the same question has the same answer until a program changes the server.
    pub fn answer_lasts(&self) -> bool {
        self.command.program() == "apt-cache"
    }

    /// git, asked about a work tree or a remote. The optional locks are off: even `git status`
    /// would otherwise refresh the index.
    pub(super) fn git(command: Command) -> Self {
        Self { command: command.env("GIT_OPTIONAL_LOCKS", "0") }
    }

    /// The value `getent DATABASE KEY` knows, for users and groups outside `/etc/passwd`.
    pub fn getent(database: &str, key: &str) -> Self {
        Self::reading(["getent", "--", database, key])
    }

    /// `locale -a`: the locales that programs can use.
    pub fn locales() -> Self {
        Self::reading(["locale", "-a"])
    }

    /// What apt would do to install packages, given as `name`, `name=version` or `name/release`.
    /// Takes no lock, so that a preview neither waits for another apt nor stops it.
    pub fn apt_simulation(requests: &[String]) -> Self {
        let install = ["--no-install-recommends", "--allow-downgrades", "install", "--"];
        let arguments = APT_SIMULATION.iter().chain(&install).map(|&argument| argument.to_owned());
        Self::reading(arguments.chain(requests.iter().cloned()))
    }

    /// Asks apt about names: the versions of packages that have them, and their providers.
    pub(super) fn apt_names(names: &[String]) -> Self {
        let arguments = ["apt-cache", "showpkg", "--"].map(str::to_owned);
        Self::reading(arguments.into_iter().chain(names.iter().cloned()))
    }

    /// Answers with the folder of apt's lists if they were fetched in the last day.
    pub(super) fn apt_lists_of_today() -> Self {
        Self::reading(["find", APT_LISTS_PARTIAL, "-maxdepth", "0", "-mmin", "-1440"])
    }

    /// Whether apt can read its sources. It takes no lock, and names none of them if it can.
    pub(super) fn apt_sources() -> Self {
        Self::reading(["apt-get", "indextargets", "--no-release-info", "Identifier: none"])
    }

    /// The settings of sshd as it reads them: its own files, or a configuration of `content` alone.
    pub(super) fn sshd_settings(content: Option<&str>) -> Self {
        match content {
            None => Self::reading(["/usr/sbin/sshd", "-T"]),
            Some(content) => {
                let query = Self::reading(["/usr/sbin/sshd", "-T", "-f", "/dev/stdin"]);
                Self { command: query.command.stdin(content) }
            }
        }
    }

    /// The settings of sshd for connections of `user` from nowhere in particular.
    pub(super) fn sshd_settings_for(user: &str) -> Self {
        let connection =
            format!("user={user},host=infra.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22");
        Self::reading(["/usr/sbin/sshd", "-T", "-C", &connection])
    }

    /// Whether sudo can read these rules.
    pub(super) fn sudo_rules(content: &str) -> Self {
        let query = Self::reading(["/usr/sbin/visudo", "-c", "-f", "-"]);
        Self { command: query.command.stdin(content) }
    }

    /// What apt would do to remove packages; takes no lock either.
    pub fn apt_removal_simulation(names: &[String]) -> Self {
        let arguments = APT_SIMULATION.iter().chain(&["remove", "--"]);
        let arguments = arguments.map(|&argument| argument.to_owned());
        Self::reading(arguments.chain(names.iter().cloned()))
    }

    /// The services that a socket starts.
    pub(super) fn services_behind(socket: &str) -> Self {
        Self::reading(["systemctl", "show", "--property=Triggers", "--value", "--", socket])
    }

    /// The rules of one table in the kernel, as JSON; not there is an exit code other than zero.
    pub fn nftables_table(family: &str, table: &str) -> Self {
        Self::reading(["nft", "--json", "list", "table", family, table])
    }

    /// The table of the family `family` as the kernel has it once `text` is loaded where nothing else is: in
    /// a network of its own, which ends with the program.
    pub fn nftables_table_of(text: &str, family: &str, table: &str) -> Self {
        let script = "nft --file - && exec nft --json list table \"$1\" \"$2\"";
        let command = ["unshare", "--net", "--", "sh", "-c", script, "sh", family, table];
        let mut query = Self::reading(command);
        query.command.stdin = Some(text.as_bytes().to_vec());
        query
    }

    /// The packages that have files of a pattern, as `PACKAGE: PATH`.
    pub fn packages_with(pattern: &str) -> Self {
        Self::reading(["dpkg-query", "--search", "--", pattern])
    }

    /// The units that have failed, and those that systemd is about to start again: a paragraph each.
    pub fn failed_units() -> Self {
        Self::reading([
            "systemctl",
            "show",
            "--no-pager",
            "--timestamp=unix",
            "--state=failed,auto-restart,auto-restart-queued",
            "--property=Id,ActiveState,SubState,InactiveEnterTimestamp",
            "*",
        ])
    }

    /// The state of the whole system: `running`, `degraded`, `stopping`…
    pub fn system_state() -> Self {
        Self::reading(["systemctl", "is-system-running"])
    }

    /// systemd's words about a unit `name`, of which `file` holds `text`: the unit's own, or one beside that of
    /// the server, which may have none (`system.slice`). The files are in a place of their own in memory, which
    /// ends with the program.
    pub fn systemd_verify(name: &str, file: &str, text: &str) -> Self {
        let alone = "mount -t tmpfs none /mnt && cat >\"/mnt/$1\" && \
                     exec systemd-analyze verify --man=no --recursive-errors=no \"/mnt/$1\"";
        let beside = "mount -t tmpfs none /mnt && mkdir \"/mnt/$1.d\" && cat >\"/mnt/$2\" && \
                      file=\"$(systemctl show -P FragmentPath -- \"$1\")\" && echo '[Unit]' >\"/mnt/$1\" && \
                      { [ -z \"$file\" ] || cp \"$file\" \"/mnt/$1\"; } && \
                      exec systemd-analyze verify --man=no --recursive-errors=no \"/mnt/$1\"";
        let script = if file == name { alone } else { beside };
        let command = ["unshare", "--mount", "--", "sh", "-c", script, "sh", name, file];
        let mut query = Self::reading(command);
        query.command.stdin = Some(text.as_bytes().to_vec());
        query
    }

    /// Whether sudo lets an account become root, with its password or without; nothing is started.
    pub fn may_use_sudo(account: &str) -> Self {
        Self::reading(["sudo", "-n", "-l", "-U", account, "sh"])
    }

    /// The same as text, which `nft` can read again.
    pub fn nftables_text(family: &str, table: &str) -> Self {
        Self::reading(["nft", "list", "table", family, table])
    }

    /// What a device holds, read from the device itself; 2 if nothing is recognized.
    pub(super) fn blkid(device: &str) -> Self {
        Self::reading(["blkid", "--probe", "--output", "export", device])
    }

    /// Whether the first megabytes of a device are empty.
    pub(super) fn starts_with_zeros(device: &str) -> Self {
        Self::reading(["cmp", "--quiet", "--bytes=4194304", device, "/dev/zero"])
    }

    /// Docker, asked for a list.
    pub(super) fn docker(arguments: &[&str]) -> Self {
        Self::reading(["docker"].iter().chain(arguments).copied())
    }

    /// One HTTP request. `config` is a configuration file of curl, which reads it from its input.
    pub fn http(config: &str, timeout_seconds: u32) -> Self {
        let command = Command::new(["curl", "--disable", "--config", "-"]).stdin(config);
        Self { command: command.timeout_seconds(timeout_seconds.saturating_add(5)) }
    }

    /// One request to a FastCGI server. `variables` are those of CGI.
    pub fn fastcgi(
        socket: &str,
        variables: impl IntoIterator<Item = (&'static str, String)>,
        timeout_seconds: u32,
    ) -> Self {
        let command = Command::new(["cgi-fcgi", "-bind", "-connect", socket]);
        let command =
            variables.into_iter().fold(command, |command, (name, value)| command.env(name, value));
        Self { command: command.timeout_seconds(timeout_seconds) }
    }

    fn reading(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { command: Command::new(argv).timeout_seconds(60) }
    }
}
