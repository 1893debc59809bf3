//! `lerianctl isolation canary`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;

use super::{check, fleet, view};
use crate::cli::approve::{Consent, Question};
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::contract::admin::{Plan, PlannedStep};
use crate::isolation::canary::{self, Action, Place, Wish};
use crate::isolation::inventory::{Inventory, Store, operator_of};
use crate::link::postgres::{Gate, PostgresEndpoint};
use crate::output::progress::Progress;
use crate::output::{Report, Tone, View};

const COMMAND: &str = "isolation canary";

/// Give tenants the canary that PG-206 reads, or take it away
///
/// A canary is a row that says whose place it is, in a table of the tenant's own (lerian_canary) that
/// it may only read. A database that was restored under the wrong name, or copied for another tenant,
/// looks right to all that compares names; its canary tells. With --postgres-url-file that login makes
/// the table: a superuser, or one that may act for the role that owns what the tenant makes, or may
/// make itself a member of it, for the time of the transaction. Without, each tenant's own login does.
/// Those that are no superusers need a tenant that may create in its schema; the right that is missing
/// is named with what grants it. Every login then tries that it finds its canary and cannot change it.
/// What bears the name and is not ours, or cannot be done, is left alone, with status 3.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation canary --postgres-url-file admin.url --dry-run\n  lerianctl isolation canary --inventory tenants.toml --postgres-url-file admin.url --tenant acme\n  lerianctl isolation canary --remove --yes"
)]
pub struct CanaryArgs {
    /// File that lists databases and logins by tenant, instead of the Tenant Manager; TOML or JSON
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Only this tenant, slug or id; may be repeated
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Vec<String>,

    /// Only this service; may be repeated. Needed with a server that only speaks the contract
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Vec<ServiceName>,

    /// File with a postgres:// URL of a login that makes or removes the tables; one per cluster
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Vec<PathBuf>,

    /// Remove the canaries that this program made
    #[arg(long)]
    remove: bool,

    /// Sessions that PostgreSQL has of us at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    #[command(flatten)]
    consent: Consent,
}

/// Makes or removes canaries.
pub fn canary(run: &Invocation, args: &CanaryArgs) -> Result<CanaryReport, Failure> {
    let operators = check::operators(run, &args.postgres_url_file)?;
    let inventory = inventory(run, args)?;
    let wanted = |store: &&Store| {
        let named = |name: &String| *name == store.tenant || *name == store.tenant_id;
        args.tenant.is_empty() || args.tenant.iter().any(named)
    };
    let stores: Vec<Store> = inventory.stores.iter().filter(wanted).cloned().collect();
    let places = canary::places(&stores);
    if places.is_empty() {
        let whose = if args.tenant.is_empty() {
            "has no databases of tenants".to_owned()
        } else {
            format!("has no databases of {}", args.tenant.join(", "))
        };
        let text = format!("{} {whose}", inventory.source);
        return Err(Failure::new(Kind::NotFound, "isolation.nothing", text));
    }
    let clusters: BTreeSet<String> = inventory.stores.iter().map(Store::cluster).collect();
    let login = |store: &Store| -> Option<PostgresEndpoint> {
        operator_of(&operators, &store.cluster(), clusters.len()).cloned()
    };
    let wish = if args.remove {
        Wish::Remove
    } else {
        Wish::Make
    };
    let gate = Gate::new(usize::from(args.jobs));
    let progress = Progress::new(&run.console, "canaries", places.len() as u64);
    let planned = run.block_on(async {
        Ok::<_, Failure>(
            canary::plan(&places, wish, &login, &gate, &|done, total| {
                progress.set(done, total, "looking");
            })
            .await,
        )
    })?;
    drop(progress);
    let plan = plan(&planned);
    run.expect_plan(&args.consent, &plan)?;
    let mut report = CanaryReport {
        dry_run: args.consent.dry_run,
        plan: plan.hash.clone(),
        places: planned,
    };
    if args.consent.dry_run {
        return Ok(report);
    }
    if !plan.steps.is_empty() {
        let verb = if args.remove {
            "Remove the canaries of"
        } else {
            "Make canaries in"
        };
        run.approve(
            &args.consent,
            &Question {
                command: COMMAND,
                text: format!("{verb} {} places", plan.steps.len()),
                word: "",
                confirmed: None,
                plan: Some(&plan),
            },
        )?;
    }
    let progress = Progress::new(&run.console, "canaries", places.len() as u64);
    let planned = std::mem::take(&mut report.places);
    report.places = run.block_on(async {
        let places = canary::apply(&places, planned, wish, &login, &gate, &|done, total| {
            progress.set(done, total, "places");
        })
        .await;
        gate.closed().await;
        Ok::<_, Failure>(places)
    })?;
    drop(progress);
    Ok(report)
}

fn inventory(run: &Invocation, args: &CanaryArgs) -> Result<Inventory, Failure> {
    if let Some(path) = &args.inventory {
        return fleet::from_file(run, path);
    }
    let manager = run.tenant_manager().map_err(|failure| {
        failure.hint("or list the tenants in a file and name it with `--inventory FILE`")
    })?;
    let services = args.service.clone();
    run.block_on(async move { fleet::from_manager(&manager, &services).await })
}

fn plan(places: &[Place]) -> Plan {
    let steps = places
        .iter()
        .filter(|place| !place.statements.is_empty())
        .map(|place| PlannedStep {
            action: match place.action {
                Action::Remove => "remove canary",
                _ => "make canary",
            }
            .to_owned(),
            target: format!("of {} at {}", place.tenant, where_is(place)),
            sql: place.statements.clone(),
        })
        .collect();
    let left = places.iter().filter(|place| place.action == Action::Leave);
    let warnings = match left.count() {
        0 => Vec::new(),
        count => vec![format!("{count} places are left alone")],
    };
    Plan::new(steps, Vec::new(), warnings)
}

fn where_is(place: &Place) -> String {
    format!("{}/{}.{}", place.store, place.database, place.schema)
}

/// Which places of tenants have their canary.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryReport {
    /// True when nothing was changed because it was not to be.
    dry_run: bool,
    /// Hash of the plan, for `--expect-plan`.
    plan: String,
    /// The places, by tenant.
    places: Vec<Place>,
}

impl Report for CanaryReport {
    const KIND: &'static str = "IsolationCanary";

    fn human(&self, out: &mut View) -> fmt::Result {
        let width = out.width.map_or(view::WIDTH, usize::from).max(40);
        let count = |action| {
            let places = self.places.iter();
            places
                .filter(|place| place.action == action && place.error.is_empty())
                .count()
        };
        let would = if self.dry_run { "to be " } else { "" };
        let left = count(Action::Leave);
        let failed = self.places.iter().filter(|p| !p.error.is_empty()).count();
        let mut said = Vec::new();
        for (count, word) in [
            (count(Action::Make), format!("{would}made")),
            (count(Action::Remove), format!("{would}removed")),
            (count(Action::Keep), "as they should be".to_owned()),
            (left, "left alone".to_owned()),
            (failed, "failed".to_owned()),
        ] {
            if count > 0 {
                said.push(format!("{count} {word}"));
            }
        }
        let headline = format!("Canaries: {}", said.join(", "));
        let tone = match (left + failed, self.dry_run) {
            (0, true) => Tone::Strong,
            (0, false) => Tone::Good,
            _ => Tone::Bad,
        };
        out.paint(tone, headline).line();
        for place in &self.places {
            let (word, tone) = match (place.action, place.error.is_empty()) {
                (_, false) => ("failed", Tone::Bad),
                (Action::Leave, _) => ("left", Tone::Bad),
                (Action::Keep, _) => ("as is", Tone::Good),
                _ if self.dry_run => ("would do", Tone::Strong),
                (Action::Make, _) => ("made", Tone::Good),
                (Action::Remove, _) => ("removed", Tone::Good),
            };
            out.paint(tone, format!("{word:<9}"))
                .plain(format!("{} at {}", place.tenant, where_is(place)))
                .line();
            for reason in [&place.reason, &place.error] {
                if !reason.is_empty() {
                    view::paragraph(out, width, "         ", reason);
                }
            }
            // Whole, so that it can be copied.
            for statement in place.statements.iter().filter(|_| self.dry_run) {
                out.plain("         ").plain(statement).plain(";").line();
            }
        }
        if self.dry_run {
            out.paint(Tone::Dim, format!("plan {}", self.plan)).line();
        }
        Ok(())
    }

    fn ok(&self) -> bool {
        let mut places = self.places.iter();
        places.all(|place| place.action != Action::Leave && place.error.is_empty())
    }
}
