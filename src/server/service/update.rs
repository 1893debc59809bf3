//! Changes of a tenant's own fields and of pool settings, and invalidation of products' caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::associate::refuse_purged;
use super::draft::{Draft, Outcome};
use super::lifecycle::{RawChange, selected};
use super::provision::refuse_while_busy;
use super::validate::Problems;
use super::{Current, Intent, Reply, Target, Tenancy, payloads, render_change, tenant_not_found};
use crate::contract::ServiceName;
use crate::contract::event::EventType;
use crate::contract::ids::TenantRef;
use crate::contract::wire::ConnectionSettings;
use crate::provision::Step;
use crate::server::error::ApiError;
use crate::server::registry::model::slot;
use crate::server::registry::{DatabaseState, OperationKind, Pair, Work};

/// Body of `PATCH /v1/admin/tenants/{tenant}`, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawUpdate {
    name: Option<String>,
    metadata: BTreeMap<String, String>,
    owner_email: Option<String>,
    connection_settings: Option<ConnectionSettings>,
    dry_run: bool,
    expect_plan: Option<String>,
}

impl Tenancy {
    /// `PATCH /v1/admin/tenants/{tenant}`.
    pub(crate) async fn update(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawUpdate,
        mut intent: Intent,
    ) -> Result<Reply, ApiError> {
        let mut problems = Problems::default();
        if let Some(name) = &raw.name {
            problems.name(name);
        }
        problems.metadata(&raw.metadata);
        if let Some(email) = raw.owner_email.as_deref().filter(|email| !email.is_empty()) {
            problems.email(email);
        }
        if let Some(settings) = &raw.connection_settings {
            problems.settings(settings);
        }
        problems.finish()?;
        intent.dry_run = raw.dry_run;
        intent.expect_plan.clone_from(&raw.expect_plan);
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| plan_update(current, &raw),
            render_change,
        )
        .await
    }

    /// `POST /v1/admin/tenants/{tenant}/invalidate`.
    pub(crate) async fn invalidate(
        self: &Arc<Self>,
        tenant: &TenantRef,
        raw: RawChange,
        intent: Intent,
    ) -> Result<Reply, ApiError> {
        let (service, intent) = raw.checked(self, intent)?;
        self.change(
            Target::Existing(tenant.clone()),
            intent,
            |_, current| {
                let tenant = current.tenant.ok_or_else(|| tenant_not_found(&"new"))?;
                refuse_purged(&tenant)?;
                let services = selected(&tenant, service.as_ref())?;
                if services.is_empty() {
                    return Ok(Outcome::unchanged(tenant));
                }
                let updated_at = tenant.updated_at;
                let mut draft = Draft::new(tenant);
                for service in &services {
                    let slug = draft.tenant().slug.clone();
                    draft.step("invalidate caches", format!("{slug}/{service}"));
                    draft.event(
                        EventType::CacheInvalidate,
                        Some(payloads::invalidate(service, raw.reason.as_deref())),
                    );
                }
                // The tenant itself stays as it is.
                draft.tenant().updated_at = updated_at;
                Ok(Outcome::Changed(Box::new(draft)))
            },
            render_change,
        )
        .await
    }
}

fn plan_update(current: Current, raw: &RawUpdate) -> Result<Outcome, ApiError> {
    let Current { tenant, unfinished } = current;
    let tenant = tenant.ok_or_else(|| tenant_not_found(&"new"))?;
    refuse_purged(&tenant)?;
    let mut draft = Draft::new(tenant);
    let slug = draft.tenant().slug.clone();
    let tenant = draft.tenant();
    let mut fields = Vec::new();
    if let Some(name) = raw.name.as_ref().filter(|name| **name != tenant.name) {
        tenant.name.clone_from(name);
        fields.push("name".to_owned());
    }
    if let Some(email) = raw
        .owner_email
        .as_ref()
        .filter(|email| **email != tenant.owner.email)
    {
        tenant.owner.email.clone_from(email);
        // Whether the new address is verified is not known.
        tenant.owner.email_verified = false;
        fields.push("ownerEmail".to_owned());
    }
    for (key, value) in &raw.metadata {
        let changed = if value.is_empty() {
            tenant.metadata.remove(key).is_some()
        } else {
            tenant.metadata.insert(key.clone(), value.clone()).as_ref() != Some(value)
        };
        if changed {
            fields.push(format!("metadata.{key}"));
        }
    }
    let mut problems = Problems::default();
    problems.metadata(&tenant.metadata);
    problems.finish()?;

    let services: Vec<ServiceName> = match &raw.connection_settings {
        Some(settings) => selected(tenant, None)?
            .into_iter()
            .filter(|service| tenant.associations[service].settings != *settings)
            .collect(),
        None => Vec::new(),
    };
    if fields.is_empty() && services.is_empty() {
        return Ok(Outcome::unchanged(draft.commit.tenant));
    }
    for field in fields {
        draft.step("update", format!("{slug} {field}"));
    }
    draft.event(EventType::TenantUpdated, None);
    if let Some(settings) = raw
        .connection_settings
        .as_ref()
        .filter(|_| !services.is_empty())
    {
        draft.begin(OperationKind::Update).parameters.settings = Some(settings.clone());
        for service in &services {
            refuse_while_busy(&unfinished, service)?;
            plan_settings(&mut draft, service, settings);
        }
    }
    Ok(Outcome::Changed(Box::new(draft)))
}

/// Limits on the roles change first, then what products are told: a product must not be given
/// more connections than its login may open.
fn plan_settings(draft: &mut Draft, service: &ServiceName, settings: &ConnectionSettings) {
    let slug = draft.tenant().slug.clone();
    let active = draft.tenant().pair(service) == Pair::Active;
    let Some(association) = draft.tenant().associations.get(service) else {
        return;
    };
    let version = association.version;
    let ready = association.ready;
    let specs: Vec<_> = association
        .databases
        .iter()
        .filter(|(_, database)| ready && database.state == DatabaseState::Ready)
        .map(|(module, database)| (module.clone(), database.spec.clone()))
        .collect();
    for (module, mut spec) in specs {
        spec.settings = settings.clone();
        let apply = Step::Roles {
            slot: slot(version),
        };
        let planned = apply.planned(&spec);
        let work = Work::Cluster {
            service: service.clone(),
            module,
            apply,
            version,
        };
        draft.later(work, planned);
        if active {
            draft.later_event(EventType::ConnectionsUpdated);
        }
    }
    draft.later_here(
        Work::Settings {
            service: service.clone(),
        },
        "hand out pool settings",
        format!("{slug}/{service}"),
    );
    if let Some(operation) = &mut draft.operation {
        operation.services.push(service.clone());
    }
}
