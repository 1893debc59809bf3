//! A change that is being drawn up: its plan and its commit side by side.

use serde_json::Value;

use super::Tenancy;
use super::payloads::event;
use crate::contract::admin::{Plan, PlannedStep};
use crate::contract::event::{EventType, channel};
use crate::server::registry::{
    Commit, NewOperation, NewStep, Operation, OperationKind, Tenant, Work, model::now,
};

/// What a rule decided.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything is so already.
    Unchanged(Box<Unchanged>),
    /// Something is to be done.
    Changed(Box<Draft>),
}

/// What there is to say when nothing is to be done.
#[derive(Debug)]
pub(crate) struct Unchanged {
    /// The tenant.
    pub(crate) tenant: Tenant,
    /// What is under way for it, if that is what was asked for.
    pub(crate) operation: Option<Operation>,
    /// Things the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// Says that nothing is to be done.
    pub(crate) fn unchanged(tenant: Tenant) -> Self {
        Self::under_way(tenant, None)
    }

    /// Says that nothing is to be done because `operation` does it already.
    pub(crate) fn under_way(tenant: Tenant, operation: Option<Operation>) -> Self {
        Self::Unchanged(Box::new(Unchanged {
            tenant,
            operation,
            warnings: Vec::new(),
        }))
    }

    /// Says that nothing is to be done, and what the operator should know about it.
    pub(crate) fn unchanged_with(tenant: Tenant, warnings: Vec<String>) -> Self {
        Self::Unchanged(Box::new(Unchanged {
            tenant,
            operation: None,
            warnings,
        }))
    }
}

/// A change that is being drawn up.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The tenant as it is to be, with everything that is committed with it.
    pub(crate) commit: Commit,
    /// The operation that goes on afterwards, while it is drawn up.
    pub(crate) operation: Option<NewOperation>,
    /// Whether a tenant or association is made.
    pub(crate) made: bool,
    /// Things the operator should know.
    pub(crate) warnings: Vec<String>,
    steps: Vec<PlannedStep>,
    events: Vec<EventType>,
}

impl Draft {
    /// Begins from the tenant as it is; it counts as changed now.
    pub(crate) fn new(mut tenant: Tenant) -> Self {
        tenant.updated_at = now();
        Self {
            commit: Commit::new(tenant),
            operation: None,
            made: false,
            warnings: Vec::new(),
            steps: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Returns the tenant as it is to be.
    pub(crate) fn tenant(&mut self) -> &mut Tenant {
        &mut self.commit.tenant
    }

    /// Plans something that happens at once.
    pub(crate) fn step(&mut self, action: &str, target: impl Into<String>) {
        self.steps.push(PlannedStep {
            action: action.to_owned(),
            target: target.into(),
            sql: Vec::new(),
        });
    }

    /// Publishes an event with the change itself.
    pub(crate) fn event(&mut self, event_type: EventType, payload: Option<Value>) {
        self.events.push(event_type);
        let event = event(&self.commit.tenant, event_type, payload);
        self.commit.events.push(event);
    }

    /// Announces an event that a step of the operation will publish.
    pub(crate) fn later_event(&mut self, event_type: EventType) {
        self.events.push(event_type);
    }

    /// Begins the operation that goes on afterwards.
    pub(crate) fn begin(&mut self, kind: OperationKind) -> &mut NewOperation {
        let at = self.commit.tenant.updated_at;
        self.operation
            .insert(NewOperation::new(kind, Vec::new(), Vec::new(), at))
    }

    /// Adds a step to the operation.
    pub(crate) fn later(&mut self, work: Work, planned: PlannedStep) {
        self.steps.push(planned.clone());
        if let Some(operation) = &mut self.operation {
            operation.steps.push(NewStep { work, planned });
        }
    }

    /// Adds a step to the operation that concerns the registry alone.
    pub(crate) fn later_here(&mut self, work: Work, action: &str, target: impl Into<String>) {
        let planned = PlannedStep {
            action: action.to_owned(),
            target: target.into(),
            sql: Vec::new(),
        };
        self.later(work, planned);
    }

    /// Returns plan and commit, and whether something is made.
    pub(crate) fn finish(mut self, tenancy: &Tenancy) -> (Plan, Commit, bool) {
        if !self.events.is_empty() {
            let environment = &self.commit.tenant.environment;
            if channel(environment).is_none() {
                self.warnings.push(format!(
                    "products of environment `{environment}` do not listen for events: they learn of the change when their cache expires or they are restarted"
                ));
            } else if !tenancy.publishes {
                self.warnings.push(
                    "this server has no Redis to publish events on: they are kept until it has one"
                        .to_owned(),
                );
            }
        }
        self.commit.operations.extend(self.operation);
        let events = self
            .events
            .into_iter()
            .map(|event| event.as_str().to_owned())
            .collect();
        let plan = Plan::new(self.steps, events, self.warnings);
        (plan, self.commit, self.made)
    }
}
