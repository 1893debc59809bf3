//! Migrations of the SQLite registry: numbered, checksummed, applied in one transaction.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use crate::secret::sha256_hex;

/// Marks a SQLite file as a registry of ours ("LrTM").
const APPLICATION_ID: i32 = 0x4c72_544d;

/// A step of the schema.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "keys",
        sql: include_str!("0002_keys.sql"),
    },
    Migration {
        version: 3,
        name: "audit",
        sql: include_str!("0003_audit.sql"),
    },
    Migration {
        version: 5,
        name: "data keys",
        sql: include_str!("0005_data_keys.sql"),
    },
    Migration {
        version: 7,
        name: "isolation",
        sql: include_str!("0007_isolation.sql"),
    },
];

/// A migration of a registry, and whether it was applied before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// Number.
    pub version: i64,
    /// Name.
    pub name: String,
    /// Whether it was applied before.
    pub applied: bool,
}

/// Why a file cannot become, or is not, a registry that this program understands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrationError {
    /// SQLite refused.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Another program's file.
    #[error("the file is a SQLite database, but not a registry of lerianctl")]
    Foreign,
    /// Made by a newer program.
    #[error(
        "the registry has schema version {found} and this program knows up to {known}: use a newer lerianctl"
    )]
    Newer {
        /// Version in the file.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// A migration was changed after it was applied.
    #[error(
        "schema version {0} was applied with another content than this program has: the registry was made by a different build"
    )]
    Changed(i64),
}

/// Brings the schema up to date; changes nothing when it fails.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), MigrationError> {
    migrate_or_plan(connection, false).map(drop)
}

/// Brings the schema up to date, or says what there is to do; changes nothing when it fails.
pub(crate) fn migrate_or_plan(
    connection: &mut Connection,
    dry_run: bool,
) -> Result<Vec<MigrationState>, MigrationError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 =
        transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        [],
        |row| row.get(0),
    )?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(MigrationError::Foreign);
    }
    if application == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
             version INTEGER PRIMARY KEY,
             name TEXT NOT NULL,
             checksum TEXT NOT NULL,
             applied_at TEXT NOT NULL
         ) STRICT",
    )?;
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    let found: Option<i64> =
        transaction.query_row("SELECT max(version) FROM schema_migrations", [], |row| {
            row.get(0)
        })?;
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(MigrationError::Newer { found, known });
    }
    let mut states = Vec::new();
    for migration in MIGRATIONS {
        let checksum = sha256_hex(migration.sql.as_bytes());
        let applied: Option<String> = transaction
            .query_row(
                "SELECT checksum FROM schema_migrations WHERE version = ?1",
                [migration.version],
                |row| row.get(0),
            )
            .optional()?;
        states.push(MigrationState {
            version: migration.version,
            name: migration.name.to_owned(),
            applied: applied.is_some(),
        });
        match applied {
            Some(applied) if applied == checksum => {}
            Some(_) => return Err(MigrationError::Changed(migration.version)),
            None if dry_run => {}
            None => {
                transaction.execute_batch(migration.sql)?;
                transaction.execute(
                    "INSERT INTO schema_migrations VALUES (?1, ?2, ?3, ?4)",
                    (
                        migration.version,
                        migration.name,
                        checksum,
                        jiff::Timestamp::now().to_string(),
                    ),
                )?;
            }
        }
    }
    if dry_run {
        transaction.rollback()?;
    } else {
        transaction.commit()?;
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let schema = |connection: &Connection| -> String {
            connection
                .query_row(
                    "SELECT group_concat(sql, ';') FROM sqlite_schema",
                    [],
                    |row| row.get(0),
                )
                .unwrap()
        };
        let before = schema(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(schema(&connection), before);
        assert!(before.contains("CREATE TABLE outbox"));
    }

    #[test]
    fn a_newer_a_changed_and_a_foreign_file_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute("UPDATE schema_migrations SET checksum = 'x'", [])
            .unwrap();
        assert!(matches!(
            migrate(&mut connection),
            Err(MigrationError::Changed(1))
        ));
        connection
            .execute(
                "INSERT INTO schema_migrations VALUES (99, 'later', 'y', 'now')",
                [],
            )
            .unwrap();
        assert!(matches!(
            migrate(&mut connection),
            Err(MigrationError::Newer { found: 99, .. })
        ));

        let mut other = Connection::open_in_memory().unwrap();
        other.execute_batch("CREATE TABLE photos (id)").unwrap();
        assert!(matches!(migrate(&mut other), Err(MigrationError::Foreign)));
        let tables: i64 = other
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1, "a refused file stays as it was");
    }
}
