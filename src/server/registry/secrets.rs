//! What the registry holds about keys, and about what they seal.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::contract::{ServiceName, TenantId};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Sealing credentials and other secrets of tenants.
    Records,
    /// Digests of API keys.
    ApiKeys,
    /// Ids of new tenants.
    TenantIds,
    /// Codes that vouch for the audit log.
    Audit,
}

impl Purpose {
    /// Every purpose.
    pub(crate) const ALL: [Self; 4] = [Self::Records, Self::ApiKeys, Self::TenantIds, Self::Audit];

    /// Returns the word that is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::ApiKeys => "api-keys",
            Self::TenantIds => "tenant-ids",
            Self::Audit => "audit",
        }
    }

    /// Understands the stored word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
    }
}

/// A key as it is stored: wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    /// Eight hexadecimal characters.
    pub(crate) id: String,
    /// What for.
    pub(crate) purpose: Purpose,
    /// Id of the master key that wrapped it.
    pub(crate) master: String,
    /// The key, wrapped.
    pub(crate) wrapped: String,
    /// Whether new values are sealed with it.
    pub(crate) active: bool,
    /// When it was made.
    pub(crate) created_at: Timestamp,
}

/// Every key, and what tells an old or a damaged registry from a new one.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredKeys {
    /// Keys by id.
    pub(crate) keys: Vec<StoredKey>,
    /// What earlier versions checked the master key with.
    pub(crate) check: Option<String>,
    /// Whether there is anything that a key has sealed.
    pub(crate) sealed: bool,
}

/// A change of the keys.
#[derive(Debug, Clone)]
pub(crate) enum KeyChange {
    /// The first ones. Stale when there are any.
    First(Vec<StoredKey>),
    /// The same ones, wrapped by another master key. Stale when one is not there.
    Rewrapped(Vec<StoredKey>),
    /// A new active one in place of that of this id. Stale when that one is not active.
    Replaced(String, StoredKey),
}

/// Where a sealed value is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SealedPlace {
    /// The password of a module.
    Credential {
        /// Tenant.
        tenant: TenantId,
        /// Service.
        service: ServiceName,
        /// Version.
        version: u32,
        /// Module.
        module: String,
    },
    /// The password hash of a tenant's owner.
    Owner(TenantId),
}

/// A sealed value and its place.
#[derive(Debug, Clone)]
pub(crate) struct SealedValue {
    /// Where it is kept.
    pub(crate) place: SealedPlace,
    /// The value.
    pub(crate) sealed: String,
}

/// A sealed value that is sealed anew.
#[derive(Debug, Clone)]
pub(crate) struct Resealed {
    /// The value as it was read.
    pub(crate) before: SealedValue,
    /// The value as it is to be.
    pub(crate) sealed: String,
}

/// Number of sealed values by the id of their key.
pub(crate) type SealedCounts = BTreeMap<String, u64>;
