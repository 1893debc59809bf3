//! `lerianctl audit export`.

use std::fmt;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::{AuditQuery, ClientError};
use crate::contract::audit::{AuditEntry, AuditHead};
use crate::output::progress::Progress;
use crate::output::{Report, View};

/// Write the audit log as lines that can be verified without the server
///
/// One entry a line, oldest first, all of them: a selection could not be verified. On standard
/// output when no file is named; then the end of the log is told on standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl audit export --file audit.ndjson\n  lerianctl audit verify --file audit.ndjson"
)]
pub struct ExportArgs {
    /// File to write, private to you; it appears once it is complete
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Writes the log, and says what was written.
pub fn run(run: &Invocation, args: &ExportArgs) -> u8 {
    match &args.file {
        Some(path) => run.emit(to_file(run, path)),
        None => run.emit_or_done(to_output(run)),
    }
}

/// Gives every entry to `take`; returns how many there were and the last.
fn export(
    run: &Invocation,
    mut take: impl FnMut(String) -> Result<(), Failure>,
) -> Result<(u64, AuditHead), Failure> {
    let manager = run.tenant_manager()?;
    let progress = Progress::new(&run.console, "exporting", 0);
    let total = run.block_on({
        let manager = manager.clone();
        async move { manager.audit_head().await }
    })?;
    let mut head = AuditHead::origin();
    let mut count = 0;
    let query = AuditQuery {
        oldest_first: true,
        limit: Some(1000),
        ..AuditQuery::default()
    };
    run.block_on(async {
        let all = manager.audit_all(query, |entry: AuditEntry| {
            let mut line = serde_json::to_string(&entry).map_err(|error| {
                Stopped::Here(
                    Failure::new(Kind::Internal, "internal", "an entry cannot be written")
                        .cause(error),
                )
            })?;
            line.push('\n');
            take(line).map_err(Stopped::Here)?;
            count += 1;
            if count % 1000 == 0 {
                progress.set(count, total.sequence.max(count), "entries");
            }
            head = AuditHead {
                sequence: entry.record.sequence,
                hash: entry.hash,
            };
            Ok(())
        });
        match all.await {
            Ok(()) => Ok(None),
            Err(Stopped::Here(failure)) => Ok(Some(failure)),
            Err(Stopped::There(error)) => Err(error),
        }
    })?
    .map_or(Ok((count, head)), Err)
}

/// Why an export stopped: here, or at the server.
enum Stopped {
    Here(Failure),
    There(ClientError),
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        Self::There(error)
    }
}

fn to_output(run: &Invocation) -> Result<(), Failure> {
    let (count, head) = export(run, |line| {
        run.console.out(&line);
        Ok(())
    })?;
    run.console
        .status(format!("{count} entries, the end is {head}"));
    Ok(())
}

fn to_file(run: &Invocation, path: &Path) -> Result<AuditExportReport, Failure> {
    let unwritable = |error: std::io::Error| {
        Failure::new(
            Kind::Usage,
            "output.unwritable",
            format!("`{}` cannot be written", path.display()),
        )
        .cause(error)
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Private from the beginning, and in its place only once it is complete.
    let file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    let mut writer = BufWriter::new(file);
    let (entries, head) = export(run, |line| {
        writer.write_all(line.as_bytes()).map_err(unwritable)
    })?;
    let file = writer
        .into_inner()
        .map_err(|error| unwritable(error.into_error()))?;
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(path)
        .map_err(|error| unwritable(error.error))?;
    Ok(AuditExportReport {
        file: path.display().to_string(),
        entries,
        anchor: head.to_string(),
    })
}

/// What was exported.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct AuditExportReport {
    /// The file.
    file: String,
    /// Entries in it.
    entries: u64,
    /// Place and hash of the last, as `audit verify --anchor` takes them.
    anchor: String,
}

impl Report for AuditExportReport {
    const KIND: &'static str = "AuditExport";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.fields(&[
            ("file", self.file.clone()),
            ("entries", self.entries.to_string()),
            ("anchor", self.anchor.clone()),
        ]);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.anchor.clone())
    }
}
