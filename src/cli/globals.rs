//! Flags that every command understands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For a person: tables and text.
    Table,
    /// One JSON document with `apiVersion` and `kind`.
    #[value(alias = "json=v1")]
    Json,
    /// One JSON object per line; the last is a summary, and no summary means truncated.
    #[value(alias = "jsonl=v1")]
    Jsonl,
    /// The JSON document as YAML.
    #[value(alias = "yaml=v1")]
    Yaml,
    /// Comma-separated values with a header.
    Csv,
    /// Only names, one per line.
    Name,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` says no.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Form of log lines on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags that every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Deployment from the config file [variable: LERIANCTL_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", add = clap_complete::engine::ArgValueCandidates::new(super::complete::contexts))]
    pub context: Option<String>,

    /// Config file [variable: LERIANCTL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Tenant Manager [variables: LERIANCTL_SERVER, MULTI_TENANT_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,

    /// File that holds the API key, `-` for standard input [variables: LERIANCTL_API_KEY_FILE,
    /// LERIANCTL_API_KEY, MULTI_TENANT_SERVICE_API_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Certificates to trust for the Tenant Manager, instead of the system's: PEM [variable:
    /// LERIANCTL_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Certificate to show the Tenant Manager, and what issued it: PEM [variable:
    /// LERIANCTL_CLIENT_CERTIFICATE_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate_file: Option<PathBuf>,

    /// Private key of that certificate: PEM [variable: LERIANCTL_CLIENT_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key_file: Option<PathBuf>,

    /// Variables from a file; may be repeated, the last wins
    #[arg(long, global = true, value_name = "FILE", action = ArgAction::Append)]
    pub env_file: Vec<PathBuf>,

    /// How the result is printed [default: table] [variable: LERIANCTL_OUTPUT]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub output: Option<OutputFormat>,

    /// Columns of table and csv, in this order
    #[arg(long, global = true, value_name = "A,B", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// Leave the header out of table and csv
    #[arg(long, global = true)]
    pub no_headers: bool,

    /// When to use colours [variables: NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, global = true, value_name = "WHEN", hide_possible_values = true)]
    pub color: Option<ColorChoice>,

    /// No status lines
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; twice for more [variable: LERIANCTL_LOG]
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Form of log lines
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,

    /// Never prompt [variables: LERIANCTL_NO_INPUT, CI]
    #[arg(long, global = true)]
    pub no_input: bool,

    /// Deadline of the whole command, such as `90s` or `5m` [variable: LERIANCTL_TIMEOUT]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Parses a duration such as `90s`, `5m` or `1h 30m`; zero and less are refused.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is not a duration such as `90s`, `5m` or `1h`"))?;
    Duration::try_from(parsed)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("`{text}` is not longer than nothing"))
}
