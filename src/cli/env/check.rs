//! `lerianctl env check`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use super::source;
use crate::boot::budget::{Budget, Deployment};
use crate::boot::compare::{Difference, Side, compare};
use crate::boot::{Assessment, Product, Severity};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;

/// Say what products would do at boot with an environment, and what is wrong with it
///
/// Applies each product's own rules: whether it starts, single-tenant or multi-tenant, refuses to,
/// or starts without protecting what it seems to protect. Several environments are compared too.
/// Without an input, the variables of this process are checked, as in a product's container.
/// Status 3 when anything at or above `--fail-on` is found. Values of secrets are never shown.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl env check --env-file ledger.env --env-file tracer.env\n  kubectl exec deploy/midaz-ledger -- env | lerianctl env check - --product ledger\n  helm template midaz ./midaz -f values.yaml | lerianctl env check --k8s -\n  lerianctl env check --helm values.yaml --component ledger\n  lerianctl env check --compose compose.yaml --fail-on high\n  lerianctl env check --pid 1 --tenants 40 --replicas 3 --max-connections 2000"
)]
pub struct CheckArgs {
    /// File with lines of NAME=value, or `-` for standard input; also `--env-file`, repeatedly
    pub(super) file: Option<PathBuf>,

    /// Product, once for all environments or once for each; told from the environment otherwise
    #[arg(long, value_name = "NAME", value_parser = super::product, add = ArgValueCandidates::new(super::products))]
    pub(super) product: Vec<Product>,

    /// Running process, through /proc; may be repeated
    #[arg(long, value_name = "PID")]
    pub(super) pid: Vec<u32>,

    /// Values of one of Lerian's charts; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) helm: Vec<PathBuf>,

    /// Compose file; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) compose: Vec<PathBuf>,

    /// Kubernetes manifests, as `helm template` and `kubectl get -o yaml` print them; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) k8s: Vec<PathBuf>,

    /// Component, service or container to look at; all otherwise
    #[arg(long, value_name = "NAME")]
    pub(super) component: Option<String>,

    /// Mildest severity that makes the status 3
    #[arg(long, value_name = "SEVERITY", default_value = "low", value_parser = super::words(&Severity::ALL, Severity::as_str))]
    fail_on: Severity,

    /// Show findings that are merely good to know, too
    #[arg(long)]
    all: bool,

    /// Tenants, to count connections
    #[arg(long, value_name = "COUNT", requires = "max_connections")]
    tenants: Option<u32>,

    /// Replicas of each product, to count connections
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    replicas: u32,

    /// `max_connections` of the PostgreSQL server, to count connections
    #[arg(long, value_name = "COUNT", requires = "tenants")]
    max_connections: Option<u32>,
}

/// Checks environments.
pub fn check(run: &Invocation, args: &CheckArgs) -> Result<EnvCheckReport, Failure> {
    let environments = source::read(run, args)?;
    let sides: Vec<Side<'_>> = environments
        .iter()
        .map(|environment| Side {
            source: &environment.source,
            product: environment.product,
            variables: &environment.variables,
        })
        .collect();
    let differences = compare(&sides);
    let checked: Vec<CheckedEnvironment> = environments
        .iter()
        .map(|environment| {
            let variables = &environment.variables;
            let mut assessment =
                Assessment::of(environment.source.as_str(), environment.product, variables);
            let budget = args
                .tenants
                .zip(args.max_connections)
                .map(|(tenants, limit)| {
                    let deployment = Deployment {
                        tenants,
                        replicas: args.replicas,
                        max_connections: limit,
                    };
                    Budget::of(environment.product, variables, deployment)
                });
            if let Some(finding) = budget.as_ref().and_then(Budget::finding) {
                assessment.add(finding);
            }
            CheckedEnvironment { assessment, budget }
        })
        .collect();
    let worst = checked
        .iter()
        .flat_map(|it| &it.assessment.findings)
        .chain(differences.iter().map(|it| &it.finding))
        .map(|finding| finding.severity)
        .max();
    Ok(EnvCheckReport {
        all: args.all,
        clean: worst.is_none_or(|worst| worst < args.fail_on),
        fail_on: args.fail_on,
        environments: checked,
        differences,
    })
}

/// What products would do with their environments.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvCheckReport {
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) all: bool,
    /// False when anything at or above `failOn` was found.
    pub(super) clean: bool,
    /// Mildest severity that counts.
    pub(super) fail_on: Severity,
    /// The environments in the order in which they were given.
    pub(super) environments: Vec<CheckedEnvironment>,
    /// What differs between them and must not.
    pub(super) differences: Vec<Difference>,
}

/// An environment with its assessment.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct CheckedEnvironment {
    /// What the product would do.
    #[serde(flatten)]
    pub(super) assessment: Assessment,
    /// Connections, when they were to be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<Budget>,
}
