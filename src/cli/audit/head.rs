//! `lerianctl audit head`.

use std::fmt;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::audit::AuditHead;
use crate::output::{Report, View};

/// Print the end of the audit log, to be kept elsewhere
///
/// Kept where the server's administrators cannot write, it tells later (`audit verify --anchor`)
/// whether anything before it was changed or cut off.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl audit head -o name >> anchors.txt")]
pub struct HeadArgs {}

/// Prints the end of the log.
pub fn head(run: &Invocation, _: &HeadArgs) -> Result<AuditHeadReport, Failure> {
    let manager = run.tenant_manager()?;
    let head = run.block_on(async move { manager.audit_head().await })?;
    Ok(AuditHeadReport {
        anchor: head.to_string(),
        head,
    })
}

/// The end of the log at a moment.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct AuditHeadReport {
    /// Place of the last entry, and its hash.
    #[serde(flatten)]
    head: AuditHead,
    /// Both as `--anchor` takes them.
    anchor: String,
}

impl Report for AuditHeadReport {
    const KIND: &'static str = "AuditHead";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.fields(&[
            ("entry", self.head.sequence.to_string()),
            ("hash", self.head.hash.clone()),
            ("anchor", self.anchor.clone()),
        ]);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.anchor.clone())
    }
}
