//! Sites that show visitors a maintenance page, whoever switched that on.

use crate::error::Result;
use crate::events::Maintenance;
use crate::resources::{FileKind, Probe};

/// Has a file for each of these sites, which holds the time in seconds since 1970. The role `nginx`
/// puts `site-maintenance` on servers, which writes them.
const FOLDER: &str = "/etc/infra/maintenance";

/// How many sites are told at most.
const MOST_SITES: usize = 200;

/// How long a file may be, in bytes.
const MOST_BYTES: u64 = 64;

/// The sites under maintenance, by their names.
///
/// # Errors
/// If the folder cannot be read.
pub fn sites(probe: &dyn Probe) -> Result<Vec<Maintenance>> {
    let mut names = probe.list(FOLDER)?.unwrap_or_default();
    // A file that is being written.
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    names.truncate(MOST_SITES);
    let mut sites = Vec::new();
    for site in names {
        let path = format!("{FOLDER}/{site}");
        let stat = probe.stat(&path)?.filter(|stat| stat.kind == FileKind::File);
        let Some(stat) = stat else { continue };
        let is_short = stat.size <= MOST_BYTES;
        let content = if is_short { probe.read(&path)?.unwrap_or_default() } else { Vec::new() };
        let since = str::from_utf8(&content).ok().and_then(|text| text.trim().parse().ok());
        sites.push(Maintenance { site, since });
    }
    Ok(sites)
}
