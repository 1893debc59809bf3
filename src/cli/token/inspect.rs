//! `lerianctl token inspect`.

use std::fmt;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;

use super::keys::KeyArgs;
use super::resolve::{Resolution, resolve};
use super::source::Source;
use super::view;
use crate::cli::complete;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::contract::ServiceName;
use crate::output::{Report, View};
use crate::secret::Secret;
use crate::token::jwks::SharedSecrets;
use crate::token::{Inspection, Keys, Severity, Verification};

/// Show what a token says, check its signature, and where a product would route it
///
/// Without a key the signature is not checked, and nothing leaves this machine. Status 3 when the
/// token is expired or not valid yet, when its signature does not hold or a checked token has a
/// warning of severity `error`, and when a product would refuse it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl token inspect - < token.txt\n  lerianctl token inspect --variable TOKEN --jwks https://auth.example/.well-known/jwks\n  lerianctl token inspect --file token.txt --resolve --service ledger\n  lerianctl token inspect - -o json < token.txt | jq -r .tenant.canonical"
)]
pub struct InspectArgs {
    #[command(flatten)]
    source: Source,

    #[command(flatten)]
    keys: KeyArgs,

    /// Let shared secrets in the key set check the token: whoever has the set can make tokens
    #[arg(long, requires = "jwks")]
    accept_shared_secrets: bool,

    /// Ask the Tenant Manager where a product would route the token
    #[arg(long, requires = "service")]
    resolve: bool,

    /// Service that the token would be used with
    #[arg(long, value_name = "NAME", requires = "resolve", add = ArgValueCandidates::new(complete::services))]
    service: Option<ServiceName>,
}

/// Inspects a token.
pub fn inspect(run: &Invocation, args: &InspectArgs) -> Result<InspectReport, Failure> {
    let text = args.source.read(run)?;
    let secrets = if args.accept_shared_secrets {
        SharedSecrets::Accept
    } else {
        SharedSecrets::Refuse
    };
    let keys = args.keys.read(run, secrets)?;
    let mut report = look(&text, keys.as_ref(), run.environment.now())?;
    if let Some(service) = args.service.as_ref().filter(|_| args.resolve) {
        report.resolution = Some(resolve(run, &report.token, service)?);
    }
    Ok(report)
}

fn look(text: &Secret, keys: Option<&Keys>, now: Timestamp) -> Result<InspectReport, Failure> {
    let token = crate::token::inspect(text.expose(), now)?;
    let verification = keys.map(|keys| crate::token::verify(text.expose(), keys, now));
    Ok(InspectReport {
        verified: verification.as_ref().is_some_and(|done| done.verified),
        token,
        verification,
        resolution: None,
    })
}

/// What a token says, whether its signature holds, and where it leads.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectReport {
    /// What the token says.
    #[serde(flatten)]
    pub(super) token: Inspection,
    /// True only when the signature was checked and holds.
    pub(super) verified: bool,
    /// The check of the signature; null when no key was given.
    pub(super) verification: Option<Verification>,
    /// Where a product would route the token; null when that was not asked.
    pub(super) resolution: Option<Resolution>,
}

impl Report for InspectReport {
    const KIND: &'static str = "TokenInspection";

    fn human(&self, out: &mut View) -> fmt::Result {
        view::inspection(self, out);
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.token.tenant.canonical.clone()
    }

    fn ok(&self) -> bool {
        let grave = self
            .token
            .warnings
            .iter()
            .any(|warning| warning.severity == Severity::Error);
        self.token.validity.holds()
            && self
                .verification
                .as_ref()
                .is_none_or(|done| done.verified && !grave)
            && self.resolution.as_ref().is_none_or(Resolution::holds)
    }
}
