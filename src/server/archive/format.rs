//! The lines of an archive.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Trouble;
use crate::secret::hex;

const FORMAT: &str = "lerianctl-registry";
const VERSION: u32 = 1;
/// Longest line: a row holds at most an answer of a megabyte, escaped.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// A table in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSummary {
    /// Its name.
    pub table: String,
    /// Number of its rows.
    pub rows: u64,
    /// SHA-256 of its rows, in hexadecimal.
    pub sha256: String,
}

/// A line that is no row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Line {
    Head {
        format: String,
        version: u32,
        program: String,
        made_at: String,
    },
    Table {
        table: String,
        columns: Vec<String>,
    },
    Rows(TableSummary),
    End {
        tables: usize,
        sha256: String,
    },
}

/// Counts rows and takes their digest.
pub(super) struct Tally {
    table: String,
    rows: u64,
    digest: Context,
}

impl Tally {
    pub(super) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            rows: 0,
            digest: Context::new(&SHA256),
        }
    }

    /// Takes a row, and returns it as the line it is in an archive.
    pub(super) fn row(&mut self, values: Vec<Value>) -> String {
        let mut line = Value::Array(values).to_string();
        line.push('\n');
        self.rows += 1;
        self.digest.update(line.as_bytes());
        line
    }

    pub(super) fn end(self) -> TableSummary {
        TableSummary {
            table: self.table,
            rows: self.rows,
            sha256: hex(self.digest.finish().as_ref()),
        }
    }
}

/// An archive that is being written: to a name of its own until it is complete.
pub(super) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    digest: Context,
    summaries: Vec<TableSummary>,
    done: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
}

impl Writer {
    /// Begins an archive; refuses when there is a file of that name.
    pub(super) fn create(path: &Path) -> Result<Self, Trouble> {
        if path.symlink_metadata().is_ok() {
            return Err(Trouble::File("it exists, and is not overwritten".into()));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut writer = Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::new(file),
            digest: Context::new(&SHA256),
            summaries: Vec::new(),
            done: false,
        };
        writer.line(&Line::Head {
            format: FORMAT.into(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            made_at: jiff::Timestamp::now().to_string(),
        })?;
        Ok(writer)
    }

    fn line(&mut self, line: &Line) -> Result<(), Trouble> {
        let mut text =
            serde_json::to_string(line).map_err(|error| Trouble::File(error.to_string()))?;
        text.push('\n');
        self.text(&text)
    }

    /// Writes a line as [`Tally::row`] gave it.
    pub(super) fn text(&mut self, line: &str) -> Result<(), Trouble> {
        self.digest.update(line.as_bytes());
        Ok(self.file.write_all(line.as_bytes())?)
    }

    pub(super) fn table(&mut self, table: &str, columns: &[String]) -> Result<(), Trouble> {
        self.line(&Line::Table {
            table: table.to_owned(),
            columns: columns.to_vec(),
        })
    }

    pub(super) fn end_table(&mut self, tally: Tally) -> Result<(), Trouble> {
        let summary = tally.end();
        self.line(&Line::Rows(summary.clone()))?;
        self.summaries.push(summary);
        Ok(())
    }

    /// Completes the archive and gives it its name.
    pub(super) fn finish(mut self) -> Result<Vec<TableSummary>, Trouble> {
        let sha256 = hex(std::mem::replace(&mut self.digest, Context::new(&SHA256))
            .finish()
            .as_ref());
        let tables = self.summaries.len();
        self.line(&Line::End { tables, sha256 })?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        // Fails when the name was taken meanwhile, where a rename would replace it.
        std::fs::hard_link(&self.temporary, &self.path)?;
        self.done = true;
        if let Some(folder) = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            File::open(folder)?.sync_all()?;
        }
        Ok(std::mem::take(&mut self.summaries))
    }
}

/// What the reader of an archive is told, in order.
pub(super) enum Part {
    /// A table begins.
    Table(String, Vec<String>),
    /// A row of it.
    Row(Vec<Value>),
    /// It ends.
    EndTable,
}

/// Reads an archive from its begin to its end, checking everything that can be checked.
pub(super) struct Reader {
    file: BufReader<File>,
    digest: Context,
    table: Option<(Tally, usize)>,
    summaries: Vec<TableSummary>,
    at: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, Trouble> {
        let mut reader = Self {
            file: BufReader::new(File::open(path)?),
            digest: Context::new(&SHA256),
            table: None,
            summaries: Vec::new(),
            at: 0,
        };
        let text = reader.line()?;
        reader.digest.update(text.as_bytes());
        match serde_json::from_str(&text) {
            Ok(Line::Head {
                format, version, ..
            }) if format == FORMAT => {
                if version > VERSION {
                    return Err(Trouble::Damaged(format!(
                        "its format has version {version} and this program knows up to {VERSION}: use a newer lerianctl"
                    )));
                }
                Ok(reader)
            }
            _ => Err(Trouble::Damaged("it begins with something else".into())),
        }
    }

    fn line(&mut self) -> Result<String, Trouble> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let mut limited = (&mut self.file).take(LONGEST_LINE);
        limited.read_until(b'\n', &mut bytes)?;
        self.at += 1;
        if bytes.last() != Some(&b'\n') {
            return Err(Trouble::Damaged(format!("it ends in line {}", self.at)));
        }
        String::from_utf8(bytes).map_err(|_| self.odd())
    }

    fn odd(&self) -> Trouble {
        Trouble::Damaged(format!("line {} is not what it should be", self.at))
    }

    /// Returns the next part; nothing after the end, once the digests were right.
    pub(super) fn next(&mut self) -> Result<Option<Part>, Trouble> {
        let text = self.line()?;
        if text.starts_with('[') {
            self.digest.update(text.as_bytes());
            let values: Vec<Value> = serde_json::from_str(&text).map_err(|_| self.odd())?;
            let Some((tally, width)) = &mut self.table else {
                return Err(self.odd());
            };
            if values.len() != *width {
                return Err(self.odd());
            }
            // What was read is what will be compared, byte by byte.
            if tally.row(values.clone()) != text {
                return Err(self.odd());
            }
            return Ok(Some(Part::Row(values)));
        }
        let line: Line = serde_json::from_str(&text).map_err(|_| self.odd())?;
        match (line, self.table.take()) {
            (Line::Table { table, columns }, None) => {
                self.digest.update(text.as_bytes());
                self.table = Some((Tally::new(&table), columns.len()));
                Ok(Some(Part::Table(table, columns)))
            }
            (Line::Rows(summary), Some((tally, _))) => {
                self.digest.update(text.as_bytes());
                let found = tally.end();
                if found != summary {
                    return Err(Trouble::Damaged(format!(
                        "table `{}` is not as it was written",
                        summary.table
                    )));
                }
                self.summaries.push(summary);
                Ok(Some(Part::EndTable))
            }
            (Line::End { tables, sha256 }, None) => {
                let digest = std::mem::replace(&mut self.digest, Context::new(&SHA256));
                if hex(digest.finish().as_ref()) != sha256 || tables != self.summaries.len() {
                    return Err(Trouble::Damaged("it is not as it was written".into()));
                }
                Ok(None)
            }
            _ => Err(self.odd()),
        }
    }
}

/// Reads an archive to its end; returns its tables.
pub(super) fn check(path: &Path) -> Result<Vec<TableSummary>, Trouble> {
    let mut reader = Reader::open(path)?;
    while reader.next()?.is_some() {}
    Ok(reader.summaries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    fn archive(path: &Path) -> Vec<TableSummary> {
        let mut writer = Writer::create(path).unwrap();
        writer
            .table("tenants", &["id".into(), "name".into()])
            .unwrap();
        let mut tally = Tally::new("tenants");
        for number in 0..3 {
            let line = tally.row(vec![json!(number), json!("Ação \\u{1F600}\\n")]);
            writer.text(&line).unwrap();
        }
        writer.end_table(tally).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn an_archive_is_private_complete_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let written = archive(&path);
        assert_eq!(check(&path).unwrap(), written);
        assert_eq!(written[0].rows, 3);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Writer::create(&path), Err(Trouble::File(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        archive(&path);
        let whole = std::fs::read(&path).unwrap();
        let damaged = folder.path().join("damaged");
        for at in 0..whole.len() {
            std::fs::write(&damaged, &whole[..at]).unwrap();
            assert!(check(&damaged).is_err(), "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&damaged, &changed).unwrap();
            assert!(check(&damaged).is_err(), "changed at {at}");
        }
    }
}
