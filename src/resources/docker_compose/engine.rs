//! Talking to Docker and to Compose, of whichever age.

use std::collections::BTreeSet;

use super::super::probe::Probe;
use super::super::query::{Command, Query};
use super::super::system::{System, run_checked};
use crate::error::{Error, Result};

/// What Compose notes at everything that it makes.
const PROJECT_LABEL: &str = "com.docker.compose.project";

/// Debian 12 has Compose 1 and Debian 13 Compose 2, both as this program; Docker's own packages
/// bring a plug-in of `docker`.
const PROGRAM: &str = "/usr/bin/docker-compose";

/// The state of a container that runs, and whose own check (`HEALTHCHECK` of its image, or of the
/// Compose file) says that it does not do its work.
pub(super) const UNHEALTHY: &str = "unhealthy";

/// Where Docker keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";

/// How long a container may take to end its work in hand before it is killed.
const STOP_SECONDS: &str = "60";

/// One container of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// The service that it is of.
    pub(super) service: String,
    /// `running`, `exited`, `restarting` …; [`UNHEALTHY`] if it runs and its own check fails.
    pub(super) state: String,
    /// Whether it has ended without an error.
    pub(super) has_succeeded: bool,
    /// The folder of the Compose file that it was made from.
    pub(super) folder: String,
    /// Whether its own check has not come to a result yet.
    pub(super) is_starting: bool,
    /// Its image as the Compose file names it; an id if that name means another image by now.
    pub(super) image: String,
    /// What Compose notes of the configuration that it was made from.
    pub(super) label: String,
}

/// Compose for one project.
pub(super) struct Compose {
    program: Vec<String>,
    folder: String,
}

impl Compose {
    pub(super) fn of(project: &str, folder: &str, probe: &dyn Probe) -> Result<Self> {
        let program: &[&str] =
            if probe.exists(PROGRAM)? { &["docker-compose"] } else { &["docker", "compose"] };
        let options = ["--project-name", project];
        let program = program.iter().chain(&options).map(|word| (*word).to_owned()).collect();
        Ok(Self { program, folder: folder.to_owned() })
    }

    /// A command about a Compose file.
    pub(super) fn with(&self, file: &str, arguments: &[&str]) -> Command {
        let command = Command::new(self.program.iter().cloned()).arg("--file").arg(file);
        let command = arguments.iter().fold(command, |command, word| command.arg(*word));
        command.cwd(self.folder.as_str())
    }
}

/// The containers of a project, whether they run or not.
pub(super) fn containers(project: &str, probe: &dyn Probe) -> Result<Vec<Container>> {
    let format = "{{.Label \"com.docker.compose.service\"}}\t{{.State}}\t{{.Image}}\t\
                  {{.Label \"com.docker.compose.config-hash\"}}\t{{.Status}}\t\
                  {{.Label \"com.docker.compose.project.working_dir\"}}";
    let filter = format!("label={PROJECT_LABEL}={project}");
    let arguments = ["container", "ls", "--all", "--no-trunc", "--filter", &filter];
    let listing = ask(&[&arguments[..], &["--format", format]].concat(), probe)?;
    let containers = listing.lines().filter_map(|line| {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut next = || parts.next();
        let (service, mut state, image, label) = (next()?, next()?, next()?, next()?);
        // A text for people, and the one place where a list tells of the health.
        let status = next().unwrap_or_default();
        if status.ends_with("(unhealthy)") {
            UNHEALTHY.clone_into(&mut state);
        }
        let is_starting = status.ends_with("(health: starting)");
        let has_succeeded = status.starts_with("Exited (0)");
        let folder = next().unwrap_or_default();
        Some(Container { service, state, has_succeeded, folder, is_starting, image, label })
    });
    Ok(containers.collect())
}

/// The names of the volumes of a project, or of all.
pub(in crate::resources) fn volumes(
    project: Option<&str>,
    probe: &dyn Probe,
) -> Result<Vec<String>> {
    let filter = project.map(|project| format!("label={PROJECT_LABEL}={project}"));
    let mut arguments = vec!["volume", "ls", "--quiet"];
    if let Some(filter) = &filter {
        arguments.extend(["--filter", filter]);
    }
    let names: BTreeSet<String> = match ask(&arguments, probe) {
        Ok(listing) => {
            let named = listing.lines().map(str::to_owned);
            let mounted = match &filter {
                Some(filter) => mounted(filter, probe)?,
                None => Vec::new(),
            };
            named.chain(mounted).collect()
        }
        // What stays has to be named all the more when nobody can be asked.
        Err(_) => on_disk(project, probe)?,
    };
    Ok(names.into_iter().map(|name| format!("the volume `{name}`")).collect())
}

/// The volumes that containers have, those without a name of their own among them. A name with a `/` is a
/// folder of the host.
fn mounted(filter: &str, probe: &dyn Probe) -> Result<Vec<String>> {
    let arguments = ["container", "ls", "--all", "--no-trunc", "--filter", filter];
    let listing = ask(&[&arguments[..], &["--format", "{{.Mounts}}"]].concat(), probe)?;
    let names = listing.lines().flat_map(|line| line.split(','));
    Ok(names.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
}

/// The volumes by their folders. Compose puts the name of the project before theirs.
fn on_disk(project: Option<&str>, probe: &dyn Probe) -> Result<BTreeSet<String>> {
    let prefix = project.map(|project| format!("{project}_")).unwrap_or_default();
    let mut found = BTreeSet::new();
    for name in probe.list(VOLUMES)?.unwrap_or_default() {
        if name.starts_with(&prefix) && probe.exists(&format!("{VOLUMES}/{name}/_data"))? {
            found.insert(name);
        }
    }
    Ok(found)
}

/// Removes the containers and networks of a project, or of all; its volumes stay.
pub(in crate::resources) fn remove(project: Option<&str>, system: &mut dyn System) -> Result<()> {
    let filter = project.map(|project| format!("--filter=label={PROJECT_LABEL}={project}"));
    let containers = &["container", "ls", "--all", "--quiet"][..];
    for (list, away) in [
        // Removing alone would kill them, with a mail or a row half written.
        (containers, &["container", "stop", "-t", STOP_SECONDS][..]),
        (containers, &["container", "rm", "--force"]),
        (&["network", "ls", "--quiet", "--filter=type=custom"], &["network", "rm"]),
    ] {
        let ids = ask(&list.iter().copied().chain(filter.as_deref()).collect::<Vec<_>>(), system)?;
        let command = Command::new(["docker"].iter().chain(away).copied());
        let command = ids.lines().fold(command, Command::arg);
        if !ids.trim().is_empty() {
            run_checked(system, &command)?;
        }
    }
    Ok(())
}

fn ask(arguments: &[&str], probe: &dyn Probe) -> Result<String> {
    let output = probe.query(&Query::docker(arguments))?;
    if output.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = output.tail(20);
    if complaint.contains("Cannot connect to the Docker daemon") {
        return Err(Error::failed("the Docker daemon does not answer")
            .because(complaint)
            .hint("start it with `systemctl start docker`, then look again"));
    }
    Err(Error::failed(format!("`docker {}` failed", arguments.join(" "))).because(complaint))
}
