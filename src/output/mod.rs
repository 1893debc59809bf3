//! The only writer to stdout and stderr.

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
    /// Cells by row.
    pub cells: Vec<Vec<String>>,
    /// Items as JSON, for `jsonl`; one per row.
    pub items: Vec<serde_json::Value>,
}

/// Where a report writes its view for a person: text, already safe for a terminal.
#[derive(Debug, Default)]
pub struct View {
    text: String,
    /// Width to lay out for; `None` is unlimited.
    pub width: Option<u16>,
    /// Whether colours are wanted.
    pub color: bool,
}

impl fmt::Write for View {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.text.push_str(s);
        Ok(())
    }
}
