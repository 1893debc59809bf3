//! `--report FORMAT=FILE`: the same outcome for other programs and other readers, signed on request.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::check::IsolationReport;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::attest::{self, SigningKey};
use crate::isolation::render::{Format, render};
use crate::output::document;

/// Where a report is written besides standard output.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Write the report also to a file: `html`, `json`, `junit`, `markdown`, `prometheus` or `sarif`; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse)]
    report: Vec<Written>,

    /// Sign each file of --report with this Ed25519 key (PEM); the attestation goes to FILE.intoto.json
    #[arg(long, value_name = "FILE", requires = "report")]
    sign_key_file: Option<PathBuf>,
}

/// A form, and the file that it is written to.
#[derive(Debug, Clone)]
struct Written {
    form: Form,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// What `-o json` prints.
    Json,
    Other(Format),
}

fn forms() -> impl Iterator<Item = (&'static str, Form)> {
    let mut forms: Vec<_> = Format::ALL
        .into_iter()
        .map(|format| (format.as_str(), Form::Other(format)))
        .collect();
    forms.push(("json", Form::Json));
    forms.sort_by_key(|(word, _)| *word);
    forms.into_iter()
}

/// Understands `FORMAT=FILE`.
fn parse(text: &str) -> Result<Written, String> {
    let words = || forms().map(|(word, _)| word).collect::<Vec<_>>().join(", ");
    let (word, path) = text
        .split_once('=')
        .filter(|(_, path)| !path.is_empty())
        .ok_or_else(|| format!("must be FORMAT=FILE, where FORMAT is one of {}", words()))?;
    let (_, form) = forms()
        .find(|(name, _)| *name == word)
        .ok_or_else(|| format!("`{word}` is not one of {}", words()))?;
    Ok(Written {
        form,
        path: path.into(),
    })
}

impl ReportArgs {
    /// Reads the key, so that a bad one is told before anything is checked.
    pub(super) fn signer(&self, run: &Invocation) -> Result<Option<SigningKey>, Failure> {
        let path = self.sign_key_file.as_deref();
        path.map(|path| signing_key(run, path)).transpose()
    }

    /// Writes the files, each whole or not at all, for the owner's eyes only; figures, which name
    /// nobody, for the collector that another user runs.
    pub(super) fn write(
        &self,
        run: &Invocation,
        report: &IsolationReport,
        signer: Option<&SigningKey>,
    ) -> Result<(), Failure> {
        for file in &self.report {
            let text = match file.form {
                Form::Json => {
                    let document = document::of(report);
                    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
                }
                Form::Other(format) => render(format, &report.outcome),
            };
            let mode = match file.form {
                Form::Other(Format::Prometheus) => 0o644,
                _ => 0o600,
            };
            whole(&file.path, text.as_bytes(), mode)?;
            if let Some(key) = signer {
                let name = file.path.file_name().unwrap_or_default().to_string_lossy();
                let now = run.environment.now();
                let envelope = attest::sign(key, &name, text.as_bytes(), &report.outcome, now);
                let envelope = serde_json::to_string_pretty(&envelope).unwrap_or_default() + "\n";
                whole(&attestation_of(&file.path), envelope.as_bytes(), 0o600)?;
            }
        }
        Ok(())
    }
}

/// Reads a key that signs reports.
pub fn signing_key(run: &Invocation, path: &Path) -> Result<SigningKey, Failure> {
    let text = run.read_secret(path, "the signing key")?;
    SigningKey::from_pem(&text).map_err(|error| {
        Failure::new(
            Kind::Usage,
            "isolation.signing_key",
            format!("`{}` cannot sign reports", path.display()),
        )
        .cause(error)
        .hint_command(
            "make a key",
            "openssl genpkey -algorithm ed25519 -out report-key.pem",
        )
    })
}

/// Returns where the attestation of a file is.
pub(super) fn attestation_of(file: &Path) -> PathBuf {
    let mut path = OsString::from(file);
    path.push(".intoto.json");
    path.into()
}

pub(super) fn whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| {
        Failure::new(
            Kind::Usage,
            "isolation.not_written",
            format!("the report cannot be written to `{}`", path.display()),
        )
        .cause(error)
        .hint("name a file in a folder that exists and that you may write to")
    })
}
