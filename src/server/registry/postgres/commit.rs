//! Changes of tenants in PostgreSQL.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::session::{bounded, execute, is_lost, query, sql_error, stale_on_conflict};
use super::{PostgresRegistry, audit, operations, outbox, signed};
use crate::contract::{ServiceName, TenantId};
use crate::server::registry::stored::{micros, search_text, to_json};
use crate::server::registry::{Association, Commit, RegistryError, Tenant};

/// How long the fate of a change is asked for after the session broke while it was committed.
const ASK_FOR: Duration = Duration::from_secs(5);

/// Makes a change of one tenant.
pub(super) async fn commit(
    registry: &PostgresRegistry,
    commit: Commit,
) -> Result<(), RegistryError> {
    let mut session = registry.to_change().await?;
    // The transaction's number, once everything but the commit itself is done.
    let mut number = None;
    let outcome = bounded(async {
        let transaction = session.transaction().await?;
        let drawn = apply(registry, &transaction, &commit).await?;
        number = Some(drawn);
        transaction.commit().await.map_err(|error| {
            if is_lost(&error) {
                RegistryError::Unclear(sql_error(&error))
            } else {
                error.into()
            }
        })
    })
    .await;
    let outcome = session.settle(outcome);
    match (outcome, number) {
        // Before the commit was asked for, a broken session means that nothing was changed.
        (
            Err(RegistryError::Unclear(reason) | RegistryError::Unavailable(reason)),
            Some(number),
        ) => fate(registry, &number, reason).await,
        (Err(RegistryError::Unclear(reason)), None) => Err(RegistryError::Unavailable(reason)),
        (outcome, _) => outcome,
    }
}

/// Finds out whether a transaction was committed after all.
async fn fate(
    registry: &PostgresRegistry,
    transaction: &str,
    reason: String,
) -> Result<(), RegistryError> {
    let give_up = Instant::now() + ASK_FOR;
    loop {
        let asked = async {
            let session = registry.endpoint.connect().await.ok()?;
            status(&session, transaction).await.ok()
        };
        match tokio::time::timeout_at(give_up, asked).await.ok().flatten() {
            Some(Some(status)) if status == "committed" => return Ok(()),
            Some(Some(status)) if status == "aborted" => {
                return Err(RegistryError::Unavailable(reason));
            }
            Some(None) => return Err(RegistryError::Unclear(reason)),
            _ if Instant::now() >= give_up => return Err(RegistryError::Unclear(reason)),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn status(
    session: &Client,
    transaction: &str,
) -> Result<Option<String>, tokio_postgres::Error> {
    // The number is one that the server gave.
    let row = session
        .query_one("SELECT pg_xact_status($1::text::xid8)", &[&transaction])
        .await?;
    row.try_get(0)
}

/// Does everything but the commit; returns the number of the transaction.
async fn apply(
    registry: &PostgresRegistry,
    transaction: &Transaction<'_>,
    commit: &Commit,
) -> Result<String, RegistryError> {
    let tenant = &commit.tenant;
    // Locks the tenant until the end: changes of one tenant come one after another.
    put_tenant(transaction, tenant).await?;
    for (service, association) in &tenant.associations {
        put_association(transaction, &tenant.id, service, association).await?;
    }
    for credential in &commit.credentials {
        execute(
            transaction,
            "INSERT INTO credentials (tenant_id, service, version, module, sealed) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant_id, service, version, module) DO UPDATE SET sealed = excluded.sealed",
            &[
                &tenant.id.as_str(),
                &credential.service.as_str(),
                &signed(credential.version),
                &credential.module,
                &credential.sealed,
            ],
        )
        .await?;
    }
    for (service, version) in &commit.forget {
        execute(
            transaction,
            "DELETE FROM credentials WHERE tenant_id = $1 AND service = $2 AND version <= $3",
            &[&tenant.id.as_str(), &service.as_str(), &signed(*version)],
        )
        .await?;
    }
    for operation in &commit.operations {
        operations::insert(transaction, tenant, operation).await?;
    }
    for (id, reason) in &commit.supersede {
        operations::supersede(transaction, id, reason).await?;
    }
    for (id, at) in &commit.reschedule {
        operations::reschedule(transaction, id, *at).await?;
    }
    if let Some(step) = &commit.step {
        operations::note_step(registry, transaction, step, true).await?;
    }
    if let Some(replay) = &commit.replay {
        outbox::keep(transaction, replay).await?;
    }

    audit::append(registry, transaction, &commit.audit).await?;
    if !commit.operations.is_empty() || !commit.reschedule.is_empty() {
        registry.tell(transaction, "work").await?;
    }
    if !commit.events.is_empty() {
        registry.tell(transaction, "mail").await?;
    }
    let watched = commit.step.iter().map(|step| &step.operation);
    let watched = watched.chain(commit.supersede.iter().map(|(id, _)| id));
    for id in watched.chain(commit.reschedule.iter().map(|(id, _)| id)) {
        registry.tell_of(transaction, id).await?;
    }
    in_order(transaction).await?;
    outbox::insert(transaction, tenant, &commit.events).await?;
    draw_number(transaction, &tenant.id).await
}

/// Keeps other changes from being numbered until the commit, so that numbers of changes and of
/// events come in the order of the commits: who has seen a number has seen all before it. Taken
/// last, so that it is kept for a moment only.
async fn in_order(transaction: &Transaction<'_>) -> Result<(), RegistryError> {
    execute(
        transaction,
        "SELECT pg_advisory_xact_lock('changes'::regclass::oid::bigint)",
        &[],
    )
    .await?;
    Ok(())
}

/// Gives the change its number; returns that of the transaction.
async fn draw_number(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
) -> Result<String, RegistryError> {
    let rows = query(
        transaction,
        "UPDATE tenants SET change = nextval('changes') WHERE id = $1
         RETURNING pg_current_xact_id()::text",
        &[&tenant.as_str()],
    )
    .await?;
    let row = rows.first().ok_or(RegistryError::Stale)?;
    Ok(row.try_get(0)?)
}

async fn put_tenant(transaction: &Transaction<'_>, tenant: &Tenant) -> Result<(), RegistryError> {
    let (metadata, search_text) = (to_json(&tenant.metadata)?, search_text(tenant));
    let (created_at, updated_at) = (micros(tenant.created_at), micros(tenant.updated_at));
    let next = tenant.revision + 1;
    let (id, slug, environment) = (
        tenant.id.as_str(),
        tenant.slug.as_str(),
        tenant.environment.as_str(),
    );
    let (mode, status) = (tenant.isolation_mode.as_str(), tenant.status.as_str());
    let owner = &tenant.owner;
    let mut values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
        &id,
        &slug,
        &tenant.name,
        &environment,
        &mode,
        &status,
        &metadata,
        &owner.email,
        &owner.sealed_password_hash,
        &owner.email_verified,
        &search_text,
        &next,
        &created_at,
        &updated_at,
    ];
    let changed = if tenant.revision == 0 {
        execute(
            transaction,
            "INSERT INTO tenants (id, slug, name, environment, isolation_mode, status, metadata,
                 owner_email, owner_password_hash, owner_email_verified, search_text, revision,
                 created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            &values,
        )
        .await
    } else {
        values.push(&tenant.revision);
        execute(
            transaction,
            "UPDATE tenants SET slug = $2, name = $3, environment = $4, isolation_mode = $5,
                 status = $6, metadata = $7, owner_email = $8, owner_password_hash = $9,
                 owner_email_verified = $10, search_text = $11, revision = $12,
                 created_at = $13, updated_at = $14
             WHERE id = $1 AND revision = $15",
            &values,
        )
        .await
    };
    if changed.map_err(stale_on_conflict)? == 1 {
        Ok(())
    } else {
        Err(RegistryError::Stale)
    }
}

async fn put_association(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    service: &ServiceName,
    association: &Association,
) -> Result<(), RegistryError> {
    execute(
        transaction,
        "INSERT INTO associations (tenant_id, service, isolation_mode, state, ready,
             credentials_version, settings, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, service) DO UPDATE SET
             isolation_mode = excluded.isolation_mode, state = excluded.state,
             ready = excluded.ready, credentials_version = excluded.credentials_version,
             settings = excluded.settings, created_at = excluded.created_at,
             updated_at = excluded.updated_at",
        &[
            &tenant.as_str(),
            &service.as_str(),
            &association.isolation_mode.as_str(),
            &association.state.as_str(),
            &association.ready,
            &signed(association.version),
            &to_json(&association.settings)?,
            &micros(association.created_at),
            &micros(association.updated_at),
        ],
    )
    .await?;
    for (module, database) in &association.databases {
        execute(
            transaction,
            "INSERT INTO databases (tenant_id, service, module, cluster, isolation_mode, state, spec)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (tenant_id, service, module) DO UPDATE SET
                 cluster = excluded.cluster, isolation_mode = excluded.isolation_mode,
                 state = excluded.state, spec = excluded.spec",
            &[
                &tenant.as_str(),
                &service.as_str(),
                module,
                &database.spec.cluster,
                &database.spec.mode.as_str(),
                &database.state.as_str(),
                &to_json(&database.spec)?,
            ],
        )
        .await?;
    }
    Ok(())
}
