//! The provisioning of an association's databases: what is planned, and what must not run beside
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;

use super::associate::refuse_purged;
use super::draft::{Draft, Outcome};
use super::lifecycle::{self, RawChange};
use super::{Current, Intent, Reply, Target, Tenancy, render_change};
use crate::contract::ServiceName;
use crate::contract::admin::TenantStatus;
use crate::contract::catalogue::Service;
use crate::contract::event::EventType;
use crate::contract::ids::TenantRef;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::provision::plan::provision_steps;
use crate::provision::{DatabaseSpec, Names};
use crate::secret::Secret;
use crate::server::error::ApiError;
use crate::server::registry::model::{not_provisioned, now, slot};
use crate::server::registry::{
    Association, AssociationState, Credential, Database, DatabaseState, Operation, OperationKind,
    Tenant, Work,
};
use crate::server::vault::Place;

/// Returns an operation of one of these kinds that concerns `service` and has not ended.
pub(super) fn under_way<'a>(
    unfinished: &'a [Operation],
    service: &ServiceName,
    kinds: &[OperationKind],
) -> Option<&'a Operation> {
    unfinished
        .iter()
        .find(|operation| kinds.contains(&operation.kind) && operation.services.contains(service))
}

/// Refuses while an operation that works on the logins of `service` has not ended: two of them
/// would pull the same login in two directions.
pub(super) fn refuse_while_busy(
    unfinished: &[Operation],
    service: &ServiceName,
) -> Result<(), ApiError> {
    use OperationKind::{Provision, Purge, Remove, Retire, Rotate, Update};
    if let Some(retire) = under_way(unfinished, service, &[Retire]) {
        let when = retire
            .not_before
            .map_or_else(|| "soon".to_owned(), |at| format!("at {at}"));
        return Err(ApiError::conflict(
            "rotation.in_progress",
            format!(
                "the login of `{service}` that was handed out before the last rotation is retired {when} (operation `{}`); until then both logins are in use",
                retire.id
            ),
        ));
    }
    if let Some(rotate) = under_way(unfinished, service, &[Rotate]) {
        return Err(ApiError::conflict(
            "rotation.in_progress",
            format!("`{service}` is being rotated by operation `{}`", rotate.id),
        ));
    }
    match under_way(unfinished, service, &[Provision, Update, Remove, Purge]) {
        Some(operation) => Err(ApiError::conflict(
            "operation.in_progress",
            format!(
                "operation `{}` ({}) of `{service}` has not ended",
                operation.id,
                operation.kind.as_str()
            ),
        )),
        None => Ok(()),
    }
}

impl Tenancy {
    /// Takes up the provisioning of those of `services` that are not ready and not worked on.
    pub(super) fn resume(
        &self,
        tenant: Tenant,
        unfinished: &[Operation],
        services: &[ServiceName],
    ) -> Result<Outcome, ApiError> {
        let mut running = None;
        let mut stuck = Vec::new();
        for service in services {
            let waits = tenant.associations.get(service).is_some_and(|association| {
                association.state != AssociationState::Purged && !association.ready
            });
            match under_way(unfinished, service, &[OperationKind::Provision]) {
                Some(operation) => running = running.or(Some(operation.clone())),
                None if waits => stuck.push(service.clone()),
                None => {}
            }
        }
        if stuck.is_empty() {
            return Ok(Outcome::under_way(tenant, running));
        }
        let mut draft = Draft::new(tenant);
        draft.begin(OperationKind::Provision);
        for service in &stuck {
            refuse_while_busy(unfinished, service)?;
            self.provision(&mut draft, service)?;
        }
        Ok(Outcome::Changed(Box::new(draft)))
    }

    /// Refuses an isolation mode that services cannot work in, with the reason for each.
    pub(super) fn accepts(
        &self,
        services: &[ServiceName],
        mode: IsolationMode,
        force: bool,
    ) -> Result<(), ApiError> {
        let reasons: Vec<String> = services
            .iter()
            .filter_map(|service| {
                let reason = self.catalogue.get(service)?.refuses(mode)?;
                Some(format!("`{service}`: {reason}"))
            })
            .collect();
        if reasons.is_empty() || force {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "isolation.unsupported",
            format!(
                "isolation mode `{}` is refused unless forced: {}",
                mode.as_str(),
                reasons.join("; ")
            ),
        ))
    }

    /// Plans an association, new or made again, and its provisioning.
    pub(super) fn associate(
        &self,
        draft: &mut Draft,
        service: &ServiceName,
        mode: IsolationMode,
        settings: &ConnectionSettings,
        force: bool,
    ) -> Result<(), ApiError> {
        let at = now();
        let slug = draft.tenant().slug.clone();
        draft.step("associate service", format!("{slug}/{service}"));
        let association = draft
            .tenant()
            .associations
            .entry(service.clone())
            .or_insert_with(|| Association {
                isolation_mode: mode,
                state: AssociationState::Live,
                ready: false,
                version: 0,
                settings: settings.clone(),
                databases: BTreeMap::new(),
                created_at: at,
                updated_at: at,
            });
        let kept = association
            .databases
            .values()
            .any(|database| database.state != DatabaseState::Dropped);
        if kept && association.isolation_mode != mode {
            return Err(ApiError::conflict(
                "association.data_kept",
                format!(
                    "the data of `{service}` was kept when it was removed, in isolation mode `{}`: ask for that mode",
                    association.isolation_mode.as_str()
                ),
            ));
        }
        association.isolation_mode = mode;
        association.state = AssociationState::Live;
        association.ready = false;
        association.settings = settings.clone();
        association.updated_at = at;
        if let Some(reason) = self
            .catalogue
            .get(service)
            .and_then(|entry| entry.refuses(mode))
            .filter(|_| force)
        {
            draft.warnings.push(format!(
                "isolation mode `{}` is forced for `{service}`: {reason}",
                mode.as_str()
            ));
        }
        self.provision(draft, service).map(drop)
    }

    /// Plans the provisioning of an association: what is missing is made, what is there is
    /// checked and repaired. Returns whether something is missing as far as the registry knows.
    fn provision(&self, draft: &mut Draft, service: &ServiceName) -> Result<bool, ApiError> {
        let slug = draft.tenant().slug.clone();
        let tenant_id = draft.tenant().id.clone();
        let suspended = draft.tenant().status != TenantStatus::Active;
        let missing = not_provisioned(&self.catalogue, service);
        if !missing.is_empty() {
            draft.warnings.push(format!(
                "`{service}`: not provisioned by this server: {}",
                missing.join(", ")
            ));
        }
        let Some(association) = draft.tenant().associations.get_mut(service) else {
            return Ok(false);
        };
        let live = association.state == AssociationState::Live && !suspended;
        let was_ready = association.ready;
        let version = association.version + u32::from(!was_ready);
        let modules: Vec<String> = self
            .catalogue
            .get(service)
            .into_iter()
            .flat_map(Service::postgres_modules)
            .map(str::to_owned)
            .collect();
        for module in modules {
            let there = association
                .databases
                .get(&module)
                .is_some_and(|database| database.state != DatabaseState::Dropped);
            if !there {
                let cluster = self.clusters.first().ok_or_else(|| {
                    ApiError::unavailable(
                        "cluster.missing",
                        "this server has no PostgreSQL cluster to place databases on",
                    )
                })?;
                let mode = association.isolation_mode;
                let spec = DatabaseSpec {
                    tenant_id: tenant_id.clone(),
                    tenant_slug: slug.clone(),
                    service: service.clone(),
                    module: module.clone(),
                    mode,
                    cluster: cluster.name.clone(),
                    names: Names::make(&tenant_id, &slug, service, &module, mode),
                    settings: association.settings.clone(),
                };
                let state = DatabaseState::Pending;
                association
                    .databases
                    .insert(module, Database { spec, state });
            }
        }
        let settings = association.settings.clone();
        let mut credentials = Vec::new();
        let mut steps = Vec::new();
        let mut ready = Vec::new();
        let mut grown = false;
        for (module, database) in &mut association.databases {
            if database.state == DatabaseState::Dropped {
                continue;
            }
            database.spec.settings = settings.clone();
            ready.push(module.clone());
            // Nobody holds the password of a database that was never handed out.
            if !was_ready || database.state != DatabaseState::Ready {
                grown |= was_ready;
                database.state = DatabaseState::Pending;
                let place = Place {
                    tenant: &tenant_id,
                    service,
                    module,
                    version,
                };
                credentials.push(Credential {
                    service: service.clone(),
                    module: module.clone(),
                    version,
                    sealed: self.vault.seal_password(&place, &Secret::generate()),
                });
            }
            for apply in provision_steps(&database.spec, slot(version)) {
                let planned = apply.planned(&database.spec);
                let work = Work::Cluster {
                    service: service.clone(),
                    module: module.clone(),
                    apply,
                    version,
                };
                steps.push((work, planned));
            }
        }
        draft.commit.credentials.extend(credentials);
        for (work, planned) in steps {
            draft.later(work, planned);
        }
        draft.later_here(
            Work::Activate {
                service: service.clone(),
                version,
                modules: ready,
            },
            "activate service",
            format!("{slug}/{service}"),
        );
        if live && !was_ready {
            draft.later_event(EventType::ServiceAssociated);
        } else if live && grown {
            draft.later_event(EventType::CacheInvalidate);
        }
        if let Some(operation) = &mut draft.operation {
            operation.services.push(service.clone());
        }
        Ok(grown || !was_ready)
    }

    /// `POST /v1/admin/tenants/{tenant}/provision`: makes what is missing, checks what is there.
    pub(crate) async fn provision_again(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (selected, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |tenancy, Current { tenant, unfinished }| {
                let tenant = tenant.ok_or_else(|| super::tenant_not_found(&"new"))?;
                refuse_purged(&tenant)?;
                let services = lifecycle::selected(&tenant, selected.as_ref())?;
                let running = services
                    .iter()
                    .map(|service| under_way(&unfinished, service, &[OperationKind::Provision]))
                    .collect::<Option<Vec<_>>>();
                if let Some(running) = running {
                    return Ok(Outcome::under_way(
                        tenant,
                        running.first().map(|operation| (*operation).clone()),
                    ));
                }
                let before = tenant.updated_at;
                let mut draft = Draft::new(tenant);
                draft.begin(OperationKind::Provision);
                let mut missing = false;
                for service in &services {
                    refuse_while_busy(&unfinished, service)?;
                    missing |= tenancy.provision(&mut draft, service)?;
                }
                if !missing {
                    // A check alone is no change of the tenant.
                    draft.tenant().updated_at = before;
                }
                Ok(Outcome::Changed(Box::new(draft)))
            },
            render_change,
        )
        .await
    }
}
