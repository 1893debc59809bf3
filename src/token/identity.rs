//! Whose a token is: what a product's middleware needs of it, and nothing else.

use jiff::Timestamp;

use super::inspect::{TenantClaim, TenantState};
use super::keys::Keys;
use super::parse::{Parsed, TokenError};
use super::validity::Validity;
use super::verify::{self, Reason};

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The tenant: a UUID in its canonical form, anything else as it stands.
    pub tenant: String,
    /// Claim `tenantSlug`, informational.
    pub slug: Option<String>,
    /// Claim `sub`.
    pub subject: Option<String>,
    /// Claim `iss`.
    pub issuer: Option<String>,
    /// Claim `aud`: for whom the token is; everybody when empty.
    pub audience: Vec<String>,
}

/// Why a token is not accepted. Never holds any of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// It cannot be read, or says two things at once.
    #[error("the token cannot be read: {0}")]
    Unreadable(String),
    /// Its signature does not count.
    #[error("{words}")]
    Unsigned {
        /// Why, as a word.
        reason: Reason,
        /// Why, as a sentence.
        words: String,
    },
    /// It is not valid now.
    #[error("the token is not valid now: {0}")]
    Untimely(String),
    /// It selects no tenant.
    #[error("the token selects no tenant")]
    NoTenant,
    /// What it selects is no tenant id.
    #[error("`tenantId` is no tenant id")]
    BadTenant,
}

impl From<TokenError> for Unacceptable {
    fn from(error: TokenError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Returns whose a token is as of `now`.
///
/// With `keys`, one of them must have signed it and it must not be without an end; without,
/// somebody else has checked the signature before. A name that stands in it twice is refused:
/// whoever checked it may have read the other value.
pub fn identify(text: &str, keys: Option<&Keys>, now: Timestamp) -> Result<Identity, Unacceptable> {
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // No quotes, spaces or padding: what is sent is taken as it is.
    if !text.bytes().all(part) {
        let reason = "it holds characters that no token has".to_owned();
        return Err(Unacceptable::Unreadable(reason));
    }
    let parsed = Parsed::read(text)?;
    for members in [&parsed.header, &parsed.claims] {
        let odd = !members.repeated().is_empty() || !members.out_of_range().is_empty();
        if odd || parsed.repaired {
            let reason = "it says two things at once, or a number that is none".to_owned();
            return Err(Unacceptable::Unreadable(reason));
        }
    }
    let validity = Validity::of(&parsed.claims, now);
    if let Some(keys) = keys {
        verify::check(&parsed, keys)
            .map_err(|(reason, words)| Unacceptable::Unsigned { reason, words })?;
        if validity.expires_at.is_none() {
            return Err(Unacceptable::Untimely(validity.words));
        }
    }
    if !validity.holds() {
        return Err(Unacceptable::Untimely(validity.words));
    }
    let tenant = TenantClaim::of(&parsed.claims);
    let id = match (tenant.state, tenant.canonical) {
        (TenantState::Missing | TenantState::NotText, _) => return Err(Unacceptable::NoTenant),
        (TenantState::Refused, _) | (_, None) => return Err(Unacceptable::BadTenant),
        (_, Some(id)) => id,
    };
    Ok(Identity {
        tenant: id,
        slug: parsed.claims.text("tenantSlug").map(str::to_owned),
        subject: parsed.claims.text("sub").map(str::to_owned),
        issuer: parsed.claims.text("iss").map(str::to_owned),
        audience: match parsed.claims.get("aud") {
            Some(serde_json::Value::Array(all)) => all.iter().map(word).collect(),
            Some(one) => vec![word(one)],
            None => Vec::new(),
        },
    })
}

/// What is no text is for nobody.
fn word(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::token::jwks::{SharedSecrets, parse};
    use crate::token::mint::{Claims, SigningKey, TokenType, mint};

    const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

    fn unsigned(claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_signed_token_is_accepted_and_every_change_of_it_refused() {
        let key = SigningKey::generate().unwrap();
        let keys = parse(&key.jwks().to_string(), SharedSecrets::Refuse).unwrap();
        let now = Timestamp::now();
        let claims = Claims {
            tenant_id: ID.parse().unwrap(),
            tenant_slug: None,
            owner: None,
            subject: Some("app".into()),
            token_type: TokenType::Machine("application".into()),
            extra: Map::new(),
        };
        let token = mint(&key, &claims, Duration::from_mins(5), now).unwrap();
        let token = token.expose();
        let identity = identify(token, Some(&keys), now).unwrap();
        assert_eq!(
            (identity.tenant.as_str(), identity.subject.as_deref()),
            (ID, Some("app"))
        );
        let later = now + jiff::SignedDuration::from_mins(10);
        assert!(matches!(
            identify(token, Some(&keys), later),
            Err(Unacceptable::Untimely(_))
        ));
        let (signed, _) = token.rsplit_once('.').unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let other = URL_SAFE_NO_PAD
            .encode(json!({ "tenantId": "0".repeat(32), "exp": now.as_second() + 60 }).to_string());
        for changed in [
            format!("{signed}."),
            format!("{signed}.AAAA"),
            format!("{}.{other}.{}", parts[0], parts[2]),
            unsigned(&format!(r#"{{"tenantId":"{ID}","exp":9999999999}}"#)),
            format!("Bearer {token}"),
            format!("{token}\n"),
        ] {
            assert!(identify(&changed, Some(&keys), now).is_err(), "{changed}");
        }
    }

    #[test]
    fn the_tenant_is_canonical_or_the_token_is_refused() {
        let of = |claims: &str| identify(&unsigned(claims), None, Timestamp::now());
        for text in [
            ID,
            "7B0E1C5A-9F3D-4B62-A1C8-E4D7F0936B21",
            "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
        ] {
            let claims = json!({ "tenantId": text }).to_string();
            assert_eq!(of(&claims).unwrap().tenant, ID);
        }
        assert_eq!(of(r#"{"tenantId":"Acme"}"#).unwrap().tenant, "Acme");
        for claims in [
            r"{}",
            r#"{"tenantId":""}"#,
            r#"{"tenantId":1}"#,
            r#"{"tenantId":["a"]}"#,
            r#"{"tenant_id":"a"}"#,
        ] {
            assert_eq!(of(claims), Err(Unacceptable::NoTenant), "{claims}");
        }
        for id in ["urn:uuid:x", "{a}", "a b", "a\n", "..", "a%20"] {
            let claims = json!({ "tenantId": Value::from(id) }).to_string();
            assert_eq!(of(&claims), Err(Unacceptable::BadTenant), "{id}");
        }
        assert!(matches!(
            of(r#"{"tenantId":"a","tenantId":"b"}"#),
            Err(Unacceptable::Unreadable(_))
        ));
    }
}
