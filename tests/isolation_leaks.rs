//! Clean fleets give no finding; one planted leak is found by the checks that should find it, with
//! the right tenants named, and by no other.

use std::collections::BTreeSet;

use lerianctl::contract::wire::IsolationMode;
use lerianctl::isolation::inventory::Inventory;
use lerianctl::isolation::model::{Finding, Verdict};
use lerianctl::isolation::report::{ControlState, Isolation};

use crate::isolation_fleet::{Fleet, refuted};

pub(crate) fn assert_clean(report: &Isolation) {
    assert_eq!(refuted(report), [""; 0]);
    assert_eq!(
        report.control.state,
        ControlState::Detected,
        "{:?}",
        report.control
    );
    assert!(report.control.planted > 30, "{:?}", report.control);
    let bad: Vec<_> = report
        .checks
        .iter()
        .filter(|check| matches!(check.verdict, Verdict::Error | Verdict::Unproven))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.verdict, Verdict::Holds, "{}", report.because);
}

#[tokio::test]
async fn clean_fleets_have_no_findings() {
    for mode in [IsolationMode::Database, IsolationMode::Schema] {
        let fleet = Fleet::provisioned(mode).await;
        let report = fleet.check().await;
        assert_clean(&report);
        assert!(report.coverage.exhaustive && report.coverage.probes > 6);
        assert_eq!(
            report.limits.iter().any(|l| l.check == "PG-120"),
            mode == IsolationMode::Schema
        );
    }
    assert_clean(&Fleet::by_hand(true).await.check().await);
    assert_clean(&Fleet::schemas_by_hand().await.check().await);
}

#[tokio::test]
async fn databases_of_a_hurried_operator_are_open_to_all() {
    let report = Fleet::by_hand(false).await.check().await;
    assert_eq!(report.verdict, Verdict::Refuted);
    for check in ["PG-001", "PG-002", "PG-201"] {
        for name in crate::isolation_fleet::NAMES {
            assert!(
                report
                    .findings
                    .iter()
                    .any(|f| f.check == check && f.to == [name]),
                "{check} {name}: {:#?}",
                refuted(&report)
            );
        }
    }
    // All six pairs are open, and nobody reaches itself.
    assert_eq!(report.matrix().len(), 6);
}

/// A leak: where it is planted, how, who reaches whom, and what has to find it.
pub(crate) struct Leak {
    pub(crate) plant: &'static str,
    pub(crate) undo: &'static str,
    /// In the tenants' database, and not in the maintenance database.
    pub(crate) inside: bool,
    /// Another database than those two.
    pub(crate) at: &'static str,
    pub(crate) found_by: &'static [&'static str],
    pub(crate) from: &'static [&'static str],
    pub(crate) to: &'static [&'static str],
    /// What the inventory says otherwise.
    pub(crate) change: fn(&mut Inventory),
}

/// What a leak is where it says nothing else.
pub(crate) const LEAK: Leak = Leak {
    plant: "SELECT 1",
    undo: "SELECT 1",
    inside: false,
    at: "",
    found_by: &[],
    from: &[],
    to: &[],
    change: |_| (),
};

/// Plants each leak, checks, takes it back, and at the end expects a clean fleet again.
pub(crate) async fn each(fleet: &Fleet, maintenance: &str, database: &str, leaks: &[Leak]) {
    let mut problems = Vec::new();
    for leak in leaks {
        let place = match (leak.at, leak.inside) {
            ("", true) => database,
            ("", false) => maintenance,
            (at, _) => at,
        };
        let session = fleet.session(place).await;
        for statement in leak.plant.split(";;") {
            session
                .batch_execute(&fleet.spelled(statement))
                .await
                .unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
        }
        session.close().await;
        let mut inventory = fleet.inventory.clone();
        (leak.change)(&mut inventory);
        let report = fleet.check_inventory(&inventory, |_| ()).await;
        fleet.assert_forms_agree(place, &inventory).await;
        let said = refuted(&report);
        let plant = leak.plant;
        let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
        let wanted: BTreeSet<&str> = leak.found_by.iter().copied().collect();
        if found != wanted {
            problems.push(format!("{plant}: wanted {wanted:?}: {said:#?}"));
        }
        let named = |finding: &Finding| {
            leak.from
                .iter()
                .all(|name| finding.from.iter().any(|f| f == name))
                && leak
                    .to
                    .iter()
                    .all(|name| finding.to.iter().any(|t| t == name))
        };
        for id in leak.found_by {
            if !report.findings.iter().any(|f| f.check == *id && named(f)) {
                problems.push(format!("{plant}: {id} names others: {said:#?}"));
            }
        }
        assert_eq!(report.control.state, ControlState::Detected);
        let session = fleet.session(place).await;
        for statement in leak.undo.split(";;") {
            session
                .batch_execute(&fleet.spelled(statement))
                .await
                .unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
        }
        session.close().await;
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert_clean(&fleet.check().await);
}

#[tokio::test]
async fn each_leak_between_databases_is_found_by_its_checks() {
    let fleet = Fleet::by_hand(true).await;
    each(&fleet, "postgres", "borealis", &between_databases()).await;
}

/// Leaks between tenants with databases of their own.
pub(crate) fn between_databases() -> Vec<Leak> {
    let aurora: &[&str] = &["aurora"];
    let borealis: &[&str] = &["borealis"];
    vec![
        Leak {
            plant: "GRANT TEMPORARY ON DATABASE borealis TO PUBLIC",
            undo: "REVOKE TEMPORARY ON DATABASE borealis FROM PUBLIC",
            inside: false,
            found_by: &["PG-001"],
            from: &["*"],
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT CONNECT ON DATABASE borealis TO PUBLIC",
            undo: "REVOKE CONNECT ON DATABASE borealis FROM PUBLIC",
            inside: false,
            found_by: &["PG-001", "PG-002", "PG-201"],
            from: &[],
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT CONNECT ON DATABASE borealis TO aurora_app",
            undo: "REVOKE CONNECT ON DATABASE borealis FROM aurora_app",
            inside: false,
            found_by: &["PG-002", "PG-007", "PG-201"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE bridge NOLOGIN;;GRANT CONNECT ON DATABASE borealis TO bridge;;GRANT bridge TO aurora_app",
            undo: "DROP OWNED BY bridge;;DROP ROLE bridge",
            inside: false,
            found_by: &["PG-002", "PG-201"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT borealis_app TO aurora_app",
            undo: "REVOKE borealis_app FROM aurora_app",
            inside: false,
            found_by: &["PG-002", "PG-004", "PG-201", "PG-202"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app CREATEDB",
            undo: "ALTER ROLE aurora_app NOCREATEDB",
            inside: false,
            found_by: &["PG-003"],
            from: aurora,
            to: aurora,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app REPLICATION",
            undo: "ALTER ROLE aurora_app NOREPLICATION",
            inside: false,
            found_by: &["PG-003", "PG-213"],
            from: aurora,
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "GRANT pg_read_all_data TO aurora_app",
            undo: "REVOKE pg_read_all_data FROM aurora_app",
            inside: false,
            found_by: &["PG-004"],
            from: aurora,
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "CREATE ROLE app LOGIN;;GRANT aurora_app, borealis_app TO app",
            undo: "DROP ROLE app",
            inside: false,
            found_by: &["PG-005"],
            from: &[],
            to: &["aurora", "borealis"],
            ..LEAK
        },
        Leak {
            plant: "ALTER DATABASE borealis OWNER TO aurora_app",
            undo: "ALTER DATABASE borealis OWNER TO CURRENT_USER;;GRANT ALL ON DATABASE borealis TO borealis_app;;REVOKE ALL ON DATABASE borealis FROM aurora_app",
            inside: false,
            found_by: &["PG-002", "PG-008", "PG-201"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "ALTER DATABASE borealis IS_TEMPLATE true",
            undo: "ALTER DATABASE borealis IS_TEMPLATE false",
            inside: false,
            found_by: &["PG-011"],
            from: &[],
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app SET session_replication_role = replica",
            undo: "ALTER ROLE aurora_app RESET session_replication_role",
            inside: false,
            found_by: &["PG-013"],
            from: aurora,
            to: aurora,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app CONNECTION LIMIT -1",
            undo: "ALTER ROLE aurora_app CONNECTION LIMIT 20",
            inside: false,
            found_by: &["PG-016"],
            from: aurora,
            to: aurora,
            ..LEAK
        },
        Leak {
            plant: "GRANT CREATE ON TABLESPACE pg_default TO aurora_app",
            undo: "REVOKE CREATE ON TABLESPACE pg_default FROM aurora_app",
            inside: false,
            found_by: &["PG-021"],
            from: aurora,
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "GRANT SET ON PARAMETER session_replication_role TO aurora_app",
            undo: "REVOKE SET ON PARAMETER session_replication_role FROM aurora_app",
            inside: false,
            found_by: &["PG-022"],
            from: aurora,
            to: aurora,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE t (id int);;GRANT SELECT ON t TO aurora_app",
            undo: "DROP TABLE t",
            inside: true,
            found_by: &["PG-007"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            undo: "DROP FUNCTION f()",
            inside: true,
            found_by: &["PG-105"],
            from: &["*"],
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "CREATE FOREIGN DATA WRAPPER w;;CREATE SERVER s FOREIGN DATA WRAPPER w;;CREATE USER MAPPING FOR PUBLIC SERVER s",
            undo: "DROP FOREIGN DATA WRAPPER w CASCADE",
            inside: true,
            found_by: &["PG-113"],
            from: &["*"],
            to: &["*"],
            ..LEAK
        },
    ]
}

#[tokio::test]
async fn each_leak_between_schemas_is_found_by_its_checks() {
    let fleet = Fleet::schemas_by_hand().await;
    each(&fleet, "postgres", "shared", &between_schemas()).await;
}

/// Leaks between tenants with schemas in one database.
pub(crate) fn between_schemas() -> Vec<Leak> {
    let aurora: &[&str] = &["aurora"];
    let borealis: &[&str] = &["borealis"];
    vec![
        Leak {
            plant: "GRANT USAGE ON SCHEMA borealis TO aurora_app",
            undo: "REVOKE USAGE ON SCHEMA borealis FROM aurora_app",
            inside: true,
            found_by: &["PG-101", "PG-203"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT ALL ON SCHEMA borealis TO PUBLIC",
            undo: "REVOKE ALL ON SCHEMA borealis FROM PUBLIC",
            inside: true,
            found_by: &["PG-101", "PG-108", "PG-203", "PG-204"],
            from: &[],
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT CREATE ON SCHEMA public TO PUBLIC",
            undo: "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            inside: true,
            found_by: &["PG-101"],
            from: &["*"],
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "GRANT SELECT ON borealis.account TO aurora_app",
            undo: "REVOKE SELECT ON borealis.account FROM aurora_app",
            inside: true,
            found_by: &["PG-102"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT SELECT (id) ON borealis.account TO aurora_app",
            undo: "REVOKE SELECT (id) ON borealis.account FROM aurora_app",
            inside: true,
            found_by: &["PG-102"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "CREATE VIEW aurora.v AS SELECT id FROM borealis.account;;ALTER VIEW aurora.v OWNER TO aurora_app",
            undo: "DROP VIEW aurora.v",
            inside: true,
            found_by: &["PG-103"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "SET ROLE aurora_app;;CREATE FUNCTION aurora.f() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM borealis.account; END';;RESET ROLE",
            undo: "DROP FUNCTION aurora.f()",
            inside: true,
            found_by: &["PG-104"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app GRANT SELECT ON TABLES TO aurora_app",
            undo: "ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app REVOKE SELECT ON TABLES FROM aurora_app",
            inside: true,
            found_by: &["PG-107"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "ALTER ROLE aurora_app IN DATABASE shared SET search_path = borealis, aurora",
            undo: "ALTER ROLE aurora_app IN DATABASE shared RESET search_path",
            inside: false,
            found_by: &["PG-013", "PG-108"],
            from: aurora,
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "GRANT CREATE ON DATABASE shared TO aurora_app",
            undo: "REVOKE CREATE ON DATABASE shared FROM aurora_app",
            inside: false,
            found_by: &["PG-109"],
            from: aurora,
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE borealis.by_hand (id int)",
            undo: "DROP TABLE borealis.by_hand",
            inside: true,
            found_by: &["PG-110"],
            from: &[],
            to: borealis,
            ..LEAK
        },
        Leak {
            plant: "CREATE TABLE public.hybrid (tenant_id text);;GRANT SELECT ON public.hybrid TO aurora_app",
            undo: "DROP TABLE public.hybrid",
            inside: true,
            found_by: &["PG-111"],
            from: &["*"],
            to: &["*"],
            ..LEAK
        },
        Leak {
            plant: "CREATE PUBLICATION p FOR TABLE aurora.account, borealis.account",
            undo: "DROP PUBLICATION p",
            inside: true,
            found_by: &["PG-117"],
            from: &[],
            to: &["aurora", "borealis"],
            ..LEAK
        },
    ]
}

#[tokio::test]
async fn what_is_handed_out_twice_is_found_without_a_connection() {
    let fleet = Fleet::by_hand(true).await;
    let mut inventory = fleet.inventory.clone();
    inventory.stores[1]
        .database
        .clone_from(&fleet.store("aurora").database);
    inventory.stores[1]
        .password
        .clone_from(&fleet.store("aurora").password);
    inventory.stores[2].environment = "production".into();
    let found: BTreeSet<String> = lerianctl::isolation::config::check(&inventory)
        .into_iter()
        .map(|finding| finding.check)
        .collect();
    let wanted = ["CF-01", "CF-02", "CF-09"].map(ToOwned::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
}
