//! Databases that are no tenant's: where the auditor logs in, which tenants may enter as well, and
//! the template that every later database is a copy of.

use super::Settings;
use super::tally::Tallies;
use crate::isolation::audit::{self, Answer, READ_ONLY, Refusal};
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Store;
use crate::isolation::model::{Check, Family, Finding};
use crate::isolation::report::ClusterFacts;
use crate::link::postgres::{Gate, PostgresEndpoint, Session};

/// Checks of what any login can use that may enter a database.
const MEETING: [&str; 5] = ["PG-105", "PG-106", "PG-113", "PG-114", "PG-123"];

/// Looks around in the auditor's database, where it is no tenant's and tenants may enter it.
pub(super) async fn ask(
    session: &Session,
    stores: &[Store],
    inventory: &str,
    settings: &Settings,
) -> Option<(String, Vec<Answer>)> {
    let checks: Vec<&'static Check> = settings
        .wanted(Family::Database)
        .into_iter()
        .filter(|check| MEETING.contains(&check.id))
        .collect();
    let row = session
        .query_typed_one("SELECT current_database()::text", &[])
        .await;
    let database: String = row.ok()?.get(0);
    if checks.is_empty() || stores.iter().any(|store| store.database == database) {
        return None;
    }
    let logins: Vec<&str> = stores.iter().map(|store| store.login.as_str()).collect();
    let entered = "SELECT coalesce(bool_or(has_database_privilege(r.oid, d.oid, 'CONNECT')), false) \
                   FROM pg_roles r, pg_database d \
                   WHERE d.datname = current_database() AND r.rolname = ANY ($1)";
    let types = [(&logins as _, tokio_postgres::types::Type::TEXT_ARRAY)];
    let row = session.query_typed_one(entered, &types).await.ok()?;
    if !row.get::<_, bool>(0) {
        return None;
    }
    Some((database, audit::ask(session, &checks, inventory).await))
}

/// Counts what somebody put into template1, from inside: what a superuser made stands in no catalogue
/// that is shared. Whoever creates a database meanwhile waits for a session there, for five seconds
/// at most; this one is over sooner.
pub(super) async fn template(
    gate: &Gate,
    auditor: Option<&PostgresEndpoint>,
    settings: &Settings,
    facts: &ClusterFacts,
    tallies: &mut Tallies,
) {
    const ID: &str = "PG-010";
    const INSIDE: &str = "SELECT n.what, n.count FROM (\
         SELECT 'relations' AS what, count(*) FROM pg_class WHERE oid >= 16384 AND relkind NOT IN ('i', 't') \
         UNION ALL SELECT 'routines', count(*) FROM pg_proc WHERE oid >= 16384 \
         UNION ALL SELECT 'schemas', count(*) FROM pg_namespace WHERE oid >= 16384 \
         UNION ALL SELECT 'extensions', count(*) FROM pg_extension WHERE oid >= 16384 \
         UNION ALL SELECT 'foreign servers', count(*) FROM pg_foreign_server \
         UNION ALL SELECT 'event triggers', count(*) FROM pg_event_trigger \
         UNION ALL SELECT 'default privileges', count(*) FROM pg_default_acl \
         UNION ALL SELECT 'large objects', count(*) FROM pg_largeobject_metadata) n WHERE n.count > 0";
    let Some(auditor) = auditor.filter(|_| settings.wants(known(ID))) else {
        return;
    };
    let inside = auditor.with_database("template1");
    let options = format!("{READ_ONLY} -c statement_timeout=2s");
    let session = match gate.connect(&inside, &options).await {
        Ok(session) => session,
        Err(error) => {
            tallies.expect(ID, 1);
            tracing::debug!(%error, "template1 is not looked into");
            return;
        }
    };
    let rows = session.query_typed(INSIDE, &[]).await;
    session.close().await;
    match rows {
        Err(error) => tallies.failed(ID, Refusal::of(&error).message),
        Ok(rows) => {
            tallies.looked(ID, 1);
            let found: Vec<String> = rows
                .iter()
                .map(|row| format!("{} {}", row.get::<_, i64>(1), row.get::<_, &str>(0)))
                .collect();
            if !found.is_empty() {
                let mut finding = Finding::new(known(ID), &facts.address, "inside of template1");
                finding.to = vec![crate::isolation::model::EVERYONE.to_owned()];
                finding.evidence = format!("it holds {}", found.join(", "));
                finding.remedy = vec!["\\connect template1".to_owned(), "\\d *.*".to_owned()];
                tallies.find(vec![finding]);
            }
        }
    }
}
