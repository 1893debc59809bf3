//! `lerianctl isolation show`, and where reports are kept.

use std::path::{Path, PathBuf};

use clap::Args;

use super::check::IsolationReport;
use super::written::ReportArgs;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::report::Isolation;
use crate::output::document;

/// Largest report that is read.
pub(super) const REPORT_BYTES: u64 = 256 * 1024 * 1024;

/// Show the last report again
///
/// Each `isolation check` keeps its report in the state folder. Nothing is checked anew: the time
/// stands in the report. Status as that of the check.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation show\n  lerianctl isolation show report.json -o csv\n  lerianctl isolation show --report html=isolation.html"
)]
pub struct ShowArgs {
    /// Report (-o json of a check); the last one when absent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    reports: ReportArgs,
}

/// Shows a report.
pub fn show(run: &Invocation, args: &ShowArgs) -> Result<IsolationReport, Failure> {
    let signer = args.reports.signer(run)?;
    let report = read_or_last(run, args.file.as_deref())?;
    args.reports.write(run, &report, signer.as_ref())?;
    Ok(report)
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
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            Kind::Usage,
            "isolation.report",
            format!("`{}` is not a report of isolation check", path.display()),
        )
        .cause(error)
        .hint("give what `lerianctl isolation check -o json` printed")
    })
}
