//! Many tenants at once, twice the same one, and servers that go away meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use lerianctl::contract::wire::IsolationMode;
use lerianctl::provision::plan::{provision_steps, remove_steps};
use lerianctl::provision::{ProvisionError, Step};
use lerianctl::secret::Secret;

use crate::provision_fixture::{Bench, MODES, Tenant, text};
use crate::support::{Postgres, cluster, unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provisioners_side_by_side_do_not_disturb_each_other() {
    // Nothing is there yet: all of them make the cluster's role and the shared database.
    let server = Postgres::private();
    let benches = [0, 1].map(|_| Bench::on(cluster("main", &server)));
    for mode in MODES {
        let module = unique("parallel");
        let tenants: Vec<_> = (0..10)
            .map(|number| Tenant::new(mode, &format!("tenant-{number}"), "ledger", &module))
            .collect();
        // Each tenant twice, by two servers that know nothing of each other.
        let work = tenants.iter().flat_map(|tenant| {
            benches
                .iter()
                .map(|bench| bench.run_all(tenant, provision_steps(&tenant.spec, 0)))
        });
        join_all(work).await;
        for tenant in &tenants {
            benches[0].session(tenant, 0).await;
        }
        let work = tenants.iter().flat_map(|tenant| {
            benches
                .iter()
                .map(|bench| bench.run_all(tenant, remove_steps(&tenant.spec, true)))
        });
        join_all(work).await;
        for tenant in &tenants {
            let remains = benches[0].remains(&tenant.spec).await;
            assert_eq!(remains, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_waited_for_and_one_that_is_gone_is_told() {
    let mut server = Postgres::private();
    let bench = Bench::on(cluster("main", &server));
    assert!(bench.provisioner.ready().await);
    let tenant = Tenant::new(IsolationMode::Schema, "aurora", "ledger", "onboarding");
    for step in provision_steps(&tenant.spec, 0) {
        // The sessions that the provisioner keeps are dead after this.
        server.restart().await.unwrap();
        bench.run_all(&tenant, vec![step]).await;
    }
    assert!(bench.provisioner.ready().await);
    drop(server);
    assert!(!bench.provisioner.ready().await);
    let error = bench.run(&tenant, Step::Prepare).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for_forever() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cluster = cluster("main", Postgres::shared());
    cluster.admin.port = silent.local_addr().unwrap().port();
    let bench = Bench::on(cluster);
    let answer = tokio::time::timeout(Duration::from_mins(1), bench.provisioner.ready()).await;
    assert!(!answer.expect("it gives up by itself"));
    let tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    let step = bench.run(&tenant, Step::Prepare);
    let error = tokio::time::timeout(Duration::from_mins(2), step).await;
    let error = error.expect("it gives up by itself").unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[tokio::test]
async fn what_is_not_given_is_said() {
    let bench = Bench::shared();
    let mut tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    let step = Step::Roles { slot: 0 };
    for password in [None, Some(&Secret::new(""))] {
        let result = bench
            .provisioner
            .run(&tenant.spec, &step, password, None)
            .await;
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
    }
    tenant.spec.cluster = "elsewhere".into();
    let result = bench.run(&tenant, Step::Prepare).await;
    assert!(
        matches!(&result, Err(ProvisionError::UnknownCluster(name)) if name == "elsewhere"),
        "{result:?}"
    );
    // PostgreSQL would cut the name, and two tenants could meet in what is left.
    let mut tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    tenant.spec.names.owner = "x".repeat(64);
    let result = bench.run(&tenant, step).await;
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
    let admin = bench.admin("postgres").await;
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'xxxxxxxx%'";
    assert_eq!(text(&admin, roles).await, "0");
}
