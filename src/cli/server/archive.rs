//! What `server backup`, `restore`, `export` and `import` have in common.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::output::{Report, Rows, Tone, View};
use crate::server::{ArchiveError, RegistryPlace, TableSummary, read_archive, write_archive};

/// A registry and the file it was written to, or made from.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveReport {
    /// `backup`, `restore`, `export` or `import`.
    action: &'static str,
    /// Where the registry is.
    registry: String,
    /// The file.
    file: PathBuf,
    /// Whether something was written; false for a dry run.
    changed: bool,
    /// Whether this was only tried.
    dry_run: bool,
    /// Tables, with what was written and read back.
    tables: Vec<ArchiveTable>,
}

/// A table of the registry.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct ArchiveTable {
    /// Its name.
    table: String,
    /// Number of its rows.
    rows: u64,
    /// SHA-256 of its rows.
    sha256: String,
}

impl Report for ArchiveReport {
    const KIND: &'static str = "RegistryArchive";

    fn human(&self, out: &mut View) -> fmt::Result {
        let total: u64 = self.tables.iter().map(|table| table.rows).sum();
        out.paint(Tone::Strong, format!("server {}", self.action))
            .plain(if self.dry_run { ": would do" } else { ": done" })
            .line();
        let fields = [
            ("registry", self.registry.clone()),
            ("file", self.file.display().to_string()),
        ];
        out.fields(&fields);
        out.table(&Rows {
            columns: vec!["table", "rows", "sha256"],
            wide: Vec::new(),
            cells: self
                .tables
                .iter()
                .map(|table| {
                    vec![
                        table.table.clone(),
                        table.rows.to_string(),
                        table.sha256.chars().take(16).collect(),
                    ]
                })
                .collect(),
            items: Vec::new(),
        });
        out.plain(format!("{total} rows in {} tables", self.tables.len()))
            .line();
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.file.display().to_string())
    }
}

fn report(
    action: &'static str,
    place: &RegistryPlace,
    file: &Path,
    dry_run: bool,
    tables: Vec<TableSummary>,
) -> ArchiveReport {
    ArchiveReport {
        action,
        registry: place.to_string(),
        file: file.to_owned(),
        changed: !dry_run,
        dry_run,
        tables: tables
            .into_iter()
            .map(|table| ArchiveTable {
                table: table.table,
                rows: table.rows,
                sha256: table.sha256,
            })
            .collect(),
    }
}

/// Writes the registry to a file.
pub fn write(
    run: &Invocation,
    action: &'static str,
    place: &RegistryPlace,
    file: &Path,
    settled: bool,
) -> Result<ArchiveReport, Failure> {
    let tables = run.block_on(write_archive(place, file, settled))?;
    Ok(report(action, place, file, false, tables))
}

/// Makes the registry from a file.
pub fn read(
    run: &Invocation,
    action: &'static str,
    place: &RegistryPlace,
    file: &Path,
    dry_run: bool,
) -> Result<ArchiveReport, Failure> {
    let tables = run.block_on(read_archive(place, file, dry_run))?;
    Ok(report(action, place, file, dry_run, tables))
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match &error {
            ArchiveError::Registry { .. } => {
                Self::new(Kind::Conflict, "server.registry", error.to_string())
            }
            ArchiveError::InUse { .. } => {
                Self::new(Kind::Conflict, "archive.in_use", error.to_string())
                    .hint("stop every server on it; fill only a registry that is empty")
            }
            ArchiveError::File { .. } => Self::new(Kind::Usage, "archive.file", error.to_string())
                .hint("name a file that does not exist yet to write, or one that does to read"),
            ArchiveError::Damaged { .. } => {
                Self::new(Kind::Conflict, "archive.damaged", error.to_string())
                    .hint("take another backup; nothing was changed")
            }
        }
    }
}
