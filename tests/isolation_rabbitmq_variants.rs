//! RabbitMQ: other ways to plant the same leaks. Each is found by exactly the checks that should, with
//! the right tenants named.

use std::collections::BTreeSet;

use lerianctl::isolation::inventory::Inventory;
use lerianctl::isolation::report::ControlState;
use serde_json::{Value, json};

use crate::isolation_fleet::refuted;
use crate::isolation_rabbitmq::{PASSWORD, all, check, inventory, make};
use crate::support::Rabbit;

/// What the management interface is asked: how, what, with which body.
type Step = (&'static str, &'static str, Value);

/// A leak, planted in another way.
struct Variant {
    plant: Vec<Step>,
    undo: Vec<Step>,
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
}

const NOBODY: &[&str] = &[];
const EVERYONE: &[&str] = &["*"];
const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
const BOTH: &[&str] = &["aurora", "borealis"];
const ONE: &[&str] = &["tenant1"];
const TEN: &[&str] = &["tenant10"];

/// What variants change.
const ABROAD: &str = "permissions/borealis/aurora_app";
const CONNECTIONS: &str = "vhost-limits/borealis/max-connections";
const QUEUES: &str = "vhost-limits/borealis/max-queues";
const SHOVEL: &str = "parameters/shovel/aurora/bridge";
const UPSTREAM: &str = "parameters/federation-upstream/aurora/bridge";
const OWN: &str = "permissions/shared/tenant1_app";
const TOPICS: &str = "topic-permissions/shared/tenant10_app";
const LATE: &str = "queues/shared/tenant1.late";
const EVENTS: &str = "exchanges/shared/tenant1.events";
const THEIRS: &str = "exchanges/shared/tenant10.events";
const POLICY: &str = "policies/shared/crossing";

fn put(path: &'static str, body: Value) -> Step {
    ("PUT", path, body)
}

fn delete(path: &'static str) -> Step {
    ("DELETE", path, json!({}))
}

fn user(tags: &str) -> Value {
    json!({ "password": PASSWORD, "tags": tags })
}

fn only(what: &str, pattern: &str) -> Value {
    let mut body = all("^$");
    body[what] = pattern.into();
    body
}

/// Leaks between tenants that have a host each.
fn apart() -> Vec<Variant> {
    let mut variants = Vec::new();
    // One right is enough, and to be let in without any is one too.
    for (body, found_by) in [
        (only("configure", ".*"), &["RQ-02", "RQ-10"][..]),
        (only("write", "^amq\\.direct$"), &["RQ-02", "RQ-10"]),
        (only("read", ""), &["RQ-10"]),
        (all("^$"), &["RQ-10"]),
        (
            json!({ "configure": "", "write": "", "read": ".*" }),
            &["RQ-02", "RQ-10"],
        ),
    ] {
        variants.push(Variant {
            plant: vec![put(ABROAD, body)],
            undo: vec![delete(ABROAD)],
            found_by,
            from: AURORA,
            to: BOREALIS,
        });
    }
    // A user that is nobody's, in both hosts.
    for body in [all(".*"), only("read", ".*")] {
        variants.push(Variant {
            plant: vec![
                put("users/reports", user("")),
                put("permissions/aurora/reports", body.clone()),
                put("permissions/borealis/reports", body),
            ],
            undo: vec![delete("users/reports")],
            found_by: &["RQ-02"],
            from: BOTH,
            to: BOTH,
        });
    }
    for tags in [
        "administrator",
        "policymaker",
        "management",
        "impersonator",
        "none,monitoring",
    ] {
        variants.push(Variant {
            plant: vec![put("users/aurora_app", user(tags))],
            undo: vec![put("users/aurora_app", user(""))],
            found_by: &["RQ-04"],
            from: AURORA,
            to: EVERYONE,
        });
    }
    variants.push(Variant {
        plant: vec![
            put("users/guest", user("administrator")),
            put("permissions/borealis/guest", all(".*")),
        ],
        undo: vec![delete("users/guest")],
        found_by: &["RQ-05"],
        from: EVERYONE,
        to: EVERYONE,
    });
    variants.extend(bridges());
    for host in ["aurora", "borealis"] {
        let (path, of) = match host {
            "aurora" => ("vhosts/aurora", AURORA),
            _ => ("vhosts/borealis", BOREALIS),
        };
        variants.push(Variant {
            plant: vec![put(path, json!({ "tracing": true }))],
            undo: vec![put(path, json!({ "tracing": false }))],
            found_by: &["RQ-07"],
            from: NOBODY,
            to: of,
        });
    }
    for plant in [
        vec![delete(CONNECTIONS)],
        vec![delete(QUEUES)],
        vec![delete(CONNECTIONS), delete(QUEUES)],
    ] {
        let limit = json!({ "value": 50 });
        variants.push(Variant {
            plant,
            undo: vec![put(CONNECTIONS, limit.clone()), put(QUEUES, limit)],
            found_by: &["RQ-09"],
            from: BOREALIS,
            to: EVERYONE,
        });
    }
    for plant in [
        vec![put("users/ops", user("administrator"))],
        vec![
            put("users/ops", user("")),
            put("permissions/%2F/ops", all(".*")),
        ],
        vec![
            put("vhosts/gone", json!({})),
            put("users/ops", user("")),
            put("permissions/gone/ops", all(".*")),
        ],
        vec![put("vhosts/Aurora", json!({}))],
    ] {
        let undo = plant
            .iter()
            .filter(|(_, path, _)| !path.starts_with("permissions"))
            .map(|(_, path, _)| delete(path))
            .collect();
        variants.push(Variant {
            plant,
            undo,
            found_by: &["RQ-14"],
            from: NOBODY,
            to: NOBODY,
        });
    }
    variants
}

/// Shovels and upstreams.
fn bridges() -> Vec<Variant> {
    let shovel = |from: Value, to: Value| json!({ "value": { "src-uri": from, "src-queue": "a", "dest-uri": to, "dest-queue": "b" } });
    let at = |path: &str| Value::from(format!("amqp://127.0.0.1:1/{path}"));
    let mut variants = Vec::new();
    for (path, body, tenants) in [
        (SHOVEL, shovel(at("aurora"), at("borealis")), BOTH),
        (SHOVEL, shovel(at("borealis"), at("aurora")), BOTH),
        // Spelled otherwise, one of several, and without a host.
        (SHOVEL, shovel(at("aurora"), at("%62orealis")), BOTH),
        (
            SHOVEL,
            shovel(at("aurora"), json!([at("aurora"), at("borealis")])),
            BOTH,
        ),
        (
            SHOVEL,
            shovel(at("aurora"), json!("amqp:///borealis")),
            BOTH,
        ),
        // AMQP 1.0 names the virtual host in the query.
        (
            SHOVEL,
            json!({ "value": {
                "src-protocol": "amqp10", "src-uri": "amqp://127.0.0.1:1?hostname=vhost:borealis",
                "src-address": "a", "dest-uri": at("aurora"), "dest-queue": "b" } }),
            BOTH,
        ),
        // A password, and nothing joined.
        (
            SHOVEL,
            shovel(at("aurora"), json!("amqp://a:hunter2@127.0.0.1:1/aurora")),
            AURORA,
        ),
        (
            UPSTREAM,
            json!({ "value": { "uri": at("borealis") } }),
            BOTH,
        ),
        (
            UPSTREAM,
            json!({ "value": { "uri": [at("aurora"), at("borealis")] } }),
            BOTH,
        ),
        (
            UPSTREAM,
            json!({ "value": { "uri": "amqp://a:hunter2@127.0.0.1:1/aurora" } }),
            AURORA,
        ),
    ] {
        variants.push(Variant {
            plant: vec![put(path, body)],
            undo: vec![delete(path)],
            found_by: &["RQ-06"],
            from: tenants,
            to: tenants,
        });
    }
    variants
}

/// Leaks between tenants of one host.
fn shared() -> Vec<Variant> {
    let mut variants = Vec::new();
    for body in [
        only("configure", "^tenant1"),
        only("write", "^(tenant1|tenant10)\\."),
        only("read", "^tenant[0-9]+\\."),
        only("read", "^.*"),
        only("read", "tenant1\\."),
        only("read", "(?i)^TENANT1"),
        only("write", "^tenant1\\.|tenant10\\.tx$"),
        all(".*"),
    ] {
        variants.push(Variant {
            plant: vec![put(OWN, body)],
            undo: vec![put(OWN, all("^tenant1\\."))],
            found_by: &["RQ-03"],
            from: ONE,
            to: TEN,
        });
    }
    let topic = |exchange: &str, write: &str, read: &str| json!({ "exchange": exchange, "write": write, "read": read });
    for body in [
        topic("amq.topic", ".*", "^tenant10\\."),
        topic("", "^tenant10\\.", ".*"),
        topic("tenant10.events", "^tenant10\\.", "tenant10\\."),
        topic("amq.topic", "^tenant1", "^tenant10\\."),
    ] {
        variants.push(Variant {
            plant: vec![put(TOPICS, body)],
            undo: vec![delete(TOPICS)],
            found_by: &["RQ-12"],
            from: TEN,
            to: ONE,
        });
    }
    variants.extend(ways());
    variants
}

/// Ways that messages of `tenant1` take to `tenant10`.
fn ways() -> Vec<Variant> {
    let queue = |arguments: Value| put(LATE, json!({ "arguments": arguments }));
    let direct = || json!({ "type": "direct" });
    let policy = |definition: Value| {
        put(
            POLICY,
            json!({ "pattern": "^tenant1\\.", "definition": definition }),
        )
    };
    let bind = |path| ("POST", path, json!({ "routing_key": "x" }));
    let ways = vec![
        (
            vec![queue(json!({ "x-dead-letter-exchange": "tenant10.dlx" }))],
            vec![delete(LATE)],
        ),
        // To the queue itself, by the exchange that every queue is bound to.
        (
            vec![queue(json!({
                "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "tenant10.tx" }))],
            vec![delete(LATE)],
        ),
        (
            vec![
                queue(json!({})),
                policy(json!({ "dead-letter-exchange": "tenant10.dlx" })),
            ],
            vec![delete(POLICY), delete(LATE)],
        ),
        (
            vec![
                queue(json!({})),
                policy(
                    json!({ "dead-letter-exchange": "", "dead-letter-routing-key": "tenant10.tx" }),
                ),
            ],
            vec![delete(POLICY), delete(LATE)],
        ),
        (
            vec![put(
                EVENTS,
                json!({ "type": "direct", "arguments": { "alternate-exchange": "tenant10.events" } }),
            )],
            vec![delete(EVENTS)],
        ),
        (
            vec![
                put(EVENTS, direct()),
                policy(json!({ "alternate-exchange": "tenant10.events" })),
            ],
            vec![delete(POLICY), delete(EVENTS)],
        ),
        // From exchange to exchange, and from an exchange to a queue.
        (
            vec![
                put(EVENTS, direct()),
                put(THEIRS, direct()),
                bind("bindings/shared/e/tenant1.events/e/tenant10.events"),
            ],
            vec![delete(EVENTS), delete(THEIRS)],
        ),
        (
            vec![
                put(EVENTS, json!({ "type": "fanout" })),
                bind("bindings/shared/e/tenant1.events/q/tenant10.tx"),
            ],
            vec![delete(EVENTS)],
        ),
        // Over an exchange that is nobody's.
        (
            vec![
                put(EVENTS, direct()),
                put("exchanges/shared/hub", json!({ "type": "fanout" })),
                bind("bindings/shared/e/tenant1.events/e/hub"),
                bind("bindings/shared/e/hub/q/tenant10.tx"),
            ],
            vec![delete(EVENTS), delete("exchanges/shared/hub")],
        ),
    ];
    let variant = |(plant, undo)| Variant {
        plant,
        undo,
        found_by: &["RQ-08"],
        from: TEN,
        to: ONE,
    };
    ways.into_iter().map(variant).collect()
}

/// Plants each, looks and takes it back; returns what was wrong.
async fn each(
    rabbit: &Rabbit,
    fleet: &Inventory,
    always: &[&str],
    variants: Vec<Variant>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in variants {
        let name = format!("{:?}", one.plant);
        for (method, path, body) in one.plant {
            rabbit.change(method, path, body).await;
        }
        let report = check(rabbit, fleet).await;
        let said = refuted(&report);
        let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
        let wanted: BTreeSet<&str> = one.found_by.iter().chain(always).copied().collect();
        if found != wanted {
            wrong.push(format!("{name}: wanted {wanted:?}, found {said:#?}"));
        }
        for finding in &report.findings {
            let ours = one.found_by.contains(&finding.check.as_str());
            if ours && (finding.from != one.from || finding.to != one.to) {
                wrong.push(format!("{name}: names others: {said:#?}"));
            }
        }
        if report.control.state != ControlState::Detected {
            wrong.push(format!("{name}: {:?}", report.control));
        }
        for (method, path, body) in one.undo {
            rabbit.change(method, path, body).await;
        }
    }
    wrong
}

#[tokio::test]
async fn each_variant_is_found_by_exactly_the_checks_that_should() {
    let Some(rabbit) = tokio::task::spawn_blocking(Rabbit::private).await.unwrap() else {
        return;
    };
    let rabbit = &rabbit;
    let own = |_: &str| ".*".to_owned();
    make(rabbit, "aurora", AURORA, own).await;
    make(rabbit, "borealis", BOREALIS, own).await;
    for host in ["aurora", "borealis"] {
        let path = format!("permissions/{host}/admin");
        rabbit.change("PUT", &path, all(".*")).await;
    }
    let fleet = inventory(rabbit, &[("aurora", "aurora"), ("borealis", "borealis")]);
    assert_eq!(refuted(&check(rabbit, &fleet).await), [""; 0]);
    let variants = apart();
    let mut count = variants.len();
    let mut wrong = each(rabbit, &fleet, &[], variants).await;
    assert_eq!(refuted(&check(rabbit, &fleet).await), [""; 0]);

    let pattern = |tenant: &str| format!("^{tenant}\\.");
    make(rabbit, "shared", &["tenant1", "tenant10"], pattern).await;
    rabbit
        .change("PUT", "permissions/shared/admin", all(".*"))
        .await;
    for queue in ["tenant1.tx", "tenant10.tx"] {
        let path = format!("queues/shared/{queue}");
        rabbit.change("PUT", &path, json!({})).await;
    }
    let both = inventory(
        rabbit,
        &[
            ("aurora", "aurora"),
            ("borealis", "borealis"),
            ("tenant1", "shared"),
            ("tenant10", "shared"),
        ],
    );
    let report = check(rabbit, &both).await;
    assert_eq!(report.findings.len(), 1, "{:#?}", refuted(&report));
    let variants = shared();
    count += variants.len();
    wrong.extend(each(rabbit, &both, &["RQ-01"], variants).await);

    // One host under two names of one server, and a host that is the broker's own.
    for (host, vhost) in [
        ("localhost", "shared"),
        ("LOCALHOST.", "shared"),
        ("127.0.0.1", "/"),
    ] {
        let mut apart = both.clone();
        let one = &mut apart.messaging[2];
        (one.host, one.vhost) = (host.into(), vhost.into());
        one.password = None;
        let report = check(rabbit, &apart).await;
        let named = report.findings.iter().filter(|f| f.check == "RQ-01");
        let from: Vec<_> = named.map(|finding| finding.from.join(" ")).collect();
        let wanted = if vhost == "/" {
            "tenant1"
        } else {
            "tenant1 tenant10"
        };
        if from != [wanted] {
            wrong.push(format!("{host} {vhost}: {:#?}", refuted(&report)));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 50, "{count}");
}
