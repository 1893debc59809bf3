//! `lerianctl server migrate`.

use std::fmt;

use clap::Args;

use super::place::RegistryArgs;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::output::{Report, Rows, Tone, View};

/// Bring the schema of a registry up to date, making it when absent
///
/// `server start` does the same; this is for those who do it apart, with a role that may change
/// tables. Migrations only add, so that servers of the version before go on working; a registry
/// that a newer version made unusable for this one is refused.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl server migrate --dry-run --registry-url-file registry.url\n  lerianctl server migrate --registry-url-file registry.url"
)]
pub struct MigrateArgs {
    #[command(flatten)]
    registry: RegistryArgs,

    /// Say what there is to do, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Brings a registry up to date.
pub fn migrate(run: &Invocation, args: &MigrateArgs) -> Result<MigrationsReport, Failure> {
    let place = args.registry.place(run)?;
    let states = run.block_on(crate::server::migrate(&place, args.dry_run))?;
    Ok(MigrationsReport {
        registry: place.to_string(),
        dry_run: args.dry_run,
        changed: !args.dry_run && states.iter().any(|state| !state.applied),
        migrations: states
            .into_iter()
            .map(|state| MigrationItem {
                version: state.version,
                name: state.name,
                applied: state.applied || !args.dry_run,
                before: state.applied,
            })
            .collect(),
    })
}

/// The schema of a registry.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationsReport {
    /// Where the registry is.
    registry: String,
    /// Whether this was only planned.
    dry_run: bool,
    /// Whether something was done.
    changed: bool,
    /// Migrations in order.
    migrations: Vec<MigrationItem>,
}

/// A step of the schema.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct MigrationItem {
    /// Number.
    version: i64,
    /// Name.
    name: String,
    /// Whether it is applied now.
    applied: bool,
    /// Whether it was applied before.
    before: bool,
}

impl Report for MigrationsReport {
    const KIND: &'static str = "RegistryMigrations";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.paint(Tone::Strong, "server migrate")
            .plain(if self.dry_run { ": would do" } else { ": done" })
            .line();
        out.fields(&[("registry", self.registry.clone())]);
        let state = |item: &MigrationItem| match (item.before, item.applied) {
            (true, _) => "applied before",
            (false, true) => "applied now",
            (false, false) => "to be applied",
        };
        out.table(&Rows {
            columns: vec!["version", "name", "state"],
            wide: Vec::new(),
            cells: self
                .migrations
                .iter()
                .map(|item| {
                    vec![
                        item.version.to_string(),
                        item.name.clone(),
                        state(item).to_owned(),
                    ]
                })
                .collect(),
            items: Vec::new(),
        });
        Ok(())
    }
}
