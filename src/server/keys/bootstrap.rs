//! Keys that servers are started with: one set per registry, that of the last start.

use aws_lc_rs::constant_time;

use super::{DIGEST, unhex};
use crate::contract::permission::Role;
use crate::server::auth::{Caller, CallerKind};
use crate::server::registry::keys::bootstrap_id;

/// The accepted ones.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    stored: Vec<String>,
    keys: Vec<([u8; DIGEST], Caller)>,
}

impl Bootstrap {
    /// Takes the stored digests; what is not one is left out.
    pub(super) fn new(stored: Vec<String>) -> Self {
        let keys = stored.iter().filter_map(|text| {
            let id = bootstrap_id(text)?;
            let caller = Caller::new(
                CallerKind::BootstrapKey,
                &id,
                "bootstrap key",
                Role::BreakGlass,
            );
            Some((unhex(text)?, caller))
        });
        Self {
            keys: keys.collect(),
            stored,
        }
    }

    /// Returns true when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns who has the key with this digest.
    pub(super) fn caller(&self, digest: &[u8]) -> Option<&Caller> {
        // Every digest is compared, so that time does not tell which one it was.
        let mut found = None;
        for (stored, caller) in &self.keys {
            if constant_time::verify_slices_are_equal(stored, digest).is_ok() {
                found = Some(caller);
            }
        }
        found
    }

    /// Says so when these are not the keys that this server was started with: whoever starts a
    /// server with other keys overrules the servers that run.
    pub(super) fn compare(&self, given: &[String]) {
        let [refused, besides] = differing(given, &self.stored);
        if !refused.is_empty() {
            tracing::warn!(
                refused,
                accepted = besides,
                "another server was started on this registry with other bootstrap keys, and the last start decides for all: keys that this server was started with are refused"
            );
        } else if !besides.is_empty() {
            tracing::warn!(
                accepted = besides,
                "another server was started on this registry with further bootstrap keys: they are accepted here too"
            );
        }
    }

    /// Returns true when both are the same keys.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.stored == other.stored
    }
}

/// Returns the ids of what was given and is not stored, and the other way round.
fn differing(given: &[String], stored: &[String]) -> [String; 2] {
    [(given, stored), (stored, given)].map(|(some, others)| {
        let new = some.iter().filter(|digest| !others.contains(digest));
        let ids: Vec<String> = new.filter_map(|digest| bootstrap_id(digest)).collect();
        ids.join(", ")
    })
}
