//! `lerianctl db verify`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::contract::admin::{ChangeRequest, Claim};
use crate::contract::ids::TenantRef;
use crate::output::{Report, Rows, Tone, View};

/// Try with a tenant's own login what it can reach and what it cannot
///
/// The server logs in as the tenant and tries: its own database or schema must open, another
/// tenant's must not. Nothing is written. Status 3 when a claim does not hold.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl db verify acme\n  lerianctl db verify acme --service ledger -o json"
)]
pub struct VerifyArgs {
    /// Tenant slug or id
    #[arg(add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Only this service
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,
}

/// Verifies a tenant's reach.
pub fn verify(run: &Invocation, args: &VerifyArgs) -> Result<VerificationReport, Failure> {
    let manager = run.tenant_manager()?;
    let tenant = args.tenant.to_string();
    let request = ChangeRequest {
        service: args.service.clone(),
        ..ChangeRequest::default()
    };
    let verification = run.block_on(async move { manager.verify(&tenant, &request).await })?;
    Ok(VerificationReport {
        holds: !verification.claims.is_empty()
            && verification.claims.iter().all(|claim| claim.holds),
        claims: verification.claims,
    })
}

/// What was tried, and whether it was as it should be.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct VerificationReport {
    /// True when there was something to try and every claim held.
    holds: bool,
    /// Claims in the order tried.
    claims: Vec<Claim>,
}

impl Report for VerificationReport {
    const KIND: &'static str = "Verification";

    fn human(&self, out: &mut View) -> fmt::Result {
        if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        let failed = self.claims.iter().filter(|claim| !claim.holds).count();
        if self.claims.is_empty() {
            out.paint(
                Tone::Bad,
                "nothing could be tried: the tenant has no database",
            )
            .line();
        } else if failed == 0 {
            out.paint(Tone::Good, format!("all {} claims hold", self.claims.len()))
                .line();
        } else {
            out.paint(
                Tone::Bad,
                format!("{failed} of {} claims do not hold", self.claims.len()),
            )
            .line();
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["verdict", "subject", "claim", "evidence"],
            wide: Vec::new(),
            cells: self
                .claims
                .iter()
                .map(|claim| {
                    vec![
                        if claim.holds { "holds" } else { "refuted" }.to_owned(),
                        claim.subject.clone(),
                        claim.claim.clone(),
                        claim.evidence.clone(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.claims),
        })
    }

    fn ok(&self) -> bool {
        self.holds
    }
}
