//! The list of all kinds, and what is the same for each of them.

use serde::{Deserialize, Deserializer, Serialize};

use super::bonds;
use super::fields;
use super::removal::{Dropped, UnitBefore};
use super::shares::Share;
use super::state::{Change, Current, State, Value};
use super::system::System;
use super::{Names, Prediction, Probe, Resource, Service, WayBack};
use crate::error::Result;
use crate::manifest::ResourceId;

/// Lists the kinds once: the enum, its names, and what is the same for each.
macro_rules! registry {
    ($($name:literal => $module:ident::$type:ident,)*) => {
        /// A resource of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Spec {
            $(
                #[doc = concat!("See `infra doc ", $name, "`.")]
                $type(super::$module::$type),
            )*
        }

        /// The names of all kinds, sorted.
        pub const KINDS: &[&str] = &[$($name),*];

        /// The field that a bare text sets, for a kind that has one.
        pub fn primary_field(kind: &str) -> Option<&'static str> {
            match kind {
                $($name => <super::$module::$type as Resource>::PRIMARY,)*
                _ => None,
            }
        }

        /// A YAML example of a kind.
        pub fn example(kind: &str) -> Option<&'static str> {
            match kind {
                $($name => Some(<super::$module::$type as Resource>::EXAMPLE),)*
                _ => None,
            }
        }

        /// The JSON Schema of a kind, made from the comments of its fields.
        #[cfg(feature = "cli")]
        pub fn schema(kind: &str) -> Option<schemars::Schema> {
            match kind {
                $($name => Some(schemars::schema_for!(super::$module::$type)),)*
                _ => None,
            }
        }

        impl Spec {
            /// Reads the fields of `kind`; `None` if there is no such kind.
            pub fn deserialize_kind<'de, D: Deserializer<'de>>(
                kind: &str,
                deserializer: D,
            ) -> Option<Result<Self, D::Error>> {
                match kind {
                    $($name => Some(
                        <super::$module::$type>::deserialize(deserializer).map(Self::$type)
                    ),)*
                    _ => None,
                }
            }

            /// The name of the kind.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$type(_) => $name,)* }
            }

            /// `kind:identity`.
            pub fn id(&self) -> ResourceId {
                ResourceId::new(self.kind(), &match self {
                    $(Self::$type(spec) => spec.identity(),)*
                })
            }

            /// `kind:identity`, by the thing that it names on one server.
            ///
            /// # Errors
            /// If the server cannot be asked.
            pub fn known_as(&self, names: &Names<'_>) -> Result<ResourceId> {
                Ok(ResourceId::new(self.kind(), &match self {
                    $(Self::$type(spec) => spec.known_as(names)?,)*
                }))
            }

            /// See [`Resource::takes_folder`].
            pub fn takes_folder(&self, probe: &dyn Probe) -> Result<Option<String>> {
                match self { $(Self::$type(spec) => spec.takes_folder(probe),)* }
            }

            /// See [`Resource::takes_accounts`].
            pub fn takes_accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
                match self { $(Self::$type(spec) => spec.takes_accounts(probe),)* }
            }

            /// See [`Resource::needs`].
            pub fn needs(&self) -> Vec<ResourceId> {
                match self { $(Self::$type(spec) => spec.needs(),)* }
            }

            /// See [`Resource::needed_paths`].
            pub fn needed_paths(&self) -> Vec<String> {
                match self { $(Self::$type(spec) => spec.needed_paths(),)* }
            }

            /// See [`Resource::accounts`].
            pub fn accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
                match self { $(Self::$type(spec) => spec.accounts(probe),)* }
            }

            /// See [`Resource::claims`].
            pub fn claims(&self, probe: Option<&dyn Probe>) -> Result<Vec<String>> {
                match self { $(Self::$type(spec) => spec.claims(probe),)* }
            }

            /// See [`Resource::validate`].
            ///
            /// # Errors
            /// A lowercase phrase.
            pub fn validate(&self) -> Result<(), String> {
                match self { $(Self::$type(spec) => spec.validate(),)* }?;
                if self.desired().is_some() {
                    return Ok(());
                }
                self.switches().iter().try_for_each(|path| fields::check_may_go(path))
            }

            /// See [`Resource::desired`].
            pub fn desired(&self) -> Option<State> {
                match self { $(Self::$type(spec) => spec.desired(),)* }
            }

            /// See [`Resource::current`].
            pub fn current(&self, probe: &dyn Probe) -> Result<Current> {
                match self { $(Self::$type(spec) => spec.current(probe),)* }
            }

            /// The difference between what it asks for and what was found on the server, with all that
            /// follows from it; `None` where there is none, or where it cannot be known.
            pub fn change(&self, current: &Current, probe: &dyn Probe) -> Result<Option<Change>> {
                let Some(change) = Change::between(self.desired().as_ref(), current) else {
                    return Ok(None);
                };
                let more = match self { $(Self::$type(spec) => spec.follows(&change, probe),)* };
                Ok(Some(change.with(more?)))
            }

            /// See [`Resource::traces`].
            pub fn traces(&self, probe: &dyn Probe) -> Result<State> {
                match self { $(Self::$type(spec) => spec.traces(probe),)* }
            }

            /// See [`Resource::apply`].
            pub fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
                match self { $(Self::$type(spec) => spec.apply(change, system),)* }
            }

            /// See [`Resource::predict`].
            pub fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
                match self { $(Self::$type(spec) => spec.predict(change, world),)* }
            }

            /// See [`Resource::switches`].
            pub fn switches(&self) -> Vec<String> {
                match self { $(Self::$type(spec) => spec.switches(),)* }
            }

            /// See [`Resource::switched_paths`].
            pub fn switched_paths(&self, probe: &dyn Probe) -> Result<Vec<String>> {
                match self { $(Self::$type(spec) => spec.switched_paths(probe),)* }
            }

            /// Looks whether nothing forbids to change the files that applying `change` touches.
            ///
            /// # Errors
            /// The first thing that does.
            pub fn check_bonds(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
                let touches = match self { $(Self::$type(spec) => spec.touches(change, probe),)* };
                touches?.iter().try_for_each(|(path, touch)| bonds::check(path, *touch, probe))
            }

            /// See [`Resource::check_obstacles`].
            pub fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
                super::needs::check(self, change, probe)?;
                match self { $(Self::$type(spec) => spec.check_obstacles(change, probe),)* }
            }

            /// See [`Resource::way_back`].
            pub fn way_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
                match self { $(Self::$type(spec) => spec.way_back(probe),)* }
            }

            /// See [`Resource::comes_with`].
            pub fn comes_with(&self) -> Option<ResourceId> {
                match self { $(Self::$type(spec) => spec.comes_with(),)* }
            }

            /// See [`Resource::leaves`].
            pub fn leaves(&self, probe: &dyn Probe) -> Result<Vec<String>> {
                match self { $(Self::$type(spec) => spec.leaves(probe),)* }
            }

            /// See [`Resource::replaces`].
            pub fn replaces(&self) -> Vec<String> {
                match self { $(Self::$type(spec) => spec.replaces(),)* }
            }

            /// See [`Resource::makes`].
            pub fn makes(&self, change: &Change) -> Vec<String> {
                match self { $(Self::$type(spec) => spec.makes(change),)* }
            }

            /// See [`Resource::shares`].
            pub fn shares(&self, probe: Option<&dyn Probe>) -> Vec<(String, Share)> {
                match self { $(Self::$type(spec) => spec.shares(probe),)* }
            }

            /// See [`Resource::edits`].
            pub fn edits(
                &self,
                path: &str,
                content: &[u8],
                probe: Option<&dyn Probe>,
            ) -> Result<Option<Vec<u8>>> {
                match self { $(Self::$type(spec) => spec.edits(path, content, probe),)* }
            }

            /// See [`Resource::dropped`]. A thing that should not be there leaves nothing of its own, but
            /// something may come back in its place.
            pub fn dropped(&self) -> Option<Dropped<Self>> {
                if self.desired().is_none() {
                    return (!self.replaces().is_empty()).then(Dropped::leaves_nothing);
                }
                match self { $(Self::$type(spec) => Some(spec.dropped()?.map(Self::$type)),)* }
            }

            /// See [`Resource::dropped_on`].
            pub fn dropped_on(&self, probe: &dyn Probe) -> Option<Dropped<Self>> {
                if self.desired().is_none() {
                    return self.dropped();
                }
                match self {
                    $(Self::$type(spec) => Some(spec.dropped_on(probe)?.map(Self::$type)),)*
                }
            }

            /// See [`Resource::is_found`].
            pub fn is_found(&self, change: &Change, probe: &dyn Probe) -> Result<bool> {
                match self { $(Self::$type(spec) => spec.is_found(change, probe),)* }
            }

            /// See [`Resource::unit_before`].
            pub fn unit_before(&self, probe: &dyn Probe) -> Result<Option<UnitBefore>> {
                match self { $(Self::$type(spec) => spec.unit_before(probe),)* }
            }

            /// See [`Resource::back_to`].
            pub fn back_to(&self, before: &UnitBefore) -> Option<Self> {
                match self { $(Self::$type(spec) => spec.back_to(before).map(Self::$type),)* }
            }

            /// See [`Resource::allowed`].
            pub fn allowed(&self, field: &str, value: &Value) -> bool {
                match self { $(Self::$type(spec) => spec.allowed(field, value),)* }
            }

            /// See [`Resource::beside`].
            pub fn beside(&self, declared: &Spec, names: &Names<'_>) -> Option<Self> {
                match self { $(Self::$type(spec) => spec.beside(declared, names).map(Self::$type),)* }
            }

            /// See [`Resource::holds_unit`].
            pub fn holds_unit(
                &self,
                probe: &dyn Probe,
                thoroughly: bool,
            ) -> Result<Option<String>> {
                match self { $(Self::$type(spec) => spec.holds_unit(probe, thoroughly),)* }
            }

            /// See [`Resource::loses_data`].
            pub fn loses_data(&self, probe: &dyn Probe) -> Result<bool> {
                match self { $(Self::$type(spec) => spec.loses_data(probe),)* }
            }

            /// See [`Resource::units`].
            pub fn units(&self) -> Vec<String> {
                match self { $(Self::$type(spec) => spec.units(),)* }
            }

            /// See [`Resource::verifies`].
            pub fn verifies(&self) -> bool {
                match self { $(Self::$type(spec) => spec.verifies(),)* }
            }

            /// See [`Resource::as_service`].
            pub fn as_service(&self) -> Option<&dyn Service> {
                match self { $(Self::$type(spec) => spec.as_service(),)* }
            }

            /// See [`Resource::runs_after_change_of`].
            pub fn runs_after_change_of(&self) -> Vec<ResourceId> {
                match self { $(Self::$type(spec) => spec.runs_after_change_of(),)* }
            }
        }
    };
}

registry! {
    "apt_repository" => apt_repository::AptRepository,
    "archive" => archive::Archive,
    "authorized_key" => authorized_key::AuthorizedKey,
    "command" => command::Command,
    "cron" => cron::Cron,
    "directory" => directory::Directory,
    "docker_compose" => docker_compose::DockerCompose,
    "docker_engine" => docker_engine::DockerEngine,
    "file" => file::File,
    "firewall" => firewall::Firewall,
    "git" => git::Git,
    "group" => group::Group,
    "hostname" => hostname::Hostname,
    "http_check" => http_check::HttpCheck,
    "line" => line::Line,
    "locale" => locale::Locale,
    "mount" => mount::Mount,
    "package" => package::Package,
    "port_check" => port_check::PortCheck,
    "postgresql_database" => postgresql_database::PostgresqlDatabase,
    "postgresql_extension" => postgresql_extension::PostgresqlExtension,
    "postgresql_role" => postgresql_role::PostgresqlRole,
    "service" => service::Service,
    "sshd_config" => sshd_config::SshdConfig,
    "swap" => swap::Swap,
    "symlink" => symlink::Symlink,
    "sysctl" => sysctl::Sysctl,
    "systemd_unit" => systemd_unit::SystemdUnit,
    "timezone" => timezone::Timezone,
    "user" => user::User,
    "volume" => volume::Volume,
}
