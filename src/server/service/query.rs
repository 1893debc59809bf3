//! Reads: lists, single records, proofs.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;

use super::lifecycle::{RawChange, selected};
use super::validate::Problems;
use super::{Intent, Tenancy, tenant_not_found};
use crate::contract::admin::{
    Claim, OperationPage, OperationRecord, OperationState, TenantPage, TenantRecord, TenantStatus,
    Verification,
};
use crate::contract::ids::TenantRef;
use crate::contract::wire::TenantView;
use crate::contract::{ServiceName, Slug, TenantId};
use crate::provision::DatabaseSpec;
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::registry::model::slot;
use crate::server::registry::{Operation, OperationFilter, Pair, TenantFilter};
use crate::server::vault::Place;

/// Page length when the request names none.
const DEFAULT_LIMIT: u32 = 100;
/// Longest page.
const LONGEST_PAGE: u32 = 1000;
/// Proofs that are tried at once.
const PROOFS: usize = 4;

/// What a list is asked for, before it is checked.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTenantQuery {
    search: Option<String>,
    status: Option<String>,
    environment: Option<String>,
    service: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// What a list of operations is asked for, before it is checked.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawOperationQuery {
    tenant: Option<String>,
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) fn limit(problems: &mut Problems, text: Option<&String>) -> u32 {
    let Some(text) = text else {
        return DEFAULT_LIMIT;
    };
    if let Ok(limit @ 1..=LONGEST_PAGE) = text.parse() {
        return limit;
    }
    problems.add("limit", format!("is not a number from 1 to {LONGEST_PAGE}"));
    DEFAULT_LIMIT
}

pub(super) fn write_cursor(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(super) fn read_cursor<T: std::str::FromStr>(
    problems: &mut Problems,
    text: Option<&String>,
) -> Option<T> {
    let text = text?;
    let value = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok());
    if value.is_none() {
        problems.add("cursor", "is not one that this server gave");
    }
    value
}

/// Cuts the one item too many that tells whether there is a next page.
pub(super) fn cut<T>(items: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

impl Tenancy {
    /// `GET /v1/tenants/{tenantId}`.
    pub(crate) async fn contract_view(
        &self,
        id: &str,
        caller: &Caller,
    ) -> Result<TenantView, ApiError> {
        let unknown = || ApiError::not_found("tenant.not_found", "tenant not found");
        let id = TenantId::canonical(id).ok_or_else(unknown)?;
        let tenant = self
            .find(&TenantRef::Id(id))
            .await?
            .filter(|tenant| tenant.status != TenantStatus::Purged)
            .ok_or_else(unknown)?;
        caller.reads_tenant(&tenant)?;
        Ok(TenantView {
            id: tenant.id,
            tenant_slug: tenant.slug,
            name: tenant.name,
            status: tenant.status.as_str().to_owned(),
            environment: tenant.environment.to_string(),
            metadata: tenant.metadata,
        })
    }

    /// `GET /v1/admin/tenants/{tenant}`.
    pub(crate) async fn record(&self, tenant: &TenantRef) -> Result<TenantRecord, ApiError> {
        let found = self
            .find(tenant)
            .await?
            .ok_or_else(|| tenant_not_found(tenant))?;
        Ok(found.record(&self.catalogue, &self.clusters))
    }

    /// `GET /v1/admin/tenants`.
    pub(crate) async fn list(&self, raw: RawTenantQuery) -> Result<TenantPage, ApiError> {
        let mut problems = Problems::default();
        let limit = limit(&mut problems, raw.limit.as_ref());
        let after: Option<Slug> = read_cursor(&mut problems, raw.cursor.as_ref());
        if let Some(status) = &raw.status
            && !matches!(status.as_str(), "active" | "suspended" | "purged" | "all")
        {
            problems.add("status", "is not `active`, `suspended`, `purged` or `all`");
        }
        problems.finish_query()?;
        let filter = TenantFilter {
            search: raw
                .search
                .filter(|text| !text.is_empty())
                .map(|text| text.to_lowercase()),
            status: raw.status,
            environment: raw.environment.map(|text| text.trim().to_lowercase()),
            service: raw.service,
        };
        let found = self
            .registry
            .tenants(&filter, after.as_ref(), limit + 1)
            .await;
        let mut tenants = self.noted(found)?;
        let more = cut(&mut tenants, limit);
        let next_cursor = tenants
            .last()
            .filter(|_| more)
            .map(|tenant| write_cursor(tenant.slug.as_str()));
        Ok(TenantPage {
            items: tenants
                .iter()
                .map(|tenant| tenant.record(&self.catalogue, &self.clusters))
                .collect(),
            next_cursor,
        })
    }

    /// `GET /v1/admin/operations`.
    pub(crate) async fn operations(
        &self,
        raw: RawOperationQuery,
    ) -> Result<OperationPage, ApiError> {
        let mut problems = Problems::default();
        let limit = limit(&mut problems, raw.limit.as_ref());
        let before: Option<i64> = read_cursor(&mut problems, raw.cursor.as_ref());
        let state = raw.state.as_deref().and_then(|word| {
            let state = [
                OperationState::Pending,
                OperationState::Running,
                OperationState::Succeeded,
                OperationState::Failed,
            ]
            .into_iter()
            .find(|state| state.as_str() == word);
            if state.is_none() {
                problems.add(
                    "state",
                    "is not `pending`, `running`, `succeeded` or `failed`",
                );
            }
            state
        });
        problems.finish_query()?;
        let tenant = match &raw.tenant {
            Some(text) => Some(self.tenant_id(text).await?),
            None => None,
        };
        let filter = OperationFilter { tenant, state };
        let found = self.registry.operations(&filter, before, limit + 1).await;
        let mut operations = self.noted(found)?;
        let more = cut(&mut operations, limit);
        let next_cursor = operations
            .last()
            .filter(|_| more)
            .map(|operation| write_cursor(&operation.sequence.to_string()));
        Ok(OperationPage {
            items: operations.iter().map(Operation::record).collect(),
            next_cursor,
        })
    }

    /// Returns the id of a tenant named by id or slug.
    pub(crate) async fn tenant_id(&self, text: &str) -> Result<TenantId, ApiError> {
        let tenant: TenantRef = text.parse().map_err(|_| not_a_tenant(text))?;
        self.find(&tenant)
            .await?
            .map(|tenant| tenant.id)
            .ok_or_else(|| tenant_not_found(&tenant))
    }

    /// `GET /v1/admin/operations/{id}`.
    pub(crate) async fn operation(&self, id: &str) -> Result<OperationRecord, ApiError> {
        let shown: String = id.chars().take(40).collect();
        self.noted(self.registry.operation(id).await)?
            .map(|operation| operation.record())
            .ok_or_else(|| {
                ApiError::not_found(
                    "operation.not_found",
                    format!("operation `{}` does not exist", shown.escape_debug()),
                )
            })
    }

    /// `POST /v1/admin/tenants/{tenant}/verify`: tries every claim with the tenant's own logins.
    pub(crate) async fn verify(
        &self,
        tenant: &TenantRef,
        raw: RawChange,
    ) -> Result<Verification, ApiError> {
        let (service, _) = raw.checked(self, Intent::default())?;
        let found = self
            .find(tenant)
            .await?
            .ok_or_else(|| tenant_not_found(tenant))?;
        let mut proofs = Vec::new();
        for service in selected(&found, service.as_ref())? {
            if found.pair(&service) == Pair::Unknown {
                continue;
            }
            let association = &found.associations[&service];
            let version = association.version;
            let sealed = self
                .registry
                .credentials(&found.id, &service, version)
                .await;
            let sealed = self.noted(sealed)?;
            self.learn_keys(sealed.values()).await;
            for (module, database) in association.ready_databases() {
                let place = Place {
                    tenant: &found.id,
                    service: &service,
                    module,
                    version,
                };
                let password = sealed
                    .get(module)
                    .and_then(|sealed| self.vault.open_password(&place, sealed).ok());
                proofs.push((database.spec.clone(), version, password));
            }
        }
        let tried: Vec<Result<Vec<Claim>, ApiError>> = futures_util::stream::iter(proofs)
            .map(|(spec, version, password)| async move {
                let Some(password) = password else {
                    return Ok(vec![untried(
                        &spec,
                        "the credentials handed out can be opened",
                        "they cannot; the server's log says why".to_owned(),
                    )]);
                };
                let foreign = self
                    .registry
                    .foreign_database(&spec.cluster, spec.mode, &spec.tenant_id)
                    .await;
                let foreign = self.noted(foreign)?;
                match self
                    .provisioner
                    .prove(&spec, slot(version), &password, foreign.as_ref())
                    .await
                {
                    Ok(claims) => Ok(claims),
                    Err(error) if error.is_transient() => Err(error.into()),
                    Err(error) => Ok(vec![untried(
                        &spec,
                        "every claim can be tried",
                        error.to_string(),
                    )]),
                }
            })
            .buffered(PROOFS)
            .collect()
            .await;
        let mut claims = Vec::new();
        for part in tried {
            claims.extend(part?);
        }
        Ok(Verification { claims })
    }

    /// Checks the filters of `GET /v1/admin/databases`.
    pub(crate) async fn database_filter(
        &self,
        tenant: Option<&str>,
        service: Option<&str>,
    ) -> Result<(Option<TenantId>, Option<ServiceName>), ApiError> {
        let service = service
            .map(|text| {
                text.parse()
                    .map_err(|_| self.service_unknown(StatusCode::UNPROCESSABLE_ENTITY, text))
            })
            .transpose()?;
        let tenant = match tenant {
            Some(text) => Some(self.tenant_id(text).await?),
            None => None,
        };
        Ok((tenant, service))
    }
}

/// The answer for a path or parameter that cannot name a tenant.
pub(crate) fn not_a_tenant(text: &str) -> ApiError {
    let shown: String = text.chars().take(64).collect();
    tenant_not_found(&shown.escape_debug())
}

fn untried(spec: &DatabaseSpec, claim: &str, evidence: String) -> Claim {
    let subject = match &spec.names.schema {
        Some(schema) => format!("{}/{}.{schema}", spec.cluster, spec.names.database),
        None => format!("{}/{}", spec.cluster, spec.names.database),
    };
    Claim {
        subject,
        claim: claim.to_owned(),
        holds: false,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_way_and_rubbish_is_refused() {
        let mut problems = Problems::default();
        let slug: Slug = "banco-aurora".parse().unwrap();
        let cursor = write_cursor(slug.as_str());
        assert_eq!(read_cursor(&mut problems, Some(&cursor)), Some(slug));
        assert_eq!(read_cursor::<i64>(&mut problems, None), None);
        assert!(problems.finish().is_ok());
        let mut problems = Problems::default();
        assert_eq!(
            read_cursor::<Slug>(&mut problems, Some(&"'; DROP".to_owned())),
            None
        );
        assert!(problems.finish().is_err());
    }
}
