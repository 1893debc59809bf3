//! Redis: a clean one gives no finding; one planted leak is found by the check that should find it,
//! with the right tenants named, and by no other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lerianctl::devstack::redis::Redis as Server;
use lerianctl::devstack::temporary::Temporary;
use lerianctl::isolation::catalogue;
use lerianctl::isolation::inventory::{Inventory, Record, Store, parse_file};
use lerianctl::isolation::model::{Family, Verdict};
use lerianctl::isolation::redis::{Options, Target};
use lerianctl::isolation::report::{ControlState, Isolation};
use lerianctl::isolation::run::{Settings, run};
use lerianctl::link::redis::{RedisEndpoint, Session};

use crate::isolation_fleet::refuted;
use crate::support::{Redis, RedisCluster};

const AURORA: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
const BOREALIS: &str = "85b18fdd152f4c1f9d3d0b7a61c2e4a9";
const GONE: &str = "e60dcf0b65eb4a2f8c11f27d9b3a5e70";

/// Where a tenant is led; nobody answers there.
fn store(tenant: &str, id: &str) -> Store {
    let text = format!(
        "[[store]]\ntenant = '{tenant}'\ntenant-id = '{id}'\nhost = '127.0.0.1'\nport = 1\nservice = 'ledger'\n\
         database = '{tenant}'\nlogin = '{tenant}_app'\nenvironment = 'staging'"
    );
    let mut stores = parse_file(&text).unwrap().store.into_iter();
    stores.next().unwrap().into_store(None)
}

fn inventory() -> Inventory {
    let record = |tenant: &str, id: &str, status: &str| Record {
        tenant: tenant.into(),
        id: id.into(),
        status: status.into(),
        environment: "staging".into(),
    };
    Inventory {
        records: vec![
            record("aurora", AURORA, "active"),
            record("borealis", BOREALIS, "active"),
            record("gone", GONE, "purged"),
        ],
        stores: vec![store("aurora", AURORA), store("borealis", BOREALIS)],
        complete: true,
        source: "test".into(),
        ..Inventory::default()
    }
}

pub(crate) async fn call(session: &mut Session, line: &str) {
    let words = shlex::split(line).unwrap();
    let mut command = redis::Cmd::new();
    command.arg(&words);
    session
        .query::<redis::Value>(&command)
        .await
        .unwrap_or_else(|error| panic!("{line}: {error}"));
}

/// Keys as products write them, and users as they should be.
const CLEAN: &[&str] = &[
    "SET tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:balance:{transactions}:o:l:@cash#default 1",
    "SET tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:ledger_settings:{o:l} 1",
    "SET tenant:85b18fdd-152f-4c1f-9d3d-0b7a61c2e4a9:fee_packages:{o:l} 1",
    "SET matcher:discovery:schema:v2:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:conn 1",
    "SET lock:{transactions}:backup-consumer-cycle 1",
    "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger sealed",
];
const USERS: &[&str] = &[
    "ACL SETUSER ledger on >secret ~tenant:* ~lock:{transactions}:backup-consumer-cycle resetchannels &tenant-events:* +@all -@dangerous -@admin -publish -spublish",
    "ACL SETUSER aurora_app on >secret ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:* +@read +@write -@dangerous",
    "ACL SETUSER borealis_app on >secret ~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* ~tenant:85b18fdd-152f-4c1f-9d3d-0b7a61c2e4a9:* +@read +@write -@dangerous",
];

pub(crate) async fn fill(endpoint: &RedisEndpoint) -> Session {
    let mut session = endpoint.connect().await.unwrap();
    for line in CLEAN.iter().chain(USERS) {
        call(&mut session, line).await;
    }
    session
}

fn options(endpoint: &RedisEndpoint) -> Options {
    Options {
        targets: vec![Target {
            endpoint: endpoint.clone(),
            events: true,
        }],
        keys: Some(1_000),
        ..Options::default()
    }
}

async fn check_with(inventory: &Inventory, options: Options) -> Isolation {
    let mut settings = Settings::new(jiff::Timestamp::now());
    settings.redis = options;
    settings.only = catalogue::of(Family::Redis)
        .map(|check| check.id.to_owned())
        .collect();
    run(inventory, &settings, &|_, _, _| ()).await
}

pub(crate) async fn check(endpoint: &RedisEndpoint) -> Isolation {
    check_with(&inventory(), options(endpoint)).await
}

fn verdict(report: &Isolation, id: &str) -> (Verdict, String) {
    let check = report
        .checks
        .iter()
        .find(|check| check.check == id)
        .unwrap();
    (check.verdict, check.reason.clone())
}

fn assert_found(report: &Isolation, plant: &str, id: &str, from: &[&str], to: &[&str]) {
    let said = refuted(report);
    let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
    assert_eq!(
        found,
        BTreeSet::from([id]),
        "{plant}: {said:#?}\n{:#?}",
        report.checks
    );
    assert_eq!(report.findings.len(), 1, "{plant}: {said:#?}");
    let finding = &report.findings[0];
    assert_eq!(finding.from, from, "{plant}: {said:#?}");
    assert_eq!(finding.to, to, "{plant}: {said:#?}");
    assert_eq!(report.control.state, ControlState::Detected, "{plant}");
    assert_eq!(report.verdict, Verdict::Refuted);
}

/// Checks that hold on a Redis that a test starts; the version of a distribution's package says
/// nothing, and how many should listen was not told.
fn assert_clean(report: &Isolation) {
    assert_eq!(refuted(report), [""; 0]);
    assert_eq!(
        report.control.state,
        ControlState::Detected,
        "{:?}",
        report.control
    );
    assert_eq!(report.control.planted, 16);
    assert_eq!(report.verdict, Verdict::Holds, "{}", report.because);
    for check in &report.checks {
        let expected = match check.check.as_str() {
            "RD-07" | "RD-15" => vec![Verdict::Skipped],
            "RD-12" => vec![Verdict::Unproven, Verdict::Holds],
            // Only where there are values with credentials, and some that can be read.
            "RD-09" | "CF-17" => vec![Verdict::Skipped, Verdict::Holds],
            _ => vec![Verdict::Holds],
        };
        assert!(expected.contains(&check.verdict), "{check:?}");
    }
}

/// What is planted, how it is taken back, what finds it, and who reaches whom.
type Leak<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);

const EVERYONE: &[&str] = &["*"];

#[tokio::test]
async fn each_leak_is_found_by_its_check_alone() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let mut session = fill(&endpoint).await;
    assert_clean(&check(&endpoint).await);
    let leaks: &[Leak<'_>] = &[
        (
            "ACL SETUSER default nopass",
            "ACL SETUSER default resetpass >{password}",
            "RD-01",
            EVERYONE,
            EVERYONE,
        ),
        (
            "ACL SETUSER aurora_app ~tenant:85b18fdd*",
            "ACL SETUSER aurora_app resetkeys ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:*",
            "RD-02",
            &["aurora"],
            &["borealis"],
        ),
        (
            "ACL SETUSER aurora_app %R~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:balance:*",
            "ACL SETUSER aurora_app resetkeys ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:*",
            "RD-02",
            &["aurora"],
            &["borealis"],
        ),
        (
            "ACL SETUSER aurora_app ~*",
            "ACL SETUSER aurora_app resetkeys ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:*",
            "RD-02",
            &["aurora"],
            EVERYONE,
        ),
        (
            "ACL SETUSER ledger ~*",
            "ACL SETUSER ledger resetkeys ~tenant:*",
            "RD-02",
            &[],
            EVERYONE,
        ),
        (
            "ACL SETUSER app on >secret ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:* ~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* +get",
            "ACL DELUSER app",
            "RD-02",
            &["aurora", "borealis"],
            &["aurora", "borealis"],
        ),
        (
            "ACL SETUSER ledger +publish",
            "ACL SETUSER ledger -publish",
            "RD-03",
            &[],
            EVERYONE,
        ),
        (
            "ACL SETUSER borealis_app resetchannels &* +publish",
            "ACL SETUSER borealis_app -publish",
            "RD-03",
            &["borealis"],
            EVERYONE,
        ),
        (
            "SET balance:{transactions}:o:l:@cash#default 1",
            "DEL balance:{transactions}:o:l:@cash#default",
            "RD-04",
            EVERYONE,
            EVERYONE,
        ),
        (
            "SET session:maria 1 EX 600",
            "DEL session:maria",
            "RD-04",
            EVERYONE,
            EVERYONE,
        ),
        (
            "SET tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:fee_packages:{o:l} 1",
            "DEL tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:fee_packages:{o:l}",
            "RD-04",
            &["aurora", "borealis"],
            &["aurora", "borealis"],
        ),
        (
            "SET tenant:e60dcf0b65eb4a2f8c11f27d9b3a5e70:fee_packages:{o:l} 1",
            "DEL tenant:e60dcf0b65eb4a2f8c11f27d9b3a5e70:fee_packages:{o:l}",
            "RD-05",
            &[],
            &["gone"],
        ),
        (
            "SET tenant:00000000000040008000000000000001:fee_packages:{o:l} 1",
            "DEL tenant:00000000000040008000000000000001:fee_packages:{o:l}",
            "RD-05",
            &[],
            &["00000000000040008000000000000001"],
        ),
        (
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{\"databases\":{\"a\":{\"postgresql\":{\"password\":\"hunter2\"}}}}'",
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger sealed",
            "RD-09",
            &[],
            &["aurora"],
        ),
        (
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{\"databases\":{\"a\":{\"postgresql\":{\"host\":\"127.0.0.1\",\"port\":1,\"database\":\"borealis\",\"username\":\"borealis_app\"}}}}'",
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger sealed",
            "CF-17",
            &["aurora"],
            &["borealis"],
        ),
        (
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{\"databases\":{\"a\":{\"postgresql\":{\"host\":\"127.0.0.1\",\"port\":1,\"database\":\"aurora\",\"username\":\"aurora_old\"}}}}'",
            "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger sealed",
            "CF-17",
            &[],
            &["aurora"],
        ),
        (
            "SET tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials '{\"clientSecret\":\"hunter2\"}'",
            "DEL tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials",
            "RD-09",
            &[],
            &["borealis"],
        ),
        (
            "ACL SETUSER ledger +monitor",
            "ACL SETUSER ledger -monitor",
            "RD-11",
            &[],
            EVERYONE,
        ),
        (
            "ACL SETUSER borealis_app +flushall",
            "ACL SETUSER borealis_app -flushall",
            "RD-11",
            &["borealis"],
            EVERYONE,
        ),
        (
            "CONFIG SET bind '127.0.0.1 -::*'",
            "CONFIG SET bind 127.0.0.1",
            "RD-13",
            EVERYONE,
            EVERYONE,
        ),
        (
            "CONFIG SET maxmemory-policy allkeys-lru",
            "CONFIG SET maxmemory-policy noeviction",
            "RD-14",
            EVERYONE,
            EVERYONE,
        ),
    ];
    let password = endpoint.password.as_ref().unwrap().expose();
    for (plant, undo, id, from, to) in leaks {
        call(&mut session, plant).await;
        let report = check(&endpoint).await;
        assert_found(&report, plant, id, from, to);
        let json = serde_json::to_string(&report).unwrap();
        for secret in ["hunter2", "maria", password] {
            assert!(!json.contains(secret), "{plant}: {secret} is in the report");
        }
        call(&mut session, &undo.replace("{password}", password)).await;
    }
    assert_clean(&check(&endpoint).await);
}

#[tokio::test]
async fn a_subscriber_with_a_pattern_is_found_and_silence_too() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let _session = fill(&endpoint).await;
    let listening = |listeners| Options {
        listeners: Some(listeners),
        ..options(&endpoint)
    };
    let mut product = endpoint.subscriber().await.unwrap();
    product.subscribe("tenant-events:staging:").await.unwrap();
    let report = check_with(&inventory(), listening(1)).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(verdict(&report, "RD-07").0, Verdict::Holds);
    let report = check_with(&inventory(), listening(2)).await;
    assert_found(&report, "one of two", "RD-07", &[], &["aurora", "borealis"]);

    product.psubscribe("tenant-events:*").await.unwrap();
    let report = check_with(&inventory(), listening(1)).await;
    assert_found(&report, "a pattern", "RD-06", EVERYONE, EVERYONE);
    assert!(report.findings[0].evidence.contains("default at 127.0.0.1"));
    product.punsubscribe("tenant-events:*").await.unwrap();
    // What means nothing comes back, and is heard by whoever listens.
    let publishing = Options {
        publish: true,
        ..listening(1)
    };
    let report = check_with(&inventory(), publishing).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(verdict(&report, "RD-15").0, Verdict::Holds);
}

#[tokio::test]
async fn a_database_number_keeps_no_environments_apart() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let _session = fill(&endpoint).await;
    let there = RedisEndpoint {
        database: 5,
        ..endpoint.clone()
    };
    let mut other = there.connect().await.unwrap();
    // Keys of the same environment in another database are no breach.
    call(
        &mut other,
        &format!("SET tenant:{AURORA}:data_source_details:x 1"),
    )
    .await;
    assert_clean(&check(&endpoint).await);
    let stranger = "00000000000040008000000000000001";
    call(
        &mut other,
        &format!("SET tenant:{stranger}:fee_packages:{{o:l}} 1"),
    )
    .await;
    let report = check(&endpoint).await;
    assert_found(
        &report,
        "database 5",
        "RD-08",
        &[stranger, "aurora"],
        EVERYONE,
    );
    call(&mut other, "FLUSHDB").await;
    let mut here = endpoint.subscriber().await.unwrap();
    here.subscribe("tenant-events:staging:").await.unwrap();
    let mut far = there.subscriber().await.unwrap();
    far.subscribe("tenant-events:production:").await.unwrap();
    let report = check(&endpoint).await;
    assert_found(&report, "subscribers", "RD-08", EVERYONE, EVERYONE);
}

#[tokio::test]
async fn an_id_that_is_a_pattern_or_begins_another_is_found() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let with = |ids: &[&str]| Inventory {
        records: ids
            .iter()
            .map(|id| Record {
                tenant: (*id).into(),
                id: (*id).into(),
                status: "active".into(),
                environment: "staging".into(),
            })
            .collect(),
        ..inventory()
    };
    let report = check_with(&with(&["acme", "borealis"]), options(&endpoint)).await;
    assert_eq!(refuted(&report), [""; 0]);
    let report = check_with(&with(&["acme", "acme2"]), options(&endpoint)).await;
    assert_found(&report, "acme", "RD-10", &["acme"], &["acme2"]);
    let report = check_with(&with(&["a*", "borealis"]), options(&endpoint)).await;
    assert_found(&report, "a*", "RD-10", &["a*"], EVERYONE);
}

#[tokio::test]
async fn every_primary_of_a_cluster_is_looked_at() {
    let cluster = RedisCluster::private();
    let endpoints = cluster.endpoints();
    let mut owners = 0;
    for endpoint in &endpoints {
        let mut session = endpoint.connect().await.unwrap();
        for line in USERS {
            call(&mut session, line).await;
        }
        let set = format!("SET tenant:{AURORA}:fee_packages:{{o:l}} 1");
        let mut command = redis::Cmd::new();
        command.arg(shlex::split(&set).unwrap());
        owners += usize::from(session.query::<redis::Value>(&command).await.is_ok());
    }
    assert_eq!(owners, 1);
    assert_clean(&check(&endpoints[0]).await);
    // On each primary in turn, through another one.
    for (at, endpoint) in endpoints.iter().enumerate() {
        let seed = &endpoints[(at + 1) % endpoints.len()];
        let mut session = endpoint.connect().await.unwrap();
        let mut planted = None;
        for number in 0..1_000 {
            let mut set = redis::cmd("SET");
            set.arg(format!("session:{number}")).arg(1);
            if session.query::<redis::Value>(&set).await.is_ok() {
                planted = Some(number);
                break;
            }
        }
        let report = check(seed).await;
        assert_found(&report, "a key", "RD-04", EVERYONE, EVERYONE);
        assert!(
            report.findings[0]
                .store
                .ends_with(&endpoint.port.to_string())
        );
        call(&mut session, &format!("DEL session:{}", planted.unwrap())).await;
        call(&mut session, "ACL SETUSER ledger +publish").await;
        let report = check(seed).await;
        assert_found(&report, "a user", "RD-03", &[], EVERYONE);
        assert!(
            report.findings[0]
                .store
                .ends_with(&endpoint.port.to_string())
        );
        call(&mut session, "ACL SETUSER ledger -publish").await;
    }
    let report = check(&endpoints[0]).await;
    assert_clean(&report);
    assert_eq!(report.fleet.servers.len(), endpoints.len());
}

#[tokio::test]
async fn what_could_not_be_looked_at_is_never_green() {
    let server: Temporary<Server> = Redis::private();
    let endpoint = server.endpoint();
    let mut session = fill(&endpoint).await;
    // A sample says so, with its bound.
    let few = Options {
        keys: Some(2),
        ..options(&endpoint)
    };
    let report = check_with(&inventory(), few).await;
    let (sampled, reason) = verdict(&report, "RD-04");
    assert_eq!(
        (sampled, reason.as_str()),
        (Verdict::Unproven, "2 of 6 were tried")
    );
    assert!(
        report
            .not_tested
            .iter()
            .any(|gap| gap.why.starts_with("2 of 6 were looked at") && gap.why.contains('%')),
        "{:#?}",
        report.not_tested
    );
    // A login that may not see the users sees none.
    call(
        &mut session,
        "ACL SETUSER reader on >secret ~tenant:* ~tenant-connections:* resetchannels +@read -@dangerous +info +hello +select",
    )
    .await;
    let reader = RedisEndpoint {
        username: Some("reader".into()),
        password: Some(lerianctl::secret::Secret::new("secret")),
        ..endpoint.clone()
    };
    let report = check(&reader).await;
    for id in ["RD-02", "RD-03", "RD-11", "RD-06", "RD-07"] {
        let (verdict, reason) = verdict(&report, id);
        assert_eq!(verdict, Verdict::Skipped, "{id}: {reason}");
        assert!(reason.contains("no permissions"), "{id}: {reason}");
    }
    assert_eq!(verdict(&report, "RD-13").0, Verdict::Unproven);
    assert_eq!(verdict(&report, "RD-04").0, Verdict::Holds);
    // An inventory that does not have every tenant says nothing of ids that it does not know.
    let partial = Inventory {
        complete: false,
        ..inventory()
    };
    call(&mut session, "SET tenant:someone:fee_packages:{o:l} 1").await;
    let report = check_with(&partial, options(&endpoint)).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(verdict(&report, "RD-05").0, Verdict::Unproven);
    // A server that does not answer is an error of every check.
    server.stop().await.unwrap();
    let report = check(&endpoint).await;
    assert_eq!(report.verdict, Verdict::Error);
    // Without one, nothing is claimed.
    let report = check_with(&inventory(), Options::default()).await;
    assert!(report.checks.iter().all(|c| c.verdict == Verdict::Skipped));
    assert_eq!(report.verdict, Verdict::Unproven);
}

/// Hands on what goes back and forth, with two words of the answers exchanged for others of the same
/// length: the same server as an older version, from no distribution.
async fn disguised(port: u16) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                    for (real, shown) in [
                        (&b"redis_version:7.0.15"[..], &b"redis_version:7.2.10"[..]),
                        (b"executable:/usr/bin/", b"executable:/opt/bin/"),
                    ] {
                        let place = buffer[..count].windows(real.len()).position(|w| w == real);
                        if let Some(at) = place {
                            buffer[at..at + real.len()].copy_from_slice(shown);
                        }
                    }
                    if to_client.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn a_version_with_a_known_hole_is_found_unless_nobody_may_use_it() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let mut session = fill(&endpoint).await;
    let info: String = session
        .query(redis::cmd("INFO").arg("server"))
        .await
        .unwrap();
    if !info.contains("redis_version:7.0.15") || !info.contains("executable:/usr/bin/") {
        // Another server than the one whose answers can be exchanged; the unit tests remain.
        return;
    }
    assert_eq!(
        verdict(&check(&endpoint).await, "RD-12").0,
        Verdict::Unproven
    );
    let old = RedisEndpoint {
        port: disguised(endpoint.port).await,
        ..endpoint.clone()
    };
    let report = check(&old).await;
    assert_found(&report, "an old version", "RD-12", EVERYONE, EVERYONE);
    call(&mut session, "ACL SETUSER ledger -@scripting").await;
    let report = check(&old).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(verdict(&report, "RD-12").0, Verdict::Holds);
}

/// What a check must not change: every key, its value and time to live, users, settings, the log of
/// refusals, scripts.
async fn everything(session: &mut Session) -> String {
    let mut text = String::new();
    let mut keys: Vec<String> = session.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    keys.sort();
    for key in keys {
        let dump: Vec<u8> = session.query(redis::cmd("DUMP").arg(&key)).await.unwrap();
        let ttl: i64 = session
            .query(redis::cmd("EXPIRETIME").arg(&key))
            .await
            .unwrap();
        writeln!(text, "{key} {dump:?} {ttl}").unwrap();
    }
    for words in [
        &["ACL", "LIST"][..],
        &["CONFIG", "GET", "*"],
        &["ACL", "LOG"],
        &["PUBSUB", "CHANNELS"],
    ] {
        let answer: redis::Value = session.query(redis::Cmd::new().arg(words)).await.unwrap();
        writeln!(text, "{answer:?}").unwrap();
    }
    let info: String = session
        .query(redis::cmd("INFO").arg("memory"))
        .await
        .unwrap();
    let scripts = info
        .lines()
        .find(|line| line.starts_with("number_of_cached_scripts"));
    text.push_str(scripts.unwrap());
    text
}

#[tokio::test]
async fn a_check_of_redis_leaves_no_trace() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let mut session = fill(&endpoint).await;
    call(&mut session, "SET session:x 1 EX 5000").await;
    let before = everything(&mut session).await;
    assert_eq!(check(&endpoint).await.findings.len(), 1);
    assert_eq!(everything(&mut session).await, before);
    for step in 0..10 {
        let time = std::time::Duration::from_millis(step * 5);
        let _ = tokio::time::timeout(time, check(&endpoint)).await;
    }
    assert_eq!(everything(&mut session).await, before);
}
