//! `lerianctl tenant list`.

use std::fmt;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::TenantQuery;
use crate::contract::admin::TenantRecord;
use crate::contract::{Environment, ServiceName};
use crate::output::{Report, Rows, View};

/// List or search tenants
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant list\n  lerianctl tenant list --search aurora --status active\n  lerianctl tenant list -o name | xargs -n 1 lerianctl db verify"
)]
pub struct ListArgs {
    /// Part of slug, name or id
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// State: active, suspended or purged
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(["active", "suspended", "purged"]), hide_possible_values = true)]
    status: Option<String>,

    /// Environment
    #[arg(long, value_name = "NAME")]
    environment: Option<Environment>,

    /// Only tenants associated with this service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,

    /// At most so many; without it, all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Go on after this cursor, as printed in `nextCursor`
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Lists tenants.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<TenantListReport, Failure> {
    let manager = run.tenant_manager()?;
    let mut query = TenantQuery {
        search: args.search.clone(),
        status: args.status.clone(),
        environment: args.environment.as_ref().map(ToString::to_string),
        service: args.service.as_ref().map(ToString::to_string),
        limit: None,
        cursor: args.cursor.clone(),
    };
    let mut items: Vec<TenantRecord> = Vec::new();
    loop {
        let left = args.limit.map(|limit| limit as usize - items.len());
        query.limit = Some(left.map_or(1000, |left| u32::try_from(left.min(1000)).unwrap_or(1000)));
        let (manager, ask) = (manager.clone(), query.clone());
        let page = run.block_on(async move { manager.tenants(&ask).await })?;
        items.extend(page.items);
        query.cursor = page.next_cursor;
        let full = args
            .limit
            .is_some_and(|limit| items.len() >= limit as usize);
        if query.cursor.is_none() || full {
            break;
        }
    }
    if query.cursor.is_some() {
        run.console.warn(format!(
            "only the first {} are shown; there are more",
            items.len()
        ));
    }
    Ok(TenantListReport {
        items,
        next_cursor: query.cursor,
    })
}

/// Tenants by slug.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantListReport {
    /// Tenants.
    items: Vec<TenantRecord>,
    /// Where the list goes on; null when it is complete.
    next_cursor: Option<String>,
}

impl Report for TenantListReport {
    const KIND: &'static str = "TenantList";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.items.is_empty() {
            out.plain("no tenants").line();
        } else if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["slug", "id", "status", "environment", "services", "title"],
            wide: vec!["owner", "created", "updated"],
            cells: self
                .items
                .iter()
                .map(|tenant| {
                    let services: Vec<String> = tenant
                        .services
                        .iter()
                        .map(|service| match service.status.as_str() {
                            "active" => service.service.to_string(),
                            other => format!("{}({other})", service.service),
                        })
                        .collect();
                    vec![
                        tenant.slug.to_string(),
                        tenant.id.to_string(),
                        tenant.status.as_str().to_owned(),
                        tenant.environment.to_string(),
                        services.join(","),
                        tenant.name.clone(),
                        tenant.owner_email.clone(),
                        tenant.created_at.to_string(),
                        tenant.updated_at.to_string(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
