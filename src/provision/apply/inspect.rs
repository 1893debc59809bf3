//! What is there: roles and databases with their marks, in one question each.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::ProvisionError;
use crate::provision::mark::Mark;
use crate::provision::naming::DATABASES_ROLE;
use crate::provision::sql::ident;
use crate::provision::statements::reset_role;

/// A role that exists.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) oid: u32,
    pub(super) mark: Option<String>,
    pub(super) can_login: bool,
    /// Attributes to take away, as `ALTER ROLE` wants them.
    pub(super) excess: Vec<&'static str>,
    /// Whether we have its rights.
    pub(super) usable: bool,
    /// Databases in which something is set for its sessions.
    pub(super) settings_in: Vec<String>,
}

impl Role {
    /// Returns the statements that take away what a role of ours must not have: attributes, and
    /// settings that it made for itself.
    pub(super) fn repair(&self, name: &str) -> Vec<String> {
        let role = ident(name);
        let mut statements = Vec::new();
        if !self.excess.is_empty() {
            statements.push(format!("ALTER ROLE {role} {}", self.excess.join(" ")));
        }
        statements.push(reset_role(name));
        statements.extend(self.settings_in.iter().map(|database| {
            let database = ident(database);
            format!("ALTER ROLE {role} IN DATABASE {database} RESET ALL")
        }));
        statements
    }
}

/// Returns those of the roles that exist, by name.
pub(super) async fn roles(client: &Client, names: &[&str]) -> Result<HashMap<String, Role>, Error> {
    let rows = client
        .query_typed(
            "SELECT rolname::text, oid, shobj_description(oid, 'pg_authid'), rolcanlogin, \
             rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, \
             pg_has_role(current_user, oid, 'USAGE'), \
             ARRAY(SELECT d.datname::text FROM pg_db_role_setting s \
               JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = pg_roles.oid) \
             FROM pg_roles WHERE rolname = ANY($1)",
            &[(&names, Type::NAME_ARRAY)],
        )
        .await?;
    let role = |row: &tokio_postgres::Row| Role {
        oid: row.get(1),
        mark: row.get(2),
        can_login: row.get(3),
        excess: [
            (4, "NOSUPERUSER"),
            (5, "NOCREATEDB"),
            (6, "NOCREATEROLE"),
            (7, "NOREPLICATION"),
            (8, "NOBYPASSRLS"),
        ]
        .into_iter()
        .filter(|(column, _)| row.get(*column))
        .map(|(_, remedy)| remedy)
        .collect(),
        usable: row.get(9),
        settings_in: row.get(10),
    };
    Ok(rows.iter().map(|row| (row.get(0), role(row))).collect())
}

/// Returns the databases in which the roles own something or were given something, and whether
/// they take connections.
pub(super) async fn footprint(
    client: &Client,
    roles: &[u32],
) -> Result<Vec<(String, bool)>, Error> {
    let rows = client
        .query_typed(
            "SELECT DISTINCT d.datname::text, d.datallowconn FROM pg_shdepend s \
             JOIN pg_database d ON d.oid = s.dbid \
             WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY($1) ORDER BY 1",
            &[(&roles, Type::OID_ARRAY)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A database that exists.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) mark: Option<String>,
    /// Whether it belongs to the role that owns our databases.
    pub(super) ours: bool,
    /// Made by us and not marked yet: owned by our role, closed, untouched.
    unfinished: bool,
    /// Closed to `PUBLIC`.
    pub(super) closed: bool,
    /// Half dropped.
    pub(super) broken: bool,
    /// Most sessions.
    pub(super) limit: i32,
    /// Open to the tenant as it should be, and closed to everyone.
    pub(super) settled: bool,
}

/// What to think of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Missing,
    /// We made it, and were stopped before marking it.
    Unfinished,
    /// It carries the mark.
    Marked,
    /// It carries the mark, and dropping it was interrupted.
    Broken,
}

/// Returns the database called `name`; it is settled when `owner` may enter with all rights that
/// a tenant has on its own database and `limit` sessions.
pub(super) async fn database(
    client: &Client,
    name: &str,
    owner: &str,
    limit: u32,
) -> Result<Option<Database>, Error> {
    let limit = i64::from(limit);
    let row = client
        .query_typed_opt(
            "SELECT shobj_description(d.oid, 'pg_database'), \
               o.rolname = $3, \
               o.rolname = $3 AND NOT d.datallowconn AND d.datacl IS NULL AND NOT d.datistemplate \
                 AND d.datconnlimit = -1, \
               shobj_description(o.oid, 'pg_authid'), \
               d.datconnlimit = -2, \
               d.datallowconn AND d.datconnlimit = $4 AND (SELECT \
                   coalesce(bool_and(a.grantee <> 0), false) \
                   AND count(*) FILTER (WHERE a.grantee = t.oid) = 3 \
                 FROM aclexplode(d.datacl) a), \
               NOT EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
                 WHERE a.grantee = 0), \
               d.datconnlimit \
             FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba \
             LEFT JOIN pg_roles t ON t.rolname = $2 WHERE d.datname = $1",
            &[
                (&name, Type::NAME),
                (&owner, Type::NAME),
                (&DATABASES_ROLE, Type::NAME),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    Ok(row.map(|row| {
        let owner_mark: Option<String> = row.get(3);
        let by_us = owner_mark.as_deref().and_then(Mark::parse) == Some(Mark::Cluster);
        Database {
            mark: row.get(0),
            ours: row.get::<_, bool>(1) && by_us,
            unfinished: row.get::<_, bool>(2) && by_us,
            closed: row.get(6),
            limit: row.get(7),
            broken: row.get(4),
            settled: row.get::<_, Option<bool>>(5).unwrap_or(false),
        }
    }))
}

/// Says whether a database may be touched: its mark is one of `accepted`, or it has none and only
/// we can have made it.
pub(super) fn standing(
    found: Option<&Database>,
    name: &str,
    accepted: &[Mark],
) -> Result<Standing, ProvisionError> {
    let Some(found) = found else {
        return Ok(Standing::Missing);
    };
    let mark = found.mark.as_deref();
    // Nobody else can give a database to a role that has no other members, and nobody could
    // connect to it since: it is as empty as template0.
    if mark.is_none() && found.unfinished {
        return Ok(Standing::Unfinished);
    }
    match mark.and_then(Mark::parse) {
        Some(mark) if accepted.contains(&mark) && found.broken => Ok(Standing::Broken),
        Some(mark) if accepted.contains(&mark) => Ok(Standing::Marked),
        _ => Err(Mark::foreign(format!("database `{name}`"), mark)),
    }
}
