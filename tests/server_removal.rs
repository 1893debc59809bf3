//! Removal of services and purge of tenants: what goes, what stays, what is never touched.

use serde_json::{Value, json};

use crate::server_kit::{Caller, log_in, path};
use crate::support::{Postgres, Server};

async fn count(query: &str, name: &Value) -> i64 {
    let admin = Postgres::shared().endpoint().connect().await.unwrap();
    let row = admin.query_one(query, &[&name.as_str().unwrap()]).await;
    row.unwrap().get(0)
}

async fn database_exists(name: &Value) -> bool {
    count("SELECT count(*) FROM pg_database WHERE datname = $1", name).await == 1
}

async fn role_exists(name: &Value) -> bool {
    count("SELECT count(*) FROM pg_roles WHERE rolname = $1", name).await == 1
}

#[tokio::test]
async fn a_purge_takes_everything_of_the_tenant_and_nothing_of_another() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["ledger", "tracer"], "database").await;
    let other = caller.tenant(&["ledger"], "database").await;
    let held = caller.connections(&tenant, "ledger").await.expect(200);
    let session = log_in(&held["databases"]["onboarding"]["postgresql"])
        .await
        .unwrap();
    session
        .batch_execute("CREATE TABLE t (x int)")
        .await
        .unwrap();

    let shown = caller
        .post(&path(&tenant, "/purge"), &json!({ "dryRun": true }))
        .await
        .expect(200);
    let warnings = shown["plan"]["warnings"].to_string();
    assert!(warnings.contains("2 services, 3 databases"), "{warnings}");
    assert!(warnings.contains("the tenant is active"), "{warnings}");
    let change = caller
        .post(
            &path(&tenant, "/purge"),
            &json!({ "expectPlan": shown["plan"]["hash"] }),
        )
        .await
        .expect(200);
    // Refused from the very answer on, whatever is left to do.
    for service in ["ledger", "tracer"] {
        let refused = caller.connections(&tenant, service).await.expect(403);
        assert_eq!(refused["status"], "purged");
    }
    caller.succeeds(&change).await;
    for service in tenant["services"].as_array().unwrap() {
        for database in service["databases"].as_array().unwrap() {
            assert!(!database_exists(&database["database"]).await);
            assert!(!role_exists(&database["owner"]).await);
            assert!(!role_exists(&database["login"]).await);
        }
    }
    assert!(session.batch_execute("SELECT 1").await.is_err());

    // A tombstone keeps id and slug.
    assert_eq!(caller.connections(&tenant, "ledger").await.status, 403);
    let id = tenant["id"].as_str().unwrap();
    caller
        .get(&format!("/v1/tenants/{id}"))
        .await
        .refusal(404, "tenant.not_found");
    let record = caller.get(&path(&tenant, "")).await.expect(200);
    assert_eq!(record["status"], "purged");
    assert_eq!(record["services"][0]["databases"], json!([]));
    let again = caller.post(&path(&tenant, "/purge"), &json!({})).await;
    assert_eq!(again.expect(200)["changed"], false);
    let heir = json!({ "name": "Heir", "slug": tenant["slug"], "environment": "production",
                       "isolationMode": "database" });
    caller
        .post("/v1/admin/tenants", &heir)
        .await
        .refusal(409, "tenant.purged");
    for action in [
        "/suspend",
        "/reactivate",
        "/rotate",
        "/provision",
        "/services/matcher",
    ] {
        caller
            .post(&path(&tenant, action), &json!({}))
            .await
            .refusal(409, "tenant.purged");
    }
    let slug = tenant["slug"].as_str().unwrap();
    for (query, found) in [("", 0), ("&status=purged", 1), ("&status=all", 1)] {
        let page = caller
            .get(&format!("/v1/admin/tenants?search={slug}{query}"))
            .await
            .expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}");
    }

    let config = caller.connections(&other, "ledger").await.expect(200);
    for module in ["onboarding", "transaction"] {
        log_in(&config["databases"][module]["postgresql"])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_removed_service_can_keep_its_data_and_come_back_to_it() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    let held = caller.connections(&tenant, "tracer").await.expect(200);
    let postgresql = &held["databases"]["tracer"]["postgresql"];
    log_in(postgresql)
        .await
        .unwrap()
        .batch_execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (42)")
        .await
        .unwrap();

    let remove = path(&tenant, "/services/tracer/remove");
    let change = caller.post(&remove, &json!({})).await.expect(200);
    assert_eq!(
        change["plan"]["events"],
        json!(["tenant.service.disassociated"])
    );
    let refused = caller.connections(&tenant, "tracer").await.expect(403);
    assert_eq!(refused["status"], "purged");
    caller.succeeds(&change).await;
    assert!(log_in(postgresql).await.is_err());
    assert!(database_exists(&postgresql["database"]).await);
    let listed = caller
        .get(&format!(
            "/v1/admin/databases?tenant={}",
            tenant["slug"].as_str().unwrap()
        ))
        .await
        .expect(200);
    assert_eq!(listed["items"][0]["database"], postgresql["database"]);
    let again = caller.post(&remove, &json!({})).await.expect(200);
    assert_eq!(again["changed"], false);

    let schema = json!({ "isolationMode": "schema", "force": true });
    caller
        .post(&path(&tenant, "/services/tracer"), &schema)
        .await
        .refusal(409, "association.data_kept");
    let change = caller
        .post(&path(&tenant, "/services/tracer"), &json!({}))
        .await
        .expect(201);
    caller.succeeds(&change).await;
    let back = caller.connections(&tenant, "tracer").await.expect(200);
    let session = log_in(&back["databases"]["tracer"]["postgresql"])
        .await
        .unwrap();
    let row = session.query_one("SELECT x FROM kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    drop(session);

    let change = caller
        .post(&remove, &json!({ "dropData": true }))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    assert!(!database_exists(&postgresql["database"]).await);
    let listed = caller
        .get(&format!(
            "/v1/admin/databases?tenant={}",
            tenant["slug"].as_str().unwrap()
        ))
        .await
        .expect(200);
    assert_eq!(listed["items"], json!([]));
    // And from nothing again.
    let change = caller
        .post(&path(&tenant, "/services/tracer"), &json!({}))
        .await
        .expect(201);
    caller.succeeds(&change).await;
    let fresh = caller.connections(&tenant, "tracer").await.expect(200);
    log_in(&fresh["databases"]["tracer"]["postgresql"])
        .await
        .unwrap();
}

#[tokio::test]
async fn kept_data_goes_with_the_tenant() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer", "ledger"], "schema").await;
    let change = caller
        .post(&path(&tenant, "/services/tracer/remove"), &json!({}))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    let change = caller
        .post(&path(&tenant, "/purge"), &json!({}))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    for service in tenant["services"].as_array().unwrap() {
        for database in service["databases"].as_array().unwrap() {
            assert!(database["schema"].is_string());
            assert!(!role_exists(&database["owner"]).await, "{database}");
        }
    }
}

#[tokio::test]
async fn what_was_made_before_a_purge_of_the_unfinished_is_removed_too() {
    let server = Server::start_with(|settings| settings.jobs = 1);
    let caller = Caller::new(&server);
    let slug = crate::server_kit::slug("hasty");
    let body = json!({ "name": slug, "environment": "production", "isolationMode": "database",
                       "services": ["ledger", "tracer"] });
    let made = caller.post("/v1/admin/tenants", &body).await.expect(201);
    let purge = caller
        .post(&path(&made["tenant"], "/purge"), &json!({}))
        .await
        .expect(200);
    caller.succeeds(&purge).await;
    let record = caller.get(&path(&made["tenant"], "")).await.expect(200);
    assert_eq!(record["status"], "purged");
    for service in made["tenant"]["services"].as_array().unwrap() {
        for database in service["databases"].as_array().unwrap() {
            assert!(!database_exists(&database["database"]).await);
            assert!(!role_exists(&database["login"]).await);
        }
    }
}

#[tokio::test]
async fn a_purge_in_the_middle_of_a_rotation_leaves_no_login_behind() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    let old = caller.connections(&tenant, "tracer").await.expect(200);
    let rotate = caller
        .post(&path(&tenant, "/rotate"), &json!({ "graceSeconds": 3600 }))
        .await
        .expect(200);
    caller.succeeds(&rotate).await;
    let new = caller.connections(&tenant, "tracer").await.expect(200);
    let change = caller
        .post(&path(&tenant, "/purge"), &json!({}))
        .await
        .expect(200);
    caller.succeeds(&change).await;
    for config in [old, new] {
        let postgresql = &config["databases"]["tracer"]["postgresql"];
        assert!(log_in(postgresql).await.is_err());
        assert!(!role_exists(&postgresql["username"]).await);
    }
    // The retirement that was to come has nothing left to do.
    let slug = tenant["slug"].as_str().unwrap();
    let page = caller
        .get(&format!("/v1/admin/operations?tenant={slug}"))
        .await
        .expect(200);
    for operation in page["items"].as_array().unwrap() {
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
    }
}
