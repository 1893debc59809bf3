//! RabbitMQ: a clean broker gives no finding; one planted leak is found by the checks that should
//! find it, with the right tenants named, and by no other.

use std::collections::BTreeSet;

use lerianctl::isolation::catalogue;
use lerianctl::isolation::inventory::{Inventory, Messaging, Record};
use lerianctl::isolation::model::{Family, Severity, Verdict};
use lerianctl::isolation::rabbitmq::{Management, Options};
use lerianctl::isolation::report::{ControlState, Isolation};
use lerianctl::isolation::run::{Settings, run};
use lerianctl::secret::Secret;
use serde_json::{Value, json};

use crate::isolation_fleet::refuted;
use crate::postgres_link::AUTHORITY;
use crate::support::{Play, Rabbit, Sandbox, Script};

pub(crate) const PASSWORD: &str = "a-password-of-a-tenant";

pub(crate) fn inventory(rabbit: &Rabbit, hosts: &[(&str, &str)]) -> Inventory {
    let record = |tenant: &str, status: &str| Record {
        tenant: tenant.into(),
        id: tenant.into(),
        status: status.into(),
        environment: "staging".into(),
    };
    let messaging = hosts.iter().map(|(tenant, vhost)| Messaging {
        tenant: (*tenant).into(),
        host: "127.0.0.1".into(),
        port: rabbit.amqp,
        vhost: (*vhost).into(),
        username: format!("{tenant}_app"),
        password: Some(Secret::new(PASSWORD)),
        ..Messaging::default()
    });
    Inventory {
        records: hosts
            .iter()
            .map(|(tenant, _)| record(tenant, "active"))
            .collect(),
        messaging: messaging.collect(),
        complete: true,
        source: "test".into(),
        ..Inventory::default()
    }
}

pub(crate) async fn check(rabbit: &Rabbit, inventory: &Inventory) -> Isolation {
    let mut settings = Settings::new(jiff::Timestamp::now());
    settings.rabbitmq = Options {
        brokers: vec![Management::parse_url(&rabbit.url(), None).unwrap()],
        ..Options::default()
    };
    settings.only = catalogue::of(Family::Rabbitmq)
        .map(|check| check.id.to_owned())
        .collect();
    let report = run(inventory, &settings, &|_, _, _| ()).await;
    let json = serde_json::to_string(&report).unwrap();
    for secret in [PASSWORD, rabbit.password.expose(), "hunter2"] {
        assert!(!json.contains(secret), "a password is in the report");
    }
    report
}

fn verdict(report: &Isolation, id: &str) -> (Verdict, String) {
    let check = report
        .checks
        .iter()
        .find(|check| check.check == id)
        .unwrap();
    (check.verdict, check.reason.clone())
}

pub(crate) async fn make(
    rabbit: &Rabbit,
    vhost: &str,
    tenants: &[&str],
    pattern: impl Fn(&str) -> String,
) {
    rabbit
        .change("PUT", &format!("vhosts/{vhost}"), json!({}))
        .await;
    rabbit
        .change("DELETE", &format!("permissions/{vhost}/admin"), json!({}))
        .await;
    for limit in ["max-connections", "max-queues"] {
        let path = format!("vhost-limits/{vhost}/{limit}");
        rabbit.change("PUT", &path, json!({ "value": 50 })).await;
    }
    for tenant in tenants {
        let user = json!({ "password": PASSWORD, "tags": "" });
        rabbit
            .change("PUT", &format!("users/{tenant}_app"), user)
            .await;
        let path = format!("permissions/{vhost}/{tenant}_app");
        rabbit.change("PUT", &path, all(&pattern(tenant))).await;
    }
}

pub(crate) fn all(pattern: &str) -> Value {
    json!({ "configure": pattern, "write": pattern, "read": pattern })
}

/// What is planted, how it is taken back, what finds it, who reaches, and whom.
struct Leak {
    plant: (&'static str, &'static str, Value),
    undo: (&'static str, &'static str, Value),
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
}

fn leak(
    plant: (&'static str, Value),
    undo: (&'static str, &'static str, Value),
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
) -> Leak {
    Leak {
        plant: ("PUT", plant.0, plant.1),
        undo,
        found_by,
        from,
        to,
    }
}

const EVERYONE: &[&str] = &["*"];
const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];

async fn each(rabbit: &Rabbit, inventory: &Inventory, always: &[&str], leaks: Vec<Leak>) {
    for leak in leaks {
        let (method, path, body) = leak.plant;
        rabbit.change(method, path, body).await;
        let report = check(rabbit, inventory).await;
        let said = refuted(&report);
        let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
        let wanted: BTreeSet<&str> = leak.found_by.iter().chain(always).copied().collect();
        assert_eq!(found, wanted, "{path}: {said:#?}");
        for id in leak.found_by {
            let fits = report
                .findings
                .iter()
                .any(|f| f.check == *id && f.from == leak.from && f.to == leak.to);
            assert!(fits, "{path}: {id} names others: {said:#?}");
        }
        assert_eq!(report.control.state, ControlState::Detected);
        assert_eq!(report.verdict, Verdict::Refuted);
        let (method, path, body) = leak.undo;
        rabbit.change(method, path, body).await;
    }
}

#[tokio::test]
async fn each_leak_is_found_by_its_checks_alone() {
    let Some(rabbit) = tokio::task::spawn_blocking(Rabbit::shared).await.unwrap() else {
        return;
    };
    let own = |_: &str| ".*".to_owned();
    make(rabbit, "aurora", AURORA, own).await;
    make(rabbit, "borealis", BOREALIS, own).await;
    let fleet = inventory(rabbit, &[("aurora", "aurora"), ("borealis", "borealis")]);
    let clean = check(rabbit, &fleet).await;
    assert_eq!(refuted(&clean), [""; 0]);
    assert_eq!(clean.verdict, Verdict::Holds, "{}", clean.because);
    assert_eq!(clean.control.planted, 14);
    for (id, expected) in [
        ("RQ-10", Verdict::Holds),
        ("RQ-02", Verdict::Holds),
        // Nobody shares a host, and the version of this branch tells nothing.
        ("RQ-03", Verdict::Skipped),
        ("RQ-13", Verdict::Unproven),
    ] {
        assert_eq!(verdict(&clean, id).0, expected, "{:?}", verdict(&clean, id));
    }
    assert!(
        clean
            .notes
            .iter()
            .any(|note| note.check == "RQ-10" && note.severity == Severity::Info)
    );

    each(rabbit, &fleet, &[], apart()).await;
    left_over(rabbit, &fleet).await;
    shared(rabbit).await;
    honesty(rabbit, &fleet).await;
    over_tls(rabbit).await;
    assert_eq!(refuted(&check(rabbit, &fleet).await), [""; 0]);
}

/// Leaks between tenants that have a host each.
fn apart() -> Vec<Leak> {
    vec![
        leak(
            ("permissions/borealis/aurora_app", all(".*")),
            ("DELETE", "permissions/borealis/aurora_app", json!({})),
            &["RQ-02", "RQ-10"],
            AURORA,
            BOREALIS,
        ),
        leak(
            (
                "users/aurora_app",
                json!({ "password": PASSWORD, "tags": "monitoring" }),
            ),
            (
                "PUT",
                "users/aurora_app",
                json!({ "password": PASSWORD, "tags": "" }),
            ),
            &["RQ-04"],
            AURORA,
            EVERYONE,
        ),
        leak(
            ("users/guest", json!({ "password": "guest", "tags": "" })),
            ("DELETE", "users/guest", json!({})),
            &["RQ-05"],
            EVERYONE,
            EVERYONE,
        ),
        leak(
            (
                "parameters/federation-upstream/aurora/bridge",
                json!({ "value": { "uri": "amqp://admin:hunter2@127.0.0.1:1/borealis" } }),
            ),
            (
                "DELETE",
                "parameters/federation-upstream/aurora/bridge",
                json!({}),
            ),
            &["RQ-06"],
            &["aurora", "borealis"],
            &["aurora", "borealis"],
        ),
        leak(
            ("vhosts/borealis", json!({ "tracing": true })),
            ("PUT", "vhosts/borealis", json!({ "tracing": false })),
            &["RQ-07"],
            &[],
            BOREALIS,
        ),
        leak(
            ("vhost-limits/aurora/max-queues", json!({ "value": -1 })),
            (
                "PUT",
                "vhost-limits/aurora/max-queues",
                json!({ "value": 50 }),
            ),
            &["RQ-09"],
            AURORA,
            EVERYONE,
        ),
    ]
}

/// Hosts and users without a tenant, and a tenant that is purged.
async fn left_over(rabbit: &Rabbit, fleet: &Inventory) {
    let gone = leak(
        (
            "users/gone_app",
            json!({ "password": PASSWORD, "tags": "" }),
        ),
        ("DELETE", "users/gone_app", json!({})),
        &["RQ-14"],
        &[],
        &[],
    );
    let host = leak(
        ("vhosts/gone", json!({})),
        ("DELETE", "vhosts/gone", json!({})),
        &["RQ-14"],
        &[],
        &[],
    );
    each(rabbit, fleet, &[], vec![gone, host]).await;
    let mut purged = fleet.clone();
    purged.records[1].status = "purged".into();
    let report = check(rabbit, &purged).await;
    assert_eq!(report.findings.len(), 1, "{:#?}", refuted(&report));
    assert_eq!(
        (
            report.findings[0].check.as_str(),
            &report.findings[0].to[..]
        ),
        ("RQ-14", &["borealis".to_owned()][..])
    );
}

/// Leaks between tenants of one host, which is itself one.
async fn shared(rabbit: &Rabbit) {
    let pattern = |tenant: &str| format!("^{tenant}\\.");
    make(rabbit, "shared", &["tenant1", "tenant10"], pattern).await;
    for queue in ["tenant1.tx", "tenant10.tx"] {
        let path = format!("queues/shared/{queue}");
        // Nobody but the tenants may declare there, and the administrator for a moment.
        rabbit
            .change("PUT", "permissions/shared/admin", all(".*"))
            .await;
        rabbit
            .change("PUT", &path, json!({ "durable": true }))
            .await;
        rabbit
            .change("DELETE", "permissions/shared/admin", json!({}))
            .await;
    }
    let fleet = inventory(
        rabbit,
        &[
            ("aurora", "aurora"),
            ("borealis", "borealis"),
            ("tenant1", "shared"),
            ("tenant10", "shared"),
        ],
    );
    let report = check(rabbit, &fleet).await;
    assert_eq!(report.findings.len(), 1, "{:#?}", refuted(&report));
    assert_eq!(report.findings[0].check, "RQ-01");
    assert_eq!(report.findings[0].from, ["tenant1", "tenant10"]);
    let leaks = vec![
        leak(
            (
                "permissions/shared/tenant1_app",
                json!({ "configure": "^$", "write": "^$", "read": "tenant1" }),
            ),
            ("PUT", "permissions/shared/tenant1_app", all("^tenant1\\.")),
            &["RQ-03"],
            &["tenant1"],
            &["tenant10"],
        ),
        leak(
            (
                "topic-permissions/shared/tenant10_app",
                json!({ "exchange": "amq.topic", "write": "^tenant10\\.", "read": ".*" }),
            ),
            ("DELETE", "topic-permissions/shared/tenant10_app", json!({})),
            &["RQ-12"],
            &["tenant10"],
            &["tenant1"],
        ),
    ];
    each(rabbit, &fleet, &["RQ-01"], leaks).await;
    // What tenant1 cannot deliver goes to a name of tenant10.
    rabbit
        .change("PUT", "permissions/shared/admin", all(".*"))
        .await;
    let arguments = json!({ "arguments": { "x-dead-letter-exchange": "tenant10.dlx" } });
    rabbit
        .change("PUT", "queues/shared/tenant1.late", arguments)
        .await;
    let exchange = json!({ "type": "direct" });
    rabbit
        .change("PUT", "exchanges/shared/tenant1.events", exchange)
        .await;
    let binding = json!({ "routing_key": "x" });
    rabbit
        .change(
            "POST",
            "bindings/shared/e/tenant1.events/q/tenant10.tx",
            binding,
        )
        .await;
    rabbit
        .change("DELETE", "permissions/shared/admin", json!({}))
        .await;
    let report = check(rabbit, &fleet).await;
    let crossing: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.check == "RQ-08")
        .collect();
    assert_eq!(
        (crossing.len(), report.findings.len()),
        (2, 3),
        "{:#?}",
        refuted(&report)
    );
    for finding in crossing {
        assert_eq!(
            (finding.from.as_slice(), finding.to.as_slice()),
            (&["tenant10".to_owned()][..], &["tenant1".to_owned()][..])
        );
    }
    rabbit.change("DELETE", "vhosts/shared", json!({})).await;
    for user in ["tenant1_app", "tenant10_app"] {
        rabbit
            .change("DELETE", &format!("users/{user}"), json!({}))
            .await;
    }
}

/// RQ-10 as an operator runs it, over TLS: from an inventory file, and from what a Tenant Manager says
/// that only speaks the contract.
async fn over_tls(rabbit: &Rabbit) {
    let url = Secret::new(rabbit.url());
    let port = rabbit.amqps;
    let (file, contract) = tokio::task::spawn_blocking(move || {
        let room = Sandbox::new();
        room.write("rabbit.url", url.expose());
        room.write("ca.pem", AUTHORITY);
        room.write("password", PASSWORD);
        let entry = |tenant: &str| {
            format!(
                "[[rabbitmq]]\ntenant = '{tenant}'\nhost = 'localhost'\nport = {port}\nvhost = '{tenant}'\n\
                 username = '{tenant}_app'\npassword-file = 'password'\ntls = true\n"
            )
        };
        room.write("tenants.toml", entry("aurora") + &entry("borealis"));
        let with_file = room;
        let ids = [
            "7b0e1c5a9f3d4b62a1c8e4d7f0936b21",
            "7b0e1c5a9f3d4b62a1c8e4d7f0936b22",
        ];
        let host = |tenant: &str| {
            json!({ "host": "localhost", "port": port, "vhost": tenant, "tls": true,
                    "username": format!("{tenant}_app"), "password": PASSWORD })
        };
        // One by module, as newer ones say it, and one in the older form.
        let configs = [
            json!({ "id": ids[0], "tenantSlug": "aurora", "isolationMode": "isolated",
                    "databases": {}, "rabbitmq": { "ledger": host("aurora") } }),
            json!({ "id": ids[1], "tenantSlug": "borealis", "isolationMode": "isolated",
                    "databases": {}, "messaging": { "rabbitmq": host("borealis") } }),
        ];
        let server = Script::answer(move |seen, _| {
            let line = seen.line.as_str();
            if line == "GET /v1/tenants/active?service=ledger" {
                let active = |at: usize, name: &str| json!({ "id": ids[at], "name": name, "status": "active" });
                return Play::json(200, json!([active(0, "aurora"), active(1, "borealis")]));
            }
            let asked = |id: &str| line == format!("GET /v1/tenants/{id}/associations/ledger/connections");
            match ids.iter().position(|id| asked(id)) {
                Some(at) => Play::json(200, configs[at].clone()),
                None => Play::with(404, "content-type: text/plain\r\n", "404 page not found"),
            }
        });
        let room = Sandbox::new()
            .with("LERIANCTL_SERVER", server.url())
            .with("LERIANCTL_API_KEY", "k3y");
        room.write("rabbit.url", url.expose());
        room.write("ca.pem", AUTHORITY);
        (with_file, (room, server))
    })
    .await
    .unwrap();
    let from_file = ["--inventory", "tenants.toml"];
    let from_contract = ["--service", "ledger"];
    let (contract, _server) = contract;
    for (room, source) in [(&file, from_file), (&contract, from_contract)] {
        let mut line = vec![
            "isolation",
            "check",
            "--check",
            "RQ-10",
            "--check",
            "RQ-01",
            "-o",
            "json",
        ];
        line.extend(source);
        line.extend(["--rabbitmq-url-file", "rabbit.url"]);
        let of = |report: &Value| {
            let checks = report["checks"].as_array().unwrap().clone();
            checks
                .into_iter()
                .find(|check| check["check"] == "RQ-10")
                .unwrap()
        };
        // Whoever is not trusted, is not talked to, and that proves nothing.
        let strange = room.run(&line).json();
        assert_eq!(of(&strange)["verdict"], "error", "{strange:#}");
        line.extend(["--rabbitmq-ca-file", "ca.pem"]);
        let clean = room.run(&line).success().json();
        assert_eq!(of(&clean)["verdict"], "holds", "{clean:#}");
        assert_eq!(of(&clean)["lookedAt"], 2, "{clean:#}");
        rabbit
            .change("PUT", "permissions/borealis/aurora_app", all(".*"))
            .await;
        let leaky = room.run(&line).exits(3).json();
        rabbit
            .change("DELETE", "permissions/borealis/aurora_app", json!({}))
            .await;
        let finding = &leaky["findings"][0];
        assert_eq!(finding["check"], "RQ-10", "{leaky:#}");
        assert_eq!(
            (&finding["from"], &finding["to"]),
            (&json!(AURORA), &json!(BOREALIS))
        );
        assert!(!leaky.to_string().contains(PASSWORD));
    }
}

/// What could not be looked at is never green.
async fn honesty(rabbit: &Rabbit, fleet: &Inventory) {
    let mut wrong = fleet.clone();
    wrong.messaging[0].password = Some(Secret::new("not-the-password"));
    let report = check(rabbit, &wrong).await;
    let (live, reason) = verdict(&report, "RQ-10");
    assert_eq!(live, Verdict::Error, "{reason}");
    assert!(reason.contains("the login was refused"), "{reason}");
    let mut partial = fleet.clone();
    partial.complete = false;
    partial.messaging.pop();
    let report = check(rabbit, &partial).await;
    assert_eq!(refuted(&report), [""; 0]);
    assert_eq!(verdict(&report, "RQ-14").0, Verdict::Unproven);
    let settings = |brokers: Vec<Management>| {
        let mut settings = Settings::new(jiff::Timestamp::now());
        settings.rabbitmq.brokers = brokers;
        settings.only = vec!["RQ-02".into()];
        settings
    };
    let nobody = Management::parse_url("http://a:hunter2@127.0.0.1:1", None).unwrap();
    let report = run(fleet, &settings(vec![nobody]), &|_, _, _| ()).await;
    assert_eq!(report.verdict, Verdict::Error);
    let report = run(fleet, &settings(Vec::new()), &|_, _, _| ()).await;
    assert_eq!(verdict(&report, "RQ-02").0, Verdict::Skipped);
}
