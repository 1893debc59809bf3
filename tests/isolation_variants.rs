//! Variants of leaks: by way of roles that no inventory knows, through columns, default privileges of
//! one schema, routines that are parsed, the server's own functions; in both modes, on fleets made by
//! hand and on ours, on PostgreSQL 15 and 18; and two at once.

use lerianctl::contract::wire::IsolationMode;

use crate::isolation_fleet::Fleet;
use crate::isolation_leaks::{LEAK, Leak, each};
use crate::support::{Postgres, postgres_18};

const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const ALL: &[&str] = &["*"];

/// What is the same leak in both modes.
pub(crate) fn in_both() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT pg_monitor TO aurora_app",
            undo: "REVOKE pg_monitor FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_signal_backend TO aurora_app",
            undo: "REVOKE pg_signal_backend FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT pg_execute_server_program TO bridge",
            undo: "REVOKE pg_execute_server_program FROM bridge;;DROP OWNED BY bridge;;DROP ROLE bridge",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT pg_read_server_files TO bridge WITH ADMIN OPTION",
            undo: "REVOKE pg_read_server_files FROM bridge;;DROP OWNED BY bridge;;DROP ROLE bridge",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE makers CREATEDB;;GRANT makers TO aurora_app",
            undo: "DROP ROLE makers",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bi LOGIN;;GRANT pg_read_all_data TO bi",
            undo: "DROP ROLE bi",
            found_by: &["PG-005"],
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC",
            undo: "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM PUBLIC",
            found_by: &["PG-123"],
            from: ALL,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT ALTER SYSTEM ON PARAMETER shared_preload_libraries TO bridge",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            found_by: &["PG-022"],
            from: AURORA,
            to: AURORA,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT CREATE ON TABLESPACE pg_default TO bridge",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            found_by: &["PG-021"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app CREATEROLE",
            undo: "ALTER ROLE aurora_app NOCREATEROLE",
            found_by: &["PG-003"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app BYPASSRLS",
            undo: "ALTER ROLE aurora_app NOBYPASSRLS",
            found_by: &["PG-003"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO borealis_app",
            undo: "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM borealis_app",
            inside: true,
            found_by: &["PG-123"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT SELECT (rolname, rolpassword) ON pg_authid TO borealis_app",
            undo: "REVOKE SELECT (rolname, rolpassword) ON pg_authid FROM borealis_app",
            inside: true,
            found_by: &["PG-123"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;GRANT SELECT ON pg_largeobject TO bridge",
            undo: "REVOKE ALL ON pg_largeobject FROM bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-123"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE FOREIGN DATA WRAPPER w;;CREATE SERVER s FOREIGN DATA WRAPPER w;;CREATE SCHEMA f;;CREATE FOREIGN TABLE f.ft (id int) SERVER s;;GRANT SELECT (id) ON f.ft TO borealis_app",
            undo: "DROP SCHEMA f CASCADE;;DROP FOREIGN DATA WRAPPER w CASCADE",
            inside: true,
            found_by: &["PG-113"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE FOREIGN DATA WRAPPER w;;CREATE SERVER s FOREIGN DATA WRAPPER w;;CREATE USER MAPPING FOR borealis_app SERVER s",
            undo: "DROP FOREIGN DATA WRAPPER w CASCADE",
            inside: true,
            found_by: &["PG-113"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;CREATE FOREIGN DATA WRAPPER w;;GRANT USAGE ON FOREIGN DATA WRAPPER w TO bridge",
            undo: "DROP FOREIGN DATA WRAPPER w CASCADE;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-113"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA x;;CREATE FUNCTION x.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';;CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION x.e();;CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;ALTER FUNCTION x.e() OWNER TO bridge",
            undo: "DROP EVENT TRIGGER e;;DROP SCHEMA x CASCADE;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-106"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA cron;;CREATE TABLE cron.job (id int);;CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;GRANT USAGE ON SCHEMA cron TO bridge",
            undo: "DROP SCHEMA cron CASCADE;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-115"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA x;;GRANT USAGE ON SCHEMA x TO PUBLIC;;CREATE PROCEDURE x.p() LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT 1';;CREATE ROLE bridge NOLOGIN;;GRANT bridge TO borealis_app;;REVOKE ALL ON PROCEDURE x.p() FROM PUBLIC;;GRANT EXECUTE ON PROCEDURE x.p() TO bridge",
            undo: "DROP SCHEMA x CASCADE;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-105"],
            from: BOREALIS,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)",
            undo: "ALTER SUBSCRIPTION s DISABLE;;ALTER SUBSCRIPTION s SET (slot_name = NONE);;DROP SUBSCRIPTION s",
            inside: true,
            found_by: &["PG-017"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE left_over (id int)",
            undo: "DROP TABLE left_over",
            at: "template1",
            found_by: &["PG-010"],
            to: ALL,
            ..LEAK
        },
    ]
}

/// With databases.
fn in_databases() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH ADMIN OPTION",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &["PG-002", "PG-004", "PG-201", "PG-202"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE one NOLOGIN;;CREATE ROLE two NOLOGIN;;GRANT borealis_app TO two;;GRANT two TO one;;GRANT one TO aurora_app",
            undo: "DROP ROLE one;;DROP ROLE two",
            found_by: &["PG-002", "PG-004", "PG-201", "PG-202"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_write_all_data TO aurora_app",
            undo: "REVOKE pg_write_all_data FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SUPERUSER",
            undo: "ALTER ROLE aurora_app NOSUPERUSER",
            found_by: &["PG-003", "PG-201", "PG-202", "PG-213"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bi LOGIN;;CREATE ROLE readers;;GRANT CONNECT ON DATABASE aurora TO readers;;GRANT CONNECT ON DATABASE borealis TO readers;;GRANT readers TO bi",
            undo: "DROP OWNED BY readers;;DROP ROLE readers;;DROP ROLE bi",
            found_by: &["PG-005"],
            to: &["aurora", "borealis"],
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SET role = 'borealis_app'",
            undo: "ALTER ROLE aurora_app RESET role",
            found_by: &["PG-013"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "GRANT CONNECT ON DATABASE borealis TO PUBLIC;;ALTER ROLE aurora_app CREATEDB",
            undo: "REVOKE CONNECT ON DATABASE borealis FROM PUBLIC;;ALTER ROLE aurora_app NOCREATEDB",
            found_by: &["PG-001", "PG-002", "PG-003", "PG-201"],
            ..LEAK
        },
        Leak {
            plant: "GRANT CONNECT ON DATABASE borealis TO aurora_app;;GRANT pg_read_all_data TO celeste_app",
            undo: "REVOKE CONNECT ON DATABASE borealis FROM aurora_app;;REVOKE pg_read_all_data FROM celeste_app",
            found_by: &["PG-002", "PG-004", "PG-007", "PG-201"],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;CREATE TABLE t (id int);;GRANT SELECT ON t TO bridge",
            undo: "DROP TABLE t;;DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-007"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO aurora_app",
            undo: "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM aurora_app",
            inside: true,
            found_by: &["PG-007", "PG-107"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA x AUTHORIZATION aurora_app",
            undo: "DROP SCHEMA x",
            inside: true,
            found_by: &["PG-007"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
    ]
}

/// With schemas in one database.
fn in_schemas() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH ADMIN OPTION",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &["PG-004", "PG-202", "PG-203", "PG-204"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE one NOLOGIN;;CREATE ROLE two NOLOGIN;;GRANT borealis_app TO two;;GRANT two TO one;;GRANT one TO aurora_app",
            undo: "DROP ROLE one;;DROP ROLE two",
            found_by: &["PG-004", "PG-202", "PG-203", "PG-204"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_write_all_data TO aurora_app",
            undo: "REVOKE pg_write_all_data FROM aurora_app",
            found_by: &["PG-004", "PG-203"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SUPERUSER",
            undo: "ALTER ROLE aurora_app NOSUPERUSER",
            found_by: &["PG-003", "PG-202", "PG-203", "PG-204", "PG-213"],
            from: AURORA,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SET role = 'borealis_app'",
            undo: "ALTER ROLE aurora_app RESET role",
            found_by: &["PG-013"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT USAGE ON SCHEMA borealis TO bridge;;GRANT SELECT ON borealis.account TO bridge",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-101", "PG-102", "PG-203"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;ALTER SCHEMA borealis OWNER TO bridge;;GRANT ALL ON SCHEMA borealis TO borealis_app",
            undo: "ALTER SCHEMA borealis OWNER TO borealis_app;;DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-101", "PG-108", "PG-203", "PG-204"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA tools;;GRANT USAGE ON SCHEMA tools TO PUBLIC;;CREATE FUNCTION tools.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT count(*) FROM borealis.account';;ALTER FUNCTION tools.f() OWNER TO borealis_app",
            undo: "DROP SCHEMA tools CASCADE",
            inside: true,
            found_by: &["PG-105"],
            from: ALL,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION aurora.f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM borealis.account; END;;ALTER FUNCTION aurora.f() OWNER TO aurora_app",
            undo: "DROP FUNCTION aurora.f()",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA tools;;CREATE VIEW tools.v WITH (security_barrier) AS SELECT * FROM borealis.account;;ALTER VIEW tools.v OWNER TO borealis_app;;GRANT SELECT (id) ON tools.v TO aurora_app",
            undo: "DROP SCHEMA tools CASCADE",
            inside: true,
            found_by: &["PG-103", "PG-119"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA tools;;CREATE MATERIALIZED VIEW tools.v AS SELECT * FROM borealis.account;;GRANT SELECT ON tools.v TO aurora_app",
            undo: "DROP SCHEMA tools CASCADE",
            inside: true,
            found_by: &["PG-103", "PG-119"],
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW borealis.v WITH (security_invoker = off) AS SELECT * FROM borealis.account;;ALTER VIEW borealis.v OWNER TO borealis_app;;GRANT INSERT ON borealis.v TO aurora_app",
            undo: "DROP VIEW borealis.v",
            inside: true,
            found_by: &["PG-102", "PG-119"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SEQUENCE borealis.s;;ALTER SEQUENCE borealis.s OWNER TO borealis_app;;GRANT USAGE ON SEQUENCE borealis.s TO aurora_app WITH GRANT OPTION",
            undo: "DROP SEQUENCE borealis.s",
            inside: true,
            found_by: &["PG-102"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TYPE borealis.mood AS ENUM ('a');;ALTER TYPE borealis.mood OWNER TO borealis_app;;GRANT USAGE ON TYPE borealis.mood TO aurora_app",
            undo: "DROP TYPE borealis.mood",
            inside: true,
            found_by: &["PG-102"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TYPE borealis.mood AS ENUM ('a');;ALTER TYPE borealis.mood OWNER TO borealis_app;;CREATE TABLE aurora.m (m borealis.mood);;ALTER TABLE aurora.m OWNER TO aurora_app",
            undo: "DROP TABLE aurora.m;;DROP TYPE borealis.mood",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION borealis.g(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION borealis.g(int) OWNER TO borealis_app;;ALTER TABLE aurora.account ADD CONSTRAINT k CHECK (borealis.g(id) = 1)",
            undo: "ALTER TABLE aurora.account DROP CONSTRAINT k;;DROP FUNCTION borealis.g(int)",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION borealis.g(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION borealis.g(int) OWNER TO borealis_app;;CREATE INDEX k ON aurora.account (borealis.g(id))",
            undo: "DROP INDEX aurora.k;;DROP FUNCTION borealis.g(int)",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE RULE r AS ON INSERT TO aurora.account DO ALSO INSERT INTO borealis.account VALUES (NEW.id)",
            undo: "DROP RULE r ON aurora.account",
            inside: true,
            found_by: &["PG-103"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE PUBLICATION p FOR TABLES IN SCHEMA aurora, borealis",
            undo: "DROP PUBLICATION p",
            inside: true,
            found_by: &["PG-117"],
            to: &["aurora", "borealis"],
            ..LEAK
        },
        Leak {
            plant: "CREATE PUBLICATION p FOR TABLE borealis.account;;ALTER PUBLICATION p OWNER TO aurora_app",
            undo: "DROP PUBLICATION p",
            inside: true,
            found_by: &["PG-117"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE PUBLICATION p FOR ALL TABLES",
            undo: "DROP PUBLICATION p",
            inside: true,
            found_by: &["PG-117"],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;SELECT lo_create(4243);;ALTER LARGE OBJECT 4243 OWNER TO borealis_app;;GRANT SELECT ON LARGE OBJECT 4243 TO bridge",
            undo: "SELECT lo_unlink(4243);;DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-116"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "SELECT lo_create(4243);;ALTER LARGE OBJECT 4243 OWNER TO borealis_app;;GRANT SELECT ON LARGE OBJECT 4243 TO PUBLIC",
            undo: "SELECT lo_unlink(4243)",
            inside: true,
            found_by: &["PG-116"],
            from: ALL,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app IN SCHEMA borealis GRANT SELECT ON TABLES TO bridge",
            undo: "ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app IN SCHEMA borealis REVOKE SELECT ON TABLES FROM bridge;;DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-107"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_user)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (1 = 1)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_user OR true)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (current_setting('app.t', true) IS NULL OR tenant_id = current_setting('app.t', true))",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT, TRUNCATE ON public.h TO aurora_app;;ALTER TABLE public.h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;;CREATE POLICY p ON public.h USING (tenant_id = current_user)",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.h (tenant_id text);;GRANT SELECT (tenant_id) ON public.h TO aurora_app",
            undo: "DROP TABLE public.h",
            inside: true,
            found_by: &["PG-111"],
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE ALL SET search_path = borealis",
            undo: "ALTER ROLE ALL RESET search_path",
            found_by: &["PG-013"],
            from: ALL,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "ALTER DATABASE shared SET search_path = borealis",
            undo: "ALTER DATABASE shared RESET search_path",
            found_by: &["PG-013"],
            from: ALL,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT CREATE ON SCHEMA public TO bridge",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-101"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;GRANT CREATE ON DATABASE shared TO bridge",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            found_by: &["PG-109"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "ALTER TABLE borealis.account OWNER TO aurora_app",
            undo: "ALTER TABLE borealis.account OWNER TO borealis_app",
            inside: true,
            found_by: &["PG-110"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT bridge TO aurora_app;;ALTER TABLE borealis.account OWNER TO bridge",
            undo: "ALTER TABLE borealis.account OWNER TO borealis_app;;DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: true,
            found_by: &["PG-110"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE own NOLOGIN;;GRANT own TO borealis_app;;GRANT ALL ON SCHEMA borealis TO own;;GRANT ALL ON borealis.account TO own",
            undo: "DROP OWNED BY own;;DROP ROLE own",
            inside: true,
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "GRANT USAGE ON SCHEMA borealis TO aurora_app;;CREATE PUBLICATION p FOR TABLE aurora.account, celeste.account",
            undo: "REVOKE USAGE ON SCHEMA borealis FROM aurora_app;;DROP PUBLICATION p",
            inside: true,
            found_by: &["PG-101", "PG-117", "PG-203"],
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA tools;;GRANT USAGE ON SCHEMA tools TO PUBLIC;;CREATE FUNCTION tools.f() RETURNS int LANGUAGE sql AS 'SELECT 1';;ALTER FUNCTION tools.f() OWNER TO aurora_app",
            undo: "DROP SCHEMA tools CASCADE",
            inside: true,
            found_by: &["PG-110"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "CREATE SCHEMA tools AUTHORIZATION aurora_app;;GRANT USAGE ON SCHEMA tools TO borealis_app",
            undo: "DROP SCHEMA tools CASCADE",
            inside: true,
            found_by: &["PG-110"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
    ]
}

async fn all_on(database: Fleet, schema: Fleet) {
    for fleet in [&database, &schema] {
        let place = fleet.store("borealis").database.clone();
        each(fleet, "postgres", &place, &in_both()).await;
    }
    each(&database, "postgres", "borealis", &in_databases()).await;
    each(&schema, "postgres", "shared", &in_schemas()).await;
}

#[tokio::test]
async fn each_variant_of_a_leak_is_found_by_its_checks() {
    all_on(Fleet::by_hand(true).await, Fleet::schemas_by_hand().await).await;
}

#[tokio::test]
async fn each_variant_is_found_among_tenants_of_our_own_too() {
    for mode in [IsolationMode::Database, IsolationMode::Schema] {
        let fleet = Fleet::provisioned(mode).await;
        let place = fleet.store("borealis").database.clone();
        each(&fleet, "postgres", &place, &in_both()).await;
    }
}

#[tokio::test]
async fn each_variant_is_found_on_postgresql_18_too() {
    let Some(folder) = postgres_18("no variant was planted") else {
        return;
    };
    let server = || Postgres::private_of(&folder);
    let databases = Fleet::by_hand_on(server(), true).await;
    let schemas = Fleet::schemas_by_hand_on(server()).await;
    all_on(databases, schemas).await;
}
