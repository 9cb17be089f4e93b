//! `postgresql_extension`: an extension of one database.

use serde::{Deserialize, Serialize};

use super::Resource;
use super::fields::Presence;
use super::names::Names;
use super::postgresql::{
    MAINTENANCE_DATABASE, check_cluster, check_name, cluster, identity, port, quote_identifier,
    rows,
};
use super::prediction::Prediction;
use super::probe::{Cluster, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::System;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// An extension, such as `pg_trgm`, in one database of the host's PostgreSQL cluster.
///
/// Its files come with a package: `postgresql-contrib`, or one of its own. What depends on it
/// keeps it from being dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PostgresqlExtension {
    /// Its name.
    pub name: String,
    /// The database that has it.
    pub database: String,
    /// The schema that holds its objects. Left alone if not given.
    #[serde(default)]
    pub schema: Option<String>,
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

const QUESTION: &str = "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_extension e \
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace \
WHERE e.extname OPERATOR(pg_catalog.=) $1";

/// Whether the files of an extension are there.
const AVAILABLE: &str = "SELECT e.name::pg_catalog.text FROM pg_catalog.pg_available_extensions e \
WHERE e.name OPERATOR(pg_catalog.=) $1";

/// The schema that an extension insists on, where it does.
const OWN_SCHEMA: &str = "SELECT v.schema::pg_catalog.text \
FROM pg_catalog.pg_available_extensions e \
JOIN pg_catalog.pg_available_extension_versions v \
ON v.name OPERATOR(pg_catalog.=) e.name AND v.version OPERATOR(pg_catalog.=) e.default_version \
WHERE e.name OPERATOR(pg_catalog.=) $1";

/// The extensions that an extension requires.
const REQUIRED: &str = "SELECT pg_catalog.unnest(v.requires)::pg_catalog.text \
FROM pg_catalog.pg_available_extensions e \
JOIN pg_catalog.pg_available_extension_versions v \
ON v.name OPERATOR(pg_catalog.=) e.name AND v.version OPERATOR(pg_catalog.=) e.default_version \
WHERE e.name OPERATOR(pg_catalog.=) $1";

/// The extensions that a database has.
const INSTALLED: &str = "SELECT e.extname::pg_catalog.text FROM pg_catalog.pg_extension e \
WHERE $1 OPERATOR(pg_catalog.<>) ''";

/// The schema with a name. A database has others as soon as it has been made.
const SCHEMA: &str = "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n \
WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY[$1, 'pg_catalog'])";

impl PostgresqlExtension {
    fn on(&self) -> Cluster {
        cluster(self.cluster.as_deref(), self.port)
    }

    fn check_available(&self, probe: &dyn Probe) -> Result<()> {
        // The database itself may be still to come, as an empty one.
        let ask = |database, question| -> Result<Option<Vec<String>>> {
            let rows = rows(probe, &self.on(), database, question, &[&self.name])?;
            Ok(rows.map(|rows| rows.into_iter().flatten().flatten().collect()))
        };
        let Some(available) = ask(MAINTENANCE_DATABASE, AVAILABLE)? else { return Ok(()) };
        if available.is_empty() {
            let message = format!("PostgreSQL has no extension `{}` here", self.name);
            return Err(Error::failed(message).hint("declare the `package` that has it before"));
        }
        let installed = ask(&self.database, INSTALLED)?.unwrap_or_default();
        // An extension of before may bring what this one requires, and a new database has some at once.
        if installed.is_empty() || probe.is_after_change_of(&[Self::KIND]) {
            return Ok(());
        }
        let mut required = ask(MAINTENANCE_DATABASE, REQUIRED)?.unwrap_or_default().into_iter();
        match required.find(|name| !installed.contains(name)) {
            Some(name) => Err(Error::failed(format!("it requires the extension `{name}`")).hint(
                format!("declare the `postgresql_extension` `{name}` of this database before"),
            )),
            None => Ok(()),
        }
    }

    /// PostgreSQL makes no schema for an extension that can have any.
    fn check_schema(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        let Some(schema) = self.schema.as_ref().filter(|_| change.sets("schema")) else {
            return Ok(());
        };
        // An extension of before may bring the schema.
        if probe.is_after_change_of(&[Self::KIND]) {
            return Ok(());
        }
        let rows = rows(probe, &self.on(), &self.database, SCHEMA, &[schema])?.unwrap_or_default();
        let has = |name: &str| rows.iter().flatten().flatten().any(|found| found == name);
        // An extension with a schema of its own makes that, and refuses others.
        if has(schema) || !has("pg_catalog") || self.own_schema(probe)?.as_ref() == Some(schema) {
            return Ok(());
        }
        Err(Error::failed(format!("the database `{}` has no schema `{schema}`", self.database))
            .hint("make it before, by a `command`"))
    }

    /// The schema that the extension insists on, where it does.
    fn own_schema(&self, probe: &dyn Probe) -> Result<Option<String>> {
        let rows = rows(probe, &self.on(), &self.database, OWN_SCHEMA, &[&self.name])?;
        Ok(rows.into_iter().flatten().flatten().flatten().next())
    }
}

impl Resource for PostgresqlExtension {
    const KIND: &'static str = "postgresql_extension";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- postgresql_extension: { name: pg_trgm, database: flus_production }
- postgresql_extension: { name: pg_trgm, database: archive, port: 5433 }
";

    fn needs(&self) -> Vec<ResourceId> {
        vec![ResourceId::new("postgresql_database", &identity(&self.database, &self.on()))]
    }

    fn identity(&self) -> String {
        identity(&format!("{}/{}", self.database, self.name), &self.on())
    }

    fn validate(&self) -> Result<(), String> {
        check_cluster(self.cluster.as_deref(), self.port)?;
        check_name("extension", &self.name)?;
        check_name("database", &self.database)?;
        self.schema.iter().try_for_each(|schema| check_name("schema", schema))
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(identity(&format!("{}/{}", self.database, self.name), &port(names.probe(), &self.on())?))
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| State::new().with_some("schema", self.schema.as_deref()))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some(rows) = rows(probe, &self.on(), &self.database, QUESTION, &[&self.name])? else {
            return Ok(Current::Unknown);
        };
        let Some(schema) = rows.into_iter().flatten().next() else { return Ok(Current::Absent) };
        Ok(Current::Present(State::new().with("schema", schema.unwrap_or_default())))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if change.is_remove() || probe.is_preview_of_more() {
            return Ok(());
        }
        if change.is_create() {
            self.check_available(probe)?;
        }
        self.check_schema(change, probe)
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let extension = quote_identifier(&self.name);
        let schema = self.schema.as_deref().map(quote_identifier);
        let statement = match (change, schema) {
            // Without a schema, the extension would go to the first one of the search path.
            (Change::Create(_), None) => {
                let own = self.own_schema(system)?;
                let schema = quote_identifier(own.as_deref().unwrap_or("public"));
                format!("CREATE EXTENSION {extension} SCHEMA {schema}")
            }
            (Change::Create(_), Some(schema)) => {
                format!("CREATE EXTENSION {extension} SCHEMA {schema}")
            }
            (Change::Update(_), schema) => {
                let schema = schema.unwrap_or_else(|| quote_identifier("public"));
                format!("ALTER EXTENSION {extension} SET SCHEMA {schema}")
            }
            (Change::Remove, _) => format!("DROP EXTENSION IF EXISTS {extension}"),
        };
        system.sql_execute(&self.on(), &self.database, &statement, &[]).map(drop)
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { state: Presence::Absent, ..self.clone() };
        Some(Dropped::stays_unless_allowed(absent, "data may depend on it"))
    }
}
