//! New tenants. A create is idempotent by identity: the same again changes nothing, another spec
//! under the same slug is a conflict that names the differences.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;

use super::draft::{Draft, Outcome};
use super::validate::Problems;
use super::{Current, Intent, Reply, Target, Tenancy, render_change, to_body};
use crate::contract::admin::TenantStatus;
use crate::contract::event::EventType;
use crate::contract::wire::{ConnectionSettings, IsolationMode, Owner, TenantCreated};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::server::error::ApiError;
use crate::server::registry::model::now;
use crate::server::registry::{AssociationState, OperationKind, StoredOwner, Tenant};

/// Most services of one request.
const SERVICES: usize = 64;

/// Body of `POST /v1/tenants`, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawContractCreate {
    name: String,
    slug: String,
    environment: String,
    isolation: String,
    metadata: BTreeMap<String, String>,
    owner: RawOwner,
}

/// Owner, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RawOwner {
    email: String,
    password_hash: String,
    email_verified: bool,
}

impl From<RawOwner> for Owner {
    fn from(raw: RawOwner) -> Self {
        Self {
            email: raw.email,
            password_hash: raw.password_hash,
            email_verified: raw.email_verified,
        }
    }
}

/// Body of `POST /v1/admin/tenants`, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawCreate {
    name: String,
    slug: Option<String>,
    id: Option<String>,
    environment: String,
    isolation_mode: String,
    services: Vec<String>,
    metadata: BTreeMap<String, String>,
    owner: RawOwner,
    connection_settings: ConnectionSettings,
    force: bool,
    dry_run: bool,
    expect_plan: Option<String>,
}

impl RawCreate {
    /// Returns true when a safeguard is to be overridden.
    pub(crate) fn forces(&self) -> bool {
        self.force
    }
}

/// A tenant that is asked for.
#[derive(Debug)]
pub(crate) struct NewTenant {
    name: String,
    slug: Slug,
    id: TenantId,
    /// Whether the id was chosen by the caller.
    id_given: bool,
    environment: Environment,
    mode: IsolationMode,
    services: Vec<ServiceName>,
    metadata: BTreeMap<String, String>,
    owner: Owner,
    settings: ConnectionSettings,
    force: bool,
}

impl Tenancy {
    /// `POST /v1/tenants`.
    pub(crate) async fn contract_create(
        self: &Arc<Self>,
        raw: RawContractCreate,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let owner = Owner::from(raw.owner);
        let mut problems = Problems::default();
        problems.owner(&owner, true);
        if raw.isolation.is_empty() {
            problems.add("isolation", "is required");
        }
        let mode = problems.mode("isolation", &raw.isolation);
        let slug = Some(raw.slug).filter(|slug| !slug.is_empty());
        let wanted = self.checked(
            problems,
            RawCreate {
                name: raw.name,
                slug,
                environment: raw.environment,
                metadata: raw.metadata,
                ..RawCreate::default()
            },
            mode,
            owner,
        )?;
        self.change(
            Target::New(wanted.slug.clone(), wanted.id.clone()),
            intent,
            |tenancy, current| tenancy.create(current, &wanted),
            |change, made| {
                let tenant = change.tenant.as_ref().ok_or_else(|| {
                    ApiError::conflict("tenant.conflict", "the tenant is not there")
                })?;
                let status = if made {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                let created = TenantCreated {
                    id: tenant.id.clone(),
                    slug: tenant.slug.clone(),
                    status: tenant.status.as_str().to_owned(),
                };
                Ok((status, to_body(&created)?))
            },
        )
        .await
    }

    /// `POST /v1/admin/tenants`: create, associate and provision in one go.
    pub(crate) async fn admin_create(
        self: &Arc<Self>,
        mut raw: RawCreate,
        mut intent: Intent,
    ) -> Result<Reply, ApiError> {
        intent.dry_run = raw.dry_run;
        intent.expect_plan = raw.expect_plan.take();
        let owner = Owner::from(std::mem::take(&mut raw.owner));
        let mut problems = Problems::default();
        problems.owner(&owner, false);
        if raw.isolation_mode.is_empty() {
            problems.add("isolationMode", "is required");
        }
        let mode = problems.mode("isolationMode", &raw.isolation_mode);
        let wanted = self.checked(problems, raw, mode, owner)?;
        self.change(
            Target::New(wanted.slug.clone(), wanted.id.clone()),
            intent,
            |tenancy, current| tenancy.create(current, &wanted),
            render_change,
        )
        .await
    }

    /// Checks what both ways of creating have in common.
    fn checked(
        &self,
        mut problems: Problems,
        raw: RawCreate,
        mode: Option<IsolationMode>,
        owner: Owner,
    ) -> Result<NewTenant, ApiError> {
        problems.name(&raw.name);
        problems.metadata(&raw.metadata);
        problems.settings(&raw.connection_settings);
        let environment = if raw.environment.trim().is_empty() {
            problems.add("environment", "is required");
            None
        } else {
            problems.take("environment", raw.environment.parse::<Environment>())
        };
        let slug = match &raw.slug {
            Some(slug) => problems.take("slug", slug.parse::<Slug>()),
            None if raw.name.trim().is_empty() => None,
            None => {
                let slug = Slug::from_name(&raw.name);
                if slug.is_none() {
                    problems.add("slug", "cannot be derived from this name: give one");
                }
                slug
            }
        };
        let given = raw
            .id
            .as_ref()
            .and_then(|id| problems.take("id", id.parse::<TenantId>()));
        if raw.services.len() > SERVICES {
            problems.add("services", format!("has more than {SERVICES} entries"));
        }
        let mut services: Vec<ServiceName> = Vec::new();
        let mut unknown = None;
        for text in raw.services.iter().take(SERVICES) {
            match text.parse::<ServiceName>() {
                Ok(name) if self.catalogue.get(&name).is_some() => {
                    if !services.contains(&name) {
                        services.push(name);
                    }
                }
                _ => {
                    let refusal = self.service_unknown(StatusCode::UNPROCESSABLE_ENTITY, text);
                    problems.add("services", &refusal.message);
                    unknown = unknown.or(Some(refusal));
                }
            }
        }
        services.sort();
        if let Err(refusal) = problems.finish() {
            // An unknown service keeps its own code, whatever else is wrong.
            return Err(match unknown {
                Some(unknown) => ApiError {
                    code: unknown.code,
                    ..refusal
                },
                None => refusal,
            });
        }
        let (Some(mode), Some(environment), Some(slug)) = (mode, environment, slug) else {
            return Err(ApiError::invalid("the request is incomplete"));
        };
        let id_given = given.is_some();
        let id = given.unwrap_or_else(|| self.vault.tenant_id(&environment, &slug));
        Ok(NewTenant {
            name: raw.name,
            slug,
            id,
            id_given,
            environment,
            mode,
            services,
            metadata: raw.metadata,
            owner,
            settings: raw.connection_settings,
            force: raw.force,
        })
    }

    fn create(&self, current: Current, wanted: &NewTenant) -> Result<Outcome, ApiError> {
        let Current { tenant, unfinished } = current;
        if let Some(existing) = tenant {
            refuse_different(&existing, wanted)?;
            return self.resume(existing, &unfinished, &wanted.services);
        }
        self.accepts(&wanted.services, wanted.mode, wanted.force)?;
        let at = now();
        let mut draft = Draft::new(Tenant {
            id: wanted.id.clone(),
            slug: wanted.slug.clone(),
            name: wanted.name.clone(),
            environment: wanted.environment.clone(),
            isolation_mode: wanted.mode,
            status: TenantStatus::Active,
            metadata: wanted.metadata.clone(),
            owner: StoredOwner {
                email: wanted.owner.email.clone(),
                sealed_password_hash: Some(&wanted.owner.password_hash)
                    .filter(|hash| !hash.is_empty())
                    .map(|hash| self.vault.seal_owner(&wanted.id, hash)),
                email_verified: wanted.owner.email_verified,
            },
            associations: BTreeMap::new(),
            created_at: at,
            updated_at: at,
            revision: 0,
        });
        draft.made = true;
        draft.step("create tenant", wanted.slug.as_str());
        draft.event(EventType::TenantCreated, None);
        if !wanted.services.is_empty() {
            draft.begin(OperationKind::Provision);
        }
        for service in &wanted.services {
            self.associate(
                &mut draft,
                service,
                wanted.mode,
                &wanted.settings,
                wanted.force,
            )?;
        }
        Ok(Outcome::Changed(Box::new(draft)))
    }
}

/// Refuses when the tenant that is there is not the one that is asked for.
///
/// Password hashes are not compared: the same password has another hash at every call.
fn refuse_different(existing: &Tenant, wanted: &NewTenant) -> Result<(), ApiError> {
    let conflict = |code, message| Err(ApiError::conflict(code, message));
    if existing.slug != wanted.slug {
        return conflict(
            "tenant.conflict",
            format!(
                "the id `{}` belongs to tenant `{}`",
                existing.id, existing.slug
            ),
        );
    }
    if existing.status == TenantStatus::Purged {
        return conflict(
            "tenant.purged",
            format!(
                "slug already taken: tenant `{}` was purged, and its id and slug are never used again",
                existing.slug
            ),
        );
    }
    let mut other = Vec::new();
    let mut differs = |different: bool, field: &str| {
        if different {
            other.push(field.to_owned());
        }
    };
    differs(wanted.id_given && existing.id != wanted.id, "id");
    differs(existing.name != wanted.name, "name");
    differs(existing.environment != wanted.environment, "environment");
    differs(existing.isolation_mode != wanted.mode, "isolationMode");
    differs(existing.metadata != wanted.metadata, "metadata");
    differs(existing.owner.email != wanted.owner.email, "owner email");
    for service in &wanted.services {
        match existing.associations.get(service) {
            Some(association) if association.state != AssociationState::Purged => {
                differs(
                    association.isolation_mode != wanted.mode,
                    &format!("isolationMode of {service}"),
                );
                differs(
                    wanted.settings != ConnectionSettings::default()
                        && association.settings != wanted.settings,
                    &format!("connectionSettings of {service}"),
                );
            }
            _ => differs(true, &format!("services (it lacks {service})")),
        }
    }
    if other.is_empty() {
        return Ok(());
    }
    conflict(
        "tenant.conflict",
        format!(
            "slug already taken: tenant `{}` exists with another {}",
            existing.slug,
            other.join(", ")
        ),
    )
}
