//! Looks at a token without checking its signature.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::mint::TokenType;
use super::parse::{Members, Parsed, TokenError};
use super::validity::Validity;
use super::warning::{self, Warning};
use crate::contract::TenantId;
use crate::contract::ids::is_claimable_tenant_id;

/// What a token says, and what is wrong with it. Holds neither the token nor its signature.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Header, as it stands in the token.
    #[schemars(with = "Map<String, Value>")]
    pub header: Members,
    /// Claims, as they stand in the token, unknown ones included.
    #[schemars(with = "Map<String, Value>")]
    pub claims: Members,
    /// Header `alg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Header `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Whether there is a signature at all.
    pub signed: bool,
    /// The tenant that the token selects.
    pub tenant: TenantClaim,
    /// Claim `tenantSlug`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_slug: Option<String>,
    /// Claim `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Claim `owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Claim `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whom products take the bearer for.
    pub bearer: Bearer,
    /// Claim `type`, which decides about `bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When the token is valid.
    pub validity: Validity,
    /// What is odd about the token, the gravest first.
    pub warnings: Vec<Warning>,
}

/// Whom products take the bearer of a token for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Bearer {
    /// `type` is `normal-user`.
    Human,
    /// `type` is anything else, or absent.
    Machine,
}

/// What the claim `tenantId` is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TenantState {
    /// 32 lower-case hex digits: the same tenant everywhere.
    Canonical,
    /// A UUID in another spelling.
    NotCanonical,
    /// Accepted by products, but not a UUID.
    NotUuid,
    /// Absent or empty.
    Missing,
    /// Not a text.
    NotText,
    /// A text that products refuse.
    Refused,
}

/// The tenant that a token selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantClaim {
    /// What the claim is good for.
    pub state: TenantState,
    /// The claim as it stands in the token, when it is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The id that products on lib-commons before 6.3 use: the claim as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbatim: Option<String>,
    /// The id that products on lib-commons from 6.3 on use: UUIDs in their canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
}

impl TenantClaim {
    pub(super) fn of(claims: &Members) -> Self {
        let unusable = |state, claim| Self {
            state,
            claim,
            verbatim: None,
            canonical: None,
        };
        let text = match claims.get("tenantId") {
            None => return unusable(TenantState::Missing, None),
            Some(Value::String(text)) if text.is_empty() => {
                return unusable(TenantState::Missing, Some(String::new()));
            }
            Some(Value::String(text)) => text,
            Some(_) => return unusable(TenantState::NotText, None),
        };
        if !is_claimable_tenant_id(text) {
            return unusable(TenantState::Refused, Some(text.clone()));
        }
        let uuid = TenantId::canonical(text);
        let state = match &uuid {
            Some(id) if id.as_str() == text => TenantState::Canonical,
            Some(_) => TenantState::NotCanonical,
            None => TenantState::NotUuid,
        };
        Self {
            state,
            claim: Some(text.clone()),
            verbatim: Some(text.clone()),
            canonical: Some(uuid.map_or_else(|| text.clone(), String::from)),
        }
    }

    /// Returns true when products disagree about which tenant this is.
    pub fn is_ambiguous(&self) -> bool {
        self.verbatim != self.canonical
    }
}

impl Inspection {
    fn of(parsed: Parsed, now: Timestamp) -> Self {
        let tenant = TenantClaim::of(&parsed.claims);
        let validity = Validity::of(&parsed.claims, now);
        let warnings = warning::all(&parsed, &tenant, &validity, now);
        let claim = |name: &str| parsed.claims.text(name).map(str::to_owned);
        let token_type = claim("type");
        Self {
            algorithm: parsed.header.text("alg").map(str::to_owned),
            key_id: parsed.header.text("kid").map(str::to_owned),
            signed: !parsed.signature.is_empty(),
            tenant_slug: claim("tenantSlug"),
            subject: claim("sub"),
            owner: claim("owner"),
            issuer: claim("iss"),
            bearer: match token_type.as_deref() {
                Some(TokenType::NORMAL_USER) => Bearer::Human,
                _ => Bearer::Machine,
            },
            token_type,
            tenant,
            validity,
            warnings,
            header: parsed.header,
            claims: parsed.claims,
        }
    }
}

/// Reads a token and says what is in it, as of `now`. The signature is **not** checked.
pub fn inspect(text: &str, now: Timestamp) -> Result<Inspection, TokenError> {
    Parsed::read(text).map(|parsed| Inspection::of(parsed, now))
}
