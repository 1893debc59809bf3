//! Canaries: made, tried, found out when they are another's, and removed again.

use lerianctl::isolation::canary::{Action, Place, Wish, apply, places, plan};
use lerianctl::isolation::inventory::{Inventory, Store};
use lerianctl::isolation::model::Verdict;
use lerianctl::isolation::report::Isolation;
use lerianctl::link::postgres::{Gate, PostgresEndpoint};

use crate::isolation_command::room;
use crate::isolation_fleet::{Fleet, NAMES, refuted, store_of};
use crate::isolation_leaks::assert_clean;
use crate::isolation_more_leaks::found;
use crate::provision_fixture::{Bench, MODES, refusal};
use crate::support::{Postgres, cluster, postgres_18};

/// Plans and does it; with `operator`, by that login.
async fn go(inventory: &Inventory, wish: Wish, operator: Option<&PostgresEndpoint>) -> Vec<Place> {
    let gate = Gate::new(4);
    let login = |_: &Store| operator.cloned();
    let stores = places(&inventory.stores);
    let planned = plan(&stores, wish, &login, &gate, &|_, _| ()).await;
    apply(&stores, planned, wish, &login, &gate, &|_, _| ()).await
}

fn all(places: &[Place], action: Action) {
    assert_eq!(places.len(), NAMES.len());
    for place in places {
        assert_eq!(place.action, action, "{place:?}");
        assert_eq!((place.error.as_str(), place.reason.as_str()), ("", ""));
    }
}

fn verdict(report: &Isolation) -> Verdict {
    let mut checks = report.checks.iter();
    checks
        .find(|check| check.check == "PG-206")
        .unwrap()
        .verdict
}

fn schema(store: &Store) -> &str {
    store.schema.as_deref().unwrap_or("public")
}

/// What a canary is for, in one fleet.
async fn story(fleet: &Fleet, operator: bool) {
    let operator = operator.then_some(&fleet.admin);
    assert_eq!(verdict(&fleet.check().await), Verdict::Skipped);
    all(
        &go(&fleet.inventory, Wish::Make, operator).await,
        Action::Make,
    );
    let report = fleet.check().await;
    assert_clean(&report);
    assert_eq!(verdict(&report), Verdict::Holds);
    all(
        &go(&fleet.inventory, Wish::Make, operator).await,
        Action::Keep,
    );
    // It is the tenant's own, which may read it and nothing else.
    for store in &fleet.inventory.stores {
        let table = format!("{}.lerian_canary", schema(store));
        let session = store.endpoint().unwrap().connect().await.unwrap();
        let query = format!(
            "SELECT pg_has_role(relowner, 'MEMBER'), (SELECT tenant FROM {table}), \
             (SELECT length(nonce) FROM {table}) FROM pg_class WHERE oid = '{table}'::regclass"
        );
        let row = session.query_one(&query, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{table} is another's");
        assert_eq!(row.get::<_, String>(1), store.tenant_id);
        assert_eq!(row.get::<_, i32>(2), 36);
        for change in ["DELETE FROM", "TRUNCATE", "INSERT INTO"] {
            let values = if change == "INSERT INTO" {
                "VALUES ('x', 'x')"
            } else {
                ""
            };
            let answer = refusal(&session, &format!("{change} {table} {values}")).await;
            assert_eq!(answer, "42501", "{change}");
        }
        session.close().await;
    }
    // A copy of another's data, and data under the wrong name.
    let (aurora, borealis) = (fleet.store("aurora"), fleet.store("borealis"));
    let from = fleet.session(&aurora.database).await;
    let query = format!("SELECT tenant, nonce FROM {}.lerian_canary", schema(aurora));
    let row = from.query_one(&query, &[]).await.unwrap();
    from.close().await;
    let (tenant, nonce): (String, String) = (row.get(0), row.get(1));
    let to = fleet.session(&borealis.database).await;
    let table = format!("{}.lerian_canary", schema(borealis));
    for (change, wanted) in [
        (format!("nonce = '{nonce}'"), vec!["aurora", "borealis"]),
        (
            format!("tenant = '{tenant}', nonce = 'x'"),
            vec![tenant.as_str()],
        ),
    ] {
        let change = format!("UPDATE {table} SET {change}");
        to.batch_execute(&change).await.unwrap();
        let report = fleet.check().await;
        assert_eq!(found(&report), ["PG-206"], "{:#?}", refuted(&report));
        assert_eq!(report.findings[0].to, wanted, "{:#?}", refuted(&report));
    }
    // It is not made good in silence.
    let after = go(&fleet.inventory, Wish::Make, operator).await;
    assert!(after[1].error.contains("that of"), "{after:?}");
    to.close().await;
    all(
        &go(&fleet.inventory, Wish::Remove, operator).await,
        Action::Remove,
    );
    all(
        &go(&fleet.inventory, Wish::Remove, operator).await,
        Action::Keep,
    );
    let report = fleet.check().await;
    assert_clean(&report);
    assert_eq!(verdict(&report), Verdict::Skipped);
}

#[tokio::test]
async fn canaries_of_provisioned_tenants_hold_and_tell() {
    for mode in MODES {
        let fleet = Fleet::provisioned(mode).await;
        for operator in [false, true] {
            story(&fleet, operator).await;
        }
    }
}

#[tokio::test]
async fn canaries_of_tenants_made_by_hand_hold_and_tell() {
    story(&Fleet::by_hand(true).await, true).await;
    let fleet = Fleet::schemas_by_hand().await;
    for operator in [false, true] {
        story(&fleet, operator).await;
    }
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_and_defaults_let_nobody_in() {
    let fleet = Fleet::schemas_by_hand().await;
    let admin = fleet.session("shared").await;
    admin
        .batch_execute(
            "CREATE TABLE aurora.lerian_canary (tenant text, nonce text);
             CREATE VIEW borealis.lerian_canary AS SELECT 1;
             ALTER DEFAULT PRIVILEGES FOR ROLE celeste_app GRANT ALL ON TABLES TO aurora_app, PUBLIC;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO aurora_app, PUBLIC",
        )
        .await
        .unwrap();
    for operator in [None, Some(&fleet.admin)] {
        for (wish, action) in [(Wish::Make, Action::Make), (Wish::Remove, Action::Remove)] {
            let places = go(&fleet.inventory, wish, operator).await;
            let actions: Vec<_> = places.iter().map(|place| place.action).collect();
            assert_eq!(
                actions,
                [Action::Leave, Action::Leave, action],
                "{places:#?}"
            );
            assert!(places[0].reason.contains("no mark"), "{places:#?}");
            assert!(places[2].error.is_empty(), "{places:#?}");
            if wish == Wish::Make {
                let acl = "SELECT relacl::text FROM pg_class \
                           WHERE oid = 'celeste.lerian_canary'::regclass";
                let acl: String = admin.query_one(acl, &[]).await.unwrap().get(0);
                assert_eq!(acl, "{celeste_app=r/celeste_app}");
            }
        }
    }
    // A mark of another is a finding, not a thing to be tidied up.
    marked_otherwise(&fleet, &admin).await;
    admin.close().await;
}

async fn marked_otherwise(fleet: &Fleet, admin: &lerianctl::link::postgres::Session) {
    admin
        .batch_execute("DROP TABLE aurora.lerian_canary; DROP VIEW borealis.lerian_canary")
        .await
        .unwrap();
    all(&go(&fleet.inventory, Wish::Make, None).await, Action::Make);
    let mark = "COMMENT ON TABLE aurora.lerian_canary IS \
                'lerianctl/1 kind=tenant tenant=borealis service=ledger module=onboarding'";
    admin.batch_execute(mark).await.unwrap();
    for wish in [Wish::Make, Wish::Remove] {
        let places = go(&fleet.inventory, wish, Some(&fleet.admin)).await;
        assert_eq!(places[0].action, Action::Leave);
        assert!(places[0].reason.contains("`borealis`"), "{places:#?}");
    }
    // Two tenants in one place: whose the canary would be, nobody can say.
    let mut inventory = fleet.inventory.clone();
    inventory.stores[1].schema = Some("celeste".into());
    let places = go(&inventory, Wish::Make, None).await;
    assert!(
        places[1].reason.contains("borealis, celeste"),
        "{places:#?}"
    );
    // Where the login may not create, the right that is missing is named, and nothing is tried.
    let fleet = Fleet::by_hand(true).await;
    let places = go(&fleet.inventory, Wish::Make, None).await;
    let missing = "GRANT CREATE ON SCHEMA \"public\" TO \"aurora_app\"; in database \"aurora\"";
    assert!(places[0].reason.contains(missing), "{places:#?}");
    assert_eq!(places[0].action, Action::Leave);
}

/// Memberships and tables, to be compared.
async fn state(fleet: &Fleet, database: &str) -> String {
    let session = fleet.session(database).await;
    let query = "SELECT coalesce((SELECT string_agg(to_jsonb(m)::text, ' ' ORDER BY to_jsonb(m)::text)
                   FROM pg_auth_members m), '') || ' ' || (SELECT count(*) FROM pg_class WHERE relname = 'lerian_canary')";
    let state = session.query_one(query, &[]).await.unwrap().get(0);
    session.close().await;
    state
}

/// An operator's login that is no superuser: it works with the rights that suffice, names what is
/// missing, and leaves nothing behind.
async fn limited(fleet: &Fleet, late: bool) {
    let admin = fleet.session("postgres").await;
    let make = "CREATE ROLE operator LOGIN PASSWORD 'only for this test'";
    admin.batch_execute(make).await.unwrap();
    let operator = PostgresEndpoint {
        user: "operator".into(),
        password: Some(lerianctl::secret::Secret::new("only for this test")),
        ..fleet.admin.clone()
    };
    let place = fleet.store("aurora").database.clone();
    let before = state(fleet, &place).await;
    let left = async |wanted: &str| {
        let places = go(&fleet.inventory, Wish::Make, Some(&operator)).await;
        for place in &places {
            assert_eq!(place.action, Action::Leave, "{place:?}");
            assert!(place.reason.contains(wanted), "{wanted}: {place:?}");
            assert!(place.statements.is_empty() && place.error.is_empty());
        }
        let fix = |place: &Place| {
            let at = place.reason.find("GRANT ").unwrap();
            place.reason[at..].split(';').next().unwrap().to_owned()
        };
        places.iter().map(fix).collect::<Vec<String>>()
    };
    // What it names is what it takes, one after the other.
    for missing in left("GRANT CONNECT ON DATABASE").await {
        admin.batch_execute(&missing).await.unwrap();
    }
    let missing = left("may not act for").await;
    assert_eq!(state(fleet, &place).await, before);
    for missing in &missing {
        admin.batch_execute(missing).await.unwrap();
    }
    let joined = state(fleet, &place).await;
    works(fleet, &operator).await;
    assert_eq!(state(fleet, &place).await, joined);
    for missing in missing {
        let back = missing
            .replace("GRANT ", "REVOKE ")
            .replace(" TO ", " FROM ");
        let back = back.split(" WITH ").next().unwrap();
        admin.batch_execute(back).await.unwrap();
    }
    // Who may give a role away, or make roles before 16, joins it for the time of the transaction.
    if late {
        let owners = "SELECT string_agg(DISTINCT format('%I', rolname), ', ') FROM pg_roles
                      WHERE rolname ~ '(aurora|borealis|celeste)'";
        let owners: String = admin.query_one(owners, &[]).await.unwrap().get(0);
        for given in ["INHERIT FALSE, SET FALSE", "INHERIT TRUE, SET FALSE"] {
            let give = format!("GRANT {owners} TO operator WITH ADMIN TRUE, {given}");
            admin.batch_execute(&give).await.unwrap();
            let joined = state(fleet, &place).await;
            works(fleet, &operator).await;
            assert_eq!(state(fleet, &place).await, joined);
        }
        // It has given itself one already.
        let give = format!(
            "SET ROLE operator; GRANT {owners} TO operator WITH INHERIT TRUE, SET FALSE; RESET ROLE"
        );
        admin.batch_execute(&give).await.unwrap();
    } else {
        admin
            .batch_execute("ALTER ROLE operator CREATEROLE")
            .await
            .unwrap();
    }
    let joined = state(fleet, &place).await;
    works(fleet, &operator).await;
    assert_eq!(state(fleet, &place).await, joined);
    admin.close().await;
}

/// Makes and removes, with every tenant's login finding its own in between.
async fn works(fleet: &Fleet, operator: &PostgresEndpoint) {
    for (wish, actions) in [
        (Wish::Make, [Action::Make, Action::Keep]),
        (Wish::Remove, [Action::Remove, Action::Keep]),
    ] {
        for action in actions {
            all(&go(&fleet.inventory, wish, Some(operator)).await, action);
        }
        if wish == Wish::Make {
            let report = fleet.check().await;
            assert_eq!(verdict(&report), Verdict::Holds, "{:#?}", refuted(&report));
        }
    }
}

#[tokio::test]
async fn an_operator_that_is_no_superuser_makes_canaries_or_says_what_it_lacks() {
    for mode in MODES {
        limited(&Fleet::provisioned(mode).await, false).await;
    }
    limited(&Fleet::schemas_by_hand().await, false).await;
}

#[tokio::test]
async fn an_operator_that_is_no_superuser_makes_canaries_on_postgresql_18() {
    let Some(folder) = postgres_18("no operator made canaries") else {
        return;
    };
    for mode in MODES {
        let server = Postgres::private_of(&folder);
        limited(&Fleet::provisioned_on(server, mode).await, true).await;
    }
    limited(
        &Fleet::schemas_by_hand_on(Postgres::private_of(&folder)).await,
        true,
    )
    .await;
}

/// The other login of a rotation reads it, and a purge takes it along.
#[tokio::test]
async fn a_canary_outlives_a_rotation_and_goes_with_its_tenant() {
    let server = Postgres::private();
    let bench = Bench::on(cluster("main", &server));
    for mode in MODES {
        let tenant = bench.tenant(mode, "aurora").await;
        let fleet = Inventory {
            stores: vec![store_of(&bench, &tenant)],
            ..Inventory::default()
        };
        let made = go(&fleet, Wish::Make, Some(&bench.cluster.admin)).await;
        assert_eq!((made[0].action, made[0].error.as_str()), (Action::Make, ""));
        bench
            .run(&tenant, lerianctl::provision::Step::OpenLogin { slot: 1 })
            .await
            .unwrap();
        let session = bench.session(&tenant, 1).await;
        let read = format!("SELECT FROM {}.lerian_canary", tenant.schema());
        assert_eq!(refusal(&session, &read).await, "allowed");
        session.close().await;
        bench.remove(&tenant).await;
        assert_eq!(bench.remains(&tenant.spec).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_command_asks_before_it_makes_and_removes() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let canary = |more: &[&str]| {
        let fixed = [
            "isolation",
            "canary",
            "--inventory",
            "tenants.toml",
            "--postgres-url-file",
            "admin.url",
        ];
        room.run([&fixed[..], more].concat())
    };
    let dry = canary(&["--dry-run"]).success();
    assert!(dry.stdout.starts_with("Canaries: 3 to be made\n"), "{dry}");
    assert!(dry.stdout.contains("OWNER TO \"aurora_app\";"), "{dry}");
    let hash = dry.stdout.lines().last().unwrap().replace("plan ", "");
    let refused = canary(&[]).exits(10);
    assert!(refused.stderr.contains("consent.needed"), "{refused}");
    let one = canary(&["--tenant", "celeste", "--yes"]).success();
    assert!(one.stdout.starts_with("Canaries: 1 made\n"), "{one}");
    let changed = canary(&["--yes", "--expect-plan", &hash]).exits(6);
    assert!(changed.stderr.contains("plan.changed"), "{changed}");
    let rest = canary(&["--yes", "-o", "json"]).success().json();
    let actions = rest["places"].as_array().unwrap().iter();
    let actions: Vec<_> = actions.map(|place| place["action"].clone()).collect();
    assert_eq!(actions, ["make", "make", "keep"]);
    // Nothing to do needs no consent.
    let again = canary(&[]).success();
    assert!(
        again.stdout.starts_with("Canaries: 3 as they should be\n"),
        "{again}"
    );
    assert_eq!(verdict(&fleet.check().await), Verdict::Holds);
    let nobody = canary(&["--tenant", "nobody", "--dry-run"]).exits(5);
    assert!(nobody.stderr.contains("isolation.nothing"), "{nobody}");
    let gone = canary(&["--remove", "--yes"]).success();
    assert!(gone.stdout.starts_with("Canaries: 3 removed\n"), "{gone}");
    let session = fleet.session("aurora").await;
    session
        .batch_execute("CREATE TABLE public.lerian_canary ()")
        .await
        .unwrap();
    session.close().await;
    let foreign = canary(&["--remove"]).exits(3);
    assert!(
        foreign.stdout.contains("has no mark of lerianctl"),
        "{foreign}"
    );
}
