//! `lerianctl tenant show`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::admin::TenantRecord;
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, View};

/// Show one tenant with its services and databases
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl tenant show acme\n  lerianctl tenant show acme -o json | jq '.services[].status'"
)]
pub struct ShowArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,
}

/// Shows one tenant.
pub fn show(run: &Invocation, args: &ShowArgs) -> Result<TenantReport, Failure> {
    let manager = run.tenant_manager()?;
    let tenant = args.tenant.to_string();
    let record = run.block_on(async move { manager.tenant(&tenant).await })?;
    Ok(TenantReport { tenant: record })
}

/// One tenant.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct TenantReport {
    /// The tenant.
    #[serde(flatten)]
    pub tenant: TenantRecord,
}

impl Report for TenantReport {
    const KIND: &'static str = "Tenant";

    fn human(&self, out: &mut View) -> fmt::Result {
        view(&self.tenant, out);
        for service in &self.tenant.services {
            if !service.not_provisioned.is_empty() {
                out.plain(format!(
                    "not provisioned for {} (make them by hand): {}",
                    service.service,
                    service.not_provisioned.join(", ")
                ))
                .line();
            }
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.tenant.slug.to_string())
    }
}

/// Writes a tenant, its services and its databases.
pub fn view(tenant: &TenantRecord, out: &mut View) {
    let metadata: Vec<String> = tenant
        .metadata
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    out.fields(&[
        ("id", tenant.id.to_string()),
        ("slug", tenant.slug.to_string()),
        ("name", tenant.name.clone()),
        ("environment", tenant.environment.to_string()),
        ("status", tenant.status.as_str().to_owned()),
        ("owner", tenant.owner_email.clone()),
        ("metadata", metadata.join(", ")),
        ("created", tenant.created_at.to_string()),
    ]);
    let mut rows = Rows {
        columns: vec![
            "service", "module", "mode", "status", "database", "schema", "login",
        ],
        ..Rows::default()
    };
    for service in &tenant.services {
        let head = [service.service.to_string()];
        for database in &service.databases {
            rows.cells.push(vec![
                head[0].clone(),
                database.module.clone(),
                database.isolation_mode.as_str().to_owned(),
                service.status.as_str().to_owned(),
                database.database.clone(),
                database.schema.clone().unwrap_or_default(),
                database.login.clone(),
            ]);
        }
        if service.databases.is_empty() {
            rows.cells.push(vec![
                head[0].clone(),
                "-".into(),
                service.isolation_mode.as_str().to_owned(),
                service.status.as_str().to_owned(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    if !rows.cells.is_empty() {
        out.line().table(&rows);
    }
}
