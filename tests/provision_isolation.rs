//! A provisioned tenant reaches its own and nothing else, in both modes.

use std::time::Duration;

use lerianctl::contract::wire::IsolationMode;
use lerianctl::provision::plan::provision_steps;
use lerianctl::provision::{ProvisionError, Step};
use lerianctl::secret::Secret;

use crate::provision_fixture::{Bench, MODES, Tenant, refusal, text};
use crate::support::{Postgres, cluster};

#[tokio::test]
async fn a_tenant_works_in_its_own_place_as_its_owner_role() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let names = &tenant.spec.names;
        let session = bench.session(&tenant, 0).await;
        assert_eq!(text(&session, "SELECT session_user").await, names.logins[0]);
        assert_eq!(
            text(&session, "SELECT current_schema()").await,
            tenant.schema()
        );
        session
            .batch_execute(
                "CREATE TABLE account (id int PRIMARY KEY); INSERT INTO account VALUES (7)",
            )
            .await
            .unwrap();
        // What pools do between two users of a connection must not change whose objects these are.
        for reset in [
            "SELECT 1",
            "DISCARD ALL",
            "RESET ALL",
            "RESET ROLE",
            "RESET SESSION AUTHORIZATION",
        ] {
            session.batch_execute(reset).await.unwrap();
            assert_eq!(
                text(&session, "SELECT current_user").await,
                names.owner,
                "{reset}"
            );
            assert_eq!(
                text(&session, "SELECT id FROM account").await,
                "7",
                "{reset}"
            );
        }
        let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'account'";
        assert_eq!(text(&session, owner).await, names.owner);
        bench.remove(&tenant).await;
    }
}

#[tokio::test]
async fn another_tenants_login_is_refused_by_postgresql_itself() {
    let bench = Bench::shared();
    for mode in MODES {
        let mine = bench.tenant(mode, "aurora").await;
        let theirs = bench.tenant(mode, "borealis").await;
        let session = bench.session(&theirs, 0).await;
        session
            .batch_execute("CREATE TABLE secret (id int)")
            .await
            .unwrap();
        let schema = theirs.schema();
        let session = match mode {
            IsolationMode::Database => {
                let refused = bench.login(&mine, 0, &theirs.spec.names.database).await;
                assert_eq!(refused.unwrap_err(), "42501");
                bench.session(&mine, 0).await
            }
            IsolationMode::Schema => {
                let session = bench.session(&mine, 0).await;
                for statement in [
                    format!("SELECT FROM {schema}.secret"),
                    format!("CREATE TABLE {schema}.mine ()"),
                    format!("DROP TABLE {schema}.secret"),
                    format!("GRANT USAGE ON SCHEMA {schema} TO PUBLIC"),
                    "CREATE TABLE public.mine ()".to_owned(),
                    "CREATE SCHEMA mine".to_owned(),
                    "CREATE TEMPORARY TABLE mine ()".to_owned(),
                ] {
                    assert_eq!(refusal(&session, &statement).await, "42501", "{statement}");
                }
                session
            }
        };
        for role in [
            &theirs.spec.names.owner,
            &theirs.spec.names.logins[0],
            &mine.spec.names.logins[1],
            "lerianctl_databases",
        ] {
            let statement = format!("SET ROLE {role}");
            assert_eq!(refusal(&session, &statement).await, "42501", "{role}");
        }
        // Nor can it open what it has to others, or widen its own rights.
        let [login, idle] = &mine.spec.names.logins;
        for statement in [
            format!(
                "ALTER DATABASE {} ALLOW_CONNECTIONS true",
                mine.spec.names.database
            ),
            format!("ALTER ROLE {idle} LOGIN"),
            format!("ALTER ROLE {login} CREATEDB"),
            format!(
                "GRANT {} TO {}",
                mine.spec.names.owner, theirs.spec.names.owner
            ),
            "CREATE DATABASE mine".to_owned(),
            "CREATE ROLE mine".to_owned(),
        ] {
            assert_eq!(refusal(&session, &statement).await, "42501", "{statement}");
        }
        let grant = format!(
            "GRANT CONNECT ON DATABASE {} TO PUBLIC",
            mine.spec.names.database
        );
        // PostgreSQL answers this one with a warning.
        session.batch_execute(&grant).await.unwrap();
        let open = format!(
            "SELECT has_database_privilege('public', '{}', 'CONNECT')",
            mine.spec.names.database
        );
        assert_eq!(text(&session, &open).await, "f");
        bench.remove(&mine).await;
        bench.remove(&theirs).await;
    }
}

#[tokio::test]
async fn the_proof_tries_the_other_tenant() {
    let bench = Bench::shared();
    for mode in MODES {
        let mine = bench.tenant(mode, "aurora").await;
        let theirs = bench.tenant(mode, "borealis").await;
        let claims = bench
            .provisioner
            .prove(&mine.spec, 0, &mine.passwords[0], Some(&theirs.spec))
            .await
            .unwrap();
        for claim in &claims {
            assert!(claim.holds, "{claim:?}");
            assert!(!claim.evidence.is_empty());
            assert!(!claim.evidence.contains(mine.passwords[0].expose()));
        }
        let about_them = claims
            .iter()
            .filter(|c| c.claim.contains("borealis"))
            .count();
        let expected = match mode {
            IsolationMode::Database => 3,
            IsolationMode::Schema => 4,
        };
        assert_eq!(about_them, expected, "{claims:#?}");

        // Across modes the database is another one, and is tried.
        let other_mode = bench.tenant(other(mode), "cirrus").await;
        let claims = bench
            .provisioner
            .prove(&mine.spec, 0, &mine.passwords[0], Some(&other_mode.spec))
            .await
            .unwrap();
        assert!(claims.iter().all(|claim| claim.holds), "{claims:#?}");
        assert!(
            claims
                .iter()
                .any(|claim| claim.claim.contains("cannot enter database")),
            "{claims:#?}"
        );
        for tenant in [&mine, &theirs, &other_mode] {
            bench.remove(tenant).await;
        }
    }
}

fn other(mode: IsolationMode) -> IsolationMode {
    match mode {
        IsolationMode::Database => IsolationMode::Schema,
        IsolationMode::Schema => IsolationMode::Database,
    }
}

#[tokio::test]
async fn the_proof_finds_planted_breaches() {
    let bench = Bench::shared();
    for mode in MODES {
        let mine = bench.tenant_of(mode, "aurora", "breaches").await;
        let theirs = bench.tenant_of(mode, "borealis", "breaches").await;
        let (my, their) = (&mine.spec.names, &theirs.spec.names);
        let admin = bench.admin("postgres").await;
        let inside = bench.admin(&their.database).await;
        let mut breaches = vec![
            (
                &admin,
                format!("GRANT {} TO {}", their.owner, my.logins[0]),
                format!("REVOKE {} FROM {}", their.owner, my.logins[0]),
            ),
            (
                &admin,
                format!("ALTER ROLE {} CREATEROLE", my.owner),
                format!("ALTER ROLE {} NOCREATEROLE", my.owner),
            ),
            (
                &admin,
                format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", my.database),
                format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", my.database),
            ),
            (
                &admin,
                format!("ALTER DATABASE {} OWNER TO {}", my.database, my.owner),
                // Provisioning again takes it back.
                String::new(),
            ),
            (
                &admin,
                format!("ALTER ROLE {} SET role = 'none'", my.logins[0]),
                format!("ALTER ROLE {} SET role = '{}'", my.logins[0], my.owner),
            ),
        ];
        match mode {
            IsolationMode::Database => breaches.push((
                &admin,
                format!(
                    "GRANT CONNECT ON DATABASE {} TO {}",
                    their.database, my.owner
                ),
                format!(
                    "REVOKE CONNECT ON DATABASE {} FROM {}",
                    their.database, my.owner
                ),
            )),
            IsolationMode::Schema => breaches.extend([
                (
                    &inside,
                    format!("GRANT USAGE ON SCHEMA {} TO {}", theirs.schema(), my.owner),
                    format!(
                        "REVOKE USAGE ON SCHEMA {} FROM {}",
                        theirs.schema(),
                        my.owner
                    ),
                ),
                (
                    &inside,
                    format!("GRANT USAGE ON SCHEMA {} TO {}", mine.schema(), their.owner),
                    format!(
                        "REVOKE USAGE ON SCHEMA {} FROM {}",
                        mine.schema(),
                        their.owner
                    ),
                ),
                (
                    &inside,
                    format!("GRANT CREATE ON SCHEMA public TO {}", my.owner),
                    format!("REVOKE CREATE ON SCHEMA public FROM {}", my.owner),
                ),
                (
                    &inside,
                    format!("GRANT CREATE ON DATABASE {} TO {}", my.database, my.owner),
                    format!(
                        "REVOKE CREATE ON DATABASE {} FROM {}",
                        my.database, my.owner
                    ),
                ),
                (
                    &admin,
                    format!(
                        "ALTER ROLE {} IN DATABASE {} SET search_path = public",
                        my.logins[0], my.database
                    ),
                    format!(
                        "ALTER ROLE {} IN DATABASE {} SET search_path = {}",
                        my.logins[0],
                        my.database,
                        mine.schema()
                    ),
                ),
            ]),
        }
        let prove = || {
            let password = Some(&mine.passwords[0]);
            let step = Step::Prove { slot: 0 };
            let foreign = Some(&theirs.spec);
            let (bench, spec) = (&bench, &mine.spec);
            async move { bench.provisioner.run(spec, &step, password, foreign).await }
        };
        prove().await.unwrap();
        for (session, plant, mend) in breaches {
            session.batch_execute(&plant).await.unwrap();
            let found = prove().await;
            if mend.is_empty() {
                bench.run_all(&mine, provision_steps(&mine.spec, 0)).await;
            }
            session.batch_execute(&mend).await.unwrap();
            assert!(
                matches!(found, Err(ProvisionError::NotProved(_))),
                "{plant}: {found:?}"
            );
            prove()
                .await
                .unwrap_or_else(|error| panic!("{mend}: {error}"));
        }
        drop(inside);
        bench.remove(&mine).await;
        bench.remove(&theirs).await;
    }
}

#[tokio::test]
async fn a_login_that_is_refused_proves_nothing() {
    let bench = Bench::shared();
    let tenant = bench.tenant(IsolationMode::Database, "aurora").await;
    let wrong = Secret::new("wrong");
    let claims = bench
        .provisioner
        .prove(&tenant.spec, 0, &wrong, None)
        .await
        .unwrap();
    assert_eq!(claims.len(), 1);
    assert!(!claims[0].holds);
    assert!(claims[0].evidence.contains("28P01"), "{claims:?}");
    bench.remove(&tenant).await;
}

#[tokio::test]
async fn a_server_that_asks_for_no_password_proves_nothing() {
    let server = Postgres::private();
    let bench = Bench::on(cluster("main", &server));
    let tenant = bench.tenant(IsolationMode::Database, "aurora").await;
    let rules = server.data().join("pg_hba.conf");
    let strict = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("host all all 127.0.0.1/32 trust\n{strict}")).unwrap();
    let admin = bench.admin("postgres").await;
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    // The main process has read it when a wrong password is enough.
    let mut anybody = bench.endpoint(&tenant, 0);
    anybody.password = Some(Secret::new("wrong"));
    while anybody.connect().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // With the other login closed, and with both open.
    for open_other in [false, true] {
        if open_other {
            bench
                .run(&tenant, Step::OpenLogin { slot: 1 })
                .await
                .unwrap();
        }
        let result = bench.run(&tenant, Step::Prove { slot: 0 }).await;
        assert!(
            matches!(result, Err(ProvisionError::NotProved(_))),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn names_and_marks_survive_hostile_modules() {
    let bench = Bench::shared();
    for mode in MODES {
        for module in [
            r#""; DROP DATABASE postgres; --"#,
            r"\'; SELECT pg_sleep(10); --",
            "módulo 🦀 with spaces",
            "$$; $1 %s {} ../../etc",
            &"m".repeat(500),
        ] {
            let tenant = Tenant::new(mode, "o-brien", "Svc.with-_Everything", module);
            bench
                .run_all(&tenant, provision_steps(&tenant.spec, 0))
                .await;
            // Whatever it is called, everything is recognised the second time.
            bench
                .run_all(&tenant, provision_steps(&tenant.spec, 0))
                .await;
            bench.remove(&tenant).await;
            assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
        }
        // Names come from the registry, where an older version may have made them otherwise.
        let mut tenant = Tenant::new(mode, "aurora", "ledger", "onboarding");
        let names = &mut tenant.spec.names;
        for name in names.logins.iter_mut().chain([&mut names.owner]) {
            name.replace_range(0..6, r#"A"b' \;"#);
        }
        if mode == IsolationMode::Database {
            names.database.replace_range(0..6, r#"A"b' \;"#);
        }
        bench
            .run_all(&tenant, provision_steps(&tenant.spec, 0))
            .await;
        bench.remove(&tenant).await;
        assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn limits_and_timeouts_are_on_the_roles() {
    let bench = Bench::shared();
    let mut tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    tenant.spec.settings.max_open_conns = 10;
    tenant.spec.settings.statement_timeout = "2 min".into();
    bench
        .run_all(&tenant, provision_steps(&tenant.spec, 0))
        .await;
    let session = bench.session(&tenant, 0).await;
    assert_eq!(text(&session, "SHOW statement_timeout").await, "2min");
    assert_eq!(
        text(&session, "SHOW idle_in_transaction_session_timeout").await,
        "5min"
    );
    let limits = "SELECT string_agg(DISTINCT rolconnlimit::text, ',') FROM pg_roles \
                  WHERE rolname LIKE current_database() || '\\__'";
    assert_eq!(text(&session, limits).await, "160");
    let limit = "SELECT datconnlimit FROM pg_database WHERE datname = current_database()";
    assert_eq!(text(&session, limit).await, "320");

    // Other settings need nothing but the roles' own step.
    tenant.spec.settings.max_open_conns = 100;
    bench.run(&tenant, Step::Roles { slot: 0 }).await.unwrap();
    assert_eq!(text(&session, limits).await, "1600");
    assert_eq!(text(&session, limit).await, "3200");

    // A setting that products would not accept is left out, and what was set before goes.
    tenant.spec.settings.statement_timeout = "2 fortnights".into();
    bench
        .run_all(&tenant, provision_steps(&tenant.spec, 0))
        .await;
    let session = bench.session(&tenant, 0).await;
    assert_eq!(text(&session, "SHOW statement_timeout").await, "0");
    bench.remove(&tenant).await;
}

#[tokio::test]
async fn a_trusted_extension_can_be_made_in_an_own_database_alone() {
    let bench = Bench::shared();
    let tenant = bench.tenant(IsolationMode::Database, "aurora").await;
    let session = bench.session(&tenant, 0).await;
    let extension = "CREATE EXTENSION IF NOT EXISTS pgcrypto";
    match refusal(&session, extension).await.as_str() {
        "allowed" => {
            let digest = "SELECT length(digest('x', 'sha256'))";
            assert_eq!(text(&session, digest).await, "32");
        }
        // The extension is not installed on this machine.
        other => assert_eq!(other, "0A000"),
    }
    assert_eq!(
        refusal(&session, "CREATE EXTENSION file_fdw").await.len(),
        5
    );
    assert_ne!(
        refusal(&session, "CREATE EXTENSION file_fdw").await,
        "allowed"
    );
    drop(session);
    bench.remove(&tenant).await;
}
