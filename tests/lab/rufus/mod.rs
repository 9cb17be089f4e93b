//! Rufus, the server of most sites of Flus: each test begins with a copy of the server right after
//! its first apply.

pub(crate) mod applications;
pub(crate) mod cuts;
pub(crate) mod lives;
pub(crate) mod load;
pub(crate) mod plans;
pub(crate) mod plugins;
pub(crate) mod releases;
pub(crate) mod removal;
pub(crate) mod rollback;
pub(crate) mod schema;
pub(crate) mod secrets;
pub(crate) mod sets;
pub(crate) mod settings;
pub(crate) mod sites;
