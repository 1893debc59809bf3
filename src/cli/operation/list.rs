//! `lerianctl operation list`.

use std::fmt;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::change::counts;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::OperationQuery;
use crate::contract::admin::OperationRecord;
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, View};

/// List operations, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl operation list --state running\n  lerianctl operation list --tenant acme --limit 5"
)]
pub struct ListArgs {
    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<TenantRef>,

    /// State: pending, running, succeeded or failed
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(["pending", "running", "succeeded", "failed"]), hide_possible_values = true)]
    state: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Go on after this cursor, as printed in `nextCursor`
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Lists operations.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<OperationListReport, Failure> {
    let manager = run.tenant_manager()?;
    let query = OperationQuery {
        tenant: args.tenant.as_ref().map(ToString::to_string),
        state: args.state.clone(),
        limit: Some(args.limit),
        cursor: args.cursor.clone(),
    };
    let page = run.block_on(async move { manager.operations(&query).await })?;
    if page.next_cursor.is_some() {
        run.console.warn(format!(
            "only the newest {} are shown; there are more",
            page.items.len()
        ));
    }
    Ok(OperationListReport {
        items: page.items,
        next_cursor: page.next_cursor,
    })
}

/// Operations, newest first.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationListReport {
    /// Operations.
    items: Vec<OperationRecord>,
    /// Where the list goes on; null when it is complete.
    next_cursor: Option<String>,
}

impl Report for OperationListReport {
    const KIND: &'static str = "OperationList";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self.rows() {
            Some(rows) if !rows.cells.is_empty() => out.table(&rows),
            _ => out.plain("no operations").line(),
        };
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["operation", "kind", "tenant", "state", "steps", "begun"],
            wide: vec!["error", "attempts"],
            cells: self
                .items
                .iter()
                .map(|item| {
                    let (done, total) = counts(item);
                    vec![
                        item.id.clone(),
                        item.kind.clone(),
                        item.tenant_slug.to_string(),
                        item.state.as_str().to_owned(),
                        format!("{done}/{total}"),
                        item.created_at.to_string(),
                        item.error.clone().unwrap_or_default(),
                        item.attempts.to_string(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
