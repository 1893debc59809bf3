//! `lerianctl operation show`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::change::counts;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::admin::OperationRecord;
use crate::output::{Report, Rows, Tone, View};

/// Show one operation with its steps
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl operation show 019a1f7e-0000-7000-8000-000000000001"
)]
pub struct ShowArgs {
    /// Operation id
    #[arg(add = ArgValueCandidates::new(complete::operations))]
    operation: String,
}

/// Shows one operation.
pub fn show(run: &Invocation, args: &ShowArgs) -> Result<OperationReport, Failure> {
    let manager = run.tenant_manager()?;
    let id = args.operation.clone();
    let operation = run.block_on(async move { manager.operation(&id).await })?;
    Ok(OperationReport { operation })
}

/// One operation.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct OperationReport {
    /// The operation.
    #[serde(flatten)]
    pub operation: OperationRecord,
}

impl Report for OperationReport {
    const KIND: &'static str = "Operation";

    fn human(&self, out: &mut View) -> fmt::Result {
        let operation = &self.operation;
        let (done, total) = counts(operation);
        let services: Vec<&str> = operation.services.iter().map(AsRef::as_ref).collect();
        out.fields(&[
            ("operation", operation.id.clone()),
            ("kind", operation.kind.clone()),
            ("tenant", operation.tenant_slug.to_string()),
            ("services", services.join(", ")),
            ("state", operation.state.as_str().to_owned()),
            ("steps", format!("{done} of {total}")),
            ("attempts", operation.attempts.to_string()),
            ("begun", operation.created_at.to_string()),
            ("changed", operation.updated_at.to_string()),
        ]);
        if let Some(error) = &operation.error {
            out.paint(Tone::Bad, "error:")
                .plain(" ")
                .plain(error)
                .line();
        }
        if !operation.steps.is_empty() {
            out.line().table(&Rows {
                columns: vec!["state", "action", "target", "detail"],
                wide: Vec::new(),
                cells: operation
                    .steps
                    .iter()
                    .map(|step| {
                        vec![
                            step.state.as_str().to_owned(),
                            step.action.clone(),
                            step.target.clone(),
                            step.detail.clone(),
                        ]
                    })
                    .collect(),
                items: Vec::new(),
            });
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.operation.id.clone())
    }
}
