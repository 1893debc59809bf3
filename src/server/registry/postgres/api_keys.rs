//! Digests of API keys in PostgreSQL.

use super::PostgresRegistry;
use super::session::{bounded, execute, query};
use crate::server::registry::RegistryError;
use crate::server::registry::model::now;
use crate::server::registry::stored::micros;

/// Replaces the accepted API keys, unless there are no others; returns the accepted ones.
pub(super) async fn replace(
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
