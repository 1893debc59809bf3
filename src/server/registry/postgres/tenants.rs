//! Tenants, associations, databases and credentials in PostgreSQL: reading.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::session::Parameters;
use super::{PostgresRegistry, count, number, write};
use crate::contract::admin::TenantStatus;
use crate::contract::wire::{ActiveTenant, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::provision::DatabaseSpec;
use crate::server::registry::stored::{
    association_state, database_state, from_json, mode, parse, tenant_status, timestamp,
};
use crate::server::registry::{
    Association, Database, DatabaseCursor, RegistryError, StoredOwner, Tenant, TenantFilter,
    TenantKey,
};

/// A tenant with its associations and databases: one statement, so one moment.
const COLUMNS: &str = "t.id, t.slug, t.name, t.environment, t.isolation_mode, t.status, t.metadata,
    t.owner_email, t.owner_password_hash, t.owner_email_verified, t.revision, t.created_at, t.updated_at,
    (SELECT coalesce(json_agg(json_build_array(a.service, a.isolation_mode, a.state, a.ready,
         a.credentials_version, a.settings, a.created_at, a.updated_at)), '[]')::text
     FROM associations a WHERE a.tenant_id = t.id),
    (SELECT coalesce(json_agg(json_build_array(d.service, d.module, d.state, d.spec)), '[]')::text
     FROM databases d WHERE d.tenant_id = t.id)";

/// An association as [`COLUMNS`] gives it.
type AssociationRow = (String, String, String, bool, u32, String, i64, i64);

fn tenant_row(row: &Row) -> Result<Tenant, RegistryError> {
    let mut associations = BTreeMap::new();
    for (service, isolation_mode, state, ready, version, settings, created_at, updated_at) in
        from_json::<Vec<AssociationRow>>(row.try_get(13)?)?
    {
        let association = Association {
            isolation_mode: mode(&isolation_mode)?,
            state: association_state(&state)?,
            ready,
            version,
            settings: from_json(&settings)?,
            databases: BTreeMap::new(),
            created_at: timestamp(created_at)?,
            updated_at: timestamp(updated_at)?,
        };
        associations.insert(parse::<ServiceName>(&service)?, association);
    }
    for (service, module, state, spec) in
        from_json::<Vec<(String, String, String, String)>>(row.try_get(14)?)?
    {
        if let Some(association) = associations.get_mut(&parse::<ServiceName>(&service)?) {
            association
                .databases
                .insert(module, database(&state, &spec)?);
        }
    }
    Ok(Tenant {
        id: parse(row.try_get(0)?)?,
        slug: parse(row.try_get(1)?)?,
        name: row.try_get(2)?,
        environment: parse(row.try_get(3)?)?,
        isolation_mode: mode(row.try_get(4)?)?,
        status: tenant_status(row.try_get(5)?)?,
        metadata: from_json(row.try_get(6)?)?,
        owner: StoredOwner {
            email: row.try_get(7)?,
            sealed_password_hash: row.try_get(8)?,
            email_verified: row.try_get(9)?,
        },
        associations,
        revision: row.try_get(10)?,
        created_at: timestamp(row.try_get(11)?)?,
        updated_at: timestamp(row.try_get(12)?)?,
    })
}

fn database(state: &str, spec: &str) -> Result<Database, RegistryError> {
    Ok(Database {
        state: database_state(state)?,
        spec: from_json(spec)?,
    })
}

/// Returns a tenant with its associations and databases.
pub(super) async fn load(
    registry: &PostgresRegistry,
    key: &TenantKey<'_>,
) -> Result<Option<Tenant>, RegistryError> {
    let (column, value) = match key {
        TenantKey::Id(id) => ("id", id.as_str()),
        TenantKey::Slug(slug) => ("slug", slug.as_str()),
    };
    let sql = format!("SELECT {COLUMNS} FROM tenants t WHERE t.{column} = $1");
    let rows = registry.rows(&sql, &[&value]).await?;
    rows.first().map(tenant_row).transpose()
}

/// Returns a tenant with the sealed credentials that `service` is handed out.
pub(super) async fn handed_out(
    registry: &PostgresRegistry,
    tenant: &TenantId,
    service: &ServiceName,
) -> Result<Option<(Tenant, BTreeMap<String, String>)>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS},
             (SELECT coalesce(json_agg(json_build_array(c.module, c.sealed)), '[]')::text
              FROM credentials c JOIN associations h USING (tenant_id, service)
              WHERE c.tenant_id = t.id AND c.service = $2 AND c.version = h.credentials_version)
         FROM tenants t WHERE t.id = $1"
    );
    let rows = registry
        .rows(&sql, &[&tenant.as_str(), &service.as_str()])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let credentials: Vec<(String, String)> = from_json(row.try_get(15)?)?;
    Ok(Some((tenant_row(row)?, credentials.into_iter().collect())))
}

/// Returns a page of tenants by slug.
pub(super) async fn page(
    registry: &PostgresRegistry,
    filter: &TenantFilter,
    after: Option<&Slug>,
    limit: u32,
) -> Result<Vec<Tenant>, RegistryError> {
    // A shape of its own for every set of filters, so that each gets the plan that suits it.
    let mut sql = format!("SELECT {COLUMNS} FROM tenants t WHERE t.slug > $1");
    let (after, limit) = (after.map_or("", Slug::as_str), count(limit));
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&after, &limit];
    match filter.status.as_deref() {
        None => sql.push_str(" AND t.status <> 'purged'"),
        Some("all") => {}
        Some(_) => {
            parameters.push(&filter.status);
            write(
                &mut sql,
                format_args!(" AND t.status = ${}", parameters.len()),
            );
        }
    }
    if filter.search.is_some() {
        parameters.push(&filter.search);
        write(
            &mut sql,
            format_args!(" AND strpos(t.search_text, ${}) > 0", parameters.len()),
        );
    }
    if filter.environment.is_some() {
        parameters.push(&filter.environment);
        write(
            &mut sql,
            format_args!(" AND t.environment = ${}", parameters.len()),
        );
    }
    if filter.service.is_some() {
        parameters.push(&filter.service);
        write(
            &mut sql,
            format_args!(
                " AND EXISTS (SELECT 1 FROM associations f WHERE f.tenant_id = t.id
                          AND f.service = ${} AND f.state <> 'purged')",
                parameters.len()
            ),
        );
    }
    sql.push_str(" ORDER BY t.slug LIMIT $2");
    let rows = registry.rows(&sql, &parameters).await?;
    rows.iter().map(tenant_row).collect()
}

/// Counts the tenants that a service is active for.
pub(super) async fn count_active(
    registry: &PostgresRegistry,
    service: &str,
    environments: &[Environment],
) -> Result<u64, RegistryError> {
    let environments: Vec<&str> = environments.iter().map(Environment::as_str).collect();
    let row = registry
        .row(
            "SELECT count(*) FROM associations a JOIN tenants t ON t.id = a.tenant_id
             WHERE a.service = $1 AND a.state = 'live' AND a.ready AND t.status = 'active'
               AND (cardinality($2::text[]) = 0 OR t.environment = ANY ($2))",
            &[&service, &environments],
        )
        .await?;
    let count: i64 = row.try_get(0)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns a page of the tenants that a service is active for, of `environments` only unless there
/// are none.
pub(super) async fn active(
    registry: &PostgresRegistry,
    service: &str,
    environments: &[Environment],
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ActiveTenant>, RegistryError> {
    let environments: Vec<&str> = environments.iter().map(Environment::as_str).collect();
    let rows = registry
        .rows(
            "SELECT t.id, t.name FROM associations a JOIN tenants t ON t.id = a.tenant_id
             WHERE a.service = $1 AND a.tenant_id > $2 AND a.state = 'live' AND a.ready
               AND t.status = 'active'
               AND (cardinality($4::text[]) = 0 OR t.environment = ANY ($4))
             ORDER BY a.tenant_id LIMIT $3",
            &[&service, &after.unwrap_or(""), &count(limit), &environments],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ActiveTenant {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                status: TenantStatus::Active.as_str().to_owned(),
            })
        })
        .collect()
}

/// Returns a page of databases with the version of the credentials handed out.
pub(super) async fn databases(
    registry: &PostgresRegistry,
    tenant: Option<&TenantId>,
    service: Option<&ServiceName>,
    after: Option<&DatabaseCursor>,
    limit: u32,
) -> Result<Vec<(Database, u32)>, RegistryError> {
    let mut sql = "SELECT d.state, d.spec, a.credentials_version
         FROM databases d JOIN associations a USING (tenant_id, service)
         WHERE (d.tenant_id, d.service, d.module) > ($1, $2, $3) AND d.state <> 'dropped'"
        .to_owned();
    let (a, b, c) = after.map_or(("", "", ""), |(a, b, c)| (a.as_str(), b.as_str(), c));
    let (tenant, service) = (
        tenant.map(TenantId::as_str),
        service.map(ServiceName::as_str),
    );
    let limit = count(limit);
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&a, &b, &c, &limit];
    if tenant.is_some() {
        parameters.push(&tenant);
        write(
            &mut sql,
            format_args!(" AND d.tenant_id = ${}", parameters.len()),
        );
    }
    if service.is_some() {
        parameters.push(&service);
        write(
            &mut sql,
            format_args!(" AND d.service = ${}", parameters.len()),
        );
    }
    sql.push_str(" ORDER BY d.tenant_id, d.service, d.module LIMIT $4");
    let rows = registry.rows(&sql, &parameters).await?;
    rows.iter()
        .map(|row| {
            let found = database(row.try_get(0)?, row.try_get(1)?)?;
            Ok((found, number(row.try_get(2)?)?))
        })
        .collect()
}

/// Returns a ready database of another tenant.
pub(super) async fn foreign_database(
    registry: &PostgresRegistry,
    cluster: &str,
    mode: IsolationMode,
    not: &TenantId,
) -> Result<Option<DatabaseSpec>, RegistryError> {
    let other = match mode {
        IsolationMode::Database => IsolationMode::Schema,
        IsolationMode::Schema => IsolationMode::Database,
    };
    for mode in [mode, other] {
        let parameters: Parameters<'_> = &[&cluster, &mode.as_str(), &not.as_str()];
        let rows = registry
            .rows(
                "SELECT d.spec FROM databases d JOIN tenants t ON t.id = d.tenant_id
                 WHERE d.cluster = $1 AND d.isolation_mode = $2 AND d.state = 'ready'
                   AND d.tenant_id <> $3 AND t.status <> 'purged' LIMIT 1",
                parameters,
            )
            .await?;
        if let Some(row) = rows.first() {
            return from_json(row.try_get(0)?).map(Some);
        }
    }
    Ok(None)
}

/// Returns sealed credentials by module.
pub(super) async fn credentials(
    registry: &PostgresRegistry,
    tenant: &TenantId,
    service: &ServiceName,
    version: u32,
) -> Result<BTreeMap<String, String>, RegistryError> {
    let version = i32::try_from(version).unwrap_or(i32::MAX);
    let rows = registry
        .rows(
            "SELECT module, sealed FROM credentials WHERE tenant_id = $1 AND service = $2 AND version = $3",
            &[&tenant.as_str(), &service.as_str(), &version],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}
