//! Things that a unit needs where it is to start, beside what systemd tells of its lines.

use super::{SystemdUnit, sections};
use crate::error::{Error, Result};
use crate::resources::names::is_in;
use crate::resources::probe::Probe;
use crate::resources::systemd::{self, FOLDER};
use crate::resources::{argv, needs, service};

/// Signs in front of the program of a command (systemd.service(5), "Command lines").
const SIGNS: [char; 5] = ['@', '-', ':', '+', '!'];

impl SystemdUnit {
    /// Refuses a target of `[Install]` that the server does not have: nothing would start the unit, and systemd
    /// makes a link all the same.
    pub(super) fn check_targets(&self, probe: &dyn Probe) -> Result<()> {
        let text = self.rendered();
        let targets = sections::words(&text, &["WantedBy", "RequiredBy", "UpheldBy"]);
        let targets = targets.filter(|name| name.ends_with(".target") && !name.contains('%'));
        let targets: Vec<&str> = targets.collect();
        if self.enabled != Some(true) || probe.is_preview_of_more() {
            return Ok(());
        }
        // One of several is enough.
        let is_missing = |name: &&str| probe.unit(name).is_ok_and(|unit| !unit.exists());
        match targets.first() {
            Some(name) if targets.iter().all(is_missing) => {
                Err(Error::failed(format!("`{name}` is not a unit of this server"))
                    .because(format!("`{}` is to start with it", self.name))
                    .hint("correct the section `install`, or declare that target before"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a program, a file or a folder that is not there: systemd would not start the service.
    pub(super) fn check_files(&self, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() {
            return Ok(());
        }
        let text = self.rendered();
        for program in programs(&text) {
            if !probe.has_program(program)? && !needs::may_come(program, probe) {
                return Err(self.cannot_start(program));
            }
            argv::check_executable(program, probe)?;
        }
        for path in needed_files(&text) {
            if !needs::may_come(path, probe) && !probe.exists(path)? {
                return Err(self.cannot_start(path));
            }
        }
        Ok(())
    }

    /// The programs, files and folders at plain paths without which systemd does not start the service.
    pub(super) fn paths(&self) -> Vec<String> {
        let text = self.rendered();
        let programs = programs(&text).filter(|program| is_plain(program));
        programs.chain(needed_files(&text)).map(str::to_owned).collect()
    }

    /// Refuses a unit that systemd would not start, because another unit is not there.
    pub(super) fn check_units(&self, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() {
            return Ok(());
        }
        let text = self.rendered();
        let needed = sections::words(&text, &["Requires", "Requisite", "BindsTo"]);
        let is_name = |name: &&str| !name.contains('%');
        for name in needed.filter(is_name).map(str::to_owned).chain(self.starts_unit()) {
            let file = format!("{FOLDER}/{name}");
            let is_there = probe.unit(&name)?.exists()
                || is_mount_to_come(&name, probe)
                || probe.exists(&file)?
                || service::has_template(probe, &name)?;
            if !is_there {
                return Err(Error::failed(format!("`{name}` is not a unit of this server"))
                    .because(format!("`{}` would not start without it", self.name))
                    .hint("correct the name, or declare that unit before"));
            }
        }
        Ok(())
    }

    /// The unit that a timer, a socket or a path starts. Each connection of a socket with `Accept=yes` has a unit of
    /// its own.
    pub(super) fn starts_unit(&self) -> Option<String> {
        let (name, suffix) = self.name.rsplit_once('.')?;
        let keys = match suffix {
            "timer" | "path" => ["Unit"],
            "socket" => ["Service"],
            _ => return None,
        };
        let text = self.rendered();
        let has_many = values(&text, &["Accept"]).any(|value| !matches!(value, "no" | "false"));
        let said = values(&text, &keys).last().filter(|unit| !unit.is_empty());
        let unit = said.map_or_else(|| format!("{name}.service"), str::to_owned);
        (!has_many && !unit.contains('%') && !systemd::is_template(&unit)).then_some(unit)
    }

    fn cannot_start(&self, path: &str) -> Error {
        Error::failed(format!("`{path}` is not on the server"))
            .because(format!("`{}` would not start without it", self.name))
            .hint("correct the path, or declare before this unit what brings it")
    }
}

/// Keys by which a service sees other places than the server has.
const OWN_PLACES: [&str; 8] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "ExtensionDirectories",
    "ExtensionImages",
    "MountImages",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
];

/// Whether a program is at a plain path, or is looked for by a plain name where systemd usually looks, among the
/// places of the server.
fn is_searched(program: &str, text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let is_name = !program.is_empty() && program.chars().all(is_of_name);
    let is_elsewhere = values(text, &OWN_PLACES).next().is_some();
    let is_usual = values(text, &["ExecSearchPath"]).next().is_none();
    !is_elsewhere && (is_plain(program) || is_name && is_usual)
}

/// The programs of the commands that start a service, where others make none of them. A failure of a command with a
/// dash is none.
fn programs(text: &str) -> impl Iterator<Item = &str> {
    let commands = values(text, &["ExecStart", "ExecStartPre"]);
    let programs = commands.filter_map(|line| line.split_whitespace().next());
    let programs = programs.filter(|program| !program.starts_with('-'));
    let programs = programs.map(|program| program.trim_start_matches(SIGNS));
    programs.filter(|program| is_searched(program, text) && !is_prepared(program, text))
}

/// Whether a command that runs before the others names the program: it may make it.
fn is_prepared(program: &str, text: &str) -> bool {
    let words = values(text, &["ExecStartPre"]).flat_map(|line| line.split_whitespace().skip(1));
    let mut words = words.map(|word| word.trim_matches(['"', '\'', ';']));
    words.any(|word| word == program || word.starts_with('/') && is_in(program, word))
}

/// Whether a path has nothing for systemd to fill in: specifiers, variables, patterns, quotes.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['%', '$', '*', '?', '[', '"', '\\'])
}

/// Whether an earlier resource of a preview may bring a unit that mounts something.
fn is_mount_to_come(name: &str, probe: &dyn Probe) -> bool {
    [".mount", ".automount", ".swap"].iter().any(|suffix| name.ends_with(suffix))
        && probe.is_after_change_of(&["mount", "volume", "swap"])
}

/// The files and folders without which systemd does not start the service of this text (systemd.exec(5)).
fn needed_files(text: &str) -> Vec<&str> {
    let mut files: Vec<&str> = values(text, &["EnvironmentFile"]).collect();
    let inputs = values(text, &["StandardInput"]);
    files.extend(inputs.filter_map(|value| value.strip_prefix("file:")));
    for output in values(text, &["StandardOutput", "StandardError"]) {
        let path = ["append:", "file:", "truncate:"].iter().find_map(|it| output.strip_prefix(it));
        let folder = path.and_then(|path| path.rsplit_once('/')).map(|(folder, _)| folder);
        files.extend(folder);
    }
    // Only behind these does systemd make the folders of `StateDirectory` and its like.
    let mut late = Vec::new();
    // Without its file, a credential may have a value that is set.
    if values(text, &["SetCredential", "SetCredentialEncrypted"]).next().is_none() {
        let credentials = values(text, &["LoadCredential", "LoadCredentialEncrypted"]);
        late.extend(credentials.filter_map(|value| value.split_once(':')).map(|(_, path)| path));
    }
    // Places that the service alone sees are made at its start.
    if values(text, &OWN_PLACES).next().is_none() {
        late.extend(values(text, &["WorkingDirectory"]).last());
        late.extend(sections::words(text, &["ReadWritePaths", "ReadOnlyPaths", "ExecPaths"]));
    }
    files.extend(late.into_iter().filter(|path| !is_made(path, text)));
    files.retain(|path| is_plain(path));
    files
}

/// Whether systemd makes a folder above or at `path` for the service.
fn is_made(path: &str, text: &str) -> bool {
    let folders = [
        ("RuntimeDirectory", "/run"),
        ("StateDirectory", "/var/lib"),
        ("CacheDirectory", "/var/cache"),
        ("LogsDirectory", "/var/log"),
        ("ConfigurationDirectory", "/etc"),
    ];
    folders.iter().any(|(key, folder)| {
        let keys = [*key];
        sections::words(text, &keys).any(|word| {
            // The second name is a link to the first.
            word.split(':').any(|name| {
                let made = format!("{folder}/{name}");
                path == made || is_in(path, &made)
            })
        })
    })
}

/// The values of some keys of a unit file.
fn values<'a>(text: &'a str, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(key, _)| keys.contains(&key.trim()));
    pairs.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_looked_for() {
        for (program, text, is_looked_for) in [
            ("/usr/bin/app", "", true),
            ("app", "", true),
            ("app", "ExecSearchPath=/opt", false),
            ("/usr/bin/%i", "", false),
            ("/app", "RootDirectory=/srv/root", false),
            ("/app", "RootImage=/srv/image.raw", false),
            ("/opt/app/run", "BindReadOnlyPaths=/srv/app:/opt/app", false),
        ] {
            assert_eq!(is_searched(program, text), is_looked_for, "{program} {text}");
        }
    }

    #[test]
    fn files_that_a_service_does_not_start_without() {
        for (text, files) in [
            ("WorkingDirectory=/srv/app", &["/srv/app"] as &[_]),
            ("WorkingDirectory=-/srv/app\nWorkingDirectory=~\nWorkingDirectory=%h", &[]),
            ("StateDirectory=app more\nWorkingDirectory=/var/lib/more/x", &[]),
            (
                "StateDirectory=app\nWorkingDirectory=/var/lib/application",
                &["/var/lib/application"],
            ),
            ("RootDirectory=/srv/root\nWorkingDirectory=/app", &[]),
            ("ReadWritePaths=/srv/a -/srv/b \"/srv/c\"", &["/srv/a"]),
            ("StandardOutput=append:/var/log/app/log\nStandardError=journal", &["/var/log/app"]),
            (
                "LogsDirectory=app\nStandardOutput=append:/var/log/app/log\nReadWritePaths=/var/log/app",
                &["/var/log/app"],
            ),
            ("LoadCredential=key:/etc/app.key\nLoadCredential=other", &["/etc/app.key"]),
            ("EnvironmentFile=-/etc/a\nEnvironmentFile=/etc/b", &["/etc/b"]),
            ("WorkingDirectory=/old\nWorkingDirectory=/new", &["/new"]),
            ("StateDirectory=app:old\nWorkingDirectory=/var/lib/old", &[]),
            ("BindReadOnlyPaths=/data:/app\nWorkingDirectory=/app", &[]),
            ("LoadCredential=key:/etc/app.key\nSetCredential=key:none", &[]),
        ] {
            assert_eq!(needed_files(text), files, "{text}");
        }
    }
}
