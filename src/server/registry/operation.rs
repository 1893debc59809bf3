//! What the registry holds about operations.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tenant;
use crate::contract::admin::{OperationRecord, OperationState, OperationStep, PlannedStep};
use crate::contract::wire::ConnectionSettings;
use crate::contract::{ServiceName, Slug, TenantId};
use crate::provision::Step;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// Make or repair databases.
    Provision,
    /// Change limits on the roles, then the settings handed out.
    Update,
    /// Prepare, prove and hand out new credentials.
    Rotate,
    /// Close the login that was handed out before a rotation.
    Retire,
    /// Remove a service.
    Remove,
    /// Remove a tenant with everything it has.
    Purge,
}

impl OperationKind {
    /// Returns the wire word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Retire => "retire",
            Self::Remove => "remove",
            Self::Purge => "purge",
        }
    }

    /// Understands the wire word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Provision,
            Self::Update,
            Self::Rotate,
            Self::Retire,
            Self::Remove,
            Self::Purge,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// Parameters of an operation that its steps need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Parameters {
    /// Seconds that the login before stays valid after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grace_seconds: Option<u64>,
    /// Settings to apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<ConnectionSettings>,
    /// Whether data goes too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drop_data: bool,
    /// Act even if an event was not published yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) immediate: bool,
    /// The request that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// The request that something came of, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Origin {
    /// Its id.
    pub(crate) request: String,
    /// Its span, as in a `traceparent` header.
    pub(crate) span: String,
}

impl Origin {
    /// Returns the id of the trace.
    pub(crate) fn trace(&self) -> &str {
        self.span.split('-').nth(1).unwrap_or_default()
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "work")]
pub(crate) enum Work {
    /// A step on a cluster, with the credentials of `version`.
    Cluster {
        /// Service.
        service: ServiceName,
        /// Module.
        module: String,
        /// What to do.
        apply: Step,
        /// Version of the credentials it needs.
        version: u32,
    },
    /// Hand out a provisioned service.
    Activate {
        /// Service.
        service: ServiceName,
        /// Version of the credentials.
        version: u32,
        /// Modules that become ready.
        modules: Vec<String>,
    },
    /// Hand out new credentials.
    HandOut {
        /// Service.
        service: ServiceName,
        /// Their version.
        version: u32,
    },
    /// Forget retired credentials.
    Retired {
        /// Service.
        service: ServiceName,
        /// Their version.
        version: u32,
    },
    /// Hand out new pool settings.
    Settings {
        /// Service.
        service: ServiceName,
    },
    /// Wait a moment for the events of the change to be published.
    AwaitEvents,
    /// Note what was removed.
    Removed {
        /// Service.
        service: ServiceName,
    },
}

impl Work {
    /// Returns the module that the step belongs to; steps of different modules run side by side.
    pub(crate) fn lane(&self) -> Option<(&ServiceName, &str)> {
        match self {
            Self::Cluster {
                service, module, ..
            } => Some((service, module)),
            _ => None,
        }
    }

    /// Returns the service that the step belongs to; services are worked on side by side, and a
    /// step of none waits for all before it.
    pub(crate) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Cluster { service, .. }
            | Self::Activate { service, .. }
            | Self::HandOut { service, .. }
            | Self::Retired { service, .. }
            | Self::Settings { service }
            | Self::Removed { service } => Some(service),
            Self::AwaitEvents => None,
        }
    }
}

/// A step to record.
#[derive(Debug, Clone)]
pub(crate) struct NewStep {
    /// What it does.
    pub(crate) work: Work,
    /// How it is shown.
    pub(crate) planned: PlannedStep,
}

/// An operation to begin.
#[derive(Debug, Clone)]
pub(crate) struct NewOperation {
    /// UUID of version 7.
    pub(crate) id: String,
    /// What for.
    pub(crate) kind: OperationKind,
    /// Services concerned.
    pub(crate) services: Vec<ServiceName>,
    /// Steps in order.
    pub(crate) steps: Vec<NewStep>,
    /// Parameters.
    pub(crate) parameters: Parameters,
    /// Not before this time.
    pub(crate) not_before: Option<Timestamp>,
    /// What it waits for.
    pub(crate) note: Option<String>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
}

impl NewOperation {
    /// Builds an operation with a new id.
    pub(crate) fn new(
        kind: OperationKind,
        services: Vec<ServiceName>,
        steps: Vec<NewStep>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            services,
            steps,
            parameters: Parameters::default(),
            not_before: None,
            note: None,
            created_at,
        }
    }

    /// Returns the record that operators see, before anything was done.
    pub(crate) fn record(&self, tenant: &Tenant) -> OperationRecord {
        OperationRecord {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            tenant_id: tenant.id.clone(),
            tenant_slug: tenant.slug.clone(),
            services: self.services.clone(),
            state: OperationState::Pending,
            steps: self
                .steps
                .iter()
                .map(|step| OperationStep {
                    action: step.planned.action.clone(),
                    target: step.planned.target.clone(),
                    state: OperationState::Pending,
                    detail: String::new(),
                })
                .collect(),
            error: self.note.clone(),
            attempts: 0,
            created_at: self.created_at,
            updated_at: self.created_at,
        }
    }
}

/// A recorded operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Order among all operations.
    pub(crate) sequence: i64,
    /// UUID of version 7.
    pub(crate) id: String,
    /// What for.
    pub(crate) kind: OperationKind,
    /// Tenant.
    pub(crate) tenant_id: TenantId,
    /// Slug of the tenant.
    pub(crate) tenant_slug: Slug,
    /// Services concerned.
    pub(crate) services: Vec<ServiceName>,
    /// State.
    pub(crate) state: OperationState,
    /// Steps in order.
    pub(crate) steps: Vec<StepRow>,
    /// Parameters.
    pub(crate) parameters: Parameters,
    /// Why it failed, or what it waits for.
    pub(crate) error: Option<String>,
    /// Times it was taken up.
    pub(crate) attempts: u32,
    /// Setbacks in a row.
    pub(crate) failures: u32,
    /// Not before this time.
    pub(crate) not_before: Option<Timestamp>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// When it last changed.
    pub(crate) updated_at: Timestamp,
}

impl Operation {
    /// Returns the positions of the steps that can be begun now: the first one left of each
    /// module, up to the first step that waits for all before it.
    pub(crate) fn ready_steps(&self) -> Vec<u32> {
        let mut lanes = Vec::new();
        let mut blocked = Vec::new();
        let mut ready = Vec::new();
        for step in &self.steps {
            if step.state == OperationState::Succeeded {
                continue;
            }
            let service = step.work.service();
            let lane = step.work.lane();
            if service.is_none() {
                if ready.is_empty() && blocked.is_empty() {
                    ready.push(step.position);
                }
                break;
            }
            if lane.is_some() && lanes.contains(&lane) || blocked.contains(&service) {
                continue;
            }
            if lane.is_none() {
                // Waits for the modules of its service.
                let waits = lanes
                    .iter()
                    .flatten()
                    .any(|(other, _)| Some(*other) == service);
                blocked.push(service);
                if waits {
                    continue;
                }
            }
            lanes.push(lane);
            ready.push(step.position);
        }
        ready
    }

    /// Returns the record that operators see.
    pub(crate) fn record(&self) -> OperationRecord {
        OperationRecord {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            tenant_id: self.tenant_id.clone(),
            tenant_slug: self.tenant_slug.clone(),
            services: self.services.clone(),
            state: self.state,
            steps: self
                .steps
                .iter()
                .map(|step| OperationStep {
                    action: step.action.clone(),
                    target: step.target.clone(),
                    state: step.state,
                    detail: step.detail.clone(),
                })
                .collect(),
            error: self.error.clone(),
            attempts: self.attempts,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// A recorded step.
#[derive(Debug, Clone)]
pub(crate) struct StepRow {
    /// Position in the operation.
    pub(crate) position: u32,
    /// What it does.
    pub(crate) work: Work,
    /// How it is shown.
    pub(crate) action: String,
    /// How its target is shown.
    pub(crate) target: String,
    /// State.
    pub(crate) state: OperationState,
    /// What was found or proved.
    pub(crate) detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(position: u32, work: Work, state: OperationState) -> StepRow {
        StepRow {
            position,
            work,
            action: String::new(),
            target: String::new(),
            state,
            detail: String::new(),
        }
    }

    #[test]
    fn modules_begin_side_by_side_and_what_waits_for_them_does_not() {
        use OperationState::{Pending, Succeeded};
        let cluster = |service: &str, module: &str| Work::Cluster {
            service: service.parse().unwrap(),
            module: module.to_owned(),
            apply: Step::Prepare,
            version: 1,
        };
        let activate = |service: &str| Work::Activate {
            service: service.parse().unwrap(),
            version: 1,
            modules: Vec::new(),
        };
        let works = [
            Work::AwaitEvents,
            cluster("ledger", "onboarding"),
            cluster("ledger", "onboarding"),
            cluster("ledger", "transaction"),
            activate("ledger"),
            cluster("tracer", "tracer"),
            activate("tracer"),
            activate("reporter"),
        ];
        let ready = |done: &[u32]| {
            let steps = (0..)
                .zip(works.clone())
                .map(|(at, work)| {
                    let state = if done.contains(&at) {
                        Succeeded
                    } else {
                        Pending
                    };
                    step(at, work, state)
                })
                .collect();
            let at = crate::server::registry::model::now();
            Operation {
                sequence: 1,
                id: String::new(),
                kind: OperationKind::Provision,
                tenant_id: TenantId::generate(),
                tenant_slug: "aurora".parse().unwrap(),
                services: Vec::new(),
                state: OperationState::Running,
                steps,
                parameters: Parameters::default(),
                error: None,
                attempts: 1,
                failures: 0,
                not_before: None,
                created_at: at,
                updated_at: at,
            }
            .ready_steps()
        };
        assert_eq!(ready(&[]), [0]);
        assert_eq!(ready(&[0]), [1, 3, 5, 7]);
        assert_eq!(ready(&[0, 1, 3, 5]), [2, 6, 7]);
        assert_eq!(ready(&[0, 1, 2, 3, 5, 6, 7]), [4]);
    }
}
