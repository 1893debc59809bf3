//! The negative control: breaches that are planted, looked for, and taken back.
//!
//! Everything happens in one transaction that is always rolled back: roles, schemas and objects
//! with random names, visible to nobody else, gone with the connection however it ends. The very
//! statements that look at the fleet look at them, and each has to find its breach. A check that
//! does not, says nothing about the fleet either.

use std::collections::BTreeSet;

use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::audit::Refusal;
use super::catalogue::known;
use super::model::{Check, Family};
use super::report::{Control, ControlState};
use crate::link::postgres::{Gate, PostgresEndpoint};
use crate::provision::sql::ident;
use crate::secret::random_bytes;

/// Options of the control's session. It writes, and takes back.
const OPTIONS: &str = "-c search_path=pg_catalog -c jit=off -c statement_timeout=60s -c lock_timeout=10s -c \
                       default_transaction_read_only=off -c standard_conforming_strings=on -c transform_null_equals=off -c \
                       idle_in_transaction_session_timeout=60s";

/// What no transaction can plant: rules for hosts, prepared transactions, sessions over the
/// network, the server's version, 500 grants, objects in another database.
const BY_NATURE: &[&str] = &[
    "PG-010", "PG-014", "PG-023", "PG-024", "PG-025", "PG-026", "PG-112", "PG-114",
];

/// Where breaches of databases are planted. Who is no superuser acts for the scratch roles meanwhile.
const PLACES: &[&str] = &[
    "DO $do$ BEGIN IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN \
       GRANT {a}, {b}, {bo} TO CURRENT_USER; END IF; END $do$",
    "CREATE SCHEMA {sa} AUTHORIZATION {a}",
    "CREATE SCHEMA {sb} AUTHORIZATION {bo}",
    "CREATE SCHEMA {sx}",
    "CREATE TABLE {sa}.t (id int, n int)",
    "CREATE TABLE {sb}.t (id int, n int)",
];

/// Takes those memberships back: they are a breach of their own.
const FROM_PLACES: &str = "DO $do$ BEGIN IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN \
     REVOKE {a}, {b}, {bo} FROM CURRENT_USER; END IF; END $do$";

/// Fails where the statement before it granted nothing: PostgreSQL only warns of that.
macro_rules! granted {
    ($database:literal, $right:literal) => {
        concat!(
            "DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) x \
             WHERE d.datname = ", $database, " AND x.privilege_type = '", $right, "' \
             AND pg_get_userbyid(x.grantee) = '{a}') THEN \
             RAISE EXCEPTION 'this login may not grant it'; END IF; END $do$"
        )
    };
}

/// Breaches: the checks that have to find it, and how it is made. `{a}` and `{b}` are the logins of
/// two scratch tenants, `{bo}` the owner role of the second, `{sa}` and `{sb}` their schemas.
const PLANTS: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            "CREATE ROLE {a} LOGIN",
            "CREATE ROLE {b} LOGIN",
            "CREATE ROLE {bo} NOLOGIN",
            "CREATE ROLE {s} LOGIN",
            "CREATE ROLE {c} LOGIN",
            "CREATE ROLE {x} LOGIN",
        ],
    ),
    // Nothing to make: names, missing things, a shared login and a purged tenant are in the rows.
    (
        &[
            "PG-006", "PG-012", "PG-016", "PG-018", "PG-019", "PG-027", "PG-210",
        ],
        &[],
    ),
    (&["PG-110", "PG-120", "PG-121"], &[]),
    (&["PG-001"], &["GRANT CONNECT ON DATABASE {db} TO PUBLIC"]),
    (
        &["PG-002", "PG-007"],
        &[
            "GRANT CONNECT ON DATABASE {db} TO {a}",
            granted!("current_database()", "CONNECT"),
        ],
    ),
    // Since PostgreSQL 16 nobody gives an attribute that it has not itself.
    (&["PG-003"], &["ALTER ROLE {a} CREATEROLE"]),
    (&["PG-004"], &["GRANT {bo} TO {a}"]),
    (&["PG-005"], &["GRANT {a}, {bo} TO {x}"]),
    (&["PG-008"], &["ALTER DATABASE {db} OWNER TO {b}"]),
    (
        &["PG-009"],
        &[
            "GRANT CONNECT ON DATABASE template1 TO {a}",
            granted!("'template1'", "CONNECT"),
        ],
    ),
    (&["PG-011"], &["ALTER DATABASE {db} IS_TEMPLATE true"]),
    (
        &["PG-013", "PG-108"],
        &["ALTER ROLE {a} SET search_path = {sb}"],
    ),
    (
        &["PG-015"],
        &["ALTER ROLE {a} PASSWORD 'md500000000000000000000000000000000'"],
    ),
    (
        &["PG-021"],
        &["GRANT CREATE ON TABLESPACE pg_default TO {a}"],
    ),
    (
        &["PG-022"],
        &["GRANT SET ON PARAMETER session_replication_role TO {a}"],
    ),
    (&["CF-13"], &["ALTER ROLE {b} CONNECTION LIMIT 1000000"]),
    (&["CF-20"], &["ALTER ROLE {b} SET statement_timeout = '2s'"]),
    (
        &["PG-020"],
        &[
            "CREATE VIEW {sx}.pg_stat_statements AS SELECT 1 AS n",
            "GRANT SELECT ON {sx}.pg_stat_statements TO PUBLIC",
        ],
    ),
    (&["PG-101"], &["GRANT USAGE ON SCHEMA {sb} TO {a}"]),
    (&["PG-102"], &["GRANT SELECT ON {sb}.t TO {a}"]),
    (
        &["PG-103", "PG-119"],
        &[
            "CREATE VIEW {sa}.v AS SELECT id FROM {sb}.t",
            "GRANT SELECT ON {sa}.v TO {b}",
        ],
    ),
    (
        &["PG-104", "PG-105"],
        &[
            "CREATE FUNCTION {sa}.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER \
             AS 'SELECT count(*) FROM {sb}.t'",
        ],
    ),
    (
        &["PG-107"],
        &["ALTER DEFAULT PRIVILEGES FOR ROLE {bo} GRANT SELECT ON TABLES TO {a}"],
    ),
    (
        &["PG-109"],
        &[
            "GRANT CREATE ON DATABASE {db} TO {a}",
            granted!("current_database()", "CREATE"),
        ],
    ),
    (
        &["PG-111"],
        &[
            "CREATE TABLE {sx}.h (tenant_id text)",
            "GRANT SELECT ON {sx}.h TO {a}",
        ],
    ),
    (
        &["PG-113"],
        &[
            "CREATE FOREIGN DATA WRAPPER {x}",
            "CREATE SERVER {x} FOREIGN DATA WRAPPER {x}",
            "CREATE USER MAPPING FOR PUBLIC SERVER {x}",
        ],
    ),
    (
        &["PG-115"],
        &[
            "CREATE SCHEMA IF NOT EXISTS timetable",
            "CREATE TABLE IF NOT EXISTS timetable.chain (id int)",
            "GRANT USAGE ON SCHEMA timetable TO {a}",
        ],
    ),
    (
        &["PG-116"],
        &["DO $do$ DECLARE o oid := lo_create(0); BEGIN \
           EXECUTE format('ALTER LARGE OBJECT %s OWNER TO {bo}', o); \
           EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO {a}', o); END $do$"],
    ),
    (
        &["PG-117"],
        &["CREATE PUBLICATION {x} FOR TABLE {sa}.t, {sb}.t"],
    ),
    (
        &["PG-118"],
        &["CREATE STATISTICS {sa}.st (dependencies) ON id, n FROM {sb}.t"],
    ),
    (
        &["PG-122"],
        &[
            "CREATE TABLE {sa}.schema_migrations (version bigint, dirty boolean)",
            "INSERT INTO {sa}.schema_migrations VALUES (1, true)",
        ],
    ),
    (
        &["PG-106"],
        &[
            "CREATE FUNCTION {sx}.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "CREATE EVENT TRIGGER {x} ON ddl_command_end EXECUTE FUNCTION {sx}.e()",
            "ALTER FUNCTION {sx}.e() OWNER TO {b}",
        ],
    ),
    (
        &["PG-123"],
        &["GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {a}"],
    ),
    (
        &["PG-017"],
        &[
            "CREATE SUBSCRIPTION {x} CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)",
        ],
    ),
    // The last: from here on nothing is said that it would log.
    (
        &["PG-030"],
        &[
            "SET LOCAL log_parameter_max_length = -1",
            "SET LOCAL log_statement = 'mod'",
        ],
    ),
];

/// Names of one run's scratch objects.
struct Names {
    stem: String,
    database: String,
}

impl Names {
    fn role(&self, word: &str) -> String {
        format!("{}_{word}", self.stem)
    }

    fn fill(&self, statement: &str) -> String {
        ["a", "b", "bo", "s", "c", "x", "sa", "sb", "sx"]
            .iter()
            .fold(statement.to_owned(), |text, word| {
                text.replace(&format!("{{{word}}}"), &self.role(word))
            })
            .replace("{db}", &ident(&self.database))
    }

    /// Returns the scratch tenants as the queries see them: for the cluster with databases of their
    /// own, for the database as two schemas.
    fn rows(&self, family: Family) -> String {
        let nowhere = self.role("nowhere");
        let (mode, home) = match family {
            Family::Database => ("schema", self.database.as_str()),
            _ => ("database", nowhere.as_str()),
        };
        let row = |tenant: &str, db: &str, schema: &str, role: &str, login: bool, status: &str| {
            json!({ "tenant": tenant, "db": db, "sch": self.role(schema), "role": self.role(role),
                    "login": login, "mode": mode, "status": status, "complete": false,
                    "timeout": 1000 })
        };
        let mut rows = vec![
            row("control_a", home, "sa", "a", true, "active"),
            row("control_b", &self.database, "sb", "b", true, "active"),
            row("control_b", &self.database, "sb", "bo", false, "active"),
        ];
        if family == Family::Cluster {
            rows.push(row("control_a", home, "sa", "s", true, "active"));
            rows.push(row("control_b", &self.database, "sb", "s", true, "active"));
            rows.push(row("control_c", home, "sc", "c", true, "purged"));
        }
        serde_json::Value::from(rows).to_string()
    }
}

/// Plants, looks and takes back; `checks` are those that look at the fleet.
pub async fn run(gate: &Gate, admin: &PostgresEndpoint, checks: &[&'static Check]) -> Control {
    let session = match gate.connect(admin, OPTIONS).await {
        Ok(session) => session,
        Err(error) => return impossible(error.to_string()),
    };
    // The clearest sign of whether it can be planted at all; also keeps a replica out.
    let outcome = plant(&session, checks).await;
    // The connection's end takes everything back in any case.
    let _ = session.batch_execute("ROLLBACK").await;
    session.close().await;
    outcome.unwrap_or_else(|refusal| impossible(refusal.message))
}

fn impossible(reason: String) -> Control {
    Control {
        state: ControlState::Impossible,
        planted: 0,
        detected: 0,
        missed: Vec::new(),
        uncontrolled: Vec::new(),
        reason,
    }
}

async fn plant(session: &Client, checks: &[&'static Check]) -> Result<Control, Refusal> {
    let sql = |error: tokio_postgres::Error| Refusal::of(&error);
    let row = session
        .query_typed_one("SELECT current_database()::text", &[])
        .await
        .map_err(sql)?;
    let random = u64::from_le_bytes(random_bytes());
    let names = Names {
        stem: format!("lerianctl_{random:016x}_control"),
        database: row.get(0),
    };
    session.batch_execute("BEGIN").await.map_err(sql)?;
    let mut planting = Planting {
        session,
        names: &names,
        expected: BTreeSet::new(),
        refused: BTreeSet::new(),
    };
    let mut control = Control {
        state: ControlState::Detected,
        planted: 0,
        detected: 0,
        missed: Vec::new(),
        uncontrolled: BY_NATURE.iter().map(ToString::to_string).collect(),
        reason: String::new(),
    };
    let (roles, breaches) = PLANTS.split_at(1);
    for (_, statements) in roles {
        planting.plant(statements).await??;
    }
    let of_databases = |ids: &[&str]| ids.iter().any(|id| known(id).family == Family::Database);
    let mut placed = false;
    // Those of databases first: what is granted for them is a breach of the cluster.
    if checks.iter().any(|check| check.family == Family::Database) {
        match planting.plant(PLACES).await? {
            Ok(()) => {
                placed = true;
                planting
                    .breaches(breaches.iter().filter(|(ids, _)| of_databases(ids)))
                    .await?;
                planting
                    .look(Family::Database, checks, &mut control)
                    .await?;
                let back = names.fill(FROM_PLACES);
                session.batch_execute(&back).await.map_err(sql)?;
            }
            Err(refusal) => {
                let of_databases = checks
                    .iter()
                    .filter(|check| check.family == Family::Database);
                let ids = of_databases.map(|check| check.id.to_owned());
                control.uncontrolled.extend(ids);
                control.reason = format!(
                    "none in a database, because this login may make no schema in {}: {}",
                    names.database, refusal.message
                );
            }
        }
    }
    let of_cluster = |ids: &[&str]| ids.iter().any(|id| known(id).family == Family::Cluster);
    let rest = breaches
        .iter()
        .filter(|(ids, _)| of_cluster(ids) && !(placed && of_databases(ids)));
    planting.breaches(rest).await?;
    planting.look(Family::Cluster, checks, &mut control).await?;
    control
        .uncontrolled
        .retain(|id| checks.iter().any(|check| check.id == id));
    control.uncontrolled.sort();
    control.uncontrolled.dedup();
    if !control.missed.is_empty() {
        control.state = ControlState::Missed;
    } else if control.detected == 0 {
        control.state = ControlState::Impossible;
        if control.reason.is_empty() {
            control.reason = "this login may plant nothing".into();
        }
    }
    Ok(control)
}

/// Breaches that are being planted, in one transaction.
struct Planting<'a> {
    session: &'a Client,
    names: &'a Names,
    /// Checks that have to find one.
    expected: BTreeSet<&'static str>,
    /// Checks whose breach this login may not plant.
    refused: BTreeSet<&'static str>,
}

impl Planting<'_> {
    /// Runs statements, all or none of them; returns the refusal.
    async fn plant(&self, statements: &[&str]) -> Result<Result<(), Refusal>, Refusal> {
        let script: Vec<String> = statements
            .iter()
            .map(|text| self.names.fill(text))
            .collect();
        let script = format!("SAVEPOINT planting;{};RELEASE planting", script.join(";"));
        let Err(error) = self.session.batch_execute(&script).await else {
            return Ok(Ok(()));
        };
        self.session
            .batch_execute("ROLLBACK TO planting")
            .await
            .map_err(|error| Refusal::of(&error))?;
        Ok(Err(Refusal::of(&error)))
    }

    async fn breaches(
        &mut self,
        breaches: impl Iterator<Item = &'static (&'static [&'static str], &'static [&'static str])>,
    ) -> Result<(), Refusal> {
        for (ids, statements) in breaches {
            match self.plant(statements).await? {
                Ok(()) => self.expected.extend(*ids),
                Err(_) => self.refused.extend(*ids),
            }
        }
        Ok(())
    }

    /// Has every check of a family look for what was planted for it.
    async fn look(
        &self,
        family: Family,
        checks: &[&'static Check],
        control: &mut Control,
    ) -> Result<(), Refusal> {
        let rows = self.names.rows(family);
        for check in checks.iter().filter(|check| check.family == family) {
            if self.refused.contains(check.id) {
                control.uncontrolled.push(check.id.to_owned());
            }
            if !self.expected.contains(check.id) {
                continue;
            }
            match finds(self.session, check, &rows).await? {
                // Who may not look there says nothing about the fleet either.
                Err(refusal) if refusal.is_privilege() => {
                    control.uncontrolled.push(check.id.to_owned());
                    continue;
                }
                Ok(true) => control.detected += 1,
                Ok(false) => control.missed.push(check.id.to_owned()),
                Err(refusal) => {
                    control.missed.push(check.id.to_owned());
                    control.reason = format!("{}: {}", check.id, refusal.message);
                }
            }
            control.planted += 1;
        }
        Ok(())
    }
}

/// Returns true when the check finds something about the scratch tenants.
async fn finds(
    session: &Client,
    check: &Check,
    rows: &str,
) -> Result<Result<bool, Refusal>, Refusal> {
    let sql = check.query_for(rows).unwrap_or_default();
    session
        .batch_execute("SAVEPOINT looking")
        .await
        .map_err(|error| Refusal::of(&error))?;
    let answer = session.query_typed(sql, &[(&rows, Type::TEXT)]).await;
    session
        .batch_execute("ROLLBACK TO looking; RELEASE looking")
        .await
        .map_err(|error| Refusal::of(&error))?;
    Ok(answer
        .map(|rows| !rows.is_empty())
        .map_err(|error| Refusal::of(&error)))
}

/// Returns true when no transaction can plant a breach for a check, whoever runs it.
pub(super) fn by_nature(id: &str) -> bool {
    BY_NATURE.contains(&id)
}

/// Returns the ids that a breach is planted for.
pub fn planted() -> BTreeSet<&'static str> {
    PLANTS
        .iter()
        .flat_map(|(ids, _)| ids.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;

    #[test]
    fn every_query_has_a_breach_or_a_reason_why_not() {
        let planted = planted();
        for check in catalogue::all().iter().filter(|check| check.sql.is_some()) {
            let by_nature = BY_NATURE.contains(&check.id);
            assert_ne!(planted.contains(check.id), by_nature, "{}", check.id);
        }
        for id in planted.iter().chain(BY_NATURE) {
            assert!(catalogue::find(id).is_some(), "{id}");
        }
    }
}
