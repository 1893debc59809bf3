//! API keys, as the registry holds them.

use jiff::Timestamp;

use super::model::now;
use super::{RegistryError, Replay};
use crate::audit::actions;
use crate::contract::audit::AuditRecord;
use crate::contract::keys::{KeyRecord, KeyState};
use crate::contract::permission::Role;
use crate::contract::{Environment, ServiceName};

/// Returns the public id of a key that servers are started with: some characters of its keyed
/// digest tell several apart and say nothing.
pub(crate) fn bootstrap_id(digest: &str) -> Option<String> {
    Some(format!("bootstrap-{}", digest.get(..8)?))
}

/// Returns what the audit log tells when the keys that servers are started with are replaced;
/// nothing when they stay the same.
pub(crate) fn bootstrap_replaced(before: &[String], after: &[String]) -> Option<AuditRecord> {
    let named = |some: &[String], others: &[String]| -> Vec<String> {
        let new = some.iter().filter(|digest| !others.contains(digest));
        new.filter_map(|digest| bootstrap_id(digest)).collect()
    };
    let changes = [
        ("accepted", named(after, before)),
        ("withdrawn", named(before, after)),
    ];
    let said: Vec<String> = changes
        .iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(word, ids)| format!("{word}: {}", ids.join(", ")))
        .collect();
    (!said.is_empty()).then(|| {
        let mut record = crate::audit::draft(actions::KEYS_BOOTSTRAP, now());
        record.detail = Some(said.join("; "));
        record
    })
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    /// Public id.
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// Keyed digest, as hex.
    pub(crate) digest: String,
    /// Services that it reads.
    pub(crate) services: Vec<ServiceName>,
    /// Environments that it reads; empty means all.
    pub(crate) environments: Vec<Environment>,
    /// Requests per second.
    pub(crate) rate_limit: Option<u32>,
    /// The key that it took over from.
    pub(crate) rotated_from: Option<String>,
    /// Who made it.
    pub(crate) created_by: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it ends.
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was withdrawn.
    pub(crate) revoked_at: Option<Timestamp>,
    /// When it was last used.
    pub(crate) last_used_at: Option<Timestamp>,
}

impl AccessKey {
    /// Returns the state at `now`.
    pub(crate) fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// Returns what may be shown.
    pub(crate) fn record(&self, now: Timestamp) -> KeyRecord {
        KeyRecord {
            id: self.id.clone(),
            name: self.name.clone(),
            role: self.role,
            services: self.services.clone(),
            environments: self.environments.clone(),
            state: self.state(now),
            rate_limit: self.rate_limit,
            created_at: self.created_at,
            created_by: self.created_by.clone(),
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_at: self.last_used_at,
            rotated_from: self.rotated_from.clone(),
        }
    }
}

/// A key to keep.
#[derive(Debug, Clone)]
pub(crate) struct NewAccessKey {
    /// The key. When it took over from another, that one must be active and have no successor yet;
    /// otherwise no active key may have its name.
    pub(crate) key: AccessKey,
    /// When the other one ends at the latest.
    pub(crate) retire_at: Timestamp,
    /// Answer to keep for a repeated request; its body is sealed.
    pub(crate) replay: Option<Replay>,
    /// What the audit log says of it.
    pub(crate) audit: Vec<AuditRecord>,
}

/// What a list of keys is narrowed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyFilter {
    /// Part of name or id.
    pub(crate) search: Option<String>,
    /// Only keys that are active at that time.
    pub(crate) active_at: Option<Timestamp>,
}

/// Where a page of keys begins: before that time and id.
pub(crate) type KeyCursor = (i64, String);

/// Understands a stored role.
pub(crate) fn role(word: &str) -> Result<Role, RegistryError> {
    Role::from_word(word).ok_or_else(|| RegistryError::Corrupt(format!("`{word}` is not a role")))
}
