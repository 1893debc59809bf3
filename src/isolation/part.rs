//! What a family comes to that asks other servers than PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Check, Finding, Severity};
use super::report::{NotTested, ServerFacts};

/// How much a check looked at, and why it did not look at the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Places that were looked at.
    pub looked: u64,
    /// Places that there are.
    pub out_of: u64,
    /// Why a place could not be looked at.
    pub failed: Vec<String>,
    /// Why it does not apply to a place, or may not look there.
    pub skipped: Vec<String>,
    /// Why what was seen proves nothing either way.
    pub unclear: Vec<String>,
}

/// What the checks of one kind of server come to.
#[derive(Debug, Default)]
pub struct Part {
    /// Counter-examples.
    pub findings: Vec<Finding>,
    /// What each check looked at.
    pub looked: BTreeMap<&'static str, Looked>,
    /// What was left out, for the report's section on that.
    pub gaps: BTreeSet<NotTested>,
    /// Servers that were asked.
    pub servers: Vec<ServerFacts>,
    /// Planted breaches, and whether the check found its own.
    pub planted: BTreeMap<&'static str, bool>,
}

/// What plants a breach, and the check that has to find it.
pub(super) type Plant<S> = (&'static str, fn(&mut S));

/// Plants each breach alone in what `scratch` makes, and says which checks found theirs. A finding
/// where nothing was planted means that the check cannot be believed either.
pub(super) fn find_planted<S>(
    plants: &[Plant<S>],
    scratch: fn() -> S,
    judge: fn(&S) -> Part,
) -> BTreeMap<&'static str, bool> {
    let clean = judge(&scratch());
    plants
        .iter()
        .map(|(id, plant)| {
            let mut planted = scratch();
            plant(&mut planted);
            (*id, judge(&planted).refutes(id) && !clean.refutes(id))
        })
        .collect()
}

impl Part {
    fn of(&mut self, id: &'static str) -> &mut Looked {
        self.looked.entry(id).or_default()
    }

    /// Notes that `looked` of `out_of` places were looked at.
    pub fn looked(&mut self, id: &'static str, looked: u64, out_of: u64) {
        let of = self.of(id);
        of.looked += looked;
        of.out_of += out_of;
    }

    /// Notes that a place could not be looked at.
    pub fn failed(&mut self, id: &'static str, reason: impl Into<String>) {
        let of = self.of(id);
        of.out_of += 1;
        of.failed.push(reason.into());
    }

    /// Notes that a check does not apply, or may not look.
    pub fn skip(&mut self, id: &'static str, reason: impl Into<String>) {
        self.of(id).skipped.push(reason.into());
    }

    /// Notes that a place was looked at and proves nothing.
    pub fn unclear(&mut self, id: &'static str, reason: impl Into<String>) {
        let of = self.of(id);
        of.looked += 1;
        of.out_of += 1;
        of.unclear.push(reason.into());
    }

    /// Notes what was not tested.
    pub fn gap(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.gaps.insert(NotTested {
            what: what.into(),
            why: why.into(),
        });
    }

    /// Returns true when the check called `id` found more than what is only noted.
    pub fn refutes(&self, id: &str) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.check == id && finding.severity > Severity::Info)
    }

    /// Skips every check of `checks` for one reason.
    pub fn skip_all(&mut self, checks: &[&'static Check], reason: &str) {
        for check in checks {
            self.skip(check.id, reason);
        }
    }

    /// Notes that none of `checks` could look.
    pub fn fail_all(&mut self, checks: &[&'static Check], reason: &str) {
        for check in checks {
            self.failed(check.id, reason);
        }
    }
}
