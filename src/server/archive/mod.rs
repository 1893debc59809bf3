//! Whole registries as files: backups, and the way from SQLite to PostgreSQL and back.
//!
//! An archive is lines of JSON: a head, then every table with its rows in the order of their key,
//! each closed by a count and a digest, and at the end the digest of everything. What is sealed in
//! the registry stays sealed; the master key is not in it. A restore checks the whole archive
//! before it writes, writes in one transaction, and reads everything back before it commits.

mod format;
mod postgres;
mod sqlite;

use std::path::{Path, PathBuf};

use super::RegistryPlace;

pub use format::TableSummary;

/// Why a registry could not be written to, or made from, an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The registry cannot be opened, read or written.
    #[error("the registry `{place}` cannot be used: {reason}")]
    Registry {
        /// Where it is.
        place: RegistryPlace,
        /// What is wrong.
        reason: String,
    },
    /// A server works on the registry, or something is in it.
    #[error("the registry `{place}` is in use: {reason}")]
    InUse {
        /// Where it is.
        place: RegistryPlace,
        /// What was found.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("`{path}` cannot be used: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is not an archive, is damaged, or of a newer program.
    #[error("`{path}` is not an archive that can be used: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What went wrong while an archive was read or written.
#[derive(Debug)]
enum Trouble {
    Registry(String),
    InUse(String),
    File(String),
    Damaged(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.to_string())
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Registry(error.to_string())
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Registry(super::registry::postgres::said(&error))
    }
}

impl Trouble {
    fn at(self, place: &RegistryPlace, path: &Path) -> ArchiveError {
        let (place, path) = (place.clone(), path.to_owned());
        match self {
            Self::Registry(reason) => ArchiveError::Registry { place, reason },
            Self::InUse(reason) => ArchiveError::InUse { place, reason },
            Self::File(reason) => ArchiveError::File { path, reason },
            Self::Damaged(reason) => ArchiveError::Damaged { path, reason },
        }
    }
}

/// Writes the registry, as it is at one moment, to a new private file.
///
/// With `settled` it refuses while a server works on the registry, so that nothing can be changed
/// that is not in the archive.
pub async fn write_archive(
    place: &RegistryPlace,
    file: &Path,
    settled: bool,
) -> Result<Vec<TableSummary>, ArchiveError> {
    let written = match place {
        RegistryPlace::Sqlite(path) => {
            let (path, file) = (path.clone(), file.to_owned());
            blocking(move || sqlite::write(&path, &file, settled)).await
        }
        RegistryPlace::Postgres { endpoint, schema } => {
            postgres::write(endpoint, schema, file, settled).await
        }
    };
    written.map_err(|trouble| trouble.at(place, file))
}

/// Fills an empty registry, which is made when absent, with what is in an archive; all of it or
/// nothing. A dry run checks the archive and the registry, and changes nothing.
pub async fn read_archive(
    place: &RegistryPlace,
    file: &Path,
    dry_run: bool,
) -> Result<Vec<TableSummary>, ArchiveError> {
    let read = async {
        let source = file.to_owned();
        let summaries = blocking(move || format::check(&source)).await?;
        match place {
            RegistryPlace::Sqlite(path) => {
                let (path, file, expected) = (path.clone(), file.to_owned(), summaries.clone());
                blocking(move || sqlite::read(&path, &file, &expected, dry_run)).await?;
            }
            RegistryPlace::Postgres { endpoint, schema } => {
                postgres::read(endpoint, schema, file, &summaries, dry_run).await?;
            }
        }
        Ok(summaries)
    };
    read.await
        .map_err(|trouble: Trouble| trouble.at(place, file))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Trouble::Registry(error.to_string())))
}

/// Says how what was read back differs from what was to be written.
fn compare(expected: &[TableSummary], found: &[TableSummary]) -> Result<(), Trouble> {
    for table in expected {
        match found.iter().find(|found| found.table == table.table) {
            Some(found) if found == table => {}
            Some(found) => {
                return Err(Trouble::Registry(format!(
                    "table `{}` has {} rows after the restore and {} in the archive, or other ones; nothing was kept",
                    table.table, found.rows, table.rows
                )));
            }
            None => {
                return Err(Trouble::Damaged(format!(
                    "it has a table `{}`, which this program does not know: use a newer lerianctl",
                    table.table
                )));
            }
        }
    }
    Ok(())
}

/// The refusal of a registry whose schema is of an earlier program.
fn out_of_date() -> Trouble {
    Trouble::Registry(
        "it is not there, or of an earlier version; bring it up to date with `server migrate`"
            .into(),
    )
}

/// The refusal of something that only a newer program knows.
fn unknown(table: &str) -> Trouble {
    Trouble::Damaged(format!(
        "this program does not know everything of its table `{table}`: use a newer lerianctl"
    ))
}

/// Puts tables in an order in which each comes after those that it needs.
fn sorted<T>(
    mut left: Vec<T>,
    describe: impl Fn(&T) -> (&String, &Vec<String>),
) -> Result<Vec<T>, Trouble> {
    let mut done: Vec<T> = Vec::new();
    while !left.is_empty() {
        let next = left.iter().position(|table| {
            describe(table)
                .1
                .iter()
                .all(|need| done.iter().any(|done| describe(done).0 == need))
        });
        let Some(next) = next else {
            return Err(Trouble::Registry("its tables need each other".into()));
        };
        done.push(left.remove(next));
    }
    Ok(done)
}
