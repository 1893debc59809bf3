//! `lerianctl audit verify`.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::audit::{Seen, Verifier};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::contract::audit::{AuditEntry, AuditHead, AuditVerification};
use crate::output::progress::Progress;
use crate::output::{Report, Rows, Tone, View};

/// Longest line of an exported log in bytes.
const LONGEST_LINE: u64 = 1024 * 1024;

/// Verify the audit log of the server, or one that was exported
///
/// Every entry is held against its hash, the hash of the entry before, and (by the server, which
/// has the key) the code that only the server can make. Status 3 when something is wrong; each
/// finding names the entry. An end that was cut off is found against an end that was kept
/// elsewhere (`audit head`).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl audit verify --anchor \"$(tail -n 1 anchors.txt)\"\n  lerianctl audit verify --file audit.ndjson --anchor-file anchors.txt"
)]
pub struct VerifyArgs {
    /// Verify this export, without asking any server
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Entry that the export goes on after, when it does not begin with the first
    #[arg(long, value_name = "SEQUENCE:HASH", requires = "file")]
    after: Option<AuditHead>,

    /// End of the log that was kept elsewhere; may be repeated
    #[arg(long, value_name = "SEQUENCE:HASH")]
    anchor: Vec<AuditHead>,

    /// File with such ends, one a line
    #[arg(long, value_name = "FILE")]
    anchor_file: Option<PathBuf>,
}

/// Verifies the log.
pub fn verify(run: &Invocation, args: &VerifyArgs) -> Result<AuditVerificationReport, Failure> {
    let mut anchors = args.anchor.clone();
    if let Some(path) = &args.anchor_file {
        let bytes = run.read_input(path, LONGEST_LINE, "the kept ends of the log")?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.trim();
            if !line.is_empty() {
                anchors.push(line.parse().map_err(|reason| {
                    unusable(path, "is not a list of kept ends").cause(reason)
                })?);
            }
        }
    }
    let verification = if let Some(path) = &args.file {
        offline(path, args.after.clone(), &anchors)?
    } else {
        online(run, &anchors)?
    };
    Ok(AuditVerificationReport {
        codes: args.file.is_none(),
        anchors: anchors.len() as u64,
        verification,
    })
}

/// Has the server verify its log, part by part.
fn online(run: &Invocation, anchors: &[AuditHead]) -> Result<AuditVerification, Failure> {
    let manager = run.tenant_manager()?;
    let progress = Progress::new(&run.console, "verifying", 0);
    run.block_on(async {
        let total = manager.audit_head().await?.sequence;
        manager
            .audit_verify(anchors, |checked| {
                progress.set(checked, total.max(checked), "entries");
            })
            .await
    })
}

fn unusable(path: &Path, what: &str) -> Failure {
    Failure::new(
        Kind::Usage,
        "audit.file",
        format!("`{}` {what}", path.display()),
    )
}

/// Verifies an export line by line; memory stays that of one line.
fn offline(
    path: &Path,
    after: Option<AuditHead>,
    anchors: &[AuditHead],
) -> Result<AuditVerification, Failure> {
    use std::io::Read as _;
    let file =
        std::fs::File::open(path).map_err(|error| unusable(path, "cannot be read").cause(error))?;
    let mut reader = BufReader::new(file);
    let mut verifier = Verifier::new(None, Some(after.unwrap_or_else(AuditHead::origin)));
    for anchor in anchors {
        verifier.anchor(anchor.clone());
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| unusable(path, "cannot be read").cause(error))?;
        if read == 0 {
            return Ok(verifier.finish());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        verifier.take(match serde_json::from_slice::<AuditEntry>(&line) {
            Ok(entry) => Seen {
                place: None,
                record: Ok(entry.record),
                hash: entry.hash,
                mac: entry.mac,
                contradicted: None,
            },
            Err(error) => Seen {
                place: None,
                record: Err(error.to_string()),
                hash: String::new(),
                mac: String::new(),
                contradicted: None,
            },
        });
    }
}

/// What a verification found.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct AuditVerificationReport {
    /// What was looked at and found.
    #[serde(flatten)]
    verification: AuditVerification,
    /// Whether the codes were verified too, which only the server can.
    codes: bool,
    /// Kept ends that the log was held against.
    anchors: u64,
}

impl Report for AuditVerificationReport {
    const KIND: &'static str = "AuditVerification";

    fn human(&self, out: &mut View) -> fmt::Result {
        let found = &self.verification;
        if found.findings.is_empty() {
            out.paint(Tone::Good, "intact")
                .plain(format!(": {} entries", found.checked))
                .line();
        } else {
            out.paint(Tone::Bad, "not intact")
                .plain(format!(
                    ": {} findings in {} entries",
                    found.findings.len(),
                    found.checked
                ))
                .line()
                .table(&Rows {
                    columns: vec!["entry", "problem", "reason"],
                    wide: Vec::new(),
                    cells: found
                        .findings
                        .iter()
                        .map(|finding| {
                            vec![
                                finding.sequence.to_string(),
                                finding.problem.clone(),
                                finding.reason.clone(),
                            ]
                        })
                        .collect(),
                    items: Vec::new(),
                });
        }
        if !self.codes {
            out.plain("codes: not verified, which only the server can")
                .line();
        }
        if self.anchors == 0 {
            out.plain("anchors: none given, so an end that was cut off would not be noticed")
                .line();
        }
        out.plain(format!("end: {}", found.head)).line();
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.verification.head.to_string())
    }

    fn ok(&self) -> bool {
        self.verification.findings.is_empty()
    }
}
