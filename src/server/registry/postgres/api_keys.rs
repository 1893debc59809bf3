//! Digests of API keys in PostgreSQL.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::session::{bounded, execute, query};
use super::{PostgresRegistry, audit, keys};
use crate::server::registry::RegistryError;
use crate::server::registry::keys::bootstrap_replaced;
use crate::server::registry::model::now;
use crate::server::registry::stored::micros;

const STORED: &str = "SELECT digest FROM api_keys ORDER BY digest";

/// Replaces the accepted API keys, if there is something to replace them by; returns the accepted
/// ones.
pub(super) async fn replace(
    registry: &PostgresRegistry,
    digests: Option<&[String]>,
) -> Result<Vec<String>, RegistryError> {
    let Some(digests) = digests else {
        return read(&registry.rows(STORED, &[]).await?);
    };
    let mut session = registry.to_change().await?;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        // Servers that start together replace them one after another, so that each records what
        // it changed. Those that serve may go on reading.
        execute(
            &transaction,
            "LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE",
            &[],
        )
        .await?;
        let before = stored(&transaction).await?;
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
        let after = stored(&transaction).await?;
        let record = bootstrap_replaced(&before, &after);
        if record.is_some() {
            // Those that serve read the keys again before they answer the next request.
            keys::changed(&transaction).await?;
        }
        audit::append(registry, &transaction, record.as_slice()).await?;
        transaction.commit().await?;
        Ok(after)
    })
    .await;
    session.settle(outcome)
}

async fn stored(transaction: &Transaction<'_>) -> Result<Vec<String>, RegistryError> {
    read(&query(transaction, STORED, &[]).await?)
}

fn read(rows: &[Row]) -> Result<Vec<String>, RegistryError> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
