//! `lerianctl key show`.

use std::fmt;

use clap::Args;

use super::view;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::keys::KeyRecord;
use crate::output::{Report, View};

/// Show what is known of a key
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl key show ledger-production")]
pub struct ShowArgs {
    /// Id or name; of several with one name the newest
    key: String,
}

/// Shows a key.
pub fn show(run: &Invocation, args: &ShowArgs) -> Result<KeyReport, Failure> {
    let (manager, key) = (run.tenant_manager()?, args.key.clone());
    let record = run.block_on(async move { manager.key(&key).await })?;
    Ok(KeyReport { record })
}

/// What is known of a key.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct KeyReport {
    /// The key.
    #[serde(flatten)]
    record: KeyRecord,
}

impl Report for KeyReport {
    const KIND: &'static str = "Key";

    fn human(&self, out: &mut View) -> fmt::Result {
        view(&self.record, out);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.record.id.clone())
    }
}
