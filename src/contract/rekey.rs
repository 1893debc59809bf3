//! Wire types of our extension on the keys that seal what is secret in the registry.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::Plan;

/// A key of the registry; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    /// Id, which stands in everything that the key seals.
    pub id: String,
    /// `records`, `api-keys`, `tenant-ids` or `audit`.
    pub purpose: String,
    /// Id of the master key that wraps it.
    pub master_key: String,
    /// Whether new values are sealed with it.
    pub active: bool,
    /// Values that it seals now; 0 for keys that seal nothing.
    pub sealed: u64,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

/// Which key seals how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Id of the master key at hand.
    pub master_key: String,
    /// Keys, oldest first.
    pub keys: Vec<DataKey>,
    /// Values under keys that are not active any longer.
    pub remaining: u64,
    /// Of those, the ones that could not be opened; the server's log names them.
    pub unreadable: u64,
    /// Whether values are being sealed anew.
    pub running: bool,
}

/// Body of `POST /v1/admin/rekey`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RekeyRequest {
    /// Plan only.
    pub dry_run: bool,
    /// Refuse unless the plan has this hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_plan: Option<String>,
}

/// Answer to a request for a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rekey {
    /// False when values are still being sealed anew after an earlier request: that goes on, and
    /// no further key is made.
    pub changed: bool,
    /// True when nothing was done because only a plan was asked for.
    #[serde(default)]
    pub dry_run: bool,
    /// What is, or would be, done.
    pub plan: Plan,
    /// Keys after the change (before it, in a dry run).
    pub status: KeyStatus,
}
