//! What the agent tells the laptop while it works. Only `report/` turns these into text.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::manifest::ResourceId;
use crate::resources::{Change, Facts};

/// One thing that happened on a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The agent runs and holds what it needs; the facts of its host.
    Started {
        /// What the host is.
        facts: Facts,
    },
    /// A resource was looked at, before anything changes.
    Checked {
        /// The resource.
        id: ResourceId,
        /// What would happen to it.
        outcome: Outcome,
    },
    /// A service that would be reloaded or restarted by the changes of the plan.
    ServiceDue {
        /// The service.
        id: ResourceId,
        /// What would be done to it.
        action: ServiceAction,
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
    /// A verification (`http_check`, `port_check`) that makes sense only after the changes.
    Deferred,
    /// Not applied, because another one failed.
    Skipped {
        /// The resource that failed.
        because: ResourceId,
    },
    /// Could not be checked or applied.
    Failed(Error),
}

/// What is done to a service whose configuration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServiceAction {
    /// `systemctl reload`.
    Reload,
    /// `systemctl restart`.
    Restart,
}
