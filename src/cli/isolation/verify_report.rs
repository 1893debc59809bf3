//! `lerianctl isolation verify-report`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::check::IsolationReport;
use super::show::REPORT_BYTES;
use super::view;
use super::written::attestation_of;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::attest::{AttestError, Predicate, VerifyingKey, verify};
use crate::isolation::model::Verdict;
use crate::output::{Report, Tone, View};

/// Largest key or attestation in bytes.
const SMALL: u64 = 64 * 1024;

/// Verify that a report is what somebody signed
///
/// Holds the file against its attestation (an in-toto statement in a DSSE envelope, as
/// `--sign-key-file` writes it): the signature must be one of a given key's, and the digest that of
/// the file. A JSON report is read as well, and must say what the signer says that it says. Needs
/// no server and no network. Status 3 when it does not verify.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl isolation verify-report isolation.html --key-file report-key.pub\n  lerianctl isolation verify-report report.json --key-file old.pub --key-file new.pub -o json"
)]
pub struct VerifyReportArgs {
    /// Report that was signed, in any form
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Ed25519 public key (PEM) of somebody whose signature counts; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    key_file: Vec<PathBuf>,

    /// The attestation, where it is not FILE.intoto.json
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
}

/// Verifies a report.
pub fn verify_report(
    run: &Invocation,
    args: &VerifyReportArgs,
) -> Result<ReportVerification, Failure> {
    let mut keys = Vec::new();
    for path in &args.key_file {
        let text = run.read_input(path, SMALL, "the public key")?;
        let key = VerifyingKey::from_pem(&String::from_utf8_lossy(&text)).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "isolation.public_key",
                format!("`{}` cannot verify reports", path.display()),
            )
            .cause(error)
            .hint_command(
                "write the public half of a key",
                "openssl pkey -in report-key.pem -pubout -out report-key.pub",
            )
        })?;
        keys.push(key);
    }
    let file = run.read_input(&args.file, REPORT_BYTES, "the report")?;
    let attestation = args
        .attestation
        .clone()
        .unwrap_or_else(|| attestation_of(&args.file));
    let envelope = run.read_input(&attestation, SMALL, "the attestation")?;
    let mut verification = ReportVerification {
        file: args.file.display().to_string(),
        verified: false,
        reason: String::new(),
        key: None,
        sha256: crate::secret::sha256_hex(&file),
        said: None,
    };
    match verify(&keys, &envelope, &file) {
        Ok(attested) => {
            // Other forms are not read back: the signed digest is what binds them.
            let differs = serde_json::from_slice::<IsolationReport>(&file)
                .map(|report| attested.predicate.differs(&report.outcome))
                .unwrap_or_default();
            verification.verified = differs.is_empty();
            if !differs.is_empty() {
                verification.reason = format!(
                    "the report says otherwise than its signer: {}",
                    differs.join(", ")
                );
            }
            verification.key = Some(attested.key);
            verification.said = Some(attested.predicate);
        }
        Err(AttestError::Form(reason)) => {
            return Err(Failure::new(
                Kind::Usage,
                "isolation.attestation",
                format!(
                    "`{}` is not the attestation of a report",
                    attestation.display()
                ),
            )
            .cause(reason));
        }
        Err(error) => verification.reason = error.to_string(),
    }
    Ok(verification)
}

/// Whether a report is what somebody signed.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportVerification {
    /// The report.
    file: String,
    /// True when the signature and the digest are right.
    verified: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Id of the key that signed: the SHA-256 of its public half in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// SHA-256 of the report.
    sha256: String,
    /// What the signer said about the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<Predicate>,
}

impl Report for ReportVerification {
    const KIND: &'static str = "ReportVerification";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.verified {
            out.paint(Tone::Good, "VERIFIED")
                .plain(format!(": {}", self.file))
                .line();
        } else {
            out.paint(Tone::Bad, "NOT VERIFIED")
                .plain(format!(": {}", self.file))
                .line();
            let width = out.width.map_or(view::WIDTH, usize::from).max(40);
            view::paragraph(out, width, "  ", &self.reason);
        }
        if let Some(said) = &self.said {
            out.plain(format!("  signed    {}", said.signed_at)).line();
            out.plain("  verdict   ")
                .paint(
                    if said.verdict == Verdict::Holds {
                        Tone::Good
                    } else {
                        Tone::Bad
                    },
                    said.verdict.as_str(),
                )
                .plain(format!(
                    ", {} findings, {} tenants",
                    said.findings, said.tenants
                ))
                .line();
            out.plain(format!("  run       {}", said.run)).line();
            out.plain(format!("  began     {}", said.started_at)).line();
        }
        if let Some(key) = &self.key {
            out.plain(format!("  key       {key}")).line();
        }
        out.plain(format!("  sha256    {}", self.sha256)).line();
        Ok(())
    }

    fn ok(&self) -> bool {
        self.verified
    }
}
