//! Tenants of one service: who asks, how they connect, and what was told about them meanwhile.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::pools::{Farewell, PoolCounts, PoolSettings, Pools, SessionError, TenantPools};
use super::refusal::Refusal;
use super::trust::{NotIdentified, Trust};
use crate::client::{ErrorKind, Resolver};
use crate::contract::{ServiceName, TenantId};
use crate::link::postgres::PooledSession;
use crate::token::Identity;

/// How often the same request looks again because something was taken away meanwhile.
const AGAIN: usize = 16;

/// How tenants are told apart and served.
#[derive(Debug, Clone)]
pub struct TenancySettings {
    /// Service, as the Tenant Manager knows it.
    pub service: ServiceName,
    /// Modules that handlers need; the first that has a database when empty. As in the products,
    /// a request is served only when all of them can be.
    pub modules: Vec<String>,
    /// Who vouches for tokens.
    pub trust: Trust,
    /// Issuer that tokens must be of; any when absent, as in the products.
    pub issuer: Option<String>,
    /// Whom tokens are for: one that says for whom it is, and not for this, is refused. Not looked
    /// at when absent, as in the products.
    pub audience: Option<String>,
    /// How many pools there may be.
    pub pools: PoolSettings,
}

/// The tenants of one service. Cloning is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Tenancy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: ServiceName,
    trust: Trust,
    issuer: Option<String>,
    audience: Option<String>,
    resolver: Resolver,
    pools: Pools,
}

/// The tenant of a request, in its extensions.
#[derive(Debug, Clone)]
pub struct Tenant {
    id: TenantId,
    identity: Arc<Identity>,
    pools: Arc<TenantPools>,
}

impl Tenant {
    /// Returns the canonical id.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Returns whom the token speaks for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns a session in the tenant's own database, or schema, of the first module.
    pub async fn session(&self) -> Result<TenantSession, SessionError> {
        self.session_of(self.pools.first()).await
    }

    /// Returns a session in the tenant's own database, or schema, of a module.
    pub async fn session_of(&self, module: &str) -> Result<TenantSession, SessionError> {
        Ok(TenantSession {
            session: self.pools.session(module).await?,
            _pools: Arc::clone(&self.pools),
        })
    }
}

/// A session of a tenant; goes back to the tenant's pool when dropped.
pub struct TenantSession {
    session: PooledSession,
    /// While there is a session, the pools count as used.
    _pools: Arc<TenantPools>,
}

impl std::fmt::Debug for TenantSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TenantSession")
    }
}

impl std::ops::Deref for TenantSession {
    type Target = PooledSession;
    fn deref(&self) -> &PooledSession {
        &self.session
    }
}

impl std::ops::DerefMut for TenantSession {
    fn deref_mut(&mut self) -> &mut PooledSession {
        &mut self.session
    }
}

impl Tenancy {
    /// Builds the tenants of a service; nothing is asked or opened yet. Must be called inside of a
    /// runtime: what has no work is closed in the background for as long as this lives.
    pub fn new(settings: TenancySettings, resolver: Resolver) -> Self {
        let pause = (settings.pools.idle_timeout / 4)
            .clamp(Duration::from_millis(20), Duration::from_secs(30));
        let inner = Arc::new(Inner {
            service: settings.service,
            trust: settings.trust,
            issuer: settings.issuer,
            audience: settings.audience,
            resolver,
            pools: Pools::new(settings.pools, settings.modules),
        });
        tokio::spawn(sweep(Arc::downgrade(&inner), pause));
        Self { inner }
    }

    /// Returns the service.
    pub fn service(&self) -> &ServiceName {
        &self.inner.service
    }

    /// Returns how many pools there are, and what became of others.
    pub fn counts(&self) -> PoolCounts {
        self.inner.pools.counts()
    }

    /// Returns true while the tenant has pools here.
    pub fn has_pools(&self, tenant: &TenantId) -> bool {
        self.inner.pools.has(tenant)
    }

    /// Returns the tenant whose token a request carries, ready to be served.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<Tenant, Refusal> {
        let token = bearer(headers)?;
        let identified = self.inner.trust.identify(token, Timestamp::now()).await;
        let identity = identified.map_err(|error| match &error {
            NotIdentified::Unacceptable(reason) => {
                tracing::debug!(%error, "a token is refused");
                Refusal::from(reason)
            }
            // Nobody can say whether it counts, so it does not.
            NotIdentified::NoKeys(_) => {
                tracing::error!(%error, "tokens cannot be checked");
                Refusal::unavailable()
            }
        })?;
        if !self.is_for_us(&identity) {
            tracing::debug!("a token of another issuer, or for another service, is refused");
            return Err(Refusal::invalid_token());
        }
        // The Tenant Manager has no other ids, so it need not be asked.
        let id = TenantId::canonical(&identity.tenant)
            .ok_or_else(|| Refusal::not_found(&identity.tenant))?;
        let pools = self.pools(&id).await?;
        Ok(Tenant {
            id,
            identity: Arc::new(identity),
            pools,
        })
    }

    fn is_for_us(&self, identity: &Identity) -> bool {
        let (issuer, audience) = (&self.inner.issuer, &self.inner.audience);
        let from_them = issuer.is_none() || *issuer == identity.issuer;
        let for_us = audience
            .as_ref()
            .is_none_or(|us| identity.audience.is_empty() || identity.audience.contains(us));
        from_them && for_us
    }

    /// Returns the tenant's pools, opened.
    async fn pools(&self, tenant: &TenantId) -> Result<Arc<TenantPools>, Refusal> {
        let inner = &*self.inner;
        let mut refreshed = false;
        for _ in 0..AGAIN {
            let epoch = inner.pools.epoch();
            let answer = if refreshed {
                inner.resolver.refresh(tenant, &inner.service).await
            } else {
                inner.resolver.resolve(tenant, &inner.service).await
            };
            let resolution = match answer {
                Ok(resolution) => resolution,
                Err(error) => {
                    if matches!(
                        error.kind,
                        ErrorKind::Suspended { .. } | ErrorKind::NotFound
                    ) {
                        inner.pools.take_away(tenant, Farewell::Close);
                    }
                    tracing::debug!(%tenant, %error, "a tenant is not resolved");
                    return Err(Refusal::of_manager(&error, tenant.as_str()));
                }
            };
            let Some(pools) = inner.pools.hold(tenant, &resolution.config, epoch)? else {
                continue;
            };
            match pools.open().await {
                Ok(()) if !pools.is_refused() => return Ok(pools),
                // A session that was opened before its login was closed still serves.
                Ok(()) if refreshed => return Ok(pools),
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%tenant, %error, "a tenant's database cannot be opened");
                    inner.pools.give_up(tenant, &pools);
                    if refreshed || !pools.is_refused() {
                        return Err(error.into());
                    }
                }
            }
            // Rotated, and nobody told us: what the tiers hold is old.
            refreshed = true;
        }
        Err(Refusal::unavailable())
    }

    /// Forgets how a tenant connects and closes its pools: the next request asks the Tenant
    /// Manager.
    pub async fn evict(&self, tenant: &TenantId) {
        self.forget(tenant, Farewell::Close).await;
    }

    /// Forgets how a tenant connects; requests under way finish with the sessions they have, and
    /// where the tenant was in use it is loaded again.
    pub async fn reload(&self, tenant: &TenantId) {
        let in_use = self.has_pools(tenant);
        self.forget(tenant, Farewell::Drain).await;
        if in_use && let Err(refusal) = self.pools(tenant).await {
            tracing::info!(%tenant, %refusal, "a tenant is not loaded again");
        }
    }

    /// Asks the Tenant Manager again at the next request; pools stay where nothing changed.
    pub async fn recheck(&self, tenant: &TenantId) {
        self.inner
            .resolver
            .forget(tenant, &self.inner.service)
            .await;
    }

    /// As [`Tenancy::recheck`] for every tenant that is known here.
    pub async fn recheck_all(&self) {
        let mut tenants = self.inner.pools.tenants();
        let in_memory = self.inner.resolver.in_memory();
        tenants.extend(in_memory.into_iter().map(|(pair, _)| pair.tenant));
        tenants.sort();
        tenants.dedup();
        for tenant in tenants {
            self.recheck(&tenant).await;
        }
    }

    async fn forget(&self, tenant: &TenantId, farewell: Farewell) {
        // In this order: an answer that was fetched before is refused by the pools afterwards.
        self.recheck(tenant).await;
        self.inner.pools.take_away(tenant, farewell);
    }
}

async fn sweep(inner: Weak<Inner>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        inner.pools.sweep();
    }
}

/// Returns the token of a request. One header, one token: whoever sends two lets somebody in front
/// check the one and us read the other.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(if headers.contains_key(AUTHORIZATION) {
            Refusal::invalid_token()
        } else {
            Refusal::missing_token()
        });
    };
    let text = value.to_str().map_err(|_| Refusal::invalid_token())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::missing_token());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_token() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
                .map(str::to_owned)
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(of(&["Bearer a.b.c"]), Ok("a.b.c".into()));
        assert_eq!(of(&["bearer a.b.c"]), Ok("a.b.c".into()));
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic YTpi"],
            &["a.b.c"],
        ] {
            assert_eq!(of(values), Err("MISSING_TOKEN"), "{values:?}");
        }
        assert_eq!(of(&["Bearer a.b.c", "Bearer d.e.f"]), Err("INVALID_TOKEN"));
    }
}
