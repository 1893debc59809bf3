//! What the audit log says, and that nobody can change it unnoticed.

use std::time::Instant;

use serde_json::{Value, json};

use crate::server_kit::{Caller, PATIENCE, path, slug};
use crate::support::{Postgres, Sandbox, Server, ServerProcess, block_on};

/// Returns every entry, oldest first.
async fn entries(caller: &Caller) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = caller
            .get(&format!("/v1/admin/audit?order=oldest&limit=7{cursor}"))
            .await
            .expect(200);
        found.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Returns the records of an action about a tenant.
async fn about(caller: &Caller, tenant: &Value, action: &str) -> Vec<Value> {
    let id = tenant["id"].as_str().unwrap();
    let page = caller
        .get(&format!(
            "/v1/admin/audit?tenant={id}&action={action}&order=oldest"
        ))
        .await
        .expect(200);
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["record"].clone()).collect()
}

/// Waits until there are entries of an action as `enough` wants them.
async fn until(
    caller: &Caller,
    tenant: &Value,
    action: &str,
    enough: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = about(caller, tenant, action).await;
        if enough(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{found:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn reads(records: &[Value], result: &str) -> u64 {
    let of = |record: &&Value| record["result"] == result;
    records
        .iter()
        .filter(of)
        .map(|record| record["count"].as_u64().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_refusals_and_reads_are_told_with_who_what_whence_and_result() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;

    let created = about(&caller, &tenant, "tenant.create").await;
    assert_eq!(created.len(), 1, "{created:#?}");
    let record = &created[0];
    assert_eq!(record["result"], "ok");
    assert_eq!(record["status"], 201);
    assert_eq!(record["callerKind"], "bootstrap-key");
    assert_eq!(record["peer"], "127.0.0.1");
    assert!(record["plan"].as_str().unwrap().starts_with("sha256:"));
    assert!(record["request"].as_str().is_some());
    let operation = record["operation"].as_str().unwrap();
    let ended = about(&caller, &tenant, "operation.end").await;
    assert_eq!(ended[0]["operation"], operation);
    assert_eq!(ended[0]["result"], "ok");
    assert_eq!(ended[0]["caller"], "server");
    let steps = about(&caller, &tenant, "operation.step").await;
    assert_eq!(steps[0]["service"], "tracer", "what was handed out is told");

    // Asked for, and nothing changed: told apart.
    let suspend = path(&tenant, "/suspend");
    caller
        .post(&suspend, &json!({ "dryRun": true }))
        .await
        .expect(200);
    caller
        .post(&suspend, &json!({ "expectPlan": "sha256:other" }))
        .await
        .refusal(409, "plan.changed");
    caller.post(&suspend, &json!({})).await.expect(200);
    caller.post(&suspend, &json!({})).await.expect(200);
    let told = about(&caller, &tenant, "tenant.suspend").await;
    let results: Vec<&str> = told
        .iter()
        .map(|one| one["result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["planned", "plan.changed", "ok", "unchanged"]);

    // Reads of credentials, granted and refused, by number.
    for _ in 0..5 {
        assert_eq!(caller.connections(&tenant, "tracer").await.status, 403);
    }
    caller
        .post(&path(&tenant, "/reactivate"), &json!({}))
        .await
        .expect(200);
    for _ in 0..20 {
        caller.connections(&tenant, "tracer").await.expect(200);
    }
    let found = until(&caller, &tenant, "credentials.read", |found| {
        reads(found, "ok") >= 20
    })
    .await;
    assert_eq!(reads(&found, "ok"), 20);
    assert_eq!(reads(&found, "association.suspended"), 5);
    assert!(found.len() < 25, "reads of a moment are one entry");

    // Somebody without a key, and something that does not exist.
    let stranger = caller.with_key("not a key");
    for _ in 0..3 {
        stranger
            .get("/v1/admin/info")
            .await
            .refusal(401, "auth.invalid_key");
    }
    let missing = slug("missing");
    let nothing = format!("/v1/admin/tenants/{missing}/purge");
    caller
        .post(&nothing, &json!({}))
        .await
        .refusal(404, "tenant.not_found");
    let all = entries(&caller).await;
    let purge = all
        .iter()
        .find(|one| one["record"]["action"] == "tenant.purge")
        .unwrap();
    assert_eq!(purge["record"]["target"], missing);
    assert_eq!(purge["record"]["result"], "tenant.not_found");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = caller
            .get("/v1/admin/audit?caller=anonymous")
            .await
            .expect(200);
        let records: Vec<Value> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["record"].clone())
            .collect();
        if reads(&records, "auth.invalid_key") == 3 {
            assert_eq!(records[0]["detail"], "/v1/admin/info");
            break;
        }
        assert!(Instant::now() < deadline, "{records:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let verified = caller.get("/v1/admin/audit/verify").await.expect(200);
    assert_eq!(verified["findings"], json!([]));
    assert_eq!(verified["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_what_they_may_not_do_are_told() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "schema").await;
    let name = slug("product");
    let body = json!({ "name": name, "role": "service", "services": ["ledger"] });
    let made = caller.post("/v1/admin/keys", &body).await.expect(201);
    let product = caller.with_key(made["key"].as_str().unwrap());
    product
        .connections(&tenant, "tracer")
        .await
        .refusal(403, "auth.out_of_scope");
    let purge = product.post(&path(&tenant, "/purge"), &json!({})).await;
    purge.refusal(403, "auth.not_permitted");
    let revoke = format!("/v1/admin/keys/{name}/revoke");
    caller.post(&revoke, &json!({})).await.expect(200);

    let all = entries(&caller).await;
    let told = |action: &str| -> Vec<Value> {
        all.iter()
            .map(|entry| entry["record"].clone())
            .filter(|record| record["action"] == action)
            .collect()
    };
    let created = told("key.create");
    assert_eq!(created.len(), 1, "{created:#?}");
    assert_eq!(created[0]["result"], "ok");
    let id = made["record"]["id"].as_str().unwrap();
    assert!(created[0]["detail"].as_str().unwrap().contains(id));
    assert_eq!(told("key.revoke")[0]["result"], "ok");
    let found = until(&caller, &tenant, "credentials.read", |found| {
        reads(found, "auth.out_of_scope") == 1
    })
    .await;
    assert_eq!(found.last().unwrap()["caller"], id);
    let refused = format!("/v1/admin/audit?caller={id}&action=auth.refused");
    let deadline = Instant::now() + PATIENCE;
    let record = loop {
        let page = caller.get(&refused).await.expect(200);
        if page["items"] != json!([]) {
            break page["items"][0]["record"].clone();
        }
        assert!(Instant::now() < deadline, "the refusal is not told");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(record["result"], "auth.not_permitted");
}

#[test]
fn what_was_read_last_is_told_after_an_orderly_end_and_the_chain_goes_on() {
    let server = Server::start();
    let (tenant, server) = block_on(async move {
        let caller = Caller::new(&server);
        let tenant = caller.tenant(&["tracer"], "schema").await;
        for _ in 0..7 {
            caller.connections(&tenant, "tracer").await.expect(200);
        }
        (tenant, server)
    });
    let server = server.restart();
    block_on(async move {
        let caller = Caller::new(&server);
        let found = about(&caller, &tenant, "credentials.read").await;
        assert_eq!(reads(&found, "ok"), 7, "{found:#?}");
        let all = entries(&caller).await;
        for (at, entry) in all.iter().enumerate() {
            assert_eq!(entry["record"]["sequence"], at + 1);
            if at > 0 {
                assert_eq!(entry["record"]["previous"], all[at - 1]["hash"]);
            }
        }
        let actions: Vec<&str> = all
            .iter()
            .map(|entry| entry["record"]["action"].as_str().unwrap())
            .filter(|action| action.starts_with("server."))
            .collect();
        assert_eq!(actions, ["server.start", "server.stop", "server.start"]);
        let verified = caller.get("/v1/admin/audit/verify").await.expect(200);
        assert_eq!(verified["findings"], json!([]));
        tokio::task::spawn_blocking(move || drop(server))
            .await
            .unwrap();
    });
}

#[test]
fn a_start_after_a_kill_says_that_there_was_no_stop() {
    let mut process = ServerProcess::start(&Postgres::shared().endpoint(), None);
    process.kill();
    process.restart();
    let room = process.room();
    let listed = room.run(["audit", "list", "-o", "json", "--oldest-first"]);
    let listed = listed.success().json();
    let actions: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["record"]["action"].as_str().unwrap())
        .filter(|action| action.starts_with("server."))
        .collect();
    assert_eq!(actions, ["server.start", "server.start"]);
    let _ = room.run(["audit", "verify"]).success();
}

#[test]
fn sqlite_itself_refuses_to_change_the_log_and_tampering_is_named() {
    let server = Server::start();
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    block_on({
        let caller = Caller::new(&server);
        async move {
            for _ in 0..4 {
                caller.tenant(&[], "database").await;
            }
        }
    });
    let head = room.run(["audit", "head", "-o", "name"]).success();
    let anchor = head.stdout.trim().to_owned();
    let last: u64 = anchor.split(':').next().unwrap().parse().unwrap();
    let export = room.run(["audit", "export", "--file", "audit.ndjson", "-o", "json"]);
    let export = export.success().json();
    assert_eq!(export["entries"], last);
    assert_eq!(export["anchor"], anchor);
    let intact = [
        "audit",
        "verify",
        "--file",
        "audit.ndjson",
        "--anchor",
        &anchor,
        "-o",
        "json",
    ];
    let _ = room.run(intact).success();
    let _ = room.run(["audit", "verify", "--anchor", &anchor]).success();

    let named = |outcome: &Value| -> Vec<u64> {
        let findings = outcome["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|finding| finding["sequence"].as_u64().unwrap())
            .collect()
    };
    let lines: Vec<String> = room
        .read("audit.ndjson")
        .lines()
        .map(str::to_owned)
        .collect();
    let offline = |lines: &[String]| {
        room.write("tampered.ndjson", lines.join("\n"));
        let tampered = [
            "audit",
            "verify",
            "--file",
            "tampered.ndjson",
            "--anchor",
            &anchor,
            "-o",
            "json",
        ];
        named(&room.run(tampered).exits(3).json())
    };
    let mut altered = lines.clone();
    altered[3] = altered[3].replace("127.0.0.1", "127.0.0.2");
    assert_ne!(altered, lines);
    assert!(offline(&altered).contains(&4));
    let mut removed = lines.clone();
    removed.remove(1);
    assert_eq!(offline(&removed), [2]);
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert!(offline(&swapped).contains(&2));
    let mut doubled = lines.clone();
    doubled.insert(3, lines[2].clone());
    assert_eq!(offline(&doubled), [3]);
    assert_eq!(offline(&lines[..lines.len() - 1]), [last]);
    assert_eq!(offline(&lines[1..]), [1]);
    let mut rubbish = lines.clone();
    rubbish[1] = "not an entry".to_owned();
    assert!(offline(&rubbish).contains(&2));

    // In the registry: refused, unless somebody takes the guards away first.
    let file = rusqlite::Connection::open(server.registry()).unwrap();
    for sql in [
        "UPDATE audit SET caller = 'x' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 3",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE sequence = 3",
        "INSERT INTO audit SELECT 1000, at, caller, action, tenant_id, record, hash, mac FROM audit WHERE sequence = 3",
    ] {
        let refused = file.execute(sql, []).unwrap_err();
        assert!(refused.to_string().contains("audit log"), "{refused}");
    }
    let _ = room.run(["audit", "verify", "--anchor", &anchor]).success();
    file.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted")
        .unwrap();
    let online = || {
        named(
            &room
                .run(["audit", "verify", "--anchor", &anchor, "-o", "json"])
                .exits(3)
                .json(),
        )
    };
    file.execute("UPDATE audit SET caller = 'x' WHERE sequence = 3", [])
        .unwrap();
    assert_eq!(online(), [3], "filed under another caller");
    // A rewritten entry whose hash was made to fit is told by its code.
    let text: String = file
        .query_row("SELECT record FROM audit WHERE sequence = 2", [], |row| {
            row.get(0)
        })
        .unwrap();
    let text = text
        .replace("127.0.0.1", "127.0.0.2")
        .replace("server", "nobody");
    let hash = lerianctl::audit::hash(&text);
    file.execute(
        "UPDATE audit SET record = ?1, hash = ?2, caller = json_extract(?1, '$.caller'), action = json_extract(?1, '$.action') WHERE sequence = 2",
        [&text, &hash],
    )
    .unwrap();
    assert_eq!(online(), [2, 3]);
    file.execute("DELETE FROM audit WHERE sequence = 4", [])
        .unwrap();
    assert_eq!(online(), [2, 3, 4]);
    file.execute(
        "DELETE FROM audit WHERE sequence >= ?1",
        [last.cast_signed()],
    )
    .unwrap();
    assert_eq!(online(), [2, 3, 4, last]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_cannot_be_written_nothing_changes_and_reads_end_after_a_while() {
    let server = Server::start();
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "database").await;
    caller.connections(&tenant, "tracer").await.expect(200);
    // The log alone cannot be written: everything else in the registry can.
    let file = rusqlite::Connection::open(server.registry()).unwrap();
    file.execute_batch(
        "CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'broken'); END",
    )
    .unwrap();
    let update = json!({ "name": "Another name" });
    let refused = caller.patch(&path(&tenant, ""), &update).await;
    assert!(refused.status >= 500, "{}", refused.text);
    let same = caller.get(&path(&tenant, "")).await.expect(200);
    assert_eq!(same["name"], tenant["name"], "nothing was changed");
    let planned = caller
        .post(&path(&tenant, "/suspend"), &json!({ "dryRun": true }))
        .await;
    planned.refusal(503, "audit.unavailable");

    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = caller.connections(&tenant, "tracer").await;
        if answer.status == 503 {
            answer.refusal(503, "audit.unavailable");
            break;
        }
        assert!(Instant::now() < deadline, "reads went on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    file.execute_batch("DROP TRIGGER broken").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while caller.connections(&tenant, "tracer").await.status != 200 {
        assert!(Instant::now() < deadline, "reads did not come back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Nothing that was handed out meanwhile is left out.
    let found = until(&caller, &tenant, "credentials.read", |found| {
        reads(found, "ok") > 1
    })
    .await;
    assert!(!found.is_empty());
    caller.patch(&path(&tenant, ""), &update).await.expect(200);
    let verified = caller.get("/v1/admin/audit/verify").await.expect(200);
    assert_eq!(verified["findings"], json!([]));
}
