//! What the agent tells the laptop while it works. Only `report/` turns these into text.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::manifest::ResourceId;
use crate::resources::{Change, Facts, FieldChange};

/// One thing that happened on a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The agent runs and holds what it needs; the facts of its host.
    Started {
        /// What the host is.
        facts: Facts,
    },
    /// What the host remembers of earlier runs; told before anything is checked.
    Remembered(Box<Memory>),
    /// The last runs, oldest first: the answer to [`Request::History`](crate::wire::Request).
    History(Vec<RunRecord>),
    /// A resource was looked at, before anything changes.
    Checked {
        /// The resource.
        id: ResourceId,
        /// What would happen to it.
        outcome: Outcome,
        /// Why, where it is not the inventory that changed.
        mark: Option<Mark>,
    },
    /// A service that would be reloaded or restarted by the changes of the plan.
    ServiceDue {
        /// The service.
        id: ResourceId,
        /// What would be done to it.
        action: ServiceAction,
    },
    /// Packages that apt would remove with those that go, because they depend on them.
    AlsoRemoved {
        /// Their names, sorted.
        packages: Vec<String>,
    },
    /// Every resource was looked at: the plan is complete.
    PlanComplete,
    /// Work on a resource that needs a change has begun.
    Applying {
        /// The resource.
        id: ResourceId,
    },
    /// How far a long step is, as the program that does it says.
    Progress {
        /// The resource in hand.
        id: ResourceId,
        /// Between 0 and 100, if known.
        percent: Option<f32>,
        /// What is being done, for example "Unpacking nginx (amd64)".
        message: String,
    },
    /// A resource was applied, or skipped, or failed.
    Applied {
        /// The resource.
        id: ResourceId,
        /// What happened to it.
        outcome: Outcome,
    },
    /// A service was reloaded or restarted.
    ServiceDone {
        /// The service.
        id: ResourceId,
        /// What was done to it.
        action: ServiceAction,
        /// `None` when it worked.
        error: Option<Error>,
    },
    /// Something was put back as it was, because what depended on it failed.
    RolledBack {
        /// The resource that was put back.
        id: ResourceId,
        /// `None` when it worked.
        error: Option<Error>,
    },
    /// A guarded change is live: a new connection has to prove that it locks nobody out.
    ProofWanted {
        /// What changed.
        ids: Vec<ResourceId>,
        /// How long it stays without a proof.
        seconds: u32,
    },
    /// The proof came: what is guarded stays.
    Proved {
        /// What changed.
        ids: Vec<ResourceId>,
    },
    /// No proof came: what is guarded is put back, and `RolledBack` tells of each.
    Reverted {
        /// The reason of the refusal.
        error: Error,
    },
    /// Something that a revision declares otherwise of the server itself, beside its resources.
    Declared {
        /// A lowercase phrase.
        message: String,
    },
    /// Something to tell that is no failure.
    Warning {
        /// A lowercase phrase.
        message: String,
    },
    /// The run is over; nothing follows.
    Finished,
    /// The run cannot go on; nothing follows.
    Aborted {
        /// Why.
        error: Error,
    },
}

impl Event {
    /// The bytes of contents in it.
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::Checked { outcome: Outcome::Changed(change), .. }
            | Self::Applied { outcome: Outcome::Changed(change), .. } => change.content_bytes(),
            _ => 0,
        }
    }
}

/// What a check found or an apply did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Already as it should be.
    Ok,
    /// Not as it should be (checked), or made so (applied).
    Changed(Change),
    /// Cannot be known before another resource is applied.
    Unknown {
        /// The resource after which it can be known.
        after: ResourceId,
    },
    /// The server was not asked: nobody trusts the change that names the resource yet.
    Untrusted,
    /// A verification (`http_check`, `port_check`) that makes sense only after the changes.
    Deferred,
    /// Not applied, because another one failed.
    Skipped {
        /// The resource that failed.
        because: ResourceId,
    },
    /// No longer declared and left as it is: from now on infra does not look at it any more.
    Released {
        /// Why it stays, as a lowercase phrase: "it holds data".
        because: String,
    },
    /// No longer declared, and cannot go now: the next run tries again.
    Stays {
        /// The obstacle, as a lowercase phrase.
        because: String,
    },
    /// Could not be checked or applied.
    Failed(Error),
}

impl Outcome {
    /// What a plan expects of the resource, for messages about plans that differ.
    pub fn expectation(&self) -> &'static str {
        match self {
            Self::Ok => "as it should be",
            Self::Changed(Change::Create(_)) => "to be created",
            Self::Changed(Change::Update(_)) => "to be changed",
            Self::Changed(Change::Remove) => "to be removed",
            Self::Released { .. } => "to be left alone from now on",
            Self::Stays { .. } => "to stay for now",
            Self::Unknown { .. } | Self::Untrusted => "to be known later",
            Self::Deferred => "to be verified later",
            Self::Skipped { .. } => "to be skipped",
            Self::Failed(_) => "not to be checked",
        }
    }

    /// Whether the resource is as this plan says, by a newer look at it: apart from services that
    /// have come up by themselves or only have to be waited for.
    pub fn still_holds(&self, found: &Self) -> bool {
        let found = found.without(FieldChange::only_waits);
        self.without(FieldChange::only_waits) == found
            || self.without(FieldChange::only_starts) == found
            // A thing that cannot go now may be able to a moment later, and the other way round.
            || matches!(
                (self, &found),
                (Self::Stays { .. }, Self::Stays { .. } | Self::Changed(Change::Remove))
                    | (Self::Changed(Change::Remove), Self::Stays { .. })
            )
            // "Change or ok" was shown, because a service was still starting.
            || matches!(self, Self::Unknown { .. }) && found == Self::Ok
    }

    /// Whether somebody else has started the service since the plan.
    pub fn came_up(&self, found: &Self) -> bool {
        let starts = |outcome: &Self| {
            let outcome = outcome.without(FieldChange::only_waits);
            outcome.without(FieldChange::only_starts) != outcome
        };
        starts(self) && !starts(found) && self.still_holds(found)
    }

    /// Whether the service does not run, unlike at the plan, and systemd is about to start it again.
    pub fn fell(&self, found: &Self) -> bool {
        !self.still_holds(found) && self.still_holds(&found.without(FieldChange::only_restarts))
    }

    /// The outcome without some of the fields that would change.
    fn without(&self, leave_out: fn(&FieldChange) -> bool) -> Self {
        let Self::Changed(Change::Update(fields)) = self else { return self.clone() };
        let rest: Vec<_> = fields.iter().filter(|field| !leave_out(field)).cloned().collect();
        if rest.is_empty() { Self::Ok } else { Self::Changed(Change::Update(rest)) }
    }
}

/// Why a resource would change, where it is not the inventory that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The inventory asks for what was applied last; somebody changed the server since.
    Drift,
    /// The inventory changed, and so did the server since the last apply.
    AlsoDrift,
    /// No longer declared: it goes.
    Undeclared,
    /// No longer declared: what was there before infra comes back.
    Restored,
}

/// What a host remembers between runs, as far as a preview is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Grows with every apply: a plan that was made at another number is stale.
    pub serial: u64,
    /// The last apply that ended.
    pub last_run: Option<RunRecord>,
    /// An apply that was cut and did not even note its end.
    pub cut_run: Option<RunRecord>,
    /// Reloads and restarts that earlier runs asked for and did not reach.
    pub owed: Vec<(ResourceId, ServiceAction)>,
    /// Tells this machine from others: a hash of its machine id; empty if it has none.
    pub machine: String,
    /// Whether it remembers things under names that are no longer declared, so that an apply has
    /// something to note even where nothing changes.
    pub is_outdated: bool,
    /// Why the host should be rebooted, as a lowercase phrase; `None` if nothing asks for it.
    pub reboot: Option<String>,
    /// The units that have failed, where they were asked for; the last to fail comes first.
    pub failed_units: Vec<FailedUnit>,
    /// The sites that show visitors a maintenance page, by their names.
    pub maintenance: Vec<Maintenance>,
}

/// A site that shows visitors a maintenance page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Its domain.
    pub site: String,
    /// When that began, in seconds since 1970; `None` where nobody noted the time.
    pub since: Option<u64>,
}

/// A unit of systemd that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedUnit {
    /// Its name, with the suffix.
    pub name: String,
    /// When it failed last, in seconds since 1970; `None` where systemd does not say.
    pub since: Option<u64>,
    /// Whether systemd is about to start it again.
    pub is_restarted: bool,
}

/// One apply, as the host remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Counts the applies on this host.
    pub serial: u64,
    /// Who ran it: `user@laptop`.
    pub who: String,
    /// The git commit of the project, with `-dirty` if the work tree differed.
    pub commit: Option<String>,
    /// Whether it was narrowed by `--only` or `--skip`.
    pub is_partial: bool,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// When it ended, likewise; `None` while it runs and after it was cut.
    pub ended: Option<u64>,
    /// How it ended.
    pub end: RunEnd,
    /// How many resources it created or changed.
    pub changed: u32,
    /// How many resources it removed.
    pub removed: u32,
    /// How many resources failed.
    pub failed: u32,
}

/// How an apply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// It did not say: it still runs, or it was cut.
    Cut,
    /// Everything is as declared.
    Done,
    /// A resource or a service failed.
    Failed,
    /// The user, or the end of the connection, stopped it.
    Interrupted,
    /// A change of the way in was undone, because nobody proved that it works.
    Reverted,
}

/// What is done to a service whose configuration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServiceAction {
    /// `systemctl reload`.
    Reload,
    /// `systemctl restart`.
    Restart,
}
