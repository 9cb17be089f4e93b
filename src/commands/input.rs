//! What every command that compiles reads: the project, its inventory, its secrets.

use crate::cli::Context;
use crate::inventory::{Inventory, Project};
use crate::secrets::Store;

/// The arguments that change what is compiled.
#[derive(Debug, clap::Args)]
pub struct InputArgs {
    /// The throw-away servers of `infra lab up` instead of the real ones.
    #[arg(long)]
    pub lab: bool,
    /// Set a parameter, stronger than the inventory.
    #[arg(long, value_name = "ROLE.PARAM=VALUE")]
    pub set: Vec<String>,
}

/// A project, read. Placeholders stand in for secrets that no identity opens.
pub struct Input {
    /// Where it is.
    pub project: Project,
    /// Its servers and groups.
    pub inventory: Inventory,
    /// Its secrets.
    pub store: Store,
}

impl Input {
    /// Reads the project that the context names or the current folder belongs to.
    pub fn load(args: &InputArgs, context: &Context) -> anyhow::Result<Self> {
        let project = context.project()?;
        let inventory = Inventory::load(&project, args.lab, &args.set)?;
        let store = Store::open_leniently(&project.root, args.lab, &context.identity);
        Ok(Self { project, inventory, store })
    }
}
