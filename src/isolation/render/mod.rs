//! Reports for other programs and other readers: SARIF, JUnit, Markdown, figures, one HTML page.
//!
//! Every text in them is somebody else's (names of tenants, roles, objects) and is escaped at one
//! place per format.

mod html;
mod junit;
mod markdown;
mod prometheus;
mod sarif;

use super::model::{EVERYONE, Finding};
use super::report::Isolation;

/// Form of a report that is written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One page without scripts and without anything to load.
    Html,
    /// For continuous integration: failures, errors, and "skipped" for what was not proved.
    Junit,
    /// For a pull request.
    Markdown,
    /// Figures for the textfile collector of Prometheus' node exporter.
    Prometheus,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 5] = [
        Self::Html,
        Self::Junit,
        Self::Markdown,
        Self::Prometheus,
        Self::Sarif,
    ];

    /// Returns the word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Prometheus => "prometheus",
            Self::Sarif => "sarif",
        }
    }
}

/// Writes a report in a form.
pub fn render(format: Format, report: &Isolation) -> String {
    match format {
        Format::Html => html::render(report),
        Format::Junit => junit::render(report),
        Format::Markdown => markdown::render(report),
        Format::Prometheus => prometheus::render(report),
        Format::Sarif => sarif::render(report),
    }
}

/// Says who reaches whom.
fn reach(finding: &Finding) -> String {
    let names = |list: &[String]| -> String {
        if list.iter().any(|name| name == EVERYONE) {
            return "every tenant".into();
        }
        let mut names: Vec<&str> = list.iter().take(8).map(String::as_str).collect();
        let more = format!("{} more", list.len().saturating_sub(8));
        if list.len() > 8 {
            names.push(&more);
        }
        names.join(", ")
    };
    let from = if finding.from.is_empty() {
        finding.roles.join(", ")
    } else {
        names(&finding.from)
    };
    match (from.is_empty(), finding.to.is_empty()) {
        (_, true) => from,
        (true, false) => names(&finding.to),
        (false, false) => format!("{from} → {}", names(&finding.to)),
    }
}

/// Escapes text for HTML and XML, also inside of attributes; drops what XML cannot hold.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::isolation::catalogue;
    use crate::isolation::model::{CheckResult, Severity, Verdict, Waived};
    use crate::isolation::report::{
        ClusterFacts, Control, ControlState, Coverage, Fleet, NotTested, SCHEMA_VERSION,
        ServerFacts,
    };
    use crate::isolation::sittings::Sitting;

    const NASTY: &str = "<script>alert(1)</script>\" ' & \u{1b}[31m ]]> | ` \n# x";

    pub(in crate::isolation) fn report(tenants: usize) -> Isolation {
        let names: Vec<String> = (0..tenants).map(|n| format!("tenant-{n:03}")).collect();
        let mut finding = Finding::new(catalogue::find("PG-002").unwrap(), "h:1", NASTY);
        finding.from = vec![EVERYONE.into()];
        finding.to.clone_from(&names);
        finding.evidence = NASTY.into();
        finding.remedy = vec![NASTY.into()];
        let check = |id: &str, verdict| CheckResult {
            check: id.into(),
            title: "t".into(),
            family: "cluster".into(),
            verdict,
            findings: 0,
            looked_at: 1,
            out_of: 2,
            reason: NASTY.into(),
        };
        Isolation {
            schema_version: SCHEMA_VERSION,
            tool_version: "0".into(),
            run: "r".into(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            duration_seconds: 1.0,
            sittings: Vec::new(),
            verdict: Verdict::Refuted,
            because: NASTY.into(),
            counts: BTreeMap::from([(Severity::Critical, 1)]),
            fleet: Fleet {
                tenants: names,
                ..Fleet::default()
            },
            coverage: Coverage::default(),
            control: Control {
                state: ControlState::Detected,
                planted: 1,
                detected: 1,
                missed: Vec::new(),
                uncontrolled: Vec::new(),
                reason: String::new(),
            },
            findings: vec![finding],
            limits: Vec::new(),
            notes: Vec::new(),
            checks: vec![
                check("PG-001", Verdict::Holds),
                check("PG-002", Verdict::Refuted),
                check("PG-003", Verdict::Error),
                check("PG-201", Verdict::Unproven),
            ],
            not_tested: Vec::new(),
            unused_waivers: Vec::new(),
        }
    }

    /// A report whose every part has a word of its own.
    pub(crate) fn marked() -> Isolation {
        let finding = |id: &str, word: &str| {
            let mut finding = Finding::new(
                catalogue::find(id).unwrap(),
                format!("{word}store"),
                format!("{word}object"),
            );
            finding.from = vec![format!("{word}from")];
            finding.to = vec![format!("{word}to")];
            finding.evidence = format!("{word}evidence");
            finding.remedy = vec![format!("{word}remedy")];
            finding
        };
        let by = |word: &str, expired| {
            Some(Waived {
                owner: format!("{word}owner"),
                reason: format!("{word}reason"),
                expires: format!("{word}day"),
                expired,
            })
        };
        let mut waived = finding("PG-002", "waived");
        waived.waiver = by("waived", false);
        let mut expired = finding("PG-002", "expired");
        expired.waiver = by("expired", true);
        expired.known = true;
        let mut report = report(2);
        report.because = "becauseword".into();
        report.run = "runword".into();
        report.tool_version = "versionword".into();
        report.findings = vec![finding("PG-002", "open"), expired, waived];
        report.limits = vec![finding("PG-003", "limit")];
        report.notes = vec![finding("PG-004", "note")];
        report.fleet.source = "sourceword".into();
        report.fleet.clusters = vec![ClusterFacts {
            address: "clusterword".into(),
            version: "17clusterversion".into(),
            reader: "clusterreader".into(),
            ..ClusterFacts::default()
        }];
        report.fleet.servers = vec![ServerFacts {
            kind: "Kindword".into(),
            address: "serverword".into(),
            version: "7serverversion".into(),
            reader: "serverreader".into(),
        }];
        report.coverage.probes = 4711;
        report.coverage.logins_tried = 815;
        report.coverage.seed = 271_828;
        report.control.state = ControlState::Missed;
        report.control.missed = vec!["missedword".into()];
        report.control.uncontrolled = vec!["uncontrolledword".into()];
        report.not_tested = vec![NotTested {
            what: "gapword".into(),
            why: "whyword".into(),
        }];
        report.unused_waivers = vec!["unusedword".into()];
        report.sittings = vec![Sitting {
            began_at: jiff::Timestamp::UNIX_EPOCH,
            last_at: "1999-12-31T00:00:00Z".parse().unwrap(),
            logins: 314,
        }];
        for check in &mut report.checks {
            check.reason = format!("{}reason", check.verdict);
        }
        report
    }

    /// Words that every reader of every form has to find, whatever form that is.
    pub(crate) const EVERYWHERE: &[&str] = &[
        "ISOLATION REFUTED: 1 critical",
        "becauseword",
        "runword",
        "clusterword",
        "17clusterversion",
        "clusterreader",
        "Kindword",
        "serverword",
        "7serverversion",
        "serverreader",
        "4711 probes by 815",
        "271828",
        "missedword",
        "uncontrolledword",
        "openobject",
        "openfrom",
        "opento",
        "openevidence",
        "openremedy",
        "expiredobject",
        "expiredevidence",
        "expiredremedy",
        "expiredowner",
        "expiredday",
        "expiredreason",
        "waivedobject",
        "waivedowner",
        "waivedday",
        "waivedreason",
        "limitobject",
        "limitevidence",
        "noteobject",
        "noteevidence",
        "gapword",
        "whyword",
        "unusedword",
        "unprovenreason",
        "314 logins",
        "1999-12-31",
    ];

    #[test]
    fn every_form_carries_the_same_information() {
        for format in [Format::Html, Format::Junit, Format::Markdown, Format::Sarif] {
            let text = render(format, &marked());
            let more = [
                "sourceword",
                "versionword",
                "openstore",
                "waivedevidence",
                "errorreason",
            ];
            for word in EVERYWHERE.iter().chain(&more) {
                assert!(text.contains(word), "{format:?} lacks {word}: {text}");
            }
        }
        // What could not be looked at is an error of the tool's run, not a clean result.
        let mut blind = marked();
        blind.verdict = Verdict::Error;
        let sarif: serde_json::Value =
            serde_json::from_str(&render(Format::Sarif, &blind)).unwrap();
        assert_eq!(
            sarif["runs"][0]["invocations"][0]["executionSuccessful"],
            false
        );
    }

    #[test]
    fn a_pull_request_takes_what_is_written_for_it() {
        let mut many = marked();
        for list in [&mut many.findings, &mut many.limits, &mut many.notes] {
            let one = list[0].clone();
            list.extend(std::iter::repeat_n(one, 2_000));
        }
        let gap = many.not_tested[0].clone();
        many.not_tested.extend(std::iter::repeat_n(gap, 2_000));
        let text = render(Format::Markdown, &many);
        assert!(text.len() < 65_000, "{}", text.len());
        for title in [
            "What no setting changes",
            "Noted",
            "What was not tested",
            "Checks",
        ] {
            assert!(text.contains(&format!("## {title}")), "{title}");
        }
        assert!(text.matches(" more\n").count() >= 4, "{text}");
    }

    #[test]
    fn somebody_elses_text_stays_text() {
        for format in Format::ALL {
            let text = render(format, &report(3));
            assert!(!text.contains("<script>"), "{format:?}: {text}");
            assert!(!text.contains('\u{1b}'), "{format:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&render(Format::Sarif, &report(3))).unwrap();
        assert_eq!(json["version"], "2.1.0");
        assert_eq!(json["runs"][0]["results"][0]["ruleId"], "PG-002");
    }

    #[test]
    fn a_page_for_200_tenants_is_small_and_loads_nothing() {
        let page = render(Format::Html, &report(200));
        assert!(page.len() < 1_000_000, "{}", page.len());
        for forbidden in ["http:", "https:", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("prefers-color-scheme") && page.contains("@media print"));
    }

    #[test]
    fn figures_say_what_the_run_came_to() {
        let text = render(Format::Prometheus, &report(3));
        for line in [
            "lerianctl_isolation_verdict{verdict=\"refuted\"} 1",
            "lerianctl_isolation_verdict{verdict=\"holds\"} 0",
            "lerianctl_isolation_findings{severity=\"critical\"} 1",
            "lerianctl_isolation_findings{severity=\"low\"} 0",
            "lerianctl_isolation_checks{verdict=\"error\"} 1",
            "lerianctl_isolation_tenants 3",
            "lerianctl_isolation_planted_breaches_missed 0",
            "lerianctl_isolation_last_run_timestamp_seconds 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn continuous_integration_never_sees_unproved_as_green() {
        let text = render(Format::Junit, &report(3));
        assert!(
            text.contains(r#"tests="4" failures="1" errors="1" skipped="1""#),
            "{text}"
        );
    }
}
