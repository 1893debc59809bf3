//! `lerianctl key revoke`.

use std::fmt;

use clap::Args;

use crate::cli::approve::{Consent, Question};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::keys::{KeyRecord, RevokeKeyRequest};
use crate::output::{Report, Tone, View};

/// Withdraw a key at once
///
/// By name, every active key of that name is withdrawn, on every server that shares the registry.
/// Products that are refused report it as an error of their own; connections
/// that they opened before stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl key revoke ledger-production\n  lerianctl key revoke 4k2m9x7q1w8e --reason 'seen in a log' --yes"
)]
pub struct RevokeArgs {
    /// Id or name
    key: String,

    /// Reason, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Show which key it is and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Name of the context, for a script that changes a protected one
    #[arg(long, value_name = "NAME")]
    confirm_context: Option<String>,
}

/// Withdraws a key.
pub fn revoke(run: &Invocation, args: &RevokeArgs) -> Result<KeyRevokedReport, Failure> {
    run.target_line("key revoke", &args.key)?;
    let (manager, name) = (run.tenant_manager()?, args.key.clone());
    let known = {
        let (manager, name) = (manager.clone(), name.clone());
        run.block_on(async move { manager.key(&name).await })?
    };
    if args.dry_run {
        return Ok(KeyRevokedReport {
            dry_run: true,
            items: vec![known],
        });
    }
    run.approve(
        &Consent {
            yes: args.yes,
            confirm_context: args.confirm_context.clone(),
            ..Consent::default()
        },
        &Question {
            command: "key revoke",
            text: format!(
                "Withdraw key {} `{}` of role {} at once",
                known.id,
                known.name,
                known.role.as_str()
            ),
            word: &known.id,
            confirmed: None,
            plan: None,
        },
    )?;
    let request = RevokeKeyRequest {
        reason: args.reason.clone(),
    };
    let page = run.block_on(async move { manager.revoke_key(&name, &request).await })?;
    Ok(KeyRevokedReport {
        dry_run: false,
        items: page.items,
    })
}

/// What was withdrawn.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevokedReport {
    /// Whether nothing was changed, only shown.
    dry_run: bool,
    /// The keys; empty when they were withdrawn before.
    items: Vec<KeyRecord>,
}

impl Report for KeyRevokedReport {
    const KIND: &'static str = "KeyRevoked";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.items.is_empty() {
            out.plain("key revoke: nothing to do, it is so already")
                .line();
        }
        let word = if self.dry_run {
            "would be withdrawn"
        } else {
            "withdrawn"
        };
        for key in &self.items {
            out.paint(Tone::Strong, &key.id)
                .plain(format!(" `{}` {word}", key.name))
                .line();
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.items.first().map(|key| key.id.clone())
    }
}
