//! API keys: those that the server was started with, and those that operators made.
//!
//! A request asks memory alone. The table of keys is replaced as a whole when the registry says
//! that keys changed: at once by the server that changed them, and by the others before they
//! answer the next request, see [`super::freshness`].

mod bootstrap;
mod bucket;
mod manage;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};

use super::auth::{Caller, CallerKind, Scope};
use super::error::ApiError;
use super::registry::model::now;
use super::registry::{AccessKey, Registry, RegistryError};
use super::vault::Vault;
use crate::contract::permission::Role;
use crate::secret::{from_hex, hex};
use bootstrap::Bootstrap;
use bucket::Bucket;

pub(crate) use manage::{RawCreateKey, RawKeyQuery, RawRevokeKey, RawRotateKey};

/// Header that carries the key.
pub(crate) const HEADER: &str = "x-api-key";
/// Length of a digest in bytes.
const DIGEST: usize = 32;
/// Time between two looks at the registry, whether anybody asks or not.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After so long without a look at the registry nobody knows which keys were withdrawn.
const STALE_AFTER: Duration = Duration::from_mins(1);
/// Time between two notes of when keys were used.
const NOTE_EVERY: Duration = Duration::from_mins(1);

/// The accepted keys.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    /// Digests of the keys that this server was started with; `None` when it takes over those of
    /// earlier starts.
    given: Option<Vec<String>>,
    table: ArcSwap<Table>,
    /// Requests per second of a key that has no limit of its own.
    rate_limit: u32,
    began: Instant,
    /// Milliseconds from the beginning to the last look at the registry.
    looked: AtomicU64,
    reload: Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    /// `None` before the first look.
    revision: Option<i64>,
    bootstrap: Bootstrap,
    keys: HashMap<String, Entry>,
}

impl Table {
    /// Returns true when some key may do everything that an operator may.
    fn has_operator(&self) -> bool {
        let mut made = self.keys.values();
        !self.bootstrap.is_empty() || made.any(|entry| entry.caller.role >= Role::Operator)
    }
}

#[derive(Debug)]
struct Entry {
    digest: [u8; DIGEST],
    caller: Caller,
    ends: Option<Timestamp>,
    meter: Arc<Meter>,
}

/// What is counted of a key; outlives the table that it is in.
#[derive(Debug)]
struct Meter {
    bucket: Bucket,
    /// Second of the last use, 0 before the first.
    used: AtomicI64,
    /// What of that the registry knows.
    noted: AtomicI64,
}

fn unhex(text: &str) -> Option<[u8; DIGEST]> {
    from_hex(text)?.try_into().ok()
}

/// Returns the stored form of a key's digest.
pub(crate) fn stored_digest(vault: &Vault, key: &str) -> String {
    hex(vault.api_key_digest(key.as_bytes()).as_ref())
}

impl ApiKeys {
    /// Accepts no key yet: they come with the first [`ApiKeys::refresh`].
    pub(crate) fn new(given: Option<Vec<String>>, rate_limit: u32) -> Self {
        Self {
            given,
            table: ArcSwap::default(),
            rate_limit,
            began: Instant::now(),
            looked: AtomicU64::new(0),
            reload: Mutex::default(),
        }
    }

    /// Returns who a request comes from; refuses one without an accepted key. Never with 403:
    /// products would report that as "access denied" for the tenant.
    pub(crate) fn caller(&self, vault: &Vault, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(key) = headers.get(HEADER).filter(|key| !key.is_empty()) else {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.missing_key",
                "the request has no `X-API-Key`",
            ));
        };
        let digest = vault.api_key_digest(key.as_bytes());
        let table = self.table.load();
        if let Some(id) = key.to_str().ok().and_then(text::id)
            && let Some(entry) = table.keys.get(id)
            && constant_time::verify_slices_are_equal(&entry.digest, digest.as_ref()).is_ok()
        {
            return self.admit(entry);
        }
        table
            .bootstrap
            .caller(digest.as_ref())
            .cloned()
            .ok_or_else(|| {
                ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "auth.invalid_key",
                    "the `X-API-Key` of the request is not accepted here",
                )
            })
    }

    fn admit(&self, entry: &Entry) -> Result<Caller, ApiError> {
        let at = Timestamp::now();
        if entry.ends.is_some_and(|end| end <= at) {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.key_expired",
                format!("the key `{}` has expired", entry.caller.id),
            ));
        }
        let since = self.began.elapsed();
        let looked = Duration::from_millis(self.looked.load(Ordering::Relaxed));
        if since.saturating_sub(looked) > STALE_AFTER {
            return Err(ApiError::unavailable(
                "registry.unavailable",
                "the registry does not answer, so nobody knows whether this key was withdrawn",
            ));
        }
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2);
        entry.meter.bucket.take(nanos).map_err(too_many)?;
        let second = at.as_second();
        // Most requests find their second written already, and leave the memory alone.
        if entry.meter.used.load(Ordering::Relaxed) < second {
            entry.meter.used.store(second, Ordering::Relaxed);
        }
        Ok(entry.caller.clone())
    }

    /// Looks at the registry, and takes over the keys if they changed.
    pub(crate) async fn refresh(&self, registry: &dyn Registry) -> Result<(), RegistryError> {
        // One at a time, so that an older table never follows a newer one.
        let _alone = self.reload.lock().await;
        let looked = self.began.elapsed();
        // Read before the keys: what changes in between is found at the next look.
        let revision = registry.access_keys_revision().await?;
        let old = self.table.load_full();
        if old.revision != Some(revision) {
            let keys = registry.active_access_keys(now()).await?;
            let keys = keys
                .into_iter()
                .filter_map(|key| self.entry(&old, key))
                .collect();
            let table = Table {
                revision: Some(revision),
                bootstrap: Bootstrap::new(registry.api_keys(None).await?),
                keys,
            };
            self.tell(&old, &table);
            self.table.store(Arc::new(table));
        }
        let millis = u64::try_from(looked.as_millis()).unwrap_or(u64::MAX);
        self.looked.store(millis, Ordering::Relaxed);
        Ok(())
    }

    /// Takes over the keys, unless they are those of this revision already.
    pub(crate) async fn follow(
        &self,
        registry: &dyn Registry,
        revision: i64,
    ) -> Result<(), RegistryError> {
        if self.table.load().revision == Some(revision) {
            return Ok(());
        }
        self.refresh(registry).await
    }

    /// Says what an operator has to know of keys that were taken over.
    fn tell(&self, old: &Table, new: &Table) {
        if let Some(given) = &self.given
            && !new.bootstrap.is(&old.bootstrap)
        {
            new.bootstrap.compare(given);
        }
        if !new.has_operator() && (old.revision.is_none() || old.has_operator()) {
            tracing::warn!(
                "no key of an operator is accepted: without a token nobody can change anything"
            );
        }
    }

    fn entry(&self, old: &Table, key: AccessKey) -> Option<(String, Entry)> {
        let Some(digest) = unhex(&key.digest) else {
            tracing::error!(key = key.id, "the digest of a key cannot be read");
            return None;
        };
        let meter = old.keys.get(&key.id).map_or_else(
            || {
                let noted = key.last_used_at.map_or(0, Timestamp::as_second);
                Arc::new(Meter {
                    bucket: Bucket::new(key.rate_limit.unwrap_or(self.rate_limit)),
                    used: AtomicI64::new(noted),
                    noted: AtomicI64::new(noted),
                })
            },
            |entry| Arc::clone(&entry.meter),
        );
        let mut caller = Caller::new(CallerKind::ApiKey, &key.id, &key.name, key.role);
        caller.scope = (key.role == Role::Service).then(|| {
            Arc::new(Scope {
                services: key.services,
                environments: key.environments,
            })
        });
        let entry = Entry {
            digest,
            caller,
            ends: key.expires_at,
            meter,
        };
        Some((key.id, entry))
    }

    /// Notes in the registry when keys were used.
    async fn note(&self, registry: &dyn Registry) -> Result<(), RegistryError> {
        let table = self.table.load_full();
        let mut uses = Vec::new();
        for (id, entry) in &table.keys {
            let second = entry.meter.used.load(Ordering::Relaxed);
            if second > entry.meter.noted.load(Ordering::Relaxed)
                && let Ok(at) = Timestamp::from_second(second)
            {
                uses.push((id.clone(), at));
            }
        }
        if uses.is_empty() {
            return Ok(());
        }
        registry.access_keys_used(uses.clone()).await?;
        for (id, at) in uses {
            if let Some(entry) = table.keys.get(&id) {
                entry.meter.noted.store(at.as_second(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Returns when a key was last used here, if that is later than the registry knows.
    fn last_used(&self, id: &str) -> Option<Timestamp> {
        let table = self.table.load();
        let used = table.keys.get(id)?.meter.used.load(Ordering::Relaxed);
        (used > 0)
            .then(|| Timestamp::from_second(used).ok())
            .flatten()
    }
}

fn too_many(wait: Duration) -> ApiError {
    // Neither a success nor a failure to the breaker of Lerian's client, which does not read
    // `Retry-After`; ours does.
    let mut refusal = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "request.rate_limited",
        "this key is asking too often",
    );
    refusal.retry_after = Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1));
    refusal
}

/// Keeps the table fresh and the registry told, until the server closes.
pub(crate) async fn watch(
    keys: Arc<ApiKeys>,
    registry: Arc<dyn Registry>,
    mut closing: watch::Receiver<bool>,
) {
    let mut noted = Instant::now();
    let mut failing = false;
    while !*closing.borrow() {
        let looked = keys.refresh(registry.as_ref()).await;
        if let Err(error) = &looked
            && !failing
        {
            tracing::warn!(%error, "keys cannot be looked up; those known go on being accepted for a minute");
        }
        failing = looked.is_err();
        if noted.elapsed() >= NOTE_EVERY && !failing {
            noted = Instant::now();
            if let Err(error) = keys.note(registry.as_ref()).await {
                tracing::warn!(%error, "the use of keys was not noted");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    if let Err(error) = keys.note(registry.as_ref()).await {
        tracing::warn!(%error, "the use of keys was not noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn only_the_very_key_is_accepted() {
        let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
        let stored = [
            stored_digest(&vault, "first"),
            stored_digest(&vault, "second"),
        ];
        let keys = ApiKeys::new(None, 0);
        keys.table.store(Arc::new(Table {
            bootstrap: Bootstrap::new(stored.into()),
            ..Table::default()
        }));
        let check = |key: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(key) = key {
                headers.insert(HEADER, key.parse().unwrap());
            }
            keys.caller(&vault, &headers)
                .map(|caller| caller.id.to_string())
                .map_err(|error| error.code)
        };
        let id = |key: &str| format!("bootstrap-{}", &stored_digest(&vault, key)[..8]);
        assert_eq!(check(Some("first")), Ok(id("first")));
        assert_eq!(check(Some("second")), Ok(id("second")));
        assert_eq!(check(Some("First")), Err("auth.invalid_key"));
        assert_eq!(check(Some("")), Err("auth.missing_key"));
        assert_eq!(check(None), Err("auth.missing_key"));
        assert!(!stored_digest(&vault, "first").contains("first"));
    }
}
