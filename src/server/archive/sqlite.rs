//! Archives of registries on SQLite.

use std::path::Path;

use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::format::{Part, Reader, TableSummary, Tally, Writer};
use super::{Trouble, compare};
use crate::server::registry::migrations::{migrate, migrate_or_plan};
use crate::server::registry::sqlite::{FileLock, SqliteRegistry};

/// Tables that are content, and not this file's or this server's own.
const CONTENT: &str = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN ('schema_migrations', 'meta', 'isolation_check')";

/// A table of the registry.
struct Table {
    name: String,
    columns: Vec<String>,
    /// Columns of the primary key, in order.
    key: Vec<String>,
    /// Tables that must be filled before.
    needs: Vec<String>,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    quoted.join(", ")
}

/// Returns the tables, those that others point to first.
fn tables(connection: &Connection) -> Result<Vec<Table>, Trouble> {
    let mut names = connection.prepare(&format!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND {CONTENT} ORDER BY name"
    ))?;
    let names = names
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    let mut left = Vec::new();
    for name in names {
        let mut info =
            connection.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
        let found = info
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
        let mut key: Vec<(i64, String)> = found
            .iter()
            .filter(|(_, position)| *position > 0)
            .map(|(column, position)| (*position, column.clone()))
            .collect();
        key.sort();
        let mut foreign =
            connection.prepare("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1)")?;
        let needs = foreign
            .query_map([&name], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()?;
        left.push(Table {
            needs: needs.into_iter().filter(|other| *other != name).collect(),
            columns: found.into_iter().map(|(column, _)| column).collect(),
            key: key.into_iter().map(|(_, column)| column).collect(),
            name,
        });
    }
    super::sorted(left, |table| (&table.name, &table.needs))
}

fn value(stored: ValueRef<'_>) -> Result<Value, Trouble> {
    Ok(match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(_) => {
            return Err(Trouble::Registry(
                "it holds a number with a fraction".into(),
            ));
        }
        ValueRef::Text(text) => Value::String(
            std::str::from_utf8(text)
                .map_err(|error| Trouble::Registry(error.to_string()))?
                .to_owned(),
        ),
        ValueRef::Blob(bytes) => json!({ "hex": crate::secret::hex(bytes) }),
    })
}

fn stored(value: Value) -> Result<Stored, Trouble> {
    let odd = || Trouble::Damaged("it holds a value of no known kind".into());
    Ok(match value {
        Value::Null => Stored::Null,
        Value::Number(number) => Stored::Integer(number.as_i64().ok_or_else(odd)?),
        Value::String(text) => Stored::Text(text),
        Value::Object(map) => {
            let hex = map.get("hex").and_then(Value::as_str).ok_or_else(odd)?;
            Stored::Blob(crate::secret::from_hex(hex).ok_or_else(odd)?)
        }
        Value::Bool(_) | Value::Array(_) => return Err(odd()),
    })
}

/// Gives every row of a table to `take`, in the order of its key.
fn each_row(
    connection: &Connection,
    table: &str,
    columns: &[String],
    key: &[String],
    mut take: impl FnMut(Vec<Value>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut statement = connection.prepare(&format!(
        "SELECT {} FROM {} ORDER BY {}",
        list(columns),
        quoted(table),
        list(key)
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns.len())
            .map(|index| value(row.get_ref(index)?))
            .collect::<Result<_, _>>()?;
        take(values)?;
    }
    Ok(())
}

/// Writes an archive of the registry at `path`.
pub(super) fn write(path: &Path, file: &Path, settled: bool) -> Result<Vec<TableSummary>, Trouble> {
    if !path.is_file() {
        return Err(Trouble::Registry("there is no such file".into()));
    }
    let lock = if settled {
        Some(FileLock::take(path).map_err(Trouble::InUse)?)
    } else {
        None
    };
    // Not read-only: the log of a server that was killed may have to be taken in first.
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let states = migrate_or_plan(&mut connection, true)
        .map_err(|error| Trouble::Registry(error.to_string()))?;
    if states.iter().any(|state| !state.applied) {
        return Err(super::out_of_date());
    }
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let earlier: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'master_check')",
        [],
        |row| row.get(0),
    )?;
    if earlier {
        return Err(Trouble::Registry(
            "its secrets are sealed as earlier versions did: start a server on it once".into(),
        ));
    }
    // One moment, however long it takes to write it down.
    let snapshot = connection.unchecked_transaction()?;
    let mut writer = Writer::create(file)?;
    for table in tables(&snapshot)? {
        writer.table(&table.name, &table.columns)?;
        let mut tally = Tally::new(&table.name);
        each_row(
            &snapshot,
            &table.name,
            &table.columns,
            &table.key,
            |values| writer.text(&tally.row(values)),
        )?;
        writer.end_table(tally)?;
    }
    let summaries = writer.finish()?;
    drop(lock);
    Ok(summaries)
}

/// Fills the registry at `path`.
pub(super) fn read(
    path: &Path,
    file: &Path,
    expected: &[TableSummary],
    dry_run: bool,
) -> Result<(), Trouble> {
    if dry_run && !path.exists() {
        // What would be made is tried beside it.
        let mut connection = Connection::open_in_memory()?;
        migrate(&mut connection).map_err(|error| Trouble::Registry(error.to_string()))?;
        return fill(&mut connection, file, expected, true);
    }
    let _lock = FileLock::take(path).map_err(Trouble::InUse)?;
    let mut connection = SqliteRegistry::made(path).map_err(Trouble::Registry)?;
    fill(&mut connection, file, expected, dry_run)?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

fn fill(
    connection: &mut Connection,
    file: &Path,
    expected: &[TableSummary],
    dry_run: bool,
) -> Result<(), Trouble> {
    let transaction = connection.transaction()?;
    let known = tables(&transaction)?;
    for table in &known {
        let filled: bool = transaction.query_row(
            &format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name)),
            [],
            |row| row.get(0),
        )?;
        if filled {
            return Err(Trouble::InUse(format!(
                "its table `{}` is not empty, and only an empty registry is filled",
                table.name
            )));
        }
    }
    transaction.execute_batch("PRAGMA defer_foreign_keys = ON")?;
    let mut reader = Reader::open(file)?;
    let mut found = Vec::new();
    while let Some(part) = reader.next()? {
        let Part::Table(name, columns) = part else {
            return Err(Trouble::Damaged("a row stands alone".into()));
        };
        let table = known
            .iter()
            .find(|known| known.name == name)
            .filter(|known| columns.iter().all(|column| known.columns.contains(column)));
        let Some(table) = table else {
            return Err(super::unknown(&name));
        };
        let places = vec!["?"; columns.len()].join(", ");
        let mut insert = transaction.prepare(&format!(
            "INSERT INTO {} ({}) VALUES ({places})",
            quoted(&name),
            list(&columns)
        ))?;
        while let Some(Part::Row(values)) = reader.next()? {
            let values = values
                .into_iter()
                .map(stored)
                .collect::<Result<Vec<_>, _>>()?;
            insert.execute(rusqlite::params_from_iter(values))?;
        }
        let mut tally = Tally::new(&name);
        each_row(&transaction, &name, &columns, &table.key, |values| {
            tally.row(values);
            Ok(())
        })?;
        found.push(tally.end());
    }
    compare(expected, &found)?;
    if dry_run {
        transaction.rollback()?;
    } else {
        transaction.commit()?;
    }
    Ok(())
}
