//! Removal of a service, and of a tenant with everything it has.

use std::sync::Arc;

use super::associate::refuse_purged;
use super::draft::{Draft, Outcome};
use super::lifecycle::{RawChange, selected};
use super::provision::under_way;
use super::{Current, Intent, Reply, Target, Tenancy, payloads, render_change, tenant_not_found};
use crate::contract::ServiceName;
use crate::contract::admin::{OperationState, TenantStatus};
use crate::contract::event::{EventType, service_payload};
use crate::contract::ids::TenantRef;
use crate::provision::plan::remove_steps;
use crate::server::error::ApiError;
use crate::server::registry::{
    AssociationState, DatabaseState, Operation, OperationKind, Pair, Work,
};

impl Tenancy {
    /// `POST …/services/{service}/remove`.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        tenant: &TenantRef,
        service: &str,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let service = self.in_path(&raw, service)?;
        let (_, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| plan_removal(current, &service, raw.drop_data),
            render_change,
        )
        .await
    }

    /// `POST /v1/admin/tenants/{tenant}/purge`.
    pub(crate) async fn purge(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, intent) = raw.checked(self, intent)?;
        if service.is_some() {
            return Err(ApiError::invalid(
                "service: purge takes the whole tenant; remove one service with `…/services/{service}/remove`",
            ));
        }
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| plan_purge(current),
            render_change,
        )
        .await
    }
}

/// A scheduled retirement of a login that is removed anyway is pointless.
fn supersede_retirements(
    draft: &mut Draft,
    unfinished: &[Operation],
    service: Option<&ServiceName>,
) {
    for operation in unfinished {
        let concerned = service.is_none_or(|service| operation.services.contains(service));
        if operation.kind == OperationKind::Retire
            && operation.state == OperationState::Pending
            && concerned
        {
            draft.commit.supersede.push((
                operation.id.clone(),
                "superseded: both logins are removed".to_owned(),
            ));
        }
    }
}

/// Adds the steps that remove what a service has on the clusters.
fn remove_databases(draft: &mut Draft, service: &ServiceName, drop_data: bool) -> usize {
    let slug = draft.tenant().slug.clone();
    let Some(association) = draft.tenant().associations.get(service) else {
        return 0;
    };
    let version = association.version;
    let specs: Vec<_> = association
        .databases
        .iter()
        .filter(|(_, database)| database.state != DatabaseState::Dropped)
        .map(|(module, database)| (module.clone(), database.spec.clone()))
        .collect();
    for (module, spec) in &specs {
        for apply in remove_steps(spec, drop_data) {
            let planned = apply.planned(spec);
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
        Work::Removed {
            service: service.clone(),
        },
        "forget credentials",
        format!("{slug}/{service}"),
    );
    if let Some(operation) = &mut draft.operation {
        operation.services.push(service.clone());
    }
    specs.len()
}

fn plan_removal(
    current: Current,
    service: &ServiceName,
    drop_data: bool,
) -> Result<Outcome, ApiError> {
    let Current { tenant, unfinished } = current;
    let tenant = tenant.ok_or_else(|| tenant_not_found(&"new"))?;
    refuse_purged(&tenant)?;
    let Some(association) = tenant.associations.get(service) else {
        return Err(super::associate::association_not_found(&tenant, service));
    };
    let kept = association
        .databases
        .values()
        .any(|database| database.state != DatabaseState::Dropped);
    let removed = association.state == AssociationState::Purged;
    if removed {
        let running = under_way(&unfinished, service, &[OperationKind::Remove]).cloned();
        if let Some(running) = running
            .as_ref()
            .filter(|running| drop_data && !running.parameters.drop_data)
        {
            return Err(ApiError::conflict(
                "operation.in_progress",
                format!(
                    "operation `{}` removes `{service}` and keeps its data; ask again once it has ended",
                    running.id
                ),
            ));
        }
        // Removing again with the data is how kept data is dropped later.
        if running.is_some() || !(drop_data && kept) {
            return Ok(Outcome::under_way(tenant, running));
        }
    }
    let told = matches!(
        tenant.pair(service),
        Pair::Active | Pair::Suspended | Pair::Provisioning
    );
    let mut draft = Draft::new(tenant);
    let at = draft.tenant().updated_at;
    let slug = draft.tenant().slug.clone();
    if let Some(association) = draft.tenant().associations.get_mut(service) {
        association.state = AssociationState::Purged;
        association.updated_at = at;
    }
    if !removed {
        draft.step("answer 403 purged", format!("{slug}/{service}"));
    }
    if told {
        draft.event(
            EventType::ServiceDisassociated,
            Some(payloads::disassociated(service, !drop_data)),
        );
    }
    draft.begin(OperationKind::Remove).parameters.drop_data = drop_data;
    if told {
        draft.later_here(Work::AwaitEvents, "tell products", slug.as_str());
    }
    let count = remove_databases(&mut draft, service, drop_data);
    if count > 0 {
        draft.warnings.push(if drop_data {
            format!("{count} databases or schemas are dropped with everything in them")
        } else {
            format!("{count} databases or schemas are kept without any login")
        });
    }
    supersede_retirements(&mut draft, &unfinished, Some(service));
    Ok(Outcome::Changed(Box::new(draft)))
}

fn plan_purge(current: Current) -> Result<Outcome, ApiError> {
    let Current { tenant, unfinished } = current;
    let tenant = tenant.ok_or_else(|| tenant_not_found(&"new"))?;
    let left = tenant
        .associations
        .values()
        .flat_map(|association| association.databases.values())
        .any(|database| database.state != DatabaseState::Dropped);
    let again = tenant.status == TenantStatus::Purged;
    if again {
        let running = unfinished
            .iter()
            .find(|operation| operation.kind == OperationKind::Purge)
            .cloned();
        if running.is_some() || !left {
            return Ok(Outcome::under_way(tenant, running));
        }
    }
    let was_active = tenant.status == TenantStatus::Active;
    let told: Vec<ServiceName> = selected(&tenant, None)?;
    let services: Vec<ServiceName> = tenant.associations.keys().cloned().collect();
    let mut draft = Draft::new(tenant);
    let at = draft.tenant().updated_at;
    let slug = draft.tenant().slug.clone();
    if again {
        draft
            .warnings
            .push("an earlier purge did not finish: it is taken up".to_owned());
    } else {
        draft.step("answer 403 purged", slug.as_str());
        for service in &told {
            draft.event(EventType::ServicePurged, Some(service_payload(service)));
        }
        draft.event(EventType::TenantDeleted, None);
        if was_active {
            draft.warnings.push(
                "the tenant is active: its products lose it at once, and there is no way back (suspend it first to be able to reactivate)"
                    .to_owned(),
            );
        }
    }
    let tenant = draft.tenant();
    tenant.status = TenantStatus::Purged;
    for association in tenant.associations.values_mut() {
        if association.state != AssociationState::Purged {
            association.state = AssociationState::Purged;
            association.updated_at = at;
        }
    }
    draft.begin(OperationKind::Purge).parameters.drop_data = true;
    if !again {
        draft.later_here(Work::AwaitEvents, "tell products", slug.as_str());
    }
    let mut count = 0;
    for service in &services {
        count += remove_databases(&mut draft, service, true);
    }
    draft.warnings.push(format!(
        "{} services, {count} databases or schemas with everything in them, and {} roles are dropped",
        told.len(),
        count * 3
    ));
    supersede_retirements(&mut draft, &unfinished, None);
    Ok(Outcome::Changed(Box::new(draft)))
}
