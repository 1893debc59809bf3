//! Tokens of operators: signed by the Access Manager, checked against its keys.
//!
//! Everything that is not known for sure is a refusal: an unknown key, an algorithm other than
//! RS256 and ES256, no end, another issuer or audience, keys that cannot be fetched any longer,
//! an Access Manager that does not answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::auth::{Caller, CallerKind};
use super::error::ApiError;
use crate::access::{AccessError, AccessManager, Subject, key_set};
use crate::contract::permission::{Permission, Permissions, Role};
use crate::secret::{Secret, sha256_hex};
use crate::token::jwks::{SharedSecrets, parse};
use crate::token::verify::{Reason, verify};
use crate::token::{Keys, LARGEST_TOKEN};

/// How far clocks may be apart, in seconds.
const SKEW: f64 = 60.0;
/// Age at which keys are fetched again.
const FRESH: Duration = Duration::from_mins(5);
/// Age at which keys are not believed any longer.
const STALE: Duration = Duration::from_hours(1);
/// Pause between two fetches, whatever tokens say: nobody can make this server ask on and on.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a decision of the Access Manager is good for.
const ALLOWED: Duration = Duration::from_secs(15);
/// How long a refusal is.
const DENIED: Duration = Duration::from_secs(5);
/// Decisions that are remembered.
const DECISIONS: usize = 4096;

/// Where the keys of tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKeys {
    /// A key set (JWKS) at this address.
    Url(Url),
    /// A key set, or public keys in PEM, in this file.
    File(PathBuf),
}

/// Where the permissions of a token's bearer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionSource {
    /// In this claim: a list of names, or one text with names between blanks or commas.
    Claim(String),
    /// The Access Manager at this address is asked (`/v1/authorize`).
    Authorize(Url),
}

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Keys.
    pub keys: TokenKeys,
    /// Claim `iss` that tokens must have.
    pub issuer: Option<String>,
    /// Claim `aud` that tokens must have among others.
    pub audience: Option<String>,
    /// Permissions.
    pub permissions: PermissionSource,
    /// Applications (claim `sub`, `azp` or `client_id`) that the Access Manager is asked about.
    /// It answers for the product's role, not for the application, so that every application of
    /// every product would be an operator: none is, unless it is named here.
    pub machines: Vec<String>,
}

/// A token that was checked, kept while the Access Manager may be asked about it.
#[derive(Debug)]
pub(crate) struct Bearer {
    token: Secret,
    digest: String,
    subject: Option<Subject>,
}

#[derive(Debug, Default)]
struct KeyRing {
    keys: Option<Arc<Keys>>,
    /// When they were last fetched.
    fetched: Option<Instant>,
    /// When that was last tried.
    tried: Option<Instant>,
}

/// What checks tokens.
#[derive(Debug)]
pub(crate) struct Bearers {
    settings: TokenSettings,
    manager: Option<AccessManager>,
    ring: tokio::sync::Mutex<KeyRing>,
    decisions: Mutex<HashMap<(String, Permission), (Instant, bool)>>,
}

fn invalid(words: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "auth.invalid_token",
        format!("the token is not accepted here: {words}"),
    )
}

fn unavailable(words: impl std::fmt::Display) -> ApiError {
    ApiError::unavailable(
        "auth.unavailable",
        format!("the token cannot be checked: {words}"),
    )
}

/// Returns the token of a request, if it has one.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Reads the claims of a token whose signature was checked.
fn claims(token: &str) -> Option<Value> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Bearers {
    /// Builds what checks tokens; fetches nothing yet.
    pub(crate) fn new(settings: TokenSettings) -> Result<Self, AccessError> {
        let manager = match &settings.permissions {
            PermissionSource::Authorize(url) => Some(AccessManager::new(url)?),
            PermissionSource::Claim(_) => None,
        };
        Ok(Self {
            settings,
            manager,
            ring: tokio::sync::Mutex::default(),
            decisions: Mutex::default(),
        })
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let text = match &self.settings.keys {
            TokenKeys::Url(url) => key_set(url).await.map_err(|error| error.to_string())?,
            TokenKeys::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        let keys = if text.trim_start().starts_with("-----BEGIN") {
            Keys::from_pem(&text)
        } else {
            parse(&text, SharedSecrets::Refuse)
        };
        keys.map_err(|error| error.to_string())
    }

    /// Returns keys that may be believed; newer ones than `not` if there can be any.
    async fn keys(&self, not: Option<&Arc<Keys>>) -> Result<Arc<Keys>, ApiError> {
        // Held while fetching: those who come meanwhile get the same answer.
        let mut ring = self.ring.lock().await;
        let known_bad = |ring: &KeyRing| {
            not.is_some_and(|not| {
                ring.keys
                    .as_ref()
                    .is_some_and(|keys| Arc::ptr_eq(keys, not))
            })
        };
        let old = ring.fetched.is_none_or(|at| at.elapsed() > FRESH);
        let rested = ring.tried.is_none_or(|at| at.elapsed() > PAUSE);
        if (old || known_bad(&ring)) && rested {
            ring.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    ring.keys = Some(Arc::new(keys));
                    ring.fetched = Some(Instant::now());
                }
                Err(reason) => tracing::warn!(reason, "the keys of tokens cannot be fetched"),
            }
        }
        ring.keys
            .clone()
            .filter(|_| ring.fetched.is_some_and(|at| at.elapsed() < STALE))
            .ok_or_else(|| unavailable("there are no keys to check it with"))
    }

    /// Returns who a token speaks for.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        if token.len() > LARGEST_TOKEN {
            return Err(invalid("it is too long"));
        }
        let at = Timestamp::now();
        let mut keys = self.keys(None).await?;
        let mut outcome = verify(token, &keys, at);
        // A key that is not known may be a new one.
        if matches!(outcome.reason, Reason::KeyUnknown | Reason::SignatureWrong) {
            keys = self.keys(Some(&keys)).await?;
            outcome = verify(token, &keys, at);
        }
        if !outcome.verified {
            return Err(invalid(outcome.words));
        }
        if !matches!(outcome.algorithm.as_deref(), Some("RS256" | "ES256")) {
            return Err(invalid("it is not signed with RS256 or ES256"));
        }
        let claims = claims(token).ok_or_else(|| invalid("its claims cannot be read"))?;
        self.check(&claims, at)?;
        self.identify(token, &claims)
    }

    fn check(&self, claims: &Value, at: Timestamp) -> Result<(), ApiError> {
        let now = at.as_duration().as_secs_f64();
        match claims["exp"].as_f64() {
            None => return Err(invalid("it has no end (`exp`)")),
            Some(end) if end + SKEW <= now => return Err(invalid("it has expired")),
            Some(_) => {}
        }
        match &claims["nbf"] {
            Value::Null => {}
            begin if begin.as_f64().is_some_and(|begin| begin - SKEW <= now) => {}
            _ => return Err(invalid("it is not valid yet")),
        }
        if let Some(issuer) = &self.settings.issuer
            && claims["iss"].as_str() != Some(issuer)
        {
            return Err(invalid("it is of another issuer (`iss`)"));
        }
        if let Some(audience) = &self.settings.audience {
            let meant = match &claims["aud"] {
                Value::String(one) => one == audience,
                Value::Array(some) => some.iter().any(|it| it.as_str() == Some(audience)),
                _ => false,
            };
            if !meant {
                return Err(invalid("it is for another audience (`aud`)"));
            }
        }
        Ok(())
    }

    fn identify(&self, token: &str, claims: &Value) -> Result<Caller, ApiError> {
        let text = |name: &str| claims[name].as_str().filter(|text| !text.is_empty());
        let person = text("type") == Some("normal-user");
        let machine = ["azp", "client_id", "sub"]
            .iter()
            .find_map(|name| text(name));
        let (id, subject) = if person {
            let (Some(owner), Some(subject)) = (text("owner"), text("sub")) else {
                return Err(invalid("a person's token names `owner` and `sub`"));
            };
            let (owner, subject) = (owner.to_owned(), subject.to_owned());
            let id = format!("{owner}/{subject}");
            (id, Some(Subject::Person { owner, subject }))
        } else {
            let id = machine.ok_or_else(|| invalid("it names nobody (`sub`)"))?;
            let named = ["azp", "client_id", "sub"].iter().any(|name| {
                text(name).is_some_and(|id| self.settings.machines.iter().any(|it| it == id))
            });
            (id.to_owned(), named.then_some(Subject::Machine))
        };
        // Shown in logs: no control characters, and not endless.
        let clean =
            |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(128).collect() };
        let name = text("name").or_else(|| text("preferred_username"));
        let name = clean(name.unwrap_or(&id));
        let mut caller = Caller::new(
            CallerKind::OperatorToken,
            &clean(&id),
            &name,
            Role::ReadOnly,
        );
        caller.permissions = match &self.settings.permissions {
            PermissionSource::Claim(claim) => granted(&claims[claim.as_str()]),
            PermissionSource::Authorize(_) => Permissions::default(),
        };
        caller.role = caller.permissions.role().unwrap_or(Role::ReadOnly);
        caller.bearer = Some(Arc::new(Bearer {
            token: Secret::new(token),
            digest: sha256_hex(token.as_bytes()),
            subject,
        }));
        Ok(caller)
    }

    /// Tells whether the bearer of a token may do something, asking where that is decided.
    pub(crate) async fn permits(
        &self,
        bearer: &Bearer,
        permission: Permission,
    ) -> Result<bool, ApiError> {
        let (Some(manager), Some(subject)) = (&self.manager, &bearer.subject) else {
            return Ok(false);
        };
        let key = (bearer.digest.clone(), permission);
        if let Some(decision) = self.remembered(&key) {
            return Ok(decision);
        }
        let decision = manager
            .authorize(&bearer.token, subject, permission.parts())
            .await
            .map_err(unavailable)?;
        let mut decisions = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if decisions.len() >= DECISIONS {
            decisions.clear();
        }
        decisions.insert(key, (Instant::now(), decision));
        Ok(decision)
    }

    fn remembered(&self, key: &(String, Permission)) -> Option<bool> {
        let decisions = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, decision) = decisions.get(key)?;
        let good_for = if *decision { ALLOWED } else { DENIED };
        (at.elapsed() < good_for).then_some(*decision)
    }
}

/// Reads permissions from a claim; names of other products mean nothing here.
fn granted(claim: &Value) -> Permissions {
    match claim {
        Value::Array(names) => names
            .iter()
            .filter_map(|name| Permission::from_name(name.as_str()?))
            .collect(),
        Value::String(names) => names
            .split([' ', ','])
            .filter_map(Permission::from_name)
            .collect(),
        _ => Permissions::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_in_a_list_or_text_are_permissions() {
        let read: Permissions = [Permission::TenantsRead].into_iter().collect();
        for claim in [
            serde_json::json!(["backoffice:tm:tenants:read", "midaz:ledgers:get", 7]),
            serde_json::json!("openid backoffice:tm:tenants:read"),
        ] {
            assert_eq!(granted(&claim), read);
        }
        for claim in [
            serde_json::json!({ "backoffice:tm:tenants:read": true }),
            serde_json::json!("backoffice:tm:tenants"),
            Value::Null,
            Value::Bool(true),
        ] {
            assert_eq!(granted(&claim), Permissions::default());
        }
    }

    #[test]
    fn a_token_is_found_whatever_the_spelling_of_its_scheme() {
        let mut headers = HeaderMap::new();
        assert_eq!(token_of(&headers), None);
        for (text, found) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer a.b.c", Some("a.b.c")),
            ("Basic abc", None),
            ("a.b.c", None),
        ] {
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            assert_eq!(token_of(&headers), found);
        }
    }
}
