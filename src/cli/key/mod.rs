//! `lerianctl key …`: API keys of products and operators.

pub mod create;
pub mod list;
pub mod revoke;
pub mod rotate;
pub mod show;

use std::fmt;

use clap::Subcommand;

use super::invocation::Invocation;
use crate::contract::keys::{KeyCreated, KeyRecord};
use crate::output::{Report, View};

/// API keys of products and operators
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its text is shown once
    Create(create::CreateArgs),
    /// List keys, newest first
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show what is known of a key
    Show(show::ShowArgs),
    /// Make the successor of a key; the old one goes on working for a while
    Rotate(rotate::RotateArgs),
    /// Withdraw a key at once
    Revoke(revoke::RevokeArgs),
}

impl KeyCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::Create(args) => run.emit(create::create(run, args)),
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Show(args) => run.emit(show::show(run, args)),
            Self::Rotate(args) => run.emit(rotate::rotate(run, args)),
            Self::Revoke(args) => run.emit(revoke::revoke(run, args)),
        }
    }
}

fn words<T: ToString>(items: &[T], none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}

fn time(at: Option<jiff::Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn view(key: &KeyRecord, out: &mut View) {
    let mut fields = vec![
        ("id", key.id.clone()),
        ("name", key.name.clone()),
        ("role", key.role.as_str().to_owned()),
        ("state", key.state.as_str().to_owned()),
    ];
    if !key.services.is_empty() {
        fields.push(("services", words(&key.services, "")));
        fields.push(("environments", words(&key.environments, "all")));
    }
    fields.push((
        "created",
        format!("{} by {}", key.created_at, key.created_by),
    ));
    for (name, at) in [
        ("expires", key.expires_at),
        ("revoked", key.revoked_at),
        ("last used", key.last_used_at),
    ] {
        if at.is_some() {
            fields.push((name, time(at)));
        }
    }
    if let Some(limit) = key.rate_limit {
        fields.push(("rate limit", format!("{limit} per second")));
    }
    if let Some(old) = &key.rotated_from {
        fields.push(("rotated from", old.clone()));
    }
    out.fields(&fields);
}

/// A new key. Holds its text, since that is what was asked for.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct KeyCreatedReport {
    /// The key.
    #[serde(flatten)]
    created: KeyCreated,
}

impl Report for KeyCreatedReport {
    const KIND: &'static str = "KeyCreated";

    fn human(&self, out: &mut View) -> fmt::Result {
        // Alone, so that it can be sent to a file or a secret store.
        out.plain(&self.created.key).line();
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.created.record.id.clone())
    }
}

/// Says on standard error what the key on standard output is.
fn announce(run: &Invocation, created: &KeyCreated) {
    let record = &created.record;
    let mut text = format!(
        "key {} `{}` of role {}; its text is shown only now",
        record.id,
        record.name,
        record.role.as_str()
    );
    if let Some(old) = &created.replaces {
        use fmt::Write as _;
        let end = old.expires_at.map(|at| at.to_string()).unwrap_or_default();
        let _ = write!(text, "; {} is accepted until {end}", old.id);
    }
    run.console.status(text);
}
