//! `lerianctl schema`.

use std::collections::BTreeMap;

use clap::Args;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::output::Report;
use crate::output::document::API_VERSION;

/// Print the JSON Schema of a kind of document, or of the config file
///
/// Without a kind, the kinds are listed. `ConfigFile` is what editors want to check the config
/// file with.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  lerianctl schema\n  lerianctl schema TenantList")]
pub struct SchemaArgs {
    /// Kind, as in `kind` of `-o json`; or `ConfigFile`
    kind: Option<String>,
}

/// Prints a schema, or the list of kinds.
pub fn schema(run: &Invocation, args: &SchemaArgs) -> Result<(), Failure> {
    let all = schemas();
    let Some(kind) = &args.kind else {
        for (kind, _) in &all {
            run.console.out(&format!("{kind}\n"));
        }
        return Ok(());
    };
    let Some((_, schema)) = all.iter().find(|(name, _)| name == kind) else {
        let near = all
            .iter()
            .map(|(name, _)| *name)
            .max_by(|a, b| strsim::jaro(kind, a).total_cmp(&strsim::jaro(kind, b)))
            .unwrap_or_default();
        return Err(Failure::new(
            Kind::NotFound,
            "schema.unknown",
            format!("there is no kind `{kind}`"),
        )
        .hint_command(
            format!("did you mean `{near}`? list them"),
            "lerianctl schema",
        ));
    };
    run.console.out(&format!(
        "{}\n",
        serde_json::to_string_pretty(schema).unwrap_or_default()
    ));
    Ok(())
}

fn of<R: Report + JsonSchema>() -> (&'static str, Value) {
    (R::KIND, envelope(R::KIND, written::<R>()))
}

/// Returns the schema of what is written, not of what would be read: a key that may be left out
/// is optional, every other is required.
fn written<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
}

/// Adds what every document carries to the schema of its body.
fn envelope(kind: &'static str, body: Schema) -> Value {
    let mut value = body.to_value();
    if let Some(object) = value.as_object_mut() {
        object.insert("title".into(), kind.into());
        object.insert("$id".into(), format!("lerianctl/v1/{kind}").into());
        let head = json!({
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind },
        });
        let all_of = object.entry("allOf").or_insert_with(|| json!([]));
        if let Some(list) = all_of.as_array_mut() {
            list.push(json!({
                "type": "object",
                "properties": head,
                "required": ["apiVersion", "kind"],
            }));
        }
    }
    value
}

/// Returns the schema of every kind of document, by kind.
pub fn schemas() -> Vec<(&'static str, Value)> {
    use crate::cli as at;
    let mut all = vec![
        of::<at::auth::LoginReport>(),
        of::<at::audit::export::AuditExportReport>(),
        of::<at::audit::head::AuditHeadReport>(),
        of::<at::audit::list::AuditListReport>(),
        of::<at::audit::verify::AuditVerificationReport>(),
        of::<at::cache::list::CacheListReport>(),
        of::<at::cache::report::CacheFlushReport>(),
        of::<at::change::ChangeReport>(),
        of::<at::config::ConfigChangeReport>(),
        of::<at::config::explain::ConfigReport>(),
        of::<at::config::list::ContextListReport>(),
        of::<at::config::validate::ConfigValidationReport>(),
        of::<at::db::list::DatabaseListReport>(),
        of::<at::db::verify::VerificationReport>(),
        of::<at::env::check::EnvCheckReport>(),
        of::<at::env::explain::EnvExplainReport>(),
        of::<at::env::render::EnvBlockReport>(),
        of::<at::event::tail::EventListReport>(),
        of::<at::dev::down::DownReport>(),
        of::<at::dev::reset::ResetReport>(),
        of::<at::dev::status::StatusReport>(),
        of::<at::explain::ExplainReport>(),
        of::<at::isolation::canary::CanaryReport>(),
        of::<at::isolation::check::IsolationReport>(),
        of::<at::isolation::diff::DifferenceReport>(),
        of::<at::isolation::fix::FixReport>(),
        of::<at::isolation::verify_report::ReportVerification>(),
        of::<at::isolation::explain::CheckReport>(),
        of::<at::isolation::list::CheckListReport>(),
        of::<at::key::KeyCreatedReport>(),
        of::<at::key::list::KeyListReport>(),
        of::<at::key::revoke::KeyRevokedReport>(),
        of::<at::key::show::KeyReport>(),
        of::<at::operation::list::OperationListReport>(),
        of::<at::operation::show::OperationReport>(),
        of::<at::server::archive::ArchiveReport>(),
        of::<at::server::migrate::MigrationsReport>(),
        of::<at::server::rekey::RekeyReport>(),
        of::<at::service::list::ServiceListReport>(),
        of::<at::tenant::list::TenantListReport>(),
        of::<at::tenant::show::TenantReport>(),
        of::<at::token::inspect::InspectReport>(),
        of::<at::token::mint::TokenReport>(),
        of::<at::version::VersionReport>(),
        ("ConfigFile", crate::config::schema::schema()),
        ("DevEnv", envelope("DevEnv", written::<VariablesDocument>())),
        ("Error", envelope("Error", written::<ErrorDocument>())),
        ("Ready", envelope("Ready", written::<ReadyDocument>())),
        ("Summary", envelope("Summary", written::<SummaryDocument>())),
    ];
    all.sort_by_key(|(kind, _)| *kind);
    all
}

/// Form of the error document; [`crate::cli::failure::Failure::document`] writes it.
#[derive(serde::Serialize, JsonSchema)]
struct ErrorDocument {
    error: ErrorBody,
}

#[derive(serde::Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    /// Stable, `noun.reason`; `lerianctl explain CODE` tells more.
    code: String,
    /// Exit status of the command.
    exit_status: u8,
    /// One sentence for a person.
    message: String,
    /// What led to it, outermost first.
    causes: Vec<String>,
    /// What to do next.
    hints: Vec<HintDocument>,
    /// Context and server that the command was for, as far as known.
    target: Option<Value>,
    /// Whether the same call may succeed later.
    retryable: bool,
    /// Id of the server's answer.
    request_id: Option<String>,
    /// Operation that goes on.
    operation_id: Option<String>,
}

#[derive(serde::Serialize, JsonSchema)]
struct HintDocument {
    text: String,
    /// Can be run as it is.
    command: Option<String>,
}

/// Form of the last line of `-o jsonl`.
#[derive(serde::Serialize, JsonSchema)]
struct SummaryDocument {
    /// Lines before this one.
    items: u64,
    /// False when the answer is "no" (exit status 3).
    ok: bool,
}

/// Form of `dev env -o json`.
#[derive(serde::Serialize, JsonSchema)]
struct VariablesDocument {
    /// Values by name.
    variables: BTreeMap<String, String>,
}

/// Form of the ready file, and of what `server start` and `dev up` print with `-o json`.
#[derive(serde::Serialize, JsonSchema)]
struct ReadyDocument {
    /// URL of the Tenant Manager.
    server: String,
    /// Its process.
    pid: u32,
    /// Address of PostgreSQL; of `dev up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<String>,
    /// Address of Redis; of `dev up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<String>,
    /// Environment of the stack; of `dev up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// Folder with the data; of `dev up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}
