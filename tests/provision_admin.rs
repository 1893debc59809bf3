//! Provisioning with a role that is no superuser, as on managed PostgreSQL.

use lerianctl::contract::wire::IsolationMode;
use lerianctl::provision::plan::{provision_steps, retire_steps, rotate_steps};
use lerianctl::provision::{ProvisionError, Step};
use lerianctl::secret::Secret;

use crate::provision_fixture::{Bench, MODES, Tenant, text};
use crate::support::{Postgres, cluster};

#[tokio::test]
async fn createrole_and_createdb_are_enough() {
    let server = Postgres::private();
    let super_bench = Bench::on(cluster("main", &server));
    let admin = super_bench.admin("postgres").await;
    admin
        .batch_execute(
            "CREATE ROLE provisioner LOGIN CREATEROLE CREATEDB PASSWORD 'only for this test'",
        )
        .await
        .unwrap();
    let mut limited = cluster("main", &server);
    limited.admin.user = "provisioner".into();
    limited.admin.password = Some(Secret::new("only for this test"));
    let bench = Bench::on(limited);
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let other = bench.tenant(mode, "borealis").await;
        let claims = bench
            .provisioner
            .prove(&tenant.spec, 0, &tenant.passwords[0], Some(&other.spec))
            .await
            .unwrap();
        assert!(claims.iter().all(|claim| claim.holds), "{claims:#?}");

        // Provisioning again, rotation with leftovers, removal: all need rights over the roles.
        bench
            .run_all(&tenant, provision_steps(&tenant.spec, 0))
            .await;
        let session = bench.session(&tenant, 0).await;
        session
            .batch_execute(
                "CREATE TABLE mine (id int); SET ROLE NONE; CREATE TABLE odd (id int); \
                 SELECT lo_create(0)",
            )
            .await
            .unwrap();
        bench.run_all(&tenant, rotate_steps(&tenant.spec, 1)).await;
        bench.run_all(&tenant, retire_steps(&tenant.spec, 0)).await;
        assert!(session.simple_query("SELECT 1").await.is_err());
        let session = bench.session(&tenant, 1).await;
        assert_eq!(text(&session, "SELECT count(*) FROM odd").await, "0");

        // Its rights over the tenant are taken only for as long as a statement needs them.
        let held = format!(
            "SELECT pg_has_role('provisioner', '{}', 'USAGE')",
            tenant.spec.names.owner
        );
        assert_eq!(text(&admin, &held).await, "f");
        for tenant in [&tenant, &other] {
            bench.remove(tenant).await;
            assert_eq!(
                super_bench.remains(&tenant.spec).await,
                Vec::<String>::new()
            );
        }
        assert!(session.simple_query("SELECT 1").await.is_err());
    }
}

#[tokio::test]
async fn a_missing_right_is_named_before_anything_is_made() {
    let server = Postgres::private();
    let super_bench = Bench::on(cluster("main", &server));
    let admin = super_bench.admin("postgres").await;
    for (attributes, missing) in [
        ("CREATEROLE", "CREATEDB"),
        ("CREATEDB", "CREATEROLE"),
        ("CREATEDB CREATEROLE NOINHERIT", "INHERIT"),
    ] {
        admin
            .batch_execute(&format!(
                "DROP ROLE IF EXISTS provisioner; \
                 CREATE ROLE provisioner LOGIN {attributes} PASSWORD 'only for this test'"
            ))
            .await
            .unwrap();
        let mut limited = cluster("main", &server);
        limited.admin.user = "provisioner".into();
        limited.admin.password = Some(Secret::new("only for this test"));
        let bench = Bench::on(limited);
        let tenant = Tenant::new(IsolationMode::Schema, "aurora", "ledger", "onboarding");
        for step in [Step::Prepare, Step::Roles { slot: 0 }] {
            let error = bench.run(&tenant, step).await.unwrap_err();
            assert!(
                matches!(&error, ProvisionError::Privilege { reason, .. }
                    if reason.ends_with(&format!("lacks {missing}"))),
                "{error}"
            );
        }
    }
    let made = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'lerianctl%' \
                OR rolname LIKE 'aurora%'";
    assert_eq!(text(&admin, made).await, "0");
}

#[tokio::test]
async fn clear_text_never_reaches_the_server() {
    let server = Postgres::private();
    let bench = Bench::on(cluster("main", &server));
    let admin = bench.admin("postgres").await;
    for statement in [
        "ALTER SYSTEM SET log_statement = 'all'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(statement).await.unwrap();
    }
    let tenant = bench.tenant(IsolationMode::Database, "aurora").await;
    bench.run_all(&tenant, rotate_steps(&tenant.spec, 1)).await;
    let log = std::fs::read_to_string(server.folder().join("postgres.log")).unwrap();
    assert!(log.contains(&format!("CREATE ROLE \"{}\"", tenant.spec.names.logins[0])));
    assert!(log.contains("SCRAM-SHA-256$4096:"));
    for password in &tenant.passwords {
        assert!(!log.contains(password.expose()));
    }
}
