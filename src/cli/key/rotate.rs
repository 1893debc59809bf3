//! `lerianctl key rotate`.

use std::time::Duration;

use clap::Args;

use super::{KeyCreatedReport, announce};
use crate::cli::approve::{Consent, Question};
use crate::cli::failure::Failure;
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::contract::keys::RotateKeyRequest;

/// Make the successor of a key; the old one goes on working for a while
///
/// The new key has the name, role and scope of the old one. Its text goes to standard output
/// alone.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl key rotate ledger-production > ledger.key\n  lerianctl key rotate ledger-production --grace 1h -o json | jq -r .key"
)]
pub struct RotateArgs {
    /// Id or name
    key: String,

    /// How long the old key goes on being accepted [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,

    /// Time until the new key ends [default: as long as the old one was made for]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,

    /// Name of the context, for a script that changes a protected one
    #[arg(long, value_name = "NAME")]
    confirm_context: Option<String>,
}

/// Makes the successor of a key.
pub fn rotate(run: &Invocation, args: &RotateArgs) -> Result<KeyCreatedReport, Failure> {
    run.target_line("key rotate", &args.key)?;
    run.approve(
        &Consent {
            confirm_context: args.confirm_context.clone(),
            ..Consent::default()
        },
        &Question {
            command: "key rotate",
            text: format!("Rotate key {}", args.key),
            word: &args.key,
            confirmed: None,
            plan: None,
        },
    )?;
    let request = RotateKeyRequest {
        grace_seconds: args.grace.map(|time| time.as_secs().max(1)),
        expires_in_seconds: args.expires_in.map(|time| time.as_secs().max(1)),
    };
    let (manager, key) = (run.tenant_manager()?, args.key.clone());
    let created = run.block_on(async move { manager.rotate_key(&key, &request).await })?;
    announce(run, &created);
    Ok(KeyCreatedReport { created })
}
