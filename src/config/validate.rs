//! What `config validate` reports of the configuration itself; what products would say of it is
//! told by their own rules, as `env check` has them.

use schemars::JsonSchema;
use serde::Serialize;

use super::key::SETTINGS;
use super::resolve::Resolved;

/// How bad a finding is. `config validate` fails on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something will not work.
    Error,
    /// Something works, and probably not as meant.
    Warning,
}

/// Something that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, `config.reason`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

fn finding(
    severity: Severity,
    code: &'static str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        code,
        message: message.into(),
        hint: Some(hint.into()),
    }
}

impl Resolved {
    /// Returns everything that is wrong, in a stable order: malformed values, then oddities of the
    /// config file.
    pub fn findings(&self) -> Vec<Finding> {
        let mut out: Vec<Finding> = SETTINGS
            .iter()
            .filter_map(|setting| self.check(setting.key).err())
            .map(|problem| Finding {
                severity: Severity::Error,
                code: problem.code,
                message: problem.message,
                hint: problem.hint,
            })
            .collect();
        if let Some(file) = &self.file {
            let used = self.context().map(|context| context.name.value);
            // A problem of the context in use stopped the resolution already.
            out.extend(
                file.contexts
                    .values()
                    .filter(|context| Some(&context.name) != used.as_ref())
                    .flat_map(|context| context.problems.iter().cloned())
                    .map(|problem| Finding {
                        severity: Severity::Error,
                        code: problem.code,
                        message: problem.message,
                        hint: problem.hint,
                    }),
            );
        }
        if let Some(conflict) = self.write_conflict() {
            out.push(finding(
                Severity::Error,
                "config.conflict",
                conflict.to_string(),
                "unset the variable, or do not name a context",
            ));
        }
        out.extend(self.warnings().iter().map(|warning| Finding {
            severity: Severity::Warning,
            code: "config.warning",
            message: warning.message.clone(),
            hint: warning.hint.clone(),
        }));
        out
    }
}
