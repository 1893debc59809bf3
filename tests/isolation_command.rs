//! `isolation check|list|explain|show` as an operator runs them.

use std::fmt::Write as _;

use super::isolation_fleet::{Fleet, NAMES};
use super::support::{Play, Sandbox, Script, Server};
use lerianctl::link::postgres::PostgresEndpoint;
use serde_json::json;

/// Returns a login as a URL.
pub(super) fn url(admin: &PostgresEndpoint) -> String {
    format!(
        "postgres://{}:{}@127.0.0.1:{}/postgres?sslmode=disable",
        admin.user,
        admin.password.as_ref().unwrap().expose(),
        admin.port
    )
}

/// A room with an inventory of the fleet and the administrator's URL.
pub(super) fn room(fleet: &Fleet) -> Sandbox {
    let room = Sandbox::new();
    let mut text = "complete = true\n".to_owned();
    for store in &fleet.inventory.stores {
        let file = format!("{}.password", store.tenant);
        room.write(&file, store.password.as_ref().unwrap().expose());
        write!(
            text,
            "[[store]]\ntenant = '{}'\nhost = '127.0.0.1'\nport = {}\ndatabase = '{}'\nlogin = '{}'\npassword-file = '{file}'\nsslmode = 'disable'\n",
            store.tenant, store.port, store.database, store.login
        )
        .unwrap();
    }
    room.write("tenants.toml", text);
    room.write("admin.url", url(&fleet.admin));
    room
}

/// Returns a text with its lines joined.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) const CHECK: [&str; 6] = [
    "isolation",
    "check",
    "--inventory",
    "tenants.toml",
    "--postgres-url-file",
    "admin.url",
];

#[tokio::test]
async fn a_clean_fleet_made_by_hand_passes_and_an_open_one_fails() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let text = room.run(CHECK).success();
    assert!(
        text.stdout.starts_with("ISOLATION HOLDS: no findings\n"),
        "{text}"
    );
    assert!(text.stdout.contains("What was not tested"), "{text}");
    // Checks with one reason stand together, and a pipe has a line for each thing that goes on.
    let redis = "RD-14, RD-15: no Redis is configured";
    let shown = joined(&text.stdout);
    assert_eq!(shown.matches("no Redis is configured").count(), 1, "{text}");
    assert!(shown.contains(redis), "{text}");
    let counts = |thing: &str| text.stderr.lines().filter(|l| l.ends_with(thing)).count();
    assert_eq!(counts("the catalogues of the databases"), 1, "{text}");
    assert_eq!(counts("trying the tenants' own logins"), 1, "{text}");
    let last = room
        .run(["isolation", "show", "-o", "json"])
        .success()
        .json();
    assert_eq!(last["verdict"], "holds");
    room.write("before.json", last.to_string());

    let session = fleet.session("postgres").await;
    session
        .batch_execute("GRANT CONNECT ON DATABASE borealis TO aurora_app")
        .await
        .unwrap();
    session.close().await;
    let text = room.run(CHECK).exits(3);
    assert!(
        text.stdout.starts_with("ISOLATION REFUTED: 3 critical\n"),
        "{text}"
    );
    assert!(text.stdout.contains("aurora -> borealis"), "{text}");
    assert!(
        text.stdout
            .contains("fix: REVOKE ALL ON DATABASE borealis FROM aurora_app;"),
        "{text}"
    );
    written(&room);
    let narrow = room.command(CHECK).env("COLUMNS", "60").output().unwrap();
    assert_eq!(narrow.status.code(), Some(3));

    let json = room
        .run([&CHECK[..], &["-o", "json"]].concat())
        .exits(3)
        .json();
    assert_eq!(json["passed"], false);
    let passwords = fleet
        .inventory
        .stores
        .iter()
        .filter_map(|store| store.password.as_ref());
    for password in passwords.chain(&fleet.admin.password) {
        assert!(
            !json.to_string().contains(password.expose()),
            "a password is in the report"
        );
    }
    // With the baseline that has it, only what is new fails.
    room.write("now.json", json.to_string());
    let baseline = [&CHECK[..], &["--baseline", "now.json"]].concat();
    assert!(room.run(baseline).success().stdout.contains("(known)"));
    let _ = room
        .run([&CHECK[..], &["--baseline", "before.json"]].concat())
        .exits(3);
    let _ = room.run(["isolation", "show", "now.json"]).exits(3);
    // A waiver holds until its day is over.
    let waiver = |day: &str| {
        let mut text = String::new();
        for check in ["PG-002", "PG-007", "PG-201"] {
            write!(
                text,
                "[[waiver]]\ncheck = '{check}'\nowner = 'ops'\nreason = 'migration'\nexpires = '{day}'\n"
            )
            .unwrap();
        }
        text
    };
    room.write("waivers.toml", waiver("2999-01-01"));
    let with_waivers = [&CHECK[..], &["--waivers", "waivers.toml"]].concat();
    assert!(
        room.run(&with_waivers)
            .success()
            .stdout
            .contains("3 findings are waived")
    );
    room.write("waivers.toml", waiver("2020-01-01"));
    let expired = room.run(&with_waivers).exits(3);
    assert!(
        expired.stdout.contains("its waiver ended on 2020-01-01"),
        "{expired}"
    );
    // A reader that may plant nothing proves nothing.
    let no_control = [&CHECK[..], &["--no-control", "--check", "PG-003"]].concat();
    let no_control = room.run(no_control).exits(3);
    assert!(no_control.stdout.contains("NO CONTROL"), "{no_control}");
}

#[test]
fn the_fleet_of_a_tenant_manager_is_found_and_holds() {
    let server = Server::start();
    let mut room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", server.api_key().expose());
    room.name(server.url(), "SERVER");
    for (name, mode) in [
        ("Aurora", "database"),
        ("Borealis", "schema"),
        ("Celeste", "schema"),
    ] {
        let _ = room
            .run([
                "tenant",
                "create",
                name,
                "--service",
                "tracer",
                "--isolation",
                mode,
                "--force",
            ])
            .success();
    }
    let admin = server.server_settings().clusters[0].admin.clone();
    room.write("admin.url", url(&admin));
    let check = [
        "isolation",
        "check",
        "--postgres-url-file",
        "admin.url",
        "-o",
        "json",
    ];
    // The cluster is shared with other tests, whose tenants are left over to this server.
    let report = room.run(check);
    let json = report.json();
    let about: Vec<&str> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| !matches!(finding["check"].as_str(), Some("PG-027")))
        .filter_map(|finding| finding["to"][0].as_str())
        .filter(|tenant| ["aurora", "borealis", "celeste"].contains(tenant))
        .collect();
    assert!(about.is_empty(), "{report}");
    assert_eq!(json["control"]["state"], "detected", "{report}");
    assert_eq!(
        json["fleet"]["tenants"].as_array().unwrap().len(),
        NAMES.len()
    );
    assert!(json["coverage"]["probes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn products_and_clusters_are_checked_next_to_the_tenants() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let tracer = "MULTI_TENANT_ENABLED=true\nMULTI_TENANT_URL=https://tm.example\n\
        MULTI_TENANT_SERVICE_API_KEY=Zk3x9QpL0aWm7vTr5sYb\nMULTI_TENANT_REDIS_HOST=redis\n\
        MULTI_TENANT_CACHE_TTL_SEC=600\nPLUGIN_AUTH_ENABLED=true\n\
        PLUGIN_AUTH_ADDRESS=https://auth.example\nENV_NAME=staging\nAPPLICATION_NAME=tracer\n\
        MULTI_TENANT_MAX_OPEN_CONNS_PER_TENANT=5\n";
    room.write("tracer.env", tracer);
    let port = fleet.admin.port;
    let cluster = format!("localhost:{port}");
    let with = |more: &[&str]| {
        let more = more.iter().map(ToString::to_string);
        let all = CHECK.iter().map(ToString::to_string).chain(more);
        let json = ["-o", "json", "--product-env", "tracer=tracer.env"];
        all.chain(json.map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    let good = with(&["--rotation-grace", "15m", "--cluster", &cluster, "--static"]);
    let good = room.run(good).success().json();
    let verdict = |id: &str| {
        let mut checks = good["checks"].as_array().unwrap().iter();
        let check = checks.find(|check| check["check"] == id).unwrap();
        check["verdict"].as_str().unwrap().to_owned()
    };
    for id in [
        "CF-08", "CF-09", "CF-10", "CF-11", "CF-12", "CF-13", "CF-14", "CF-18", "CF-19",
    ] {
        assert_eq!(verdict(id), "holds", "{id}");
    }
    for id in ["CF-04", "CF-21"] {
        assert_eq!(verdict(id), "skipped", "{id}");
    }
    // 5 minutes are too few for a cache of 10, 10 replicas open 320 connections, and no cluster is
    // at that port.
    let bad = with(&["--cluster", "127.0.0.1:1", "--static", "--replicas", "10"]);
    let bad = room.run(bad).exits(3).json();
    let mut found: Vec<_> = bad["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["CF-12", "CF-13", "CF-19"]);
    assert!(!bad.to_string().contains("Zk3x9"), "a key is in the report");
    room.write("strange.env", "WHO=knows\n");
    let strange = [&CHECK[..], &["--product-env", "strange.env"]].concat();
    let strange = room.run(strange).exits(2);
    assert!(strange.stderr.contains("env.no_product"), "{strange}");
}

/// A Tenant Manager that has the contract's routes alone, before tenants that were made by hand.
#[tokio::test]
async fn a_server_that_only_speaks_the_contract_is_enough() {
    let fleet = Fleet::by_hand(true).await;
    let ids = [
        "7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
        "7b0e1c5a9f3d4b62a1c8e4d7f0936b22",
        "7b0e1c5a9f3d4b62a1c8e4d7f0936b23",
    ];
    let mut answers = std::collections::BTreeMap::new();
    let mut active = Vec::new();
    for (id, store) in ids.iter().zip(&fleet.inventory.stores) {
        active.push(json!({"id": id, "name": store.tenant, "status": "active"}));
        let config = json!({
            "id": id, "tenantSlug": store.tenant, "isolationMode": "isolated",
            "databases": {"onboarding": {"postgresql": {
                "host": "127.0.0.1", "port": store.port, "database": store.database,
                "username": store.login, "password": store.password.as_ref().unwrap().expose(),
                "sslmode": "disable"
            }}}
        });
        answers.insert(
            format!("GET /v1/tenants/{id}/associations/ledger/connections"),
            config,
        );
    }
    answers.insert(
        "GET /v1/tenants/active?service=ledger".into(),
        json!(active),
    );
    let server = Script::answer(move |seen, _| match answers.get(&seen.line) {
        Some(answer) => Play::json(200, answer.clone()),
        None => Play::with(404, "content-type: text/plain\r\n", "404 page not found"),
    });
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", server.url())
        .with("LERIANCTL_API_KEY", "k3y");
    room.write("admin.url", url(&fleet.admin));
    let check = [
        "isolation",
        "check",
        "--service",
        "ledger",
        "--postgres-url-file",
        "admin.url",
        "-o",
        "json",
    ];
    let report = room.run(check).success().json();
    assert_eq!(report["verdict"], "holds", "{report:#}");
    assert_eq!(
        report["fleet"]["tenants"],
        json!(["aurora", "borealis", "celeste"])
    );
    // What such a server cannot tell is said.
    assert!(
        report["notTested"]
            .to_string()
            .contains("only the active tenants"),
        "{report:#}"
    );
    let session = fleet.session("postgres").await;
    let leak = "GRANT CONNECT ON DATABASE borealis TO aurora_app";
    session.batch_execute(leak).await.unwrap();
    session.close().await;
    let found = room.run(check).exits(3).json();
    for id in ["PG-002", "PG-007", "PG-201"] {
        let mut findings = found["findings"].as_array().unwrap().iter();
        let finding = findings.find(|finding| finding["check"] == id);
        assert_eq!(finding.unwrap()["to"], json!(["borealis"]), "{found:#}");
    }
    // Only the contract's routes, and what says that there is no more.
    for seen in server.seen() {
        assert!(seen.line.starts_with("GET /v1/"), "{}", seen.line);
    }
    let nameless = room.run(["isolation", "check", "--postgres-url-file", "admin.url"]);
    assert_ne!(nameless.status, Some(0), "{nameless}");
}

#[test]
fn the_manual_is_complete_and_fits_a_narrow_terminal() {
    let room = Sandbox::new();
    let list = room
        .run(["isolation", "list", "-o", "json"])
        .success()
        .json();
    let ids: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.len() > 55);
    for id in &ids {
        let page = room.run(["isolation", "explain", id]).success().stdout;
        for title in ["Claim", "Why", "How it looks", "Control", "Remedy"] {
            assert!(page.contains(&format!("\n{title}\n")), "{id}: {page}");
        }
    }
    let query = room
        .run(["isolation", "explain", "pg-002", "--query"])
        .success();
    assert!(query.stdout.contains("WITH RECURSIVE inv"), "{query}");
    let unknown = room.run(["isolation", "explain", "PG-2"]).exits(5);
    assert!(
        unknown.stderr.contains("isolation.unknown_check"),
        "{unknown}"
    );
    let none = room.run(["isolation", "show"]).exits(5);
    assert!(none.stderr.contains("isolation.no_report"), "{none}");
}

#[test]
fn a_broken_inventory_or_waiver_is_a_usage_error_that_shows_no_password() {
    let room = Sandbox::new();
    room.write("tenants.toml", "[[store]]\npassword = hunter2\n");
    let broken = room
        .run(["isolation", "check", "--inventory", "tenants.toml"])
        .exits(2);
    assert!(broken.stderr.contains("isolation.inventory"), "{broken}");
    assert!(!broken.stderr.contains("hunter2"), "{broken}");
    room.write("tenants.toml", "complete = true\n");
    let empty = room
        .run(["isolation", "check", "--inventory", "tenants.toml"])
        .exits(2);
    assert!(empty.stderr.contains("no [[store]]"), "{empty}");
    room.write("waivers.toml", "[[waiver]]\ncheck = 'PG-001'\n");
    let waivers = room
        .run([
            "isolation",
            "check",
            "--inventory",
            "tenants.toml",
            "--waivers",
            "waivers.toml",
        ])
        .exits(2);
    assert!(waivers.stderr.contains("isolation.waivers"), "{waivers}");
}

/// The last report, which refutes, in every form that a file may have.
fn written(room: &Sandbox) {
    let forms = ["html", "junit", "markdown", "sarif"];
    let mut arguments = vec!["isolation".to_owned(), "show".into()];
    for form in forms {
        arguments.extend(["--report".into(), format!("{form}=report.{form}")]);
    }
    room.run(&arguments).exits(3);
    for form in forms {
        let text = room.read(format!("report.{form}"));
        assert!(text.contains("PG-002"), "{form}: {text}");
        assert!(text.contains("borealis"), "{form}: {text}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&room.read("report.sarif")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert!(
        results.iter().any(|result| result["ruleId"] == "PG-002"),
        "{sarif:#}"
    );
    let html = room.read("report.html");
    for loaded in ["<script", "http://", "https://", "src=", "@import"] {
        assert!(!html.contains(loaded), "{loaded} in {html}");
    }

    for (given, status) in [("html=nowhere/at/all", 2), ("pdf=x", 2), ("html=", 2)] {
        room.run(["isolation", "show", "--report", given])
            .exits(status);
    }
    let refused = room
        .run(["isolation", "show", "--report", "html=nowhere/x"])
        .exits(2);
    assert!(
        refused.stderr.contains("isolation.not_written"),
        "{refused}"
    );
}
