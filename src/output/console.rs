//! Standard output and standard error: who may write what, and how.

use std::io::Write as _;
use std::sync::Mutex;

use serde_json::Value;

use super::view::{Tone, View};
use super::{Report, Rows, document, table};

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line, then a summary.
    Jsonl,
    /// The JSON document as YAML.
    Yaml,
    /// Comma-separated values.
    Csv,
    /// Names, one per line.
    Name,
}

impl Format {
    /// Returns true when the result is data for a program, so that failures are data too.
    pub fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl | Self::Yaml)
    }
}

/// Returns the number of terminal columns that `text` takes.
pub fn width_of(text: &str) -> usize {
    ::console::measure_text_width(text)
}

/// The only writer to stdout and stderr.
///
/// A closed stream is not an error: the work goes on, and the exit status is that of the work.
#[derive(Debug)]
pub struct Console {
    /// How the result is printed.
    pub format: Format,
    /// Columns asked for.
    pub columns: Vec<String>,
    /// Whether table and csv have a header.
    pub headers: bool,
    /// Width of standard output; `None` when it is not a terminal.
    pub width: Option<u16>,
    /// Colours on standard output.
    pub color_out: bool,
    /// Colours on standard error.
    pub color_err: bool,
    /// No status lines.
    pub quiet: bool,
    /// Whether spinners and bars may be drawn on standard error.
    pub animate: bool,
    /// Keeps lines of different threads apart.
    pub lock: Mutex<()>,
}

impl Console {
    /// Prints the result. Returns the name of an unknown column, when one was asked for.
    pub fn result<R: Report>(&self, report: &R) -> Result<(), String> {
        let rows = report.rows();
        if let Some(rows) = &rows
            && let Some(column) = table::unknown_column(rows, &self.columns)
        {
            let known: Vec<&str> = rows.columns.iter().chain(&rows.wide).copied().collect();
            return Err(format!(
                "there is no column `{column}`; there are {}",
                known.join(", ")
            ));
        }
        match self.format {
            Format::Table => match &rows {
                Some(rows) if !self.columns.is_empty() || !self.headers => {
                    self.out(&table::render(
                        rows,
                        &self.columns,
                        self.headers,
                        self.width,
                        self.color_out,
                    ));
                }
                _ => {
                    let mut view = View::new(self.width, self.color_out);
                    let _ = report.human(&mut view);
                    self.out(&view.into_text());
                }
            },
            Format::Json | Format::Yaml => self.document(&document::of(report)),
            Format::Jsonl => {
                for line in document::lines(report, rows.as_ref()) {
                    self.out(&line);
                    self.out("\n");
                }
            }
            Format::Csv => match &rows {
                Some(rows) => write_out(&table::csv(rows, &self.columns, self.headers)),
                None => write_out(&table::csv_of_one(&document::of(report), self.headers)),
            },
            Format::Name => self.names(report, rows.as_ref()),
        }
        Ok(())
    }

    fn names<R: Report>(&self, report: &R, rows: Option<&Rows>) {
        match (rows, report.name()) {
            (_, Some(name)) => self.out(&format!("{}\n", super::view::one_line(&name))),
            (Some(rows), None) => {
                for row in &rows.cells {
                    let name = row.first().map_or("", String::as_str);
                    self.out(&format!("{}\n", super::view::one_line(name)));
                }
            }
            (None, None) => {}
        }
    }

    /// Prints a JSON document in the chosen form.
    pub fn document(&self, value: &Value) {
        let text = match self.format {
            Format::Yaml => yaml_serde::to_string(value).unwrap_or_default(),
            Format::Jsonl => format!("{value}\n"),
            _ => format!(
                "{}\n",
                serde_json::to_string_pretty(value).unwrap_or_default()
            ),
        };
        self.out(&text);
    }

    /// Writes text to standard output as it is.
    pub fn out(&self, text: &str) {
        write_out(text.as_bytes());
    }

    /// Writes text of a stream to standard output as it is; returns false when it is closed.
    pub fn stream(&self, text: &str) -> bool {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .is_ok()
    }

    /// Writes a line to standard error as it is.
    pub fn err(&self, line: &str) {
        let _guard = self.lock.lock();
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(line.as_bytes());
        let _ = stderr.write_all(b"\n");
    }

    /// Says on standard error what goes on, unless told to be quiet.
    pub fn status(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.err(&Tone::Dim.paint(text.as_ref(), self.color_err));
        }
    }

    /// Says on standard error what the operator should know.
    pub fn warn(&self, text: impl AsRef<str>) {
        let word = Tone::Warn.paint("warning:", self.color_err);
        self.err(&format!("{word} {}", super::view::clean(text.as_ref())));
    }
}

fn write_out(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}

/// Writes to standard error when nothing else works any more.
pub fn last_words(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.write_all(b"\n");
}
