//! Tried besides the pairs of tenants.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::{NO_PRIVILEGE, Outcome, Reach, WRONG_PASSWORD, judge};
use crate::isolation::audit::Refusal;
use crate::isolation::catalogue::known;
use crate::isolation::inventory::{Retired, Store};
use crate::isolation::model::{EVERYONE, Finding, Severity};
use crate::link::postgres::{Gate, PostgresEndpoint, Session};
use crate::provision::sql::ident;
use crate::secret::random_bytes;

/// How long the server may take to pass on a notification.
const TOLD: Duration = Duration::from_secs(10);

fn finding(id: &str, store: &Store, evidence: impl Into<String>) -> Finding {
    let mut finding = Finding::new(known(id), store.cluster(), format!("login {}", store.login));
    finding.from = vec![store.tenant.clone()];
    finding.to = vec![store.tenant.clone()];
    finding.roles = vec![store.login.clone()];
    finding.evidence = evidence.into();
    finding
}

/// Returns true where products are told to use TLS.
pub(crate) fn wants_tls(store: &Store) -> bool {
    matches!(
        store.sslmode.as_str(),
        "require" | "verify-ca" | "verify-full"
    ) && !store.host.starts_with('/')
}

/// Tries the login of a tenant that is not active.
pub(crate) async fn gone(gate: &Gate, store: &Store, outcome: &mut Outcome) {
    const ID: &str = "PG-209";
    let Some(endpoint) = store.endpoint() else {
        return;
    };
    match gate.connect(&endpoint, "").await {
        Ok(session) => {
            session.close().await;
            outcome.tried(ID);
            let evidence = format!("the tenant is {}, and its login is let in", store.status);
            let mut found = finding(ID, store, evidence);
            if store.status == "suspended" {
                found.severity = Severity::Info;
            }
            found.remedy = vec![format!(
                "ALTER ROLE {} NOLOGIN PASSWORD NULL;",
                ident(&store.login)
            )];
            outcome.findings.push(found);
        }
        Err(error) => match error.sqlstate.as_deref() {
            // Closed, password gone, no right, database gone.
            Some("28000" | WRONG_PASSWORD | NO_PRIVILEGE | "3D000") => outcome.tried(ID),
            _ => outcome.unclear(ID, error.link.to_string()),
        },
    }
}

/// Tries to log in without TLS where it is asked for.
pub(crate) async fn clear_text(gate: &Gate, store: &Store, outcome: &mut Outcome) {
    const ID: &str = "PG-212";
    let Some(endpoint) = store.endpoint() else {
        return;
    };
    // What must succeed: the same login, as the products are told.
    match gate.connect(&endpoint, "").await {
        Ok(session) => session.close().await,
        Err(error) => {
            outcome.unclear(ID, error.link.to_string());
            return;
        }
    }
    let plain = PostgresEndpoint {
        sslmode: "disable".into(),
        ..endpoint
    };
    let answer = gate.connect(&plain, "").await;
    match judge(&answer) {
        Reach::Refused => outcome.tried(ID),
        Reach::Unclear(reason) => outcome.unclear(ID, reason),
        Reach::Open => {
            outcome.tried(ID);
            let evidence = format!(
                "sslmode={} is handed out, and it was let in without",
                store.sslmode
            );
            let mut found = finding(ID, store, evidence);
            found.from = vec![EVERYONE.to_owned()];
            found.to = vec![EVERYONE.to_owned()];
            outcome.findings.push(found);
        }
    }
    if let Ok(session) = answer {
        session.close().await;
    }
}

/// Asks for replication, and leaves.
pub(super) async fn replicate(gate: &Gate, store: &Store, outcome: &mut Outcome) {
    const ID: &str = "PG-213";
    /// What a pooler answers that does not pass it on.
    const NOT_PASSED_ON: &str = "08P01";
    let Some(endpoint) = store.endpoint() else {
        return;
    };
    let answer = async {
        let mut place = gate.places(1).await?;
        place.greet(&endpoint, &[("replication", "database")]).await
    };
    match answer.await {
        Ok(_) => {
            outcome.tried(ID);
            let evidence = format!("{} was let in with replication=database", store.login);
            let mut found = finding(ID, store, evidence);
            found.to = vec![EVERYONE.to_owned()];
            found.remedy = vec![format!("ALTER ROLE {} NOREPLICATION;", ident(&store.login))];
            outcome.findings.push(found);
        }
        Err(error) => match error.sqlstate.as_deref() {
            Some(NO_PRIVILEGE | super::NO_RULE | NOT_PASSED_ON) => outcome.tried(ID),
            _ => outcome.unclear(ID, error.link.to_string()),
        },
    }
}

/// Tries a credential that was rotated out, next to the one that is valid.
pub(crate) async fn retired(gate: &Gate, store: &Store, old: &Retired, outcome: &mut Outcome) {
    let Some(endpoint) = store.endpoint() else {
        return;
    };
    let control = async { gate.places(1).await?.greet(&endpoint, &[]).await };
    let id = match control.await {
        Ok(greeting) if greeting.is_pooled() => "PB-06",
        Ok(_) => "PG-208",
        Err(error) => return outcome.unclear("PG-208", error.link.to_string()),
    };
    let old = PostgresEndpoint {
        user: old.login.clone(),
        password: Some(old.password.clone()),
        ..endpoint
    };
    let answer = async { gate.places(1).await?.greet(&old, &[]).await };
    match answer.await {
        Ok(_) => {
            outcome.tried(id);
            let mut found = finding(id, store, "the login and its old password are let in");
            found.object = format!("retired login {}", old.user);
            found.roles = vec![old.user.clone()];
            found.remedy = vec![format!(
                "ALTER ROLE {} NOLOGIN PASSWORD NULL;",
                ident(&old.user)
            )];
            outcome.findings.push(found);
        }
        Err(error) => match error.sqlstate.as_deref() {
            Some(WRONG_PASSWORD | super::NO_RULE) => outcome.tried(id),
            // As PgBouncer refuses.
            Some("08P01") if id == "PB-06" => outcome.tried(id),
            _ => outcome.unclear(id, error.link.to_string()),
        },
    }
}

/// What a server says about itself and the database.
struct Place {
    recovering: bool,
    system: String,
    oid: u32,
}

async fn place(gate: &Gate, endpoint: &PostgresEndpoint) -> Result<Place, String> {
    let session = gate
        .connect(endpoint, "-c default_transaction_read_only=on")
        .await
        .map_err(|error| error.link.to_string())?;
    let query = "SELECT pg_catalog.pg_is_in_recovery(), c.system_identifier::text, d.oid \
                 FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d \
                 WHERE d.datname = pg_catalog.current_database()";
    let row = session
        .query_typed_one(query, &[])
        .await
        .map_err(|error| Refusal::of(&error).message);
    session.close().await;
    let row = row?;
    Ok(Place {
        recovering: row.get(0),
        system: row.get(1),
        oid: row.get(2),
    })
}

/// Compares a replica with its primary.
pub(crate) async fn replica(gate: &Gate, store: &Store, outcome: &mut Outcome) {
    const ID: &str = "PG-029";
    let (Some(primary), Some(replica)) = (store.endpoint(), store.replica_endpoint()) else {
        return;
    };
    let (primary, there) = tokio::join!(place(gate, &primary), place(gate, &replica));
    let (primary, there) = match (primary, there) {
        (Ok(primary), Ok(there)) => (primary, there),
        (Err(reason), _) => return outcome.unclear(ID, reason),
        (_, Err(reason)) => return outcome.unclear(ID, format!("the replica: {reason}")),
    };
    outcome.tried(ID);
    let mut wrong = Vec::new();
    if !there.recovering {
        wrong.push("it takes writes itself, and follows nobody".to_owned());
    }
    if there.system != primary.system {
        wrong.push("it is of another cluster".to_owned());
    }
    if there.oid != primary.oid {
        wrong.push("its database is another one".to_owned());
    }
    if !wrong.is_empty() {
        let mut found = finding(ID, store, wrong.join("; "));
        found.object = format!("replica {} of {}", replica.address(), store.place());
        outcome.findings.push(found);
    }
}

/// Lets `a` listen and `b` tell.
pub(crate) async fn told(gate: &Gate, a: &Store, b: &Store, outcome: &mut Outcome) {
    const ID: &str = "PG-211";
    if gate.bound() < 2 {
        outcome.unproven.insert(ID, super::TWO_SESSIONS);
        return;
    }
    match heard(gate, a, b).await {
        Err(reason) => outcome.unclear(ID, reason),
        Ok(false) => outcome.tried(ID),
        Ok(true) => {
            outcome.tried(ID);
            let mut found = finding(ID, a, format!("{} heard what {} told", a.login, b.login));
            found.object = format!("channels of database {}", a.database);
            found.from = vec![b.tenant.clone()];
            found.to = vec![a.tenant.clone()];
            outcome.findings.push(found);
        }
    }
}

async fn heard(gate: &Gate, a: &Store, b: &Store) -> Result<bool, String> {
    let (Some(ear), Some(mouth)) = (a.endpoint(), b.endpoint()) else {
        return Err("the passwords are not known".into());
    };
    let refused = |error: tokio_postgres::Error| Refusal::of(&error).message;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut places = gate
        .places(2)
        .await
        .map_err(|error| error.link.to_string())?;
    let ear = places
        .connect_listening(&ear, "", sender)
        .await
        .map_err(|error| error.link.to_string())?;
    let mouth = places
        .connect(&mouth, "")
        .await
        .map_err(|error| error.link.to_string())?;
    let outcome = async {
        let channel = format!("lerianctl_{:016x}", u64::from_le_bytes(random_bytes()));
        ear.batch_execute(&format!("LISTEN {channel}"))
            .await
            .map_err(refused)?;
        mouth
            .batch_execute(&format!("NOTIFY {channel}, 'theirs'"))
            .await
            .map_err(refused)?;
        // Told later, and so heard later: when it is here, the other would be, too.
        ear.batch_execute(&format!("NOTIFY {channel}, 'own'"))
            .await
            .map_err(refused)?;
        let mut theirs = false;
        loop {
            match tokio::time::timeout(TOLD, receiver.recv()).await {
                Ok(Some(payload)) if payload == "own" => return Ok(theirs),
                Ok(Some(_)) => theirs = true,
                Ok(None) => return Err("the session ended".to_owned()),
                Err(_) => return Err("not even its own message arrived".to_owned()),
            }
        }
    }
    .await;
    mouth.close().await;
    ear.close().await;
    outcome
}

/// Tries to call dblink, without a password and without dialling.
pub(super) async fn dial_out(store: &Store, session: &Session, outcome: &mut Outcome) {
    const ID: &str = "PG-214";
    let client: &Client = session;
    let query = "SELECT DISTINCT n.nspname::text FROM pg_catalog.pg_proc p \
                 JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                 JOIN pg_catalog.pg_depend d ON d.objid = p.oid AND d.deptype = 'e' \
                 JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
                 WHERE p.proname = 'dblink_connect' AND e.extname = 'dblink'";
    let rows = match client.query_typed(query, &[]).await {
        Ok(rows) => rows,
        Err(error) => return outcome.unclear(ID, Refusal::of(&error).message),
    };
    outcome.tried(ID);
    for row in rows {
        let schema: String = row.get(0);
        // Refused before it dials: whoever is no superuser must give a password.
        let call = format!(
            "SELECT {}.dblink_connect('lerianctl', 'host=127.0.0.1 port=1 connect_timeout=2')",
            ident(&schema)
        );
        let refusal = match super::attempt(client, &call).await {
            Ok(()) => "it connected".to_owned(),
            Err(refusal) if matches!(refusal.sqlstate.as_str(), NO_PRIVILEGE | "42883") => continue,
            Err(refusal) => refusal.message,
        };
        let evidence = format!("{} may call it; the answer was: {refusal}", store.login);
        let mut found = finding(ID, store, evidence);
        found.object = format!("dblink of database {}", store.database);
        found.to = vec![EVERYONE.to_owned()];
        found.remedy = vec![
            format!("\\connect {}", ident(&store.database)),
            "DROP EXTENSION dblink;".to_owned(),
        ];
        let text = format!("{}\0{}", found.fingerprint, store.login);
        found.fingerprint = crate::secret::sha256_hex(text.as_bytes());
        found.fingerprint.truncate(16);
        outcome.findings.push(found);
    }
}
