//! Identifiers: tenant ids, slugs, service names and environments.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a valid {what}: {reason}")]
pub struct IdError {
    /// What the text should have been.
    pub what: &'static str,
    /// The text, shortened and without control characters.
    pub shown: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl IdError {
    fn new(what: &'static str, text: &str, reason: &'static str) -> Self {
        let mut shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self {
            what,
            shown,
            reason,
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// Canonical tenant id: 32 lower-case hex digits.
    ///
    /// A dashed UUID is accepted on input and stored without dashes: a dashed id makes Midaz's
    /// balance sync read the tenant as an organization and silently lose updates.
    TenantId
}
text_id! {
    /// Human handle of a tenant: lower-case letters, digits and single dashes, 1 to 63 characters.
    Slug
}
text_id! {
    /// Name of a product as the Tenant Manager knows it, for example `ledger`; case-sensitive.
    ServiceName
}
text_id! {
    /// Environment of a tenant; events flow only for `staging` and `production`.
    Environment
}

impl TenantId {
    /// Returns a new random id.
    pub fn generate() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// Returns the canonical form of an id in any spelling that a UUID has in a token:
    /// 36 characters with dashes or 32 hex digits, any case. Nothing else is canonical.
    pub fn canonical(text: &str) -> Option<Self> {
        (matches!(text.len(), 32 | 36))
            .then(|| Uuid::try_parse(text).ok())
            .flatten()
            .map(|id| Self(id.simple().to_string()))
    }
}

impl FromStr for TenantId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::canonical(text).ok_or_else(|| {
            IdError::new(
                "tenant id",
                text,
                "a tenant id is 32 hexadecimal digits (a UUID; dashes are accepted and dropped)",
            )
        })
    }
}

impl Slug {
    /// Derives a slug from a display name; `None` when nothing of the name survives.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut text = slug::slugify(name.chars().take(200).collect::<String>());
        text.truncate(48);
        text.trim_end_matches('-').parse().ok()
    }
}

impl FromStr for Slug {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fail = |reason| Err(IdError::new("slug", text, reason));
        if text.is_empty() || text.len() > 63 {
            return fail("a slug has 1 to 63 characters");
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return fail("a slug holds lower-case letters a to z, digits and dashes");
        }
        if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return fail("dashes stand alone, between letters or digits");
        }
        if TenantId::canonical(text).is_some() {
            return fail("it would be taken for a tenant id");
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ServiceName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let ok = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !ok {
            return Err(IdError::new(
                "service name",
                text,
                "a service name has 1 to 64 letters, digits, `-`, `_` or `.`, and starts with a letter or digit",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Environment {
    /// The two environments that products listen to (`reference`: event channel rules).
    pub const WITH_EVENTS: [&'static str; 2] = ["staging", "production"];

    /// Returns true when events of this environment have a channel.
    pub fn has_events(&self) -> bool {
        Self::WITH_EVENTS.contains(&self.as_str())
    }
}

impl FromStr for Environment {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.trim().to_lowercase();
        let ok = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !ok {
            return Err(IdError::new(
                "environment",
                &text,
                "an environment has 1 to 32 lower-case letters, digits or dashes, such as `production` or `staging`",
            ));
        }
        Ok(Self(text))
    }
}

/// Returns true for a text that products accept as a `tenantId` claim:
/// `^[a-zA-Z0-9][a-zA-Z0-9_-]*$`, 1 to 256 characters.
pub fn is_claimable_tenant_id(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A tenant as an operator names it: by id in any spelling, or by slug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRef {
    /// By id.
    Id(TenantId),
    /// By slug.
    Slug(Slug),
}

impl FromStr for TenantRef {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match TenantId::canonical(text) {
            Some(id) => Ok(Self::Id(id)),
            None => text
                .parse()
                .map(Self::Slug)
                .map_err(|error: IdError| IdError {
                    what: "tenant (slug or id)",
                    ..error
                }),
        }
    }
}

impl fmt::Display for TenantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug(slug) => slug.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_id_is_one_tenant() {
        let canonical = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
        for text in [
            canonical,
            "7B0E1C5A-9F3D-4B62-A1C8-E4D7F0936B21",
            "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
        ] {
            assert_eq!(text.parse::<TenantId>().unwrap().as_str(), canonical);
        }
        for text in [
            "",
            "acme",
            "urn:uuid:7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
            "{7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21}",
            "../../etc",
        ] {
            assert!(text.parse::<TenantId>().is_err(), "{text}");
        }
    }

    #[test]
    fn slugs_survive_any_name() {
        assert_eq!(
            Slug::from_name("Banco Aurora").unwrap().as_str(),
            "banco-aurora"
        );
        assert_eq!(
            Slug::from_name("São João & Cia.").unwrap().as_str(),
            "sao-joao-cia"
        );
        assert_eq!(
            Slug::from_name("'; DROP TABLE x; --").unwrap().as_str(),
            "drop-table-x"
        );
        assert!(Slug::from_name(&"a".repeat(10_000)).unwrap().as_str().len() <= 63);
        assert!(Slug::from_name("").is_none());
    }
}
