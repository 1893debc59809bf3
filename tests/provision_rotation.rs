//! Rotation never breaks a live product, and a retired login is of no use to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::provision::plan::{provision_steps, remove_steps, retire_steps, rotate_steps};
use lerianctl::provision::{ProvisionError, Step};
use lerianctl::secret::Secret;
use tokio::sync::watch;

use crate::provision_fixture::{Bench, MODES, refusal, text};

/// A product that opens a connection every 10 ms with the credentials it last fetched.
async fn product(
    credentials: watch::Receiver<PostgresEndpoint>,
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let endpoint = credentials.borrow().clone();
        let used = async {
            let session = endpoint
                .connect()
                .await
                .map_err(|error| error.to_string())?;
            let written = session
                .execute("INSERT INTO entry DEFAULT VALUES", &[])
                .await;
            written.map_err(|error| error.to_string())
        };
        match used.await {
            Ok(_) => drop(opened.fetch_add(1, Ordering::SeqCst)),
            Err(error) => failures.push(error),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_sees_no_failure_while_credentials_rotate() {
    let bench = Bench::shared();
    for mode in MODES {
        let mut tenant = bench.tenant(mode, "aurora").await;
        let session = bench.session(&tenant, 0).await;
        session
            .batch_execute("CREATE TABLE entry (id serial PRIMARY KEY)")
            .await
            .unwrap();
        drop(session);
        let (publish, fetch) = watch::channel(bench.endpoint(&tenant, 0));
        let stop = Arc::new(AtomicBool::new(false));
        let opened = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(product(fetch, Arc::clone(&stop), Arc::clone(&opened)));
        for version in 2..=5 {
            let slot = (version - 1) % 2;
            tenant.passwords[slot] = Secret::generate();
            bench
                .run_all(&tenant, rotate_steps(&tenant.spec, slot))
                .await;
            publish.send(bench.endpoint(&tenant, slot)).unwrap();
            // The grace period: the product has used the new credentials, and so holds no old.
            let seen = opened.load(Ordering::SeqCst);
            while opened.load(Ordering::SeqCst) < seen + 2 && !task.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            bench
                .run_all(&tenant, retire_steps(&tenant.spec, 1 - slot))
                .await;
            let database = &tenant.spec.names.database;
            let old = bench.login(&tenant, 1 - slot, database).await;
            assert_eq!(old.unwrap_err(), "28P01");
        }
        stop.store(true, Ordering::SeqCst);
        assert_eq!(task.await.unwrap(), Vec::<String>::new());
        let session = bench.session(&tenant, 0).await;
        assert_eq!(
            text(&session, "SELECT count(*) FROM entry").await,
            opened.load(Ordering::SeqCst).to_string(),
            "every connection wrote one entry"
        );
        bench.remove(&tenant).await;
    }
}

#[tokio::test]
async fn both_logins_work_until_the_old_one_is_retired() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let old = bench.session(&tenant, 0).await;
        old.batch_execute("CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)")
            .await
            .unwrap();
        // A product that gives up its role makes objects that are the login's own.
        old.batch_execute("SET ROLE NONE; CREATE TABLE odd (id int); RESET ROLE")
            .await
            .unwrap();
        bench.run_all(&tenant, rotate_steps(&tenant.spec, 1)).await;
        let new = bench.session(&tenant, 1).await;
        for table in ["mine", "odd"] {
            let query = format!("SELECT count(*) >= 0 FROM {table}");
            assert_eq!(text(&new, &query).await, "t", "{table}");
            assert_eq!(text(&old, &query).await, "t", "{table}");
        }
        bench.session(&tenant, 0).await;

        // Later ones are handed over when the login is retired.
        old.batch_execute("SET ROLE NONE; CREATE TABLE late (id int); SELECT lo_create(4711)")
            .await
            .unwrap();
        let found = bench
            .run(&tenant, Step::CloseLogin { slot: 0 })
            .await
            .unwrap();
        assert!(found.contains("1 sessions ended"), "{found}");
        assert!(old.simple_query("SELECT 1").await.is_err());
        assert_eq!(text(&new, "SELECT count(*) FROM late").await, "0");
        assert_eq!(refusal(&new, "SELECT lo_unlink(4711)").await, "allowed");
        assert_eq!(
            text(&new, "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables \
                        WHERE tablename IN ('mine', 'odd', 'late') AND schemaname = current_schema()")
                .await,
            tenant.spec.names.owner
        );
        let database = &tenant.spec.names.database;
        assert_eq!(
            bench.login(&tenant, 0, database).await.unwrap_err(),
            "28P01"
        );
        let admin = bench.admin("postgres").await;
        let verifier = format!(
            "SELECT coalesce(rolpassword, 'none') || rolcanlogin FROM pg_authid WHERE rolname = '{}'",
            tenant.spec.names.logins[0]
        );
        assert_eq!(text(&admin, &verifier).await, "nonefalse");
        bench.remove(&tenant).await;
    }
}

#[tokio::test]
async fn the_last_open_login_is_not_retired() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let result = bench.run(&tenant, Step::CloseLogin { slot: 0 }).await;
        assert!(
            matches!(
                &result,
                Err(ProvisionError::Sql {
                    transient: false,
                    ..
                })
            ),
            "{result:?}"
        );
        bench.session(&tenant, 0).await;
        // The closed one may be retired again and again.
        bench
            .run(&tenant, Step::CloseLogin { slot: 1 })
            .await
            .unwrap();
        bench
            .run(&tenant, Step::CloseLogin { slot: 1 })
            .await
            .unwrap();
        bench.remove(&tenant).await;
    }
}

#[tokio::test]
async fn what_a_tenant_set_on_its_login_goes_with_the_next_rotation() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let login = &tenant.spec.names.logins[0];
        let session = bench.session(&tenant, 0).await;
        session
            .batch_execute(&format!(
                "SET ROLE NONE; ALTER ROLE {login} SET search_path = pg_temp; \
                 ALTER ROLE {login} IN DATABASE {} SET search_path = pg_temp; \
                 ALTER ROLE {login} SET idle_in_transaction_session_timeout = 0",
                tenant.spec.names.database
            ))
            .await
            .unwrap();
        drop(session);
        bench.run_all(&tenant, rotate_steps(&tenant.spec, 1)).await;
        bench.run_all(&tenant, rotate_steps(&tenant.spec, 0)).await;
        let session = bench.session(&tenant, 0).await;
        let path = text(&session, "SHOW search_path").await;
        assert!(!path.contains("pg_temp"), "{path}");
        assert_eq!(
            text(&session, "SHOW idle_in_transaction_session_timeout").await,
            "5min"
        );
        bench.remove(&tenant).await;
    }
}

#[tokio::test]
async fn removal_without_data_keeps_it_for_the_next_time() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let session = bench.session(&tenant, 0).await;
        session
            .batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
            .await
            .unwrap();
        bench
            .run_all(&tenant, remove_steps(&tenant.spec, false))
            .await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        let database = &tenant.spec.names.database;
        for slot in [0, 1] {
            assert_eq!(
                bench.login(&tenant, slot, database).await.unwrap_err(),
                "28P01"
            );
        }
        bench
            .run_all(&tenant, provision_steps(&tenant.spec, 1))
            .await;
        let session = bench.session(&tenant, 1).await;
        assert_eq!(text(&session, "SELECT id FROM kept").await, "1");
        drop(session);
        bench.remove(&tenant).await;
        assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn removal_leaves_nothing_even_of_what_was_made_elsewhere() {
    let bench = Bench::shared();
    for mode in MODES {
        let neighbour = bench.tenant(mode, "borealis").await;
        let tenant = bench.tenant(mode, "aurora").await;
        let session = bench.session(&tenant, 0).await;
        session
            .batch_execute(
                "CREATE TABLE a (id int); CREATE VIEW b AS SELECT * FROM a; SELECT lo_create(0); \
                 SET ROLE NONE; SELECT lo_create(0)",
            )
            .await
            .unwrap();
        // The cluster lets everybody into `postgres`, and a large object needs no privilege.
        let elsewhere = bench
            .endpoint(&tenant, 0)
            .with_database("postgres")
            .connect()
            .await
            .unwrap();
        elsewhere
            .batch_execute("SELECT lo_create(0); SET ROLE NONE; SELECT lo_create(0)")
            .await
            .unwrap();
        bench.remove(&tenant).await;
        assert!(elsewhere.simple_query("SELECT 1").await.is_err());
        assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
        // Once more changes nothing.
        bench.remove(&tenant).await;
        // The neighbour is as it was.
        let claims = bench
            .provisioner
            .prove(
                &neighbour.spec,
                0,
                &neighbour.passwords[0],
                Some(&tenant.spec),
            )
            .await
            .unwrap();
        assert!(claims.iter().all(|claim| claim.holds), "{claims:#?}");
        bench.remove(&neighbour).await;
    }
}
