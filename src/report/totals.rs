//! The events of one server, counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind};
use crate::events::{Event, Mark, Memory, Outcome, ServiceAction};
use crate::exit_code::ExitCode;
use crate::manifest::ResourceId;
use crate::resources::{Change, FieldChange};

/// What was found or done on one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// What the check found, for each resource.
    pub(super) plan: Counts,
    /// What the apply did, for each resource.
    pub(super) applied: Counts,
    /// What the host remembers of earlier runs.
    pub(super) memory: Memory,
    /// Whether it is the apply that made a reboot necessary.
    pub(super) is_reboot_new: bool,
    /// Services that the plan would reload or restart.
    pub(super) due: BTreeMap<ResourceId, ServiceAction>,
    /// Whether two revisions differ in the server itself, beside its resources.
    is_declared_otherwise: bool,
    /// Services that should run and do not.
    pub(super) down: Vec<ResourceId>,
    /// Whether an apply began.
    pub(super) is_applying: bool,
    /// Resources that were not applied because another one failed.
    pub(super) skipped: Vec<ResourceId>,
    /// Resources that were changed and then put back.
    pub(super) put_back: BTreeSet<ResourceId>,
    /// What failed; `None` stands for the server itself.
    pub(super) failures: Vec<(Option<ResourceId>, Error)>,
}

/// How many resources came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// As they should be.
    pub(super) ok: usize,
    /// To create.
    pub(super) create: usize,
    /// To change, or changed (whatever the change was).
    pub(super) change: usize,
    /// To remove.
    pub(super) remove: usize,
    /// No longer declared, and left as they are.
    pub(super) released: usize,
    /// No longer declared, and not to be taken away now.
    pub(super) staying: usize,
    /// Those of the others that somebody changed on the server.
    pub(super) drifted: usize,
    /// Known only after another one.
    pub(super) unknown: usize,
    /// Verified only after the changes.
    pub(super) deferred: usize,
    /// Not applied because another one failed.
    pub(super) skipped: usize,
    /// Failed.
    pub(super) failed: usize,
}

/// How one server stands at the end of a run, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing was to do.
    Ok,
    /// The apply changed something.
    Changed,
    /// An apply would change something.
    ToChange,
    /// Another run holds its lock.
    Locked,
    /// Nobody got in.
    Unreachable,
    /// Something failed.
    Failed,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Changed(Change::Create(_)) => &mut self.create,
            Outcome::Changed(Change::Update(_)) => &mut self.change,
            Outcome::Changed(Change::Remove) => &mut self.remove,
            Outcome::Released { .. } => &mut self.released,
            Outcome::Stays { .. } => &mut self.staying,
            Outcome::Unknown { .. } | Outcome::Untrusted => &mut self.unknown,
            Outcome::Deferred => &mut self.deferred,
            Outcome::Skipped { .. } => &mut self.skipped,
            Outcome::Failed(_) => &mut self.failed,
        };
        *count += 1;
    }

    /// All resources.
    pub(super) fn all(&self) -> usize {
        let known = self.ok + self.changed() + self.released + self.staying;
        known + self.unknown + self.deferred + self.skipped + self.failed
    }

    /// Those with which an apply has something to do, or may have.
    pub(super) fn pending(&self) -> usize {
        self.changed() + self.released + self.staying + self.unknown
    }

    /// Those that were or will be changed, in whatever way.
    pub(super) fn changed(&self) -> usize {
        self.create + self.change + self.remove
    }
}

impl Totals {
    /// Counts an event.
    pub(super) fn add(&mut self, event: &Event) {
        match event {
            Event::Remembered(memory) => {
                self.memory = (**memory).clone();
                self.is_reboot_new = self.is_applying;
            }
            Event::Checked { id, outcome, mark } => {
                self.plan.add(outcome);
                let is_drift = matches!(mark, Some(Mark::Drift | Mark::AlsoDrift));
                self.plan.drifted += usize::from(is_drift);
                self.note_failure(id, outcome);
                if is_down(id, outcome) {
                    self.down.push(id.clone());
                }
            }
            Event::Declared { .. } => self.is_declared_otherwise = true,
            Event::ServiceDue { id, action } => {
                self.due.insert(id.clone(), *action);
            }
            Event::Applying { .. } => self.begin(),
            Event::Applied { id, outcome } => {
                self.begin();
                self.applied.add(outcome);
                if matches!(outcome, Outcome::Skipped { .. }) {
                    self.skipped.push(id.clone());
                }
                self.note_failure(id, outcome);
            }
            Event::RolledBack { id, error: None } => {
                self.put_back.insert(id.clone());
            }
            Event::ServiceDone { id, error: Some(error), .. }
            | Event::RolledBack { id, error: Some(error) } => {
                self.failures.push((Some(id.clone()), error.clone()));
            }
            Event::Reverted { error } | Event::Aborted { error } => {
                self.failures.push((None, error.clone()));
            }
            _ => {}
        }
    }

    /// The run ended early: what was not reached of `all` resources was skipped.
    pub(super) fn skip_rest(&mut self, all: usize) {
        if self.is_applying {
            self.applied.skipped += all.saturating_sub(self.applied.all());
        }
    }

    /// From now on only what the apply meets counts as a failure: it checks everything again.
    fn begin(&mut self) {
        if !self.is_applying {
            self.is_applying = true;
            self.failures.clear();
        }
    }

    fn note_failure(&mut self, id: &ResourceId, outcome: &Outcome) {
        if let Outcome::Failed(error) = outcome {
            self.failures.push((Some(id.clone()), error.clone()));
        }
    }

    /// Whether there is anything to tell beside "as it should be".
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_changes() && self.failures.is_empty() && self.memory.reboot.is_none()
    }

    /// Whether an apply would do anything.
    pub(super) fn has_changes(&self) -> bool {
        let plan = self.plan;
        !self.due.is_empty() || self.is_declared_otherwise || plan.pending() + plan.deferred > 0
    }

    /// Whether an apply would note something on the server even where nothing changes.
    pub(super) fn is_outdated(&self) -> bool {
        self.memory.is_outdated
    }

    /// How the server stands.
    pub(super) fn standing(&self) -> Standing {
        let worst = self.failures.iter().map(|(id, error)| match (id, error.kind) {
            (None, Kind::Unreachable) => Standing::Unreachable,
            (None, Kind::Locked) => Standing::Locked,
            _ => Standing::Failed,
        });
        let well = match self.is_applying {
            true if self.applied.changed() + self.applied.released + self.due.len() > 0 => {
                Standing::Changed
            }
            false if self.has_changes() => Standing::ToChange,
            _ => Standing::Ok,
        };
        worst.fold(well, Standing::max)
    }

    /// How a `diff` of this server ends.
    pub(super) fn exit_code(&self) -> ExitCode {
        let failed = self.failures.iter().map(|(id, error)| match (id, error.kind) {
            // Whatever is wrong with one resource, it is that resource that failed.
            (Some(_), _) | (None, Kind::ToolMissing) => ExitCode::Failed,
            (None, kind) => kind.into(),
        });
        let pending = if !self.is_applying && self.has_changes() {
            ExitCode::Pending
        } else {
            ExitCode::Done
        };
        failed.fold(pending, ExitCode::merge)
    }
}

/// Whether this is a service that should run and does not.
fn is_down(id: &ResourceId, outcome: &Outcome) -> bool {
    let Outcome::Changed(Change::Update(fields)) = outcome else { return false };
    let is_down = |field: &FieldChange| {
        field.field == "running" && field.desired == true.into() && !field.only_waits()
    };
    id.kind() == "service" && fields.iter().any(is_down)
}
