//! The command line: the only place that knows clap.
//!
//! A verb is a file: its arguments, a function that returns a report or a failure, and the
//! report's views. Dispatch hands the outcome to [`Invocation::emit`], which alone prints and
//! decides the exit status.

pub mod approve;
pub mod audit;
pub mod auth;
pub mod cache;
pub mod change;
pub mod complete;
pub mod config;
pub mod db;
mod deferred;
pub mod dev;
pub mod effects;
pub mod env;
pub mod environment;
pub mod event;
pub mod explain;
pub mod failure;
pub mod generate;
pub mod globals;
pub mod invocation;
pub mod isolation;
pub mod key;
pub mod log;
pub mod mapping;
mod misuse;
pub mod operation;
pub mod redact;
pub mod server;
pub mod service;
pub mod tenant;
pub mod token;
pub mod topics;
pub mod values;
pub mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use deferred::Deferred;
use environment::Environment;
use globals::{Globals, OutputFormat};
use invocation::Invocation;

/// Variable that the shells' completion scripts call us with.
pub const COMPLETE_VARIABLE: &str = "LERIANCTL_COMPLETE";

/// Operate multi-tenant Lerian deployments: tenants, databases, tokens, caches, isolation
#[derive(Debug, Parser)]
#[command(
    name = "lerianctl",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  lerianctl dev up                                    a private stack to try things on\n  lerianctl tenant create 'Banco Aurora' --service ledger --service tracer\n  lerianctl db verify banco-aurora                    try what the tenant can and cannot reach\n  lerianctl token inspect - < token.txt\n\nTopics: lerianctl help environment | exit-status | output"
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tenants and their life
    #[command(subcommand)]
    Tenant(Deferred<tenant::TenantCommand>),
    /// Associations of tenants with services
    #[command(subcommand)]
    Service(Deferred<service::ServiceCommand>),
    /// Databases and schemas of tenants
    #[command(subcommand)]
    Db(Deferred<db::DbCommand>),
    /// Proof that one tenant cannot reach another's data
    #[command(subcommand)]
    Isolation(Deferred<isolation::IsolationCommand>),
    /// Redis keys of products, and their caches
    #[command(subcommand)]
    Cache(Deferred<cache::CacheCommand>),
    /// Lifecycle events of tenants
    #[command(subcommand)]
    Event(Deferred<event::EventCommand>),
    /// Tokens (JWT): what they say, who signed them, where they lead
    #[command(subcommand)]
    Token(Deferred<token::TokenCommand>),
    /// Logins with the Access Manager
    #[command(subcommand)]
    Auth(Deferred<auth::AuthCommand>),
    /// API keys of products and operators
    #[command(subcommand)]
    Key(Deferred<key::KeyCommand>),
    /// Long-running changes and their steps
    #[command(subcommand)]
    Operation(Deferred<operation::OperationCommand>),
    /// Who did what, and proof that the record of it was not changed
    #[command(subcommand)]
    Audit(Deferred<audit::AuditCommand>),
    /// Deployments, settings, and where each value comes from
    #[command(subcommand)]
    Config(Deferred<config::ConfigCommand>),
    /// Environments of Lerian's products: what each would do at boot
    #[command(subcommand)]
    Env(Deferred<env::EnvCommand>),
    /// A private stack to try things on: PostgreSQL, Redis and a Tenant Manager
    #[command(subcommand)]
    Dev(Deferred<dev::DevCommand>),
    /// The Tenant Manager
    #[command(subcommand)]
    Server(Deferred<server::ServerCommand>),
    /// Explain an error code
    Explain(explain::ExplainArgs),
    /// Print the completion script of a shell
    Completion(generate::completion::CompletionArgs),
    /// Write the manual pages
    Man(generate::man::ManArgs),
    /// Print the JSON Schema of a kind of document
    Schema(generate::schema::SchemaArgs),
    /// Print the command tree with the effect of every command, or the OpenAPI document
    Docs(generate::docs::DocsArgs),
    /// Print the versions of command line, contract and schemas
    Version(version::VersionArgs),
    /// Help on a command or a topic
    Help(topics::HelpArgs),
}

/// Returns the whole command tree, with every verb of every noun.
///
/// Examples are written once, as `after_help`; the long help starts with them.
pub fn command() -> clap::Command {
    examples_first(deferred::whole(Cli::command))
}

fn examples_first(mut command: clap::Command) -> clap::Command {
    if let Some(examples) = command.get_after_help().map(ToString::to_string) {
        let about = command.get_long_about().or(command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        command = command
            .long_about(format!("{about}\n\n{examples}"))
            .after_help("")
            .after_long_help("");
    }
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, examples_first);
    }
    command
}

/// Runs the command line and returns the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    clap_complete::CompleteEnv::with_factory(command)
        .var(COMPLETE_VARIABLE)
        .complete();
    invocation::report_panics();
    let args: Vec<OsString> = args.into_iter().collect();
    let environment = Environment::of_process();
    // Moving the examples costs more than parsing, so only help pays for it.
    let matches = Cli::command()
        .try_get_matches_from(&args)
        .map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp => command().try_get_matches_from(&args).err().unwrap_or(error),
            _ => error,
        });
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) => return ExitCode::from(refuse(error, &args, environment)),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(error, &args, environment)),
    };
    let line = invocation::command_line(&args);
    let run = Invocation::new(environment, cli.globals, line, false);
    ExitCode::from(match run.check() {
        Ok(()) => dispatch(&cli.command, &run),
        Err(failure) => run.fail(&failure),
    })
}

fn dispatch(command: &Command, run: &Invocation) -> u8 {
    match command {
        Command::Tenant(Deferred(command)) => command.run(run),
        Command::Service(Deferred(command)) => command.run(run),
        Command::Db(Deferred(command)) => command.run(run),
        Command::Isolation(Deferred(command)) => command.run(run),
        Command::Cache(Deferred(command)) => command.run(run),
        Command::Event(Deferred(command)) => command.run(run),
        Command::Token(Deferred(command)) => command.run(run),
        Command::Auth(Deferred(command)) => command.run(run),
        Command::Key(Deferred(command)) => command.run(run),
        Command::Operation(Deferred(command)) => command.run(run),
        Command::Audit(Deferred(command)) => command.run(run),
        Command::Config(Deferred(command)) => command.run(run),
        Command::Env(Deferred(command)) => command.run(run),
        Command::Dev(Deferred(command)) => command.run(run),
        Command::Server(Deferred(command)) => command.run(run),
        Command::Explain(args) => run.emit(explain::explain(args)),
        Command::Completion(args) => generate::completion::completion(run, args),
        Command::Man(args) => run.emit_or_done(generate::man::man(run, args)),
        Command::Schema(args) => run.emit_or_done(generate::schema::schema(run, args)),
        Command::Docs(args) => run.emit_or_done(generate::docs::docs(run, args)),
        Command::Version(args) => run.emit(version::version(args)),
        Command::Help(args) => run.emit_or_done(topics::help(run, args)),
    }
}

/// Prints what clap has to say: help and version are results, the rest is a usage error.
fn refuse(error: clap::Error, args: &[OsString], environment: Environment) -> u8 {
    let wants = |format: &str| {
        args.windows(2)
            .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == format)
            || args
                .iter()
                .any(|arg| *arg == *format!("-o{format}") || *arg == *format!("--output={format}"))
    };
    let mut globals = Globals::plain();
    globals.output = [
        ("json", OutputFormat::Json),
        ("jsonl", OutputFormat::Jsonl),
        ("yaml", OutputFormat::Yaml),
    ]
    .into_iter()
    .find_map(|(name, format)| wants(name).then_some(format));
    let run = Invocation::new(environment, globals, String::new(), true);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let styled = error.render();
            run.console.out(&if run.console.color_out {
                styled.ansi().to_string()
            } else {
                styled.to_string()
            });
            0
        }
        _ => {
            let misuse = misuse::say(error);
            // The message may repeat what was typed, however long.
            let plain: Vec<String> = misuse
                .plain
                .lines()
                .map(|line| crate::output::table::cut(&crate::output::view::clean(line), 400))
                .collect();
            let plain = plain.join("\n");
            if run.console.format.is_document() {
                let message = plain.strip_prefix("error: ").unwrap_or(&plain);
                let failure = failure::Failure::new(failure::Kind::Usage, "usage", message);
                run.console
                    .document(&failure.document(&serde_json::Value::Null));
            }
            match misuse.styled.filter(|_| plain == misuse.plain) {
                Some(styled) if run.console.color_err => {
                    run.console.err(styled.ansi().to_string().trim_end());
                }
                _ => run.console.err(&plain),
            }
            2
        }
    }
}

/// Returns the JSON of every item of a list.
fn as_items<T: serde::Serialize>(items: &[T]) -> Vec<serde_json::Value> {
    items
        .iter()
        .map(|item| serde_json::to_value(item).unwrap_or_default())
        .collect()
}
