//! Rules that span settings: what `config validate` reports.

use schemars::JsonSchema;
use serde::Serialize;

use super::key::{Key, SETTINGS};
use super::origin::Origin;
use super::resolve::Resolved;
use crate::contract::Environment;

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
    /// Returns everything that is wrong, in a stable order: malformed values, then rules of the
    /// products, then oddities of the config file.
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
        self.product_rules(&mut out);
        out.extend(self.warnings().iter().map(|warning| Finding {
            severity: Severity::Warning,
            code: "config.warning",
            message: warning.message.clone(),
            hint: warning.hint.clone(),
        }));
        out
    }

    fn product_rules(&self, out: &mut Vec<Finding>) {
        let auth = self.auth_enabled().is_ok_and(|it| it.value);
        if auth {
            self.auth_rules(out);
        }
        if !self.multi_tenant_enabled().is_ok_and(|it| it.value) {
            return;
        }
        // A malformed value was reported for itself.
        if self.auth_enabled().is_ok_and(|it| !it.value) {
            out.push(finding(
                Severity::Error,
                "config.auth_required",
                "MULTI_TENANT_ENABLED=true requires PLUGIN_AUTH_ENABLED=true: without it nothing checks the token that names the tenant",
                "set PLUGIN_AUTH_ENABLED=true and the address of the Access Manager; Ledger, CRM and Tracer refuse to start otherwise",
            ));
        }
        let missing = |key: Key| self.picks[&key].candidates.is_empty();
        for (key, name) in [
            (Key::Server, "MULTI_TENANT_URL"),
            (Key::ApiKey, "MULTI_TENANT_SERVICE_API_KEY"),
        ] {
            if missing(key) {
                out.push(finding(
                    Severity::Error,
                    "config.missing",
                    format!("MULTI_TENANT_ENABLED=true requires {name}"),
                    format!("set {name}; products refuse to start without it"),
                ));
            }
        }
        if missing(Key::ApplicationName) {
            out.push(finding(
                Severity::Warning,
                "config.missing",
                "APPLICATION_NAME is not set: Ledger and CRM refuse to start without it in multi-tenant mode",
                "set it to the name that the Tenant Manager knows the service by, such as `ledger`",
            ));
        }
        if missing(Key::EventRedisHost) {
            out.push(finding(
                Severity::Warning,
                "config.missing",
                "MULTI_TENANT_REDIS_HOST is not set: Tracer and Fetcher refuse to start, and Ledger and CRM do not hear when a tenant is suspended",
                "set it to the Redis on which the Tenant Manager publishes its events",
            ));
        }
        if let Ok(environment) = self.environment()
            && !environment.as_ref().is_some_and(|it| it.value.has_events())
        {
            let known = Environment::WITH_EVENTS.join("` or `");
            out.push(finding(
                Severity::Warning,
                "config.environment",
                match environment {
                    Some(it) => format!(
                        "products do not listen to events in environment `{}` ({})",
                        it.value, it.origin
                    ),
                    None => "no environment is set: products do not listen to events".to_owned(),
                },
                format!("set ENV_NAME or ENVIRONMENT_NAME to `{known}`"),
            ));
        }
        self.zero_rules(out);
    }

    fn auth_rules(&self, out: &mut Vec<Finding>) {
        match self.auth_address() {
            None => out.push(finding(
                Severity::Error,
                "config.auth_address",
                "PLUGIN_AUTH_ENABLED=true without an address lets every request through unchecked",
                "set PLUGIN_AUTH_HOST (Ledger) or PLUGIN_AUTH_ADDRESS (other products)",
            )),
            Some(it) if super::parse::server(&it.value).is_err() => out.push(finding(
                Severity::Error,
                "config.auth_address",
                format!("the address of the Access Manager ({}) is not an absolute http:// or https:// URL", it.origin),
                "write it with its scheme, such as http://plugin-auth:4000",
            )),
            Some(_) => {}
        }
    }

    /// Zero means something else to each product: say so.
    fn zero_rules(&self, out: &mut Vec<Finding>) {
        let zero = |key: Key| {
            let (origin, _) = self.picks[&key].candidates.first()?;
            let text = self.text(key)?;
            (*origin != Origin::Default && text.value.trim_start_matches(['+', '0']).is_empty())
                .then(|| text.origin.to_string())
        };
        if let Some(origin) = zero(Key::CacheTtl) {
            out.push(finding(
                Severity::Warning,
                "config.zero",
                format!("a cache TTL of 0 ({origin}) disables caching here, but in Ledger and CRM the cache then never expires, and in Tracer it lasts 120 seconds"),
                "set a number of seconds from 60, such as 600",
            ));
        }
        if let Some(origin) = zero(Key::BreakerThreshold) {
            out.push(finding(
                Severity::Warning,
                "config.zero",
                format!("a breaker threshold of 0 ({origin}) means no breaker here and in CRM, and 5 in Ledger, Tracer and Fetcher"),
                "set a number from 1",
            ));
        }
        if let Some(origin) = zero(Key::MaxTenantPools) {
            out.push(finding(
                Severity::Warning,
                "config.zero",
                format!("a cap of 0 tenants ({origin}) means no cap here and in CRM, and 100 in Tracer and Fetcher"),
                "set a number from 1",
            ));
        }
    }
}
