//! `lerianctl service list`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::admin::AssociationRecord;
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, View};

/// List a tenant's services, or the services that exist
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl service list\n  lerianctl service list --tenant acme"
)]
pub struct ListArgs {
    /// Tenant slug or id; without it, the services that the server knows
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<TenantRef>,
}

/// Lists associations or known services.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<ServiceListReport, Failure> {
    let manager = run.tenant_manager()?;
    let Some(tenant) = &args.tenant else {
        let catalogue = run.block_on(async move { manager.catalogue().await })?;
        let items = catalogue
            .iter()
            .map(|(name, service)| Known {
                service: name.clone(),
                title: service.title.clone(),
                modules: service
                    .modules
                    .iter()
                    .flat_map(|(module, stores)| {
                        stores
                            .iter()
                            .map(move |store| format!("{module}/{}", store.as_str()))
                    })
                    .collect(),
                schema_mode: service.schema_mode.clone(),
            })
            .collect();
        return Ok(ServiceListReport::Known { items });
    };
    let tenant = tenant.to_string();
    let record = run.block_on(async move { manager.tenant(&tenant).await })?;
    Ok(ServiceListReport::Associations {
        items: record.services,
    })
}

/// A service that the server knows.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    service: String,
    title: String,
    /// `module/store` of everything that the service keeps per tenant.
    modules: Vec<String>,
    schema_mode: crate::contract::catalogue::SchemaMode,
}

/// Associations of a tenant, or known services.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ServiceListReport {
    /// Associations of a tenant.
    Associations {
        /// By service name.
        items: Vec<AssociationRecord>,
    },
    /// Services that exist.
    Known {
        /// By service name.
        items: Vec<Known>,
    },
}

impl Report for ServiceListReport {
    const KIND: &'static str = "ServiceList";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self.rows() {
            Some(rows) if !rows.cells.is_empty() => out.table(&rows),
            _ => out.plain("no services").line(),
        };
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(match self {
            Self::Associations { items } => Rows {
                columns: vec!["service", "mode", "status", "version", "modules", "missing"],
                wide: Vec::new(),
                cells: items
                    .iter()
                    .map(|item| {
                        let modules: Vec<&str> =
                            item.databases.iter().map(|db| db.module.as_str()).collect();
                        vec![
                            item.service.to_string(),
                            item.isolation_mode.as_str().to_owned(),
                            item.status.as_str().to_owned(),
                            item.credentials_version.to_string(),
                            modules.join(","),
                            item.not_provisioned.join(","),
                        ]
                    })
                    .collect(),
                items: crate::cli::as_items(items),
            },
            Self::Known { items } => Rows {
                columns: vec!["service", "schema-mode", "modules", "title"],
                wide: Vec::new(),
                cells: items
                    .iter()
                    .map(|item| {
                        vec![
                            item.service.clone(),
                            item.schema_mode.as_str().to_owned(),
                            item.modules.join(","),
                            item.title.clone(),
                        ]
                    })
                    .collect(),
                items: crate::cli::as_items(items),
            },
        })
    }
}
