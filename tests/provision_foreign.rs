//! What was not made for the tenant is neither adopted, altered nor dropped.

use lerianctl::contract::wire::IsolationMode;
use lerianctl::link::postgres::Session;
use lerianctl::provision::plan::provision_steps;
use lerianctl::provision::{ProvisionError, Step};

use crate::provision_fixture::{Bench, MODES, Tenant, text};
use crate::support::{Postgres, cluster, unique};

/// Returns everything about the roles and databases of these names, and the schemas `inside`.
async fn snapshot(admin: &Session, tenant: &Tenant, inside: Option<&Session>) -> String {
    let names = &tenant.spec.names;
    let like = |name: &str| format!("'{}'", name.replace('\'', "''"));
    let roles = [&names.owner, &names.logins[0], &names.logins[1]]
        .map(|name| like(name))
        .join(", ");
    let roles = format!(
        "SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.oid)::text, '') FROM \
         (SELECT a.*, a.xmin::text, shobj_description(a.oid, 'pg_authid') FROM pg_authid a \
          WHERE rolname IN ({roles})) r"
    );
    let databases = format!(
        "SELECT coalesce(json_agg(row_to_json(d))::text, '') FROM \
         (SELECT d.*, d.xmin::text, shobj_description(d.oid, 'pg_database') FROM pg_database d \
          WHERE datname = {}) d",
        like(&names.database)
    );
    let mut all = text(admin, &roles).await + &text(admin, &databases).await;
    if let (Some(inside), Some(schema)) = (inside, &names.schema) {
        let schemas = format!(
            "SELECT coalesce(json_agg(row_to_json(n))::text, '') FROM \
             (SELECT n.*, n.xmin::text, obj_description(n.oid, 'pg_namespace') \
              FROM pg_namespace n WHERE nspname = {}) n",
            like(schema)
        );
        all += &text(inside, &schemas).await;
    }
    all
}

async fn refused(bench: &Bench, tenant: &Tenant, steps: &[Step]) {
    for step in steps {
        let result = bench.run(tenant, step.clone()).await;
        assert!(
            matches!(result, Err(ProvisionError::Foreign { .. })),
            "{step:?}: {result:?}"
        );
    }
}

/// Comments that are not this tenant's mark.
fn other_marks(tenant: &Tenant) -> [Option<String>; 4] {
    let id = &tenant.spec.tenant_id;
    let id_text = id.as_str();
    [
        None,
        Some("the accountants' own".into()),
        Some(format!(
            "lerianctl/1 kind=tenant tenant={} service=ledger module=onboarding",
            "0".repeat(32)
        )),
        Some(format!(
            "lerianctl/1 kind=tenant tenant={id_text} service=ledger module=transaction"
        )),
    ]
}

async fn comment(session: &Session, kind: &str, name: &str, mark: Option<&str>) {
    let mark = mark.map_or("NULL".into(), |mark| {
        format!("'{}'", mark.replace('\'', "''"))
    });
    let statement = format!("COMMENT ON {kind} {name} IS {mark}");
    session.batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn foreign_roles_are_left_alone() {
    let bench = Bench::shared();
    let admin = bench.admin("postgres").await;
    for mode in MODES {
        for which in 0..3 {
            // A shared database of its own, which no other test changes meanwhile.
            let tenant = bench.tenant_of(mode, "aurora", &unique("foreign")).await;
            let names = &tenant.spec.names;
            let name = [&names.owner, &names.logins[0], &names.logins[1]][which];
            let mine = format!("SELECT shobj_description('{name}'::regrole, 'pg_authid')");
            let mine = text(&admin, &mine).await;
            for mark in other_marks(&tenant) {
                comment(&admin, "ROLE", name, mark.as_deref()).await;
                let before = snapshot(&admin, &tenant, None).await;
                let mut steps = vec![
                    Step::Roles { slot: 0 },
                    Step::OpenLogin { slot: 1 },
                    Step::CloseLogin { slot: 1 },
                    Step::CloseAll,
                    Step::DropRoles,
                ];
                if mode == IsolationMode::Schema {
                    steps.push(Step::DropData);
                }
                if which == 0 {
                    steps.push(Step::Schema);
                }
                refused(&bench, &tenant, &steps).await;
                assert_eq!(snapshot(&admin, &tenant, None).await, before);
            }
            comment(&admin, "ROLE", name, Some(&mine)).await;
            bench.remove(&tenant).await;
        }
    }
}

#[tokio::test]
async fn foreign_databases_are_left_alone() {
    let bench = Bench::shared();
    let admin = bench.admin("postgres").await;
    let tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    let name = &tenant.spec.names.database;
    let steps = provision_steps(&tenant.spec, 0);
    bench.run_all(&tenant, steps[..2].to_vec()).await;
    let unmarked = [
        // Somebody's.
        format!("CREATE DATABASE {name}"),
        // Owned by our role, but it was open to whoever wanted to use it.
        format!("CREATE DATABASE {name} OWNER lerianctl_databases"),
        // Closed by somebody who is not us.
        format!("CREATE DATABASE {name} ALLOW_CONNECTIONS false"),
        // Closed again after somebody had been given a right.
        format!("CREATE DATABASE {name} OWNER lerianctl_databases CONNECTION LIMIT 0"),
    ];
    for create in unmarked {
        admin.batch_execute(&create).await.unwrap();
        for mark in other_marks(&tenant) {
            comment(&admin, "DATABASE", name, mark.as_deref()).await;
            let before = snapshot(&admin, &tenant, None).await;
            refused(&bench, &tenant, &[Step::Database, Step::DropData]).await;
            if !create.contains("false") {
                refused(&bench, &tenant, &[Step::Schema]).await;
            }
            assert_eq!(snapshot(&admin, &tenant, None).await, before, "{create}");
        }
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        admin.batch_execute(&drop).await.unwrap();
    }
    bench.remove(&tenant).await;
}

#[tokio::test]
async fn foreign_schemas_are_left_alone() {
    let bench = Bench::shared();
    let admin = bench.admin("postgres").await;
    let module = unique("foreign");
    let tenant = Tenant::new(IsolationMode::Schema, "aurora", "ledger", &module);
    let steps = provision_steps(&tenant.spec, 0);
    bench.run_all(&tenant, steps[..2].to_vec()).await;
    let inside = bench.admin(&tenant.spec.names.database).await;
    let schema = tenant.schema();
    let create = format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.theirs (id int)");
    inside.batch_execute(&create).await.unwrap();
    for mark in other_marks(&tenant) {
        comment(&inside, "SCHEMA", schema, mark.as_deref()).await;
        let before = snapshot(&admin, &tenant, Some(&inside)).await;
        refused(&bench, &tenant, &[Step::Schema, Step::DropData]).await;
        assert_eq!(snapshot(&admin, &tenant, Some(&inside)).await, before);
    }
    let table = format!("SELECT count(*) FROM {schema}.theirs");
    assert_eq!(text(&inside, &table).await, "0");
    inside
        .batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))
        .await
        .unwrap();
    bench.remove(&tenant).await;
}

#[tokio::test]
async fn a_foreign_shared_database_is_left_alone() {
    let bench = Bench::shared();
    let admin = bench.admin("postgres").await;
    let module = unique("foreign");
    let tenant = Tenant::new(IsolationMode::Schema, "aurora", "ledger", &module);
    let name = &tenant.spec.names.database;
    admin
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let before = snapshot(&admin, &tenant, None).await;
    refused(
        &bench,
        &tenant,
        &[Step::Prepare, Step::Schema, Step::DropData],
    )
    .await;
    assert_eq!(snapshot(&admin, &tenant, None).await, before);
    admin
        .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_role_that_owns_databases_is_recognised_too() {
    let server = Postgres::private();
    let bench = Bench::on(cluster("main", &server));
    let admin = bench.admin("postgres").await;
    admin
        .batch_execute("CREATE ROLE lerianctl_databases LOGIN SUPERUSER")
        .await
        .unwrap();
    let tenant = Tenant::new(IsolationMode::Database, "aurora", "ledger", "onboarding");
    refused(&bench, &tenant, &[Step::Prepare]).await;
    let rights = "SELECT rolcanlogin AND rolsuper FROM pg_roles \
                  WHERE rolname = 'lerianctl_databases'";
    assert_eq!(text(&admin, rights).await, "t");
    // Whoever planted it could have made a database that looks like one of ours.
    let name = &tenant.spec.names.database;
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {name} OWNER lerianctl_databases ALLOW_CONNECTIONS false"
        ))
        .await
        .unwrap();
    bench.run_all(&tenant, vec![Step::Roles { slot: 0 }]).await;
    refused(&bench, &tenant, &[Step::Database, Step::DropData]).await;
}

#[tokio::test]
async fn data_is_dropped_before_roles_and_never_with_them() {
    let bench = Bench::shared();
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        bench.run(&tenant, Step::CloseAll).await.unwrap();
        let result = bench.run(&tenant, Step::DropRoles).await;
        assert!(
            matches!(&result, Err(ProvisionError::Sql { transient: false, reason, .. })
                if reason.contains("drop it first")),
            "{result:?}"
        );
        bench.remove(&tenant).await;
        assert_eq!(bench.remains(&tenant.spec).await, Vec::<String>::new());
    }
}
