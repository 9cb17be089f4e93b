//! What the PostgreSQL kinds share: quoting, names, and the verifiers of passwords.
//!
//! Statements such as `CREATE ROLE` take no parameters, so this is the one place where values
//! become parts of SQL text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::probe::{Cluster, Probe, SqlRow};
use crate::error::{Error, Kind, Result};

/// The database that is always there, to ask and change what belongs to the whole cluster.
pub(super) const MAINTENANCE_DATABASE: &str = "postgres";

/// How often PostgreSQL itself hashes a password by default.
const ITERATIONS: u32 = 4096;

/// A stored verifier that asks for more work than this is not tried.
const MOST_ITERATIONS: u32 = 1_000_000;

/// A name as SQL text: `"flus"`, whatever it contains.
pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL text: `'flus'`, whatever it contains and however the server reads backslashes.
pub(super) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Checks the name of a role, a database or an extension. PostgreSQL would silently cut a longer
/// one, and then never find it again.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), String> {
    match name {
        "" => Err(format!("the {what} has an empty name")),
        _ if name.len() > 63 => {
            Err(format!("`{name}` is too long for a {what}: PostgreSQL keeps 63 bytes"))
        }
        _ if name.contains('\0') => Err(format!("the name of the {what} contains a zero byte")),
        _ => Ok(()),
    }
}

/// The cluster that the fields of a spec name.
pub(super) fn cluster(name: Option<&str>, port: Option<u16>) -> Cluster {
    match (name, port) {
        (Some(name), _) => Cluster::Named(name.to_owned()),
        (None, Some(port)) => Cluster::Port(port),
        (None, None) => Cluster::Only,
    }
}

/// Checks the fields that name a cluster.
pub(super) fn check_cluster(name: Option<&str>, port: Option<u16>) -> Result<(), String> {
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        name.split_once('/').is_some_and(|(version, name)| {
            let is_version = version.starts_with(|c: char| c.is_ascii_digit());
            is_version && !name.is_empty() && version.chars().chain(name.chars()).all(plain)
        })
    };
    match (name, port) {
        (Some(_), Some(_)) => Err("`cluster` excludes `port`".to_owned()),
        (Some(name), None) if !is_name(name) => {
            Err(format!("`{name}` is not a cluster such as `15/main`"))
        }
        (None, Some(0)) => Err("`port` is a number from 1".to_owned()),
        _ => Ok(()),
    }
}

/// An identity within a cluster: `shop`, `shop@15/main`, `shop@5433`.
pub(super) fn identity(name: &str, cluster: &Cluster) -> String {
    cluster.label().map_or_else(|| name.to_owned(), |cluster| format!("{name}@{cluster}"))
}

/// The port of a cluster, by which it is one and the same under all its names.
pub(super) fn port(probe: &dyn Probe, cluster: &Cluster) -> Result<Cluster> {
    if let Cluster::Port(_) = cluster {
        return Ok(cluster.clone());
    }
    let question = "SELECT pg_catalog.current_setting('port')";
    let rows = probe.sql(cluster, MAINTENANCE_DATABASE, question, &[])?;
    let port = rows.into_iter().flatten().flatten().next().and_then(|port| port.parse().ok());
    port.map(Cluster::Port).ok_or_else(|| Error::failed("PostgreSQL did not say its port"))
}

/// Rows of a question; `None` where the server is stopped and an earlier resource of a preview
/// will start it.
pub(super) fn rows(
    probe: &dyn Probe,
    cluster: &Cluster,
    database: &str,
    sql: &str,
    parameters: &[&str],
) -> Result<Option<Vec<SqlRow>>> {
    match probe.sql(cluster, database, sql, parameters) {
        Err(error) if error.kind == Kind::ToolMissing && probe.will_start("postgresql") => Ok(None),
        rows => rows.map(Some),
    }
}

/// Whether the server has something: `question` asks for it by `name`. `None` where nobody can tell before an
/// earlier resource is applied: one of `kind` may make it.
pub(super) fn has(
    probe: &dyn Probe,
    cluster: &Cluster,
    question: &str,
    name: &str,
    kind: &str,
) -> Result<Option<bool>> {
    if probe.is_preview_of_more() || probe.is_after_change_of(&[kind]) {
        return Ok(None);
    }
    let rows = rows(probe, cluster, MAINTENANCE_DATABASE, question, &[name])?;
    Ok(rows.map(|rows| !rows.is_empty()))
}

/// Refuses a role that is not there.
pub(super) fn check_role(probe: &dyn Probe, cluster: &Cluster, name: &str) -> Result<()> {
    let question = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r \
                    WHERE r.rolname OPERATOR(pg_catalog.=) $1";
    if has(probe, cluster, question, name, "postgresql_role")? != Some(false) {
        return Ok(());
    }
    Err(Error::failed(format!("PostgreSQL has no role `{name}`"))
        .hint(format!("declare `postgresql_role: {name}` before")))
}

/// What the server stores instead of the password, made here so that the password itself never
/// reaches the server, its log or its statistics.
pub(super) fn verifier(password: &str, probe: &dyn Probe) -> Result<String> {
    // The kernel's random number, read as a file: 122 bits, hashed into a salt.
    let source = "/proc/sys/kernel/random/uuid";
    let random =
        probe.read(source)?.ok_or_else(|| Error::failed(format!("cannot read `{source}`")))?;
    let salt = Sha256::digest(random);
    Ok(scram_sha_256(password, &salt[..16], ITERATIONS))
}

/// Whether a stored verifier is that of `password`. Verifiers of older kinds (`md5…`) never are.
pub(super) fn verifies(stored: &str, password: &str) -> bool {
    let Some((iterations, salt)) = parameters(stored) else { return false };
    iterations <= MOST_ITERATIONS && scram_sha_256(password, &salt, iterations) == stored
}

/// The iterations and the salt of `SCRAM-SHA-256$4096:salt$stored key:server key`.
fn parameters(stored: &str) -> Option<(u32, Vec<u8>)> {
    let (parameters, _) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|iterations| *iterations > 0)?;
    Some((iterations, BASE64.decode(salt).ok()?))
}

/// RFC 5803, as PostgreSQL writes it.
fn scram_sha_256(password: &str, salt: &[u8], iterations: u32) -> String {
    // A password with characters that SASLprep refuses is used as it is, as PostgreSQL does.
    let prepared = stringprep::saslprep(password).unwrap_or(password.into());
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, &mut salted);
    let stored_key = Sha256::digest(hmac_sha_256(&salted, b"Client Key"));
    let server_key = hmac_sha_256(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    )
}

fn hmac_sha_256(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key of the block's length at most is used as it is, padded with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_whatever_a_name_contains() {
        assert_eq!(quote_identifier("flus"), "\"flus\"");
        assert_eq!(quote_identifier("a\"; DROP ROLE b; --"), "\"a\"\"; DROP ROLE b; --\"");
    }

    #[test]
    fn quotes_whatever_a_text_contains() {
        assert_eq!(quote_literal("fr_FR.UTF-8"), "'fr_FR.UTF-8'");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\' OR 1=1 --"), "E'a\\\\'' OR 1=1 --'");
    }

    #[test]
    fn refuses_names_that_the_server_would_cut() {
        assert_eq!(check_name("role", "flus"), Ok(()));
        assert_eq!(check_name("role", ""), Err("the role has an empty name".into()));
        let long = "x".repeat(64);
        assert_eq!(
            check_name("database", &long),
            Err(format!("`{long}` is too long for a database: PostgreSQL keeps 63 bytes"))
        );
    }

    /// The verifier is the one of PostgreSQL's own documentation of the exchange in RFC 7677.
    #[test]
    fn knows_the_password_of_a_verifier() {
        let stored = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                      WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                      wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert!(verifies(stored, "pencil"));
        assert!(!verifies(stored, "Pencil"));
    }

    #[test]
    fn a_verifier_of_an_older_kind_or_none_never_matches() {
        for stored in [
            "",
            "md5e8a48653851e28c69d0506508fb27fc5",
            "pencil",
            "SCRAM-SHA-256$0:AAAA$a:b",
            "SCRAM-SHA-256$4000000000:AAAA$a:b",
        ] {
            assert!(!verifies(stored, "pencil"), "{stored}");
        }
    }
}
