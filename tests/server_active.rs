//! `GET /v1/tenants/active` with very many tenants: whole, in bounded memory, with a warning where
//! Lerian's own client would stop reading.

use futures_util::StreamExt as _;
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::server::RegistryPlace;
use serde_json::Value;

use crate::server_kit::Caller;
use crate::support::{Postgres, ServerProcess, block_on};

/// What Lerian's client library reads at most.
const OFFICIAL_LIMIT: usize = 10 * 1024 * 1024;
const TENANTS: usize = 100_000;
/// Length of a name, so that the answer is too long.
const NAME: usize = 200;

/// Returns what puts tenants into a new registry: all of them have `tracer`, every hundredth
/// `reporter`. `series` gives `n`, `id` and `name`.
fn filling(series: &str) -> String {
    format!(
        "BEGIN;
         INSERT INTO tenants (id, slug, name, environment, isolation_mode, status, metadata,
             owner_email, owner_email_verified, search_text, revision, created_at, updated_at)
         {series}
         SELECT id, 'many-' || n, name, 'production', 'database', 'active', '{{}}', '', FALSE,
             'many-' || n, 1, 0, 0 FROM rows;
         INSERT INTO associations (tenant_id, service, isolation_mode, state, ready,
             credentials_version, settings, created_at, updated_at)
         SELECT id, 'tracer', 'database', 'live', TRUE, 1, '{{}}', 0, 0 FROM tenants
         UNION ALL
         SELECT id, 'reporter', 'database', 'live', TRUE, 1, '{{}}', 0, 0 FROM tenants
         WHERE name LIKE '%00';
         COMMIT;"
    )
}

fn fill_sqlite(path: &std::path::Path) {
    let place = RegistryPlace::Sqlite(path.to_owned());
    block_on(async move { lerianctl::server::migrate(&place, false).await }).unwrap();
    let file = rusqlite::Connection::open(path).unwrap();
    file.execute_batch(&filling(&format!(
        "WITH RECURSIVE series(n) AS
             (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {TENANTS}),
         rows AS (SELECT n, printf('%032x', n) AS id, printf('%0{NAME}d', n) AS name FROM series)"
    )))
    .unwrap();
}

fn fill_postgres(mut endpoint: PostgresEndpoint) {
    endpoint.search_path = Some("lerianctl".into());
    block_on(async move {
        let session = endpoint.connect().await.unwrap();
        let sql = filling(&format!(
            "WITH rows AS (SELECT n, lpad(to_hex(n), 32, '0') AS id,
                 lpad(n::text, {NAME}, '0') AS name FROM generate_series(1, {TENANTS}) n)"
        ));
        session.batch_execute(&sql).await.unwrap();
        session
            .batch_execute("ANALYZE tenants, associations")
            .await
            .unwrap();
    });
}

/// Returns the most memory that a process ever had, in bytes.
fn peak(id: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux says it");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}

/// Reads the list; returns the warning, if there is one, and the whole text.
async fn active(caller: &Caller, service: &str) -> (Option<String>, Vec<u8>) {
    let path = format!("/v1/tenants/active?service={service}");
    let response = caller.request("GET", &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let warning = response.headers().get("warning");
    let warning = warning.map(|text| text.to_str().unwrap().to_owned());
    let mut text = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(part) = body.next().await {
        text.extend_from_slice(&part.expect("the answer does not break off"));
    }
    (warning, text)
}

async fn counted(caller: &Caller) -> bool {
    let figures = caller.get("/metrics").await.text;
    figures
        .lines()
        .any(|line| line == "lerianctl_active_answers_too_long_total 1")
}

#[test]
fn a_long_list_on_sqlite_is_whole_streamed_and_warned_of() {
    let postgres = Postgres::shared().endpoint();
    let process = ServerProcess::start_in(&postgres, None, |room| {
        fill_sqlite(&room.home().join("registry.db"));
        vec!["--master-key-file".to_owned(), "master.key".to_owned()]
    });
    is_whole_streamed_and_warned_of(&process);
}

#[test]
fn a_long_list_on_postgresql_is_whole_streamed_and_warned_of() {
    let postgres = Postgres::private();
    let process = ServerProcess::replicas(1, &postgres.endpoint(), None).remove(0);
    fill_postgres(postgres.endpoint());
    is_whole_streamed_and_warned_of(&process);
}

fn is_whole_streamed_and_warned_of(process: &ServerProcess) {
    let caller = Caller::at(process.url()).with_key(process.api_key().expose());
    let id = process.id();
    block_on(async move {
        let (warning, text) = active(&caller, "reporter").await;
        assert!(text.len() < OFFICIAL_LIMIT);
        assert_eq!(warning, None);
        let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(rows.len(), TENANTS / 100);
        assert!(!counted(&caller).await);

        let before = peak(id);
        let (warning, text) = active(&caller, "tracer").await;
        let grown = peak(id) - before;
        assert!(text.len() > TENANTS * NAME);
        assert!(
            warning
                .as_ref()
                .is_some_and(|text| text.starts_with("299 ")),
            "{warning:?}"
        );
        assert!(counted(&caller).await);
        let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
        assert_eq!(rows.len(), TENANTS);
        let ids: std::collections::BTreeSet<&str> =
            rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), TENANTS, "nobody is there twice");
        assert!(
            grown < text.len() / 4,
            "{grown} bytes more for an answer of {}",
            text.len()
        );
    });
}
