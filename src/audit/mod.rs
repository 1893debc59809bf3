//! The audit log as a chain: every entry holds the hash of the one before, and a code that only
//! the holder of a key can make. Pure: linking and verifying, no storage.

pub mod actions;
mod verify;

pub use verify::{Seen, Verifier};

use aws_lc_rs::{digest, hmac};

use crate::contract::audit::{AuditEntry, AuditHead, AuditRecord};
use crate::secret::{Secret, hex};

/// What every hash begins with, so that it can be nothing else's hash.
const HASH_DOMAIN: &[u8] = b"lerianctl/audit/v1\n";
/// What every code begins with.
const MAC_DOMAIN: &[u8] = b"lerianctl/audit/mac/v1\n";

/// Returns the canonical form of a record.
pub fn canonical(record: &AuditRecord) -> String {
    serde_json::to_string(record).expect("a record serialises")
}

/// Returns the hash of a record's canonical form.
pub fn hash(canonical: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(HASH_DOMAIN);
    context.update(canonical.as_bytes());
    hex(context.finish().as_ref())
}

/// The key that vouches for entries.
pub struct MacKey {
    id: String,
    key: hmac::Key,
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

impl MacKey {
    /// Takes a key of 256 bits; `None` when it is not one.
    pub fn new(id: impl Into<String>, key: &Secret) -> Option<Self> {
        let bytes = key.bytes()?;
        Some(Self {
            id: id.into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref()),
        })
    }

    /// Returns the code over a hash.
    pub fn code(&self, hash: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(MAC_DOMAIN);
        context.update(hash.as_bytes());
        format!("{}.{}", self.id, hex(context.sign().as_ref()))
    }

    fn vouches(&self, hash: &str, code: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(
            self.code(hash).as_bytes(),
            code.as_bytes(),
        )
        .is_ok()
    }
}

/// An entry that is to be stored, and its canonical record.
#[derive(Debug)]
pub struct Linked {
    /// The entry.
    pub entry: AuditEntry,
    /// The record as text.
    pub text: String,
}

impl Linked {
    /// Returns the end of the log once this entry is in it.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            sequence: self.entry.record.sequence,
            hash: self.entry.hash.clone(),
        }
    }
}

/// Makes a record follow the end of the log.
pub fn link(mut record: AuditRecord, after: &AuditHead, key: &MacKey) -> Linked {
    record.sequence = after.sequence + 1;
    record.previous.clone_from(&after.hash);
    let text = canonical(&record);
    let hash = hash(&text);
    Linked {
        entry: AuditEntry {
            mac: key.code(&hash),
            hash,
            record,
        },
        text,
    }
}

/// Begins a record; its place in the log is given by [`link`].
pub fn draft(action: impl Into<String>, at: jiff::Timestamp) -> AuditRecord {
    AuditRecord {
        action: action.into(),
        at,
        caller: "server".to_owned(),
        caller_kind: "server".to_owned(),
        caller_name: None,
        count: 1,
        detail: None,
        first: None,
        operation: None,
        peer: None,
        plan: None,
        previous: String::new(),
        request: None,
        result: "ok".to_owned(),
        sequence: 0,
        service: None,
        status: None,
        target: None,
        tenant: None,
        v: 1,
    }
}

#[cfg(test)]
mod tests;
