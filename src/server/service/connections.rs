//! The connections answer, and the answers that were given before.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::StatusCode;
use zeroize::Zeroize as _;

use super::{Tenancy, to_body};
use crate::audit::actions;
use crate::contract::wire::{ConnectionSettings, ModuleDatabases, PostgresConfig, TenantConfig};
use crate::contract::{ServiceName, TenantId};
use crate::server::audit::Read;
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::registry::{Association, Pair, Tenant};
use crate::server::vault::Place;

/// Parts of the memory, so that workers seldom wait for each other. A power of two.
const SHARDS: usize = 16;
/// Tenants that a part remembers; when full it starts over.
const PER_SHARD: usize = 1024;

/// A status and a JSON body that can be given again.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: StatusCode,
    /// Environment of the tenant.
    pub(crate) environment: Arc<str>,
    /// Body. Holds passwords.
    pub(crate) body: Bytes,
    /// What the audit log calls it: `ok` or a code.
    pub(crate) result: &'static str,
}

/// Answers by tenant and service. What a change makes untrue is never given again once the
/// change can be seen in the registry.
#[derive(Debug)]
pub(crate) struct Answers {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    tenants: HashMap<TenantId, HashMap<ServiceName, Answer>>,
    /// Counts what may have made an answer untrue that is being put together.
    generation: u64,
    /// Changes that are being committed.
    changing: usize,
}

/// What must not have happened between reading the registry and remembering the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

/// While it lives, nothing about the tenant is remembered.
#[derive(Debug)]
pub(crate) struct Quiet<'a> {
    shard: &'a Mutex<Shard>,
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let mut shard = lock(self.shard);
        shard.changing -= 1;
        shard.generation += 1;
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Answers {
    fn shard(&self, tenant: &TenantId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(tenant);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// Returns the answer that was given before, or a ticket to remember a new one with.
    pub(crate) fn get(&self, tenant: &TenantId, service: &ServiceName) -> Result<Answer, Ticket> {
        let shard = lock(self.shard(tenant));
        shard
            .tenants
            .get(tenant)
            .and_then(|services| services.get(service))
            .cloned()
            .ok_or(Ticket(shard.generation))
    }

    /// Remembers an answer, unless something changed since the ticket was given.
    pub(crate) fn put(
        &self,
        ticket: Ticket,
        tenant: &TenantId,
        service: &ServiceName,
        answer: Answer,
    ) {
        let mut shard = lock(self.shard(tenant));
        if shard.changing > 0 || shard.generation != ticket.0 {
            return;
        }
        if shard.tenants.len() >= PER_SHARD && !shard.tenants.contains_key(tenant) {
            shard.tenants.clear();
        }
        shard
            .tenants
            .entry(tenant.clone())
            .or_default()
            .insert(service.clone(), answer);
    }

    /// Forgets the tenant, and remembers nothing about it while the result lives: to be held
    /// from before a commit until after it.
    pub(crate) fn quiet(&self, tenant: &TenantId) -> Quiet<'_> {
        let place = self.shard(tenant);
        let mut shard = lock(place);
        shard.tenants.remove(tenant);
        shard.changing += 1;
        shard.generation += 1;
        Quiet { shard: place }
    }
}

impl Answers {
    /// Forgets a tenant that was changed elsewhere.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        let mut shard = lock(self.shard(tenant));
        shard.tenants.remove(tenant);
        shard.generation += 1;
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.tenants.clear();
            shard.generation += 1;
        }
    }
}

impl Tenancy {
    /// Returns once what is remembered here can be used: everything that any server acknowledged
    /// before this call is known.
    pub(crate) async fn fresh(&self) -> Result<(), ApiError> {
        match &self.freshness {
            Some(freshness) => self.noted(freshness.wait().await),
            None => Ok(()),
        }
    }

    /// Has the read lease given back, so that another server can change something.
    pub(crate) fn call_in_lease(&self) {
        if let Some(freshness) = &self.freshness {
            freshness.call_in();
        }
    }

    /// `GET /v1/tenants/{tenantId}/associations/{service}/connections`.
    ///
    /// While a pair is being provisioned the answer is 404: products take that for "no such
    /// tenant", ask again at the next request, and neither open their breaker (as after a 5xx)
    /// nor close pools (as after a 403 with a status).
    ///
    /// To be called once [`Tenancy::fresh`] has returned for this request. The answer is given
    /// only once the read of it was noted for the audit log.
    pub(crate) async fn connections(
        &self,
        caller: &Caller,
        id: &str,
        service: &str,
    ) -> Result<Answer, ApiError> {
        let id = TenantId::canonical(id).ok_or_else(unknown)?;
        let service: ServiceName = service.parse().map_err(|_| unknown())?;
        let answer = match caller.reads_service(service.as_str()) {
            Ok(()) => self.answer(&id, &service).await.and_then(|answer| {
                caller.reads_environment(&answer.environment)?;
                Ok(answer)
            }),
            Err(refusal) => Err(refusal),
        };
        let answer = answer.map_err(|refusal| ApiError {
            noted: true,
            ..refusal
        });
        let (result, status) = match &answer {
            Ok(answer) => (answer.result, answer.status),
            Err(refusal) => (refusal.code, refusal.status),
        };
        self.reads.note(&Read {
            action: actions::CREDENTIALS_READ,
            caller: Some(caller),
            peer: caller.peer.map(|peer| peer.ip()),
            tenant: id.as_str(),
            service: service.as_str(),
            result,
            status: status.as_u16(),
        })?;
        answer
    }

    async fn answer(&self, id: &TenantId, service: &ServiceName) -> Result<Answer, ApiError> {
        let ticket = match self.answers.get(id, service) {
            Ok(answer) => return Ok(answer),
            Err(ticket) => ticket,
        };
        let found = self.noted(self.registry.handed_out(id, service).await)?;
        let (tenant, sealed) = found.ok_or_else(unknown)?;
        let association = tenant.associations.get(service).ok_or_else(unknown)?;
        self.learn_keys(sealed.values()).await;
        let environment = Arc::from(tenant.environment.as_str());
        let answer = match tenant.pair(service) {
            Pair::Active => {
                let mut config = self.config(&tenant, service, association, &sealed)?;
                let body = to_body(&config);
                wipe(&mut config);
                Answer {
                    status: StatusCode::OK,
                    environment,
                    body: Bytes::from(body?),
                    result: "ok",
                }
            }
            other => {
                let refusal = refusal(other, &tenant, service);
                Answer {
                    status: refusal.status,
                    environment,
                    body: Bytes::from(to_body(&refusal.body())?),
                    result: refusal.code,
                }
            }
        };
        self.answers.put(ticket, id, service, answer.clone());
        Ok(answer)
    }

    /// Returns what products are handed out; nothing when they are refused.
    pub(crate) async fn handed_out(
        &self,
        id: &TenantId,
        service: &ServiceName,
    ) -> Result<Option<TenantConfig>, ApiError> {
        let found = self.noted(self.registry.handed_out(id, service).await)?;
        let (tenant, sealed) = found.ok_or_else(unknown)?;
        let association = tenant.associations.get(service).ok_or_else(unknown)?;
        self.learn_keys(sealed.values()).await;
        match tenant.pair(service) {
            Pair::Active => self
                .config(&tenant, service, association, &sealed)
                .map(Some),
            _ => Ok(None),
        }
    }

    fn config(
        &self,
        tenant: &Tenant,
        service: &ServiceName,
        association: &Association,
        sealed: &BTreeMap<String, String>,
    ) -> Result<TenantConfig, ApiError> {
        let settings = Some(&association.settings)
            .filter(|settings| **settings != ConnectionSettings::default())
            .cloned();
        let mut databases = BTreeMap::new();
        for (module, database) in association.ready_databases() {
            let spec = &database.spec;
            let place = Place {
                tenant: &tenant.id,
                service,
                module,
                version: association.version,
            };
            let password = sealed
                .get(module)
                .map(|sealed| self.vault.open_password(&place, sealed))
                .transpose()
                .map_err(|error| broken(&place, &error.to_string()))?
                .ok_or_else(|| broken(&place, "there are none"))?;
            let cluster = self
                .clusters
                .iter()
                .find(|cluster| cluster.name == spec.cluster)
                .ok_or_else(|| {
                    ApiError::unavailable(
                        "cluster.missing",
                        format!(
                            "cluster `{}` is not configured on this server",
                            spec.cluster
                        ),
                    )
                })?;
            let login = crate::server::registry::model::slot(association.version);
            databases.insert(
                module.clone(),
                ModuleDatabases {
                    postgresql: Some(PostgresConfig {
                        host: cluster.public_host.clone(),
                        port: cluster.public_port,
                        database: spec.names.database.clone(),
                        username: spec.names.logins[login].clone(),
                        password: password.expose().to_owned(),
                        schema: spec.names.schema.clone().unwrap_or_default(),
                        sslmode: cluster.public_sslmode.clone(),
                        sslrootcert: String::new(),
                    }),
                    connection_settings: settings.clone(),
                    ..ModuleDatabases::default()
                },
            );
        }
        Ok(TenantConfig {
            id: tenant.id.to_string(),
            tenant_slug: tenant.slug.to_string(),
            tenant_name: tenant.name.clone(),
            service: service.to_string(),
            status: association.status().as_str().to_owned(),
            isolation_mode: association.isolation_mode.wire().to_owned(),
            databases,
            connection_settings: settings,
            created_at: Some(association.created_at),
            updated_at: Some(association.updated_at.max(tenant.updated_at)),
            ..TenantConfig::default()
        })
    }
}

fn unknown() -> ApiError {
    ApiError::not_found(
        "association.not_found",
        "tenant not found, or not associated with this service",
    )
}

/// Wipes the passwords of an answer that was written.
fn wipe(config: &mut TenantConfig) {
    for databases in config.databases.values_mut() {
        if let Some(postgresql) = &mut databases.postgresql {
            postgresql.password.zeroize();
        }
    }
}

fn broken(place: &Place<'_>, reason: &str) -> ApiError {
    tracing::error!(
        tenant = %place.tenant,
        service = %place.service,
        module = place.module,
        version = place.version,
        reason,
        "credentials cannot be opened"
    );
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "credentials.unreadable",
        format!(
            "the credentials of `{}` cannot be opened; the server's log says why",
            place.service
        ),
    )
}

fn refusal(pair: Pair, tenant: &Tenant, service: &ServiceName) -> ApiError {
    let slug = &tenant.slug;
    match pair {
        Pair::Suspended => ApiError::refused(
            "suspended",
            "association.suspended",
            format!("association {service} of tenant {slug} is suspended"),
        ),
        Pair::Purged => ApiError::refused(
            "purged",
            "association.purged",
            format!("association {service} of tenant {slug} is purged"),
        ),
        Pair::Unknown | Pair::Provisioning | Pair::Active => ApiError::not_found(
            "association.provisioning",
            format!("association {service} of tenant {slug} is being provisioned"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &'static str) -> Answer {
        Answer {
            status: StatusCode::OK,
            environment: "staging".into(),
            body: Bytes::from_static(text.as_bytes()),
            result: "ok",
        }
    }

    #[test]
    fn an_answer_read_before_a_change_is_not_remembered_after_it() {
        let answers = Answers::default();
        let (tenant, service) = (TenantId::generate(), "tracer".parse().unwrap());
        let ticket = answers.get(&tenant, &service).unwrap_err();
        drop(answers.quiet(&tenant));
        answers.put(ticket, &tenant, &service, answer("stale"));
        assert!(answers.get(&tenant, &service).is_err());

        let ticket = answers.get(&tenant, &service).unwrap_err();
        answers.put(ticket, &tenant, &service, answer("fresh"));
        assert_eq!(answers.get(&tenant, &service).unwrap().body, "fresh");

        let quiet = answers.quiet(&tenant);
        let during = answers.get(&tenant, &service).unwrap_err();
        answers.put(during, &tenant, &service, answer("in between"));
        assert!(answers.get(&tenant, &service).is_err());
        drop(quiet);
        answers.put(during, &tenant, &service, answer("in between"));
        assert!(answers.get(&tenant, &service).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let answers = Answers::default();
        let service: ServiceName = "tracer".parse().unwrap();
        for _ in 0..SHARDS * PER_SHARD * 2 {
            let tenant = TenantId::generate();
            let ticket = answers.get(&tenant, &service).unwrap_err();
            answers.put(ticket, &tenant, &service, answer("x"));
        }
        let kept: usize = answers
            .shards
            .iter()
            .map(|shard| lock(shard).tenants.len())
            .sum();
        assert!(kept <= SHARDS * PER_SHARD, "{kept}");
    }
}
