//! The views of `env check`.

use std::fmt;

use serde_json::json;

use super::check::{CheckedEnvironment, EnvCheckReport};
use crate::boot::{Finding, Severity, Verdict};
use crate::output::{Report, Rows, Tone, View};

impl Report for EnvCheckReport {
    const KIND: &'static str = "EnvCheck";

    fn human(&self, out: &mut View) -> fmt::Result {
        for (at, environment) in self.environments.iter().enumerate() {
            if at > 0 {
                out.line();
            }
            heading(environment, out);
            findings(environment.assessment.findings.iter(), self.all, out);
        }
        if !self.differences.is_empty() {
            out.line().paint(Tone::Strong, "between them").line();
            let all = self
                .differences
                .iter()
                .map(|difference| &difference.finding);
            findings(all, true, out);
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let mut cells = Vec::new();
        let mut items = Vec::new();
        let mut row = |finding: &Finding, product: &str, source: &str, verdict: Option<Verdict>| {
            cells.push(vec![
                finding.rule.to_owned(),
                finding.severity.as_str().to_owned(),
                product.to_owned(),
                finding.variable.clone().unwrap_or_default(),
                finding.message.clone(),
                source.to_owned(),
                finding.effect.as_str().to_owned(),
                finding.place.clone().unwrap_or_default(),
                finding.remedy.clone(),
            ]);
            let mut item = json!({ "product": product, "source": source, "verdict": verdict });
            if let (Some(item), Ok(serde_json::Value::Object(finding))) =
                (item.as_object_mut(), serde_json::to_value(finding))
            {
                item.extend(finding);
            }
            items.push(item);
        };
        for environment in &self.environments {
            let of = &environment.assessment;
            for finding in &of.findings {
                row(finding, of.product.as_str(), &of.source, Some(of.verdict));
            }
        }
        for difference in &self.differences {
            row(&difference.finding, "", "between them", None);
        }
        Some(Rows {
            columns: vec!["rule", "severity", "product", "variable", "message"],
            wide: vec!["source", "effect", "place", "remedy"],
            cells,
            items,
        })
    }

    fn ok(&self) -> bool {
        self.clean
    }
}

fn heading(environment: &CheckedEnvironment, out: &mut View) {
    let of = &environment.assessment;
    out.paint(Tone::Strong, format!("{} {}", of.product, of.version))
        .paint(
            Tone::Dim,
            format!("  {}, {} variables", of.source, of.variables),
        )
        .line();
    let tone = match of.verdict {
        Verdict::Boots => Tone::Good,
        Verdict::BootsInsecurely | Verdict::RefusesToStart => Tone::Bad,
    };
    out.prose(Some(tone), 2, of.sentence());
    if let Some(budget) = &environment.budget {
        let limit = if budget.limited {
            "limited"
        } else {
            "not limited"
        };
        let text = format!(
            "connections ({}): up to {} of {} that may be used, tenants {limit}: {}",
            budget.server, budget.connections, budget.allowed, budget.formula
        );
        out.prose(None, 2, text);
    }
}

fn findings<'a>(all: impl Iterator<Item = &'a Finding>, notes: bool, out: &mut View) {
    let mut hidden = 0;
    for finding in all {
        if finding.severity == Severity::Info && !notes {
            hidden += 1;
            continue;
        }
        let tone = match finding.severity {
            Severity::Critical | Severity::High => Tone::Bad,
            Severity::Medium => Tone::Warn,
            Severity::Low | Severity::Info => Tone::Dim,
        };
        out.plain("  ")
            .paint(
                tone,
                format!("{}[{}]", finding.severity.as_str(), finding.rule),
            )
            .plain(": ");
        let place = finding.place.as_deref();
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        out.prose(None, 4, format!("{}{place}", finding.message));
        out.plain("    remedy: ").prose(None, 6, &finding.remedy);
        if let Some(documented) = &finding.documented
            && finding.severity >= Severity::Medium
        {
            out.plain("    public documentation: ")
                .prose(None, 6, documented);
        }
    }
    if hidden > 0 {
        let word = if hidden == 1 { "note" } else { "notes" };
        out.paint(Tone::Dim, format!("  {hidden} {word} more with --all"))
            .line();
    }
}
