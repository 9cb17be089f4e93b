//! The catalogue: every kind of resource, one file each.
//!
//! A kind says what it wants ([`Resource::desired`]), reads what there is
//! ([`Resource::current`]), and makes one into the other ([`Resource::apply`]). Comparing,
//! showing the difference and checking again after applying is done once for all, by the agent.
//!
//! To add a kind: write its file, add a `mod` line below and a line in `registry` (both sorted), and
//! put cases into `tests/local/resources/<kind>/`.

pub mod bonds;
pub mod content;
pub mod digest;
pub mod fields;
pub mod names;
pub mod prediction;
pub mod probe;
pub mod query;
pub mod removal;
pub mod shares;
pub mod state;
pub mod system;

mod account;
mod apt_repository;
mod archive;
mod argv;
mod authorized_key;
mod before;
mod command;
mod cron;
mod directory;
mod docker_compose;
mod docker_engine;
mod effect;
mod excerpt;
pub mod file;
mod filesystems;
mod firewall;
mod fstab;
mod git;
mod ground;
mod group;
mod hostname;
mod hosts;
mod http_check;
pub mod line;
mod lines;
mod locale;
mod mount;
pub mod package;
mod needs;
mod patience;
mod port_check;
mod postgresql;
mod postgresql_database;
mod postgresql_extension;
mod postgresql_role;
mod registry;
pub mod service;
mod sshd_config;
mod stamp;
mod swap;
pub mod symlink;
mod sysctl;
mod systemd;
mod systemd_unit;
mod timezone;
mod url;
mod user;
mod volume;
mod workers;

pub use before::Before;
use bonds::Touch;
pub use effect::{key_files, read_by_sshd, read_together, reader_of, sshd_includes_elsewhere};
pub use names::Names;
pub use needs::made_at;
pub use prediction::Prediction;
pub use probe::{Facts, FileKind, Output, Probe, Stat, Unit};
pub use query::{Command, Query};
#[cfg(feature = "cli")]
pub use registry::schema;
pub use registry::{KINDS, Spec, example, primary_field};
pub use removal::{Dropped, UnitBefore};
pub use shares::{Share, clashes};
pub use state::{Change, Current, DIFFERS, FieldChange, LINKED_OTHERWISE, OUTDATED, State, Value};
pub use system::{Attributes, Progress, System, run_checked};
pub use systemd::{Watch, unit_of};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::manifest::ResourceId;

/// One kind of resource: a spec that knows how to hold itself true.
pub trait Resource: Serialize + for<'de> Deserialize<'de> {
    /// The name of the kind: its file, its key in YAML, its folder of cases.
    const KIND: &'static str;
    /// The field that a bare text sets: `- package: nginx`.
    const PRIMARY: Option<&'static str>;
    /// A YAML list of this kind, shown by `infra doc` and compiled by a test.
    const EXAMPLE: &'static str;

    /// What tells it from others of its kind, within one manifest.
    fn identity(&self) -> String;

    /// The identity by the thing that it names on one server: two specs of one kind with the same
    /// answer are about one thing, however it is spelled.
    fn known_as(&self, _: &Names<'_>) -> Result<String> {
        Ok(self.identity())
    }

    /// The folder that goes with everything in it where absence is applied.
    fn takes_folder(&self, _: &dyn Probe) -> Result<Option<String>> {
        Ok(None)
    }

    /// The accounts that go where absence is applied.
    fn takes_accounts(&self, _: &dyn Probe) -> Result<Vec<ResourceId>> {
        Ok(Vec::new())
    }

    /// The resources without which it cannot be made, by the spec alone: accounts such as `user:deploy`, the
    /// role that owns a database. Where one of them is declared, it comes before.
    fn needs(&self) -> Vec<ResourceId> {
        Vec::new()
    }

    /// The paths without which it cannot be made, by the spec alone: a program, a folder to work in. Where one of
    /// them is declared, it comes before.
    fn needed_paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// The accounts that it names, such as `user:deploy` and `group:adm`, or that the thing on the server
    /// names where absence is applied: it goes before them.
    fn accounts(&self, _: &dyn Probe) -> Result<Vec<ResourceId>> {
        let is_account = |id: &ResourceId| matches!(id.kind(), "group" | "user");
        Ok(self.needs().into_iter().filter(is_account).collect())
    }

    /// Numbers and addresses that a single thing of a server can have, such as `uid 2000`: those that the spec
    /// wants, or those that the thing on the server has where absence is applied; without a server, as far as
    /// the spec alone says.
    fn claims(&self, _: Option<&dyn Probe>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Says what is wrong with the spec where no single field is: exclusive fields, for example.
    ///
    /// # Errors
    /// A lowercase phrase.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// What should be; `None` if it should not be there. Pure.
    fn desired(&self) -> Option<State>;

    /// What is. Reads only.
    fn current(&self, probe: &dyn Probe) -> Result<Current>;

    /// The state of the server in its own words, for fields that [`Resource::current`] tells in words
    /// of the spec: another spec does not make it another. A field that differs is drift if this is
    /// not what it was right after the last apply. Asked only where something differs or changed.
    fn traces(&self, _: &dyn Probe) -> Result<State> {
        Ok(State::new())
    }

    /// The fields that it leaves open, and that applying `change` changes all the same: the plan shows them
    /// with the others.
    fn follows(&self, _: &Change, _: &dyn Probe) -> Result<Vec<FieldChange>> {
        Ok(Vec::new())
    }

    /// Makes what is into what should be, or returns an error. The agent checks again afterwards.
    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()>;

    /// Records what will be true once `change` is applied, for the checks of later resources.
    fn predict(&self, change: &Change, world: &mut Prediction<'_>);

    /// The files, folders and symlinks that `apply` replaces, which the agent can put back if
    /// what depends on them fails.
    fn switches(&self) -> Vec<String> {
        Vec::new()
    }

    /// The same, as the server has them: for a kind that cannot tell from its spec alone.
    fn switched_paths(&self, _: &dyn Probe) -> Result<Vec<String>> {
        Ok(self.switches())
    }

    /// The paths that applying `change` touches, and how. Obstacles are told by the preview.
    fn touches(&self, change: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        let touch = if change.is_remove() { Touch::Gone } else { Touch::Replaced };
        Ok(self.switches().into_iter().map(|path| (path, touch)).collect())
    }

    /// Looks for what would keep the programs that apply `change` from doing so, beside the bonds of
    /// files.
    ///
    /// # Errors
    /// The obstacle, with a way out of it.
    fn check_obstacles(&self, _: &Change, _: &dyn Probe) -> Result<()> {
        Ok(())
    }

    /// Programs that put back what `apply` switches beside these paths.
    fn way_back(&self, _: &dyn Probe) -> Result<Vec<WayBack>> {
        Ok(Vec::new())
    }

    /// The package that brings it: where infra installed that, it made this as well, even if it is
    /// found as it should be.
    fn comes_with(&self) -> Option<ResourceId> {
        None
    }

    /// What stays on the server when it goes, in words such as "the volume `mail`".
    fn leaves(&self, _: &dyn Probe) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The paths whose whole content is its own: what was there before infra is kept, and comes
    /// back when it is no longer declared. A part of [`Resource::switches`].
    fn replaces(&self) -> Vec<String> {
        Vec::new()
    }

    /// The paths that applying `change` makes where nothing is there, beside those that are its own: what
    /// infra has not made does not go with it.
    fn makes(&self, _: &Change) -> Vec<String> {
        Vec::new()
    }

    /// The files that it decides about, each whole or in part, also where they are as they should be:
    /// no other resource may decide otherwise. Without a server, as far as the spec alone says.
    fn shares(&self, probe: Option<&dyn Probe>) -> Vec<(String, Share)> {
        let whole = self.replaces();
        let paths = probe.and_then(|probe| self.switched_paths(probe).ok());
        let share = |path| {
            let share = if whole.contains(&path) { Share::Whole } else { Share::Part };
            (path, share)
        };
        paths.unwrap_or_else(|| self.switches()).into_iter().map(share).collect()
    }

    /// The file at `path`, of which it writes a part, as it makes it out of `content`: the very same bytes
    /// where its part is as it should be. `None` where nobody can tell, or not without a server.
    fn edits(
        &self,
        _path: &str,
        _content: &[u8],
        _probe: Option<&dyn Probe>,
    ) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// What becomes of it when it is no longer declared; `None` if it leaves nothing that infra
    /// could look after. Asked only of what should be there.
    fn dropped(&self) -> Option<Dropped<Self>>
    where
        Self: Sized,
    {
        None
    }

    /// The same, for a kind whose name may stand for another thing on the server.
    fn dropped_on(&self, _: &dyn Probe) -> Option<Dropped<Self>>
    where
        Self: Sized,
    {
        self.dropped()
    }

    /// Whether the thing was there before its first `change`, so that infra does not take it away.
    fn is_found(&self, change: &Change, _: &dyn Probe) -> Result<bool> {
        // A service that was there and did not run is nothing that somebody had set up.
        Ok(matches!(change, Change::Update(_)) && self.as_service().is_none())
    }

    /// How the unit that it holds is before its first change.
    fn unit_before(&self, _: &dyn Probe) -> Result<Option<UnitBefore>> {
        Ok(None)
    }

    /// Of this removal, what is left to do so that the unit is as it was `before`; `None` if nothing is.
    fn back_to(&self, _before: &UnitBefore) -> Option<Self>
    where
        Self: Sized + Clone,
    {
        Some(self.clone())
    }

    /// Of what was applied, whether a field may have had this value: for fields that say what is right
    /// in other words, such as a pattern.
    fn allowed(&self, _field: &str, _value: &Value) -> bool {
        false
    }

    /// Of this removal, what is left to take away beside `declared`, which may be about the same
    /// thing under another identity; `None` if that is all of it.
    fn beside(&self, _: &Spec, _: &Names<'_>) -> Option<Self>
    where
        Self: Clone,
    {
        Some(self.clone())
    }

    /// The unit that it holds in a state, under the unit's own name: a server may know it under
    /// several, and two resources may not hold one unit. Names that systemd knows only while a unit
    /// is enabled are looked up `thoroughly`, which takes a while.
    fn holds_unit(&self, _: &dyn Probe, _thoroughly: bool) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether applying it, whose desired state is absence, would lose data.
    fn loses_data(&self, _: &dyn Probe) -> Result<bool> {
        Ok(false)
    }

    /// The systemd units that checks of this kind will ask about, so that the agent can ask for
    /// all of them at once.
    fn units(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it only verifies what others have done (`http_check`, `port_check`): it never
    /// counts as a change, and in a preview of changes it waits for the apply.
    fn verifies(&self) -> bool {
        false
    }

    /// The resources after whose change it runs, beside any guard of its own.
    fn runs_after_change_of(&self) -> Vec<ResourceId> {
        Vec::new()
    }

    /// The service that it is, if others may name it in `reload` or `restart`.
    fn as_service(&self) -> Option<&dyn Service> {
        None
    }
}

/// A program that puts back what a resource has switched.
#[derive(Clone, Debug)]
pub struct WayBack {
    /// The program.
    pub command: Command,
    /// Whether that is still switched after a boot, unlike what the kernel or a service holds.
    pub outlives_boot: bool,
}

/// What others may name in `reload` and `restart`.
pub trait Service {
    /// The command that says whether its configuration files are right, run before it reads them.
    fn validate_command(&self) -> Option<Command>;

    /// Whether applying `change` makes it read its configuration anew, so that no reload or
    /// restart is owed to it any more.
    fn is_started_by(&self, change: &Change) -> bool {
        systemd::starts(change)
    }

    /// Whether `change` switches what it runs from, so that it has to be restarted after that even
    /// if the run is cut in between.
    fn restarts_for(&self, _: &Change) -> bool {
        false
    }

    /// Whether a reload or restart leaves it stopped, as it is or will be.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    fn stays_stopped(&self, probe: &dyn Probe) -> Result<bool>;

    /// Makes it read its configuration anew, without an interruption where it can. Whether it lives
    /// on is to be watched, unless there was nothing to do.
    fn reload(&self, system: &mut dyn System) -> Result<Option<Watch>>;

    /// Stops and starts it.
    fn restart(&self, system: &mut dyn System) -> Result<()>;
}
