//! Repositories that root fetched with a credential, for a work tree of another user.

use sha2::{Digest as _, Sha256};

use super::Git;
use crate::error::Result;
use crate::resources::system::{Attributes, System, run_checked};

/// Repositories that root fetched with a credential, by the hash of the work tree's path.
const MIRRORS: &str = "/var/lib/infra/git";
const STATE_FOLDER: &str = "/var/lib/infra";

/// Where another user's git takes from there, one file at a time.
const BUNDLES: &str = "/var/cache/infra-git";

impl Git {
    /// Root's repository for this work tree.
    pub(super) fn mirror(&self) -> String {
        format!("{MIRRORS}/{}", self.mirror_name())
    }

    /// The name of root's repository for this work tree: made of its path.
    fn mirror_name(&self) -> String {
        format!("{:.32x}", Sha256::digest(self.path.as_str()))
    }

    /// Fetches with the credential into a repository of root's, and returns the path of a file
    /// that holds all of it and that the user of the work tree can read.
    pub(super) fn fetch_as_root(&self, group: &str, system: &mut dyn System) -> Result<String> {
        let own = Self { user: "root".to_owned(), ..self.clone() };
        for folder in [STATE_FOLDER, MIRRORS] {
            system.make_directory(folder, &Attributes::new("root", "root", 0o700))?;
        }
        system.make_directory(BUNDLES, &Attributes::new("root", "root", 0o755))?;
        let name = self.mirror_name();
        let mirror = format!("{MIRRORS}/{name}");
        system.make_directory(&mirror, &Attributes::new("root", "root", 0o700))?;
        run_checked(system, &own.command(&mirror, &["init", "--quiet", "--bare"]))?;
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let fetch = ["fetch", "--quiet", "--force", "--prune", "--", &self.repository];
        run_checked(system, &own.remote(&mirror, &[&fetch[..], &all].concat()))?;
        let packed = format!("{mirror}/infra-bundle");
        let pack = ["bundle", "create", "--quiet", &packed, "--all"];
        run_checked(system, &own.command(&mirror, &pack))?;
        let bundle = format!("{BUNDLES}/{name}");
        let copied = system.copy_file(&packed, &bundle, &Attributes::new(&self.user, group, 0o400));
        system.remove_file(&packed)?;
        copied.map(|()| bundle)
    }
}
