//! What is written through a product is searched in the databases behind it: a clean sample holds,
//! and one that writes astray is found out, in both isolation modes.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use lerianctl::cli::isolation::fleet::from_manager;
use lerianctl::isolation::catalogue;
use lerianctl::isolation::http::{Behind, Means, Outcome, Recipe, Side, Target, run};
use lerianctl::isolation::inventory::{Inventory, Store};
use lerianctl::link::postgres::{Gate, PostgresEndpoint};
use lerianctl::secret::Secret;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::isolation_command::url;
use crate::middleware_kit::Stage;
use crate::sample_kit::{Bearer, Service, clean};
use crate::support::Sandbox;

const ID: &str = "PG-207";

/// Two tenants of one mode, a sample that serves them, and what is behind it.
struct Ground {
    stage: Stage,
    tenants: [Value; 2],
    /// The same every time: a leak is one tenant's.
    tokens: [String; 2],
    inventory: Inventory,
    admin: PostgresEndpoint,
}

impl Ground {
    async fn start(mode: &str) -> Self {
        let stage = Stage::start();
        let tenants = [
            stage.caller.tenant(&["ledger"], mode).await,
            stage.caller.tenant(&["ledger"], mode).await,
        ];
        let inventory = from_manager(&stage.manager(), &[]).await.unwrap();
        let admin = stage.server.server_settings().clusters[0].admin.clone();
        Self {
            tokens: [0, 1].map(|side| stage.token(&tenants[side])),
            stage,
            tenants,
            inventory,
            admin,
        }
    }

    fn token(&self, side: usize) -> String {
        self.tokens[side].clone()
    }

    /// Returns where the sample keeps what is a tenant's.
    fn store(&self, side: usize) -> &Store {
        let id = self.tenants[side]["id"].as_str().unwrap();
        let mut stores = self.inventory.stores.iter();
        let fits = |s: &&Store| s.tenant_id == id && s.module == "onboarding";
        stores.find(fits).unwrap()
    }

    fn target(&self, url: &str) -> Target {
        let side = |at: usize| {
            let mut side = Side::new(Secret::new(self.token(at)), [].into()).unwrap();
            ["aurora", "brisa"][at].clone_into(&mut side.name);
            side
        };
        let mut recipe = Recipe::built_in("sample").unwrap();
        for collection in &mut recipe.collection {
            collection.later_seconds = 2;
        }
        Target {
            recipe,
            base: url.parse().unwrap(),
            means: Means {
                sides: [side(0), side(1)],
                writes: true,
                requests: 10,
                suspended: None,
                signer: None,
                manager: None,
                databases: Vec::new(),
            },
            inner_names: Vec::new(),
        }
    }

    async fn probe(&self, router: Router, change: impl FnOnce(&mut Target)) -> Outcome {
        let service = Service::serve(router).await;
        let mut target = self.target(&service.url());
        change(&mut target);
        let gate = Gate::new(1);
        let behind = Behind {
            stores: &self.inventory.stores,
            auditors: std::slice::from_ref(&self.admin),
            gate: &gate,
        };
        let wanted = [catalogue::find(ID).unwrap()];
        let outcome = run(&target, &wanted, &behind).await;
        assert!(outcome.left_behind.is_empty(), "{outcome:#?}");
        assert_eq!(gate.most().min(1), gate.most(), "one session at a time");
        outcome
    }

    /// Probes the sample as it is.
    async fn clean(&self, change: impl FnOnce(&mut Target)) -> Outcome {
        self.probe(clean(&self.stage), change).await
    }

    /// Runs statements as the administrator.
    async fn execute(&self, database: &str, sql: &str) {
        let session = self.admin.with_database(database).connect().await.unwrap();
        session.batch_execute(sql).await.unwrap();
        session.close().await;
    }

    /// The sample, with what `leak` writes besides for whatever the first tenant makes.
    fn leaky(
        &self,
        database: &str,
        leak: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Router {
        let clean = clean(&self.stage);
        let token = format!("Bearer {}", self.token(0));
        let place = self.admin.with_database(database);
        let leak = Arc::new(leak);
        Router::new().fallback(move |request: Request| {
            let (clean, token, place, leak) = (
                clean.clone(),
                token.clone(),
                place.clone(),
                Arc::clone(&leak),
            );
            async move {
                let (parts, body) = request.into_parts();
                let bytes = to_bytes(body, 1 << 16).await.unwrap();
                let said = parts.headers.get("authorization");
                let first = said.and_then(|v| v.to_str().ok()) == Some(token.as_str());
                if parts.method == Method::POST && first {
                    let session = place.connect().await.unwrap();
                    let text = String::from_utf8_lossy(&bytes).replace('\'', "''");
                    session.batch_execute(&leak(&text)).await.unwrap();
                    session.close().await;
                }
                let request = Request::from_parts(parts, Body::from(bytes));
                let answer: Response = clean.oneshot(request).await.unwrap();
                answer
            }
        })
    }
}

fn holds(outcome: &Outcome) {
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    assert!(outcome.unproven.is_empty(), "{:#?}", outcome.unproven);
    assert!(!outcome.skipped.contains_key(ID), "{:#?}", outcome.skipped);
    assert!(outcome.tried[ID] > 4, "{:?}", outcome.tried);
}

fn astray(outcome: &Outcome, to: &str, table: &str) {
    let findings = &outcome.findings;
    let [finding] = findings.as_slice() else {
        panic!("{outcome:#?}");
    };
    assert_eq!(finding.check, ID);
    assert_eq!(
        (&finding.from[..], &finding.to[..]),
        (&["aurora".into()][..], &[to.into()][..])
    );
    assert!(finding.object.ends_with(table), "{finding:#?}");
    assert!(
        !format!("{finding:?}").contains("lerianctl-probe"),
        "a row is in the evidence"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_astray_is_found_in_both_modes() {
    for mode in ["database", "schema"] {
        let ground = Ground::start(mode).await;
        let outcome = ground.clean(|_| ()).await;
        holds(&outcome);
        assert_eq!(outcome.out_of[ID], outcome.tried[ID] + 4);
        let missing = &outcome.not_searched[0].0;
        assert_eq!(missing, "the database of sample itself");
        for side in 0..2 {
            let service = Service::serve(clean(&ground.stage)).await;
            let bearer = Bearer::new(&service.url(), ground.token(side));
            assert!(bearer.ids("/v1/organizations").await.is_empty());
        }
        // Into the other tenant's database or schema, as text, as JSON and as bytes.
        let other = ground.store(1).clone();
        let schema = other.schema.clone().unwrap_or_else(|| "public".into());
        let owner = other.roles[0].clone();
        for (kind, value) in [
            ("text", "'{}'"),
            ("jsonb", "'{}'"),
            ("bytea", "convert_to('{}', 'UTF8')"),
        ] {
            let table = format!("\"{schema}\".\"t\"");
            ground
                .execute(
                    &other.database,
                    &format!(
                        "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (t {kind});
                         ALTER TABLE {table} OWNER TO \"{owner}\""
                    ),
                )
                .await;
            let insert = format!("INSERT INTO {table} VALUES ({value})");
            let leak = move |text: &str| insert.replace("{}", text);
            let outcome = ground
                .probe(ground.leaky(&other.database, leak), |_| ())
                .await;
            astray(&outcome, "brisa", ".t");
            let drop = format!("DROP TABLE {table}");
            ground.execute(&other.database, &drop).await;
        }
        // Into what is nobody's: where the auditor logs in.
        let table = format!("public.stray_{mode}");
        let admin = ground.admin.database.clone();
        let make = format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (t text)");
        ground.execute(&admin, &make).await;
        let insert = format!("INSERT INTO {table} VALUES ('{{}}')");
        let leak = move |text: &str| insert.replace("{}", text);
        let outcome = ground.probe(ground.leaky(&admin, leak), |_| ()).await;
        ground.execute(&admin, &format!("DROP TABLE {table}")).await;
        astray(&outcome, "aurora", &table);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_search_path_and_the_product_s_own_database_are_searched() {
    let ground = Ground::start("schema").await;
    let shared = ground.store(0).database.clone();
    // What a table's owner can put in the way of its text is not called.
    let trap = "DROP TABLE IF EXISTS public.lost CASCADE; CREATE TABLE public.lost (t text);
        CREATE OR REPLACE FUNCTION public.trap(public.lost) RETURNS text LANGUAGE plpgsql
          AS $$ BEGIN RAISE 'called'; END $$;
        CREATE CAST (public.lost AS text) WITH FUNCTION public.trap(public.lost) AS IMPLICIT";
    ground.execute(&shared, trap).await;
    let leak = |text: &str| format!("INSERT INTO public.lost VALUES ('{text}')");
    let outcome = ground.probe(ground.leaky(&shared, leak), |_| ()).await;
    ground
        .execute(&shared, "DROP TABLE public.lost CASCADE")
        .await;
    astray(&outcome, "aurora", "public.lost");

    let name = format!("product_{}", uuid::Uuid::new_v4().simple());
    let admin = ground.admin.database.clone();
    ground
        .execute(&admin, &format!("CREATE DATABASE {name}"))
        .await;
    ground
        .execute(&name, "CREATE TABLE fallback (t text)")
        .await;
    let leak = |text: &str| format!("INSERT INTO fallback VALUES ('{text}')");
    let own = ground.admin.with_database(&name);
    let unseen = ground.probe(ground.leaky(&name, leak), |_| ()).await;
    holds(&unseen);
    assert_eq!(unseen.not_searched.len(), 1);
    let seen = ground
        .probe(ground.leaky(&name, leak), |target| {
            target.means.databases.push(own);
        })
        .await;
    ground
        .execute(&admin, &format!("DROP DATABASE {name} WITH (FORCE)"))
        .await;
    astray(&seen, "aurora", "public.fallback");
    assert!(seen.not_searched.is_empty());
}

/// Nothing is proved where the search could not have found anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_positive_control_a_write_is_not_proved() {
    let mut ground = Ground::start("database").await;
    let unproven = |outcome: &Outcome, word: &str| {
        assert!(outcome.findings.is_empty(), "{outcome:#?}");
        let reason = outcome.unproven[ID].join("; ");
        assert!(reason.contains(word), "{reason}");
    };
    let skipped = |outcome: &Outcome, word: &str| {
        assert!(outcome.skipped[ID].contains(word), "{outcome:#?}");
    };
    let outcome = ground.clean(|target| target.means.writes = false).await;
    skipped(&outcome, "--probe-writes");
    let outcome = ground
        .clean(|target| {
            for collection in &mut target.recipe.collection {
                collection.create = None;
            }
        })
        .await;
    skipped(&outcome, "makes no resource");
    // What the tenant's login cannot see, it cannot find.
    let store = ground.store(1).clone();
    let owner = &store.roles[0];
    let hidden = format!(
        "CREATE TABLE hidden (t text); ALTER TABLE hidden OWNER TO \"{owner}\";
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         INSERT INTO hidden VALUES ('x')"
    );
    ground.execute(&store.database, &hidden).await;
    unproven(&ground.clean(|_| ()).await, "row-level security");
    let closed = "DROP TABLE hidden; CREATE TABLE closed (t text)";
    ground.execute(&store.database, closed).await;
    unproven(&ground.clean(|_| ()).await, "1 tables cannot be read");
    ground.execute(&store.database, "DROP TABLE closed").await;
    holds(&ground.clean(|_| ()).await);
    // As if the product kept it somewhere else.
    let inventory = ground.inventory.clone();
    let elsewhere = |s: &Store| s.tenant_id != store.tenant_id || s.module != "onboarding";
    ground.inventory.stores.retain(elsewhere);
    unproven(
        &ground.clean(|_| ()).await,
        "not found in its own databases",
    );
    ground.inventory = inventory;
    for store in &mut ground.inventory.stores {
        store.password = None;
    }
    unproven(&ground.clean(|_| ()).await, "is not known");
    ground.inventory.stores.clear();
    skipped(&ground.clean(|_| ()).await, "not known here");
}

/// Without being asked to write, every report says that nobody looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_writes_only_when_it_is_asked_to() {
    let ground = Ground::start("database").await;
    let service = Service::serve(clean(&ground.stage)).await;
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", ground.stage.server.url())
        .with("LERIANCTL_API_KEY", ground.stage.server.api_key().expose());
    room.write("a.token", ground.token(0));
    room.write("b.token", ground.token(1));
    room.write("admin.url", url(&ground.admin));
    let base = [
        "isolation",
        "check",
        "--check",
        ID,
        "--check",
        "PG-003",
        "--postgres-url-file",
        "admin.url",
        "-o",
        "json",
    ];
    let url = service.url();
    let probe = [
        "--recipe",
        "sample",
        "--product-url",
        &url,
        "--token-a-file",
        "a.token",
        "--token-b-file",
        "b.token",
    ];
    let check = |more: &[&str]| {
        let report = room.run([&base[..], more].concat()).json();
        let checks = report["checks"].as_array().unwrap().clone();
        let check = checks
            .into_iter()
            .find(|check| check["check"] == ID)
            .unwrap();
        let verdict = check["verdict"].as_str().unwrap().to_owned();
        (verdict, report["notTested"].to_string())
    };
    for more in [&[][..], &probe] {
        let (verdict, not_tested) = check(more);
        assert_eq!(verdict, "skipped");
        assert!(not_tested.contains(ID), "{not_tested}");
    }
    let writes = [&probe[..], &["--probe-writes"]].concat();
    let (verdict, not_tested) = check(&writes);
    assert_eq!(verdict, "unproven", "{not_tested}");
    assert!(
        not_tested.contains("--product-database-url-file"),
        "{not_tested}"
    );
    let named = [&writes[..], &["--product-database-url-file", "admin.url"]].concat();
    let (verdict, not_tested) = check(&named);
    assert_eq!(verdict, "holds");
    assert!(!not_tested.contains(ID), "{not_tested}");
}
