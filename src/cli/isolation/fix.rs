//! `lerianctl isolation fix`.

use std::fmt;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::check::{CheckArgs, IsolationReport, check};
use super::view;
use crate::cli::approve::{Consent, Question};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::admin::{Plan, PlannedStep};
use crate::isolation::inventory::operator_of;
use crate::isolation::remedy::{self, Repair};
use crate::output::progress::Progress;
use crate::output::{Report, Tone, View};

const COMMAND: &str = "isolation fix";

/// Mend what a check finds, as far as that needs no person
///
/// Checks, shows what it would do, does it with your consent, and checks again. It only takes rights
/// away and puts settings back (REVOKE, ALTER ROLE … NOSUPERUSER, RESET, search_path, and the
/// GRANT CONNECT that a closed database needs for its own tenant): what can be granted again and
/// touches no data. What is waived stays. All else is listed for a person to look at;
/// `--remedy sql` writes everything as a script for psql instead, and changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation fix --postgres-url-file admin.url --dry-run\n  lerianctl isolation fix --postgres-url-file admin.url --check PG-001 --yes\n  lerianctl isolation fix --postgres-url-file admin.url --remedy sql > fix.sql"
)]
pub struct FixArgs {
    #[command(flatten)]
    check: CheckArgs,

    /// Print the remedies in this form instead, and change nothing
    #[arg(long, value_enum, value_name = "FORM")]
    remedy: Option<Form>,

    #[command(flatten)]
    consent: Consent,
}

/// Form of remedies that are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A script for psql
    Sql,
}

/// Mends what may be mended.
pub fn fix(run: &Invocation, args: &FixArgs) -> Result<FixReport, Failure> {
    let auditors = args.check.auditors(run)?;
    let before = check(run, &args.check)?;
    let mut repairs = remedy::plan(&before.outcome);
    let mut report = FixReport {
        dry_run: args.consent.dry_run,
        plan: String::new(),
        script: None,
        found: before
            .outcome
            .findings
            .iter()
            .filter(|f| f.counts())
            .count(),
        repairs: Vec::new(),
        after: None,
    };
    if args.remedy.is_some() {
        report.script = Some(remedy::script(&repairs));
        report.repairs = repairs;
        return Ok(report);
    }
    let doable = remedy::things(repairs.iter().filter(|repair| repair.by_hand.is_empty()));
    let plan = plan(&repairs);
    report.plan.clone_from(&plan.hash);
    run.expect_plan(&args.consent, &plan)?;
    if args.consent.dry_run || doable == 0 {
        report.repairs = repairs;
        // Without anything to do, what was found is the outcome.
        report.after = (doable == 0 && !args.consent.dry_run).then_some(before);
        return Ok(report);
    }
    run.approve(
        &args.consent,
        &Question {
            command: COMMAND,
            text: format!("Mend {doable} of {} findings", report.found),
            word: "",
            confirmed: None,
            plan: Some(&plan),
        },
    )?;
    let clusters = before.outcome.fleet.clusters.len();
    let login = |store: &str| operator_of(&auditors, store, clusters).cloned();
    let progress = Progress::new(&run.console, "mending", doable as u64);
    run.block_on(async {
        remedy::apply(&mut repairs, &login, &|done, total| {
            progress.set(done, total, "findings");
        })
        .await;
        Ok::<_, Failure>(())
    })?;
    drop(progress);
    let after = check(run, &args.check)?;
    remedy::without_effect(&mut repairs, &after.outcome);
    report.repairs = repairs;
    report.after = Some(after);
    Ok(report)
}

fn plan(repairs: &[Repair]) -> Plan {
    let steps = repairs
        .iter()
        .filter(|repair| repair.by_hand.is_empty())
        .map(|repair| PlannedStep {
            action: format!("{} {}", repair.check, repair.store),
            target: match &repair.database {
                Some(database) => format!("in {database}: {}", repair.statements.join(" ")),
                None => repair.statements.join(" "),
            },
            sql: repair.statements.clone(),
        })
        .collect();
    let by_hand = repairs
        .iter()
        .filter(|repair| !repair.by_hand.is_empty())
        .count();
    let warnings = if by_hand > 0 {
        vec![format!("{by_hand} findings are left for a person")]
    } else {
        Vec::new()
    };
    Plan::new(steps, Vec::new(), warnings)
}

/// What was mended, and what is left.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FixReport {
    /// True when nothing was changed because it was not to be.
    dry_run: bool,
    /// Hash of the plan, for `--expect-plan`.
    plan: String,
    /// Script for psql, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    /// Findings before.
    found: usize,
    /// What mends them.
    repairs: Vec<Repair>,
    /// The check afterwards; absent when nothing was to be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<IsolationReport>,
}

impl FixReport {
    fn count(&self, wanted: impl Fn(&Repair) -> bool) -> usize {
        remedy::things(self.repairs.iter().filter(|repair| wanted(repair)))
    }
}

impl Report for FixReport {
    const KIND: &'static str = "IsolationFix";

    fn human(&self, out: &mut View) -> fmt::Result {
        if let Some(script) = &self.script {
            for line in script.lines() {
                out.plain(line).line();
            }
            return Ok(());
        }
        let width = out.width.map_or(view::WIDTH, usize::from).max(40);
        let doable = self.count(|repair| repair.by_hand.is_empty());
        let failed = self.count(|repair| !repair.error.is_empty());
        let headline = match (self.dry_run, self.found, doable) {
            (_, 0, _) => "Nothing to mend: no findings".to_owned(),
            (_, found, 0) => format!("None of {found} findings may be mended without a person"),
            (true, found, doable) => format!("Would mend {doable} of {found} findings"),
            (false, found, doable) => format!("Mended {} of {found} findings", doable - failed),
        };
        out.paint(Tone::Strong, headline).line();
        for repair in &self.repairs {
            let (word, tone) = match (repair.by_hand.is_empty(), repair.error.is_empty()) {
                (false, _) => ("by hand", Tone::Warn),
                (true, false) => ("failed", Tone::Bad),
                (true, true) if self.dry_run => ("would do", Tone::Strong),
                (true, true) => ("done", Tone::Good),
            };
            out.paint(tone, format!("{word:<9}"))
                .plain(format!("{} ", repair.check));
            let place = repair
                .database
                .as_deref()
                .map(|database| format!(" in {database}"))
                .unwrap_or_default();
            let place = format!("at {}{place}", repair.store);
            let head = 10 + repair.check.len() + repair.object.chars().count();
            if head + 1 + place.chars().count() <= width {
                out.paint(Tone::Strong, format!("{} {place}", repair.object))
                    .line();
            } else {
                out.paint(Tone::Strong, &repair.object).line();
                out.plain("         ").paint(Tone::Strong, place).line();
            }
            // Whole, so that it can be copied.
            for statement in &repair.statements {
                out.plain("         ").plain(statement).line();
            }
            for reason in [&repair.by_hand, &repair.error] {
                if !reason.is_empty() {
                    view::paragraph(out, width, "         ", reason);
                }
            }
        }
        if self.dry_run && !self.plan.is_empty() {
            out.paint(Tone::Dim, format!("plan {}", self.plan)).line();
        }
        if let Some(after) = &self.after {
            out.line();
            view::write(after, out);
        }
        Ok(())
    }

    fn ok(&self) -> bool {
        self.after.as_ref().is_none_or(|after| after.passed)
            && self.repairs.iter().all(|repair| repair.error.is_empty())
    }
}
