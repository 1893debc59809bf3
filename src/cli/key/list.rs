//! `lerianctl key list`.

use std::fmt;

use clap::Args;

use super::{time, words};
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::client::KeyQuery;
use crate::contract::keys::KeyRecord;
use crate::output::{Report, Rows, View};

/// List keys, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl key list\n  lerianctl key list --all --search ledger -o json"
)]
pub struct ListArgs {
    /// Expired and revoked ones too
    #[arg(long)]
    all: bool,

    /// Part of name or id
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Lists keys.
pub fn list(run: &Invocation, args: &ListArgs) -> Result<KeyListReport, Failure> {
    let manager = run.tenant_manager()?;
    let most = usize::try_from(args.limit.unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    let mut query = KeyQuery {
        state: args.all.then(|| "all".to_owned()),
        search: args.search.clone(),
        limit: Some(args.limit.unwrap_or(1000).min(1000)),
        cursor: None,
    };
    let report = run.block_on(async move {
        let mut items = Vec::new();
        loop {
            let page = manager.keys(&query).await?;
            items.extend(page.items);
            let more = page.next_cursor.is_some() || items.len() > most;
            if items.len() >= most || !more || page.next_cursor == query.cursor {
                items.truncate(most);
                return Ok::<_, crate::client::ClientError>(KeyListReport {
                    items,
                    next_cursor: page.next_cursor,
                });
            }
            query.cursor = page.next_cursor;
        }
    })?;
    if report.next_cursor.is_some() {
        run.console.warn(format!(
            "only the newest {} are shown; there are more",
            report.items.len()
        ));
    }
    Ok(report)
}

/// Keys, newest first.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyListReport {
    /// Keys.
    pub(super) items: Vec<KeyRecord>,
    /// Where the list goes on; null when it is complete.
    pub(super) next_cursor: Option<String>,
}

impl Report for KeyListReport {
    const KIND: &'static str = "KeyList";

    fn human(&self, out: &mut View) -> fmt::Result {
        match self.rows() {
            Some(rows) if !rows.cells.is_empty() => out.table(&rows),
            _ => out.plain("no keys").line(),
        };
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec![
                "key",
                "name",
                "role",
                "services",
                "environments",
                "state",
                "last used",
            ],
            wide: vec![
                "created",
                "created by",
                "expires",
                "rate limit",
                "rotated from",
            ],
            cells: self
                .items
                .iter()
                .map(|key| {
                    let scoped = !key.services.is_empty();
                    vec![
                        key.id.clone(),
                        key.name.clone(),
                        key.role.as_str().to_owned(),
                        words(&key.services, ""),
                        words(&key.environments, if scoped { "all" } else { "" }),
                        key.state.as_str().to_owned(),
                        time(key.last_used_at),
                        key.created_at.to_string(),
                        key.created_by.clone(),
                        time(key.expires_at),
                        key.rate_limit.map(|it| it.to_string()).unwrap_or_default(),
                        key.rotated_from.clone().unwrap_or_default(),
                    ]
                })
                .collect(),
            items: crate::cli::as_items(&self.items),
        })
    }
}
