//! Migrations of the PostgreSQL registry: numbered, checksummed, one server at a time.
//!
//! Servers of two versions may run side by side while one replaces the other, so a migration
//! only adds: tables, columns with a default, indexes. What an older server cannot live with is
//! a migration that `needs` its own number: older servers then refuse to start, and are to be
//! stopped before it is applied.

use tokio_postgres::Client;

use super::session::{open_error, sql_error};
use crate::secret::sha256_hex;
use crate::server::registry::migrations::MigrationState;

/// A step of the schema.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
    /// Schema version that a program has to know in order to work with the registry afterwards.
    needs: i32,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("0001_initial.sql"),
        needs: 1,
    },
    Migration {
        version: 2,
        name: "keys",
        sql: include_str!("0002_keys.sql"),
        needs: 2,
    },
    Migration {
        version: 3,
        name: "audit",
        sql: include_str!("0003_audit.sql"),
        // A server that writes no log must not change anything beside one that does.
        needs: 3,
    },
    Migration {
        version: 5,
        name: "data keys",
        sql: include_str!("0005_data_keys.sql"),
        needs: 5,
    },
    Migration {
        version: 7,
        name: "isolation",
        sql: include_str!("0007_isolation.sql"),
        needs: 5,
    },
    Migration {
        version: 8,
        name: "read leases",
        sql: include_str!("0008_read_leases.sql"),
        // What older servers change waits for the leases too: the database sees to it.
        needs: 5,
    },
];

/// Oldest PostgreSQL that has what the registry uses.
const OLDEST_SERVER: i32 = 130_000;

/// Brings the schema up to date, making it when it is not there; changes nothing when it fails,
/// nor when `dry_run` is set. Returns what there was to do.
pub(super) async fn migrate(
    session: &mut Client,
    schema: &str,
    dry_run: bool,
) -> Result<Vec<MigrationState>, String> {
    let version: String = session
        .query_one("SHOW server_version_num", &[])
        .await
        .map_err(|error| sql_error(&error))?
        .get(0);
    if version.parse().unwrap_or(0) < OLDEST_SERVER {
        return Err("its PostgreSQL is older than 13".into());
    }
    let transaction = session
        .transaction()
        .await
        .map_err(|error| sql_error(&error))?;
    // Whoever comes second waits, and finds the work done.
    transaction
        .execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('lerianctl registry ' || $1, 0))",
            &[&schema],
        )
        .await
        .map_err(|error| sql_error(&error))?;
    let there: bool = transaction
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)",
            &[&schema],
        )
        .await
        .map_err(|error| sql_error(&error))?
        .get(0);
    // The name was checked: it needs no quotes.
    if !there {
        transaction
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await
            .map_err(|error| open_error(&error, "to make its schema"))?;
    }
    let ours: bool = transaction
        .query_one(
            "SELECT to_regclass($1 || '.schema_migrations') IS NOT NULL",
            &[&schema],
        )
        .await
        .map_err(|error| sql_error(&error))?
        .get(0);
    if !ours {
        let foreign: bool = transaction
            .query_one(
                "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c
                                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                                WHERE n.nspname = $1)",
                &[&schema],
            )
            .await
            .map_err(|error| sql_error(&error))?
            .get(0);
        if foreign {
            return Err(format!(
                "schema `{schema}` holds something, but not a registry of lerianctl"
            ));
        }
        transaction
            .batch_execute(
                "CREATE TABLE schema_migrations (
                     version INTEGER PRIMARY KEY,
                     name TEXT NOT NULL,
                     checksum TEXT NOT NULL,
                     needs INTEGER NOT NULL,
                     applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
                 )",
            )
            .await
            .map_err(|error| open_error(&error, "to make its tables"))?;
    }
    let rows = transaction
        .query(
            "SELECT version, checksum, needs FROM schema_migrations",
            &[],
        )
        .await
        .map_err(|error| open_error(&error, "to read its tables"))?;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max();
    let known = known.unwrap_or(0);
    let mut applied = std::collections::BTreeMap::new();
    for row in rows {
        let (version, checksum, needs): (i32, String, i32) = (row.get(0), row.get(1), row.get(2));
        if needs > known {
            return Err(format!(
                "the registry has schema version {version}, which needs a program that knows version {needs}, and this one knows up to {known}: use a newer lerianctl"
            ));
        }
        if version > known {
            tracing::warn!(
                version,
                known,
                "the registry has a newer schema, which this program can work with"
            );
        }
        applied.insert(version, checksum);
    }
    let mut states = Vec::new();
    for migration in MIGRATIONS {
        let checksum = sha256_hex(migration.sql.as_bytes());
        let before = applied.get(&migration.version);
        match before {
            Some(applied) if *applied == checksum => {}
            Some(_) => {
                return Err(format!(
                    "schema version {} was applied with another content than this program has: the registry was made by a different build",
                    migration.version
                ));
            }
            None if dry_run => {}
            None => {
                transaction
                    .batch_execute(migration.sql)
                    .await
                    .map_err(|error| open_error(&error, "to change its tables"))?;
                transaction
                    .execute(
                        "INSERT INTO schema_migrations (version, name, checksum, needs) VALUES ($1, $2, $3, $4)",
                        &[&migration.version, &migration.name, &checksum, &migration.needs],
                    )
                    .await
                    .map_err(|error| sql_error(&error))?;
            }
        }
        states.push(MigrationState {
            version: i64::from(migration.version),
            name: migration.name.to_owned(),
            applied: before.is_some(),
        });
    }
    if !dry_run {
        transaction
            .commit()
            .await
            .map_err(|error| sql_error(&error))?;
    }
    Ok(states)
}
