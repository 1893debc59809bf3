//! Steps that change the registry: what is handed out, and what products are told.

use super::attempt::Attempt;
use super::run::Stop;
use crate::audit::actions;
use crate::contract::ServiceName;
use crate::contract::admin::OperationState;
use crate::contract::audit::AuditRecord;
use crate::contract::event::EventType;
use crate::contract::wire::ConnectionSettings;
use crate::provision::plan::retire_steps;
use crate::server::registry::model::{now, slot};
use crate::server::registry::{
    AssociationState, Commit, DatabaseState, NewOperation, NewStep, OperationKind, Pair,
    RegistryError, StepRow, TenantKey, Work,
};
use crate::server::service::{event, payloads};

use jiff::SignedDuration;

impl Attempt<'_> {
    /// Makes the change of a step and records the step, in one transaction.
    pub(super) async fn effect(&self, step: &StepRow, work: &Work) -> Result<(), Stop> {
        loop {
            let tenant = self
                .insist(|| {
                    self.tenancy
                        .registry
                        .tenant(TenantKey::Id(&self.operation.tenant_id))
                })
                .await?;
            let Some(mut tenant) = tenant else {
                return Err(Stop::Failed(None, "its tenant does not exist".into()));
            };
            let before = std::mem::replace(&mut tenant.updated_at, now());
            let mut commit = Commit::new(tenant);
            let detail = self.draw_up(&mut commit, work);
            if commit.events.is_empty() {
                // What products are not told of is no change that anyone sees.
                commit.tenant.updated_at = before;
            }
            commit.audit.push(self.record(step, work, &detail));
            commit.step = Some(self.step_done(step, &detail, None));
            match self.tenancy.commit(commit).await {
                Ok(()) => return Ok(()),
                // Either the tenant changed, and the change is drawn up anew; or it was made, and
                // word of that was lost; or the operation was ended or taken over.
                Err(RegistryError::Stale) => {
                    let found = self
                        .insist(|| self.tenancy.registry.operation(&self.operation.id))
                        .await?;
                    let Some(found) = found.filter(|found| {
                        !found.state.is_final() && found.attempts == self.operation.attempts
                    }) else {
                        return Err(Stop::Ended);
                    };
                    let made = found.steps.iter().any(|row| {
                        row.position == step.position && row.state == OperationState::Succeeded
                    });
                    if made {
                        return Ok(());
                    }
                }
                Err(error) => {
                    // Waits as for any other write, then tries again.
                    let mut first = Some(error);
                    self.insist(|| {
                        let error = first.take();
                        async move { error.map_or(Ok(()), Err) }
                    })
                    .await?;
                }
            }
        }
    }

    /// Returns what the audit log says of a step that changes the registry.
    fn record(&self, step: &StepRow, work: &Work, detail: &str) -> AuditRecord {
        let mut record = crate::audit::draft(actions::OPERATION_STEP, now());
        record.operation = Some(self.operation.id.clone());
        record.tenant = Some(self.operation.tenant_id.to_string());
        record.service = work.service().map(ToString::to_string);
        record.detail = Some(format!("{}: {detail}", step.action));
        record
    }

    /// Draws up the change of a step; returns what to say about it.
    fn draw_up(&self, commit: &mut Commit, work: &Work) -> String {
        let Some(service) = work.service() else {
            return String::new();
        };
        let state = commit
            .tenant
            .associations
            .get(service)
            .map(|association| association.state);
        let removing = matches!(work, Work::Removed { .. } | Work::Retired { .. });
        if !removing
            && !matches!(
                state,
                Some(AssociationState::Live | AssociationState::Suspended)
            )
        {
            return "skipped: the service was removed meanwhile".into();
        }
        match work {
            Work::Activate {
                version, modules, ..
            } => activate(commit, service, *version, modules),
            Work::HandOut { version, .. } => self.hand_out(commit, service, *version),
            Work::Retired { version, .. } => {
                commit.forget.push((service.clone(), *version));
                format!("version {version} is forgotten")
            }
            Work::Settings { .. } => {
                let settings = self.operation.parameters.settings.clone();
                apply_settings(commit, service, &settings.unwrap_or_default())
            }
            Work::Removed { .. } => removed(commit, service, self.operation.parameters.drop_data),
            Work::Cluster { .. } | Work::AwaitEvents => String::new(),
        }
    }

    /// Hands out new credentials and schedules the retirement of the login before.
    fn hand_out(&self, commit: &mut Commit, service: &ServiceName, version: u32) -> String {
        let at = commit.tenant.updated_at;
        let Some(association) = commit.tenant.associations.get_mut(service) else {
            return String::new();
        };
        let old = association.version;
        association.version = version;
        association.updated_at = at;
        let mut steps = Vec::new();
        for (module, database) in association.ready_databases() {
            for apply in retire_steps(&database.spec, slot(old)) {
                steps.push(NewStep {
                    planned: apply.planned(&database.spec),
                    work: Work::Cluster {
                        service: service.clone(),
                        module: module.clone(),
                        apply,
                        version: old,
                    },
                });
            }
        }
        let slug = commit.tenant.slug.clone();
        steps.push(NewStep {
            planned: crate::contract::admin::PlannedStep {
                action: "forget credentials".into(),
                target: format!("{slug}/{service} version {old}"),
                sql: Vec::new(),
            },
            work: Work::Retired {
                service: service.clone(),
                version: old,
            },
        });
        let mut retire = NewOperation::new(OperationKind::Retire, vec![service.clone()], steps, at);
        let grace = self.operation.parameters.grace_seconds.unwrap_or_default();
        retire.parameters.grace_seconds = Some(grace);
        retire.parameters.immediate = grace == 0;
        let until = at
            .checked_add(SignedDuration::from_secs(
                i64::try_from(grace).unwrap_or(i64::MAX),
            ))
            .unwrap_or(at);
        retire.not_before = Some(until);
        retire.note = Some(format!(
            "the login handed out before the rotation stays valid until {until}"
        ));
        commit.operations.push(retire);
        let payload = payloads::rotated(&commit.tenant, service);
        let told = event(&commit.tenant, EventType::CredentialsRotated, Some(payload));
        commit.events.push(told);
        format!("version {version} is handed out; version {old} stays valid until {until}")
    }
}

/// Hands out a provisioned service.
fn activate(
    commit: &mut Commit,
    service: &ServiceName,
    version: u32,
    modules: &[String],
) -> String {
    let at = commit.tenant.updated_at;
    let Some(association) = commit.tenant.associations.get_mut(service) else {
        return String::new();
    };
    let was_ready = association.ready;
    let mut grown = false;
    for module in modules {
        if let Some(database) = association.databases.get_mut(module) {
            grown |= database.state != DatabaseState::Ready;
            database.state = DatabaseState::Ready;
        }
    }
    association.ready = true;
    association.version = version;
    if grown || !was_ready {
        association.updated_at = at;
    }
    // A suspended pair is announced when it is reactivated.
    let Some(association) = commit.tenant.associations.get(service) else {
        return String::new();
    };
    if commit.tenant.pair(service) == Pair::Active {
        let (event_type, payload) = if !was_ready {
            let payload = payloads::associated(service, association);
            (EventType::ServiceAssociated, payload)
        } else if grown {
            let payload = payloads::invalidate(service, Some("new modules"));
            (EventType::CacheInvalidate, payload)
        } else {
            return "already handed out".into();
        };
        let told = event(&commit.tenant, event_type, Some(payload));
        commit.events.push(told);
    }
    format!("version {version} is handed out")
}

/// Hands out new pool settings.
fn apply_settings(
    commit: &mut Commit,
    service: &ServiceName,
    settings: &ConnectionSettings,
) -> String {
    let at = commit.tenant.updated_at;
    let Some(association) = commit.tenant.associations.get_mut(service) else {
        return String::new();
    };
    association.settings = settings.clone();
    association.updated_at = at;
    for database in association.databases.values_mut() {
        database.spec.settings = settings.clone();
    }
    let modules: Vec<String> = association
        .ready_databases()
        .map(|(module, _)| module.clone())
        .collect();
    if commit.tenant.pair(service) == Pair::Active {
        for module in modules {
            // A product without modules is addressed by an empty name; the catalogue calls its
            // one module after the service.
            let module = if module == service.as_str() {
                ""
            } else {
                module.as_str()
            };
            let payload = payloads::connections_updated(service, module, settings);
            let told = event(&commit.tenant, EventType::ConnectionsUpdated, Some(payload));
            commit.events.push(told);
        }
    }
    "handed out".into()
}

/// Notes what was removed.
fn removed(commit: &mut Commit, service: &ServiceName, drop_data: bool) -> String {
    let at = commit.tenant.updated_at;
    let Some(association) = commit.tenant.associations.get_mut(service) else {
        return String::new();
    };
    association.ready = false;
    association.updated_at = at;
    for database in association.databases.values_mut() {
        if database.state != DatabaseState::Dropped {
            database.state = if drop_data {
                DatabaseState::Dropped
            } else {
                DatabaseState::Retained
            };
        }
    }
    commit
        .forget
        .push((service.clone(), association.version + 1));
    if drop_data {
        "everything is dropped".into()
    } else {
        "data is kept".into()
    }
}
