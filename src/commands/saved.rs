//! Plans in files: `infra diff --out FILE` writes one, `infra apply --plan FILE` applies it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::Context;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::manifest::Manifest;
use crate::report::{self, Report};
use crate::saved_plan::{SavedPlan, SavedServer, Seen, no_plan};
use crate::secrets::{Folder, write};
use crate::session::{Session, Targets};
use crate::wire::RunOptions;

/// How an encrypted file begins; a larger file that begins otherwise is not read to its end.
const BEGINNING: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A plan that is to be saved once it is made.
pub(super) struct Saving {
    path: PathBuf,
    folder: Folder,
    secret_files: Vec<String>,
    manifests: Vec<Arc<Manifest>>,
    options: RunOptions,
    is_lab: bool,
}

/// A plan that was saved.
pub(super) struct Saved {
    plan: SavedPlan,
}

impl Saving {
    /// Makes sure, before any server is asked, that there is somebody to encrypt to.
    ///
    /// # Errors
    /// If there is nobody who may read all of it.
    pub(super) fn prepare(
        path: &Path,
        session: &Session,
        is_lab: bool,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let folder = Folder::new(&context.project()?.root, &context.identity);
        let saving = Self {
            path: path.to_owned(),
            folder,
            secret_files: session.secret_files.clone(),
            manifests: session.manifests(),
            options: session.options().clone(),
            is_lab,
        };
        saving.encrypt("")?;
        Ok(saving)
    }

    fn encrypt(&self, text: &str) -> Result<Vec<u8>> {
        self.folder.wrap(&self.path.display().to_string(), text, &self.secret_files)
    }

    /// Writes the plan, unless the check of a server did not come to a good end.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(self, mut seen: BTreeMap<String, Seen>) -> Result<()> {
        let path = self.path.display();
        let mut servers = Vec::new();
        for manifest in &self.manifests {
            let seen = seen.remove(&manifest.server).unwrap_or_default();
            if !seen.is_sound() {
                report::note(&format!("`{path}` was not written: not everything could be checked"));
                return Ok(());
            }
            servers.push(SavedServer { manifest: (**manifest).clone(), seen });
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let made = since.map_or(0, |since| since.as_secs());
        let plan = SavedPlan::new(self.options.clone(), servers, made, self.is_lab);
        write::create(&self.path, &self.encrypt(&plan.text()?)?)?;
        let lab = if self.is_lab { " --lab" } else { "" };
        report::note(&format!(
            "the plan is in `{path}`: `infra apply --plan {path}{lab}` applies it"
        ));
        Ok(())
    }
}

impl Saved {
    /// Reads and decrypts a plan.
    ///
    /// # Errors
    /// If the file is something else, nobody here may read it, or another build made it.
    pub(super) fn open(path: &Path, is_lab: bool, context: &Context) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let cannot = |error| Error::input(format!("cannot read `{shown}`")).because(error);
        let bytes = std::fs::read(path).map_err(cannot)?;
        if !bytes.starts_with(BEGINNING) {
            return Err(no_plan(&shown).into());
        }
        let folder = Folder::new(&context.project()?.root, &context.identity);
        let text = folder.unwrap_own(&shown, &bytes, is_lab)?;
        let plan = SavedPlan::parse(&shown, &text)?;
        if plan.header.is_lab != is_lab {
            let (is, hint) = if is_lab {
                ("real servers", "apply it without `--lab`")
            } else {
                ("servers of the lab", "apply it with `--lab`")
            };
            let error = Error::input(format!("the plan in `{shown}` is for {is}"));
            return Err(error.hint(hint).into());
        }
        let header = &plan.header;
        report::note(&report::terminal::escape(&format!(
            "the plan in `{shown}`: made {} by {}, commit {}",
            report::moment(header.made),
            header.who,
            report::short_commit(header.commit.as_deref()),
        )));
        Ok(Self { plan })
    }

    /// A session about its servers. `options` says who applies it.
    ///
    /// # Errors
    /// If one of them is not in the inventory any more.
    pub(super) fn session(
        &self,
        targets: &Targets,
        options: RunOptions,
        context: &Context,
    ) -> anyhow::Result<Session> {
        let manifests = self.plan.servers.iter().map(|server| server.manifest.clone()).collect();
        let RunOptions { lock_wait_seconds, guard_seconds, who, .. } = options;
        let options =
            RunOptions { lock_wait_seconds, guard_seconds, who, ..self.plan.options.clone() };
        targets.restore(context, manifests, options)
    }

    /// Tells why the plan does not hold any more, if so: then no server may be changed.
    ///
    /// # Errors
    /// If it cannot be told.
    pub(super) fn refuse(
        &self,
        seen: &BTreeMap<String, Seen>,
        report: &mut Report,
    ) -> io::Result<bool> {
        let mut stale = BTreeMap::new();
        for server in &self.plan.servers {
            let name = &server.manifest.server;
            // What could not be looked at is not changed either, and says why by itself.
            let Some(now) = seen.get(name).filter(|now| now.is_complete()) else { continue };
            let differences = server.seen.differences(now, &server.manifest);
            if !differences.is_empty() {
                stale.insert(name.as_str(), differences);
            }
        }
        let Some(first) = stale.keys().next().copied() else { return Ok(false) };
        for server in &self.plan.servers {
            let name = &server.manifest.server;
            if let Some(differences) = stale.get(name.as_str()) {
                let error = Error::failed(format!("the plan of `{name}` is stale"));
                let error = differences.iter().fold(error, Error::because);
                let error = error.hint("nothing was changed; make a new plan with `infra diff`");
                report.failed(name, error)?;
            } else if !report.has_failed(name) {
                let message = format!("left as it is, because the plan of `{first}` is stale");
                report.event(name, &Event::Warning { message })?;
            }
        }
        Ok(true)
    }
}
