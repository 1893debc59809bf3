//! Archives of registries on PostgreSQL.

use std::path::Path;

use serde_json::Value;
use tokio_postgres::{IsolationLevel, Transaction};

use super::format::{Part, Reader, TableSummary, Tally, Writer};
use super::{Trouble, compare};
use crate::link::postgres::{PostgresEndpoint, Session};
use crate::server::registry::postgres::PostgresRegistry;

/// Rows that are fetched, or written, at once.
const BITE: i32 = 500;

/// What is this server's or this database's own, and no content: see `0001_initial.sql`.
const OWN_TABLES: [&str; 6] = [
    "schema_migrations",
    "publisher",
    "meta",
    "access_keys_revision",
    "isolation_check",
    "read_leases",
];
const OWN_COLUMNS: [(&str, &str); 3] = [
    ("tenants", "change"),
    ("operations", "holder"),
    ("operations", "lease_until"),
];

/// A column and its type.
struct Column {
    name: String,
    kind: String,
}

struct Table {
    name: String,
    columns: Vec<Column>,
    key: Vec<String>,
    needs: Vec<String>,
    /// Whether its rows point to each other: then they are written all at once.
    needs_itself: bool,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the tables of the session's schema, those that others point to first.
async fn tables(transaction: &Transaction<'_>) -> Result<Vec<Table>, Trouble> {
    let rows = transaction
        .query(
            "SELECT c.relname::text,
                    (SELECT array_agg(a.attname::text || ' ' || format_type(a.atttypid, NULL) ORDER BY a.attnum)
                     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                    (SELECT array_agg(a.attname::text ORDER BY k.at)
                     FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, at), pg_attribute a
                     WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = k.attnum),
                    (SELECT coalesce(array_agg(DISTINCT f.relname::text), '{}')
                     FROM pg_constraint r JOIN pg_class f ON f.oid = r.confrelid
                     WHERE r.conrelid = c.oid AND r.contype = 'f' AND r.confrelid <> c.oid),
                    EXISTS (SELECT 1 FROM pg_constraint r
                            WHERE r.conrelid = c.oid AND r.contype = 'f' AND r.confrelid = c.oid)
             FROM pg_class c
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
             ORDER BY c.relname",
            &[],
        )
        .await?;
    let mut left = Vec::new();
    for row in rows {
        let name: String = row.get(0);
        if OWN_TABLES.contains(&name.as_str()) {
            continue;
        }
        let columns: Vec<String> = row.get(1);
        let key: Option<Vec<String>> = row.get(2);
        left.push(Table {
            columns: columns
                .iter()
                .filter_map(|column| column.split_once(' '))
                .filter(|(column, _)| !OWN_COLUMNS.contains(&(name.as_str(), *column)))
                .map(|(column, kind)| Column {
                    name: column.to_owned(),
                    kind: kind.to_owned(),
                })
                .collect(),
            key: key.ok_or_else(|| Trouble::Registry(format!("table `{name}` has no key")))?,
            needs: row.get(3),
            needs_itself: row.get(4),
            name,
        });
    }
    super::sorted(left, |table| (&table.name, &table.needs))
}

/// Gives every row of a table to `take`, in the order of its key.
async fn each_row(
    transaction: &Transaction<'_>,
    table: &Table,
    columns: &[String],
    mut take: impl FnMut(Vec<Value>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut values = Vec::new();
    for name in columns {
        let kind = table.columns.iter().find(|column| column.name == *name);
        let column = quoted(name);
        values.push(match kind.map(|column| column.kind.as_str()) {
            Some("boolean") => format!("{column}::int"),
            Some("bytea") => format!(
                "CASE WHEN {column} IS NOT NULL THEN json_build_object('hex', encode({column}, 'hex')) END"
            ),
            Some("bigint" | "integer" | "smallint" | "text") => column,
            _ => {
                return Err(Trouble::Registry(format!(
                    "column `{name}` of table `{}` is of a kind that no archive holds",
                    table.name
                )));
            }
        });
    }
    let key: Vec<String> = table.key.iter().map(|column| quoted(column)).collect();
    let statement = transaction
        .prepare(&format!(
            "SELECT json_build_array({})::text FROM {} ORDER BY {}",
            values.join(", "),
            quoted(&table.name),
            key.join(", ")
        ))
        .await?;
    let portal = transaction.bind(&statement, &[]).await?;
    loop {
        let rows = transaction.query_portal(&portal, BITE).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let values = serde_json::from_str(row.get(0))
                .map_err(|error| Trouble::Registry(error.to_string()))?;
            take(values)?;
        }
    }
}

async fn session(endpoint: &PostgresEndpoint, schema: &str) -> Result<Session, Trouble> {
    let endpoint = PostgresEndpoint {
        search_path: Some(schema.to_owned()),
        ..endpoint.clone()
    };
    endpoint
        .try_connect("-c lock_timeout=10s -c client_min_messages=warning -c synchronous_commit=on")
        .await
        .map_err(|error| Trouble::Registry(error.to_string()))
}

/// Refuses while a server listens to what others do, which every server does.
async fn nobody_works(session: &Session, schema: &str) -> Result<(), Trouble> {
    let listening = format!("LISTEN lerianctl_{schema}");
    let row = session
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = $1",
            &[&listening],
        )
        .await?;
    let count: i64 = row.get(0);
    if count > 0 {
        return Err(Trouble::InUse(format!(
            "{count} servers work on it; stop them first"
        )));
    }
    Ok(())
}

/// Writes an archive of the registry.
pub(super) async fn write(
    endpoint: &PostgresEndpoint,
    schema: &str,
    file: &Path,
    settled: bool,
) -> Result<Vec<TableSummary>, Trouble> {
    let states = PostgresRegistry::migrate(endpoint, schema, true).await;
    if states
        .map_err(Trouble::Registry)?
        .iter()
        .any(|state| !state.applied)
    {
        return Err(super::out_of_date());
    }
    let mut session = session(endpoint, schema).await?;
    let written = copy_out(&mut session, schema, file, settled).await;
    session.close().await;
    written
}

async fn copy_out(
    session: &mut Session,
    schema: &str,
    file: &Path,
    settled: bool,
) -> Result<Vec<TableSummary>, Trouble> {
    if settled {
        nobody_works(session, schema).await?;
    }
    // One moment, however long it takes to write it down.
    let snapshot = session
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let mut writer = Writer::create(file)?;
    for table in tables(&snapshot).await? {
        let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        writer.table(&table.name, &columns)?;
        let mut tally = Tally::new(&table.name);
        each_row(&snapshot, &table, &columns, |values| {
            writer.text(&tally.row(values))
        })
        .await?;
        writer.end_table(tally)?;
    }
    writer.finish()
}

/// Fills the registry.
pub(super) async fn read(
    endpoint: &PostgresEndpoint,
    schema: &str,
    file: &Path,
    expected: &[TableSummary],
    dry_run: bool,
) -> Result<(), Trouble> {
    let states = PostgresRegistry::migrate(endpoint, schema, dry_run).await;
    let states = states.map_err(Trouble::Registry)?;
    if dry_run && states.iter().any(|state| !state.applied) {
        // There is nothing to try it on without making it.
        return Ok(());
    }
    let mut session = session(endpoint, schema).await?;
    let read = copy_in(&mut session, schema, file, expected, dry_run).await;
    // Waited for, so that no lock outlives the call.
    session.close().await;
    read
}

async fn copy_in(
    session: &mut Session,
    schema: &str,
    file: &Path,
    expected: &[TableSummary],
    dry_run: bool,
) -> Result<(), Trouble> {
    nobody_works(session, schema).await?;
    let transaction = session.transaction().await?;
    let known = tables(&transaction).await?;
    for table in &known {
        transaction
            .batch_execute(&format!(
                "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
                quoted(&table.name)
            ))
            .await?;
        let row = transaction
            .query_one(
                &format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name)),
                &[],
            )
            .await?;
        if row.get::<_, bool>(0) {
            return Err(Trouble::InUse(format!(
                "its table `{}` is not empty, and only an empty registry is filled",
                table.name
            )));
        }
    }
    let mut reader = Reader::open(file)?;
    let mut found = Vec::new();
    while let Some(part) = reader.next()? {
        let Part::Table(name, columns) = part else {
            return Err(Trouble::Damaged("a row stands alone".into()));
        };
        let table = known.iter().find(|known| known.name == name);
        let Some(table) = table else {
            return Err(super::unknown(&name));
        };
        fill(&transaction, &mut reader, table, &columns).await?;
        let mut tally = Tally::new(&name);
        each_row(&transaction, table, &columns, |values| {
            tally.row(values);
            Ok(())
        })
        .await?;
        found.push(tally.end());
    }
    compare(expected, &found)?;
    go_on_counting(&transaction).await?;
    if dry_run {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    Ok(())
}

/// Writes the rows of one table, up to its end.
async fn fill(
    transaction: &Transaction<'_>,
    reader: &mut Reader,
    table: &Table,
    columns: &[String],
) -> Result<(), Trouble> {
    let mut values = Vec::new();
    for (at, name) in columns.iter().enumerate() {
        let kind = table.columns.iter().find(|column| column.name == *name);
        values.push(match kind.map(|column| column.kind.as_str()) {
            Some("boolean") => format!("(r.value ->> {at})::int::boolean"),
            Some("bytea") => format!("decode(r.value -> {at} ->> 'hex', 'hex')"),
            Some(kind @ ("bigint" | "integer" | "smallint" | "text")) => {
                format!("(r.value ->> {at})::{kind}")
            }
            _ => return Err(super::unknown(&table.name)),
        });
    }
    let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let insert = transaction
        .prepare(&format!(
            "INSERT INTO {} ({}) SELECT {} FROM json_array_elements($1::text::json) r",
            quoted(&table.name),
            names.join(", "),
            values.join(", ")
        ))
        .await?;
    let bite = if table.needs_itself {
        usize::MAX
    } else {
        usize::try_from(BITE).unwrap_or(1)
    };
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let row = match reader.next()? {
            Some(Part::Row(values)) => Some(Value::Array(values)),
            _ => None,
        };
        let ended = row.is_none();
        rows.extend(row);
        if (ended || rows.len() >= bite) && !rows.is_empty() {
            let text = Value::Array(std::mem::take(&mut rows)).to_string();
            transaction.execute(&insert, &[&text]).await?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Lets columns that count by themselves go on after what was written.
async fn go_on_counting(transaction: &Transaction<'_>) -> Result<(), Trouble> {
    let rows = transaction
        .query(
            "SELECT c.relname::text, a.attname::text
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
               AND a.attidentity <> ''",
            &[],
        )
        .await?;
    for row in rows {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        transaction
            .execute(
                &format!(
                    "SELECT setval(pg_get_serial_sequence($1, $2), greatest(max({}), 1), max({}) IS NOT NULL) FROM {}",
                    quoted(&column),
                    quoted(&column),
                    quoted(&table)
                ),
                &[&quoted(&table), &column],
            )
            .await?;
    }
    Ok(())
}
