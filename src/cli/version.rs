//! `lerianctl version`.

use std::fmt;

use clap::Args;

use super::failure::Failure;
use crate::output::document::API_VERSION;
use crate::output::{Report, View};

/// Version of the Tenant Manager contract: the newest lib-commons that was read for it.
const CONTRACT: &str = "lib-commons v6.7.0";

/// Print the versions of command line, contract and schemas
#[derive(Debug, Args)]
pub struct VersionArgs {}

/// Tells the versions.
pub fn version(_args: &VersionArgs) -> Result<VersionReport, Failure> {
    Ok(VersionReport {
        version: env!("CARGO_PKG_VERSION"),
        contract: CONTRACT,
        schema: API_VERSION,
        platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    })
}

/// Versions of what this program speaks.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct VersionReport {
    /// Of this program.
    version: &'static str,
    /// Of the Tenant Manager contract.
    contract: &'static str,
    /// Of the JSON documents.
    schema: &'static str,
    /// Processor and system.
    platform: String,
}

impl Report for VersionReport {
    const KIND: &'static str = "Version";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.fields(&[
            ("lerianctl", self.version.to_owned()),
            ("contract", self.contract.to_owned()),
            ("schema", self.schema.to_owned()),
            ("platform", self.platform.clone()),
        ]);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.version.to_owned())
    }
}
