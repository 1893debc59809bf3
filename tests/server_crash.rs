//! A server that is killed in the middle of its work finishes it at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lerianctl::link::redis::RedisEndpoint;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::support::{Postgres, Redis, ServerProcess};

const TENANTS: usize = 20;
const CHANNEL: &str = "tenant-events:production:";

/// Collects what a subscriber of the channel sees.
async fn listen(endpoint: RedisEndpoint, seen: Arc<Mutex<Vec<Value>>>) {
    let mut subscriber = endpoint.subscriber().await.expect("Redis lets us in");
    subscriber.subscribe(CHANNEL).await.expect("a channel");
    let mut messages = subscriber.on_message();
    while let Some(message) = messages.next().await {
        let text: String = message.get_payload().expect("text");
        let event = serde_json::from_str(&text).expect("an event is JSON");
        seen.lock().expect("no test panicked").push(event);
    }
}

async fn create(client: &reqwest::Client, url: &str, key: &str, number: usize) -> bool {
    let answer = client
        .post(format!("{url}/v1/admin/tenants"))
        .header("X-API-Key", key)
        .json(&json!({
            "name": format!("Tenant {number}"),
            "environment": "production",
            "isolationMode": if number.is_multiple_of(4) { "schema" } else { "database" },
            "services": ["ledger"],
            "force": true,
        }))
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            assert!(
                matches!(status, 200 | 201 | 503),
                "create answered {status}"
            );
            status != 503
        }
        Err(_) => false,
    }
}

async fn get(client: &reqwest::Client, url: &str, key: &str, path: &str) -> Option<Value> {
    let answer = client
        .get(format!("{url}{path}"))
        .header("X-API-Key", key)
        .send()
        .await
        .ok()?;
    answer.json().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_instants_nothing_is_lost_or_orphaned() {
    let postgres = Postgres::private();
    let redis = Redis::private();
    let mut server = ServerProcess::start(&postgres.endpoint(), Some(&redis.endpoint()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::spawn(listen(redis.endpoint(), Arc::clone(&seen)));
    let client = reqwest::Client::new();
    let key = server.api_key().expose().to_owned();

    // Ask for everything, killing the server again and again; whoever got no answer asks again.
    let mut wanted: BTreeSet<usize> = (0..TENANTS).collect();
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_mins(5);
    while !wanted.is_empty() || kills < 12 {
        assert!(Instant::now() < deadline, "not accepted: {wanted:?}");
        let url = server.url().to_owned();
        let asking = {
            let (client, key, wanted) = (client.clone(), key.clone(), wanted.clone());
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for number in wanted {
                    if !create(&client, &url, &key, number).await {
                        break;
                    }
                    accepted.push(number);
                }
                accepted
            })
        };
        let pause = rand::rng().random_range(5..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if kills < 12 {
            server.kill();
            kills += 1;
            server.restart();
        }
        for number in asking.await.expect("asking does not panic") {
            wanted.remove(&number);
        }
    }

    // Everything that was accepted is finished without anybody asking again.
    let url = server.url().to_owned();
    let tenants = loop {
        assert!(Instant::now() < deadline, "operations are stuck");
        let open: usize = {
            let mut open = 0;
            for state in ["pending", "running", "failed"] {
                let path = format!("/v1/admin/operations?state={state}&limit=1000");
                let page = get(&client, &url, &key, &path).await.expect("a page");
                let items = page["items"].as_array().expect("items").clone();
                let failed: Vec<&Value> =
                    items.iter().filter(|op| op["state"] == "failed").collect();
                assert!(failed.is_empty(), "failed: {failed:#?}");
                open += items.len();
            }
            open
        };
        if open == 0 {
            let page = get(&client, &url, &key, "/v1/admin/tenants?limit=1000").await;
            break page.expect("a page")["items"]
                .as_array()
                .expect("items")
                .clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(tenants.len(), TENANTS);
    let mut databases = BTreeSet::new();
    let mut roles = BTreeSet::new();
    for tenant in &tenants {
        assert_eq!(tenant["status"], "active");
        for service in tenant["services"].as_array().expect("services") {
            assert_eq!(service["status"], "active", "{tenant:#}");
            for database in service["databases"].as_array().expect("databases") {
                databases.insert(database["database"].as_str().expect("a name").to_owned());
                roles.insert(database["owner"].as_str().expect("a name").to_owned());
            }
        }
        let id = tenant["id"].as_str().expect("an id");
        let path = format!("/v1/tenants/{id}/associations/ledger/connections");
        let config = get(&client, &url, &key, &path).await.expect("connections");
        for module in ["onboarding", "transaction"] {
            let postgresql = &config["databases"][module]["postgresql"];
            let who = opens(postgresql).await;
            assert!(who.is_ok(), "{module} of {id} does not open: {who:?}");
        }
    }

    // Nothing orphaned: every database and every owner role on the cluster belongs to a tenant.
    let session = postgres
        .endpoint()
        .connect()
        .await
        .expect("an admin session");
    let rows = session
        .query(
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'",
            &[],
        )
        .await
        .expect("names of databases");
    let found: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, databases);
    let rows = session
        .query(
            "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper",
            &[],
        )
        .await
        .expect("names of roles");
    assert_eq!(
        rows.len(),
        roles.len(),
        "one open login for every owner role"
    );

    // Every event arrived, in order per tenant.
    let mut expected_last = BTreeSet::new();
    for tenant in &tenants {
        expected_last.insert(tenant["id"].as_str().expect("an id").to_owned());
    }
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let by_tenant = by_tenant(&seen.lock().expect("no test panicked"));
        let complete = expected_last.iter().all(|id| {
            by_tenant.get(id).is_some_and(|types| {
                types.contains(&"tenant.created".to_owned())
                    && types.contains(&"tenant.service.associated".to_owned())
            })
        });
        if complete {
            for (id, types) in &by_tenant {
                // At least once: a repetition is allowed, an inversion is not.
                let created = types.iter().position(|kind| kind == "tenant.created");
                let associated = types
                    .iter()
                    .position(|kind| kind == "tenant.service.associated");
                assert!(created < associated, "{id}: {types:?}");
            }
            break;
        }
        assert!(
            Instant::now() < deadline,
            "events are missing: {by_tenant:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    listener.abort();
    assert_eq!(server.terminate(), Some(0));
}

fn by_tenant(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut by_tenant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let text = |key: &str| event[key].as_str().expect("text").to_owned();
        by_tenant
            .entry(text("tenant_id"))
            .or_default()
            .push(text("event_type"));
    }
    by_tenant
}

/// Logs in as a product would and returns the name of the role it works as.
async fn opens(postgresql: &Value) -> Result<String, tokio_postgres::Error> {
    let text = |key: &str| postgresql[key].as_str().unwrap_or_default().to_owned();
    let port = postgresql["port"]
        .as_u64()
        .and_then(|port| port.try_into().ok());
    let mut config = tokio_postgres::Config::new();
    config
        .host(text("host"))
        .port(port.expect("a port is a number"))
        .user(text("username"))
        .password(text("password"))
        .dbname(text("database"));
    if !text("schema").is_empty() {
        config.options(format!("-csearch_path={}", text("schema")));
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    Ok(row.get(0))
}
