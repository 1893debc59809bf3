//! Reports for other programs and other readers: SARIF, JUnit, Markdown, one HTML page.
//!
//! Every text in them is somebody else's (names of tenants, roles, objects) and is escaped at one
//! place per format.

mod html;
mod junit;
mod markdown;
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
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Html, Self::Junit, Self::Markdown, Self::Sarif];

    /// Returns the word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
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
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::isolation::catalogue;
    use crate::isolation::model::{CheckResult, Severity, Verdict};
    use crate::isolation::report::{Control, ControlState, Coverage, Fleet, SCHEMA_VERSION};

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
    fn continuous_integration_never_sees_unproved_as_green() {
        let text = render(Format::Junit, &report(3));
        assert!(
            text.contains(r#"tests="4" failures="1" errors="1" skipped="1""#),
            "{text}"
        );
    }
}
