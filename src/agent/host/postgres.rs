//! The host's PostgreSQL.

use crate::error::{Error, Result};
use crate::resources::probe::SqlRow;

/// Connections to the cluster of the host.
#[derive(Default)]
pub(super) struct Postgres;

impl Postgres {
    /// Rows of a question.
    pub(super) fn read(&self, _: &str, _: &str, _: &[&str]) -> Result<Vec<SqlRow>> {
        Err(Error::tool_missing("postgresql"))
    }

    /// Executes a statement.
    pub(super) fn execute(&self, _: &str, _: &str, _: &[&str]) -> Result<Vec<SqlRow>> {
        Err(Error::tool_missing("postgresql"))
    }
}
