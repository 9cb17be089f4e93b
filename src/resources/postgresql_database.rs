//! `postgresql_database`: a database of the host's PostgreSQL, and who owns it.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::fields::Presence;
use super::locale;
use super::names::Names;
use super::postgresql::{
    MAINTENANCE_DATABASE, check_cluster, check_name, check_role, cluster, has, identity, port,
    quote_identifier, quote_literal, rows,
};
use super::prediction::Prediction;
use super::probe::{Cluster, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::System;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// A database of the host's PostgreSQL cluster.
///
/// Only its owner can change later. Its encoding and locale are fixed when it is made, so they
/// are asked for under `on_create` and not compared. It is dropped only with `allow_data_loss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PostgresqlDatabase {
    /// Its name.
    pub name: String,
    /// The role it belongs to. Left alone if not given; `postgres` when it is made.
    #[serde(default)]
    pub owner: Option<String>,
    /// What can only be chosen when it is made.
    #[serde(default)]
    pub on_create: OnCreate,
    /// With `state: absent`, says that what it holds may be lost.
    #[serde(default)]
    pub allow_data_loss: bool,
    /// The cluster that has it, by version and name, such as `15/main`; `pg_lsclusters` lists them.
    /// If neither this nor `port` is given, the one that the server starts by itself: it is an error
    /// if there are several.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The cluster that has it, by its port, such as 5433.
    #[serde(default)]
    pub port: Option<u16>,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// Properties of a database that are fixed when it is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OnCreate {
    /// The character set, such as `UTF8`. The template's if not given.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The sort order and character classes, such as `fr_FR.UTF-8`; the server needs this locale.
    /// The template's if not given.
    #[serde(default)]
    pub locale: Option<String>,
    /// The database that is copied: `template1`, or `template0` where an encoding or a locale is
    /// given, if not given.
    #[serde(default)]
    pub template: Option<String>,
}

const QUESTION: &str = "SELECT pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text \
FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) $1";

impl PostgresqlDatabase {
    fn on(&self) -> Cluster {
        cluster(self.cluster.as_deref(), self.port)
    }

    fn create_statement(&self) -> String {
        let fixed = &self.on_create;
        let is_special = fixed.encoding.is_some() || fixed.locale.is_some();
        let template = fixed.template.as_deref().or(is_special.then_some("template0"));
        let options = [
            self.owner.as_deref().map(|owner| format!(" OWNER {}", quote_identifier(owner))),
            template.map(|template| format!(" TEMPLATE {}", quote_identifier(template))),
            fixed.encoding.as_deref().map(|name| format!(" ENCODING {}", quote_literal(name))),
            fixed.locale.as_deref().map(|name| format!(" LOCALE {}", quote_literal(name))),
        ];
        let options: String = options.into_iter().flatten().collect();
        format!("CREATE DATABASE {}{options}", quote_identifier(&self.name))
    }
}

/// The number of a character set that a database may have, if the server knows the name.
const ENCODING: &str = "SELECT pg_catalog.pg_char_to_encoding($1)::pg_catalog.text \
WHERE pg_catalog.pg_char_to_encoding($1) OPERATOR(pg_catalog.>=) 0";

const TEMPLATE: &str = "SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database d \
WHERE d.datname OPERATOR(pg_catalog.=) $1";

impl PostgresqlDatabase {
    /// Refuses what a new database cannot have on this server.
    fn check_fixed(&self, probe: &dyn Probe) -> Result<()> {
        let fixed = &self.on_create;
        if let Some(name) = &fixed.encoding
            && has(probe, &self.on(), ENCODING, name, Self::KIND)? == Some(false)
        {
            return Err(Error::failed(format!("PostgreSQL knows no encoding `{name}`"))
                .hint("the usual one is `UTF8`"));
        }
        if let Some(name) = &fixed.template
            && has(probe, &self.on(), TEMPLATE, name, Self::KIND)? == Some(false)
        {
            return Err(Error::failed(format!("PostgreSQL has no database `{name}` to copy"))
                .hint(format!("declare `postgresql_database: {name}` before")));
        }
        match &fixed.locale {
            Some(name) if !probe.is_after_change_of(&["locale"]) => check_locale(name, probe),
            _ => Ok(()),
        }
    }
}

/// Refuses a locale that the server does not have.
fn check_locale(name: &str, probe: &dyn Probe) -> Result<()> {
    if probe.is_preview_of_more() || locale::is_generated(name, probe)? {
        return Ok(());
    }
    Err(Error::failed(format!("the server has no locale `{name}`"))
        .hint(format!("declare `locale: {name}` before")))
}

impl Resource for PostgresqlDatabase {
    const KIND: &'static str = "postgresql_database";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- postgresql_database:
    name: flus_production
    owner: flus
    on_create: { encoding: UTF8, locale: fr_FR.UTF-8 }
- postgresql_database: { name: archive, cluster: 15/main }
- postgresql_database: { name: trial, state: absent, allow_data_loss: true }
";

    fn needs(&self) -> Vec<ResourceId> {
        let role =
            |owner: &String| ResourceId::new("postgresql_role", &identity(owner, &self.on()));
        self.owner.iter().map(role).collect()
    }

    fn identity(&self) -> String {
        identity(&self.name, &self.on())
    }

    fn validate(&self) -> Result<(), String> {
        check_cluster(self.cluster.as_deref(), self.port)?;
        check_name("database", &self.name)?;
        self.owner.iter().try_for_each(|owner| check_name("role", owner))?;
        if self.state.is_absent() && !self.allow_data_loss {
            return Err(format!(
                "`state: absent` drops database `{}` with all it holds: confirm it with \
                 `allow_data_loss: true`",
                self.name
            ));
        }
        Ok(())
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(identity(&self.name, &port(names.probe(), &self.on())?))
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| State::new().with_some("owner", self.owner.as_deref()))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some(rows) = rows(probe, &self.on(), MAINTENANCE_DATABASE, QUESTION, &[&self.name])?
        else {
            return Ok(Current::Unknown);
        };
        let Some(owner) = rows.into_iter().flatten().next() else { return Ok(Current::Absent) };
        Ok(Current::Present(State::new().with("owner", owner.unwrap_or_default())))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if let Some(owner) = self.owner.as_ref().filter(|_| change.sets("owner")) {
            check_role(probe, &self.on(), owner)?;
        }
        if change.is_create() { self.check_fixed(probe) } else { Ok(()) }
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let database = quote_identifier(&self.name);
        let statement = match change {
            Change::Create(_) => self.create_statement(),
            Change::Update(_) => {
                let owner = quote_identifier(self.owner.as_deref().unwrap_or("postgres"));
                format!("ALTER DATABASE {database} OWNER TO {owner}")
            }
            Change::Remove if !self.allow_data_loss => {
                return Err(Error::failed(format!("database `{}` holds data", self.name))
                    .hint("drop it with `state: absent` and `allow_data_loss: true`"));
            }
            Change::Remove => format!("DROP DATABASE IF EXISTS {database}"),
        };
        system.sql_execute(&self.on(), MAINTENANCE_DATABASE, &statement, &[]).map(drop)
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        if change.is_create() {
            world.database(self.on(), &self.name);
        }
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { allow_data_loss: true, state: Presence::Absent, ..self.clone() };
        Some(Dropped::stays_unless_allowed(absent, "it holds data"))
    }
}
