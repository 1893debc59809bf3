//! Waivers, baseline, and the conclusion of a run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Deserialize;

use super::model::{CheckResult, Finding, Severity, Verdict, Waived};
use super::report::{Control, ControlState, Isolation, SCHEMA_VERSION};

/// A file of waivers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waivers {
    /// Findings that somebody answers for.
    #[serde(default)]
    pub waiver: Vec<Waiver>,
}

/// A finding, or several, that somebody answers for until a day.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Id of the check.
    pub check: String,
    /// Object as the finding names it; every object of the check when absent. `*` at its end
    /// stands for anything.
    #[serde(default)]
    pub object: Option<String>,
    /// Cluster as the finding names it; every cluster when absent.
    #[serde(default)]
    pub store: Option<String>,
    /// Fingerprint of one finding.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is acceptable.
    pub reason: String,
    /// Last day on which it holds, as `2027-01-31`.
    pub expires: String,
}

impl Waivers {
    /// Reads a file of waivers; owner, reason and a day are required.
    pub fn parse(text: &str) -> Result<Self, String> {
        let waivers: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for waiver in &waivers.waiver {
            if waiver.owner.trim().is_empty() || waiver.reason.trim().is_empty() {
                return Err(format!(
                    "the waiver of {} needs an owner and a reason",
                    waiver.check
                ));
            }
            if super::catalogue::find(&waiver.check).is_none() {
                return Err(format!("there is no check `{}`", waiver.check));
            }
            waiver.day()?;
        }
        Ok(waivers)
    }

    /// Returns the waivers that are over on `today`.
    pub fn over(&self, today: Date) -> impl Iterator<Item = &Waiver> {
        self.waiver
            .iter()
            .filter(move |waiver| waiver.day().is_ok_and(|day| day < today))
    }

    /// Marks what is waived on `today`, and returns the waivers that matched nothing.
    pub fn apply(&self, findings: &mut [Finding], today: Date) -> Vec<String> {
        let mut unused = Vec::new();
        for waiver in &self.waiver {
            let expired = waiver.day().is_ok_and(|day| day < today);
            let mut used = false;
            for finding in findings.iter_mut().filter(|finding| waiver.covers(finding)) {
                used = true;
                // One that still holds wins over one that is over.
                if finding.counts() {
                    finding.waiver = Some(Waived {
                        owner: waiver.owner.clone(),
                        reason: waiver.reason.clone(),
                        expires: waiver.expires.clone(),
                        expired,
                    });
                }
            }
            if !used {
                let object = waiver.object.as_deref().unwrap_or("everything");
                unused.push(format!("{} {object} ({})", waiver.check, waiver.owner));
            }
        }
        unused
    }
}

impl Waiver {
    fn day(&self) -> Result<Date, String> {
        self.expires.parse().map_err(|_| {
            format!(
                "the waiver of {} expires on `{}`, which is no day such as 2027-01-31",
                self.check, self.expires
            )
        })
    }

    fn covers(&self, finding: &Finding) -> bool {
        let same = |wanted: &Option<String>, found: &str| match wanted.as_deref() {
            None => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(beginning) => found.starts_with(beginning),
                None => wanted == found,
            },
        };
        self.check.eq_ignore_ascii_case(&finding.check)
            && same(&self.object, &finding.object)
            && same(&self.store, &finding.store)
            && same(&self.fingerprint, &finding.fingerprint)
    }
}

/// Marks the findings that an earlier report had already.
pub fn known_before(findings: &mut [Finding], before: &[Finding]) {
    let before: BTreeSet<&str> = before.iter().map(|f| f.fingerprint.as_str()).collect();
    for finding in findings {
        finding.known = before.contains(finding.fingerprint.as_str());
    }
}

/// Counts the findings that count, by severity.
pub fn counts(findings: &[Finding]) -> BTreeMap<Severity, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.counts()) {
        *counts.entry(finding.severity).or_default() += 1;
    }
    counts
}

/// What is asked of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Findings below this are shown and do not fail.
    pub fail_on: Severity,
    /// True when only findings that the baseline does not have fail.
    pub only_new: bool,
}

/// Returns true when a finding fails the run.
pub fn fails(finding: &Finding, bar: Bar) -> bool {
    finding.counts() && finding.severity >= bar.fail_on && !(bar.only_new && finding.known)
}

/// Returns true when a run passes: nothing fails it, and it came to a conclusion.
pub fn passes(outcome: &Isolation, bar: Bar, accept_unproven: bool) -> bool {
    !outcome.findings.iter().any(|finding| fails(finding, bar))
        && match outcome.verdict {
            Verdict::Error => false,
            Verdict::Unproven => accept_unproven,
            _ => true,
        }
}

/// Says where a report contradicts itself, as one does that was edited; empty where it does not.
pub fn contradictions(outcome: &Isolation) -> Vec<&'static str> {
    let counted = outcome.findings.iter().any(Finding::counts);
    let missed =
        outcome.control.state == ControlState::Missed || !outcome.control.missed.is_empty();
    let uncontrolled = matches!(
        outcome.control.state,
        ControlState::Off | ControlState::Impossible
    );
    let verdict = outcome.verdict;
    [
        (
            "its counts are not those of its findings",
            counts(&outcome.findings) != outcome.counts,
        ),
        (
            "it has findings that count, and does not refute",
            counted && !matches!(verdict, Verdict::Refuted | Verdict::Error),
        ),
        (
            "it refutes without a finding that counts",
            !counted && verdict == Verdict::Refuted,
        ),
        (
            "planted breaches were missed, and it does not withhold its verdict",
            missed && verdict != Verdict::Error,
        ),
        (
            "it says that isolation holds, and no breach was planted",
            uncontrolled && verdict == Verdict::Holds,
        ),
        (
            "it was made by a newer lerianctl",
            outcome.schema_version > SCHEMA_VERSION,
        ),
    ]
    .into_iter()
    .filter_map(|(what, so)| so.then_some(what))
    .collect()
}

/// Returns the conclusion of a run, and why.
///
/// A run that could not look is never green: an error, or a control that is missing, weighs more
/// than the absence of findings.
pub fn conclude(
    findings: &[Finding],
    checks: &[CheckResult],
    control: &Control,
) -> (Verdict, String) {
    let counted = findings.iter().filter(|finding| finding.counts()).count();
    if control.state == ControlState::Missed {
        let missed = control.missed.join(", ");
        return (
            Verdict::Error,
            format!("{missed} did not find the breach that was planted: verdicts are withheld"),
        );
    }
    if counted > 0 {
        let worst = findings
            .iter()
            .filter(|finding| finding.counts())
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(Severity::Info);
        return (
            Verdict::Refuted,
            format!("{counted} counter-examples, the worst of them {worst}"),
        );
    }
    let errors: Vec<&str> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Error)
        .map(|check| check.check.as_str())
        .collect();
    if !errors.is_empty() {
        return (
            Verdict::Error,
            format!("{} could not look", errors.join(", ")),
        );
    }
    match control.state {
        ControlState::Off => {
            return (
                Verdict::Unproven,
                "no breach was planted (--no-control), so nobody knows whether one would have been \
                 found"
                    .into(),
            );
        }
        ControlState::Impossible => {
            return (
                Verdict::Unproven,
                format!("no breach could be planted: {}", control.reason),
            );
        }
        ControlState::Detected if !control.reason.is_empty() => {
            return (
                Verdict::Unproven,
                format!("not every breach could be planted: {}", control.reason),
            );
        }
        ControlState::Detected | ControlState::Missed => {}
    }
    let unproven: Vec<&str> = checks
        .iter()
        // What was sampled is proved for all pairs by the catalogues, when those hold.
        .filter(|check| check.verdict == Verdict::Unproven && check.looked_at == 0)
        .map(|check| check.check.as_str())
        .collect();
    if !unproven.is_empty() {
        return (
            Verdict::Unproven,
            format!("{} looked at nothing", unproven.join(", ")),
        );
    }
    if !checks.iter().any(|check| check.verdict == Verdict::Holds) && findings.is_empty() {
        return (Verdict::Unproven, "nothing was looked at".into());
    }
    (
        Verdict::Holds,
        "every claim that was tested holds, and every planted breach was found".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;

    fn finding() -> Finding {
        Finding::new(catalogue::find("PG-001").unwrap(), "h:1", "database acme")
    }

    fn control(state: ControlState) -> Control {
        Control {
            state,
            planted: 1,
            detected: 1,
            missed: Vec::new(),
            uncontrolled: Vec::new(),
            reason: String::new(),
        }
    }

    fn result(verdict: Verdict, looked_at: u64) -> CheckResult {
        CheckResult {
            check: "PG-001".into(),
            title: String::new(),
            family: "cluster".into(),
            verdict,
            findings: 0,
            looked_at,
            out_of: 1,
            reason: String::new(),
        }
    }

    const WAIVER: &str = "[[waiver]]\ncheck = 'PG-001'\nobject = 'database a*'\nowner = 'ops'\n\
                          reason = 'moves in March'\nexpires = '2027-03-31'\n";

    #[test]
    fn a_waiver_holds_until_its_day_is_over() {
        let waivers = Waivers::parse(WAIVER).unwrap();
        let mut findings = [finding()];
        assert!(
            waivers
                .apply(&mut findings, "2027-03-31".parse().unwrap())
                .is_empty()
        );
        assert!(!findings[0].counts());
        let mut findings = [finding()];
        let _ = waivers.apply(&mut findings, "2027-04-01".parse().unwrap());
        assert!(findings[0].counts() && findings[0].waiver.as_ref().unwrap().expired);
        let mut other = [Finding::new(
            catalogue::find("PG-001").unwrap(),
            "h:1",
            "database b",
        )];
        assert_eq!(
            waivers
                .apply(&mut other, "2027-01-01".parse().unwrap())
                .len(),
            1
        );
        for broken in [
            WAIVER.replace("'ops'", "' '"),
            WAIVER.replace("2027-03-31", "soon"),
            WAIVER.replace("PG-001", "PG-999"),
            WAIVER.replace("owner", "who"),
        ] {
            assert!(Waivers::parse(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_run_that_could_not_look_is_never_green() {
        let holds = [result(Verdict::Holds, 1)];
        let of = |findings: &[Finding], checks: &[CheckResult], state| {
            conclude(findings, checks, &control(state)).0
        };
        assert_eq!(of(&[], &holds, ControlState::Detected), Verdict::Holds);
        assert_eq!(of(&[], &holds, ControlState::Off), Verdict::Unproven);
        assert_eq!(of(&[], &holds, ControlState::Impossible), Verdict::Unproven);
        assert_eq!(
            of(&[finding()], &holds, ControlState::Missed),
            Verdict::Error
        );
        assert_eq!(
            of(&[finding()], &holds, ControlState::Off),
            Verdict::Refuted
        );
        let error = [result(Verdict::Holds, 1), result(Verdict::Error, 0)];
        assert_eq!(of(&[], &error, ControlState::Detected), Verdict::Error);
        assert_eq!(of(&[], &[], ControlState::Detected), Verdict::Unproven);
        let blind = [result(Verdict::Holds, 1), result(Verdict::Unproven, 0)];
        assert_eq!(of(&[], &blind, ControlState::Detected), Verdict::Unproven);
    }

    #[test]
    fn what_the_baseline_has_does_not_fail_again() {
        let mut findings = [finding()];
        let bar = Bar {
            fail_on: Severity::High,
            only_new: true,
        };
        assert!(fails(&findings[0], bar));
        known_before(&mut findings, &[finding()]);
        assert!(!fails(&findings[0], bar));
        assert!(fails(
            &findings[0],
            Bar {
                only_new: false,
                ..bar
            }
        ));
        assert!(!fails(
            &findings[0],
            Bar {
                fail_on: Severity::Critical,
                only_new: false
            }
        ));
    }
}
