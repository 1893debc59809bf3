//! `--report FORMAT=FILE`: the same outcome for other programs and other readers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::check::IsolationReport;
use crate::cli::failure::{Failure, Kind};
use crate::isolation::render::{Format, render};

/// A form, and the file that it is written to.
#[derive(Debug, Clone)]
pub(super) struct Written {
    format: Format,
    path: PathBuf,
}

/// Understands `FORMAT=FILE`.
pub(super) fn parse(text: &str) -> Result<Written, String> {
    let words = || Format::ALL.map(Format::as_str).join(", ");
    let (word, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or_else(|| format!("must be FORMAT=FILE, where FORMAT is one of {}", words()))?;
    let format = Format::ALL
        .into_iter()
        .find(|format| format.as_str() == word)
        .ok_or_else(|| format!("`{word}` is not one of {}", words()))?;
    Ok(Written {
        format,
        path: path.into(),
    })
}

/// Writes the files, each whole or not at all, for the owner's eyes only.
pub(super) fn write(report: &IsolationReport, files: &[Written]) -> Result<(), Failure> {
    for file in files {
        let text = render(file.format, &report.outcome);
        whole(&file.path, &text).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "isolation.not_written",
                format!("the report cannot be written to `{}`", file.path.display()),
            )
            .cause(error)
            .hint("name a file in a folder that exists and that you may write to")
        })?;
    }
    Ok(())
}

fn whole(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
