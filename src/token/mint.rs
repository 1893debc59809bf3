//! Tokens for development servers: a signing key, its key set, and minting.
//!
//! In production the Access Manager issues tokens; nothing here is ever used there.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::contract::{Slug, TenantId};
use crate::secret::Secret;

/// The longest lifetime that [`mint`] gives a token.
pub const LONGEST_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Issuer of development tokens.
pub const ISSUER: &str = "lerianctl-development";

/// Claims that [`mint`] sets itself, so that `extra` cannot contradict them.
const RESERVED: [&str; 12] = [
    "tenantId",
    "tenantSlug",
    "tenant_id",
    "tenant_slug",
    "owner",
    "sub",
    "type",
    "iss",
    "iat",
    "nbf",
    "exp",
    "jti",
];

/// Why a development signing key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// The text is not an RSA private key in PEM.
    #[error("the signing key is not an RSA private key in PEM (PKCS#8 or PKCS#1)")]
    NotAKey,
    /// The key is too short, or its numbers do not fit together.
    #[error("the signing key was refused: {0}")]
    Refused(String),
}

/// An RSA key that signs development tokens.
pub struct SigningKey {
    key: EncodingKey,
    public: Jwk,
    id: String,
    pem: Secret,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    /// Returns a new RSA key of 2048 bits.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let refused = |_| SigningKeyError::Refused("key generation failed".to_owned());
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
        let der = pair.as_der().map_err(refused)?;
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        Self::from_pem(&Secret::new(pem))
    }

    /// Reads a key that [`SigningKey::to_pem`] wrote, or any RSA private key in PEM.
    pub fn from_pem(text: &Secret) -> Result<Self, SigningKeyError> {
        let parsed = pem::parse(text.expose()).map_err(|_| SigningKeyError::NotAKey)?;
        if !matches!(parsed.tag(), "PRIVATE KEY" | "RSA PRIVATE KEY") {
            return Err(SigningKeyError::NotAKey);
        }
        let key = EncodingKey::from_rsa_pem(text.expose().as_bytes())
            .map_err(|_| SigningKeyError::NotAKey)?;
        let refused =
            |error: jsonwebtoken::errors::Error| SigningKeyError::Refused(error.to_string());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(refused)?;
        let id = public.thumbprint(ThumbprintHash::SHA256).map_err(refused)?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            key,
            public,
            id,
            pem: text.clone(),
        })
    }

    /// Returns the private key in PEM.
    pub fn to_pem(&self) -> &Secret {
        &self.pem
    }

    /// Returns the key id: the RFC 7638 thumbprint of the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the key set that checks the tokens of this key; holds no private part.
    pub fn jwks(&self) -> Value {
        let set = JwkSet {
            keys: vec![self.public.clone()],
        };
        serde_json::to_value(set).expect("a key set is plain JSON")
    }
}

/// What a token says its bearer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenType {
    /// `normal-user`: a person.
    Human,
    /// Any other word: products treat the bearer as a machine.
    Machine(String),
}

impl TokenType {
    /// The claim value that marks a person.
    pub const NORMAL_USER: &'static str = "normal-user";

    /// Reads the word of a `type` claim.
    pub fn parse(text: &str) -> Self {
        if text == Self::NORMAL_USER {
            Self::Human
        } else {
            Self::Machine(text.to_owned())
        }
    }

    /// Returns the claim value.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Human => Self::NORMAL_USER,
            Self::Machine(word) => word,
        }
    }
}

/// What a minted token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Tenant, always in its canonical form.
    pub tenant_id: TenantId,
    /// Slug of the tenant, when known.
    pub tenant_slug: Option<Slug>,
    /// Organization of the user; needed for a person.
    pub owner: Option<String>,
    /// User or application; needed for a person.
    pub subject: Option<String>,
    /// Person or machine.
    pub token_type: TokenType,
    /// Further claims; none may carry a name that minting sets itself.
    pub extra: Map<String, Value>,
}

/// Why a token was not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// A further claim would contradict one that is set from an argument of its own.
    #[error("the claim `{0}` is set by minting itself and cannot be given as a further claim")]
    ReservedClaim(String),
    /// Products refuse a person without owner or subject.
    #[error("a token of type `normal-user` needs the claim `{0}`: products refuse it otherwise")]
    IncompleteHuman(&'static str),
    /// Zero, or longer than [`LONGEST_LIFETIME`].
    #[error("the lifetime of a development token is between 1 second and 30 days")]
    Lifetime,
    /// The key did not sign.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    tenant_id: &'a TenantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_slug: Option<&'a Slug>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    r#type: &'a str,
    iss: &'static str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// Signs a token that is valid from `now` for `lifetime`, with RS256 and the key's id.
pub fn mint(
    key: &SigningKey,
    claims: &Claims,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Secret, MintError> {
    if lifetime.as_secs() == 0 || lifetime > LONGEST_LIFETIME {
        return Err(MintError::Lifetime);
    }
    if let Some(name) = claims.extra.keys().find(|name| {
        RESERVED
            .iter()
            .any(|taken| taken.eq_ignore_ascii_case(name))
    }) {
        return Err(MintError::ReservedClaim(name.clone()));
    }
    if claims.token_type == TokenType::Human {
        for (name, value) in [("owner", &claims.owner), ("sub", &claims.subject)] {
            if value.as_deref().is_none_or(str::is_empty) {
                return Err(MintError::IncompleteHuman(name));
            }
        }
    }
    let issued = now.as_second();
    let lifetime = i64::try_from(lifetime.as_secs()).map_err(|_| MintError::Lifetime)?;
    let payload = Payload {
        tenant_id: &claims.tenant_id,
        tenant_slug: claims.tenant_slug.as_ref(),
        owner: claims.owner.as_deref(),
        sub: claims.subject.as_deref(),
        r#type: claims.token_type.as_str(),
        iss: ISSUER,
        iat: issued,
        nbf: issued,
        exp: issued + lifetime,
        jti: Uuid::new_v4().to_string(),
        extra: &claims.extra,
    };
    let header = Header {
        kid: Some(key.id.clone()),
        ..Header::new(Algorithm::RS256)
    };
    jsonwebtoken::encode(&header, &payload, &key.key)
        .map(Secret::new)
        .map_err(|error| MintError::Signing(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Claims {
        Claims {
            tenant_id: "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21".parse().unwrap(),
            tenant_slug: None,
            owner: None,
            subject: None,
            token_type: TokenType::Machine("application".to_owned()),
            extra: Map::new(),
        }
    }

    #[test]
    fn key_survives_its_pem_and_never_shows_it() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(key.to_pem()).unwrap();
        assert_eq!(key.id(), again.id());
        assert_eq!(key.jwks(), again.jwks());
        let shown = format!("{key:?} {}", key.jwks());
        assert!(!shown.contains("PRIVATE"));
        assert_eq!(key.jwks()["keys"][0].get("d"), None);
        assert_eq!(key.jwks()["keys"][0]["kid"], key.id());
    }

    #[test]
    fn rubbish_and_public_keys_are_no_signing_keys() {
        for text in [
            "",
            "not a key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(SigningKey::from_pem(&Secret::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn reserved_claims_and_odd_lifetimes_are_refused() {
        let key = SigningKey::generate().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let hour = Duration::from_hours(1);
        let mut claims = machine();
        assert!(mint(&key, &claims, hour, now).is_ok());
        for odd in [Duration::ZERO, Duration::from_millis(500), Duration::MAX] {
            assert_eq!(mint(&key, &claims, odd, now), Err(MintError::Lifetime));
        }
        claims.token_type = TokenType::parse("normal-user");
        assert_eq!(
            mint(&key, &claims, hour, now),
            Err(MintError::IncompleteHuman("owner"))
        );
        let mut claims = machine();
        claims.extra.insert("TenantID".to_owned(), "x".into());
        assert_eq!(
            mint(&key, &claims, hour, now),
            Err(MintError::ReservedClaim("TenantID".to_owned()))
        );
    }
}
