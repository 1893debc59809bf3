//! Canaries: a row in each tenant's own place that says whose it is.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{Outcome, Reach, attempt, sort};
use crate::isolation::audit::Refusal;
use crate::isolation::canary::TABLE;
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Store;
use crate::isolation::model::Finding;
use crate::link::postgres::Gate;
use crate::provision::sql::ident;
use crate::secret::sha256_hex;

const ID: &str = "PG-206";

/// Tries with the tenant's login that it finds its own canary, and may not change it.
pub(crate) async fn prove(gate: &Gate, store: &Store) -> Result<(), String> {
    let endpoint = store.endpoint().ok_or("its password is not known")?;
    let session = gate.connect(&endpoint, "").await;
    let session = session.map_err(|error| error.link.to_string())?;
    let mut outcome = Outcome::default();
    look(store, &session, &mut outcome).await;
    let schema = store.schema.as_deref().unwrap_or("public");
    let change = format!("DELETE FROM {}.{TABLE}", ident(schema));
    let changed = sort(attempt(&session, &change).await, "");
    session.close().await;
    if let Some(finding) = outcome.findings.pop() {
        return Err(finding.evidence);
    }
    if !outcome.tried.contains_key(ID) {
        let unclear = outcome.unclear.remove(ID).and_then(|mut all| all.pop());
        return Err(unclear.unwrap_or_else(|| "the tenant's login does not find it".into()));
    }
    match changed {
        Reach::Refused => Ok(()),
        Reach::Open => Err("the tenant's login may change it".into()),
        Reach::Unclear(reason) => Err(reason),
    }
}

/// Reads the canary where there is one; none is made.
pub(super) async fn look(store: &Store, session: &Client, outcome: &mut Outcome) {
    let schema = store.schema.as_deref().unwrap_or("public");
    let place = format!("{}.{TABLE}", ident(schema));
    let there = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
    let row = session
        .query_typed_one(there, &[(&place, Type::TEXT)])
        .await;
    // Where the login may not even look into its own schema, PG-205 says so.
    if !row.is_ok_and(|row| row.get(0)) {
        return;
    }
    let query = format!("SELECT tenant::text, nonce::text FROM {place} LIMIT 2");
    let rows = match session.query_typed(&query, &[]).await {
        Ok(rows) => rows,
        Err(error) => return outcome.unclear(ID, Refusal::of(&error).message),
    };
    outcome.tried(ID);
    let (mut named, mut evidence) = (Vec::new(), String::new());
    match rows.as_slice() {
        [row] => {
            let tenant: Option<String> = row.get(0);
            let tenant = tenant.unwrap_or_default();
            if tenant != store.tenant && tenant != store.tenant_id {
                evidence = format!("the canary there is that of `{tenant}`");
                named.push(tenant);
            }
            let nonce: Option<String> = row.get(1);
            outcome.nonce = nonce.map(|nonce| sha256_hex(nonce.as_bytes()));
        }
        [] => evidence = "there is a table of canaries, and none in it".into(),
        _ => evidence = "there are several canaries".into(),
    }
    if !evidence.is_empty() {
        let object = format!("canary of login {}", store.login);
        let mut finding = Finding::new(known(ID), store.cluster(), object);
        finding.from = vec![store.tenant.clone()];
        finding.to = if named.is_empty() {
            vec![store.tenant.clone()]
        } else {
            named
        };
        finding.roles = vec![store.login.clone()];
        finding.evidence = format!("{evidence}, in {} of {}", place, store.database);
        outcome.findings.push(finding);
    }
}
