//! Plans in files: `infra diff --out FILE` writes one, `infra apply --plan FILE` applies it.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::Context;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::manifest::Manifest;
use crate::report::{self, Report};
use crate::saved_plan::{SavedPlan, SavedServer, Seen, Way, no_plan};
use crate::secrets::{Folder, PLANS_FILE, PlanKey, write};
use crate::session::{Session, Targets};
use crate::shown;
use crate::wire::RunOptions;

/// How an encrypted file begins; a larger file that begins otherwise is not read to its end.
const BEGINNING: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The largest plan that is read, in bytes.
const LARGEST_BYTES: u64 = 1 << 30;

/// How far the clocks of two machines may differ, in seconds.
const CLOCKS: u64 = 300;

/// A plan that is to be saved once it is made.
pub(super) struct Saving {
    path: PathBuf,
    folder: Folder,
    key: PlanKey,
    valid_seconds: u32,
    secret_files: Vec<String>,
    servers: Vec<(Arc<Manifest>, Way)>,
    options: RunOptions,
    is_lab: bool,
}

/// A plan that was saved.
pub(super) struct Saved {
    plan: SavedPlan,
    path: String,
    /// The people that can have made it, in words.
    makers: String,
}

impl Saving {
    /// Makes sure, before any server is asked, that there is somebody to encrypt to and a key to
    /// seal with; makes the key if there is none.
    ///
    /// # Errors
    /// If there is nobody who may read all of it; if the key cannot be read.
    pub(super) fn prepare(
        path: &Path,
        valid_seconds: u32,
        session: &Session,
        is_lab: bool,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let folder = Folder::new(&context.project()?.root, &context.identity);
        let mut secret_files = session.secret_files.clone();
        if !is_lab {
            secret_files.push(PLANS_FILE.to_owned());
        }
        folder.wrap(&path.display().to_string(), "", &secret_files)?;
        let key = if is_lab { PlanKey::of_lab() } else { key_of(&folder)? };
        let ways = session.servers().map(|server| (&server.manifest, Way::from(&server.ssh)));
        let servers = ways.map(|(manifest, way)| (Arc::clone(manifest), way)).collect();
        let (path, options) = (path.to_owned(), session.options().clone());
        Ok(Self { path, folder, key, valid_seconds, secret_files, servers, options, is_lab })
    }

    /// Writes the plan, unless the check of a server did not come to a good end.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn save(self, mut seen: BTreeMap<String, Seen>) -> Result<()> {
        let path = self.path.display();
        let mut servers = Vec::new();
        for (manifest, way) in &self.servers {
            let seen = seen.remove(&manifest.server).unwrap_or_default();
            if !seen.is_sound() {
                report::note(&format!("`{path}` was not written: not everything could be checked"));
                return Ok(());
            }
            servers.push(SavedServer { manifest: (**manifest).clone(), seen, way: way.clone() });
        }
        let made = now();
        let times = (made, made.saturating_add(self.valid_seconds.into()));
        let plan = SavedPlan::new(self.options.clone(), servers, times, self.is_lab);
        let text = plan.text(&self.key)?;
        let bytes = self.folder.wrap(&path.to_string(), &text, &self.secret_files)?;
        write::create(&self.path, &bytes)?;
        let lab = if self.is_lab { " --lab" } else { "" };
        report::note(&format!(
            "the plan is in `{path}`: `infra apply --plan {path}{lab}` applies it, until {}",
            report::moment(times.1)
        ));
        Ok(())
    }
}

impl Saved {
    /// Reads a plan, and makes sure that it was made for this project by somebody who may, and
    /// not too long ago.
    ///
    /// # Errors
    /// If the file is something else, nobody here may read it, or another build made it; if its
    /// seal is wrong; if it has expired.
    pub(super) fn open(path: &Path, is_lab: bool, context: &Context) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let bytes = read(path, &shown)?;
        let folder = Folder::new(&context.project()?.root, &context.identity);
        let text = folder.unwrap_own(&shown, &bytes, is_lab)?;
        let key = if is_lab { PlanKey::of_lab() } else { known_key(&folder, &shown)? };
        let plan = SavedPlan::parse(&shown, &text, &key)?;
        if plan.header.is_lab != is_lab {
            let (is, hint) = if is_lab {
                ("real servers", "apply it without `--lab`")
            } else {
                ("servers of the lab", "apply it with `--lab`")
            };
            let error = Error::input(format!("the plan in `{shown}` is for {is}"));
            return Err(error.hint(hint).into());
        }
        let saved = Self { plan, path: shown, makers: makers(&folder, is_lab) };
        saved.check_time(now())?;
        Ok(saved)
    }

    /// When the plan was made, by whom, and how that is known.
    pub(super) fn announced(&self) -> String {
        let (path, header) = (&self.path, &self.plan.header);
        let (made, who) = (report::moment(header.made), shown::name(&header.who));
        let commit = report::short_commit(header.commit.as_deref());
        format!("the plan in `{path}`: made {made} by {who}, commit {commit}\n{}", self.makers)
    }

    /// Refuses a plan that is too old at `now`, in seconds since 1970, or that was made later.
    fn check_time(&self, now: u64) -> Result<()> {
        let (path, header) = (&self.path, &self.plan.header);
        let moment = report::moment;
        if now > header.expires {
            return Err(Error::input(format!("the plan in `{path}` has expired"))
                .because(format!("it could be applied until {}", moment(header.expires)))
                .hint("make a new plan with `infra diff TARGET --out FILE`"));
        }
        if header.made > now.saturating_add(CLOCKS) {
            let cause = format!("it was made {}, and it is {}", moment(header.made), moment(now));
            return Err(Error::input(format!("the plan in `{path}` is from the future"))
                .because(cause)
                .hint("set the clock of this machine, or make a new plan"));
        }
        Ok(())
    }

    /// A session about its servers. `options` says who applies it.
    ///
    /// # Errors
    /// If one of them is not in the inventory any more, or is reached in another way.
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
        let session = targets.restore(context, manifests, options)?;
        for (server, saved) in session.servers().zip(&self.plan.servers) {
            let differences = saved.way.differences(&Way::from(&server.ssh));
            if let Some((first, ..)) = differences.first() {
                let name = &server.manifest.server;
                let error = format!("the plan in `{}` is for another `{name}`", self.path);
                return Err(Error::input(error)
                    .because(format!("`{first}` in its inventory has changed since"))
                    .hint("make a new plan with `infra diff TARGET --out FILE`")
                    .into());
            }
        }
        Ok(session)
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

/// The bytes of a file that begins as a plan does.
fn read(path: &Path, shown: &str) -> Result<Vec<u8>> {
    let cannot = |error| Error::input(format!("cannot read `{shown}`")).because(error);
    let mut file = std::fs::File::open(path).map_err(cannot)?.take(LARGEST_BYTES);
    let mut bytes = vec![0; BEGINNING.len()];
    file.read_exact(&mut bytes).map_err(|_| no_plan(shown))?;
    if bytes != BEGINNING {
        return Err(no_plan(shown));
    }
    file.read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// The key of the project, which is made where there is none.
fn key_of(folder: &Folder) -> Result<PlanKey> {
    if let Some(key) = folder.plan_key()? {
        return Ok(key);
    }
    let path = Folder::shown(PLANS_FILE);
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        // A key that goes with the machine of a job seals nothing that anybody can apply.
        return Err(Error::input(format!("cannot seal a plan: `{path}` is not there"))
            .hint("make a plan on your own machine once, and commit the file"));
    }
    let key = folder.make_plan_key()?;
    let readers = folder.readers(PLANS_FILE)?.join(", ");
    report::note(&format!(
        "made `{path}`, the key that tells your plans from those of others, read by {readers}: \
         commit it"
    ));
    Ok(key)
}

/// The key of the project, which has to be there.
fn known_key(folder: &Folder, plan: &str) -> Result<PlanKey> {
    folder.plan_key()?.ok_or_else(|| {
        let key = Folder::shown(PLANS_FILE);
        Error::input(format!("cannot tell who made `{plan}`"))
            .because(format!("`{key}` is not there"))
            .hint("the first `infra diff TARGET --out FILE` makes it: commit it then")
    })
}

/// Says who can have made a plan, and how that is known.
fn makers(folder: &Folder, is_lab: bool) -> String {
    if is_lab {
        return "  anybody can have made it: the lab's key is public".to_owned();
    }
    let bytes = folder.bytes(PLANS_FILE).ok().flatten().unwrap_or_default();
    let names = folder.names_of_readers(PLANS_FILE, &bytes);
    format!(
        "  its seal says that it was made by somebody who reads `{}` ({}) and is unchanged; \
         the rest is as they say",
        Folder::shown(PLANS_FILE),
        names.join(", ")
    )
}

/// The time in seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
