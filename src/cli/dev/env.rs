//! `lerianctl dev env`.

use std::borrow::Cow;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::{DataArgs, never_started};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::devstack::stack::{self, Home, Keys};
use crate::output::document;

/// Environment of the development stack: products accept plain HTTP in it, and it has events.
pub const ENVIRONMENT: &str = "staging";

/// How variables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// `export NAME=value`, for sh, bash and zsh
    Sh,
    /// `set -gx NAME value`
    Fish,
    /// `$env:NAME = 'value'`
    #[value(name = "powershell")]
    PowerShell,
    /// `NAME=value`, for `--env-file`
    Dotenv,
}

/// Print variables that point lerianctl and Lerian's products at the stack
///
/// They hold the stack's passwords, for this machine only.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eval \"$(lerianctl dev env)\"\n  lerianctl dev env --shell fish | source\n  lerianctl dev env --shell dotenv > dev.env"
)]
pub struct EnvArgs {
    /// How they are written
    #[arg(long, value_name = "SHELL", default_value = "sh")]
    shell: Form,

    #[command(flatten)]
    data: DataArgs,
}

/// Prints the variables.
pub fn env(run: &Invocation, args: &EnvArgs) -> u8 {
    let variables = match variables(run, args) {
        Ok(variables) => variables,
        Err(failure) => return run.fail(&failure),
    };
    if run.console.format.is_document() {
        let body: Map<String, Value> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let body = serde_json::json!({ "variables": body });
        run.console.document(&document::wrap("DevEnv", body));
        return 0;
    }
    for (name, value) in variables {
        match assignment(args.shell, name, &value) {
            Ok(line) => run.console.out(&line),
            Err(failure) => return run.fail(&failure),
        }
    }
    0
}

/// The one place where a value becomes shell text.
fn assignment(shell: Form, name: &str, value: &str) -> Result<String, Failure> {
    let quoted: Cow<'_, str> = match shell {
        Form::Sh => shlex::try_quote(value).map_err(|error| unquotable(name, &error))?,
        Form::Fish => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")).into(),
        Form::PowerShell => format!("'{}'", value.replace('\'', "''")).into(),
        Form::Dotenv if value.contains(['\'', '\n', '\r']) => {
            return Err(unquotable(name, &"a quote or a line feed"));
        }
        Form::Dotenv => format!("'{value}'").into(),
    };
    Ok(match shell {
        Form::Sh => format!("export {name}={quoted}\n"),
        Form::Fish => format!("set -gx {name} {quoted}\n"),
        Form::PowerShell => format!("$env:{name} = {quoted}\n"),
        Form::Dotenv => format!("{name}={quoted}\n"),
    })
}

/// Returns the line of a POSIX shell, when the value can be written there.
pub(crate) fn shell_line(name: &str, value: &str) -> Option<String> {
    assignment(Form::Sh, name, value).ok()
}

/// Returns the line of a file of variables, when the value can be written there.
pub(crate) fn file_line(name: &str, value: &str) -> Option<String> {
    assignment(Form::Dotenv, name, value).ok()
}

fn unquotable(name: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Kind::Usage,
        "dev.unquotable",
        format!("the value of {name} cannot be written for that shell"),
    )
    .cause(why)
}

fn variables(run: &Invocation, args: &EnvArgs) -> Result<Vec<(&'static str, String)>, Failure> {
    let folder = args.data.folder(run)?;
    let status = run
        .block_on(stack::status(&folder))?
        .filter(|status| status.running);
    let (Some(status), Some(home)) = (status, Home::existing(&folder)?) else {
        return Err(match Home::existing(&folder)? {
            None => never_started(&folder),
            Some(_) => Failure::new(
                Kind::Conflict,
                "dev.stopped",
                format!(
                    "the development stack in `{}` does not run",
                    folder.display()
                ),
            )
            .hint_command("start it", "lerianctl dev up --detach"),
        });
    };
    let keys = Keys::new(&home);
    let redis = keys
        .connections()?
        .ok_or_else(|| never_started(&folder))?
        .redis;
    let mut variables = vec![
        ("MULTI_TENANT_ENABLED", "true".to_owned()),
        ("MULTI_TENANT_URL", status.server.unwrap_or_default()),
        ("MULTI_TENANT_ALLOW_INSECURE_HTTP", "true".to_owned()),
        (
            "MULTI_TENANT_SERVICE_API_KEY",
            keys.api_key()?.expose().to_owned(),
        ),
        ("MULTI_TENANT_REDIS_HOST", redis.host),
        ("MULTI_TENANT_REDIS_PORT", redis.port.to_string()),
        ("MULTI_TENANT_REDIS_TLS", redis.tls.to_string()),
        ("PLUGIN_AUTH_ENABLED", "true".to_owned()),
        ("ENV_NAME", ENVIRONMENT.to_owned()),
    ];
    if let Some(password) = redis.password {
        variables.push(("MULTI_TENANT_REDIS_PASSWORD", password.expose().to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_from_the_shell_as_they_were() {
        for value in [
            "plain",
            "it's",
            "$(touch x)",
            "a b\"c\\d",
            "`id`",
            "ü€😀",
            "-n",
            "",
        ] {
            let line = assignment(Form::Sh, "X", value).unwrap();
            let script = format!("{line}printf %s \"$X\"");
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{line}");
        }
        assert_eq!(
            assignment(Form::Fish, "X", "it's").unwrap(),
            "set -gx X 'it\\'s'\n"
        );
        assert_eq!(
            assignment(Form::PowerShell, "X", "it's").unwrap(),
            "$env:X = 'it''s'\n"
        );
        assert!(assignment(Form::Dotenv, "X", "a\nb").is_err());
    }
}
