//! Suspend and reactivate, of a tenant and of one service.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;

use super::associate::{association_not_found, refuse_purged};
use super::draft::{Draft, Outcome};
use super::validate::Problems;
use super::{
    Current, Intent, Reply, Target, Tenancy, payloads, render_change, tenant_not_found, to_body,
};
use crate::contract::ServiceName;
use crate::contract::admin::{AssociationStatus, Change, TenantStatus};
use crate::contract::event::EventType;
use crate::contract::ids::TenantRef;
use crate::contract::wire::{AssociationCreated, TenantCreated};
use crate::server::error::ApiError;
use crate::server::registry::{AssociationState, Pair, Tenant};

/// Body of most changes, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawChange {
    service: Option<String>,
    pub(super) grace_seconds: Option<u64>,
    pub(super) drop_data: bool,
    pub(super) reason: Option<String>,
    dry_run: bool,
    expect_plan: Option<String>,
}

impl RawChange {
    /// Returns true when data would be lost.
    pub(crate) fn drops_data(&self) -> bool {
        self.drop_data
    }

    /// Checks what all changes have in common; returns the service that it is narrowed to.
    pub(super) fn checked(
        &self,
        tenancy: &Tenancy,
        mut intent: Intent,
    ) -> Result<(Option<ServiceName>, Intent), ApiError> {
        let mut problems = Problems::default();
        problems.reason(self.reason.as_deref());
        problems.finish()?;
        intent.dry_run = self.dry_run;
        intent.expect_plan.clone_from(&self.expect_plan);
        let service = self
            .service
            .as_deref()
            .map(|text| {
                text.parse()
                    .map_err(|_| tenancy.service_unknown(StatusCode::UNPROCESSABLE_ENTITY, text))
            })
            .transpose()?;
        Ok((service, intent))
    }
}

/// Returns the named service, or every service of the tenant that was not removed.
pub(super) fn selected(
    tenant: &Tenant,
    service: Option<&ServiceName>,
) -> Result<Vec<ServiceName>, ApiError> {
    let kept = |service: &ServiceName| {
        tenant
            .associations
            .get(service)
            .is_some_and(|association| association.state != AssociationState::Purged)
    };
    match service {
        Some(service) if kept(service) => Ok(vec![service.clone()]),
        Some(service) => Err(association_not_found(tenant, service)),
        None => Ok(tenant
            .associations
            .keys()
            .filter(|service| kept(service))
            .cloned()
            .collect()),
    }
}

/// Returns the services that are handed out.
fn active_services(tenant: &Tenant) -> Vec<ServiceName> {
    tenant
        .associations
        .keys()
        .filter(|service| tenant.pair(service) == Pair::Active)
        .cloned()
        .collect()
}

/// Renders a change for the contract, or 409 when it was so already: the official client takes
/// both for done.
fn render_contract(
    change: &Change,
    code: &'static str,
    already: &'static str,
    body: &impl serde::Serialize,
) -> Result<Reply, ApiError> {
    if change.changed {
        Ok((StatusCode::OK, to_body(body)?))
    } else {
        Err(ApiError::conflict(code, already))
    }
}

impl Tenancy {
    /// Suspends a tenant, or one service of it.
    pub(crate) async fn suspend(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| match &service {
                Some(service) => suspend_service(current, service),
                None => suspend_tenant(current),
            },
            render_change,
        )
        .await
    }

    /// Reactivates a tenant, or one service of it.
    pub(crate) async fn reactivate(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| match &service {
                Some(service) => reactivate_service(current, service),
                None => reactivate_tenant(current, false),
            },
            render_change,
        )
        .await
    }

    /// `…/services/{service}/suspend` and `…/reactivate`.
    pub(crate) async fn switch_service(
        self: &Arc<Self>,
        tenant: &TenantRef,
        service: &str,
        suspend: bool,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let service = self.in_path(&raw, service)?;
        let (_, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| {
                if suspend {
                    suspend_service(current, &service)
                } else {
                    reactivate_service(current, &service)
                }
            },
            render_change,
        )
        .await
    }

    /// Returns the service of the path, which the body may repeat and must not contradict.
    pub(super) fn in_path(&self, raw: &RawChange, text: &str) -> Result<ServiceName, ApiError> {
        let service: ServiceName = text
            .parse()
            .map_err(|_| self.service_unknown(StatusCode::NOT_FOUND, text))?;
        match &raw.service {
            Some(other) if other != service.as_str() => Err(ApiError::invalid(
                "service: the body names another service than the path",
            )),
            _ => Ok(service),
        }
    }

    /// `PUT /v1/tenants/{id}/associations/{service}/suspend`.
    pub(crate) async fn contract_suspend(
        self: &Arc<Self>,
        tenant: &TenantRef,
        service: &str,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let service = self.in_path(&RawChange::default(), service)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| {
                refuse_purged_as_unknown(&current, tenant)?;
                suspend_service(current, &service)
            },
            |change, _| {
                let body = AssociationCreated {
                    service_name: service.clone(),
                    status: AssociationStatus::Suspended.as_str().to_owned(),
                };
                render_contract(change, "association.suspended", "already suspended", &body)
            },
        )
        .await
    }

    /// `PUT /v1/tenants/{id}/reactivate`. The contract has no way to reactivate one service, so
    /// this undoes its suspensions of services too.
    pub(crate) async fn contract_reactivate(
        self: &Arc<Self>,
        tenant: &TenantRef,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| {
                refuse_purged_as_unknown(&current, tenant)?;
                reactivate_tenant(current, true)
            },
            |change, _| {
                let body = change.tenant.as_ref().map(|tenant| TenantCreated {
                    id: tenant.id.clone(),
                    slug: tenant.slug.clone(),
                    status: tenant.status.as_str().to_owned(),
                });
                render_contract(change, "tenant.not_suspended", "not suspended", &body)
            },
        )
        .await
    }
}

/// Under the contract a purged tenant does not exist: 409 would be taken for success.
fn refuse_purged_as_unknown(current: &Current, tenant: &TenantRef) -> Result<(), ApiError> {
    match &current.tenant {
        Some(found) if found.status == TenantStatus::Purged => Err(tenant_not_found(tenant)),
        _ => Ok(()),
    }
}

fn known(current: Current) -> Result<Tenant, ApiError> {
    let tenant = current.tenant.ok_or_else(|| tenant_not_found(&"new"))?;
    refuse_purged(&tenant)?;
    Ok(tenant)
}

fn suspend_tenant(current: Current) -> Result<Outcome, ApiError> {
    let tenant = known(current)?;
    if tenant.status == TenantStatus::Suspended {
        return Ok(Outcome::unchanged(tenant));
    }
    let stopped = active_services(&tenant);
    let mut draft = Draft::new(tenant);
    let slug = draft.tenant().slug.clone();
    draft.tenant().status = TenantStatus::Suspended;
    draft.step("answer 403 suspended", slug.as_str());
    // Tenant-level events are best effort for products: the service-level ones do the work.
    for service in stopped {
        draft.event(
            EventType::ServiceSuspended,
            Some(payloads::suspended(&service, AssociationStatus::Active)),
        );
    }
    draft.event(EventType::TenantSuspended, None);
    Ok(Outcome::Changed(Box::new(draft)))
}

fn suspend_service(current: Current, service: &ServiceName) -> Result<Outcome, ApiError> {
    let tenant = known(current)?;
    selected(&tenant, Some(service))?;
    let before = tenant.pair(service);
    let mut draft = Draft::new(tenant);
    let at = draft.tenant().updated_at;
    let slug = draft.tenant().slug.clone();
    let Some(association) = draft.tenant().associations.get_mut(service) else {
        return Err(association_not_found(draft.tenant(), service));
    };
    if association.state == AssociationState::Suspended {
        return Ok(Outcome::unchanged(draft.commit.tenant));
    }
    let previous = association.status();
    association.state = AssociationState::Suspended;
    association.updated_at = at;
    draft.step("answer 403 suspended", format!("{slug}/{service}"));
    if before == Pair::Active {
        draft.event(
            EventType::ServiceSuspended,
            Some(payloads::suspended(service, previous)),
        );
    }
    Ok(Outcome::Changed(Box::new(draft)))
}

fn reactivate_tenant(current: Current, services_too: bool) -> Result<Outcome, ApiError> {
    let tenant = known(current)?;
    let was_active = active_services(&tenant);
    let suspended = |tenant: &Tenant| {
        tenant
            .associations
            .values()
            .any(|association| association.state == AssociationState::Suspended)
    };
    let tenant_suspended = tenant.status == TenantStatus::Suspended;
    let wakes_services = services_too && suspended(&tenant);
    if !tenant_suspended && !wakes_services {
        let warnings = if suspended(&tenant) {
            vec!["the tenant is active; some of its services are suspended one by one".to_owned()]
        } else {
            Vec::new()
        };
        return Ok(Outcome::unchanged_with(tenant, warnings));
    }
    let mut draft = Draft::new(tenant);
    let at = draft.tenant().updated_at;
    let slug = draft.tenant().slug.clone();
    if tenant_suspended {
        draft.tenant().status = TenantStatus::Active;
        draft.step("answer connections again", slug.as_str());
        draft.event(EventType::TenantActivated, None);
    }
    if services_too {
        let mut woken = Vec::new();
        for (service, association) in &mut draft.tenant().associations {
            if association.state == AssociationState::Suspended {
                association.state = AssociationState::Live;
                association.updated_at = at;
                woken.push(format!("{slug}/{service}"));
            }
        }
        for target in woken {
            draft.step("answer connections again", target);
        }
    }
    for service in active_services(draft.tenant()) {
        if !was_active.contains(&service) {
            reactivated_event(&mut draft, &service);
        }
    }
    Ok(Outcome::Changed(Box::new(draft)))
}

fn reactivate_service(current: Current, service: &ServiceName) -> Result<Outcome, ApiError> {
    let tenant = known(current)?;
    selected(&tenant, Some(service))?;
    let mut draft = Draft::new(tenant);
    let at = draft.tenant().updated_at;
    let slug = draft.tenant().slug.clone();
    let tenant_suspended = draft.tenant().status == TenantStatus::Suspended;
    let Some(association) = draft.tenant().associations.get_mut(service) else {
        return Err(association_not_found(draft.tenant(), service));
    };
    if association.state == AssociationState::Live {
        return Ok(Outcome::unchanged(draft.commit.tenant));
    }
    association.state = AssociationState::Live;
    association.updated_at = at;
    draft.step("answer connections again", format!("{slug}/{service}"));
    if tenant_suspended {
        draft
            .warnings
            .push("the tenant itself is suspended: the service stays refused with it".to_owned());
    }
    if draft.tenant().pair(service) == Pair::Active {
        reactivated_event(&mut draft, service);
    }
    Ok(Outcome::Changed(Box::new(draft)))
}

fn reactivated_event(draft: &mut Draft, service: &ServiceName) {
    if let Some(association) = draft.tenant().associations.get(service) {
        let payload = payloads::reactivated(service, association);
        draft.event(EventType::ServiceReactivated, Some(payload));
    }
}

#[cfg(test)]
mod tests;
