//! The only writer to stdout and stderr.

pub mod console;
pub mod document;
pub mod progress;
pub mod table;
pub mod view;

pub use console::{Console, Format};
pub use view::{Tone, View};

use std::fmt;

/// The outcome of a verb, before anyone decided how to print it.
pub trait Report: serde::Serialize {
    /// `kind` of the JSON document: part of the public interface.
    const KIND: &'static str;

    /// Writes the view for a person.
    fn human(&self, out: &mut View) -> fmt::Result;

    /// Rows for `table`, `csv`, `name`, `jsonl`: a list report gives its items here.
    fn rows(&self) -> Option<Rows> {
        None
    }

    /// What `-o name` prints when there are no rows.
    fn name(&self) -> Option<String> {
        None
    }

    /// False when the command ran and the answer is "no" (exit status 3).
    fn ok(&self) -> bool {
        true
    }
}

/// The items of a list report.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Column names, lower-case; the first is what `-o name` prints.
    pub columns: Vec<&'static str>,
    /// Columns that are shown only when asked for with `--columns`, or in `csv`.
    pub wide: Vec<&'static str>,
    /// Cells by row, in the order of `columns` and then `wide`.
    pub cells: Vec<Vec<String>>,
    /// Items as JSON, for `jsonl`; one per row.
    pub items: Vec<serde_json::Value>,
}
