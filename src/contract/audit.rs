//! Wire types of the audit log.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened: the part of an entry that its hash is taken of.
///
/// The canonical form is the JSON of this object as RFC 8785 has it: keys sorted, no white space,
/// absent values left out. The fields stand here in that order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRecord {
    /// What was done: `tenant.create`, `credentials.read`, `operation.end`, …
    pub action: String,
    /// When; of several reads taken together, the last.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who: id of the key or subject of the token, `anonymous`, or `server`.
    pub caller: String,
    /// How the caller proved who it is.
    pub caller_kind: String,
    /// Name of the caller at that time, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_name: Option<String>,
    /// How many times, from 1; reads are taken together over a moment.
    pub count: u64,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the first of several happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub first: Option<Timestamp>,
    /// Operation that was begun, went on or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Hash of the plan that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Hash of the entry before; 64 zeros in the first.
    pub previous: String,
    /// Id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// `ok`, `unchanged`, `planned`, `replayed`, or the code of the refusal.
    pub result: String,
    /// Place in the log, from 1, without gaps.
    pub sequence: u64,
    /// Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// HTTP status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the request named, where no tenant was found by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Canonical id of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Version of this form: 1.
    pub v: u8,
}

/// An entry of the log, as it is stored, listed and exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// SHA-256 over the canonical record, as hex.
    pub hash: String,
    /// Code over the hash that only the server's key makes: `KEY.HEX`.
    pub mac: String,
    /// What happened.
    pub record: AuditRecord,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// Entries, newest first unless asked for otherwise.
    pub items: Vec<AuditEntry>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The end of the log at a moment: kept elsewhere, it tells later whether anything before it was
/// changed or cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    /// Place of the last entry; 0 when there is none.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

impl AuditHead {
    /// Returns what the first entry follows.
    pub fn origin() -> Self {
        Self {
            sequence: 0,
            hash: "0".repeat(64),
        }
    }
}

impl std::fmt::Display for AuditHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for AuditHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sequence, hash) = text.split_once(':').ok_or("it is not SEQUENCE:HASH")?;
        let sequence = sequence
            .parse()
            .map_err(|_| "its sequence is not a number")?;
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("its hash is not of 64 hexadecimal characters".to_owned());
        }
        Ok(Self {
            sequence,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditFinding {
    /// Place of the entry concerned.
    pub sequence: u64,
    /// `unreadable`, `altered`, `forged`, `replaced`, `missing`, `misplaced`, `anchor` or
    /// `truncated`.
    pub problem: String,
    /// One sentence.
    pub reason: String,
}

/// Outcome of a verification, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerification {
    /// Entries that were looked at.
    pub checked: u64,
    /// Where the part ends, and the next begins.
    pub head: AuditHead,
    /// What is wrong, in the order of the log.
    pub findings: Vec<AuditFinding>,
    /// True when there is nothing after it.
    pub complete: bool,
}
