//! What probing a product came to.

use std::collections::BTreeMap;

use crate::isolation::model::Finding;

/// What was looked at, what was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Probes that stand between two positive controls, by check.
    pub tried: BTreeMap<&'static str, u64>,
    /// Probes that there would be, where it is more than was tried.
    pub out_of: BTreeMap<&'static str, u64>,
    /// Why a check says nothing, although it was asked to.
    pub unproven: BTreeMap<&'static str, Vec<String>>,
    /// Why a check was left out.
    pub skipped: BTreeMap<&'static str, String>,
    /// Counter-examples.
    pub findings: Vec<Finding>,
    /// What was made and could not be removed.
    pub left_behind: Vec<String>,
    /// Where nothing was searched, and why.
    pub not_searched: Vec<(String, &'static str)>,
}

impl Outcome {
    pub(super) fn tried(&mut self, id: &'static str, count: usize) {
        *self.tried.entry(id).or_default() += count as u64;
    }

    pub(super) fn unproven(&mut self, id: &'static str, reason: impl Into<String>) {
        self.unproven.entry(id).or_default().push(reason.into());
    }

    pub(super) fn skip(&mut self, id: &'static str, reason: impl Into<String>) {
        self.skipped.insert(id, reason.into());
    }
}
