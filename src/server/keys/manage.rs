//! Making, showing, rotating and withdrawing keys.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{ApiKeys, stored_digest, text};
use crate::contract::keys::{KeyCreated, KeyPage, KeyRecord, KeyState};
use crate::contract::permission::{Permissions, Role};
use crate::contract::{Environment, ServiceName};
use crate::secret::sha256_hex;
use crate::server::audit::Trail;
use crate::server::auth::Caller;
use crate::server::error::ApiError;
use crate::server::registry::model::now;
use crate::server::registry::{AccessKey, KeyFilter, NewAccessKey, RegistryError, Replay};
use crate::server::service::{Intent, Problems, Reply, Tenancy, to_body};

/// Longest name.
const NAME: usize = 64;
/// Longest life of a key: ten years.
const LONGEST: u64 = 10 * 366 * 24 * 3600;
/// Longest time that a rotated key goes on being accepted: ninety days.
const LONGEST_GRACE: u64 = 90 * 24 * 3600;
/// The same when the request does not say.
const GRACE: u64 = 24 * 3600;
/// Most services or environments of one key.
const MOST: usize = 256;
/// Page length when the request names none.
const DEFAULT_LIMIT: u32 = 100;
/// Longest page.
const LONGEST_PAGE: u32 = 1000;

/// Body of a new key, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawCreateKey {
    name: String,
    role: String,
    services: Vec<String>,
    environments: Vec<String>,
    expires_in_seconds: Option<u64>,
    rate_limit: Option<u32>,
}

/// Body of a rotation, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawRotateKey {
    grace_seconds: Option<u64>,
    expires_in_seconds: Option<u64>,
}

/// Body of a withdrawal, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RawRevokeKey {
    reason: Option<String>,
}

/// What a list is asked for, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawKeyQuery {
    state: Option<String>,
    search: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A checked new key, but for its text.
struct Draft {
    name: String,
    role: Role,
    services: Vec<ServiceName>,
    environments: Vec<Environment>,
    rate_limit: Option<u32>,
    lives: Option<u64>,
    rotated_from: Option<String>,
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}

fn is_name(text: &str) -> bool {
    (1..=NAME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

fn not_found(name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    ApiError::not_found(
        "key.not_found",
        format!("there is no key `{}`", shown.escape_debug()),
    )
}

fn taken(name: &str) -> ApiError {
    ApiError::conflict(
        "key.exists",
        format!("an active key is called `{name}` already; its text was shown when it was made"),
    )
}

/// Checks a span of time that a request names.
fn span(problems: &mut Problems, field: &str, given: Option<u64>, longest: u64) {
    if given.is_some_and(|given| !(1..=longest).contains(&given)) {
        problems.add(
            field,
            format!("is not a number of seconds from 1 to {longest}"),
        );
    }
}

/// Binds the answer that is kept for a repeat to who asked: nobody else is shown a key again.
fn repeat_of(intent: &Intent, caller: &Caller) -> Intent {
    let mut bound = intent.clone();
    if let Some((key, _)) = &mut bound.repeat {
        *key = sha256_hex(format!("{key}\nkeys\n{}", caller.id).as_bytes());
    }
    bound
}

impl RawCreateKey {
    fn checked(self, tenancy: &Tenancy) -> Result<Draft, ApiError> {
        let mut problems = Problems::default();
        if !is_name(&self.name) {
            problems.add(
                "name",
                format!("is not 1 to {NAME} lower-case letters, digits, dots and dashes that begin with a letter"),
            );
        }
        let role = Role::from_word(&self.role);
        if role.is_none() {
            problems.add(
                "role",
                "is not `service`, `read-only`, `operator` or `break-glass`",
            );
        }
        span(
            &mut problems,
            "expiresInSeconds",
            self.expires_in_seconds,
            LONGEST,
        );
        if self.rate_limit == Some(0) {
            problems.add("rateLimit", "is not at least 1");
        }
        if self.services.len() > MOST || self.environments.len() > MOST {
            problems.add("services", format!("has more than {MOST} items"));
        }
        let mut services = Vec::new();
        for name in self.services.iter().take(MOST) {
            match name.parse::<ServiceName>() {
                Ok(service) if tenancy.catalogue.get(&service).is_some() => services.push(service),
                Ok(service) => problems.add(
                    "services",
                    format!("`{service}` is not in the service catalogue"),
                ),
                Err(error) => problems.add("services", error),
            }
        }
        let environments: Vec<Environment> = self
            .environments
            .iter()
            .take(MOST)
            .filter_map(|name| problems.take("environments", name.parse()))
            .collect();
        match role {
            Some(Role::Service) if self.services.is_empty() => {
                problems.add(
                    "services",
                    "is required: a key of a product is for some service",
                );
            }
            Some(Role::Service) | None => {}
            Some(_) if self.services.is_empty() && self.environments.is_empty() => {}
            Some(role) => problems.add(
                "services",
                format!(
                    "only keys of role `service` are narrowed, not of `{}`",
                    role.as_str()
                ),
            ),
        }
        problems.finish()?;
        services.sort();
        services.dedup();
        let mut environments = environments;
        environments.sort();
        environments.dedup();
        Ok(Draft {
            name: self.name,
            role: role.unwrap_or(Role::Service),
            services,
            environments,
            rate_limit: self.rate_limit,
            lives: self.expires_in_seconds,
            rotated_from: None,
        })
    }
}

impl ApiKeys {
    fn record(&self, key: &AccessKey) -> KeyRecord {
        let mut record = key.record(now());
        record.last_used_at = record.last_used_at.max(self.last_used(&key.id));
        record
    }

    async fn named(&self, tenancy: &Tenancy, name: &str) -> Result<Vec<AccessKey>, ApiError> {
        let found = tenancy.noted(tenancy.registry.access_keys_named(name).await)?;
        if found.is_empty() {
            return Err(not_found(name));
        }
        Ok(found)
    }

    /// `GET /v1/admin/keys`.
    pub(crate) async fn list(
        &self,
        tenancy: &Tenancy,
        raw: RawKeyQuery,
    ) -> Result<KeyPage, ApiError> {
        let mut problems = Problems::default();
        let limit = match raw.limit.as_deref().map(str::parse) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit @ 1..=LONGEST_PAGE)) => limit,
            Some(_) => {
                problems.add("limit", format!("is not a number from 1 to {LONGEST_PAGE}"));
                DEFAULT_LIMIT
            }
        };
        let active_at = match raw.state.as_deref() {
            None | Some("active") => Some(now()),
            Some("all") => None,
            Some(_) => {
                problems.add("state", "is not `active` or `all`");
                None
            }
        };
        let before = raw.cursor.as_ref().and_then(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (at, id) = text.split_once(' ')?;
            Some((at.parse::<i64>().ok()?, id.to_owned()))
        });
        if raw.cursor.is_some() && before.is_none() {
            problems.add("cursor", "is not one that this server gave");
        }
        problems.finish_query()?;
        let filter = KeyFilter {
            search: raw
                .search
                .filter(|text| !text.is_empty())
                .map(|text| text.to_lowercase()),
            active_at,
        };
        let found = tenancy
            .registry
            .access_keys(&filter, before.as_ref(), limit + 1)
            .await;
        let mut found = tenancy.noted(found)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > most;
        found.truncate(most);
        let next_cursor = found.last().filter(|_| more).map(|last| {
            URL_SAFE_NO_PAD.encode(format!("{} {}", last.created_at.as_microsecond(), last.id))
        });
        Ok(KeyPage {
            items: found.iter().map(|key| self.record(key)).collect(),
            next_cursor,
        })
    }

    /// `GET /v1/admin/keys/{key}`.
    pub(crate) async fn show(&self, tenancy: &Tenancy, name: &str) -> Result<KeyRecord, ApiError> {
        let found = self.named(tenancy, name).await?;
        let at = now();
        let active = found.iter().find(|key| key.state(at) == KeyState::Active);
        let key = active.or(found.first()).ok_or_else(|| not_found(name))?;
        Ok(self.record(key))
    }

    /// `POST /v1/admin/keys`. `granted` is what the caller may do: nobody gives more than that.
    pub(crate) async fn create(
        &self,
        tenancy: &Tenancy,
        raw: RawCreateKey,
        intent: &Intent,
        caller: &Caller,
        granted: Permissions,
    ) -> Result<Reply, ApiError> {
        let intent = repeat_of(intent, caller);
        if let Some(reply) = self.repeated(tenancy, &intent).await? {
            return Ok(reply);
        }
        let draft = raw.checked(tenancy)?;
        ceiling(draft.role, granted)?;
        let name = draft.name.clone();
        self.keep(tenancy, draft, None, now(), &intent, caller)
            .await?
            .ok_or_else(|| taken(&name))
    }

    /// `POST /v1/admin/keys/{key}/rotate`.
    pub(crate) async fn rotate(
        &self,
        tenancy: &Tenancy,
        name: &str,
        raw: &RawRotateKey,
        intent: &Intent,
        caller: &Caller,
        granted: Permissions,
    ) -> Result<Reply, ApiError> {
        let intent = repeat_of(intent, caller);
        if let Some(reply) = self.repeated(tenancy, &intent).await? {
            return Ok(reply);
        }
        let mut problems = Problems::default();
        span(
            &mut problems,
            "graceSeconds",
            raw.grace_seconds,
            LONGEST_GRACE,
        );
        span(
            &mut problems,
            "expiresInSeconds",
            raw.expires_in_seconds,
            LONGEST,
        );
        problems.finish()?;
        let found = self.named(tenancy, name).await?;
        let at = now();
        let ended = || {
            ApiError::conflict(
                "key.ended",
                format!("the key `{name}` is no longer active, or has a successor already"),
            )
        };
        let old = found
            .iter()
            .find(|key| key.state(at) == KeyState::Active)
            .ok_or_else(ended)?;
        ceiling(old.role, granted)?;
        let lives = raw.expires_in_seconds.or_else(|| {
            let life = old.expires_at?.duration_since(old.created_at).as_secs();
            u64::try_from(life).ok()
        });
        let draft = Draft {
            name: old.name.clone(),
            role: old.role,
            services: old.services.clone(),
            environments: old.environments.clone(),
            rate_limit: old.rate_limit,
            lives,
            rotated_from: Some(old.id.clone()),
        };
        let retire = at
            .checked_add(seconds(raw.grace_seconds.unwrap_or(GRACE)))
            .unwrap_or(Timestamp::MAX);
        self.keep(tenancy, draft, Some(old), retire, &intent, caller)
            .await?
            .ok_or_else(ended)
    }

    /// Keeps a new key and answers with its text; nothing when the registry says that the state of
    /// things stands against it.
    async fn keep(
        &self,
        tenancy: &Tenancy,
        draft: Draft,
        old: Option<&AccessKey>,
        retire_at: Timestamp,
        intent: &Intent,
        caller: &Caller,
    ) -> Result<Option<Reply>, ApiError> {
        let at = now();
        let (id, key) = text::generate();
        let stored = AccessKey {
            digest: stored_digest(&tenancy.vault, key.expose()),
            id,
            name: draft.name,
            role: draft.role,
            services: draft.services,
            environments: draft.environments,
            rate_limit: draft.rate_limit,
            rotated_from: draft.rotated_from,
            created_by: caller.id.to_string(),
            created_at: at,
            expires_at: draft
                .lives
                .and_then(|lives| at.checked_add(seconds(lives)).ok()),
            revoked_at: None,
            last_used_at: None,
        };
        let answer = KeyCreated {
            key: key.expose().to_owned(),
            record: stored.record(at),
            replaces: old.map(|old| {
                let mut record = self.record(old);
                record.expires_at =
                    Some(record.expires_at.map_or(retire_at, |it| it.min(retire_at)));
                record
            }),
        };
        let reply = (StatusCode::CREATED, to_body(&answer)?);
        let kept_answer = intent.repeat.as_ref().map(|(key, fingerprint)| Replay {
            key: key.clone(),
            fingerprint: fingerprint.clone(),
            status: reply.0.as_u16(),
            body: tenancy.vault.seal_answer(key, &reply.1),
        });
        let (id, name, role) = (stored.id.clone(), stored.name.clone(), stored.role);
        let record = intent.trail.as_ref().map(|trail| {
            let mut record = trail.record(reply.0.as_u16(), None);
            record.detail = Some(match old {
                Some(old) => format!(
                    "key {id} `{name}` of role {}, in place of {}",
                    role.as_str(),
                    old.id
                ),
                None => format!("key {id} `{name}` of role {}", role.as_str()),
            });
            record
        });
        let kept = tenancy
            .registry
            .add_access_key(NewAccessKey {
                key: stored,
                retire_at,
                replay: kept_answer,
                audit: record.into_iter().collect(),
            })
            .await;
        match kept {
            Ok(()) => {
                if let Some(trail) = &intent.trail {
                    trail.recorded();
                }
            }
            // Meanwhile the same request may have been answered elsewhere.
            Err(RegistryError::Stale) => return self.repeated(tenancy, intent).await,
            Err(error) => return tenancy.noted(Err(error)),
        }
        tracing::info!(
            key = id,
            name,
            role = role.as_str(),
            replaces = old.map(|old| old.id.as_str()),
            %caller,
            "a key was made"
        );
        tenancy.noted(self.refresh(tenancy.registry.as_ref()).await)?;
        Ok(Some(reply))
    }

    /// Returns the answer that was given to the same request before. It was kept sealed, for as
    /// long as other answers are.
    async fn repeated(
        &self,
        tenancy: &Tenancy,
        intent: &Intent,
    ) -> Result<Option<Reply>, ApiError> {
        let Some((status, sealed)) = tenancy.replayed(intent).await? else {
            return Ok(None);
        };
        let key = intent.repeat.as_ref().map_or("", |(key, _)| key.as_str());
        let body = tenancy.vault.open_answer(key, &sealed).map_err(|_| {
            ApiError::conflict(
                "key.exists",
                "this request made a key before, and its text cannot be shown again",
            )
        })?;
        Ok(Some((status, body.expose().to_owned())))
    }

    /// `POST /v1/admin/keys/{key}/revoke`: holds on every server once it is answered.
    pub(crate) async fn revoke(
        &self,
        tenancy: &Tenancy,
        name: &str,
        raw: &RawRevokeKey,
        caller: &Caller,
        granted: Permissions,
        trail: Option<&Trail>,
    ) -> Result<KeyPage, ApiError> {
        let mut problems = Problems::default();
        problems.reason(raw.reason.as_deref());
        problems.finish()?;
        let found = self.named(tenancy, name).await?;
        let at = now();
        let ids: Vec<String> = found
            .iter()
            .filter(|key| key.state(at) != KeyState::Revoked)
            // By name only what is still accepted; an id means exactly that key.
            .filter(|key| key.id == name || key.state(at) == KeyState::Active)
            .map(|key| key.id.clone())
            .collect();
        for key in found.iter().filter(|key| ids.contains(&key.id)) {
            ceiling(key.role, granted)?;
        }
        if ids.is_empty() {
            if let Some(trail) = trail {
                trail.quiet("unchanged");
            }
        } else {
            let record = trail.map(|trail| {
                let mut record = trail.record(200, None);
                record.detail = Some(format!("keys {}", ids.join(", ")));
                record
            });
            let revoked =
                tenancy
                    .registry
                    .revoke_access_keys(ids.clone(), at, record.into_iter().collect());
            tenancy.noted(revoked.await)?;
            if let Some(trail) = trail {
                trail.recorded();
            }
            tracing::info!(keys = ?ids, reason = raw.reason, %caller, "keys were withdrawn");
            tenancy.noted(self.refresh(tenancy.registry.as_ref()).await)?;
        }
        let items = found
            .iter()
            .filter(|key| ids.contains(&key.id))
            .map(|key| {
                let mut record = self.record(key);
                record.state = KeyState::Revoked;
                record.revoked_at = Some(at);
                record
            })
            .collect();
        Ok(KeyPage {
            items,
            next_cursor: None,
        })
    }
}

/// Refuses to touch a key that may do more than who asks.
fn ceiling(role: Role, granted: Permissions) -> Result<(), ApiError> {
    if role.permissions().within(granted) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "auth.not_permitted",
        format!(
            "a key of role `{}` may do more than you: nobody makes, rotates or withdraws one of those",
            role.as_str()
        ),
    ))
}
