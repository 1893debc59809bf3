//! MongoDB: a clean deployment gives no finding; one planted leak is found by the checks that should
//! find it, with the right tenants named, and by no other.
//!
//! The server is not MongoDB itself, which cannot be had, but one that has its logins, users and
//! roles, and enforces them. What it does otherwise is said where it matters.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lerianctl::isolation::catalogue;
use lerianctl::isolation::inventory::{Documents, Inventory, Record};
use lerianctl::isolation::model::{Family, Severity, Verdict};
use lerianctl::isolation::mongodb::{Address, Options};
use lerianctl::isolation::report::{ControlState, Isolation};
use lerianctl::isolation::run::{Settings, run};
use lerianctl::secret::Secret;
use serde_json::{Value, json};

use crate::isolation_fleet::refuted;
use crate::postgres_link::AUTHORITY;
use crate::support::{Mongo, Sandbox};

const PASSWORD: &str = "a-password-of-a-tenant";
const NAMES: [&str; 3] = ["aurora", "borealis", "celeste"];
/// What the server does not say of its settings is as MongoDB has it by default: JavaScript is on.
const BY_DEFAULT: &str = "MG-14";

fn address(mongo: &Mongo, tenant: &str) -> Address {
    Address {
        hosts: vec![("127.0.0.1".into(), mongo.port)],
        database: tenant.into(),
        username: format!("{tenant}_app"),
        password: Some(Secret::new(PASSWORD)),
        auth_source: "admin".into(),
        ..Address::default()
    }
}

fn inventory(mongo: &Mongo) -> Inventory {
    let record = |tenant: &&str| Record {
        tenant: (*tenant).into(),
        id: (*tenant).into(),
        status: "active".into(),
        environment: "staging".into(),
    };
    let documents = |tenant: &&str| Documents {
        tenant: (*tenant).into(),
        address: address(mongo, tenant),
    };
    Inventory {
        records: NAMES.iter().map(record).collect(),
        documents: NAMES.iter().map(documents).collect(),
        complete: true,
        source: "test".into(),
        ..Inventory::default()
    }
}

fn user(name: &str, roles: &Value) -> (&'static str, Value) {
    let user = json!({ "createUser": name, "pwd": PASSWORD, "roles": roles });
    ("admin", user)
}

/// Makes a database with a document, and a user for it, for each tenant.
fn fleet() -> Option<Mongo> {
    let mongo = Mongo::private(false)?;
    fill(&mongo);
    Some(mongo)
}

fn fill(mongo: &Mongo) {
    let mut commands = Vec::new();
    for name in NAMES {
        commands.push((
            name,
            json!({ "insert": "holder", "documents": [{ "_id": 1, "name": "hunter2" }] }),
        ));
        commands.push(user(
            &format!("{name}_app"),
            &json!([{ "role": "readWrite", "db": name }]),
        ));
    }
    mongo.ask(&commands);
}

async fn check_with(
    mongo: &Mongo,
    inventory: &Inventory,
    change: impl FnOnce(&mut Settings),
) -> Isolation {
    let mut settings = Settings::new(jiff::Timestamp::now());
    settings.mongodb = Options {
        readers: vec![Address::parse(&mongo.url()).unwrap()],
        ..Options::default()
    };
    settings.only = catalogue::of(Family::Mongodb)
        .map(|check| check.id.to_owned())
        .collect();
    change(&mut settings);
    let report = run(inventory, &settings, &|_, _, _| ()).await;
    let json = serde_json::to_string(&report).unwrap();
    for secret in [PASSWORD, mongo.password.expose(), "hunter2"] {
        assert!(!json.contains(secret), "a secret in {json}");
    }
    report
}

async fn check(mongo: &Mongo, inventory: &Inventory) -> Isolation {
    check_with(mongo, inventory, |_| ()).await
}

fn verdict(report: &Isolation, id: &str) -> Verdict {
    let mut checks = report.checks.iter();
    checks.find(|check| check.check == id).unwrap().verdict
}

/// Returns the checks that found something, but for what is so by default.
fn found(report: &Isolation) -> BTreeSet<&str> {
    let all = report.findings.iter().map(|finding| finding.check.as_str());
    all.filter(|id| *id != BY_DEFAULT).collect()
}

struct Leak {
    plant: Vec<(&'static str, Value)>,
    undo: Vec<(&'static str, Value)>,
    change: fn(&mut Inventory),
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
}

fn grant(name: &str, roles: &Value) -> (&'static str, Value) {
    ("admin", json!({ "grantRolesToUser": name, "roles": roles }))
}

fn revoke(name: &str, roles: &Value) -> (&'static str, Value) {
    (
        "admin",
        json!({ "revokeRolesFromUser": name, "roles": roles }),
    )
}

/// A role that the first tenant's user is given.
fn given(
    role: &str,
    db: &str,
    found_by: &'static [&'static str],
    to: &'static [&'static str],
) -> Leak {
    let roles = json!([{ "role": role, "db": db }]);
    Leak {
        plant: vec![grant("aurora_app", &roles)],
        undo: vec![revoke("aurora_app", &roles)],
        change: |_| (),
        found_by,
        from: &["aurora"],
        to,
    }
}

/// A role that somebody made, given to the first tenant's user.
fn made(
    resource: &Value,
    actions: &[&str],
    contained: &Value,
    found_by: &'static [&'static str],
    to: &'static [&'static str],
) -> Leak {
    let privileges = if actions.is_empty() {
        json!([])
    } else {
        json!([{ "resource": resource, "actions": actions }])
    };
    let roles = json!([{ "role": "made", "db": "admin" }]);
    let create = json!({ "createRole": "made", "privileges": privileges, "roles": contained });
    Leak {
        plant: vec![("admin", create), grant("aurora_app", &roles)],
        undo: vec![
            revoke("aurora_app", &roles),
            ("admin", json!({ "dropRole": "made" })),
        ],
        change: |_| (),
        found_by,
        from: &["aurora"],
        to,
    }
}

fn handed(
    change: fn(&mut Inventory),
    found_by: &'static [&'static str],
    tenants: &'static [&'static str],
) -> Leak {
    Leak {
        plant: Vec::new(),
        undo: Vec::new(),
        change,
        found_by,
        from: tenants,
        to: tenants,
    }
}

fn leaks() -> Vec<Leak> {
    let none = json!([]);
    let of = |db: &str, collection: &str| json!({ "db": db, "collection": collection });
    let reads: &[&str] = &["MG-02", "MG-09"];
    let writes: &[&str] = &["MG-02", "MG-09", "MG-10"];
    let b: &[&str] = &["borealis"];
    let everyone: &[&str] = &["*"];
    let stranger = |roles: Value, found_by, from, to| Leak {
        plant: vec![user("reporting", &roles)],
        undo: vec![("admin", json!({ "dropUser": "reporting" }))],
        change: |_| (),
        found_by,
        from,
        to,
    };
    // For the operations of others the server asks for `find` in admin, where MongoDB asks for `inprog`.
    let read_all: &[&str] = &["MG-03", "MG-09", "MG-11"];
    let made_all: &[&str] = &["MG-05", "MG-09", "MG-11"];
    vec![
        given("read", "borealis", reads, b),
        given("readWrite", "borealis", writes, b),
        given("dbAdmin", "borealis", &["MG-02", "MG-09"], b),
        given("readAnyDatabase", "admin", read_all, everyone),
        given(
            "readWriteAnyDatabase",
            "admin",
            &["MG-03", "MG-09", "MG-10", "MG-11"],
            everyone,
        ),
        given(
            "root",
            "admin",
            &["MG-03", "MG-09", "MG-10", "MG-11"],
            everyone,
        ),
        given("clusterMonitor", "admin", &["MG-03", "MG-09"], everyone),
        given("userAdmin", "aurora", &["MG-04"], &["aurora"]),
        given("dbOwner", "aurora", &["MG-04"], &["aurora"]),
        given("userAdmin", "admin", &["MG-04"], everyone),
        given("read", "local", &["MG-07"], everyone),
        given("read", "config", &["MG-07"], everyone),
        made(
            &of("borealis", "holder"),
            &["find"],
            &none,
            &["MG-02", "MG-09"],
            b,
        ),
        made(&of("borealis", ""), &["insert"], &none, &["MG-02"], b),
        made(&of("", ""), &["find"], &none, made_all, everyone),
        made(&of("", "holder"), &["find"], &none, made_all, everyone),
        made(
            &json!({ "cluster": true }),
            &["inprog"],
            &none,
            &["MG-05"],
            everyone,
        ),
        made(
            &json!({ "cluster": true }),
            &["listDatabases"],
            &none,
            &["MG-05", "MG-09"],
            everyone,
        ),
        made(
            &json!({ "anyResource": true }),
            &["find"],
            &none,
            made_all,
            everyone,
        ),
        made(
            &of("aurora", ""),
            &["grantRole"],
            &none,
            &["MG-04"],
            &["aurora"],
        ),
        made(
            &of("local", "oplog.rs"),
            &["find"],
            &none,
            &["MG-07"],
            everyone,
        ),
        // A role within a role.
        made(
            &none,
            &[],
            &json!([{ "role": "read", "db": "borealis" }]),
            reads,
            b,
        ),
        made(
            &none,
            &[],
            &json!([{ "role": "readAnyDatabase", "db": "admin" }]),
            read_all,
            everyone,
        ),
        // Somebody who is no tenant's.
        stranger(
            json!([{ "role": "read", "db": "aurora" }, { "role": "read", "db": "celeste" }]),
            &["MG-02"],
            &["aurora", "celeste"],
            &["aurora", "celeste"],
        ),
        stranger(json!([]), &["MG-16"], &[], &[]),
        Leak {
            plant: vec![(
                "left",
                json!({ "insert": "x", "documents": [{ "_id": 1 }] }),
            )],
            undo: vec![("left", json!({ "dropDatabase": 1 }))],
            change: |_| (),
            found_by: &["MG-16"],
            from: &[],
            to: &[],
        },
        handed(
            |inventory| inventory.records[2].status = "purged".into(),
            &["MG-16"],
            &[],
        ),
        handed(
            |inventory| {
                let shared = inventory.documents[0].address.clone();
                inventory.documents[1].address = shared;
                inventory.complete = false;
            },
            &["MG-06", "MG-08"],
            &["aurora", "borealis"],
        ),
        handed(
            |inventory| {
                let login = inventory.documents[0].address.username.clone();
                inventory.documents[1].address.username = login;
                inventory.complete = false;
            },
            &["MG-06"],
            &["aurora", "borealis"],
        ),
        handed(
            |inventory| inventory.documents[0].address.skips_verification = true,
            &[],
            &[],
        ),
    ]
}

#[tokio::test]
async fn each_leak_is_found_by_its_checks_and_nothing_else() {
    let Some(mongo) = fleet() else { return };
    let mut problems = Vec::new();
    let mut once: BTreeSet<&str> = BTreeSet::new();
    for leak in leaks() {
        mongo.ask(&leak.plant);
        let mut inventory = inventory(&mongo);
        (leak.change)(&mut inventory);
        let report = check(&mongo, &inventory).await;
        mongo.ask(&leak.undo);
        let wanted: BTreeSet<&str> = leak.found_by.iter().copied().collect();
        let said = refuted(&report);
        if found(&report) != wanted {
            problems.push(format!("{:?}: wanted {wanted:?}: {said:#?}", leak.plant));
        }
        for id in leak.found_by {
            let named = report.findings.iter().any(|finding| {
                let has = |names: &[String], wanted: &[&str]| {
                    wanted.iter().all(|name| names.iter().any(|n| n == name))
                };
                // Live attempts name the tenant that was reached, where roles name everyone.
                let to = leak.to == ["*"] || has(&finding.to, leak.to);
                finding.check == *id && has(&finding.from, leak.from) && to
            });
            if !named {
                problems.push(format!("{:?}: {id} names others: {said:#?}", leak.plant));
            }
        }
        assert_eq!(report.control.state, ControlState::Detected);
        once.extend(leak.found_by);
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let clean = check(&mongo, &inventory(&mongo)).await;
    assert_eq!(found(&clean), BTreeSet::new(), "{:#?}", clean.findings);
    // What the server's own settings say is planted for the judgement alone.
    once.extend(["MG-01", "MG-12", "MG-13", "MG-14"]);
    let all: BTreeSet<&str> = catalogue::of(Family::Mongodb)
        .map(|check| check.id)
        .collect();
    assert_eq!(once, all);
}

#[tokio::test]
async fn a_check_changes_nothing_and_says_what_holds() {
    let Some(mongo) = fleet() else { return };
    let before = mongo.dump();
    let report = check(&mongo, &inventory(&mongo)).await;
    assert_eq!(before, mongo.dump());
    assert!(before.to_string().contains("hunter2"), "{before}");
    for id in [
        "MG-01", "MG-02", "MG-03", "MG-05", "MG-06", "MG-08", "MG-09", "MG-10", "MG-11", "MG-16",
    ] {
        assert_eq!(
            verdict(&report, id),
            Verdict::Holds,
            "{id} {:#?}",
            report.checks
        );
    }
    assert_eq!(verdict(&report, BY_DEFAULT), Verdict::Refuted);
    let shown = report.servers().join("\n");
    assert!(shown.contains("MongoDB 8."), "{shown}");

    // Nobody's login is tried, and that is said.
    let report = check_with(&mongo, &inventory(&mongo), |settings| settings.live = false).await;
    assert_eq!(verdict(&report, "MG-09"), Verdict::Skipped);
    assert_eq!(verdict(&report, "MG-02"), Verdict::Holds);

    // Without an administrator only what is handed out and what is tried is known.
    let report = check_with(&mongo, &inventory(&mongo), |settings| {
        settings.mongodb.readers.clear();
    })
    .await;
    assert_eq!(verdict(&report, "MG-02"), Verdict::Skipped);
    assert_eq!(verdict(&report, "MG-09"), Verdict::Holds);
    assert_ne!(verdict(&report, "MG-10"), Verdict::Holds);

    // One who may not read users does not make their roles hold.
    mongo.ask(&[user("looker", &json!([{ "role": "read", "db": "admin" }]))]);
    let report = check_with(&mongo, &inventory(&mongo), |settings| {
        let url = mongo.url().replace(
            &format!("root:{}", mongo.password.expose()),
            &format!("looker:{PASSWORD}"),
        );
        settings.mongodb.readers = vec![Address::parse(&url).unwrap()];
    })
    .await;
    for id in ["MG-02", "MG-03", "MG-05", "MG-16"] {
        assert!(
            matches!(verdict(&report, id), Verdict::Unproven | Verdict::Error),
            "{id} {:#?}",
            report.checks
        );
    }
}

#[tokio::test]
async fn what_cannot_be_reached_never_holds() {
    let Some(mut mongo) = fleet() else { return };
    // A login that is wrong proves nothing about what it may reach.
    let mut wrong = inventory(&mongo);
    wrong.documents[0].address.password = Some(Secret::new("another"));
    let report = check(&mongo, &wrong).await;
    assert_eq!(verdict(&report, "MG-09"), Verdict::Error);
    let said = serde_json::to_string(&report).unwrap();
    assert!(said.contains("the login was refused"), "{said}");
    // Roles whose definition is not known prove nothing either: here one of a database that is gone.
    let inventory = inventory(&mongo);
    mongo.end();
    let report = check(&mongo, &inventory).await;
    for id in ["MG-01", "MG-02", "MG-09", "MG-16"] {
        assert_eq!(verdict(&report, id), Verdict::Error, "{id}");
    }
    assert_eq!(report.verdict, Verdict::Error);
    assert!(
        report.findings.iter().all(|f| f.severity == Severity::Info),
        "{:?}",
        report.findings
    );
}

/// Names that would be code where they were not quoted.
#[tokio::test]
async fn hostile_names_stay_names() {
    let Some(mongo) = fleet() else { return };
    let name = "a\"}); db.dropDatabase(); //\u{2028}'\\";
    mongo.ask(&[user(
        name,
        &json!([{ "role": "read", "db": "aurora" }, { "role": "read", "db": "borealis" }]),
    )]);
    let report = check(&mongo, &inventory(&mongo)).await;
    let finding = report.findings.iter().find(|f| f.check == "MG-02").unwrap();
    let command = &finding.remedy[0];
    let start = "db.getSiblingDB(\"admin\").revokeRolesFromUser(";
    let rest = command.strip_prefix(start).unwrap();
    let mut words = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    assert_eq!(words.next().unwrap().unwrap(), name, "{command}");
    mongo.ask(&[("admin", json!({ "dropUser": name }))]);
}

#[test]
fn the_command_line_asks_a_mongodb_over_tls() {
    let Some(mongo) = Mongo::private(true) else {
        return;
    };
    fill(&mongo);
    let room = Sandbox::new();
    let mut text = "complete = true\n".to_owned();
    for name in NAMES {
        room.write(format!("{name}.password"), PASSWORD);
        write!(
            text,
            "[[mongodb]]\ntenant = '{name}'\nhost = 'localhost'\nport = {}\ndatabase = '{name}'\nusername = '{name}_app'\npassword-file = '{name}.password'\ntls = true\n",
            mongo.port
        )
        .unwrap();
    }
    room.write("tenants.toml", text);
    room.write("mongo.url", mongo.url());
    room.write("authority.pem", AUTHORITY);
    let command = [
        "isolation",
        "check",
        "--inventory",
        "tenants.toml",
        "--mongodb-url-file",
        "mongo.url",
    ];
    let trusted = [
        &command[..],
        &["--mongodb-ca-file", "authority.pem", "-o", "json"],
    ]
    .concat();
    let report = room.run(&trusted).exits(3).json();
    let of = |id: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == id).unwrap();
        check["verdict"].as_str().unwrap().to_owned()
    };
    for id in ["MG-01", "MG-02", "MG-06", "MG-09", "MG-10", "MG-12"] {
        assert_eq!(of(id), "holds", "{id} {report:#}");
    }
    assert_eq!(of("MG-14"), "refuted");
    assert_eq!(of("PG-001"), "skipped");
    // Without the authority nothing is believed.
    let text = room.run(command).exits(3);
    assert!(text.stdout.starts_with("ISOLATION NOT PROVED"), "{text}");
    for output in [&text.stdout, &text.stderr] {
        assert!(
            !output.contains(mongo.password.expose()) && !output.contains(PASSWORD),
            "{text}"
        );
    }
    for (url, said) in [
        ("mongodb+srv://root:hunter2@cluster.example/", "mongodb+srv"),
        ("http://root:hunter2@localhost/", "mongodb://"),
    ] {
        room.write("mongo.url", url);
        let text = room.run(command).exits(2);
        assert!(
            text.stderr.contains(said) && !text.stderr.contains("hunter2"),
            "{text}"
        );
    }
    room.write("mongo.url", mongo.url());
    room.write(
        "tenants.toml",
        "[[mongodb]]\ntenant='a'\nhost='h:x'\ndatabase='a'\nusername='a'\n",
    );
    let text = room.run(command).exits(2);
    assert!(text.stderr.contains("[[mongodb]] of a"), "{text}");
}
