//! `postgresql_role`: a role of the host's PostgreSQL, with its password and memberships.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Resource;
use super::fields::{Presence, yes};
use super::names::Names;
use super::postgresql::{
    MAINTENANCE_DATABASE, check_cluster, check_name, check_role, cluster, identity, port,
    quote_identifier, quote_literal, rows, verifier, verifies,
};
use super::prediction::Prediction;
use super::probe::{Cluster, Probe};
use super::removal::Dropped;
use super::state::{Change, Current, State, Value};
use super::system::System;
use crate::error::{Context as _, Error, Result};
use crate::manifest::ResourceId;
use crate::secret::Secret;

/// A role (user or group) of the host's PostgreSQL cluster.
///
/// The password is compared with the verifier that the server stores and is sent as a verifier
/// only, so neither the server nor its log ever sees it. An `md5` password is replaced by a
/// SCRAM-SHA-256 one. A role that still owns something is not dropped: the server refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PostgresqlRole {
    /// Its name.
    pub name: String,
    /// Its password; whatever it has now is left alone if there is none here.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(with = "Option<String>"))]
    pub password: Option<Secret>,
    /// Whether it may connect.
    #[serde(default = "yes")]
    pub login: bool,
    /// Whether it may create databases.
    #[serde(default)]
    pub createdb: bool,
    /// Whether it may do everything.
    #[serde(default)]
    pub superuser: bool,
    /// Whether it may create roles.
    #[serde(default)]
    pub createrole: bool,
    /// How many connections it may hold at once; -1 for no limit. Left alone if not given.
    #[serde(default)]
    pub connection_limit: Option<i32>,
    /// The roles it is a member of, and no others. Left alone if not given.
    #[serde(default)]
    pub member_of: Option<Vec<String>>,
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

const QUESTION: &str = "\
SELECT r.rolcanlogin::pg_catalog.text, r.rolcreatedb::pg_catalog.text, \
r.rolsuper::pg_catalog.text, r.rolcreaterole::pg_catalog.text, \
r.rolconnlimit::pg_catalog.text, r.rolpassword, \
(SELECT coalesce(pg_catalog.json_agg(g.rolname::pg_catalog.text ORDER BY g.rolname), \
'[]')::pg_catalog.text FROM pg_catalog.pg_auth_members m \
JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) m.roleid \
WHERE m.member OPERATOR(pg_catalog.=) r.oid) \
FROM pg_catalog.pg_authid r WHERE r.rolname OPERATOR(pg_catalog.=) $1";

/// Where the answer has what the server stores of the password.
const PASSWORD_COLUMN: usize = 5;

impl PostgresqlRole {
    fn on(&self) -> Cluster {
        cluster(self.cluster.as_deref(), self.port)
    }

    /// What is compared in place of the password: it tells one password from another, and is
    /// neither the password nor what the server stores.
    fn fingerprint(&self) -> Option<Value> {
        let password = self.password.as_ref()?;
        let text = format!("{}\0{}", self.name, password.expose());
        Some(Value::Hidden(format!("{:x}", Sha256::digest(text))))
    }

    fn password_is(&self, stored: Option<&str>) -> Option<Value> {
        let password = self.password.as_ref()?;
        match stored {
            Some(stored) if verifies(stored, password.expose()) => self.fingerprint(),
            Some(_) => Some(Value::Hidden("another password".to_owned())),
            None => Some(Value::from("none")),
        }
    }

    /// The options of `CREATE ROLE` and `ALTER ROLE` for the fields that `change` sets.
    fn options(&self, change: &Change, system: &dyn System) -> Result<String> {
        let mut options = Vec::new();
        for (field, wanted, word) in [
            ("login", self.login, "LOGIN"),
            ("createdb", self.createdb, "CREATEDB"),
            ("superuser", self.superuser, "SUPERUSER"),
            ("createrole", self.createrole, "CREATEROLE"),
        ] {
            if change.sets(field) {
                options.push(format!("{}{word}", if wanted { "" } else { "NO" }));
            }
        }
        if let Some(limit) = self.connection_limit.filter(|_| change.sets("connection_limit")) {
            options.push(format!("CONNECTION LIMIT {limit}"));
        }
        if let Some(password) = self.password.as_ref().filter(|_| change.sets("password")) {
            let verifier = verifier(password.expose(), system)?;
            options.push(format!("PASSWORD {}", quote_literal(&verifier)));
        }
        Ok(options.join(" "))
    }

    fn set_memberships(&self, system: &mut dyn System) -> Result<()> {
        let Some(wanted) = &self.member_of else { return Ok(()) };
        let found = memberships(system, &self.on(), &self.name)?;
        let role = quote_identifier(&self.name);
        for group in wanted.iter().filter(|group| !found.contains(group)) {
            execute(system, &self.on(), &format!("GRANT {} TO {role}", quote_identifier(group)))?;
        }
        for group in found.iter().filter(|group| !wanted.contains(group)) {
            execute(
                system,
                &self.on(),
                &format!("REVOKE {} FROM {role}", quote_identifier(group)),
            )?;
        }
        Ok(())
    }
}

impl Resource for PostgresqlRole {
    const KIND: &'static str = "postgresql_role";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- postgresql_role: { name: flus, password: \"not-a-real-one\" }
- postgresql_role: { name: borgmatic, member_of: [pg_read_all_data] }
";

    fn needs(&self) -> Vec<ResourceId> {
        let role = |name: &String| ResourceId::new("postgresql_role", &identity(name, &self.on()));
        self.member_of.iter().flatten().map(role).collect()
    }

    fn identity(&self) -> String {
        identity(&self.name, &self.on())
    }

    fn validate(&self) -> Result<(), String> {
        check_cluster(self.cluster.as_deref(), self.port)?;
        check_name("role", &self.name)?;
        if self.name == "postgres" && (!self.superuser || self.state.is_absent()) {
            return Err("`postgres` stays a superuser: infra itself works as this role".to_owned());
        }
        let is_kept = matches!(self.name.as_str(), "public" | "none");
        if is_kept && !self.state.is_absent() {
            return Err(format!("PostgreSQL keeps the name `{}` for itself", self.name));
        }
        if self.connection_limit.is_some_and(|limit| limit < -1) {
            return Err("`connection_limit` is a number of connections, or -1".to_owned());
        }
        if self.password.as_ref().is_some_and(|password| password.expose().is_empty()) {
            return Err(format!("the password of role `{}` is empty", self.name));
        }
        self.member_of.iter().flatten().try_for_each(|group| check_name("role", group))
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(identity(&self.name, &port(names.probe(), &self.on())?))
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| {
            State::new()
                .with("login", self.login)
                .with("createdb", self.createdb)
                .with("superuser", self.superuser)
                .with("createrole", self.createrole)
                .with_some("connection_limit", self.connection_limit.map(|n| n.to_string()))
                .with_some("password", self.fingerprint())
                .with_some("member_of", self.member_of.as_ref().map(Value::set))
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let Some(rows) = rows(probe, &self.on(), MAINTENANCE_DATABASE, QUESTION, &[&self.name])?
        else {
            return Ok(Current::Unknown);
        };
        let Some(row) = rows.into_iter().next() else { return Ok(Current::Absent) };
        let [login, createdb, superuser, createrole, limit, password, groups] = row.as_slice()
        else {
            return Err(Error::failed("PostgreSQL answered with too few columns"));
        };
        let yes = |cell: &Option<String>| cell.as_deref() == Some("true");
        Ok(Current::Present(
            State::new()
                .with("login", yes(login))
                .with("createdb", yes(createdb))
                .with("superuser", yes(superuser))
                .with("createrole", yes(createrole))
                .with("connection_limit", limit.clone().unwrap_or_default())
                .with_some("password", self.password_is(password.as_deref()))
                .with("member_of", Value::set(names(groups.as_deref())?)),
        ))
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        if self.password.is_none() {
            return Ok(State::new());
        }
        let rows = rows(probe, &self.on(), MAINTENANCE_DATABASE, QUESTION, &[&self.name])?;
        let rows = rows.unwrap_or_default();
        let stored = rows.into_iter().next().and_then(|row| row.into_iter().nth(PASSWORD_COLUMN));
        Ok(State::new().with_some("password", stored.flatten().map(Value::Hidden)))
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if change.is_remove() {
            return self.check_owns_nothing(probe);
        }
        if change.is_create() && self.name.starts_with("pg_") {
            let message = format!("PostgreSQL keeps the name `{}` for itself", self.name);
            return Err(Error::failed(message));
        }
        let groups = self.member_of.iter().flatten().filter(|_| change.sets("member_of"));
        groups.into_iter().try_for_each(|group| check_role(probe, &self.on(), group))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let role = quote_identifier(&self.name);
        if change.is_remove() {
            return execute(system, &self.on(), &format!("DROP ROLE IF EXISTS {role}"));
        }
        let verb = if change.is_create() { "CREATE" } else { "ALTER" };
        let options = self.options(change, system)?;
        if change.is_create() || !options.is_empty() {
            execute(system, &self.on(), &format!("{verb} ROLE {role} {options}"))?;
        }
        if change.sets("member_of") { self.set_memberships(system) } else { Ok(()) }
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { password: None, state: Presence::Absent, ..self.clone() };
        Some(Dropped::stays_unless_allowed(absent, "it may own data"))
    }
}

/// The databases with something that belongs to a role, or names the role in its rights.
const DEPENDENTS: &str = "SELECT DISTINCT d.datname::pg_catalog.text \
FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_authid r ON s.refobjid OPERATOR(pg_catalog.=) r.oid \
JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.dbid \
OR s.dbid OPERATOR(pg_catalog.=) 0 AND d.oid OPERATOR(pg_catalog.=) s.objid \
WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
AND r.rolname OPERATOR(pg_catalog.=) $1 ORDER BY 1";

impl PostgresqlRole {
    /// Refuses to drop a role that something depends on, as the server would.
    fn check_owns_nothing(&self, probe: &dyn Probe) -> Result<()> {
        if probe.is_preview_of_more() || probe.is_after_change_of(&["postgresql_database"]) {
            return Ok(());
        }
        let rows = rows(probe, &self.on(), MAINTENANCE_DATABASE, DEPENDENTS, &[&self.name])?;
        let databases: Vec<String> = rows
            .into_iter()
            .flatten()
            .flatten()
            .flatten()
            .map(|name| format!("`{name}`"))
            .collect();
        if databases.is_empty() {
            return Ok(());
        }
        Err(Error::failed(format!("something belongs to the role `{}`, or names it", self.name))
            .because(format!("in {}", databases.join(", ")))
            .hint("give it to another role (`REASSIGN OWNED`, `DROP OWNED`), then drop this one"))
    }
}

fn memberships(probe: &dyn Probe, cluster: &Cluster, role: &str) -> Result<Vec<String>> {
    let rows = probe.sql(cluster, MAINTENANCE_DATABASE, QUESTION, &[role])?;
    names(rows.first().and_then(|row| row.last()).and_then(Option::as_deref))
}

/// The names of a JSON array.
fn names(json: Option<&str>) -> Result<Vec<String>> {
    serde_json::from_str(json.unwrap_or("[]"))
        .context(|| "PostgreSQL answered with something else than names".to_owned())
}

fn execute(system: &mut dyn System, cluster: &Cluster, sql: &str) -> Result<()> {
    system.sql_execute(cluster, MAINTENANCE_DATABASE, sql, &[]).map(drop)
}
