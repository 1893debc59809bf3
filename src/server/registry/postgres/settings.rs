//! Settings of the registry's own, and digests of API keys, in PostgreSQL.

use super::PostgresRegistry;
use super::session::{bounded, execute, query};
use crate::server::registry::RegistryError;
use crate::server::registry::model::now;
use crate::server::registry::stored::micros;

/// Keeps `value` under `key` unless there is one; returns the one that is kept.
pub(super) async fn settle(
    registry: &PostgresRegistry,
    key: &str,
    value: &str,
) -> Result<String, RegistryError> {
    registry
        .rows(
            "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
            &[&key, &value],
        )
        .await?;
    let row = registry
        .row("SELECT value FROM meta WHERE key = $1", &[&key])
        .await?;
    Ok(row.try_get(0)?)
}

/// Replaces the accepted API keys, unless there are no others; returns the accepted ones.
pub(super) async fn api_keys(
    registry: &PostgresRegistry,
    digests: &[String],
) -> Result<Vec<String>, RegistryError> {
    let mut session = registry.awake().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        if !digests.is_empty() {
            execute(
                &transaction,
                "DELETE FROM api_keys WHERE digest <> ALL ($1)",
                &[&digests],
            )
            .await?;
            execute(
                &transaction,
                "INSERT INTO api_keys SELECT unnest($1::text[]), $2 ON CONFLICT DO NOTHING",
                &[&digests, &micros(now())],
            )
            .await?;
        }
        let rows = query(
            &transaction,
            "SELECT digest FROM api_keys ORDER BY digest",
            &[],
        )
        .await?;
        transaction.commit().await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    })
    .await;
    session.settle(outcome)
}
