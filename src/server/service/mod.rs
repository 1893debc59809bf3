//! The rules: what a change means, which plan it has, which events it causes.
//!
//! A rule takes a tenant as it is and returns a draft of what is to be. The driver here shows
//! the plan, or commits the draft, and starts over when the tenant changed in between.

mod associate;
mod audit;
mod connections;
mod create;
mod draft;
mod lifecycle;
pub(crate) mod payloads;
mod provision;
mod query;
mod removal;
mod rotate;
mod update;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Notify;

pub(crate) use associate::{RawAdd, RawAssociate};
pub(crate) use audit::{RawAuditPart, RawAuditQuery};
pub(crate) use connections::Answers;
pub(crate) use create::{RawContractCreate, RawCreate};
pub(crate) use draft::{Outcome, Unchanged};
pub(crate) use lifecycle::RawChange;
pub(crate) use payloads::event;
pub(crate) use query::{RawOperationQuery, RawTenantQuery, not_a_tenant, read_any_cursor};
pub(crate) use update::RawUpdate;
pub(crate) use validate::Problems;

use super::audit::{Reads, Trail};
use super::error::ApiError;
use super::freshness::Freshness;
use super::isolation::Checking;
use super::metrics::Metrics;
use super::operations::{Leases, Progress};
use super::registry::{
    Commit, NewOperation, Operation, Origin, Registry, RegistryError, Replay, Tenant, TenantKey,
};
use super::rekey::Resealing;
use super::vault::Vault;
use crate::contract::admin::{Change, Plan};
use crate::contract::catalogue::Catalogue;
use crate::contract::ids::TenantRef;
use crate::contract::{Slug, TenantId};
use crate::provision::{Cluster, Provisioner};

/// Times that a change starts over because the tenant changed meanwhile.
const ATTEMPTS: usize = 32;

/// Everything that rules, engine and dispatcher share.
#[derive(Debug)]
pub(crate) struct Tenancy {
    /// What is known.
    pub(crate) registry: Arc<dyn Registry>,
    /// Known services.
    pub(crate) catalogue: Catalogue,
    /// Clusters; the first takes new tenants.
    pub(crate) clusters: Vec<Cluster>,
    /// What works on them.
    pub(crate) provisioner: Provisioner,
    /// Keys.
    pub(crate) vault: Vault,
    /// Connections answers that were given before.
    pub(crate) answers: Answers,
    /// Whether they are still true; `None` where nobody else writes to the registry.
    pub(crate) freshness: Option<Arc<Freshness>>,
    /// Figures.
    pub(crate) metrics: Metrics,
    /// Grace period of a rotation that does not name one.
    pub(crate) rotation_grace: Duration,
    /// Whether there is a Redis to publish events on.
    pub(crate) publishes: bool,
    /// Rung when there may be an operation to work on.
    pub(crate) work: Notify,
    /// Rung when there may be events to publish.
    pub(crate) mail: Notify,
    /// Who watches which operation.
    pub(crate) progress: Progress,
    /// What is worked on here.
    pub(crate) leases: Leases,
    /// What older keys have sealed.
    pub(crate) resealing: Resealing,
    /// Reads of credentials that are not in the audit log yet.
    pub(crate) reads: Reads,
    /// The check of isolation.
    pub(crate) checking: Checking,
}

/// What a request asks for besides the change itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intent {
    /// Plan only.
    pub(crate) dry_run: bool,
    /// Refuse unless the plan has this hash.
    pub(crate) expect_plan: Option<String>,
    /// Digests of idempotency key and body, when the request has a key.
    pub(crate) repeat: Option<(String, String)>,
    /// The request, for the log of what comes of it.
    pub(crate) origin: Option<Origin>,
    /// What the audit log is told of it.
    pub(crate) trail: Option<Trail>,
}

/// What a change is about.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A tenant that must exist.
    Existing(TenantRef),
    /// A tenant that may have to be made.
    New(Slug, TenantId),
}

/// What a rule starts from.
#[derive(Debug)]
pub(crate) struct Current {
    /// The tenant, unless it is new.
    pub(crate) tenant: Option<Tenant>,
    /// Its operations that have not ended.
    pub(crate) unfinished: Vec<Operation>,
}

/// A status and a JSON body.
pub(crate) type Reply = (StatusCode, String);

/// Renders a change as the extensions answer: 201 when something was made, 200 otherwise.
pub(crate) fn render_change(change: &Change, made: bool) -> Result<Reply, ApiError> {
    let status = if made && !change.dry_run {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, to_body(change)?))
}

/// Returns the JSON of an answer.
pub(crate) fn to_body<T: serde::Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|error| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("the answer cannot be written: {error}"),
        )
    })
}

/// The answer when nothing is called `tenant`.
pub(crate) fn tenant_not_found(tenant: &impl std::fmt::Display) -> ApiError {
    ApiError::not_found(
        "tenant.not_found",
        format!("tenant `{tenant}` does not exist"),
    )
}

impl Tenancy {
    /// Returns a tenant by id or slug.
    pub(crate) async fn find(&self, tenant: &TenantRef) -> Result<Option<Tenant>, ApiError> {
        let key = match tenant {
            TenantRef::Id(id) => TenantKey::Id(id),
            TenantRef::Slug(slug) => TenantKey::Slug(slug),
        };
        self.noted(self.registry.tenant(key).await)
    }

    /// Counts a failure of the registry and turns it into a refusal.
    pub(crate) fn noted<T>(&self, result: Result<T, RegistryError>) -> Result<T, ApiError> {
        result.map_err(|error| {
            if !matches!(error, RegistryError::Stale) {
                self.metrics.registry_failed();
            }
            error.into()
        })
    }

    /// Reads the keys again when a value was sealed with one that another server has made.
    pub(crate) async fn learn_keys(&self, mut sealed: impl Iterator<Item = &String>) {
        if sealed.all(|sealed| self.vault.knows(sealed)) {
            return;
        }
        if let Err(error) = self.vault.refresh(self.registry.as_ref()).await {
            tracing::error!(%error, "the keys cannot be read again");
        }
    }

    /// Commits a change; nothing given before is given again once the commit can be seen.
    ///
    /// Runs to its end even when the caller goes away.
    pub(crate) async fn commit(self: &Arc<Self>, commit: Commit) -> Result<(), RegistryError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let works = !commit.operations.is_empty() || !commit.reschedule.is_empty();
            let mails = !commit.events.is_empty();
            let watched: Vec<String> = commit
                .step
                .iter()
                .map(|step| step.operation.clone())
                .chain(commit.supersede.iter().map(|(id, _)| id.clone()))
                .chain(commit.reschedule.iter().map(|(id, _)| id.clone()))
                .collect();
            let quiet = this.answers.quiet(&commit.tenant.id);
            let result = this.registry.commit(commit).await;
            drop(quiet);
            if result.is_ok() {
                if works {
                    this.work.notify_one();
                }
                if mails {
                    this.mail.notify_one();
                }
                for operation in watched {
                    this.progress.changed(&operation);
                }
            }
            result
        });
        task.await
            .unwrap_or_else(|error| Err(RegistryError::Unavailable(error.to_string())))
    }

    /// Answers a change: its plan, or the change once it is committed. `render` is told whether
    /// a tenant or association was made.
    pub(crate) async fn change(
        self: &Arc<Self>,
        target: Target,
        intent: Intent,
        rule: impl Fn(&Self, Current) -> Result<Outcome, ApiError> + Send + Sync,
        render: impl Fn(&Change, bool) -> Result<Reply, ApiError> + Send + Sync,
    ) -> Result<Reply, ApiError> {
        for _ in 0..ATTEMPTS {
            if let Some(reply) = self.replayed(&intent).await? {
                return Ok(reply);
            }
            let current = self.current(&target).await?;
            if let (Some(trail), Some(tenant)) = (&intent.trail, &current.tenant) {
                trail.about(&tenant.id);
            }
            let before = current.tenant.clone();
            let draft = match rule(self, current)? {
                Outcome::Unchanged(unchanged) => {
                    let Unchanged {
                        tenant,
                        operation,
                        warnings,
                    } = *unchanged;
                    let plan = Plan::new(Vec::new(), Vec::new(), warnings);
                    if let Some(trail) = &intent.trail {
                        trail.quiet("unchanged");
                    }
                    expected(&plan, intent.expect_plan.as_deref())?;
                    let change = Change {
                        changed: false,
                        dry_run: intent.dry_run,
                        tenant: Some(tenant.record(&self.catalogue, &self.clusters)),
                        plan,
                        operation: operation.map(|operation| operation.record()),
                    };
                    return render(&change, false);
                }
                Outcome::Changed(draft) => draft,
            };
            let (plan, mut commit, made) = draft.finish(self);
            for operation in &mut commit.operations {
                operation.parameters.origin.clone_from(&intent.origin);
            }
            if let Some(trail) = &intent.trail {
                trail.planned(&plan.hash);
            }
            expected(&plan, intent.expect_plan.as_deref())?;
            let record = |tenant: &Tenant| Some(tenant.record(&self.catalogue, &self.clusters));
            if intent.dry_run {
                if let Some(trail) = &intent.trail {
                    trail.quiet("planned");
                }
                let change = Change {
                    changed: true,
                    dry_run: true,
                    tenant: before.as_ref().and_then(record),
                    plan,
                    operation: None,
                };
                return render(&change, made);
            }
            let change = Change {
                changed: true,
                dry_run: false,
                tenant: record(&commit.tenant),
                plan,
                operation: commit
                    .operations
                    .first()
                    .map(|operation: &NewOperation| operation.record(&commit.tenant)),
            };
            let reply = render(&change, made)?;
            commit.replay = intent.repeat.clone().map(|(key, fingerprint)| Replay {
                key,
                fingerprint,
                status: reply.0.as_u16(),
                body: reply.1.clone(),
            });
            if let Some(trail) = &intent.trail {
                trail.about(&commit.tenant.id);
                let mut record = trail.record(reply.0.as_u16(), None);
                record.operation = change.operation.as_ref().map(|begun| begun.id.clone());
                commit.audit.push(record);
            }
            match self.commit(commit).await {
                Ok(()) => {
                    if let Some(trail) = &intent.trail {
                        trail.recorded();
                    }
                    return Ok(reply);
                }
                Err(RegistryError::Stale) => {}
                Err(error) => return self.noted(Err(error)),
            }
        }
        Err(RegistryError::Stale.into())
    }

    async fn current(&self, target: &Target) -> Result<Current, ApiError> {
        let tenant = match target {
            Target::Existing(tenant) => Some(
                self.find(tenant)
                    .await?
                    .ok_or_else(|| tenant_not_found(tenant))?,
            ),
            Target::New(slug, id) => {
                match self.noted(self.registry.tenant(TenantKey::Slug(slug)).await)? {
                    Some(tenant) => Some(tenant),
                    None => self.noted(self.registry.tenant(TenantKey::Id(id)).await)?,
                }
            }
        };
        let unfinished = match &tenant {
            Some(tenant) => self.noted(self.registry.unfinished(&tenant.id).await)?,
            None => Vec::new(),
        };
        Ok(Current { tenant, unfinished })
    }

    /// Returns the answer that was given to the same request before.
    pub(crate) async fn replayed(&self, intent: &Intent) -> Result<Option<Reply>, ApiError> {
        let Some((key, fingerprint)) = &intent.repeat else {
            return Ok(None);
        };
        let Some(replay) = self.noted(self.registry.replay(key).await)? else {
            return Ok(None);
        };
        if replay.fingerprint != *fingerprint {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "request.key_reused",
                "the `Idempotency-Key` was used before with another body",
            ));
        }
        if let Some(trail) = &intent.trail {
            trail.quiet("replayed");
        }
        let status = StatusCode::from_u16(replay.status).unwrap_or(StatusCode::OK);
        Ok(Some((status, replay.body)))
    }
}

/// Refuses when the plan is not the one that was agreed to.
pub(crate) fn expected(plan: &Plan, hash: Option<&str>) -> Result<(), ApiError> {
    match hash {
        Some(hash) if hash != plan.hash => Err(ApiError::conflict(
            "plan.changed",
            format!(
                "the plan is `{}` now and not `{}`; nothing was done",
                plan.hash,
                hash.chars().take(80).collect::<String>().escape_debug()
            ),
        )),
        _ => Ok(()),
    }
}
