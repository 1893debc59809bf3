//! Counts what every check looked at, and concludes.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use crate::isolation::control;
use crate::isolation::http;
use crate::isolation::inventory::Store;
use crate::isolation::live::Outcome;
use crate::isolation::model::{Check, CheckResult, Family, Finding, Severity, Verdict};
use crate::isolation::part::Part;
use crate::isolation::report::{Control, ControlState, NotTested, ServerFacts};

#[derive(Default)]
struct Tally {
    looked: u64,
    out_of: u64,
    errors: Vec<String>,
    skipped: Vec<String>,
    unclear: Vec<String>,
    unproven: Vec<String>,
}

/// Why a check of a running product was left out where none was named.
const NOT_ASKED: &str = "no product was named (--recipe)";

/// What every check looked at so far.
pub(super) struct Tallies {
    checks: Vec<&'static Check>,
    counts: BTreeMap<&'static str, Tally>,
    findings: Vec<Finding>,
    /// Logins whose password is not known.
    pub(super) no_password: u64,
}

impl Tallies {
    pub(super) fn new(checks: Vec<&'static Check>) -> Self {
        Self {
            counts: checks
                .iter()
                .map(|check| (check.id, Tally::default()))
                .collect(),
            checks,
            findings: Vec::new(),
            no_password: 0,
        }
    }

    fn of(&mut self, id: &'static str) -> &mut Tally {
        self.counts.entry(id).or_default()
    }

    /// Notes that `places` were looked at, which are all.
    pub(super) fn looked(&mut self, id: &'static str, places: u64) {
        let tally = self.of(id);
        tally.looked += places;
        tally.out_of += places;
    }

    /// Notes that there are `places` to look at.
    pub(super) fn expect(&mut self, id: &'static str, places: u64) {
        self.of(id).out_of += places;
    }

    /// Notes that `places` were looked at, or why there are none.
    pub(super) fn looked_or(&mut self, id: &'static str, places: u64, reason: &str) {
        if places == 0 {
            self.skip(id, reason);
        } else {
            self.looked(id, places);
        }
    }

    /// Notes that a place could not be looked at.
    pub(super) fn failed(&mut self, id: &'static str, reason: impl Into<String>) {
        let tally = self.of(id);
        tally.out_of += 1;
        tally.errors.push(reason.into());
    }

    /// Notes that the reader may not look there, or that it does not apply.
    pub(super) fn skip(&mut self, id: &'static str, reason: impl Into<String>) {
        self.of(id).skipped.push(reason.into());
    }

    /// Notes that the reader sees too little there to find anything.
    pub(super) fn unproven(&mut self, id: &'static str, reason: impl Into<String>) {
        self.of(id).unproven.push(reason.into());
    }

    /// Takes what the checks of another kind of server came to; returns the servers.
    pub(super) fn take(
        &mut self,
        part: Part,
        not_tested: &mut BTreeSet<NotTested>,
    ) -> Vec<ServerFacts> {
        for (id, looked) in part.looked {
            let tally = self.of(id);
            tally.looked += looked.looked;
            tally.out_of += looked.out_of;
            tally.errors.extend(looked.failed);
            tally.skipped.extend(looked.skipped);
            tally.unclear.extend(looked.unclear);
        }
        self.findings.extend(part.findings);
        not_tested.extend(part.gaps);
        part.servers
    }

    pub(super) fn find(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// Notes that nobody asked for it, which is said once for all of its kind.
    pub(super) fn not_asked(&mut self, id: &'static str) {
        self.skip(id, NOT_ASKED);
    }

    /// Takes what probing a product came to.
    pub(super) fn probed(&mut self, outcome: http::Outcome, product: &str) {
        let of_product = |reason: &str| format!("{product}: {reason}");
        for (id, count) in outcome.tried {
            let out_of = outcome.out_of.get(id).copied().unwrap_or_default();
            let tally = self.of(id);
            tally.looked += count;
            tally.out_of += out_of.max(count);
        }
        for (id, reason) in outcome.skipped {
            self.skip(id, of_product(&reason));
        }
        for (id, reasons) in outcome.unproven {
            let reasons = reasons.iter().map(|reason| of_product(reason));
            self.of(id).unproven.extend(reasons);
        }
        self.findings.extend(outcome.findings);
    }

    /// Notes how many pairs there are to be tried on a cluster.
    pub(super) fn expect_pairs(&mut self, stores: &[&Store]) {
        let mut per_database: BTreeMap<&str, u64> = BTreeMap::new();
        let mut per_tenant: BTreeMap<&str, u64> = BTreeMap::new();
        let mut per_both: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for store in stores {
            *per_database.entry(&store.database).or_default() += 1;
            *per_tenant.entry(&store.tenant).or_default() += 1;
            *per_both
                .entry((&store.database, &store.tenant))
                .or_default() += 1;
        }
        let n = stores.len() as u64;
        let (mut elsewhere, mut others, mut inside) = (0, 0, 0);
        for store in stores {
            let tenant = per_tenant[store.tenant.as_str()];
            let same = per_database[store.database.as_str()];
            let own = per_both[&(store.database.as_str(), store.tenant.as_str())];
            others += n - tenant;
            elsewhere += (n - tenant) - (same - own);
            if store.schema.is_some() {
                inside += same - own;
            }
        }
        self.of("PG-201").out_of += elsewhere;
        self.of("PG-202").out_of += others;
        self.of("PG-203").out_of += inside;
        self.of("PG-204").out_of += inside;
        self.of("PG-205").out_of += n;
        self.of("PG-213").out_of += n;
        self.of("PG-217").out_of += n;
        self.of("PG-214").out_of += n;
        self.of("PB-02").out_of += stores.iter().filter(|s| s.pinned().is_some()).count() as u64;
    }

    /// Notes what is tried once per address.
    pub(super) fn expect_once(&mut self) {
        self.of("PB-01").out_of += 1;
    }

    /// Takes what one login found.
    pub(super) fn tried(&mut self, outcome: Outcome, settings: &Settings) {
        for (id, count) in outcome.tried {
            self.of(id).looked += count;
        }
        for (id, reasons) in outcome.unclear {
            self.of(id).errors.extend(reasons);
        }
        for (id, reason) in outcome.unproven {
            self.of(id).unproven.push(reason.to_owned());
        }
        for (id, reason) in outcome.skipped {
            self.skip(id, reason);
        }
        let wanted = outcome
            .findings
            .into_iter()
            .filter(|finding| super::tallies_wants(settings, finding));
        self.findings.extend(wanted);
    }

    /// Concludes for every check, before waivers.
    pub(super) fn close(
        mut self,
        control: &Control,
        not_tested: &mut BTreeSet<NotTested>,
    ) -> (Vec<Finding>, Vec<CheckResult>) {
        let mut seen = BTreeSet::new();
        self.findings
            .retain(|finding| seen.insert(finding.fingerprint.clone()));
        if self.no_password > 0 {
            not_tested.insert(NotTested {
                what: format!("{} logins of tenants", self.no_password),
                why: "their password is not known here".into(),
            });
        }
        let mut results = Vec::new();
        for check in &self.checks {
            let tally = self.counts.remove(check.id).unwrap_or_default();
            let count = self
                .findings
                .iter()
                .filter(|f| f.check == check.id && (f.severity > Severity::Info || check.limit))
                .count();
            let (verdict, reason) = conclude(check, &tally, count, control);
            let silent = reason.is_empty() || reason == NOT_ASKED;
            let blind = check.sql.is_some() && !tally.unproven.is_empty();
            if (matches!(verdict, Verdict::Skipped | Verdict::Error) || blind) && !silent {
                not_tested.insert(NotTested {
                    what: format!("{} · {}", check.id, check.title),
                    why: reason.clone(),
                });
            }
            results.push(CheckResult {
                check: check.id.to_owned(),
                title: check.title.to_owned(),
                family: check.family.as_str().to_owned(),
                verdict,
                findings: count,
                // What is not proved is not looked at: the catalogues do not make up for it.
                looked_at: if tally.unproven.is_empty() {
                    tally.looked
                } else {
                    0
                },
                out_of: tally.out_of.max(tally.looked),
                reason,
            });
        }
        (self.findings, results)
    }
}

fn conclude(check: &Check, tally: &Tally, findings: usize, control: &Control) -> (Verdict, String) {
    if control.missed.iter().any(|id| id == check.id) {
        return (
            Verdict::Error,
            "it did not find the breach that was planted: its verdict is withheld".into(),
        );
    }
    if findings > 0 {
        let verdict = if check.limit {
            Verdict::Limit
        } else {
            Verdict::Refuted
        };
        return (verdict, String::new());
    }
    if let Some(first) = tally.errors.first() {
        let more = match tally.errors.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        // A login that cannot be tried says nothing; with others tried it is a gap.
        return (Verdict::Error, format!("{first}{more}"));
    }
    if let Some(reason) = tally.unproven.first() {
        return (Verdict::Unproven, reason.clone());
    }
    if let Some(reason) = tally.skipped.first() {
        // Left out with one product, and tried with another.
        if check.family == Family::Http && tally.looked > 0 {
            return (Verdict::Holds, format!("not everywhere: {reason}"));
        }
        return (Verdict::Skipped, reason.clone());
    }
    if tally.out_of == 0 {
        let reason = if check.schema_mode {
            "no database is shared by tenants"
        } else {
            "there is nothing that it applies to"
        };
        return (Verdict::Skipped, reason.into());
    }
    if check.family == Family::Live && tally.looked == 0 {
        return (Verdict::Unproven, "no login could be tried".into());
    }
    let asked = check.sql.is_some();
    if asked && control.state == ControlState::Off {
        return (Verdict::Unproven, "no breach was planted".into());
    }
    if asked && control.state == ControlState::Impossible {
        return (Verdict::Unproven, "no breach could be planted".into());
    }
    if let Some(reason) = tally.unclear.first() {
        return (Verdict::Unproven, reason.clone());
    }
    if tally.looked < tally.out_of {
        let share = format!("{} of {} were tried", tally.looked, tally.out_of);
        return (Verdict::Unproven, share);
    }
    if asked && control.uncontrolled.iter().any(|id| id == check.id) {
        let verdict = if control::by_nature(check.id) {
            Verdict::Holds
        } else {
            Verdict::Unproven
        };
        return (verdict, "no breach of this kind could be planted".into());
    }
    (Verdict::Holds, String::new())
}

/// Changes the verdict of checks whose every counter-example is waived.
pub(super) fn after_waivers(checks: Vec<CheckResult>, findings: &[Finding]) -> Vec<CheckResult> {
    checks
        .into_iter()
        .map(|mut check| {
            let counts = |f: &&Finding| f.check == check.check && f.severity > Severity::Info;
            if check.verdict == Verdict::Refuted
                && findings.iter().filter(counts).all(|f| !f.counts())
            {
                check.verdict = Verdict::Waived;
            }
            check
        })
        .collect()
}
