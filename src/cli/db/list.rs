//! `lerianctl db list`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::contract::admin::DatabaseRecord;
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, View};

/// List the databases and schemas of tenants
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl db list\n  lerianctl db list --tenant acme -o json")]
pub struct ListArgs {
    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<TenantRef>,

    /// Service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,
}

/// Lists databases and schemas.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<DatabaseListReport, Failure> {
    let manager = run.tenant_manager()?;
    let tenant = args.tenant.as_ref().map(ToString::to_string);
    let service = args.service.as_ref().map(ToString::to_string);
    let list = run.block_on(async move {
        manager
            .databases(tenant.as_deref(), service.as_deref())
            .await
    })?;
    Ok(DatabaseListReport { items: list.items })
}

/// Databases and schemas by tenant, service and module.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct DatabaseListReport {
    items: Vec<DatabaseRecord>,
}

impl Report for DatabaseListReport {
    const KIND: &'static str = "DatabaseList";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self.rows() {
            Some(rows) if !rows.cells.is_empty() => out.table(&rows),
            _ => out.plain("no databases").line(),
        };
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec![
                "database", "schema", "tenant", "service", "module", "cluster",
            ],
            wide: vec!["mode", "host", "port", "owner", "login"],
            cells: self
                .items
                .iter()
                .map(|item| {
                    vec![
                        item.database.clone(),
                        item.schema.clone().unwrap_or_default(),
                        item.tenant_slug.to_string(),
                        item.service.to_string(),
                        item.module.clone(),
                        item.cluster.clone(),
                        item.isolation_mode.as_str().to_owned(),
                        item.host.clone(),
                        item.port.to_string(),
                        item.owner.clone(),
                        item.login.clone(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
