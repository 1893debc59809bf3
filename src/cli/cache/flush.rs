//! `lerianctl cache flush`.

use clap::{ArgGroup, Args};

use super::memory::Memory;
use super::report::{CacheFlushReport, Told};
use super::target::{Chosen, ScopeArgs, Watch, servers};
use crate::cache::{self, Flush};
use crate::cli::approve::{Consent, Question};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::admin::{Plan, PlannedStep};
use crate::link::LinkError;
use crate::link::redis::RedisEndpoint;

const COMMAND: &str = "cache flush";

/// Delete caches, and nothing but caches
///
/// Only keys that are known to be caches go. Balances, queues, locks, duplicate guards and every
/// key that nobody knows stay, and are reported: in a Midaz Redis the same prefix holds the only
/// copy of money movements that are not in PostgreSQL yet. Afterwards products are told to drop
/// what they hold in memory.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("choice").required(true).multiple(true).args(["tenant", "tenant_id", "service", "every"]),
    after_help = "Examples:\n  lerianctl cache flush --tenant acme --dry-run\n  lerianctl cache flush --tenant acme --service ledger --yes\n  lerianctl cache flush --all --no-invalidate"
)]
pub struct FlushArgs {
    #[command(flatten)]
    scope: ScopeArgs,

    /// The caches of every tenant and service
    #[arg(long = "all", id = "every", conflicts_with_all = ["tenant", "tenant_id", "service"])]
    every: bool,

    /// Leave what products hold in memory alone: publish no event
    #[arg(long)]
    no_invalidate: bool,

    /// Reason, for the event and the log
    #[arg(long, value_name = "TEXT", conflicts_with = "no_invalidate")]
    reason: Option<String>,

    #[command(flatten)]
    consent: Consent,
}

/// Flushes caches.
pub fn flush(run: &Invocation, args: &FlushArgs) -> Result<CacheFlushReport, Failure> {
    let servers = servers(run)?;
    let chosen = args.scope.resolve(run)?;
    let places: Vec<String> = servers.iter().map(RedisEndpoint::describe).collect();
    run.target_line(
        COMMAND,
        &format!("{} · Redis {}", chosen.describe(), places.join(" and ")),
    )?;
    let memory = if args.no_invalidate {
        Memory::default()
    } else {
        Memory::plan(run, &chosen, args.reason.clone())?
    };
    let planned = look(run, &servers, &chosen, &memory)?;
    let plan = plan(&planned, &memory);
    run.expect_plan(&args.consent, &plan)?;
    if args.consent.dry_run || (planned.found() == 0 && memory.is_empty()) {
        return Ok(CacheFlushReport {
            dry_run: args.consent.dry_run,
            changed: args.consent.dry_run && (planned.found() > 0 || !memory.is_empty()),
            plan: plan.hash,
            ..planned
        });
    }
    run.approve(
        &args.consent,
        &Question {
            command: COMMAND,
            text: format!("Flush the caches of {}", chosen.describe()),
            word: "",
            confirmed: None,
            plan: Some(&plan),
        },
    )?;
    let mut report = delete(run, &servers, &chosen)?;
    report.plan = plan.hash;
    report.warnings = planned.warnings;
    report.events = planned.events;
    report.changed = report.deleted() > 0 || !memory.is_empty();
    if memory.is_empty() {
        return Ok(report);
    }
    let (told, unknown) = memory
        .tell(run)
        .map_err(|failure| failure.cause(half_done(report.deleted())))?;
    let untold = told.iter().filter(|told| told.error.is_some()).count();
    if untold > 0 {
        return Err(not_told(run, &report, &told, untold));
    }
    report.told = told;
    report.told.extend(unknown);
    Ok(report)
}

fn not_told(run: &Invocation, report: &CacheFlushReport, told: &[Told], untold: usize) -> Failure {
    let mut failure = Failure::new(
        Kind::Partial,
        "cache.untold",
        format!(
            "{} keys were deleted, and products were not told about {untold} of {} tenants",
            report.deleted(),
            told.len()
        ),
    );
    for told in told {
        if let Some(error) = &told.error {
            failure = failure.cause(format!("{}: {error}", told.tenant));
        }
    }
    failure.hint_command("once the cause is gone, do it again", &run.command_line)
}

/// Counts what would go and what stays. Changes nothing.
fn look(
    run: &Invocation,
    servers: &[RedisEndpoint],
    chosen: &Chosen,
    memory: &Memory,
) -> Result<CacheFlushReport, Failure> {
    let watch = Watch::new(run, "looking for caches");
    let mut report = CacheFlushReport {
        scope: chosen.describe(),
        events: memory.events(),
        warnings: memory.warnings(),
        ..CacheFlushReport::default()
    };
    for endpoint in servers {
        let mut looked = run.block_on(async {
            let mut deployment = endpoint.primaries().await?;
            Ok::<_, LinkError>(
                cache::plan_flush(&mut deployment, &chosen.scope, &|news| watch.see(news)).await,
            )
        })?;
        let failed = looked.nodes.iter_mut().find_map(|node| node.error.take());
        if let Some(error) = failed {
            return Err(error.into());
        }
        report.add(looked);
    }
    Ok(report)
}

/// Returns the plan as it is shown, with a hash that does not depend on the counts.
fn plan(report: &CacheFlushReport, memory: &Memory) -> Plan {
    let steps = |count: &dyn Fn(u64) -> String| {
        let step = |action: &str, target: String| PlannedStep {
            action: action.to_owned(),
            target,
            sql: Vec::new(),
        };
        let classes = report.classes.iter().map(|class| {
            step(
                "delete cache",
                format!("{}{}", class.class, count(class.found)),
            )
        });
        let places = report
            .servers
            .iter()
            .map(|server| step("on", format!("{}{}", server.server, count(server.found))));
        classes.chain(places).collect::<Vec<_>>()
    };
    let mut all = steps(&|_| String::new());
    all.push(PlannedStep {
        action: "scope".to_owned(),
        target: report.scope.clone(),
        sql: Vec::new(),
    });
    let hash = Plan::new(all, memory.events(), Vec::new()).hash;
    let kept: u64 = report.kept.iter().map(|kept| kept.keys).sum();
    let mut warnings = report.warnings.clone();
    if kept > 0 {
        warnings.push(format!("{kept} keys in scope are not caches and stay"));
    }
    Plan {
        steps: steps(&|keys| format!(": {keys} keys")),
        events: memory.events(),
        warnings,
        hash,
    }
}

/// Deletes on every server; a failure says what was deleted before it.
fn delete(
    run: &Invocation,
    servers: &[RedisEndpoint],
    chosen: &Chosen,
) -> Result<CacheFlushReport, Failure> {
    let watch = Watch::new(run, "deleting caches");
    let mut report = CacheFlushReport {
        scope: chosen.describe(),
        ..CacheFlushReport::default()
    };
    let mut failures: Vec<(String, Failure)> = Vec::new();
    let mut moving = false;
    for endpoint in servers {
        let flushed = run.block_on(async {
            let mut deployment = endpoint.primaries().await?;
            Ok::<_, LinkError>(
                cache::flush(&mut deployment, &chosen.scope, &|news| watch.see(news)).await,
            )
        });
        match flushed {
            Ok(mut flush) => {
                moving |= flush.moving;
                failures.extend(errors(&mut flush));
                report.add(flush);
            }
            Err(failure) => {
                let stop = matches!(
                    failure.kind,
                    Kind::Interrupted | Kind::Terminated | Kind::Deadline
                );
                if stop {
                    let again = run.command_line.clone();
                    return Err(failure
                        .cause(half_done(watch.deleted()))
                        .hint_command("go on", again));
                }
                failures.push((endpoint.address(), failure));
            }
        }
    }
    drop(watch);
    let nothing_done = report.deleted() == 0;
    match failures.as_slice() {
        [] if !moving => Ok(report),
        [(_, failure)] if nothing_done && servers.len() == 1 => Err(failure.clone()),
        _ => Err(partial(run, &report, &failures, moving)),
    }
}

fn errors(flush: &mut Flush) -> Vec<(String, Failure)> {
    flush
        .nodes
        .iter_mut()
        .filter_map(|node| Some((node.name.clone(), node.error.take()?.into())))
        .collect()
}

fn partial(
    run: &Invocation,
    report: &CacheFlushReport,
    failures: &[(String, Failure)],
    moving: bool,
) -> Failure {
    let mut failure = Failure::new(
        Kind::Partial,
        "cache.partial",
        "not all caches were flushed; what was deleted were caches, and nothing else",
    );
    for server in &report.servers {
        let text = format!(
            "{}: {} of {} found were deleted",
            server.server, server.deleted, server.found
        );
        failure = failure.cause(text);
    }
    for (server, error) in failures {
        failure = failure.cause(format!("{server}: {}", error.message));
    }
    if moving {
        failure = failure.cause("slots of the cluster are being moved, so keys may be left");
    }
    failure.hint_command("once the cause is gone, do it again", &run.command_line)
}

fn half_done(deleted: u64) -> String {
    format!("{deleted} keys were deleted before, caches and nothing else")
}
