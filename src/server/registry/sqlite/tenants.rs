//! Tenants, associations, databases and credentials in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{audit, from_json, micros, operations, outbox, parse, timestamp, to_json};
use crate::audit::MacKey;
use crate::contract::admin::TenantStatus;
use crate::contract::wire::{ActiveTenant, IsolationMode};
use crate::contract::{Environment, ServiceName, Slug, TenantId};
use crate::provision::DatabaseSpec;
use crate::server::registry::stored::{
    association_state, database_state, mode, search_text, tenant_status,
};
use crate::server::registry::{
    Association, Commit, Database, DatabaseCursor, RegistryError, StoredOwner, Tenant,
    TenantFilter, TenantKey,
};

const COLUMNS: &str = "id, slug, name, environment, isolation_mode, status, metadata, owner_email, \
     owner_password_hash, owner_email_verified, revision, created_at, updated_at";

fn tenant_row(row: &Row<'_>) -> Result<Tenant, RegistryError> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
    let status = tenant_status(text(5)?)?;
    Ok(Tenant {
        id: parse(text(0)?)?,
        slug: parse(text(1)?)?,
        name: row.get(2)?,
        environment: parse(text(3)?)?,
        isolation_mode: mode(text(4)?)?,
        status,
        metadata: from_json(text(6)?)?,
        owner: StoredOwner {
            email: row.get(7)?,
            sealed_password_hash: row.get(8)?,
            email_verified: row.get(9)?,
        },
        associations: BTreeMap::new(),
        revision: row.get(10)?,
        created_at: timestamp(row.get(11)?)?,
        updated_at: timestamp(row.get(12)?)?,
    })
}

/// Returns a tenant with its associations and databases.
pub(super) fn load(
    connection: &Connection,
    key: &TenantKey<'_>,
) -> Result<Option<Tenant>, RegistryError> {
    let (column, value) = match key {
        TenantKey::Id(id) => ("id", id.as_str()),
        TenantKey::Slug(slug) => ("slug", slug.as_str()),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tenants WHERE {column} = ?1"
    ))?;
    let mut rows = statement.query([value])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let mut tenant = tenant_row(row)?;
    load_associations(connection, &mut tenant)?;
    Ok(Some(tenant))
}

fn load_associations(connection: &Connection, tenant: &mut Tenant) -> Result<(), RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT service, isolation_mode, state, ready, credentials_version, settings, created_at, updated_at
         FROM associations WHERE tenant_id = ?1",
    )?;
    let mut rows = statement.query([tenant.id.as_str()])?;
    while let Some(row) = rows.next()? {
        let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
        let state = association_state(text(2)?)?;
        tenant.associations.insert(
            parse(text(0)?)?,
            Association {
                isolation_mode: mode(text(1)?)?,
                state,
                ready: row.get(3)?,
                version: row.get(4)?,
                settings: from_json(text(5)?)?,
                databases: BTreeMap::new(),
                created_at: timestamp(row.get(6)?)?,
                updated_at: timestamp(row.get(7)?)?,
            },
        );
    }
    if tenant.associations.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "SELECT service, module, state, spec FROM databases WHERE tenant_id = ?1",
    )?;
    let mut rows = statement.query([tenant.id.as_str()])?;
    while let Some(row) = rows.next()? {
        let service: ServiceName = parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        if let Some(association) = tenant.associations.get_mut(&service) {
            association.databases.insert(row.get(1)?, database(row, 2)?);
        }
    }
    Ok(())
}

/// Reads state and spec from the columns `first` and the one after.
fn database(row: &Row<'_>, first: usize) -> Result<Database, RegistryError> {
    let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
    let state = database_state(text(first)?)?;
    Ok(Database {
        spec: from_json(text(first + 1)?)?,
        state,
    })
}

/// Returns a page of tenants by slug.
pub(super) fn page(
    connection: &Connection,
    filter: &TenantFilter,
    after: Option<&Slug>,
    limit: u32,
) -> Result<Vec<Tenant>, RegistryError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM tenants
         WHERE slug > ?1
           AND (?2 IS NULL OR instr(search_text, ?2) > 0)
           AND (CASE WHEN ?3 IS NULL THEN status <> 'purged' ELSE ?3 = 'all' OR status = ?3 END)
           AND (?4 IS NULL OR environment = ?4)
           AND (?5 IS NULL OR EXISTS (
                SELECT 1 FROM associations a
                WHERE a.tenant_id = tenants.id AND a.service = ?5 AND a.state <> 'purged'))
         ORDER BY slug LIMIT ?6"
    ))?;
    let mut rows = statement.query(params![
        after.map_or("", Slug::as_str),
        filter.search,
        filter.status,
        filter.environment,
        filter.service,
        limit,
    ])?;
    let mut tenants = Vec::new();
    while let Some(row) = rows.next()? {
        let mut tenant = tenant_row(row)?;
        load_associations(connection, &mut tenant)?;
        tenants.push(tenant);
    }
    Ok(tenants)
}

/// Counts the tenants that a service is active for.
pub(super) fn count_active(
    connection: &Connection,
    service: &str,
    environments: &[Environment],
) -> Result<u64, RegistryError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM associations a JOIN tenants t ON t.id = a.tenant_id
             WHERE a.service = ?1 AND a.state = 'live' AND a.ready = 1 AND t.status = 'active'
               AND (?2 = '[]' OR t.environment IN (SELECT value FROM json_each(?2)))",
        )?
        .query_row(params![service, to_json(&environments)?], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns a page of the tenants that a service is active for, of `environments` only unless there
/// are none.
pub(super) fn active(
    connection: &Connection,
    service: &str,
    environments: &[Environment],
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<ActiveTenant>, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT t.id, t.name FROM associations a JOIN tenants t ON t.id = a.tenant_id
         WHERE a.service = ?1 AND a.tenant_id > ?2 AND a.state = 'live' AND a.ready = 1
           AND t.status = 'active'
           AND (?4 = '[]' OR t.environment IN (SELECT value FROM json_each(?4)))
         ORDER BY a.tenant_id LIMIT ?3",
    )?;
    let environments = to_json(&environments)?;
    let parameters = params![service, after.unwrap_or(""), limit, environments];
    let rows = statement.query_map(parameters, |row| {
        Ok(ActiveTenant {
            id: row.get(0)?,
            name: row.get(1)?,
            status: TenantStatus::Active.as_str().to_owned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns a page of databases with the version of the credentials handed out.
pub(super) fn databases(
    connection: &Connection,
    tenant: Option<&TenantId>,
    service: Option<&ServiceName>,
    after: Option<&DatabaseCursor>,
    limit: u32,
) -> Result<Vec<(Database, u32)>, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT d.state, d.spec, a.credentials_version
         FROM databases d JOIN associations a USING (tenant_id, service)
         WHERE (d.tenant_id, d.service, d.module) > (?1, ?2, ?3)
           AND (?4 IS NULL OR d.tenant_id = ?4) AND (?5 IS NULL OR d.service = ?5)
           AND d.state <> 'dropped'
         ORDER BY d.tenant_id, d.service, d.module LIMIT ?6",
    )?;
    let empty = ("", "", "");
    let (a, b, c) = after.map_or(empty, |(a, b, c)| (a.as_str(), b.as_str(), c.as_str()));
    let mut rows = statement.query(params![
        a,
        b,
        c,
        tenant.map(TenantId::as_str),
        service.map(ServiceName::as_str),
        limit
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((database(row, 0)?, row.get(2)?));
    }
    Ok(found)
}

/// Returns a ready database of another tenant.
pub(super) fn foreign_database(
    connection: &Connection,
    cluster: &str,
    mode: IsolationMode,
    not: &TenantId,
) -> Result<Option<DatabaseSpec>, RegistryError> {
    let other = match mode {
        IsolationMode::Database => IsolationMode::Schema,
        IsolationMode::Schema => IsolationMode::Database,
    };
    let mut statement = connection.prepare_cached(
        "SELECT d.spec FROM databases d JOIN tenants t ON t.id = d.tenant_id
         WHERE d.cluster = ?1 AND d.isolation_mode = ?2 AND d.state = 'ready'
           AND d.tenant_id <> ?3 AND t.status <> 'purged' LIMIT 1",
    )?;
    for mode in [mode, other] {
        let spec: Option<String> = statement
            .query_row(params![cluster, mode.as_str(), not.as_str()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(spec) = spec {
            return from_json(&spec).map(Some);
        }
    }
    Ok(None)
}

/// Returns sealed credentials by module.
pub(super) fn credentials(
    connection: &Connection,
    tenant: &TenantId,
    service: &ServiceName,
    version: u32,
) -> Result<BTreeMap<String, String>, RegistryError> {
    let mut statement = connection.prepare_cached(
        "SELECT module, sealed FROM credentials WHERE tenant_id = ?1 AND service = ?2 AND version = ?3",
    )?;
    let rows = statement.query_map(params![tenant.as_str(), service.as_str(), version], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Makes a change of one tenant. The caller holds the transaction.
pub(super) fn commit(
    connection: &Connection,
    key: Option<&MacKey>,
    commit: &Commit,
) -> Result<(), RegistryError> {
    let tenant = &commit.tenant;
    put_tenant(connection, tenant)?;
    for (service, association) in &tenant.associations {
        put_association(connection, &tenant.id, service, association)?;
    }
    for credential in &commit.credentials {
        connection
            .prepare_cached(
                "INSERT INTO credentials (tenant_id, service, version, module, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tenant_id, service, version, module) DO UPDATE SET sealed = excluded.sealed",
            )?
            .execute(params![
                tenant.id.as_str(),
                credential.service.as_str(),
                credential.version,
                credential.module,
                credential.sealed,
            ])?;
    }
    for (service, version) in &commit.forget {
        connection
            .prepare_cached(
                "DELETE FROM credentials WHERE tenant_id = ?1 AND service = ?2 AND version <= ?3",
            )?
            .execute(params![tenant.id.as_str(), service.as_str(), version])?;
    }
    for operation in &commit.operations {
        operations::insert(connection, tenant, operation)?;
    }
    for (id, reason) in &commit.supersede {
        operations::supersede(connection, id, reason)?;
    }
    for (id, at) in &commit.reschedule {
        operations::reschedule(connection, id, *at)?;
    }
    if let Some(step) = &commit.step {
        operations::not_done(connection, step)?;
        operations::step_done(connection, key, step)?;
    }
    outbox::insert(connection, tenant, &commit.events)?;
    if let Some(replay) = &commit.replay {
        outbox::keep(connection, replay)?;
    }
    audit::append(connection, key, &commit.audit)
}

/// Turns a broken uniqueness into "read again": someone else was faster.
pub(super) fn stale_on_conflict(error: rusqlite::Error) -> RegistryError {
    match error.sqlite_error() {
        Some(code)
            if code.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                || code.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY =>
        {
            RegistryError::Stale
        }
        _ => error.into(),
    }
}

fn put_tenant(connection: &Connection, tenant: &Tenant) -> Result<(), RegistryError> {
    let search_text = search_text(tenant);
    let values = params![
        tenant.id.as_str(),
        tenant.slug.as_str(),
        tenant.name,
        tenant.environment.as_str(),
        tenant.isolation_mode.as_str(),
        tenant.status.as_str(),
        to_json(&tenant.metadata)?,
        tenant.owner.email,
        tenant.owner.sealed_password_hash,
        tenant.owner.email_verified,
        search_text,
        tenant.revision,
        micros(tenant.created_at),
        micros(tenant.updated_at),
    ];
    let changed = if tenant.revision == 0 {
        connection
            .prepare_cached(
                "INSERT INTO tenants (id, slug, name, environment, isolation_mode, status, metadata,
                     owner_email, owner_password_hash, owner_email_verified, search_text, revision,
                     created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 + 1, ?13, ?14)",
            )?
            .execute(values)
            .map_err(stale_on_conflict)?
    } else {
        connection
            .prepare_cached(
                "UPDATE tenants SET slug = ?2, name = ?3, environment = ?4, isolation_mode = ?5,
                     status = ?6, metadata = ?7, owner_email = ?8, owner_password_hash = ?9,
                     owner_email_verified = ?10, search_text = ?11, revision = ?12 + 1,
                     created_at = ?13, updated_at = ?14
                 WHERE id = ?1 AND revision = ?12",
            )?
            .execute(values)?
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(RegistryError::Stale)
    }
}

fn put_association(
    connection: &Connection,
    tenant: &TenantId,
    service: &ServiceName,
    association: &Association,
) -> Result<(), RegistryError> {
    connection
        .prepare_cached(
            "INSERT INTO associations (tenant_id, service, isolation_mode, state, ready,
                 credentials_version, settings, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (tenant_id, service) DO UPDATE SET
                 isolation_mode = excluded.isolation_mode, state = excluded.state,
                 ready = excluded.ready, credentials_version = excluded.credentials_version,
                 settings = excluded.settings, created_at = excluded.created_at,
                 updated_at = excluded.updated_at",
        )?
        .execute(params![
            tenant.as_str(),
            service.as_str(),
            association.isolation_mode.as_str(),
            association.state.as_str(),
            association.ready,
            association.version,
            to_json(&association.settings)?,
            micros(association.created_at),
            micros(association.updated_at),
        ])?;
    for (module, database) in &association.databases {
        connection
            .prepare_cached(
                "INSERT INTO databases (tenant_id, service, module, cluster, isolation_mode, state, spec)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (tenant_id, service, module) DO UPDATE SET
                     cluster = excluded.cluster, isolation_mode = excluded.isolation_mode,
                     state = excluded.state, spec = excluded.spec",
            )?
            .execute(params![
                tenant.as_str(),
                service.as_str(),
                module,
                database.spec.cluster,
                database.spec.mode.as_str(),
                database.state.as_str(),
                to_json(&database.spec)?,
            ])?;
    }
    Ok(())
}
