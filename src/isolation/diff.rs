//! What changed between two reports.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Finding, Severity, Verdict};
use super::report::Isolation;

/// What a later report says otherwise than an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Findings that count and that the earlier report does not have, or has waived.
    pub new: Vec<Finding>,
    /// Findings that both have, with another severity.
    pub changed: Vec<Changed>,
    /// Findings that are gone, where their check looked again everywhere.
    pub fixed: Vec<Finding>,
    /// Findings that are not in the later report because nobody looked.
    pub unseen: Vec<Finding>,
    /// Findings that both have.
    pub unchanged: usize,
    /// Checks that concluded something and no longer do, or the other way round.
    pub checks: Vec<Turned>,
    /// Tenants that were added.
    pub tenants_added: Vec<String>,
    /// Tenants that are gone.
    pub tenants_removed: Vec<String>,
}

/// A finding with another severity than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Severity before.
    pub before: Severity,
    /// The finding now.
    pub finding: Finding,
}

/// A check that concludes otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Turned {
    /// Id of the check.
    pub check: String,
    /// Title of the check.
    pub title: String,
    /// Conclusion before; absent when the earlier report does not know the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Verdict>,
    /// Conclusion now; absent when the later report does not know the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Verdict>,
}

impl Turned {
    /// Returns true when something was established before and nothing is now.
    pub fn lost(&self) -> bool {
        self.before.is_some_and(established) && !self.now.is_some_and(established)
    }
}

/// Returns true for a verdict that says that somebody looked.
fn established(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Holds | Verdict::Refuted | Verdict::Waived | Verdict::Limit
    )
}

/// Compares two reports.
pub fn diff(before: &Isolation, now: &Isolation) -> Difference {
    let by_print = |report: &Isolation| -> BTreeMap<String, Finding> {
        report
            .findings
            .iter()
            .map(|finding| (finding.fingerprint.clone(), finding.clone()))
            .collect()
    };
    let (old, new) = (by_print(before), by_print(now));
    let mut difference = Difference::default();
    for finding in &now.findings {
        match old.get(&finding.fingerprint) {
            Some(was) if was.severity != finding.severity => difference.changed.push(Changed {
                before: was.severity,
                finding: finding.clone(),
            }),
            // One whose waiver is over counts again: that is news.
            Some(was) if was.counts() || !finding.counts() => difference.unchanged += 1,
            None if !finding.counts() => difference.unchanged += 1,
            _ => difference.new.push(finding.clone()),
        }
    }
    let looked: BTreeSet<&str> = now
        .checks
        .iter()
        .filter(|check| established(check.verdict) && check.looked_at >= check.out_of)
        .map(|check| check.check.as_str())
        .collect();
    for finding in &before.findings {
        if new.contains_key(&finding.fingerprint) {
            continue;
        }
        if looked.contains(finding.check.as_str()) {
            difference.fixed.push(finding.clone());
        } else {
            difference.unseen.push(finding.clone());
        }
    }
    difference.checks = turned(before, now);
    let names = |report: &Isolation| report.fleet.tenants.iter().cloned().collect();
    let (old, new): (BTreeSet<String>, BTreeSet<String>) = (names(before), names(now));
    difference.tenants_added = new.difference(&old).cloned().collect();
    difference.tenants_removed = old.difference(&new).cloned().collect();
    difference
}

fn turned(before: &Isolation, now: &Isolation) -> Vec<Turned> {
    let verdicts = |report: &Isolation| -> BTreeMap<String, (String, Verdict)> {
        report
            .checks
            .iter()
            .map(|check| (check.check.clone(), (check.title.clone(), check.verdict)))
            .collect()
    };
    let (old, new) = (verdicts(before), verdicts(now));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    ids.into_iter()
        .filter_map(|id| {
            let (was, is) = (old.get(id), new.get(id));
            let verdict = |side: Option<&(String, Verdict)>| side.map(|(_, verdict)| *verdict);
            (verdict(was) != verdict(is)).then(|| Turned {
                check: id.clone(),
                title: is
                    .or(was)
                    .map_or_else(String::new, |(title, _)| title.clone()),
                before: verdict(was),
                now: verdict(is),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::model::Waived;
    use crate::isolation::render::tests::report;

    fn waived(expired: bool) -> Waived {
        Waived {
            owner: "ops".into(),
            reason: "moves".into(),
            expires: "2026-01-01".into(),
            expired,
        }
    }

    /// A report whose check of the finding looked everywhere.
    fn whole() -> Isolation {
        let mut report = report(3);
        for check in &mut report.checks {
            check.looked_at = check.out_of;
        }
        report
    }

    #[test]
    fn a_report_does_not_differ_from_itself() {
        let difference = diff(&whole(), &whole());
        assert_eq!(
            difference,
            Difference {
                unchanged: 1,
                ..Difference::default()
            }
        );
    }

    #[test]
    fn new_fixed_and_unseen_are_told_apart() {
        let with = whole();
        let mut without = whole();
        without.findings.clear();
        assert_eq!(diff(&without, &with).new, with.findings);
        // The check still says "refuted", of something else: it looked.
        assert_eq!(diff(&with, &without).fixed, with.findings);
        let mut blind = without.clone();
        for check in &mut blind.checks {
            check.verdict = Verdict::Skipped;
        }
        let difference = diff(&with, &blind);
        assert_eq!(difference.unseen, with.findings);
        assert!(difference.fixed.is_empty());
        assert!(
            difference
                .checks
                .iter()
                .any(|turned| turned.check == "PG-002" && turned.lost())
        );
        // One that looked only at a part cannot say that what it did not see is gone.
        let mut partial = without;
        for check in &mut partial.checks {
            check.looked_at = 0;
        }
        assert_eq!(diff(&with, &partial).unseen, with.findings);
    }

    #[test]
    fn a_waiver_that_is_over_makes_news_and_a_good_one_does_not() {
        let counts = whole();
        let mut waives = whole();
        waives.findings[0].waiver = Some(waived(false));
        let mut over = whole();
        over.findings[0].waiver = Some(waived(true));
        assert_eq!(diff(&waives, &over).new.len(), 1);
        assert_eq!(diff(&counts, &waives).new.len(), 0);
        assert_eq!(diff(&waives, &counts).new.len(), 1);
        let mut none = whole();
        none.findings.clear();
        assert!(diff(&none, &waives).new.is_empty());
    }

    #[test]
    fn severities_checks_and_tenants_are_compared() {
        let before = whole();
        let mut now = whole();
        now.findings[0].severity = Severity::Low;
        now.checks.remove(0);
        now.fleet.tenants[0] = "zephyr".into();
        let difference = diff(&before, &now);
        assert_eq!(difference.changed[0].before, Severity::Critical);
        assert_eq!(difference.changed[0].finding.severity, Severity::Low);
        assert_eq!(difference.tenants_added, ["zephyr"]);
        assert_eq!(difference.tenants_removed, ["tenant-000"]);
        let [turned] = &difference.checks[..] else {
            panic!("{:?}", difference.checks);
        };
        assert!(turned.check == "PG-001" && turned.now.is_none() && turned.lost());
    }
}
