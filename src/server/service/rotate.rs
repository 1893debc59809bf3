//! Rotation of credentials: two logins alternate, and at every instant one that a product may
//! hold is valid.

use std::sync::Arc;

use super::associate::refuse_purged;
use super::draft::{Draft, Outcome};
use super::lifecycle::{RawChange, selected};
use super::provision::{refuse_while_busy, under_way};
use super::{Current, Intent, Reply, Target, Tenancy, render_change, tenant_not_found};
use crate::contract::ServiceName;
use crate::contract::event::EventType;
use crate::contract::ids::TenantRef;
use crate::provision::plan::rotate_steps;
use crate::secret::Secret;
use crate::server::error::ApiError;
use crate::server::registry::model::{now, slot};
use crate::server::registry::{Credential, Operation, OperationKind, Work};
use crate::server::vault::Place;

/// Longest grace period: 30 days.
const LONGEST_GRACE: u64 = 30 * 24 * 3600;

impl Tenancy {
    /// `POST /v1/admin/tenants/{tenant}/rotate`.
    pub(crate) async fn rotate(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, intent) = raw.checked(self, intent)?;
        if raw.grace_seconds.is_some_and(|grace| grace > LONGEST_GRACE) {
            return Err(ApiError::invalid(format!(
                "graceSeconds: the most is {LONGEST_GRACE}"
            )));
        }
        let grace = raw
            .grace_seconds
            .unwrap_or_else(|| self.rotation_grace.as_secs().min(LONGEST_GRACE));
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |tenancy, current| tenancy.plan_rotation(current, service.as_ref(), grace),
            render_change,
        )
        .await
    }

    fn plan_rotation(
        &self,
        current: Current,
        service: Option<&ServiceName>,
        grace: u64,
    ) -> Result<Outcome, ApiError> {
        let Current { tenant, unfinished } = current;
        let tenant = tenant.ok_or_else(|| tenant_not_found(&"new"))?;
        refuse_purged(&tenant)?;
        let services = selected(&tenant, service)?;
        let mut draft = Draft::new(tenant);
        draft.begin(OperationKind::Rotate).parameters.grace_seconds = Some(grace);
        for name in &services {
            let Some(association) = draft.tenant().associations.get(name) else {
                continue;
            };
            if !association.ready {
                if service.is_some() {
                    return Err(ApiError::conflict(
                        "association.provisioning",
                        format!("`{name}` is not provisioned yet: there is nothing to rotate"),
                    ));
                }
                draft
                    .warnings
                    .push(format!("`{name}` is not provisioned yet: it is left out"));
                continue;
            }
            if association.ready_databases().next().is_none() {
                draft.warnings.push(format!(
                    "`{name}` has no credentials from this server: it is left out"
                ));
                continue;
            }
            refuse_rotating(&mut draft, &unfinished, name, grace)?;
            self.plan_service_rotation(&mut draft, name, grace);
        }
        if draft
            .operation
            .as_ref()
            .is_some_and(|operation| operation.services.is_empty())
        {
            return Ok(Outcome::unchanged_with(draft.commit.tenant, draft.warnings));
        }
        Ok(Outcome::Changed(Box::new(draft)))
    }

    fn plan_service_rotation(&self, draft: &mut Draft, service: &ServiceName, grace: u64) {
        let tenant = draft.tenant();
        let (id, slug) = (tenant.id.clone(), tenant.slug.clone());
        let Some(association) = tenant.associations.get(service) else {
            return;
        };
        let (old, version) = (association.version, association.version + 1);
        let specs: Vec<_> = association
            .ready_databases()
            .map(|(module, database)| (module.clone(), database.spec.clone()))
            .collect();
        for (module, spec) in specs {
            let place = Place {
                tenant: &id,
                service,
                module: &module,
                version,
            };
            draft.commit.credentials.push(Credential {
                service: service.clone(),
                module: module.clone(),
                version,
                sealed: self.vault.seal_password(&place, &Secret::generate()),
            });
            for apply in rotate_steps(&spec, slot(version)) {
                let planned = apply.planned(&spec);
                let work = Work::Cluster {
                    service: service.clone(),
                    module: module.clone(),
                    apply,
                    version,
                };
                draft.later(work, planned);
            }
        }
        draft.later_here(
            Work::HandOut {
                service: service.clone(),
                version,
            },
            "hand out credentials",
            format!("{slug}/{service} version {version}; version {old} stays valid for {grace} s"),
        );
        draft.later_event(EventType::CredentialsRotated);
        if let Some(operation) = &mut draft.operation {
            operation.services.push(service.clone());
        }
    }
}

/// Refuses while the login that the rotation needs may still be held by a product. A rotation
/// without grace is an emergency: it retires that login first.
fn refuse_rotating(
    draft: &mut Draft,
    unfinished: &[Operation],
    service: &ServiceName,
    grace: u64,
) -> Result<(), ApiError> {
    let others: Vec<Operation> = unfinished
        .iter()
        .filter(|operation| operation.kind != OperationKind::Retire)
        .cloned()
        .collect();
    refuse_while_busy(&others, service)?;
    match under_way(unfinished, service, &[OperationKind::Retire]) {
        Some(retire) if grace == 0 => {
            draft.step(
                "retire the login handed out before",
                format!("{} (operation {})", service, retire.id),
            );
            draft.commit.reschedule.push((retire.id.clone(), now()));
            Ok(())
        }
        _ => refuse_while_busy(unfinished, service),
    }
}
