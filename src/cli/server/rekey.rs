//! `lerianctl server rekey`.

use std::fmt;
use std::time::Duration;

use clap::Args;

use crate::cli::approve::{Consent, Question, show_plan};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::rekey::{KeyStatus, Rekey, RekeyRequest};
use crate::output::progress::Progress;
use crate::output::{Report, Rows, Tone, View};

/// Time between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Seal every secret in the registry with a new key, while it is in use
///
/// The server makes a new data key, wraps it with its master key, and seals every record anew in
/// small bites. When it is killed it goes on at its next start; the same command again shows what
/// is left and waits for it. To change the master key itself, start the server once with the new
/// key and the previous one (`server start --previous-master-key-file`).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server rekey --dry-run\n  lerianctl server rekey --yes"
)]
pub struct RekeyArgs {
    #[command(flatten)]
    consent: Consent,

    /// Return as soon as the new key is in use; the rest goes on in the server
    #[arg(long)]
    no_wait: bool,
}

/// Has everything sealed with a new key.
pub fn rekey(run: &Invocation, args: &RekeyArgs) -> Result<RekeyReport, Failure> {
    run.target_line("server rekey", "the registry")?;
    let manager = run.tenant_manager()?;
    let mut request = RekeyRequest {
        dry_run: true,
        expect_plan: args.consent.expect_plan.clone(),
    };
    let planned = {
        let (manager, request) = (manager.clone(), request.clone());
        run.block_on(async move { manager.rekey(&request).await })?
    };
    if args.consent.dry_run {
        return Ok(RekeyReport { rekey: planned });
    }
    run.approve(
        &args.consent,
        &Question {
            command: "server rekey",
            text: "Seal every secret in the registry anew".to_owned(),
            word: "",
            confirmed: None,
            plan: Some(&planned.plan),
        },
    )?;
    request.dry_run = false;
    request.expect_plan = Some(planned.plan.hash);
    let mut rekey = {
        let (manager, request) = (manager.clone(), request.clone());
        run.block_on(async move { manager.rekey(&request).await })?
    };
    if !args.no_wait {
        let progress = Progress::new(&run.console, "sealing anew", rekey.status.remaining);
        let total = rekey.status.remaining;
        rekey.status = run.block_on(async {
            loop {
                let status = manager.key_status().await?;
                if !status.running && status.remaining <= status.unreadable {
                    return Ok::<_, crate::client::ClientError>(status);
                }
                let total = total.max(status.remaining);
                progress.set(total - status.remaining, total, "");
                progress.tick();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })?;
    }
    Ok(RekeyReport { rekey })
}

/// The outcome, with the keys and what each seals.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct RekeyReport {
    /// What the server answered, and what was left at the end.
    #[serde(flatten)]
    rekey: Rekey,
}

fn keys(status: &KeyStatus) -> Rows {
    Rows {
        columns: vec!["key", "purpose", "state", "seals", "master key", "made"],
        wide: Vec::new(),
        cells: status
            .keys
            .iter()
            .map(|key| {
                vec![
                    key.id.clone(),
                    key.purpose.clone(),
                    if key.active { "active" } else { "old" }.to_owned(),
                    key.sealed.to_string(),
                    key.master_key.clone(),
                    key.created_at.to_string(),
                ]
            })
            .collect(),
        items: Vec::new(),
    }
}

impl Report for RekeyReport {
    const KIND: &'static str = "Rekey";

    fn human(&self, out: &mut View) -> fmt::Result {
        let rekey = &self.rekey;
        if rekey.dry_run {
            out.paint(Tone::Strong, "server rekey")
                .plain(": would do")
                .line();
            show_plan(out, &rekey.plan);
            out.plain("plan: ").plain(&rekey.plan.hash).line();
        }
        out.table(&keys(&rekey.status));
        let status = &rekey.status;
        if status.unreadable > 0 {
            out.paint(Tone::Bad, "warning:")
                .plain(format!(
                    " {} values cannot be opened with any key; the server's log names them",
                    status.unreadable
                ))
                .line();
        }
        if status.remaining > status.unreadable {
            out.plain(format!(
                "{} values are still under older keys",
                status.remaining
            ))
            .line();
        } else if !rekey.dry_run {
            out.paint(Tone::Good, "every value is sealed with the active key")
                .line();
        }
        Ok(())
    }

    fn ok(&self) -> bool {
        self.rekey.status.unreadable == 0
    }
}
