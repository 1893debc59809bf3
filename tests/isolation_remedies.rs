//! What `isolation fix` does and what its script does really mends what was found, whoever granted
//! it, and takes nothing from those whose it is.

use lerianctl::contract::wire::IsolationMode;
use lerianctl::isolation::model::Verdict;
use lerianctl::isolation::remedy;
use lerianctl::isolation::report::Isolation;

use crate::isolation_command::{CHECK, room};
use crate::isolation_fleet::{Fleet, refuted};
use crate::isolation_leaks::assert_clean;
use crate::support::{Postgres, Sandbox, postgres_18};

/// What somebody granted, and what has to find it.
struct Gift {
    /// Done by the administrator, statement by statement.
    given: &'static str,
    /// Where: in the tenants' database, or in the maintenance database.
    inside: bool,
    /// At least these find it.
    found_by: &'static [&'static str],
}

const fn gift(given: &'static str, found_by: &'static [&'static str]) -> Gift {
    Gift {
        given,
        inside: false,
        found_by,
    }
}

const fn inside(given: &'static str, found_by: &'static [&'static str]) -> Gift {
    Gift {
        given,
        inside: true,
        found_by,
    }
}

/// Memberships, on every version.
const MEMBERSHIPS: &[Gift] = &[
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;SET ROLE broker;;GRANT borealis_app TO aurora_app;;RESET ROLE",
        &["PG-004", "PG-202"],
    ),
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;SET ROLE broker;;GRANT borealis_app TO aurora_app;;RESET ROLE;;\
         GRANT borealis_app TO aurora_app",
        &["PG-004", "PG-202"],
    ),
    // By way of a group, and through the other tenant's login to what that one is a member of.
    gift(
        "GRANT borealis_app TO ops;;GRANT ops TO aurora_app",
        &["PG-004", "PG-202"],
    ),
    gift(
        "GRANT pg_read_all_data TO broker WITH ADMIN OPTION;;SET ROLE broker;;GRANT pg_read_all_data TO ops;;RESET ROLE;;\
         GRANT ops TO aurora_app",
        &["PG-004"],
    ),
    // A login that is nobody's keeps what leads to no tenant.
    gift(
        "GRANT borealis_app, aurora_app TO broker WITH ADMIN OPTION;;SET ROLE broker;;\
         GRANT borealis_app, aurora_app TO stranger;;RESET ROLE;;GRANT ops TO stranger",
        &["PG-005"],
    ),
];

/// Memberships since PostgreSQL 16: in parts, several times over, and passed on.
const MEMBERSHIPS_OF_LATE: &[Gift] = &[
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;\
         GRANT borealis_app TO aurora_app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE GRANTED BY broker",
        &["PG-004"],
    ),
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;\
         GRANT borealis_app TO aurora_app WITH INHERIT FALSE, SET TRUE GRANTED BY broker",
        &["PG-004", "PG-202"],
    ),
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;\
         GRANT borealis_app TO aurora_app WITH INHERIT TRUE, SET FALSE GRANTED BY broker",
        &["PG-004"],
    ),
    // Three times, once by itself.
    gift(
        "GRANT borealis_app TO broker WITH ADMIN OPTION;;\
         GRANT borealis_app TO aurora_app WITH INHERIT TRUE GRANTED BY broker;;\
         GRANT borealis_app TO aurora_app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;;\
         SET ROLE aurora_app;;GRANT borealis_app TO aurora_app WITH SET TRUE;;RESET ROLE",
        &["PG-004", "PG-202"],
    ),
    // Passed on twice.
    gift(
        "GRANT borealis_app TO aurora_app WITH ADMIN OPTION;;SET ROLE aurora_app;;\
         GRANT borealis_app TO celeste_app WITH ADMIN OPTION;;SET ROLE celeste_app;;GRANT borealis_app TO ops;;RESET ROLE;;\
         GRANT ops TO aurora_app",
        &["PG-004", "PG-202"],
    ),
];

/// Rights on databases.
const DATABASES: &[Gift] = &[
    gift(
        "GRANT CONNECT ON DATABASE borealis TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT CONNECT ON DATABASE borealis TO aurora_app;;RESET ROLE",
        &["PG-002", "PG-007", "PG-201"],
    ),
    gift(
        "GRANT CONNECT ON DATABASE borealis TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT CONNECT ON DATABASE borealis TO aurora_app;;RESET ROLE;;GRANT CONNECT ON DATABASE borealis TO aurora_app",
        &["PG-002", "PG-007", "PG-201"],
    ),
    gift(
        "GRANT CONNECT, TEMPORARY ON DATABASE borealis TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT CONNECT, TEMPORARY ON DATABASE borealis TO PUBLIC;;RESET ROLE",
        &["PG-001", "PG-002", "PG-201"],
    ),
    gift(
        "GRANT CONNECT ON DATABASE borealis TO aurora_app WITH GRANT OPTION;;SET ROLE aurora_app;;\
         GRANT CONNECT ON DATABASE borealis TO celeste_app WITH GRANT OPTION;;SET ROLE celeste_app;;\
         GRANT CONNECT ON DATABASE borealis TO PUBLIC;;RESET ROLE",
        &["PG-001", "PG-002", "PG-201"],
    ),
    // A group that lets a tenant in lets another in as well.
    gift(
        "GRANT CONNECT ON DATABASE borealis TO apps;;GRANT apps TO aurora_app, borealis_app;;\
         REVOKE ALL ON DATABASE borealis FROM borealis_app",
        &["PG-002", "PG-201"],
    ),
    gift(
        "GRANT CONNECT ON DATABASE borealis TO broker WITH GRANT OPTION;;\
         GRANT CONNECT ON DATABASE celeste TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT CONNECT ON DATABASE borealis TO stranger;;GRANT CONNECT ON DATABASE celeste TO apps;;RESET ROLE;;\
         GRANT apps TO stranger",
        &["PG-005"],
    ),
    gift(
        "GRANT CREATE ON DATABASE postgres TO aurora_app;;GRANT CREATE ON DATABASE postgres TO PUBLIC",
        &["PG-009"],
    ),
];

/// Rights within a database of several tenants.
const SCHEMAS: &[Gift] = &[
    inside(
        "GRANT USAGE ON SCHEMA borealis TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT USAGE ON SCHEMA borealis TO aurora_app;;RESET ROLE",
        &["PG-101", "PG-203"],
    ),
    inside(
        "GRANT USAGE ON SCHEMA borealis TO broker WITH GRANT OPTION;;SET ROLE broker;;\
         GRANT USAGE ON SCHEMA borealis TO PUBLIC;;RESET ROLE;;GRANT USAGE, CREATE ON SCHEMA borealis TO PUBLIC",
        &["PG-101", "PG-203", "PG-204"],
    ),
    inside(
        "GRANT USAGE ON SCHEMA borealis TO broker;;GRANT SELECT, UPDATE ON borealis.account TO broker WITH GRANT OPTION;;\
         SET ROLE broker;;GRANT SELECT ON borealis.account TO aurora_app;;GRANT UPDATE (n) ON borealis.account TO aurora_app;;RESET ROLE",
        &["PG-102"],
    ),
    inside(
        "GRANT USAGE ON SCHEMA borealis TO PUBLIC;;GRANT SELECT ON borealis.account TO aurora_app WITH GRANT OPTION;;\
         SET ROLE aurora_app;;GRANT SELECT ON borealis.account TO celeste_app WITH GRANT OPTION;;\
         SET ROLE celeste_app;;GRANT SELECT ON borealis.account TO PUBLIC;;RESET ROLE",
        &["PG-101", "PG-102"],
    ),
    inside(
        "GRANT USAGE ON SCHEMA borealis TO broker;;\
         CREATE FUNCTION borealis.f(timestamp with time zone, VARIADIC int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';;\
         ALTER FUNCTION borealis.f OWNER TO borealis_app;;REVOKE ALL ON FUNCTION borealis.f FROM PUBLIC;;\
         GRANT EXECUTE ON FUNCTION borealis.f TO broker WITH GRANT OPTION;;\
         SET ROLE broker;;GRANT EXECUTE ON FUNCTION borealis.f TO aurora_app;;RESET ROLE",
        &["PG-102"],
    ),
    inside(
        "GRANT USAGE, CREATE ON SCHEMA borealis TO broker;;\
         ALTER DEFAULT PRIVILEGES FOR ROLE broker IN SCHEMA borealis GRANT SELECT ON TABLES TO aurora_app WITH GRANT OPTION;;\
         ALTER DEFAULT PRIVILEGES FOR ROLE borealis_app GRANT EXECUTE ON ROUTINES TO aurora_app",
        &["PG-107"],
    ),
    inside(
        "GRANT CREATE ON DATABASE shared TO broker WITH GRANT OPTION;;GRANT CREATE ON DATABASE shared TO apps;;\
         GRANT apps TO aurora_app;;SET ROLE broker;;GRANT CREATE ON DATABASE shared TO celeste_app;;RESET ROLE",
        &["PG-109"],
    ),
    // Both large objects, and only them.
    inside(
        "SELECT lo_create(4711), lo_create(4712);;ALTER LARGE OBJECT 4711 OWNER TO borealis_app;;\
         ALTER LARGE OBJECT 4712 OWNER TO borealis_app;;GRANT SELECT ON LARGE OBJECT 4711, 4712 TO PUBLIC",
        &["PG-116"],
    ),
    // What is shared stays shared.
    inside(
        "GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC",
        &["PG-101"],
    ),
];

/// Roles that are no tenant's: one that grants, two groups, and a login.
const OTHERS: [&str; 4] = ["broker", "ops", "apps", "stranger"];

async fn give(fleet: &Fleet, database: &str, gift: &Gift) {
    let session = fleet.session("postgres").await;
    let made = "CREATE ROLE broker; CREATE ROLE ops; CREATE ROLE apps; CREATE ROLE stranger LOGIN";
    session.batch_execute(made).await.unwrap();
    session.close().await;
    let place = if gift.inside { database } else { "postgres" };
    let session = fleet.session(place).await;
    for statement in gift.given.split(";;") {
        session
            .batch_execute(&fleet.spelled(statement))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
    }
    session.close().await;
}

/// Takes the other roles away, with what they still have.
async fn forget(fleet: &Fleet, database: &str) {
    for place in ["postgres", database] {
        let session = fleet.session(place).await;
        for role in OTHERS {
            let dropped = format!("DROP OWNED BY {role} CASCADE");
            session.batch_execute(&dropped).await.unwrap();
            if place == database {
                let dropped = format!("DROP ROLE {role}");
                session.batch_execute(&dropped).await.unwrap();
            }
        }
        session.close().await;
    }
}

/// Runs a script as an operator does.
fn psql(fleet: &Fleet, script: &str) {
    let room = Sandbox::new();
    let output = std::process::Command::new("psql")
        .args(["-X", "-q", "-f"])
        .arg(room.write("fix.sql", script))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", fleet.admin.port.to_string())
        .env("PGUSER", &fleet.admin.user)
        .env(
            "PGPASSWORD",
            fleet.admin.password.as_ref().unwrap().expose(),
        )
        .env("PGDATABASE", "postgres")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}\n{script}");
}

/// Gives, checks, mends, and checks again: once as `fix` does it, once with the script.
async fn each(fleet: &Fleet, database: &str, gifts: &[Gift]) {
    for gift in gifts {
        for by_script in [false, true] {
            give(fleet, database, gift).await;
            let before = fleet.check().await;
            for id in gift.found_by {
                let found = before.findings.iter().any(|finding| finding.check == *id);
                assert!(found, "{}: {id}: {:#?}", gift.given, refuted(&before));
            }
            let mut repairs = remedy::plan(&before);
            if by_script {
                psql(fleet, &remedy::script(&repairs));
            } else {
                let login = |_: &str| Some(fleet.admin.clone());
                remedy::apply(&mut repairs, &login, &|_, _| ()).await;
            }
            let after = fleet.check().await;
            let context = |report: &Isolation| {
                let found = refuted(report);
                format!("{}: {found:#?}\n{}", gift.given, remedy::script(&repairs))
            };
            let failed = repairs.iter().any(|repair| !repair.error.is_empty());
            assert!(!failed, "{}: {repairs:#?}", gift.given);
            assert!(after.findings.is_empty(), "{}", context(&after));
            assert_eq!(after.verdict, Verdict::Holds, "{}", context(&after));
            forget(fleet, database).await;
            if gift.given.contains("lo_create") {
                let session = fleet.session(database).await;
                let unlink = "SELECT lo_unlink(4711), lo_unlink(4712)";
                session.batch_execute(unlink).await.unwrap();
                session.close().await;
            }
            if gift.given.contains("FUNCTION borealis.f(") {
                let session = fleet.session(database).await;
                session
                    .batch_execute("DROP FUNCTION borealis.f")
                    .await
                    .unwrap();
                session.close().await;
            }
        }
    }
    assert_clean(&fleet.check().await);
}

#[tokio::test]
async fn what_others_granted_is_taken_back() {
    let databases = Fleet::by_hand(true).await;
    each(&databases, "borealis", MEMBERSHIPS).await;
    each(&databases, "borealis", DATABASES).await;
    drop(databases);
    let schemas = Fleet::schemas_by_hand().await;
    each(&schemas, "shared", SCHEMAS).await;
}

#[tokio::test]
async fn what_others_granted_is_taken_back_on_postgresql_18() {
    let Some(folder) = postgres_18("nothing was taken back") else {
        return;
    };
    let server = || Postgres::private_of(&folder);
    let databases = Fleet::by_hand_on(server(), true).await;
    each(&databases, "borealis", MEMBERSHIPS).await;
    each(&databases, "borealis", MEMBERSHIPS_OF_LATE).await;
    each(&databases, "borealis", DATABASES).await;
    drop(databases);
    let schemas = Fleet::schemas_by_hand_on(server()).await;
    each(&schemas, "shared", SCHEMAS).await;
}

/// Our own tenants have an owner behind their logins: what ends a stranger's membership leaves that.
#[tokio::test]
async fn taking_back_leaves_the_other_tenant_whole() {
    let mut servers = vec![Postgres::private()];
    if let Some(folder) = postgres_18("no tenant of our own was left whole") {
        servers.push(Postgres::private_of(&folder));
    }
    for server in servers {
        let fleet = Fleet::provisioned_on(server, IsolationMode::Database).await;
        let place = fleet.store("borealis").database.clone();
        each(&fleet, &place, MEMBERSHIPS).await;
    }
}

/// Whoever has the right from a stranger, and may have it, is not left without it unasked.
#[tokio::test]
async fn what_a_tenant_has_from_a_stranger_is_left_to_a_person() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let session = fleet.session("postgres").await;
    let given = "REVOKE ALL ON DATABASE borealis FROM borealis_app; \
                 GRANT CONNECT ON DATABASE borealis TO aurora_app WITH GRANT OPTION; \
                 SET ROLE aurora_app; GRANT CONNECT ON DATABASE borealis TO borealis_app; RESET ROLE";
    session.batch_execute(given).await.unwrap();
    let fix = |login: &'static str| {
        let mut words = vec!["isolation", "fix", "--yes", "-o", "json"];
        words.extend(CHECK.iter().skip(2).copied());
        *words.last_mut().unwrap() = login;
        words
    };
    let report = room.run(fix("admin.url")).exits(3).json();
    let errors: Vec<&str> = report["repairs"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|repair| repair["error"].as_str())
        .collect();
    assert!(
        !errors.is_empty()
            && errors
                .iter()
                .all(|error| error.contains("passed on to others")),
        "{report}"
    );
    assert!(may_enter(&session).await);
    let settled = "GRANT CONNECT ON DATABASE borealis TO borealis_app; \
                   REVOKE ALL ON DATABASE borealis FROM aurora_app CASCADE";
    session.batch_execute(settled).await.unwrap();
    // A login that may not act for who granted it is told so: the server says nothing.
    let given = "CREATE ROLE clerk LOGIN CREATEROLE PASSWORD 'of-the-test-alone'; \
                 GRANT pg_monitor TO clerk; \
                 GRANT CONNECT ON DATABASE borealis TO clerk, aurora_app";
    session.batch_execute(given).await.unwrap();
    let url = format!(
        "postgresql://clerk:of-the-test-alone@127.0.0.1:{}/borealis?sslmode=disable",
        fleet.admin.port
    );
    room.write("clerk.url", url);
    let report = room.run(fix("clerk.url")).exits(3).json();
    let told = report["repairs"].as_array().unwrap().iter().any(|repair| {
        let error = repair["error"].as_str().unwrap_or_default();
        error.contains("nothing changed") && error.contains("--postgres-url-file")
    });
    assert!(told, "{report}");
    assert!(may_enter(&session).await);
    let _ = room.run(fix("admin.url")).success();
    assert!(may_enter(&session).await);
    session.close().await;
}

async fn may_enter(session: &tokio_postgres::Client) -> bool {
    let asked = "SELECT has_database_privilege('borealis_app', 'borealis', 'CONNECT')";
    session.query_one(asked, &[]).await.unwrap().get(0)
}
