//! `systemd_unit`: a unit file of one's own, or a drop-in for a unit of a package.

mod former;
mod reload;
mod removal;
mod sections;
mod start;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::sections::Entries;
use super::bonds::{self, Touch};
use super::fields::Presence;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::removal::{Dropped, UnitBefore};
use super::service::predicted;
use super::state::{Change, Current, FieldChange, OUTDATED, State, Value};
use super::system::{Attributes, System};
use super::systemd::{self, FOLDER, Links};
use super::{Resource, Service};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// A unit file in `/etc/systemd/system`, or with `dropin` an addition to a unit that is there.
///
/// What it holds is given as `content`, or section by section: each key has a text, or a list of
/// texts that become one line each, in the order written. systemd reads its files anew after each
/// change. A unit with `running: true` is restarted when its own file changed, and a socket with the
/// running services behind it; others name it in `reload` or `restart`. Instances of a template
/// (`worker@.service`) are held by `service`.
///
/// With `state: absent` it is stopped, disabled and removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SystemdUnit {
    /// The unit, with its suffix: `.service`, `.timer`, `.socket`, `.mount`, `.target`, `.path`…
    pub name: String,
    /// Makes `/etc/systemd/system/NAME.d/DROPIN.conf` instead of a unit of its own.
    #[serde(default)]
    pub dropin: Option<String>,
    /// The whole file, instead of the sections.
    #[serde(default)]
    pub content: Option<String>,
    /// The section `[Unit]`.
    #[serde(default)]
    pub unit: Entries,
    /// The section `[Service]`.
    #[serde(default)]
    pub service: Entries,
    /// The section `[Timer]`.
    #[serde(default)]
    pub timer: Entries,
    /// The section `[Socket]`.
    #[serde(default)]
    pub socket: Entries,
    /// The section `[Path]`.
    #[serde(default)]
    pub path: Entries,
    /// The section `[Mount]`.
    #[serde(default)]
    pub mount: Entries,
    /// The section `[Automount]`.
    #[serde(default)]
    pub automount: Entries,
    /// The section `[Slice]`.
    #[serde(default)]
    pub slice: Entries,
    /// The section `[Install]`.
    #[serde(default)]
    pub install: Entries,
    /// Whether it runs. Left as it is if not given, but a service that systemd kept running (`Restart`,
    /// `[Install]`) stops where its new file makes it a job that others start. A service that ends
    /// when its job is done (`Type=oneshot` without `RemainAfterExit=yes`) cannot be kept running.
    #[serde(default)]
    pub running: Option<bool>,
    /// Whether it starts at boot: linked where its section `[Install]` says, and nowhere else. Left
    /// as it is if not given; links that its former file asked for go with that file.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

impl SystemdUnit {
    fn file(&self) -> String {
        match &self.dropin {
            Some(dropin) => format!("{}/{dropin}.conf", self.dropin_folder()),
            None => format!("{FOLDER}/{}", self.name),
        }
    }

    fn dropin_folder(&self) -> String {
        format!("{FOLDER}/{}.d", self.name)
    }

    /// The sections in the order in which systemd's own files have them.
    fn sections(&self) -> [(&'static str, &Entries); 9] {
        [
            ("Unit", &self.unit),
            ("Service", &self.service),
            ("Timer", &self.timer),
            ("Socket", &self.socket),
            ("Path", &self.path),
            ("Mount", &self.mount),
            ("Automount", &self.automount),
            ("Slice", &self.slice),
            ("Install", &self.install),
        ]
    }

    fn rendered(&self) -> String {
        if let Some(content) = &self.content {
            return content.clone();
        }
        let filled = self.sections().into_iter().filter(|(_, entries)| !entries.is_empty());
        filled.fold("# Managed by infra.\n".to_owned(), |text, (title, entries)| {
            format!("{text}\n[{title}]\n{entries}")
        })
    }

    /// The file as it should be, or as it is on the server where it should not be there.
    fn text(&self, probe: &dyn Probe) -> Result<String> {
        if !self.state.is_absent() {
            return Ok(self.rendered());
        }
        let found = probe.read(&self.file())?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&found).into_owned())
    }

    /// The type of the service as its file says, in the words of `systemctl show`.
    fn service_type(&self) -> BTreeMap<String, String> {
        if !self.name.ends_with(".service") {
            return BTreeMap::new();
        }
        let properties = systemd::service_type(&self.rendered());
        properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Lets a unit of which this is a drop-in reload by the command that the drop-in names.
    fn predict_reload(&self, world: &mut Prediction<'_>) {
        let can = ("CanReload".to_owned(), "yes".to_owned());
        if let Ok(mut unit) = world.unit(&self.name)
            && unit.exists()
            && self.service_type().get(&can.0) == Some(&can.1)
        {
            unit.properties.extend([can]);
            world.unit_state(&self.name, unit);
        }
    }

    /// Whether systemd has a unit of this name once the file is there.
    fn is_a_unit(&self) -> bool {
        self.dropin.is_none() && !systemd::is_template(&self.name)
    }
}

impl Resource for SystemdUnit {
    const KIND: &'static str = "systemd_unit";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- systemd_unit:
    name: flus-worker.service
    unit: { Description: Jobs of Flus, After: [network.target, postgresql.service] }
    service:
      User: www-data
      WorkingDirectory: /srv/flus
      ExecStart: /usr/bin/php cli jobs watch
      Restart: always
    install: { WantedBy: multi-user.target }
    running: true
    enabled: true
- systemd_unit:
    name: nginx.service
    dropin: limits
    service: { LimitNOFILE: 65536 }
";

    fn identity(&self) -> String {
        match &self.dropin {
            Some(dropin) => format!("{}.d/{dropin}", self.name),
            None => self.name.clone(),
        }
    }

    fn validate(&self) -> Result<(), String> {
        systemd::check_unit_name(&self.name)?;
        if systemd::unit_name(&self.name) != self.name {
            return Err(format!("`{}` needs a suffix such as `.service` or `.timer`", self.name));
        }
        if let Some(dropin) = &self.dropin {
            systemd::check_unit_name(dropin)?;
        }
        let has_sections = self.sections().iter().any(|(_, entries)| !entries.is_empty());
        match (&self.content, has_sections) {
            (Some(_), true) => return Err("`content` excludes the sections".to_owned()),
            (None, false) if !self.state.is_absent() => {
                return Err("needs `content`, or sections such as `service`".to_owned());
            }
            _ => {}
        }
        let manages = self.running.is_some() || self.enabled.is_some();
        if self.dropin.is_some() && manages {
            return Err(format!(
                "`running` and `enabled` belong to the unit, not to its drop-in: declare \
                 `service: {}` as well",
                self.name
            ));
        }
        if systemd::is_template(&self.name) && self.running.is_some() {
            return Err("a template cannot run: declare its instances as `service`".to_owned());
        }
        if self.enabled == Some(true)
            && !self.state.is_absent()
            && self.dropin.is_none()
            && !sections::is_installed(&self.rendered())
        {
            return Err(format!(
                "`{}` cannot be enabled: nothing in `install` says what starts it, such as \
                 `WantedBy: multi-user.target`",
                self.name
            ));
        }
        if self.running == Some(true) && systemd::ends(&self.service_type()) {
            return Err(systemd::ends_because(&self.name));
        }
        self.sections().iter().try_for_each(|(_, entries)| entries.validate())
    }

    /// The file alone can be written before.
    fn needs(&self) -> Vec<ResourceId> {
        if self.running != Some(true) {
            return Vec::new();
        }
        let unit = self.starts_unit().map(|unit| ResourceId::new(Self::KIND, &unit));
        sections::accounts(&self.rendered()).into_iter().chain(unit).collect()
    }

    fn needed_paths(&self) -> Vec<String> {
        let is_started = self.running == Some(true) && self.dropin.is_none();
        if is_started { self.paths() } else { Vec::new() }
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if !change.sets("content") {
            let starts = self.is_a_unit() && self.running == Some(true) && change.sets("running");
            return if starts { self.check_files(probe) } else { Ok(()) };
        }
        self.check_targets(probe)?;
        if self.is_a_unit() && self.running == Some(true) {
            self.check_files(probe)?;
            self.check_units(probe)?;
        }
        systemd::check_file(&self.file(), &self.rendered(), probe)
    }

    fn accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
        Ok(sections::accounts(&self.text(probe)?))
    }

    fn claims(&self, probe: Option<&dyn Probe>) -> Result<Vec<String>> {
        let has_aliases = self.enabled == Some(true) || self.state.is_absent();
        let aliases = |text: &str| -> Vec<String> {
            let aliases = sections::words(text, &["Alias"]).filter(|_| has_aliases);
            aliases.map(|alias| format!("alias `{alias}`")).collect()
        };
        // Several units may listen at one place, as long as they do not run at once.
        let Some(probe) = probe else { return Ok(aliases(&self.rendered())) };
        let text = self.text(probe)?;
        let sockets = sections::words(&text, &["ListenStream"]);
        let sockets = sockets.map(|socket| format!("stream {socket}"));
        Ok(sockets.chain(aliases(&text)).collect())
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("content", Value::Content(self.rendered().into_bytes()))
                .with("owner", "root")
                .with("group", "root")
                .with("mode", "0644")
                .with_some("running", self.running)
                .with_some("enabled", self.enabled)
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let file = self.file();
        let Some(stat) = probe.stat(&file)? else { return Ok(Current::Absent) };
        if let Some(target) = probe.read_link(&file)?.filter(|target| target != "/dev/null") {
            let other = target.rsplit('/').next().unwrap_or(&target);
            let error = Error::failed(format!("`{file}` is a symlink to `{target}`"));
            return Err(if other == self.name {
                error.hint(format!("`systemctl disable {other}` unlinks that file"))
            } else {
                error.hint(format!("`{}` is another name of `{other}`: declare that", self.name))
            });
        }
        if stat.kind != FileKind::File {
            return Err(Error::failed(format!(
                "`{file}` is a {}, not a unit file",
                stat.kind.noun()
            ))
            .hint("a symlink to `/dev/null` masks a unit: unmask it, or use another name"));
        }
        let content = probe.read(&file)?.unwrap_or_default();
        // Where nothing runs from the file, only systemd's own reading of it can be behind: a run
        // was cut right after it had written the file.
        let is_unread = self.running != Some(true)
            && content == self.rendered().as_bytes()
            && !systemd::is_template(&self.name)
            && probe.unit(&self.name)?.needs_daemon_reload;
        let content = if is_unread { OUTDATED.into() } else { Value::Content(content) };
        let state = State::new()
            .with("content", content)
            .with("owner", stat.owner)
            .with("group", stat.group)
            .with("mode", format!("{:04o}", stat.mode));
        if self.dropin.is_some() || (self.running.is_none() && self.enabled.is_none()) {
            return Ok(Current::Present(state));
        }
        let unit = probe.unit(&self.name)?;
        let text = self.rendered();
        let links = Links::of_file(&self.name, &text);
        let enabled = links.enabled_now(probe, &unit, self.enabled.unwrap_or_default())?;
        Ok(Current::Present(
            state.with("running", self.running_now(&unit, probe)?).with("enabled", enabled),
        ))
    }

    fn follows(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<FieldChange>> {
        self.ended(change, probe)
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return self.remove(system);
        }
        self.end(change, system)?;
        // A unit that is being started has read the former file.
        let was_active =
            self.is_a_unit() && systemd::running(&system.unit(&self.name)?, false) == "yes";
        let writes = ["content", "owner", "group", "mode"].iter().any(|field| change.sets(field));
        if writes {
            if self.dropin.is_some() {
                let folder = Attributes::new("root", "root", 0o755);
                system.make_directory(&self.dropin_folder(), &folder)?;
            }
            let attributes = Attributes::new("root", "root", 0o644);
            system.write_file(&self.file(), self.rendered().as_bytes(), &attributes)?;
            systemd::daemon_reload(system)?;
        }
        if let Some(enabled) = self.enabled.filter(|_| change.sets("enabled")) {
            Links::of(&self.name).set(system, enabled)?;
        }
        match self.running {
            Some(true) if was_active && change.sets("content") => {
                systemd::restart(system, &self.name)
            }
            Some(true) if change.sets("running") => systemd::start(system, &self.name),
            Some(false) if change.sets("running") => systemd::stop(system, &self.name),
            _ => Ok(()),
        }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_remove() {
            world.removed(&self.file());
            if self.is_a_unit() {
                let of_package = format!("/lib/systemd/system/{}", self.name);
                let is_left = world.exists(&of_package).unwrap_or_default();
                let unit = if is_left { self.packaged() } else { super::Unit::default() };
                world.unit_state(&self.name, unit);
            }
            return;
        }
        if self.dropin.is_some() {
            world.directory(&self.dropin_folder(), "root", "root", 0o755);
            self.predict_reload(world);
        }
        let left_behind = self.left_behind(change, world).unwrap_or_default();
        world.file(&self.file(), self.rendered().as_bytes(), "root", "root", 0o644);
        for link in left_behind {
            world.removed(&link);
        }
        let (running, enabled) = self.states_after(change);
        if let Some(enabled) = self.enabled.filter(|_| change.sets("enabled")) {
            Links::of(&self.name).predict(world, enabled);
        }
        if self.is_a_unit() {
            let mut unit = world.unit(&self.name).unwrap_or_default();
            unit.properties.extend(self.service_type());
            // A drop-in may say otherwise.
            if world.list(&self.dropin_folder()).ok().flatten().is_some_and(|it| !it.is_empty()) {
                unit.properties.remove("CanReload");
            }
            world.unit_state(&self.name, predicted(unit, running, enabled, false));
        }
    }

    fn holds_unit(&self, _: &dyn Probe, _: bool) -> Result<Option<String>> {
        Ok(self.is_a_unit().then(|| self.name.clone()))
    }

    fn replaces(&self) -> Vec<String> {
        self.switches()
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        Some(Dropped::goes(self.as_absent()))
    }

    fn unit_before(&self, probe: &dyn Probe) -> Result<Option<UnitBefore>> {
        let is_packaged = self.is_a_unit()
            && !probe.exists(&self.file())?
            && probe.exists(&format!("/lib/systemd/system/{}", self.name))?;
        Ok(if is_packaged { UnitBefore::of(&probe.unit(&self.name)?) } else { None })
    }

    fn back_to(&self, before: &UnitBefore) -> Option<Self> {
        let (running, enabled) = (Some(before.running), Some(before.enabled));
        Some(Self { running, enabled, ..self.clone() })
    }

    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let fields = &["content", "owner", "group", "mode"][..];
        Ok(bonds::written(change, [(self.file(), fields)]))
    }

    fn switches(&self) -> Vec<String> {
        vec![self.file()]
    }

    fn units(&self) -> Vec<String> {
        if self.is_a_unit() { vec![self.name.clone()] } else { Vec::new() }
    }

    fn as_service(&self) -> Option<&dyn Service> {
        self.is_a_unit().then_some(self as &dyn Service)
    }
}
