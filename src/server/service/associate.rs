//! Associations and the provisioning of their databases.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;

use super::draft::{Draft, Outcome};
use super::provision::refuse_while_busy;
use super::validate::Problems;
use super::{Current, Intent, Reply, Target, Tenancy, render_change, to_body};
use crate::contract::ServiceName;
use crate::contract::admin::{AssociationStatus, TenantStatus};
use crate::contract::catalogue::Service;
use crate::contract::ids::TenantRef;
use crate::contract::wire::{AssociationCreated, ConnectionSettings, ErrorBody, IsolationMode};
use crate::server::error::ApiError;
use crate::server::registry::{AssociationState, OperationKind, Tenant};

/// Body of `POST /v1/tenants/{id}/associations/{service}`, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawAssociate {
    isolation_mode: String,
    max_open_conns: u32,
    max_idle_conns: u32,
}

/// Body of `POST /v1/admin/tenants/{tenant}/services/{service}`, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawAdd {
    isolation_mode: Option<String>,
    connection_settings: ConnectionSettings,
    force: bool,
    dry_run: bool,
    expect_plan: Option<String>,
}

impl RawAdd {
    /// Returns true when a safeguard is to be overridden.
    pub(crate) fn forces(&self) -> bool {
        self.force
    }
}

/// An association that is asked for.
#[derive(Debug, Clone)]
struct Wanted {
    mode: Option<IsolationMode>,
    settings: ConnectionSettings,
    force: bool,
}

/// Refuses a change of a tenant that was purged.
pub(super) fn refuse_purged(tenant: &Tenant) -> Result<(), ApiError> {
    if tenant.status == TenantStatus::Purged {
        return Err(ApiError::conflict(
            "tenant.purged",
            format!(
                "tenant `{}` was purged; its id and slug are never used again",
                tenant.slug
            ),
        ));
    }
    Ok(())
}

/// The answer when a tenant is not associated with a service.
pub(super) fn association_not_found(tenant: &Tenant, service: &ServiceName) -> ApiError {
    ApiError::not_found(
        "association.not_found",
        format!(
            "tenant `{}` is not associated with service `{service}`",
            tenant.slug
        ),
    )
}

impl Tenancy {
    /// Says which services are known.
    pub(super) fn service_unknown(&self, status: StatusCode, service: &str) -> ApiError {
        let known: Vec<&str> = self.catalogue.iter().map(|(name, _)| name).collect();
        let shown: String = service.chars().take(64).collect();
        ApiError::new(
            status,
            "service.unknown",
            format!(
                "service `{}` is not in the catalogue; known services: {}",
                shown.escape_debug(),
                known.join(", ")
            ),
        )
    }

    /// Returns a service named in a path.
    pub(super) fn service_in_path(&self, text: &str) -> Result<(ServiceName, &Service), ApiError> {
        text.parse()
            .ok()
            .and_then(|name: ServiceName| {
                let service = self.catalogue.get(&name)?;
                Some((name, service))
            })
            .ok_or_else(|| self.service_unknown(StatusCode::NOT_FOUND, text))
    }

    /// `POST /v1/tenants/{id}/associations/{service}`.
    pub(crate) async fn contract_associate(
        self: &Arc<Self>,
        tenant: &TenantRef,
        service: &str,
        raw: RawAssociate,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, _) = self.service_in_path(service)?;
        let mut problems = Problems::default();
        let mode = problems.mode("isolationMode", &raw.isolation_mode);
        let settings = ConnectionSettings {
            max_open_conns: raw.max_open_conns,
            max_idle_conns: raw.max_idle_conns,
            statement_timeout: String::new(),
        };
        problems.settings(&settings);
        problems.finish()?;
        let wanted = Wanted {
            mode: mode.filter(|_| !raw.isolation_mode.is_empty()),
            settings,
            force: false,
        };
        let named = service.clone();
        // The official client takes 409 for "converged", so the refusals of the other kind get
        // another status, and a repeat takes up a provisioning that had failed.
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |tenancy, current| {
                match current.tenant.as_ref().map(|tenant| tenant.status) {
                    Some(TenantStatus::Purged) => return Err(super::tenant_not_found(tenant)),
                    Some(TenantStatus::Suspended) => {
                        return Err(ApiError::new(
                            StatusCode::UNPROCESSABLE_ENTITY,
                            "tenant.suspended",
                            format!("tenant `{tenant}` is suspended; reactivate it first"),
                        ));
                    }
                    _ => {}
                }
                tenancy.add(current, &named, &wanted)
            },
            |change, made| {
                if !made {
                    let body = ErrorBody {
                        code: "association.exists".into(),
                        error: "association already exists".into(),
                        status: None,
                    };
                    return Ok((StatusCode::CONFLICT, to_body(&body)?));
                }
                let status = change
                    .tenant
                    .iter()
                    .flat_map(|tenant| &tenant.services)
                    .find(|record| record.service == service)
                    .map_or(AssociationStatus::Provisioning, |record| record.status);
                let created = AssociationCreated {
                    service_name: service.clone(),
                    status: status.as_str().to_owned(),
                };
                Ok((StatusCode::CREATED, to_body(&created)?))
            },
        )
        .await
    }

    /// `POST /v1/admin/tenants/{tenant}/services/{service}`.
    pub(crate) async fn add_service(
        self: &Arc<Self>,
        tenant: &TenantRef,
        service: &str,
        raw: RawAdd,
        mut intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, _) = self.service_in_path(service)?;
        let mut problems = Problems::default();
        let mode = raw
            .isolation_mode
            .and_then(|word| problems.mode("isolationMode", &word));
        problems.settings(&raw.connection_settings);
        problems.finish()?;
        let wanted = Wanted {
            mode,
            settings: raw.connection_settings,
            force: raw.force,
        };
        intent.dry_run = raw.dry_run;
        intent.expect_plan = raw.expect_plan;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |tenancy, current| tenancy.add(current, &service, &wanted),
            render_change,
        )
        .await
    }

    fn add(
        &self,
        current: Current,
        service: &ServiceName,
        wanted: &Wanted,
    ) -> Result<Outcome, ApiError> {
        let Current { tenant, unfinished } = current;
        let tenant = tenant.ok_or_else(|| super::tenant_not_found(&"new"))?;
        refuse_purged(&tenant)?;
        if tenant.status == TenantStatus::Suspended {
            return Err(ApiError::conflict(
                "tenant.suspended",
                format!("tenant `{}` is suspended; reactivate it first", tenant.slug),
            ));
        }
        let mode = wanted.mode.unwrap_or(tenant.isolation_mode);
        if let Some(existing) = tenant
            .associations
            .get(service)
            .filter(|existing| existing.state != AssociationState::Purged)
        {
            let mut other = Vec::new();
            if wanted
                .mode
                .is_some_and(|mode| mode != existing.isolation_mode)
            {
                other.push("isolationMode");
            }
            if wanted.settings != ConnectionSettings::default()
                && wanted.settings != existing.settings
            {
                other.push("connectionSettings");
            }
            if !other.is_empty() {
                return Err(ApiError::conflict(
                    "association.exists",
                    format!(
                        "tenant `{}` is associated with `{service}` already, with another {}",
                        tenant.slug,
                        other.join(" and ")
                    ),
                ));
            }
            return self.resume(tenant, &unfinished, std::slice::from_ref(service));
        }
        refuse_while_busy(&unfinished, service)?;
        self.accepts(std::slice::from_ref(service), mode, wanted.force)?;
        let mut draft = Draft::new(tenant);
        draft.made = true;
        draft.begin(OperationKind::Provision);
        self.associate(&mut draft, service, mode, &wanted.settings, wanted.force)?;
        Ok(Outcome::Changed(Box::new(draft)))
    }
}
