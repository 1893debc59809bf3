//! The statements of every step: what a plan shows is what is sent.

use super::limits::{IDLE_IN_TRANSACTION_TIMEOUT, connection_limit, statement_timeout_ms};
use super::mark::Mark;
use super::naming::DATABASES_ROLE;
use super::plan::{DatabaseSpec, Slot};
use super::sql::{ident, idents, literal, literals};

/// Attributes that no tenant role has.
const NO_RIGHTS: &str = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";

/// Makes the role that owns databases. It inherits, so that whoever is a member of it (an admin
/// that is not a superuser) also has the rights of a database's owner inside the database.
pub(super) fn create_databases_role() -> Vec<String> {
    vec![
        format!("CREATE ROLE {DATABASES_ROLE} NOLOGIN INHERIT {NO_RIGHTS}"),
        comment_on_role(DATABASES_ROLE, &Mark::Cluster),
    ]
}

pub(super) fn comment_on_role(role: &str, mark: &Mark) -> String {
    comment("ROLE", role, mark)
}

fn comment(kind: &str, name: &str, mark: &Mark) -> String {
    format!(
        "COMMENT ON {kind} {} IS {}",
        ident(name),
        literal(&mark.to_string())
    )
}

/// Makes a database that nobody can connect to: it is opened only after `PUBLIC` lost its rights.
pub(super) fn create_database(spec: &DatabaseSpec) -> String {
    format!(
        "CREATE DATABASE {} WITH OWNER {DATABASES_ROLE} TEMPLATE template0 ENCODING 'UTF8' \
         ALLOW_CONNECTIONS false",
        ident(&spec.names.database)
    )
}

/// Gives a database back to the role that owns databases.
pub(super) fn take_database(spec: &DatabaseSpec) -> String {
    format!(
        "ALTER DATABASE {} OWNER TO {DATABASES_ROLE}",
        ident(&spec.names.database)
    )
}

/// Marks and closes a tenant's own database to `PUBLIC`, then lets its owner role in.
///
/// `CREATE` is for schemas and trusted extensions inside it (Tracer's migrations make `pgcrypto`).
pub(super) fn settle_database(spec: &DatabaseSpec) -> Vec<String> {
    let database = ident(&spec.names.database);
    vec![
        comment("DATABASE", &spec.names.database, &Mark::of(spec)),
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!(
            "GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {database} TO {}",
            ident(&spec.names.owner)
        ),
        format!(
            "ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {}",
            database_limit(spec)
        ),
    ]
}

/// Returns how many sessions a tenant's own database takes: both logins may be in use during a
/// rotation.
pub(super) fn database_limit(spec: &DatabaseSpec) -> u32 {
    2 * connection_limit(&spec.settings)
}

pub(super) fn limit_database(spec: &DatabaseSpec) -> String {
    format!(
        "ALTER DATABASE {} WITH CONNECTION LIMIT {}",
        ident(&spec.names.database),
        database_limit(spec)
    )
}

/// Marks a shared database and closes it to `PUBLIC`; the inside is still to be done.
pub(super) fn settle_shared_database(spec: &DatabaseSpec) -> Vec<String> {
    let database = ident(&spec.names.database);
    vec![
        comment(
            "DATABASE",
            &spec.names.database,
            &Mark::shared_by(spec, false),
        ),
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true"),
    ]
}

/// Takes the schema `public` of a shared database from everybody, and marks the database ready.
pub(super) fn close_shared_public(spec: &DatabaseSpec) -> Vec<String> {
    vec![
        "REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned(),
        comment(
            "DATABASE",
            &spec.names.database,
            &Mark::shared_by(spec, true),
        ),
    ]
}

pub(super) fn create_owner(spec: &DatabaseSpec) -> Vec<String> {
    vec![
        format!(
            "CREATE ROLE {} NOLOGIN NOINHERIT {NO_RIGHTS}",
            ident(&spec.names.owner)
        ),
        comment_on_role(&spec.names.owner, &Mark::of(spec)),
    ]
}

/// Makes a login role: open with a password's verifier, or closed without.
pub(super) fn create_login(spec: &DatabaseSpec, slot: Slot, verifier: Option<&str>) -> Vec<String> {
    let login = spec.login(slot);
    vec![
        format!(
            "CREATE ROLE {} INHERIT {NO_RIGHTS} {}",
            ident(login),
            login_options(spec, verifier)
        ),
        comment_on_role(login, &Mark::of(spec)),
    ]
}

/// Forgets everything that was set on a role, also by itself.
pub(super) fn reset_role(role: &str) -> String {
    format!("ALTER ROLE {} RESET ALL", ident(role))
}

/// Opens or closes a login role that exists.
pub(super) fn alter_login(spec: &DatabaseSpec, slot: Slot, verifier: Option<&str>) -> String {
    format!(
        "ALTER ROLE {} INHERIT {}",
        ident(spec.login(slot)),
        login_options(spec, verifier)
    )
}

fn login_options(spec: &DatabaseSpec, verifier: Option<&str>) -> String {
    let limit = connection_limit(&spec.settings);
    match verifier {
        Some(verifier) => format!(
            "LOGIN CONNECTION LIMIT {limit} PASSWORD {}",
            literal(verifier)
        ),
        None => format!("NOLOGIN CONNECTION LIMIT {limit} PASSWORD NULL"),
    }
}

/// Makes both logins members of the owner.
pub(super) fn grant_owner(spec: &DatabaseSpec) -> String {
    format!(
        "GRANT {} TO {}",
        ident(&spec.names.owner),
        idents(spec.names.logins.iter().map(String::as_str))
    )
}

/// Sets what every session of a login starts with.
pub(super) fn login_settings(spec: &DatabaseSpec, slot: Slot) -> Vec<String> {
    let login = ident(spec.login(slot));
    let set = |name: &str, value: &str| format!("ALTER ROLE {login} SET {name} = {value}");
    let mut statements = vec![
        // Every object belongs to the owner, so the other login can use it after a rotation.
        set("role", &literal(&spec.names.owner)),
        set(
            "idle_in_transaction_session_timeout",
            &literal(IDLE_IN_TRANSACTION_TIMEOUT),
        ),
    ];
    if let Some(ms) = statement_timeout_ms(&spec.settings.statement_timeout) {
        statements.push(set("statement_timeout", &literal(&format!("{ms}ms"))));
    }
    if let Some(schema) = &spec.names.schema {
        statements.push(set("search_path", &ident(schema)));
        // What is set for a role in one database outranks what is set for the role.
        statements.push(format!(
            "ALTER ROLE {login} IN DATABASE {} SET search_path = {}",
            ident(&spec.names.database),
            ident(schema)
        ));
    }
    statements
}

/// Gives the schema `public` of a tenant's own database to its owner role.
pub(super) fn settle_public(spec: &DatabaseSpec, exists: bool) -> Vec<String> {
    let owner = ident(&spec.names.owner);
    let mut statements = vec![if exists {
        format!("ALTER SCHEMA public OWNER TO {owner}")
    } else {
        format!("CREATE SCHEMA public AUTHORIZATION {owner}")
    }];
    statements.push("REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned());
    statements.extend(default_privileges(spec));
    statements
}

/// Makes a tenant's schema in the shared database.
pub(super) fn create_schema(spec: &DatabaseSpec, schema: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE SCHEMA {} AUTHORIZATION {}",
            ident(schema),
            ident(&spec.names.owner)
        ),
        comment("SCHEMA", schema, &Mark::of(spec)),
    ]
}

/// Repairs owner and privileges of a tenant's schema that exists.
pub(super) fn alter_schema(spec: &DatabaseSpec, schema: &str) -> Vec<String> {
    let schema = ident(schema);
    vec![
        format!(
            "ALTER SCHEMA {schema} OWNER TO {}",
            ident(&spec.names.owner)
        ),
        format!("REVOKE ALL ON SCHEMA {schema} FROM PUBLIC"),
    ]
}

/// Keeps what the owner makes later from `PUBLIC`, which by default may run every function.
pub(super) fn default_privileges(spec: &DatabaseSpec) -> Vec<String> {
    let owner = ident(&spec.names.owner);
    ["EXECUTE ON FUNCTIONS", "USAGE ON TYPES"]
        .map(|right| {
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE {right} FROM PUBLIC")
        })
        .to_vec()
}

/// Lets a tenant into the shared database.
///
/// Only `CONNECT`: `CREATE` would let it make the schema of a tenant that is about to come, and
/// temporary tables (which no product is known to use) fill a disk that all tenants share.
/// The lock is because PostgreSQL cannot change one database's privileges twice at once.
pub(super) fn join_shared_database(spec: &DatabaseSpec) -> Vec<String> {
    vec![
        lock_privileges(&spec.names.database),
        format!(
            "GRANT CONNECT ON DATABASE {} TO {}",
            ident(&spec.names.database),
            ident(&spec.names.owner)
        ),
    ]
}

/// Takes the lock on a database's privileges until the end of the transaction.
///
/// Advisory locks are per database: everyone takes it in a session of that very database.
pub(super) fn lock_privileges(database: &str) -> String {
    let digest = crate::secret::sha256_hex(format!("lerianctl privileges {database}").as_bytes());
    let key = i64::from_str_radix(&digest[..15], 16).expect("15 hex digits fit into 63 bits");
    format!("SELECT pg_catalog.pg_advisory_xact_lock({key})")
}

pub(super) fn close_login(login: &str) -> String {
    format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", ident(login))
}

/// Ends every session of the roles; answers how many there were.
pub(super) fn end_sessions(roles: &[&str]) -> String {
    format!(
        "SELECT count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid) IS NOT NULL) \
         FROM pg_catalog.pg_stat_activity WHERE usename IN ({})",
        literals(roles.iter().copied())
    )
}

/// Hands what a login came to own in this database to the owner.
pub(super) fn hand_over(spec: &DatabaseSpec, login: &str) -> String {
    format!(
        "REASSIGN OWNED BY {} TO {}",
        ident(login),
        ident(&spec.names.owner)
    )
}

pub(super) fn drop_database(spec: &DatabaseSpec) -> String {
    format!("DROP DATABASE {} WITH (FORCE)", ident(&spec.names.database))
}

pub(super) fn drop_schema(schema: &str) -> String {
    format!("DROP SCHEMA IF EXISTS {} CASCADE", ident(schema))
}

/// Drops whatever else the roles own in one database, and every privilege they have there and on
/// the database.
pub(super) fn drop_owned(database: &str, roles: &[&str]) -> Vec<String> {
    vec![
        lock_privileges(database),
        format!("DROP OWNED BY {} CASCADE", idents(roles.iter().copied())),
    ]
}

pub(super) fn drop_roles(roles: &[&str]) -> String {
    format!("DROP ROLE IF EXISTS {}", idents(roles.iter().copied()))
}

/// Wraps statements that need the rights of `roles`, for an admin that is not a superuser.
pub(super) fn as_members(roles: &[&str], statements: Vec<String>) -> Vec<String> {
    let roles = idents(roles.iter().copied());
    let mut wrapped = vec![format!("GRANT {roles} TO CURRENT_USER")];
    wrapped.extend(statements);
    wrapped.push(format!("REVOKE {roles} FROM CURRENT_USER"));
    wrapped
}
