//! `lerianctl isolation show`, and where reports are kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::check::IsolationReport;
use super::written::{ReportArgs, attestation_of, whole};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::TenantManager;
use crate::contract::isolation::{IsolationAnswer, IsolationStatus};
use crate::isolation::model::Verdict;
use crate::isolation::report::Isolation;
use crate::isolation::verdict::contradictions;
use crate::output::document;

/// Largest report that is read.
pub(super) const REPORT_BYTES: u64 = 256 * 1024 * 1024;
/// Time between two looks whether the server has checked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Show the last report again
///
/// The Tenant Manager's, where a server is configured that checks isolation by itself; otherwise
/// the last one of this machine, which each `isolation check` keeps in the state folder. Nothing is
/// checked anew unless --fresh asks the server to: the time stands in the report. Status as that of
/// the check; a report of the server that is too old, or after which an attempt failed, does not
/// pass.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation show\n  lerianctl isolation show --fresh\n  lerianctl isolation show report.json -o csv\n  lerianctl isolation show --local --report html=isolation.html\n  lerianctl isolation show --save report.json"
)]
pub struct ShowArgs {
    /// Report (-o json of a check)
    #[arg(value_name = "FILE", conflicts_with = "local")]
    file: Option<PathBuf>,

    /// The last report of this machine, whatever the server has
    #[arg(long)]
    local: bool,

    /// Have the server check now, wait for it, and show that report
    #[arg(long, conflicts_with_all = ["local", "file"])]
    fresh: bool,

    /// Write the server's report to this file as the server keeps it, and its attestation, where
    /// it has one, to FILE.intoto.json for `isolation verify-report`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["local", "file"])]
    save: Option<PathBuf>,

    #[command(flatten)]
    reports: ReportArgs,
}

/// Shows a report.
pub fn show(run: &Invocation, args: &ShowArgs) -> Result<IsolationReport, Failure> {
    let signer = args.reports.signer(run)?;
    let report = if args.local || args.file.is_some() {
        read_or_last(run, args.file.as_deref())?
    } else {
        match from_server(run, args)? {
            Some(report) => report,
            None => read_or_last(run, None)?,
        }
    };
    args.reports.write(run, &report, signer.as_ref())?;
    Ok(report)
}

/// What a server says besides its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// Address of the server.
    pub server: String,
    /// Whether what the report says is not to be relied on any longer.
    pub stale: bool,
    /// Time since the run of the report began.
    pub age_seconds: u64,
    /// Why the attempt after it gave no report, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Served {
    /// Says what is wrong with the report, for a person; nothing when it can be relied on.
    pub fn doubt(&self) -> Option<String> {
        if let Some(reason) = &self.failed {
            return Some(format!(
                "THE LAST CHECK OF THE SERVER COULD NOT LOOK: {reason}; this is the report before it"
            ));
        }
        self.stale.then(|| {
            let age = self.age_seconds;
            format!(
                "STALE: the run began {age} s ago, and nothing here is known to hold any longer"
            )
        })
    }
}

/// Asks the server; nothing when there is none, or when it does not check by itself.
fn from_server(run: &Invocation, args: &ShowArgs) -> Result<Option<IsolationReport>, Failure> {
    let needed = args.fresh || args.save.is_some();
    let manager = match run.tenant_manager() {
        Ok(manager) => manager,
        // Nobody said that there is one.
        Err(failure) if failure.code == "config.no_server" && !needed => return Ok(None),
        // Without a key, what this machine has is better than nothing, and is told as such.
        Err(failure) if failure.kind == Kind::Auth && !needed => {
            let reason = failure.message;
            run.console
                .warn(format!("{reason}: this is the last report of this machine"));
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let answer = run.block_on(async {
        if args.fresh {
            fresh(&manager).await?;
        }
        manager.isolation_report().await.map_err(Failure::from)
    });
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) if !needed && matches!(failure.kind, Kind::NotFound | Kind::Unsupported) => {
            let reason = failure.message;
            run.console
                .warn(format!("{reason}: this is the last report of this machine"));
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    read_answer(run, args, manager.base().as_ref(), &answer).map(Some)
}

fn read_answer(
    run: &Invocation,
    args: &ShowArgs,
    address: &str,
    answer: &IsolationAnswer,
) -> Result<IsolationReport, Failure> {
    let mut report: IsolationReport = serde_json::from_str(&answer.report).map_err(|error| {
        Failure::new(
            Kind::Unavailable,
            "manager.protocol",
            format!("the report of {address} cannot be read"),
        )
        .cause(error)
        .hint("this program may be older than the server")
    })?;
    if let Some(path) = &args.save {
        whole(path, answer.report.as_bytes(), 0o600)?;
        if let Some(attestation) = &answer.attestation {
            let text = format!("{attestation}\n");
            whole(&attestation_of(path), text.as_bytes(), 0o600)?;
        } else {
            run.console.warn("this server signs no reports");
        }
    }
    let status = &answer.status;
    let served = Served {
        server: address.to_owned(),
        stale: status.stale,
        age_seconds: status.age_seconds.unwrap_or_default(),
        failed: status.failed.as_ref().map(|failed| failed.reason.clone()),
    };
    report.passed &= served.doubt().is_none();
    report.served = Some(served);
    Ok(report)
}

/// Has the server check, and waits until a run that began after this has ended.
async fn fresh(manager: &TenantManager) -> Result<(), Failure> {
    let before = manager.isolation_status().await?;
    let asked = manager.ask_isolation().await?;
    let limit = Duration::from_secs(asked.timeout_seconds.unwrap_or(1800) * 2 + 60);
    let begun = Instant::now();
    let run = |status: &IsolationStatus| status.last.as_ref().map(|last| last.run.clone());
    let failed = |status: &IsolationStatus| status.failed.as_ref().map(|failed| failed.at);
    loop {
        let status = manager.isolation_status().await?;
        let ended = run(&status) != run(&before)
            || (failed(&status) != failed(&before) && status.failed.is_some());
        if status.asked_at.is_none() && status.running_since.is_none() && ended {
            return Ok(());
        }
        if begun.elapsed() > limit {
            return Err(Failure::new(
                Kind::Deadline,
                "isolation.not_checked",
                "the server has not checked within twice its longest time",
            )
            .hint_command("see what it has", "lerianctl isolation show"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads a report, or the last one that was kept.
pub fn read_or_last(run: &Invocation, file: Option<&Path>) -> Result<IsolationReport, Failure> {
    if let Some(path) = file {
        return read_whole(run, path);
    }
    let path = last(run)?;
    if !path.exists() {
        return Err(Failure::new(
            Kind::NotFound,
            "isolation.no_report",
            "no report was kept so far",
        )
        .hint_command("make one", "lerianctl isolation check"));
    }
    read_whole(run, &path)
}

fn last(run: &Invocation) -> Result<PathBuf, Failure> {
    let folder = run.environment.state_folder().ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "input.no_home",
            "there is no home folder to keep reports in",
        )
    })?;
    Ok(folder.join("isolation").join("last.json"))
}

/// Keeps a report as the last one, for the owner's eyes only.
pub fn keep(run: &Invocation, report: &IsolationReport) -> Result<(), String> {
    let path = last(run).map_err(|failure| failure.message)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer(&file, &document::of(report)).map_err(|error| error.to_string())?;
    file.persist(&path).map_err(|error| error.to_string())?;
    Ok(())
}

/// Reads a report that a check printed or kept.
pub fn read(run: &Invocation, path: &Path) -> Result<Isolation, Failure> {
    Ok(read_whole(run, path)?.outcome)
}

fn read_whole(run: &Invocation, path: &Path) -> Result<IsolationReport, Failure> {
    let bytes = run.read_input(path, REPORT_BYTES, "the report")?;
    let refused = || {
        Failure::new(
            Kind::Usage,
            "isolation.report",
            format!("`{}` is not a report of isolation check", path.display()),
        )
        .hint("give what `lerianctl isolation check -o json` printed")
    };
    let report: IsolationReport =
        serde_json::from_slice(&bytes).map_err(|error| refused().cause(error))?;
    let mut wrong = contradictions(&report.outcome);
    if report.passed && report.outcome.verdict == Verdict::Error {
        wrong.push("it passes, and something went wrong");
    }
    if wrong.is_empty() {
        return Ok(report);
    }
    Err(wrong
        .into_iter()
        .fold(refused(), Failure::cause)
        .hint("it was edited; `lerianctl isolation verify-report` tells for one that is signed"))
}
