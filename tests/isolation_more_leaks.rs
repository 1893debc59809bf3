//! Leaks besides those between two tenants: what is left over, too wide, or handed out wrongly. Also
//! the list that every check of PostgreSQL and of the configuration has to be on.

use std::collections::BTreeSet;

use lerianctl::isolation::inventory::{Inventory, Replica};
use lerianctl::isolation::model::{Family, Verdict};
use lerianctl::isolation::run::{Settings, run};
use lerianctl::isolation::{catalogue, config};
use lerianctl::link::postgres::Session;
use tokio_postgres::types::Type;

use crate::isolation_fleet::{Fleet, refuted};
use crate::isolation_leaks::{LEAK, Leak, assert_clean, between_databases, between_schemas, each};
use crate::postgres_link::server_with_tls;
use crate::support::{Postgres, postgres_18};

const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const BOTH: &[&str] = &["aurora", "borealis"];
const ALL: &[&str] = &["*"];

pub(crate) fn second(
    inventory: &mut Inventory,
    change: impl Fn(&mut lerianctl::isolation::inventory::Store),
) {
    let store = inventory
        .stores
        .iter_mut()
        .find(|store| store.tenant == "borealis");
    change(store.unwrap());
}

fn purged(inventory: &mut Inventory) {
    second(inventory, |store| {
        store.status = "purged".into();
        store.handed_out = false;
    });
}

/// On a fleet with databases.
fn in_databases() -> Vec<Leak> {
    vec![
        Leak {
            found_by: &["CF-02", "PG-002", "PG-006", "PG-007"],
            from: BOTH,
            // Another's login, as if one had been written for both.
            change: |inventory| {
                let (login, password) = {
                    let first = &inventory.stores[0];
                    (first.login.clone(), first.password.clone())
                };
                second(inventory, |store| {
                    store.login.clone_from(&login);
                    store.password.clone_from(&password);
                });
            },
            ..LEAK
        },
        Leak {
            plant: "GRANT CREATE ON DATABASE template1 TO aurora_app",
            undo: "REVOKE CREATE ON DATABASE template1 FROM aurora_app",
            found_by: &["PG-007", "PG-009"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE t (id int);;ALTER TABLE t OWNER TO aurora_app",
            undo: "DROP TABLE t",
            at: "template1",
            found_by: &["PG-007", "PG-010"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            found_by: &["PG-012", "PG-209", "PG-210"],
            to: BOREALIS,
            change: purged,
            ..LEAK
        },
        Leak {
            plant: "SET password_encryption = md5;;CREATE ROLE idle LOGIN PASSWORD 'x'",
            undo: "DROP ROLE idle",
            found_by: &["PG-015"],
            to: BOREALIS,
            change: |inventory| second(inventory, |store| store.roles.push("idle".into())),
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW public.pg_stat_statements AS SELECT 1 AS calls;;GRANT SELECT ON public.pg_stat_statements TO PUBLIC",
            undo: "DROP VIEW public.pg_stat_statements",
            inside: true,
            found_by: &["PG-020", "PG-119"],
            from: ALL,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE stray LOGIN;;COMMENT ON ROLE stray IS 'lerianctl/1 kind=tenant tenant=x service=y module=z'",
            undo: "DROP ROLE stray",
            found_by: &["PG-027"],
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';;CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e();;ALTER FUNCTION e() OWNER TO borealis_app",
            undo: "DROP EVENT TRIGGER e;;DROP FUNCTION e()",
            inside: true,
            found_by: &["PG-106"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE wide (id int);;DO $$ BEGIN FOR n IN 1..501 LOOP EXECUTE format('CREATE ROLE many_%s', n); EXECUTE format('GRANT SELECT ON wide TO many_%s', n); END LOOP; END $$",
            undo: "DROP TABLE wide;;DO $$ BEGIN FOR n IN 1..501 LOOP EXECUTE format('DROP ROLE many_%s', n); END LOOP; END $$",
            inside: true,
            found_by: &["PG-112"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TRUSTED LANGUAGE evil HANDLER plpgsql_call_handler;;GRANT USAGE ON LANGUAGE evil TO borealis_app;;SET allow_system_table_mods = on;;UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'evil'",
            undo: "SET allow_system_table_mods = on;;UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'evil';;DROP LANGUAGE evil",
            inside: true,
            found_by: &["PG-114"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA cron;;CREATE TABLE cron.job (id int);;GRANT USAGE ON SCHEMA cron TO borealis_app",
            undo: "DROP SCHEMA cron CASCADE",
            inside: true,
            found_by: &["PG-115"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW v AS SELECT rolname FROM pg_authid;;GRANT SELECT ON v TO borealis_app",
            undo: "DROP VIEW v",
            inside: true,
            found_by: &["PG-119"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE schema_migrations (version bigint, dirty boolean);;INSERT INTO schema_migrations VALUES (7, true)",
            undo: "DROP TABLE schema_migrations",
            inside: true,
            found_by: &["PG-122"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            found_by: &["CF-20"],
            to: BOREALIS,
            change: |inventory| second(inventory, |store| store.statement_timeout = "30s".into()),
            ..LEAK
        },
        // The primary itself takes writes, and another tenant's database is another.
        Leak {
            found_by: &["CF-04", "PG-029"],
            from: BOREALIS,
            change: |inventory| {
                let first = inventory.stores[0].clone();
                second(inventory, |store| {
                    store.replica = Some(Box::new(Replica {
                        host: first.host.clone(),
                        port: first.port,
                        database: first.database.clone(),
                        schema: None,
                        login: first.login.clone(),
                        password: first.password.clone(),
                        sslmode: first.sslmode.clone(),
                    }));
                });
            },
            ..LEAK
        },
        Leak {
            plant: "ALTER SYSTEM SET log_min_duration_statement = 0;;SELECT pg_reload_conf();;SELECT pg_sleep(0.3)",
            undo: "ALTER SYSTEM RESET log_min_duration_statement;;SELECT pg_reload_conf();;SELECT pg_sleep(0.3)",
            found_by: &["PG-030"],
            to: ALL,
            ..LEAK
        },
    ]
}

/// On a fleet with schemas.
fn in_schemas() -> Vec<Leak> {
    vec![
        Leak {
            plant: "SELECT lo_create(4242);;ALTER LARGE OBJECT 4242 OWNER TO borealis_app;;GRANT SELECT ON LARGE OBJECT 4242 TO aurora_app",
            undo: "SELECT lo_unlink(4242)",
            inside: true,
            found_by: &["PG-116"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE STATISTICS aurora.st (dependencies) ON id, n FROM borealis.account",
            undo: "DROP STATISTICS aurora.st",
            inside: true,
            found_by: &["PG-118"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "REVOKE USAGE ON SCHEMA borealis FROM borealis_app",
            undo: "GRANT USAGE ON SCHEMA borealis TO borealis_app",
            inside: true,
            found_by: &["PG-205"],
            from: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW public.everything AS SELECT rolname FROM pg_authid;;GRANT SELECT ON public.everything TO borealis_app",
            undo: "DROP VIEW public.everything",
            inside: true,
            found_by: &["PG-119"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE aurora.schema_migrations (version bigint, dirty boolean);;INSERT INTO aurora.schema_migrations VALUES (7, false);;ALTER TABLE aurora.schema_migrations OWNER TO aurora_app;;CREATE TABLE borealis.schema_migrations (version bigint, dirty boolean);;INSERT INTO borealis.schema_migrations VALUES (6, false);;ALTER TABLE borealis.schema_migrations OWNER TO borealis_app",
            undo: "DROP TABLE aurora.schema_migrations, borealis.schema_migrations",
            inside: true,
            found_by: &["PG-122"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            found_by: &["PG-012", "PG-209", "PG-210"],
            to: BOREALIS,
            change: purged,
            ..LEAK
        },
    ]
}

#[tokio::test]
async fn each_leak_of_a_database_is_found_by_its_checks() {
    let fleet = Fleet::by_hand(true).await;
    each(&fleet, "postgres", "borealis", &in_databases()).await;
}

#[tokio::test]
async fn each_leak_of_a_schema_is_found_by_its_checks() {
    let fleet = Fleet::schemas_by_hand().await;
    each(&fleet, "postgres", "shared", &in_schemas()).await;
}

/// The same on the newest PostgreSQL, whose rules for roles are others.
#[tokio::test]
async fn each_leak_is_found_on_postgresql_18_too() {
    let Some(folder) = postgres_18("no leak was planted") else {
        return;
    };
    let fleet = Fleet::by_hand_on(Postgres::private_of(&folder), true).await;
    let version = fleet.session("postgres").await;
    let row = version
        .query_one("SHOW server_version_num", &[])
        .await
        .unwrap();
    assert!(row.get::<_, &str>(0).starts_with("18"), "{row:?}");
    version.close().await;
    assert_clean(&fleet.check().await);
    each(&fleet, "postgres", "borealis", &between_databases()).await;
    each(&fleet, "postgres", "borealis", &in_databases()).await;
    drop(fleet);
    let fleet = Fleet::schemas_by_hand_on(Postgres::private_of(&folder)).await;
    assert_clean(&fleet.check().await);
    each(&fleet, "postgres", "shared", &between_schemas()).await;
    each(&fleet, "postgres", "shared", &in_schemas()).await;
}

#[tokio::test]
async fn hosts_that_are_let_in_too_easily_are_found() {
    let fleet = Fleet::by_hand(true).await;
    let admin = fleet.session("postgres").await;
    let file: String = admin.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    let rules = std::fs::read_to_string(&file).unwrap();
    for (line, wanted) in [
        ("host nowhere nobody 127.0.0.1/32 md5\n", &["PG-014"][..]),
        (
            "host all aurora_app 127.0.0.1/32 trust\n",
            &["PG-014", "PG-217"],
        ),
    ] {
        std::fs::write(&file, format!("{line}{rules}")).unwrap();
        reload(&admin).await;
        let report = fleet.check().await;
        assert_eq!(found(&report), wanted, "{line}: {:#?}", refuted(&report));
    }
    std::fs::write(&file, rules).unwrap();
    reload(&admin).await;
    admin.close().await;
    assert_clean(&fleet.check().await);
}

/// Reads the rules again, and waits until that is done.
async fn reload(admin: &lerianctl::link::postgres::Session) {
    let before = "SELECT pg_conf_load_time()::text";
    let old: String = admin.query_one(before, &[]).await.unwrap().get(0);
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    while admin
        .query_one(before, &[])
        .await
        .unwrap()
        .get::<_, String>(0)
        == old
    {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn found(report: &lerianctl::isolation::report::Isolation) -> Vec<&str> {
    let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
    found.into_iter().collect()
}

/// Gives borealis a second login, `retired`, with password `x`; returns the inventory with it.
pub(crate) async fn retire(fleet: &Fleet, admin: &Session) -> Inventory {
    for statement in [
        "CREATE ROLE retired LOGIN PASSWORD 'x' CONNECTION LIMIT 5",
        "GRANT CONNECT ON DATABASE borealis TO retired",
    ] {
        admin.batch_execute(statement).await.unwrap();
    }
    let mut inventory = fleet.inventory.clone();
    second(&mut inventory, |store| store.roles.push("retired".into()));
    inventory
}

#[tokio::test]
async fn sessions_that_outlive_their_login_are_found() {
    let fleet = Fleet::by_hand(true).await;
    let admin = fleet.session("postgres").await;
    let inventory = retire(&fleet, &admin).await;
    assert_eq!(
        found(&fleet.check_inventory(&inventory, |_| ()).await),
        [""; 0]
    );
    let mut endpoint = fleet.store("borealis").endpoint().unwrap();
    endpoint.user = "retired".into();
    endpoint.password = Some(String::from("x").into());
    let left = endpoint.connect().await.unwrap();
    admin
        .batch_execute("ALTER ROLE retired NOLOGIN")
        .await
        .unwrap();
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert_eq!(found(&report), ["PG-025"], "{:#?}", refuted(&report));
    assert_eq!(report.findings[0].to, BOREALIS);
    left.close().await;
    admin.close().await;
}

#[tokio::test]
async fn tenants_that_share_a_database_hear_each_other() {
    let fleet = Fleet::schemas_by_hand().await;
    let report = fleet.check().await;
    assert!(
        report.limits.iter().any(|limit| limit.check == "PG-211"),
        "{:?}",
        report.limits
    );
    let fleet = Fleet::by_hand(true).await;
    let report = fleet.check().await;
    let mut checks = report.checks.iter();
    let told = checks.find(|check| check.check == "PG-211").unwrap();
    assert_eq!(
        (told.verdict, told.looked_at),
        (Verdict::Holds, 1),
        "{told:?}"
    );
}

/// What no test can make on a server: the query sees it all the same, from a table of that form.
#[tokio::test]
async fn what_cannot_be_made_here_is_shown_to_the_query() {
    let fleet = Fleet::by_hand(true).await;
    let rows = lerianctl::isolation::inventory::rows(&fleet.inventory.stores, true);
    let session = fleet.session("postgres").await;
    let _tenant = fleet
        .store("aurora")
        .endpoint()
        .unwrap()
        .connect()
        .await
        .unwrap();
    for (id, what, instead) in [
        (
            "PG-017",
            "pg_replication_slots s",
            "(SELECT 'x'::name AS slot_name, 'pgoutput'::name AS plugin, true AS active, 'borealis'::name AS database) s",
        ),
        (
            "PG-023",
            "pg_prepared_xacts p",
            "(SELECT 'g' AS gid, 'borealis_app'::name AS owner, 'borealis'::name AS database, now() - interval '1 day' AS prepared) p",
        ),
        ("PG-024", "inet '127.0.0.0/8'", "inet '10.0.0.0/8'"),
        (
            "PG-026",
            "current_setting('server_version_num')",
            "'150001'",
        ),
        // A session of the tests uses 22 of 300 connections; here the server has few.
        ("CF-13", "current_setting('max_connections')", "'20'"),
    ] {
        let sql = catalogue::find(id).unwrap().sql.clone().unwrap();
        let ask = async |sql: &str| {
            session
                .query_typed(sql, &[(&rows, Type::TEXT)])
                .await
                .unwrap()
        };
        assert_eq!(ask(&sql).await.len(), 0, "{id}");
        assert!(sql.contains(what), "{id}");
        let found = ask(&sql.replace(what, instead)).await;
        assert_eq!(found.len(), 1, "{id}");
        let tenants: Vec<String> = found[0].get(2);
        assert!(
            ["aurora", "borealis", "*"].contains(&tenants[0].as_str()),
            "{id}: {tenants:?}"
        );
    }
    session.close().await;
}

/// What the inventory says wrongly; no server is asked.
#[tokio::test]
async fn each_mistake_of_the_inventory_is_found_by_its_checks() {
    type Mistake = (&'static str, &'static [&'static str], fn(&mut Inventory));
    let mistakes: [Mistake; 9] = [
        ("CF-03", BOTH, |i| {
            i.stores[0].login = "Shared-App".into();
            i.stores[1].login = "shared_app".into();
        }),
        ("CF-03", AURORA, |i| i.stores[0].login = "l".repeat(64)),
        ("CF-05", BOREALIS, |i| {
            i.stores[1].schema = Some("public".into());
        }),
        ("CF-05", BOREALIS, |i| i.stores[1].schema = None),
        ("CF-06", BOREALIS, |i| i.stores[1].drift.push("mode".into())),
        ("CF-07", BOREALIS, |i| {
            i.stores[1].host = "db.example".into();
            i.stores[1].sslmode = "prefer".into();
        }),
        ("CF-16", BOTH, |i| {
            i.stores[0].secret_paths.push("tenants/one".into());
            i.stores[1].secret_paths.push("tenants/one".into());
        }),
        ("CF-23", BOREALIS, |i| {
            i.stores[1].status = "suspended".into();
        }),
        ("CF-09", BOREALIS, |i| {
            i.stores[1].environment = "production".into();
        }),
    ];
    let fleet = Fleet::schemas_by_hand().await;
    assert!(config::check(&fleet.inventory).is_empty());
    for (id, tenants, change) in mistakes {
        let mut inventory = fleet.inventory.clone();
        change(&mut inventory);
        let findings = config::check(&inventory);
        let ids: Vec<&str> = findings.iter().map(|f| f.check.as_str()).collect();
        assert_eq!(ids, [id], "{findings:?}");
        for tenant in tenants {
            assert!(
                findings[0].to.iter().any(|to| to == tenant),
                "{id}: {findings:?}"
            );
        }
    }
}

/// Checks whose leak is planted elsewhere, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "CF-01",
        "what_is_handed_out_twice_is_found_without_a_connection",
    ),
    (
        "CF-03",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-05",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-06",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-07",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-08",
        "isolation::products: careful_products_have_no_findings_and_one_mistake_has_its_own",
    ),
    (
        "CF-09",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-10",
        "isolation::products: careful_products_have_no_findings_and_one_mistake_has_its_own",
    ),
    (
        "CF-11",
        "isolation::products: careful_products_have_no_findings_and_one_mistake_has_its_own",
    ),
    (
        "CF-12",
        "products_and_clusters_are_checked_next_to_the_tenants",
    ),
    (
        "CF-13",
        "products_and_clusters_are_checked_next_to_the_tenants",
    ),
    (
        "CF-14",
        "isolation::products: places_and_connections_are_counted",
    ),
    (
        "CF-16",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    (
        "CF-18",
        "isolation::products: careful_products_have_no_findings_and_one_mistake_has_its_own",
    ),
    (
        "CF-19",
        "products_and_clusters_are_checked_next_to_the_tenants",
    ),
    ("CF-21", "a_waiver_that_is_over_is_found"),
    ("CF-22", "a_password_in_a_file_of_our_own_is_found"),
    (
        "CF-23",
        "each_mistake_of_the_inventory_is_found_by_its_checks",
    ),
    ("PB-01", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PB-02", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PB-03", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PB-04", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PB-05", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PB-06", "a_pooler_that_mixes_up_tenants_is_found"),
    ("PG-014", "hosts_that_are_let_in_too_easily_are_found"),
    ("PG-017", "what_cannot_be_made_here_is_shown_to_the_query"),
    ("PG-018", "a note about each cluster: assert_clean"),
    ("PG-019", "a note about each cluster: assert_clean"),
    ("PG-023", "what_cannot_be_made_here_is_shown_to_the_query"),
    ("PG-024", "what_cannot_be_made_here_is_shown_to_the_query"),
    ("PG-025", "sessions_that_outlive_their_login_are_found"),
    ("PG-026", "what_cannot_be_made_here_is_shown_to_the_query"),
    ("PG-028", "a_copy_that_takes_writes_is_found"),
    ("PG-120", "clean_fleets_have_no_findings"),
    (
        "PG-121",
        "a limit of each shared database: clean_fleets_have_no_findings",
    ),
    ("PG-123", "each_variant_of_a_leak_is_found_by_its_checks"),
    ("PG-206", "a_canary_of_another_is_found"),
    ("PG-207", "what_is_written_astray_is_found_in_both_modes"),
    ("PG-208", "a_password_that_was_rotated_out_is_found"),
    ("PG-211", "tenants_that_share_a_database_hear_each_other"),
    ("PG-212", "a_server_that_takes_clear_text_is_found"),
    ("PG-214", "dblink_that_may_be_called_is_found"),
    ("PG-215", "a_change_meanwhile_is_told"),
    ("PG-217", "hosts_that_are_let_in_too_easily_are_found"),
];

#[test]
fn every_check_has_a_leak_that_it_has_to_find() {
    let planted: BTreeSet<&str> = [
        between_databases(),
        between_schemas(),
        in_databases(),
        in_schemas(),
    ]
    .iter()
    .flatten()
    .flat_map(|leak| leak.found_by.iter().copied())
    .chain(ELSEWHERE.iter().map(|(id, _)| *id))
    .collect();
    for family in [
        Family::Config,
        Family::Cluster,
        Family::Database,
        Family::Live,
    ] {
        for check in catalogue::of(family) {
            assert!(planted.contains(check.id), "{} has no leak test", check.id);
        }
    }
    for id in planted {
        assert!(catalogue::find(id).is_some(), "there is no check {id}");
    }
}

#[tokio::test]
async fn a_waiver_that_is_over_is_found() {
    let fleet = Fleet::by_hand(true).await;
    let waiver = |day: &str| {
        let text =
            format!("[[waiver]]\ncheck = 'PG-001'\nowner = 'ops'\nreason = 'r'\nexpires = '{day}'");
        lerianctl::isolation::verdict::Waivers::parse(&text).unwrap()
    };
    for (day, wanted) in [("2999-01-01", &[][..]), ("2020-01-01", &["CF-21"])] {
        let report = fleet
            .check_with(|settings| settings.waivers = waiver(day))
            .await;
        assert_eq!(found(&report), wanted, "{day}");
    }
}

#[tokio::test]
async fn a_server_that_takes_clear_text_is_found() {
    let fleet = Fleet::by_hand_on(server_with_tls().await, true).await;
    let mut inventory = fleet.inventory.clone();
    for store in &mut inventory.stores {
        store.sslmode = "require".into();
    }
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert_eq!(found(&report), ["PG-212"], "{:#?}", refuted(&report));
    let admin = fleet.session("postgres").await;
    let file: String = admin.query_one("SHOW hba_file", &[]).await.unwrap().get(0);
    let rules = std::fs::read_to_string(&file).unwrap();
    let closed = "hostnossl all aurora_app 0.0.0.0/0 reject\nhostnossl all borealis_app 0.0.0.0/0 reject\nhostnossl all celeste_app 0.0.0.0/0 reject\n";
    std::fs::write(&file, format!("{closed}{rules}")).unwrap();
    reload(&admin).await;
    admin.close().await;
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert_eq!(found(&report), [""; 0], "{:#?}", refuted(&report));
    let tls = report
        .checks
        .iter()
        .find(|check| check.check == "PG-212")
        .unwrap();
    assert_eq!(tls.verdict, Verdict::Holds, "{tls:?}");
}

#[tokio::test]
async fn a_change_meanwhile_is_told() {
    let fleet = Fleet::by_hand(true).await;
    let mut settings = Settings::new(jiff::Timestamp::now());
    settings.auditors = vec![fleet.admin.clone()];
    let planted = std::cell::Cell::new(false);
    let report = run(&fleet.inventory, &settings, &|text, _, _| {
        if text.contains("logins") && !planted.replace(true) {
            let admin = fleet.admin.clone();
            crate::support::block_on(async move {
                let session = admin.connect().await.unwrap();
                let leak = "GRANT CONNECT ON DATABASE celeste TO aurora_app";
                session.batch_execute(leak).await.unwrap();
                session.close().await;
            });
        }
    })
    .await;
    // PG-002 and PG-007 had looked before; the live probe sees it, and the drift is noted.
    assert_eq!(found(&report), ["PG-201"], "{:#?}", refuted(&report));
    let drift: Vec<_> = report
        .notes
        .iter()
        .filter(|n| n.check == "PG-215")
        .collect();
    assert_eq!(drift.len(), 2, "{:?}", report.notes);
}

/// A copy of a cluster that goes on as if it were the original.
#[tokio::test]
async fn a_copy_that_takes_writes_is_found() {
    let fleet = Fleet::by_hand(true).await;
    let (copy, _folder) = fleet.copy().await;
    let mut inventory = fleet.inventory.clone();
    second(&mut inventory, |store| store.port = copy.port());
    let mut other = fleet.admin.clone();
    other.port = copy.port();
    let report = fleet
        .check_inventory(&inventory, |settings| settings.auditors.push(other))
        .await;
    let twin = report.findings.iter().find(|f| f.check == "PG-028");
    let twin = twin.unwrap_or_else(|| panic!("{:#?}", refuted(&report)));
    assert_eq!(twin.to, ["aurora", "borealis", "celeste"]);
    // One server under two names is no copy.
    second(&mut inventory, |store| {
        store.port = fleet.admin.port;
        store.host = "localhost".into();
    });
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert!(
        !found(&report).contains(&"PG-028"),
        "{:#?}",
        refuted(&report)
    );
}

#[tokio::test]
async fn dblink_that_may_be_called_is_found() {
    let fleet = Fleet::by_hand(true).await;
    let session = fleet.session("borealis").await;
    if session
        .batch_execute("CREATE EXTENSION dblink")
        .await
        .is_err()
    {
        super::support::skip("this PostgreSQL has no dblink");
        return;
    }
    let report = fleet.check().await;
    let ids = found(&report);
    assert!(ids.contains(&"PG-214"), "{:#?}", refuted(&report));
    let live = report
        .findings
        .iter()
        .find(|f| f.check == "PG-214")
        .unwrap();
    assert_eq!(live.from, BOREALIS);
    session
        .batch_execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
        .await
        .unwrap();
    let report = fleet.check().await;
    assert!(
        !found(&report).contains(&"PG-214"),
        "{:#?}",
        refuted(&report)
    );
    session.close().await;
}
