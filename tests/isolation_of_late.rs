//! Rights and memberships that PostgreSQL has since 15 to 18, on fleets made by hand and on ours.

use lerianctl::contract::wire::IsolationMode;

use crate::isolation_fleet::Fleet;
use crate::isolation_leaks::{LEAK, Leak, assert_clean, each};
use crate::isolation_variants::in_both;
use crate::support::{Postgres, postgres_18};

const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const ALL: &[&str] = &["*"];

/// Rights that PostgreSQL has since 15 to 18, and memberships that convey nothing or only by way of
/// their administration; the same on every fleet.
fn of_late() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT pg_maintain TO aurora_app",
            undo: "REVOKE pg_maintain FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_create_subscription TO aurora_app",
            undo: "REVOKE pg_create_subscription FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_use_reserved_connections TO aurora_app",
            undo: "REVOKE pg_use_reserved_connections FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_signal_autovacuum_worker TO aurora_app",
            undo: "REVOKE pg_signal_autovacuum_worker FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_checkpoint TO aurora_app",
            undo: "REVOKE pg_checkpoint FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_read_all_data TO aurora_app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            undo: "REVOKE pg_read_all_data FROM aurora_app",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT pg_read_all_data TO bridge;;GRANT bridge TO aurora_app WITH INHERIT FALSE, SET FALSE",
            undo: "DROP ROLE bridge",
            found_by: &[],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT pg_write_server_files TO bridge;;GRANT bridge TO aurora_app WITH INHERIT TRUE, SET FALSE",
            undo: "DROP ROLE bridge",
            found_by: &["PG-004"],
            from: AURORA,
            to: ALL,
            ..LEAK
        },
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH INHERIT FALSE, SET FALSE",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &[],
            ..LEAK
        },
    ]
}

/// Memberships of which only a part is conveyed, with databases.
fn in_databases_of_late() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH INHERIT TRUE, SET FALSE",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &["PG-002", "PG-004", "PG-201"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH INHERIT FALSE, SET TRUE",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &["PG-002", "PG-004", "PG-202"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "GRANT borealis_app TO aurora_app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            undo: "REVOKE borealis_app FROM aurora_app",
            found_by: &["PG-002", "PG-004"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
    ]
}

/// With schemas.
fn in_schemas_of_late() -> Vec<Leak> {
    vec![
        Leak {
            plant: "GRANT MAINTAIN ON borealis.account TO aurora_app",
            undo: "REVOKE MAINTAIN ON borealis.account FROM aurora_app",
            inside: true,
            found_by: &["PG-102"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
        Leak {
            plant: "ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app IN SCHEMA borealis GRANT MAINTAIN ON TABLES TO aurora_app",
            undo: "ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app IN SCHEMA borealis REVOKE MAINTAIN ON TABLES FROM aurora_app",
            inside: true,
            found_by: &["PG-107"],
            from: AURORA,
            to: BOREALIS,
            ..LEAK
        },
    ]
}

#[tokio::test]
async fn each_right_of_late_is_found_on_postgresql_18() {
    let Some(folder) = postgres_18("no right of late was planted") else {
        return;
    };
    let server = || Postgres::private_of(&folder);
    let databases = Fleet::by_hand_on(server(), true).await;
    each(&databases, "postgres", "borealis", &of_late()).await;
    each(&databases, "postgres", "borealis", &in_databases_of_late()).await;
    drop(databases);
    let schemas = Fleet::schemas_by_hand_on(server()).await;
    each(&schemas, "postgres", "shared", &of_late()).await;
    each(&schemas, "postgres", "shared", &in_schemas_of_late()).await;
}

#[tokio::test]
async fn each_variant_is_found_among_tenants_of_our_own_on_postgresql_18() {
    let Some(folder) = postgres_18("no variant was planted among our own tenants") else {
        return;
    };
    for mode in [IsolationMode::Database, IsolationMode::Schema] {
        let fleet = Fleet::provisioned_on(Postgres::private_of(&folder), mode).await;
        assert_clean(&fleet.check().await);
        let place = fleet.store("borealis").database.clone();
        each(&fleet, "postgres", &place, &in_both()).await;
        each(&fleet, "postgres", &place, &of_late()).await;
    }
}
