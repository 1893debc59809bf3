//! Tries with the tenants' own logins what must fail, each next to what must succeed.
//!
//! A refusal counts only with the SQLSTATE that the rule behind it gives, and only for a login that
//! got into its own place before. What could write is rolled back.

pub(crate) mod besides;
mod canary;
mod pooler;

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::audit::Refusal;
use super::catalogue::known;
use super::inventory::Store;
use super::model::Finding;
use crate::link::postgres::{ConnectError, Gate, PostgresEndpoint, Session};
use crate::provision::sql::ident;
use crate::secret::{Secret, random_bytes};

const NO_PRIVILEGE: &str = "42501";
const NO_RULE: &str = "28000";
const WRONG_PASSWORD: &str = "28P01";
const NO_TABLE: &str = "42P01";

/// Sessions that are opened at most to see whether they share a server connection.
const PIGEONS: usize = 4;

/// Why a check stays open that looks at two sessions side by side.
const TWO_SESSIONS: &str = "it needs two sessions at the same time (--jobs 2)";

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was let in.
    Open,
    /// It was refused for want of a right.
    Refused,
    /// It failed for another reason, which proves nothing.
    Unclear(String),
}

/// What one tenant's login found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Counter-examples.
    pub findings: Vec<Finding>,
    /// Attempts that gave an answer, by check.
    pub tried: BTreeMap<&'static str, u64>,
    /// Attempts that proved nothing, by check, with one reason each.
    pub unclear: BTreeMap<&'static str, Vec<String>>,
    /// What does not apply here, by check, and why.
    pub skipped: BTreeMap<&'static str, String>,
    /// What these settings leave open, by check, and why.
    pub unproven: BTreeMap<&'static str, &'static str>,
    /// Digest of what only one place should have, where it has a canary.
    pub nonce: Option<String>,
    /// The role that the session turned out to have.
    pub user: Option<String>,
}

impl Outcome {
    fn tried(&mut self, id: &'static str) {
        *self.tried.entry(id).or_default() += 1;
    }

    fn unclear(&mut self, id: &'static str, reason: impl Into<String>) {
        self.unclear.entry(id).or_default().push(reason.into());
    }

    /// Notes an attempt to reach `to` that must be refused.
    fn must_refuse(&mut self, id: &'static str, attempt: &Attempt<'_>, reach: Reach) {
        match reach {
            Reach::Refused => self.tried(id),
            Reach::Unclear(reason) => self.unclear(id, reason),
            Reach::Open => {
                self.tried(id);
                let mut finding = Finding::new(known(id), attempt.from.cluster(), &attempt.object);
                finding.from = vec![attempt.from.tenant.clone()];
                finding.to = vec![attempt.to.tenant.clone()];
                finding.roles = vec![attempt.from.login.clone()];
                finding.evidence.clone_from(&attempt.evidence);
                finding.remedy.clone_from(&attempt.remedy);
                let text = format!("{}\0{}", finding.fingerprint, attempt.from.login);
                finding.fingerprint = crate::secret::sha256_hex(text.as_bytes());
                finding.fingerprint.truncate(16);
                self.findings.push(finding);
            }
        }
    }
}

struct Attempt<'a> {
    from: &'a Store,
    to: &'a Store,
    object: String,
    evidence: String,
    remedy: Vec<String>,
}

/// Sorts the answer to a login.
pub fn judge(answer: &Result<Session, ConnectError>) -> Reach {
    match answer {
        Ok(_) => Reach::Open,
        Err(error) => match error.sqlstate.as_deref() {
            Some(NO_PRIVILEGE | NO_RULE) => Reach::Refused,
            _ => Reach::Unclear(error.link.to_string()),
        },
    }
}

/// Tries a statement in a transaction that is rolled back; returns the refusal's SQLSTATE.
async fn attempt(session: &Client, statement: &str) -> Result<(), Refusal> {
    let script = format!("BEGIN; {statement}");
    // Sent together: a session is never left inside of the transaction.
    let (tried, back) = tokio::join!(
        session.batch_execute(&script),
        session.batch_execute("ROLLBACK")
    );
    back.map_err(|error| Refusal::of(&error))?;
    tried.map_err(|error| Refusal::of(&error))
}

fn sort(answer: Result<(), Refusal>, open: &str) -> Reach {
    match answer {
        Ok(()) => Reach::Open,
        Err(refusal) if refusal.sqlstate == NO_PRIVILEGE => Reach::Refused,
        Err(refusal) if !open.is_empty() && refusal.sqlstate == open => Reach::Open,
        Err(refusal) => Reach::Unclear(refusal.message),
    }
}

/// Tries one store's login in its own place, and on `victims`.
pub async fn probe(gate: &Gate, store: &Store, victims: &[&Store]) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(endpoint) = store.endpoint() else {
        return outcome;
    };
    let own = gate.connect(&endpoint, "").await;
    // The same judgement that is passed on others: one's own place has to come out open.
    let session = match (judge(&own), own) {
        (Reach::Open, Ok(session)) => session,
        (reach, _) => {
            let reason = match reach {
                Reach::Unclear(reason) => reason,
                _ => "refused".to_owned(),
            };
            outcome.unclear(
                "PG-205",
                format!("{} cannot enter its own database: {reason}", store.login),
            );
            return outcome;
        }
    };
    identity(store, &session, victims, &mut outcome).await;
    canary::look(store, &session, &mut outcome).await;
    // All of one server, whatever it is called.
    let neighbours = victims;
    besides::dial_out(store, &session, &mut outcome).await;
    become_others(store, &session, neighbours, &mut outcome).await;
    let inside: Vec<&Store> = neighbours
        .iter()
        .copied()
        .filter(|victim| victim.database == store.database && victim.schema.is_some())
        .collect();
    if store.schema.is_some() && !inside.is_empty() {
        foreign_schemas(store, &session, &inside, &mut outcome).await;
    }
    session.close().await;
    besides::replicate(gate, store, &mut outcome).await;
    wrong_password(gate, store, &endpoint, &mut outcome).await;
    for victim in neighbours.iter().filter(|v| v.database != store.database) {
        let there = PostgresEndpoint {
            search_path: None,
            ..endpoint.with_database(&victim.database)
        };
        let answer = gate.connect(&there, "").await;
        let reach = judge(&answer);
        if let Ok(session) = answer {
            session.close().await;
        }
        let tried = Attempt {
            from: store,
            to: victim,
            object: format!("database {}", victim.database),
            evidence: format!("{} logged in to {}", store.login, victim.database),
            remedy: vec![
                "-- as PG-002 says, with those who have to get in:".to_owned(),
                format!(
                    "REVOKE ALL ON DATABASE {} FROM PUBLIC;",
                    ident(&victim.database)
                ),
                format!(
                    "REVOKE ALL ON DATABASE {} FROM {};",
                    ident(&victim.database),
                    ident(&store.login)
                ),
            ],
        };
        outcome.must_refuse("PG-201", &tried, reach);
    }
    outcome
}

async fn identity(store: &Store, session: &Client, victims: &[&Store], outcome: &mut Outcome) {
    let query = "SELECT pg_catalog.current_database()::text, session_user::text, current_user::text, \
                 coalesce(pg_catalog.current_schema()::text, ''), \
                 pg_catalog.current_setting('search_path')";
    let row = match session.query_typed_one(query, &[]).await {
        Ok(row) => row,
        Err(error) => {
            outcome.unclear("PG-205", Refusal::of(&error).message);
            return;
        }
    };
    let (database, user, acts, schema, path): (String, String, String, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let wanted = store.pinned();
    let mut wrong = Vec::new();
    if database != store.database {
        wrong.push(format!("it is in database {database}"));
    }
    if user != store.login {
        wrong.push(format!("it is {user}"));
    }
    if victims
        .iter()
        .any(|victim| victim.login == acts || victim.roles.contains(&acts))
        && store.login != acts
        && !store.roles.contains(&acts)
    {
        wrong.push(format!("it acts as {acts}"));
    }
    if wanted.is_some_and(|wanted| wanted != schema) {
        wrong.push(format!("its schema is `{schema}`"));
    }
    outcome.tried("PG-205");
    outcome.user = Some(user.clone());
    let mut add = |id, evidence: String| {
        let mut finding =
            Finding::new(known(id), store.cluster(), format!("login {}", store.login));
        finding.from = vec![store.tenant.clone()];
        finding.to = vec!["*".to_owned()];
        finding.roles = vec![store.login.clone()];
        finding.evidence = evidence;
        outcome.findings.push(finding);
    };
    if !wrong.is_empty() {
        let evidence = format!("asked for {}, but {}", store.place(), wrong.join(", "));
        add("PG-205", evidence);
    }
    if let Some(wanted) = wanted {
        let first = path.split(',').next().unwrap_or_default().trim();
        if first.trim_matches('"') != wanted {
            add(
                "PB-02",
                format!("asked for {wanted}, and the search path is {path}"),
            );
        }
        outcome.tried("PB-02");
    }
}

async fn become_others(store: &Store, session: &Client, victims: &[&Store], outcome: &mut Outcome) {
    let own = attempt(session, &format!("SET LOCAL ROLE {}", ident(&store.login))).await;
    if let Err(refusal) = own {
        outcome.unclear(
            "PG-202",
            format!("{} cannot become itself: {}", store.login, refusal.message),
        );
        return;
    }
    for victim in victims {
        let roles = std::iter::once(&victim.login).chain(&victim.roles);
        for role in roles.filter(|role| **role != store.login && !store.roles.contains(role)) {
            let answer = attempt(session, &format!("SET LOCAL ROLE {}", ident(role))).await;
            let reach = sort(answer, "");
            let remedy = if reach == Reach::Open {
                memberships(session, store, role).await
            } else {
                Vec::new()
            };
            let tried = Attempt {
                from: store,
                to: victim,
                object: format!("role {role}"),
                evidence: format!("{} became {role}", store.login),
                remedy,
            };
            outcome.must_refuse("PG-202", &tried, reach);
        }
    }
}

/// Returns what ends the memberships that lead from the store's own roles to `role`.
async fn memberships(session: &Client, store: &Store, role: &str) -> Vec<String> {
    let query = "WITH RECURSIVE up(member, role) AS ( \
                   SELECT m.member, m.roleid FROM pg_catalog.pg_auth_members m WHERE m.roleid = pg_catalog.to_regrole($2) \
                   UNION SELECT m.member, m.roleid FROM up JOIN pg_catalog.pg_auth_members m ON m.roleid = up.member) \
                 SELECT DISTINCT pg_catalog.format('REVOKE %I FROM %I%s;', r.rolname, q.rolname, \
                   CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 \
                        THEN pg_catalog.format(' GRANTED BY %I', pg_catalog.pg_get_userbyid(m.grantor)) ELSE '' END) \
                 FROM up JOIN pg_catalog.pg_auth_members m ON m.member = up.member AND m.roleid = up.role \
                 JOIN pg_catalog.pg_roles r ON r.oid = up.role JOIN pg_catalog.pg_roles q ON q.oid = up.member \
                 WHERE q.rolname = ANY ($1) AND r.rolname <> ALL ($1) ORDER BY 1";
    let own: Vec<&str> = std::iter::once(&store.login)
        .chain(&store.roles)
        .map(String::as_str)
        .collect();
    let role = ident(role);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&own, Type::TEXT_ARRAY), (&role, Type::TEXT)];
    let rows = session.query_typed(query, &parameters).await;
    // Without an answer there is no statement for it; PG-004 names the path.
    let lines = rows.unwrap_or_default();
    super::remedy::ordered(lines.iter().map(|row| row.get(0)).collect())
}

async fn foreign_schemas(
    store: &Store,
    session: &Client,
    victims: &[&Store],
    outcome: &mut Outcome,
) {
    let probe = ident(&format!(
        "lerianctl_probe_{:016x}",
        u64::from_le_bytes(random_bytes())
    ));
    let read = |schema: &str| format!("SELECT FROM {}.{probe}", ident(schema));
    let write = |schema: &str| format!("CREATE TABLE {}.{probe} ()", ident(schema));
    let own = store.schema.as_deref().unwrap_or_default();
    let reads = sort(attempt(session, &read(own)).await, NO_TABLE) == Reach::Open;
    let writes = sort(attempt(session, &write(own)).await, "") == Reach::Open;
    for victim in victims {
        let schema = victim.schema.as_deref().unwrap_or_default();
        let tried = |verb: &str| Attempt {
            from: store,
            to: victim,
            object: format!("schema {schema} of database {}", victim.database),
            evidence: format!("{} could {verb} in schema {schema}", store.login),
            remedy: vec![
                format!("\\connect {}", ident(&victim.database)),
                format!(
                    "REVOKE ALL ON SCHEMA {} FROM {}, PUBLIC;",
                    ident(schema),
                    ident(&store.login)
                ),
            ],
        };
        if reads {
            let reach = sort(attempt(session, &read(schema)).await, NO_TABLE);
            outcome.must_refuse("PG-203", &tried("look"), reach);
        } else {
            outcome.unclear(
                "PG-203",
                format!("{} cannot look in its own schema", store.login),
            );
        }
        if writes {
            let reach = sort(attempt(session, &write(schema)).await, "");
            outcome.must_refuse("PG-204", &tried("create"), reach);
        } else {
            outcome.unclear(
                "PG-204",
                format!("{} cannot create in its own schema", store.login),
            );
        }
    }
}

pub(crate) use canary::prove as prove_canary;
pub(crate) use pooler::console;

/// What is tried once per cluster, with one tenant's login.
pub async fn once(gate: &Gate, store: &Store) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(endpoint) = store.endpoint() else {
        return outcome;
    };
    pigeons(gate, store, &endpoint, &mut outcome).await;
    pooler::reports(gate, store, &endpoint, &mut outcome).await;
    outcome
}

async fn wrong_password(
    gate: &Gate,
    store: &Store,
    endpoint: &PostgresEndpoint,
    outcome: &mut Outcome,
) {
    let stranger = PostgresEndpoint {
        password: Some(Secret::generate()),
        ..endpoint.clone()
    };
    match gate.connect(&stranger, "").await {
        Ok(session) => {
            session.close().await;
            let mut finding = Finding::new(
                known("PG-217"),
                store.cluster(),
                format!("login {}", store.login),
            );
            finding.from = vec!["*".to_owned()];
            finding.to = vec![store.tenant.clone()];
            finding.roles = vec![store.login.clone()];
            finding.evidence = "it was let in with a random password".into();
            finding.remedy =
                vec!["SELECT * FROM pg_hba_file_rules WHERE auth_method = 'trust';".into()];
            outcome.findings.push(finding);
            outcome.tried("PG-217");
        }
        Err(error) if error.sqlstate.as_deref() == Some(WRONG_PASSWORD) => outcome.tried("PG-217"),
        Err(error) => outcome.unclear("PG-217", error.link.to_string()),
    }
}

async fn pigeons(gate: &Gate, store: &Store, endpoint: &PostgresEndpoint, outcome: &mut Outcome) {
    let mut sessions = Vec::new();
    let mut trouble = None;
    if gate.bound() < 2 {
        outcome.unproven.insert("PB-01", TWO_SESSIONS);
        return;
    }
    let mut places = match gate.places(PIGEONS).await {
        Ok(places) => places,
        Err(error) => return outcome.unclear("PB-01", error.link.to_string()),
    };
    let pigeons = places.left();
    for _ in 0..pigeons {
        match places.connect(endpoint, "").await {
            Ok(session) => sessions.push(session),
            Err(error) => trouble = Some(error.link.to_string()),
        }
    }
    let names: Vec<String> = sessions
        .iter()
        .map(|_| format!("pigeon_{:016x}", u64::from_le_bytes(random_bytes())))
        .collect();
    for (session, name) in sessions.iter().zip(&names) {
        if let Err(error) = session
            .batch_execute(&format!("SET search_path = {name}"))
            .await
        {
            trouble = Some(Refusal::of(&error).message);
        }
    }
    let mut foreign = 0;
    for (session, name) in sessions.iter().zip(&names) {
        let query = "SELECT pg_catalog.current_setting('search_path')";
        match session.query_typed_one(query, &[]).await {
            Ok(row) => foreign += usize::from(row.get::<_, String>(0) != *name),
            Err(error) => trouble = Some(Refusal::of(&error).message),
        }
    }
    for session in sessions {
        session.close().await;
    }
    if foreign > 0 {
        let mut finding = Finding::new(
            known("PB-01"),
            store.cluster(),
            format!("login {}", store.login),
        );
        finding.from = vec!["*".to_owned()];
        finding.to = vec!["*".to_owned()];
        finding.roles = vec![store.login.clone()];
        finding.evidence =
            format!("{foreign} of {pigeons} sessions read a search path that another had set");
        outcome.findings.push(finding);
        outcome.tried("PB-01");
    } else if let Some(reason) = trouble {
        outcome.unclear("PB-01", reason);
    } else {
        outcome.tried("PB-01");
    }
}
