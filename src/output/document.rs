//! The JSON documents: one versioned envelope for every kind.

use serde_json::{Map, Value, json};

use super::{Report, Rows};

/// Version of the JSON documents.
pub const API_VERSION: &str = "lerianctl/v1";

/// Returns the document of a report: `apiVersion`, `kind`, then the report's own keys.
pub fn of<R: Report>(report: &R) -> Value {
    wrap(
        R::KIND,
        serde_json::to_value(report).unwrap_or_else(|error| json!({ "error": error.to_string() })),
    )
}

/// Puts `body` into the envelope of `kind`.
pub fn wrap(kind: &str, body: Value) -> Value {
    let mut document = Map::new();
    document.insert("apiVersion".into(), API_VERSION.into());
    document.insert("kind".into(), kind.into());
    match body {
        Value::Object(keys) => document.extend(keys),
        other => {
            document.insert("value".into(), other);
        }
    }
    Value::Object(document)
}

/// Returns the lines of `-o jsonl`: the items, or the document when there are none, and then a
/// summary, whose absence tells a reader that the output was cut.
pub fn lines<R: Report>(report: &R, rows: Option<&Rows>) -> Vec<String> {
    let mut lines: Vec<String> = match rows {
        Some(rows) => rows.items.iter().map(Value::to_string).collect(),
        None => vec![of(report).to_string()],
    };
    let summary = json!({ "items": lines.len(), "ok": report.ok() });
    lines.push(wrap("Summary", summary).to_string());
    lines
}
