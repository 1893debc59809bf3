//! `lerianctl config validate`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::config::{Finding, Problem, Resolved, SecretReference, SecretSource as _, Severity};
use crate::output::{Report, Rows, Tone, View};

/// Check the configuration, and the products' variables against the products' rules
///
/// The rules are those of `env check`, for the variables that this program reads too; of a product
/// that cannot be told from the variables, those of all usual ones. `env check` says the rest.
/// Status 3 when anything is wrong, unknown keys included. Programs that print secrets are not
/// run, and nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl config validate\n  lerianctl config validate --env-file ledger.env   a pod's variables, before it starts"
)]
pub struct ValidateArgs {}

/// Checks the configuration.
pub fn validate(run: &Invocation, _args: &ValidateArgs) -> Result<ConfigValidationReport, Failure> {
    let input = run.config_input()?;
    let mut items = match Resolved::resolve(&input) {
        Ok(resolved) => {
            let mut items = resolved.findings();
            items.extend(secrets(run, &resolved).into_iter().map(finding));
            let known: Vec<&str> = items.iter().map(|item| item.code).collect();
            let of_products = super::products::findings(&input).into_iter();
            // Plain http is told once, whoever minds.
            let again =
                |item: &Finding| item.code == "config.insecure_http" && known.contains(&item.code);
            let more: Vec<Finding> = of_products.filter(|item| !again(item)).collect();
            items.extend(more);
            items
        }
        Err(problems) => problems.into_iter().map(finding).collect(),
    };
    items.sort_by_key(|item| item.severity != Severity::Error);
    Ok(ConfigValidationReport {
        valid: items.is_empty(),
        path: input.config_file.map(|file| file.path),
        items,
    })
}

fn finding(problem: Problem) -> Finding {
    Finding {
        severity: Severity::Error,
        code: problem.code,
        message: problem.message,
        hint: problem.hint,
    }
}

/// Looks whether secrets are where the configuration says.
fn secrets(run: &Invocation, config: &Resolved) -> Vec<Problem> {
    let redis = [config.redis(), config.event_redis()];
    let passwords = redis
        .into_iter()
        .filter_map(|redis| redis.ok().flatten()?.password);
    let mut seen = Vec::new();
    let mut problems = Vec::new();
    for reference in config.api_key().into_iter().chain(passwords) {
        let reference = reference.value;
        let looked = match &reference {
            SecretReference::Stdin => false,
            SecretReference::Command { refused, .. } => refused.is_some(),
            _ => true,
        };
        if looked && !seen.contains(&reference) {
            problems.extend(run.secrets().reveal(&reference).err());
            seen.push(reference);
        }
    }
    problems
}

/// What is wrong with the configuration.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ConfigValidationReport {
    /// True when nothing is wrong.
    valid: bool,
    /// The config file; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// Findings, errors first.
    items: Vec<Finding>,
}

impl Report for ConfigValidationReport {
    const KIND: &'static str = "ConfigValidation";

    fn human(&self, out: &mut View) -> fmt::Result {
        if self.valid {
            let file = match &self.path {
                Some(path) => format!(" ({})", path.display()),
                None => " (there is no config file)".to_owned(),
            };
            out.paint(Tone::Good, "the configuration is valid")
                .plain(file)
                .line();
        }
        for item in &self.items {
            let (tone, word) = match item.severity {
                Severity::Error => (Tone::Bad, "error"),
                Severity::Warning => (Tone::Warn, "warning"),
            };
            out.paint(tone, format!("{word}[{}]", item.code))
                .plain(format!(": {}", item.message))
                .line();
            if let Some(hint) = &item.hint {
                out.plain(format!("  hint: {hint}")).line();
            }
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        let cells = self.items.iter().map(|item| {
            let severity = match item.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            vec![
                item.code.to_owned(),
                severity.to_owned(),
                item.message.clone(),
                item.hint.clone().unwrap_or_default(),
            ]
        });
        Some(Rows {
            columns: vec!["code", "severity", "message", "hint"],
            wide: Vec::new(),
            cells: cells.collect(),
            items: crate::cli::as_items(&self.items),
        })
    }

    fn ok(&self) -> bool {
        self.valid
    }
}
