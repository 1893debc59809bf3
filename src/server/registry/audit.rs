//! What the registry holds of the audit log.

use jiff::Timestamp;

use super::RegistryError;
use crate::audit::actions;
use crate::audit::{MacKey, Seen};
use crate::contract::admin::OperationState;
use crate::contract::audit::{AuditEntry, AuditRecord};

/// What a list of entries is narrowed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    /// About this tenant, by canonical id.
    pub(crate) tenant: Option<String>,
    /// By this caller.
    pub(crate) caller: Option<String>,
    /// Of this action.
    pub(crate) action: Option<String>,
    /// Not before.
    pub(crate) since: Option<Timestamp>,
    /// Before.
    pub(crate) until: Option<Timestamp>,
    /// Oldest first, rather than newest first.
    pub(crate) oldest_first: bool,
}

/// An entry as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct AuditRow {
    pub(crate) sequence: i64,
    pub(crate) at: i64,
    pub(crate) caller: String,
    pub(crate) action: String,
    pub(crate) tenant: Option<String>,
    pub(crate) record: String,
    pub(crate) hash: String,
    pub(crate) mac: String,
}

impl AuditRow {
    /// Returns the entry.
    pub(crate) fn entry(self) -> Result<AuditEntry, RegistryError> {
        let record = serde_json::from_str(&self.record).map_err(|error| {
            RegistryError::Corrupt(format!("audit entry {}: {error}", self.sequence))
        })?;
        Ok(AuditEntry {
            hash: self.hash,
            mac: self.mac,
            record,
        })
    }

    /// Returns what a verification looks at.
    pub(crate) fn seen(self) -> Seen {
        let record =
            serde_json::from_str::<AuditRecord>(&self.record).map_err(|error| error.to_string());
        let contradicted = record
            .as_ref()
            .ok()
            .and_then(|record| self.contradiction(record));
        Seen {
            place: Some(u64::try_from(self.sequence).unwrap_or(0)),
            record,
            hash: self.hash,
            mac: self.mac,
            contradicted,
        }
    }

    fn contradiction(&self, record: &AuditRecord) -> Option<String> {
        let column = if record.at.as_microsecond() != self.at {
            "time"
        } else if record.caller != self.caller {
            "caller"
        } else if record.action != self.action {
            "action"
        } else if record.tenant != self.tenant {
            "tenant"
        } else if crate::audit::canonical(record) != self.record {
            return Some("its text is not in the canonical form".to_owned());
        } else {
            return None;
        };
        Some(format!("it is filed under another {column}"))
    }
}

/// Returns the key that vouches for entries; without one nothing is changed.
pub(crate) fn require(key: Option<&MacKey>) -> Result<&MacKey, RegistryError> {
    key.ok_or_else(|| {
        RegistryError::Unavailable("the audit log has no key, so nothing can be recorded".into())
    })
}

/// Returns the record of an operation's end.
pub(crate) fn operation_ended(
    id: &str,
    kind: &str,
    tenant: &str,
    state: OperationState,
    reason: Option<&str>,
) -> AuditRecord {
    let mut record = crate::audit::draft(actions::OPERATION_END, super::model::now());
    record.operation = Some(id.to_owned());
    record.tenant = Some(tenant.to_owned());
    record.result = if state == OperationState::Succeeded {
        "ok".to_owned()
    } else {
        "operation.failed".to_owned()
    };
    record.detail = Some(match reason {
        Some(reason) => format!("{kind}: {reason}"),
        None => kind.to_owned(),
    });
    record
}
