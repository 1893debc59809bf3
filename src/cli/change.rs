//! What all changes of a deployment share: plan, consent, execution, waiting, report.

use std::fmt;

use clap::Args;

use super::approve::{Consent, Question, show_plan};
use super::effects::{self, Effect};
use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::client::{ClientError, TenantManager};
use crate::contract::admin::{Change, OperationRecord, OperationState};
use crate::output::progress::Progress;
use crate::output::{Report, Tone, View};

/// Flags of every command that starts an operation.
#[derive(Debug, Clone, Default, Args)]
pub struct Wait {
    /// Wait until the operation is done (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,

    /// Return as soon as the operation is recorded, and print its id
    #[arg(long)]
    no_wait: bool,
}

/// What a request carries besides its own fields.
#[derive(Debug, Clone)]
pub struct Mode {
    /// Validate and plan only.
    pub dry_run: bool,
    /// Hash that the plan must have.
    pub expect_plan: Option<String>,
}

/// A change of a deployment, as a command asks for it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Command path, for example `tenant purge`.
    pub command: &'a str,
    /// The tenant, as named by the operator or as it will be called.
    pub tenant: &'a str,
    /// What happens, as a question without its question mark.
    pub text: String,
    /// Consent flags.
    pub consent: &'a Consent,
    /// `--confirm`, for destructive commands.
    pub confirmed: Option<&'a str>,
    /// Waiting flags; changes without an operation have none.
    pub wait: Option<&'a Wait>,
}

/// Plans, asks, executes and waits.
///
/// Commands that need consent are planned by the server first, and executed only while the plan
/// is still the one that was shown.
pub fn execute<F>(
    run: &Invocation,
    asked: &Asked<'_>,
    send: impl Fn(TenantManager, Mode) -> F,
) -> Result<ChangeReport, Failure>
where
    F: Future<Output = Result<Change, ClientError>>,
{
    run.target_line(asked.command, asked.tenant)?;
    let manager = run.tenant_manager()?;
    let mut mode = Mode {
        dry_run: asked.consent.dry_run,
        expect_plan: asked.consent.expect_plan.clone(),
    };
    let effect = effects::of(asked.command).unwrap_or(Effect::Destructive);
    if !mode.dry_run && effect != Effect::Write {
        let plan_only = Mode {
            dry_run: true,
            expect_plan: mode.expect_plan.clone(),
        };
        let planned = run.block_on(send(manager.clone(), plan_only))?;
        if !planned.changed {
            return Ok(ChangeReport::new(asked.command, planned));
        }
        let slug = planned
            .tenant
            .as_ref()
            .map(|tenant| tenant.slug.to_string());
        run.approve(
            asked.consent,
            &Question {
                command: asked.command,
                text: asked.text.clone(),
                word: slug.as_deref().unwrap_or(asked.tenant),
                confirmed: asked.confirmed,
                plan: Some(&planned.plan),
            },
        )?;
        mode.expect_plan = Some(planned.plan.hash);
    } else if !mode.dry_run {
        run.approve(
            asked.consent,
            &Question {
                command: asked.command,
                text: asked.text.clone(),
                word: asked.tenant,
                confirmed: asked.confirmed,
                plan: None,
            },
        )?;
    }
    let dry_run = mode.dry_run;
    let mut change = run.block_on(send(manager, mode))?;
    change.dry_run = dry_run;
    if let (false, Some(operation), Some(wait)) = (dry_run, &change.operation, asked.wait)
        && !wait.no_wait
    {
        let done = follow(run, &operation.id)?;
        // What the tenant looks like now, not when the operation began.
        if let Some(tenant) = &change.tenant {
            let (manager, id) = (run.tenant_manager()?, tenant.id.to_string());
            change.tenant = Some(run.block_on(async move { manager.tenant(&id).await })?);
        }
        change.operation = Some(done);
    }
    Ok(ChangeReport::new(asked.command, change))
}

/// Waits for an operation with a view of its progress; fails when it failed.
pub fn follow(run: &Invocation, id: &str) -> Result<OperationRecord, Failure> {
    let progress = Progress::new(&run.console, "working", 0);
    let manager = run.tenant_manager()?;
    let done = run
        .block_on(async {
            let watched = manager.watch(id, |operation| {
                let (done, total) = counts(operation);
                let now = operation
                    .steps
                    .iter()
                    .find(|step| !step.state.is_final())
                    .map_or_else(String::new, |step| {
                        format!("{} {}", step.action, step.target)
                    });
                let trouble = operation
                    .error
                    .as_ref()
                    .filter(|_| !operation.state.is_final())
                    .map_or_else(String::new, |error| format!(" (retrying: {error})"));
                progress.set(done, total, &format!("{now}{trouble}"));
            });
            tokio::pin!(watched);
            let mut beat = tokio::time::interval(std::time::Duration::from_millis(200));
            loop {
                tokio::select! {
                    done = &mut watched => return done,
                    _ = beat.tick() => progress.tick(),
                }
            }
        })
        .map_err(|failure: Failure| goes_on(failure, id))?;
    drop(progress);
    if done.state == OperationState::Failed {
        let reason = done.error.clone().unwrap_or_default();
        return Err(Failure::new(
            Kind::Conflict,
            "operation.failed",
            format!(
                "the {} of `{}` failed; nothing half-made is handed out",
                done.kind, done.tenant_slug
            ),
        )
        .cause(reason)
        .operation(id)
        .hint_command("see its steps", format!("lerianctl operation show {id}"))
        .hint_command(
            "once the cause is gone, finish it",
            format!("lerianctl db provision {}", done.tenant_slug),
        ));
    }
    Ok(done)
}

/// Says that the operation continues without us.
fn goes_on(failure: Failure, id: &str) -> Failure {
    match failure.kind {
        Kind::Deadline | Kind::Interrupted | Kind::Terminated | Kind::Unavailable => {
            failure.operation(id).hint_command(
                "the operation goes on without this command; wait for it",
                format!("lerianctl operation wait {id}"),
            )
        }
        _ => failure,
    }
}

/// Returns how many steps are done, of how many.
pub fn counts(operation: &OperationRecord) -> (u64, u64) {
    let done = operation
        .steps
        .iter()
        .filter(|step| step.state == OperationState::Succeeded)
        .count();
    (done as u64, operation.steps.len() as u64)
}

/// The outcome of a change.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct ChangeReport {
    /// What the server answered, and the operation's end when it was waited for.
    #[serde(flatten)]
    pub change: Change,
    #[serde(skip)]
    command: String,
}

impl ChangeReport {
    fn new(command: &str, change: Change) -> Self {
        Self {
            change,
            command: command.to_owned(),
        }
    }
}

impl Report for ChangeReport {
    const KIND: &'static str = "Change";

    fn human(&self, out: &mut View) -> fmt::Result {
        let change = &self.change;
        let name = change
            .tenant
            .as_ref()
            .map_or_else(|| "the tenant".to_owned(), |tenant| tenant.slug.to_string());
        if change.dry_run {
            let word = if change.changed {
                "would be changed"
            } else {
                "would stay as it is"
            };
            out.paint(Tone::Strong, &self.command)
                .plain(format!(": {name} {word}"))
                .line();
            show_plan(out, &change.plan);
            out.plain("plan: ").plain(&change.plan.hash).line();
            return Ok(());
        }
        let (tone, word) = if change.changed {
            (Tone::Good, "done")
        } else {
            (Tone::Dim, "nothing to do, it is so already")
        };
        out.paint(Tone::Strong, &self.command)
            .plain(format!(" {name}: "))
            .paint(tone, word)
            .line();
        if let Some(tenant) = &change.tenant {
            super::tenant::show::view(tenant, out);
        }
        for warning in &change.plan.warnings {
            out.paint(Tone::Warn, "warning:")
                .plain(" ")
                .plain(warning)
                .line();
        }
        if let Some(operation) = &change.operation {
            let (done, total) = counts(operation);
            out.plain(format!(
                "operation {}: {}, {done} of {total} steps",
                operation.id,
                operation.state.as_str()
            ))
            .line();
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        let change = &self.change;
        change
            .tenant
            .as_ref()
            .map(|tenant| tenant.slug.to_string())
            .or_else(|| {
                change
                    .operation
                    .as_ref()
                    .map(|operation| operation.id.clone())
            })
    }
}
