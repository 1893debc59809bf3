//! Logins and places that are not what they are called: passwords of the past, passwords in files,
//! another's canary, one server under two names.

use lerianctl::isolation::inventory::Retired;
use lerianctl::isolation::model::Verdict;

use crate::isolation_fleet::{Fleet, refuted};
use crate::isolation_leaks::assert_clean;
use crate::isolation_more_leaks::{found, retire, second};

const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const BOTH: &[&str] = &["aurora", "borealis"];

#[tokio::test]
async fn a_password_that_was_rotated_out_is_found() {
    let fleet = Fleet::by_hand(true).await;
    let admin = fleet.session("postgres").await;
    let mut inventory = retire(&fleet, &admin).await;
    let old = Retired {
        login: "retired".into(),
        password: String::from("x").into(),
    };
    inventory.retired = vec![(inventory.stores[1].clone(), old)];
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert_eq!(found(&report), ["PG-208"], "{:#?}", refuted(&report));
    assert_eq!(report.findings[0].to, BOREALIS);
    for closed in [
        "ALTER ROLE retired PASSWORD 'y'",
        "ALTER ROLE retired NOLOGIN",
    ] {
        admin.batch_execute(closed).await.unwrap();
        let report = fleet.check_inventory(&inventory, |_| ()).await;
        assert_eq!(found(&report), [""; 0], "{:#?}", refuted(&report));
        let mut checks = report.checks.iter();
        let check = checks.find(|check| check.check == "PG-208").unwrap();
        assert_eq!(check.verdict, Verdict::Holds, "{check:?}");
    }
    admin.close().await;
}

/// One server under two names: the tenants of both are neighbours all the same.
#[tokio::test]
async fn tenants_of_one_server_are_neighbours_whatever_it_is_called() {
    let fleet = Fleet::by_hand(true).await;
    let mut inventory = fleet.inventory.clone();
    second(&mut inventory, |store| store.host = "localhost".into());
    assert_clean(&fleet.check_inventory(&inventory, |_| ()).await);
    let admin = fleet.session("postgres").await;
    let leak = "GRANT CONNECT ON DATABASE borealis TO aurora_app";
    admin.batch_execute(leak).await.unwrap();
    admin.close().await;
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert_eq!(
        found(&report),
        ["PG-002", "PG-007", "PG-201"],
        "{:#?}",
        refuted(&report)
    );
    // A spelling of the number that only asking the server sees through.
    let admin = fleet.session("postgres").await;
    let leak = "GRANT CONNECT ON DATABASE aurora TO borealis_app";
    admin.batch_execute(leak).await.unwrap();
    admin.close().await;
    inventory.stores[1].host = "127.1".into();
    inventory.stores[1]
        .database
        .clone_from(&fleet.inventory.stores[0].database);
    let report = fleet.check_inventory(&inventory, |_| ()).await;
    assert!(found(&report).contains(&"CF-01"), "{:#?}", refuted(&report));
}

#[tokio::test]
async fn a_canary_of_another_is_found() {
    for fleet in [Fleet::by_hand(true).await, Fleet::schemas_by_hand().await] {
        for store in &fleet.inventory.stores {
            let schema = store.schema.as_deref().unwrap_or("public");
            let admin = fleet.session(&store.database).await;
            admin
                .batch_execute(&format!(
                    "CREATE TABLE {schema}.lerian_canary (tenant text, nonce text);
                     INSERT INTO {schema}.lerian_canary VALUES ('{0}', md5('{0}'));
                     ALTER TABLE {schema}.lerian_canary OWNER TO {1}",
                    store.tenant, store.login
                ))
                .await
                .unwrap();
            admin.close().await;
        }
        assert_clean(&fleet.check().await);
        let store = fleet.store("borealis");
        let schema = store.schema.as_deref().unwrap_or("public");
        let admin = fleet.session(&store.database).await;
        for (change, to) in [
            ("tenant = 'aurora'", AURORA),
            ("tenant = 'borealis', nonce = md5('aurora')", BOTH),
        ] {
            let change = format!("UPDATE {schema}.lerian_canary SET {change}");
            admin.batch_execute(&change).await.unwrap();
            let report = fleet.check().await;
            assert_eq!(found(&report), ["PG-206"], "{:#?}", refuted(&report));
            assert_eq!(report.findings[0].to, to, "{:#?}", refuted(&report));
        }
        let none = format!("DELETE FROM {schema}.lerian_canary");
        admin.batch_execute(&none).await.unwrap();
        assert_eq!(found(&fleet.check().await), ["PG-206"]);
        admin.close().await;
    }
}

#[tokio::test]
async fn a_password_in_a_file_of_our_own_is_found() {
    let fleet = Fleet::by_hand(true).await;
    let folder = tempfile::tempdir().unwrap();
    let password = fleet.store("borealis").password.clone().unwrap();
    let file = folder.path().join("report.json");
    for (text, wanted) in [
        (password.expose(), &["CF-22"][..]),
        ("nothing of interest", &[]),
    ] {
        std::fs::write(&file, format!("{{\"password\":\"{text}\"}}")).unwrap();
        let report = fleet
            .check_with(|settings| settings.files.0.push(folder.path().to_owned()))
            .await;
        assert_eq!(found(&report), wanted, "{:#?}", refuted(&report));
        let said = serde_json::to_string(&report).unwrap();
        assert!(!said.contains(password.expose()));
    }
}
