//! `docker_compose`: the services of a Compose file, each as the file says.

pub(super) mod engine;
mod health;
mod record;
mod services;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bonds::{self, Touch};
use super::content::Content;
use super::fields::{AbsolutePath, Mode, Presence};
use super::ground;
use super::names::Names;
use super::patience;
use super::prediction::Prediction;
use super::probe::Probe;
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, OUTDATED, State, Value};
use super::system::{Attributes, System, run_checked};
use super::{Resource, Spec};
use crate::error::Result;

use engine::Container;
use record::Record;
use services::Service;

/// The services of a Compose file, kept as the file and its env files say. The file is written
/// whole; `docker compose config` has to accept it first.
///
/// infra compares by itself what each service was made from: its part of the file, its env files
/// and its image. So a preview pulls nothing and builds nothing, and only services whose own part
/// changed are made anew. A missing image is pulled when the change is applied; to update one,
/// change its tag. A service whose own health check fails is not as it should be: it is restarted,
/// and an apply waits until all are healthy.
///
/// Secrets belong into an env file, which is a `file` of its own. `extends`, `include` and services
/// with `profiles` are not supported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DockerCompose {
    /// The Compose file. Its folder has to be there; paths in it are relative to that folder.
    pub path: AbsolutePath,
    /// What it holds. Exactly one of `content`, `source` and `template` is given.
    #[serde(default)]
    pub content: Option<Content>,
    /// A file of the role, below `files/`.
    #[serde(default)]
    pub source: Option<String>,
    /// A template of the role, below `templates/`, or of the project.
    #[serde(default)]
    pub template: Option<String>,
    /// Permission bits of the file.
    #[serde(default = "default_mode")]
    pub mode: Mode,
    /// The name of the Compose project; that of the folder if not given.
    #[serde(default)]
    pub project: Option<String>,
    /// Ended, and counted as failed, if images and services take longer than this many seconds.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// For how long services whose image or Compose file has a health check are waited for after a
    /// change, until they are healthy; 0 does not wait.
    #[serde(default = "default_healthy_within")]
    pub healthy_within_seconds: u32,
    /// Whether they should be there; with `absent` the containers and networks go, the volumes
    /// stay.
    #[serde(default)]
    pub state: Presence,
    /// What each service is made from: worked out from the content, never written by hand.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(skip))]
    pub services: BTreeMap<String, Service>,
}

fn default_mode() -> Mode {
    Mode(0o644)
}

fn default_timeout() -> u32 {
    1800
}

fn default_healthy_within() -> u32 {
    300
}

/// What a service is, if all is well.
const RUNNING: &str = "running";

/// The field that names containers which the file does not know.
const OTHERS: &str = "services that the file lacks";

impl DockerCompose {
    /// The name that Compose gives to what belongs to it.
    fn project(&self) -> &str {
        let folder = self.folder();
        self.project.as_deref().unwrap_or_else(|| folder.rsplit('/').next().unwrap_or(folder))
    }

    fn folder(&self) -> &str {
        let path = self.path.as_str();
        path.rsplit_once('/')
            .map(|(folder, _)| folder)
            .filter(|folder| !folder.is_empty())
            .unwrap_or("/")
    }

    fn text(&self) -> Vec<u8> {
        self.content.as_ref().map(|content| content.as_bytes().to_vec()).unwrap_or_default()
    }

    /// Works out the services from the content.
    ///
    /// # Errors
    /// A lowercase phrase.
    #[cfg(feature = "cli")]
    pub fn read_services(&mut self) -> Result<(), String> {
        if !self.state.is_absent() {
            self.services = services::read(&String::from_utf8_lossy(&self.text()), self.folder())?;
        }
        Ok(())
    }

    /// How one service is, in a few words.
    fn service(
        &self,
        name: &str,
        service: &Service,
        containers: &[Container],
        record: &Record,
        probe: &dyn Probe,
    ) -> Result<String> {
        let mut own = containers.iter().filter(|container| container.service == name).peekable();
        if own.peek().is_none() {
            return Ok("not there".to_owned());
        }
        let made = record.services.get(name);
        let inputs = service.inputs(probe)?;
        let (mut count, wanted) = (0, made.map_or(1, |made| made.containers));
        for container in own {
            count += 1;
            let is_known = made.is_some_and(|made| made.label == container.label);
            let has_ended = service.ends && container.has_succeeded;
            if container.state != RUNNING && !has_ended {
                return Ok(container.state.clone());
            }
            if service.is_elsewhere(container, self.folder(), probe)? {
                return Ok(OUTDATED.to_owned());
            }
            if !is_known || made.is_none_or(|made| made.inputs != inputs) {
                return Ok(OUTDATED.to_owned());
            }
            if service.image.as_ref().is_some_and(|image| *image != container.image) {
                return Ok("running with another image".to_owned());
            }
        }
        if count < wanted {
            return Ok(format!("{count} of {wanted} containers"));
        }
        Ok(RUNNING.to_owned())
    }

    /// What makes the services that differ anew, and no others: without names, Compose 2 also makes
    /// those anew that depend on them.
    fn up(&self, compose: &engine::Compose, change: &Change) -> Command {
        let differs = |name: &&String| change.sets(name);
        let names: Vec<&str> = self.services.keys().filter(differs).map(String::as_str).collect();
        let mut arguments =
            vec!["up", "--detach", "--no-build", "--quiet-pull", "--remove-orphans"];
        if names.is_empty() {
            arguments.push("--no-recreate");
        } else if names.len() < self.services.len() {
            arguments.push("--no-deps");
            arguments.extend(names);
        }
        let command = compose.with(self.path.as_str(), &arguments);
        command.timeout_seconds(self.timeout_seconds)
    }

    /// Refuses a folder where others can write: Docker is root, and the Compose file, `.env` and
    /// the folders of relative paths are read and mounted by their paths.
    fn check_ground(&self, probe: &dyn Probe) -> Result<()> {
        let beside = format!("{}/.env", self.folder().trim_end_matches('/'));
        let hint = "put the Compose file into a folder of root's";
        ground::check(&beside, "Compose would run as root", hint, probe)
    }

    fn write(&self, text: &[u8], system: &mut dyn System) -> Result<()> {
        system.write_file(self.path.as_str(), text, &self.attributes())
    }

    fn attributes(&self) -> Attributes {
        Attributes::new("root", "root", self.mode.0)
    }

    fn hold(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        self.check_ground(system)?;
        let compose = engine::Compose::of(self.project(), self.folder(), system)?;
        let before = system.read(self.path.as_str())?;
        if change.sets("content") {
            // Before it is written, so that a file that Compose refuses leaves no trace.
            let check = compose.with("-", &["config", "--quiet"]).stdin(self.text());
            run_checked(system, &check)
                .map_err(|error| error.context(format!("Compose refuses `{}`", self.path)))?;
            self.write(&self.text(), system)?;
        } else if change.sets("mode") {
            system.set_attributes(self.path.as_str(), &self.attributes())?;
        }
        let up = self.up(&compose, change);
        if let Err(error) = run_checked(system, &up) {
            // What runs is mostly what ran before; the next run sees which services are not.
            match before {
                Some(before) if change.sets("content") => self.write(&before, system)?,
                Some(_) => {}
                None => system.remove_file(self.path.as_str())?,
            }
            return Err(error.context(format!("cannot bring up the services of `{}`", self.path)));
        }
        let containers = engine::containers(self.project(), system)?;
        Record::of(&self.services, &containers, system)?.write(self.project(), system)?;
        health::restart_the_ill(&compose, self.path.as_str(), &containers, system)?;
        health::wait(self.project(), self.healthy_within_seconds, system)
    }
}

impl Resource for DockerCompose {
    const KIND: &'static str = "docker_compose";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- docker_compose:
    path: /srv/wiki/docker-compose.yml
    content: |
      services:
        wiki:
          image: wiki:2
          env_file: wiki.env
          restart: always
";

    /// The file of a project may move; its containers stay.
    fn beside(&self, declared: &Spec, _: &Names<'_>) -> Option<Self> {
        match declared {
            Spec::DockerCompose(other) if other.project() == self.project() => None,
            _ => Some(self.clone()),
        }
    }

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        let given = [self.content.is_some(), self.source.is_some(), self.template.is_some()];
        if given.iter().filter(|is_given| **is_given).count() != 1 && !self.state.is_absent() {
            return Err("exactly one of `content`, `source` and `template` is needed".to_owned());
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        let project = self.project();
        if project.is_empty() || !project.chars().all(is_name) || project.starts_with(['_', '-']) {
            return Err(format!(
                "`{project}` is no name of a Compose project: small letters, digits, `-` and `_`"
            ));
        }
        patience::check("timeout_seconds", self.timeout_seconds)?;
        patience::check("healthy_within_seconds", self.healthy_within_seconds)
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            let state = State::new()
                .with("content", Value::Content(self.text()))
                .with("mode", self.mode.to_string());
            let running = |state: State, name: &String| state.with(name, RUNNING);
            self.services.keys().fold(state, running).with(OTHERS, Value::Set(Vec::new()))
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        if !self.state.is_absent() {
            self.check_ground(probe)?;
        }
        let file = probe.read_with_stat(self.path.as_str())?;
        let containers = engine::containers(self.project(), probe)?;
        if self.state.is_absent() {
            let is_there = !containers.is_empty() || file.is_some();
            return Ok(if is_there { Current::Present(State::new()) } else { Current::Absent });
        }
        if file.is_none() && containers.is_empty() {
            return Ok(Current::Absent);
        }
        let record = Record::read(self.project(), probe)?;
        let mut state = State::new();
        if let Some((content, stat)) = file {
            let mode = Mode(stat.mode).to_string();
            state = state.with("content", Value::Content(content)).with("mode", mode);
        }
        for (name, service) in &self.services {
            state = state.with(name, self.service(name, service, &containers, &record, probe)?);
        }
        let others = containers.iter().map(|container| container.service.clone());
        let others = others.filter(|name| !self.services.contains_key(name));
        Ok(Current::Present(state.with(OTHERS, Value::set(others))))
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        let containers = engine::containers(self.project(), probe)?;
        let services = containers.into_iter().map(|container| container.service);
        Ok(State::new().with(OTHERS, Value::set(services)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if !change.is_remove() {
            return self.hold(change, system);
        }
        engine::remove(Some(self.project()), system)?;
        Record::forget(self.project(), system)?;
        system.remove_file(self.path.as_str())
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if !change.is_remove() {
            world.file(self.path.as_str(), &self.text(), "root", "root", self.mode.0);
        }
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(Self {
            content: None,
            source: None,
            template: None,
            services: BTreeMap::new(),
            state: Presence::Absent,
            ..self.clone()
        }))
    }

    fn leaves(&self, probe: &dyn Probe) -> Result<Vec<String>> {
        engine::volumes(Some(self.project()), probe)
    }

    fn is_found(&self, _: &Change, probe: &dyn Probe) -> Result<bool> {
        Ok(!engine::containers(self.project(), probe)?.is_empty())
    }

    fn claims(&self, _: Option<&dyn Probe>) -> Result<Vec<String>> {
        Ok(vec![format!("Compose project `{}`", self.project())])
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        if change.sets("mode") && !change.sets("content") {
            return Ok(vec![(self.path.to_string(), Touch::Set)]);
        }
        Ok(bonds::written(change, [(self.path.to_string(), &["content"][..])]))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.path.to_string()]
    }
}
