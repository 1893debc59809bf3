//! `lerianctl audit list`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::moment;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::AuditQuery;
use crate::contract::audit::AuditEntry;
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, View};

/// List entries of the audit log, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl audit list --tenant acme --since 24h\n  lerianctl audit list --action credentials.read -o jsonl\n  lerianctl audit list --action auth.refused --columns at,peer,detail,result,count"
)]
pub struct ListArgs {
    /// About this tenant, by slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<TenantRef>,

    /// By this caller: the id of a key, the subject of a token, `server` or `anonymous`
    #[arg(long, value_name = "ID")]
    caller: Option<String>,

    /// Of this action, for example tenant.create or credentials.read
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,

    /// Not before this time, or so long ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,

    /// Before this time, or longer ago than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,

    /// Oldest first
    #[arg(long)]
    oldest_first: bool,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,

    /// Go on after this cursor, as printed in `nextCursor`
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Lists entries.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<AuditListReport, Failure> {
    let manager = run.tenant_manager()?;
    let query = AuditQuery {
        tenant: args.tenant.as_ref().map(ToString::to_string),
        caller: args.caller.clone(),
        action: args.action.clone(),
        since: args.since.clone(),
        until: args.until.clone(),
        oldest_first: args.oldest_first,
        limit: Some(args.limit),
        cursor: args.cursor.clone(),
    };
    let page = run.block_on(async move { manager.audit(&query).await })?;
    if page.next_cursor.is_some() {
        run.console.warn(format!(
            "only {} entries are shown; there are more",
            page.items.len()
        ));
    }
    Ok(AuditListReport {
        items: page.items,
        next_cursor: page.next_cursor,
    })
}

/// Entries of the audit log.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditListReport {
    /// Entries.
    items: Vec<AuditEntry>,
    /// Where the list goes on; null when it is complete.
    next_cursor: Option<String>,
}

impl Report for AuditListReport {
    const KIND: &'static str = "AuditList";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self.rows() {
            Some(rows) if !rows.cells.is_empty() => out.table(&rows),
            _ => out.plain("no entries").line(),
        };
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let cells = self.items.iter().map(|item| {
            let record = &item.record;
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            vec![
                record.sequence.to_string(),
                record.at.to_string(),
                record.caller.clone(),
                record.action.clone(),
                record
                    .tenant
                    .clone()
                    .or_else(|| record.target.clone())
                    .unwrap_or_default(),
                text(&record.service),
                record.result.clone(),
                record.count.to_string(),
                text(&record.peer),
                text(&record.request),
                text(&record.operation),
                text(&record.plan),
                text(&record.detail),
                item.hash.clone(),
            ]
        });
        Some(Rows {
            columns: vec![
                "entry", "at", "caller", "action", "tenant", "service", "result", "count",
            ],
            wide: vec!["peer", "request", "operation", "plan", "detail", "hash"],
            cells: cells.collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
