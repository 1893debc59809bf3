//! Leaks in odd dress, and what only looks like one: long chains of groups, other words for "off",
//! policies that are true in a roundabout way, what an administrator made for one tenant alone; in both
//! modes, on PostgreSQL 15 and 18.

use crate::isolation_fleet::Fleet;
use crate::isolation_leaks::{LEAK, Leak, assert_clean, each};
use crate::support::{Postgres, postgres_18};

const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const ALL: &[&str] = &["*"];

/// What is the same in both modes.
fn in_both() -> Vec<Leak> {
    vec![
        Leak {
            plant: "ALTER SYSTEM SET session_replication_role = replica;;SELECT pg_reload_conf();;SELECT pg_sleep(1)",
            undo: "ALTER SYSTEM RESET session_replication_role;;SELECT pg_reload_conf();;SELECT pg_sleep(1)",
            found_by: &["PG-013"],
            from: ALL,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SET row_security = no",
            undo: "ALTER ROLE aurora_app RESET row_security",
            found_by: &["PG-013"],
            from: AURORA,
            to: AURORA,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SET row_security = yes",
            undo: "ALTER ROLE aurora_app RESET row_security",
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE g0 NOLOGIN;;CREATE ROLE g1 NOLOGIN;;GRANT g1 TO g0;;CREATE ROLE g2 NOLOGIN;;GRANT g2 TO g1;;CREATE ROLE g3 NOLOGIN;;GRANT g3 TO g2;;CREATE ROLE g4 NOLOGIN;;GRANT g4 TO g3;;CREATE ROLE g5 NOLOGIN;;GRANT g5 TO g4;;CREATE ROLE g6 NOLOGIN;;GRANT g6 TO g5;;CREATE ROLE g7 NOLOGIN;;GRANT g7 TO g6;;CREATE ROLE g8 NOLOGIN;;GRANT g8 TO g7;;CREATE ROLE g9 NOLOGIN;;GRANT g9 TO g8;;CREATE ROLE g10 NOLOGIN;;GRANT g10 TO g9;;CREATE ROLE g11 NOLOGIN;;GRANT g11 TO g10;;CREATE ROLE g12 NOLOGIN;;GRANT g12 TO g11;;CREATE ROLE g13 NOLOGIN;;GRANT g13 TO g12;;CREATE ROLE g14 NOLOGIN;;GRANT g14 TO g13;;CREATE ROLE g15 NOLOGIN;;GRANT g15 TO g14;;CREATE ROLE g16 NOLOGIN;;GRANT g16 TO g15;;CREATE ROLE g17 NOLOGIN;;GRANT g17 TO g16;;CREATE ROLE g18 NOLOGIN;;GRANT g18 TO g17;;CREATE ROLE g19 NOLOGIN;;GRANT g19 TO g18;;GRANT g0 TO aurora_app;;GRANT pg_read_server_files TO g19",
            undo: "DROP ROLE g0;;DROP ROLE g1;;DROP ROLE g2;;DROP ROLE g3;;DROP ROLE g4;;DROP ROLE g5;;DROP ROLE g6;;DROP ROLE g7;;DROP ROLE g8;;DROP ROLE g9;;DROP ROLE g10;;DROP ROLE g11;;DROP ROLE g12;;DROP ROLE g13;;DROP ROLE g14;;DROP ROLE g15;;DROP ROLE g16;;DROP ROLE g17;;DROP ROLE g18;;DROP ROLE g19",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE EXTENSION pg_walinspect;;GRANT EXECUTE ON FUNCTION pg_get_wal_records_info(pg_lsn, pg_lsn) TO borealis_app",
            undo: "DROP EXTENSION pg_walinspect",
            inside: true,
            found_by: &["PG-123"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
    ]
}

/// With a database for each tenant.
fn in_databases() -> Vec<Leak> {
    vec![
        Leak {
            plant: "CREATE ROLE g0 NOLOGIN;;CREATE ROLE g1 NOLOGIN;;GRANT g1 TO g0;;CREATE ROLE g2 NOLOGIN;;GRANT g2 TO g1;;CREATE ROLE g3 NOLOGIN;;GRANT g3 TO g2;;CREATE ROLE g4 NOLOGIN;;GRANT g4 TO g3;;CREATE ROLE g5 NOLOGIN;;GRANT g5 TO g4;;CREATE ROLE g6 NOLOGIN;;GRANT g6 TO g5;;CREATE ROLE g7 NOLOGIN;;GRANT g7 TO g6;;CREATE ROLE g8 NOLOGIN;;GRANT g8 TO g7;;CREATE ROLE g9 NOLOGIN;;GRANT g9 TO g8;;CREATE ROLE g10 NOLOGIN;;GRANT g10 TO g9;;CREATE ROLE g11 NOLOGIN;;GRANT g11 TO g10;;CREATE ROLE g12 NOLOGIN;;GRANT g12 TO g11;;CREATE ROLE g13 NOLOGIN;;GRANT g13 TO g12;;CREATE ROLE g14 NOLOGIN;;GRANT g14 TO g13;;CREATE ROLE g15 NOLOGIN;;GRANT g15 TO g14;;CREATE ROLE g16 NOLOGIN;;GRANT g16 TO g15;;CREATE ROLE g17 NOLOGIN;;GRANT g17 TO g16;;CREATE ROLE g18 NOLOGIN;;GRANT g18 TO g17;;CREATE ROLE g19 NOLOGIN;;GRANT g19 TO g18;;GRANT g0 TO aurora_app;;GRANT CONNECT ON DATABASE borealis TO g19",
            undo: "DROP OWNED BY g19;;DROP ROLE g0;;DROP ROLE g1;;DROP ROLE g2;;DROP ROLE g3;;DROP ROLE g4;;DROP ROLE g5;;DROP ROLE g6;;DROP ROLE g7;;DROP ROLE g8;;DROP ROLE g9;;DROP ROLE g10;;DROP ROLE g11;;DROP ROLE g12;;DROP ROLE g13;;DROP ROLE g14;;DROP ROLE g15;;DROP ROLE g16;;DROP ROLE g17;;DROP ROLE g18;;DROP ROLE g19",
            found_by: &["PG-002", "PG-201"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            undo: "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
            inside: true,
            found_by: &["PG-107"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE own NOLOGIN;;GRANT own TO borealis_app;;ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO own",
            undo: "DROP OWNED BY own;;DROP ROLE own",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "SELECT lo_create(4711);;GRANT SELECT ON LARGE OBJECT 4711 TO borealis_app",
            undo: "SELECT lo_unlink(4711)",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "SELECT lo_create(4711);;GRANT SELECT ON LARGE OBJECT 4711 TO aurora_app",
            undo: "SELECT lo_unlink(4711)",
            inside: true,
            found_by: &["PG-007", "PG-116"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE t (id int);;CREATE VIEW v AS SELECT * FROM t;;GRANT SELECT ON v TO borealis_app;;CREATE MATERIALIZED VIEW m AS SELECT * FROM v;;GRANT SELECT ON m TO PUBLIC",
            undo: "DROP TABLE t CASCADE",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE EXTENSION file_fdw;;CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;;CREATE FOREIGN TABLE t (line text) SERVER files OPTIONS (filename '/dev/null');;CREATE VIEW v AS SELECT * FROM t;;GRANT SELECT ON v TO borealis_app",
            undo: "DROP EXTENSION file_fdw CASCADE",
            inside: true,
            found_by: &["PG-119"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT borealis_app TO aurora_app;;ALTER ROLE aurora_app SET role = 'borealis_app'",
            undo: "REVOKE borealis_app FROM aurora_app;;ALTER ROLE aurora_app RESET role",
            found_by: &["PG-002", "PG-004", "PG-013", "PG-201", "PG-202", "PG-205"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW pg_stat_statements AS SELECT 1 AS calls;;CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;GRANT SELECT ON pg_stat_statements TO bridge;;ALTER VIEW pg_stat_statements SET (security_invoker = true)",
            undo: "DROP VIEW pg_stat_statements;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-020"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
    ]
}

/// With schemas in one database.
fn in_schemas() -> Vec<Leak> {
    vec![
        Leak {
            plant: "CREATE FUNCTION borealis.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION borealis.f(int, int) OWNER TO borealis_app;;CREATE AGGREGATE aurora.g(int) (sfunc = borealis.f, stype = int, initcond = '0');;ALTER AGGREGATE aurora.g(int) OWNER TO aurora_app",
            undo: "DROP AGGREGATE aurora.g(int);;DROP FUNCTION borealis.f(int, int)",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION borealis.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION borealis.f(int, int) OWNER TO borealis_app;;CREATE OPERATOR aurora.=== (leftarg = int, rightarg = int, function = borealis.f);;ALTER OPERATOR aurora.=== (int, int) OWNER TO aurora_app",
            undo: "DROP OPERATOR aurora.=== (int, int);;DROP FUNCTION borealis.f(int, int)",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE DOMAIN borealis.d AS int;;CREATE DOMAIN aurora.d AS borealis.d",
            undo: "DROP DOMAIN aurora.d;;DROP DOMAIN borealis.d",
            inside: true,
            found_by: &["PG-103"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION public.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';;CREATE AGGREGATE aurora.g(int) (sfunc = public.f, stype = int, initcond = '0');;ALTER AGGREGATE aurora.g(int) OWNER TO aurora_app",
            undo: "DROP AGGREGATE aurora.g(int);;DROP FUNCTION public.f(int, int)",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE SEQUENCE public.s;;ALTER TABLE aurora.account ALTER id SET DEFAULT nextval('public.s');;ALTER TABLE borealis.account ALTER id SET DEFAULT nextval('public.s')",
            undo: "DROP SEQUENCE public.s CASCADE",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SEQUENCE public.s;;ALTER TABLE aurora.account ALTER id SET DEFAULT nextval('public.s')",
            undo: "DROP SEQUENCE public.s CASCADE",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;ALTER ROLE aurora_app NOINHERIT;;CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO bridge",
            undo: "DROP TABLE public.h;;DROP ROLE bridge;;ALTER ROLE aurora_app INHERIT",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER SCHEMA borealis OWNER TO aurora_app;;CREATE TABLE borealis.t (id int);;ALTER TABLE borealis.t OWNER TO aurora_app",
            undo: "DROP TABLE borealis.t;;ALTER SCHEMA borealis OWNER TO borealis_app",
            inside: true,
            found_by: &["PG-101", "PG-108", "PG-110", "PG-203", "PG-204", "PG-205"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.par (id int) PARTITION BY LIST (id);;CREATE TABLE borealis.part PARTITION OF public.par FOR VALUES IN (1);;ALTER TABLE borealis.part OWNER TO borealis_app",
            undo: "DROP TABLE public.par",
            inside: true,
            found_by: &["PG-103"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE borealis.par (id int) PARTITION BY LIST (id);;CREATE TABLE borealis.part PARTITION OF borealis.par FOR VALUES IN (1);;ALTER TABLE borealis.part OWNER TO borealis_app;;ALTER TABLE borealis.par OWNER TO borealis_app",
            undo: "DROP TABLE borealis.par",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION borealis.f() RETURNS int LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION borealis.f() OWNER TO borealis_app;;CREATE DOMAIN aurora.d AS int CHECK (value > borealis.f())",
            undo: "DROP DOMAIN aurora.d;;DROP FUNCTION borealis.f()",
            inside: true,
            found_by: &["PG-103"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = coalesce(current_setting('app.t', true), tenant_id))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (current_setting('app.t', true) = '' OR tenant_id = current_setting('app.t', true))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_setting('app.t', true) OR nullif(current_setting('app.t', true), '') IS NULL)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id IS NOT NULL)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (coalesce(tenant_id = current_setting('app.t', true), true))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING ('a' = 'a')",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (NOT false)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING ((tenant_id = current_setting('app.t', true)) IS NOT FALSE)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id LIKE coalesce(current_setting('app.t', true), '%'))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = nullif(current_setting('app.t', true), ''))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_user OR tenant_id = 'all')",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = coalesce(current_setting('app.t', true), 'nobody'))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (true);;CREATE POLICY q ON public.h AS RESTRICTIVE USING (tenant_id = current_user)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h TO pg_read_all_data USING (true)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_user)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE own NOLOGIN;;GRANT own TO borealis_app;;ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app IN SCHEMA borealis GRANT SELECT ON TABLES TO own",
            undo: "DROP OWNED BY own;;DROP ROLE own",
            inside: true,
            found_by: &[],
            ..LEAK
        },
    ]
}

async fn all_on(databases: Fleet, schemas: Fleet) {
    each(&databases, "postgres", "borealis", &in_both()).await;
    each(&databases, "postgres", "borealis", &in_databases()).await;
    each(&schemas, "postgres", "shared", &in_both()).await;
    each(&schemas, "postgres", "shared", &in_schemas()).await;
}

#[tokio::test]
async fn each_odd_leak_is_found_and_what_looks_like_one_is_not() {
    all_on(Fleet::by_hand(true).await, Fleet::schemas_by_hand().await).await;
}

#[tokio::test]
async fn each_odd_leak_is_found_on_postgresql_18_too() {
    let Some(folder) = postgres_18("no odd leak was planted") else {
        return;
    };
    let server = || Postgres::private_of(&folder);
    let databases = Fleet::by_hand_on(server(), true).await;
    all_on(databases, Fleet::schemas_by_hand_on(server()).await).await;
}

/// What the role that audits is told to do with its sessions changes no answer.
#[tokio::test]
async fn settings_of_the_auditor_change_no_answer() {
    let fleet = Fleet::schemas_by_hand().await;
    let admin = fleet.session("postgres").await;
    for setting in [
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "default_transaction_read_only = on",
        "statement_timeout = 1",
    ] {
        admin
            .batch_execute(&format!("ALTER ROLE CURRENT_USER SET {setting}"))
            .await
            .unwrap();
    }
    admin.close().await;
    assert_clean(&fleet.check().await);
}
