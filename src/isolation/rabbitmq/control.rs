//! The negative control of the RabbitMQ checks: breaches in what a broker answers, never on one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::amqp::Opened;
use super::facts::{Broker, Context, Parameter, Permission};
use super::{judge, live};
use crate::isolation::inventory::Messaging;
use crate::isolation::part::{Part, Plant, find_planted};

struct Scratch {
    context: Context,
    broker: Broker,
}

fn scratch() -> Scratch {
    let one = |tenant: &str, vhost: &str| Messaging {
        tenant: tenant.into(),
        host: "127.0.0.1".into(),
        port: 5672,
        vhost: vhost.into(),
        username: format!("{tenant}_app"),
        ..Messaging::default()
    };
    let permission = |user: &str, vhost: &str, pattern: &str| Permission {
        user: user.into(),
        vhost: vhost.into(),
        configure: pattern.into(),
        write: pattern.into(),
        read: pattern.into(),
        exchange: String::new(),
    };
    let tenants = ["control_a", "control_b", "control_c", "control_d"];
    Scratch {
        context: Context {
            store: "control".into(),
            messaging: vec![
                one("control_a", "a"),
                one("control_b", "b"),
                one("control_c", "shared"),
                one("control_d", "shared"),
            ],
            tenants: tenants
                .iter()
                .map(|name| {
                    (
                        (*name).to_owned(),
                        ((*name).to_owned(), "active".to_owned()),
                    )
                })
                .collect(),
            complete: true,
            trusted: BTreeSet::from(["admin".to_owned()]),
        },
        broker: Broker {
            overview: read(json!({ "rabbitmq_version": "4.2.6", "listeners": [
                { "protocol": "amqp", "ip_address": "127.0.0.1", "port": 5672 }] })),
            vhosts: read(
                json!([{ "name": "/" }, { "name": "a" }, { "name": "b" }, { "name": "shared" }]),
            ),
            users: read(json!([{ "name": "admin", "tags": ["administrator"] },
                { "name": "control_a_app", "tags": [] }, { "name": "control_b_app", "tags": "" }])),
            permissions: vec![
                permission("admin", "/", ".*"),
                permission("control_a_app", "a", ".*"),
                permission("control_b_app", "b", ".*"),
                permission("control_c_app", "shared", "^control_c\\."),
                permission("control_d_app", "shared", "^control_d\\."),
            ],
            topics: Vec::new(),
            queues: read(json!([{ "name": "control_c.tx", "vhost": "shared" },
                { "name": "control_d.tx", "vhost": "shared" }])),
            exchanges: Vec::new(),
            bindings: Vec::new(),
            parameters: Vec::new(),
            policies: Vec::new(),
            limits: ["a", "b", "shared"]
                .iter()
                .map(|vhost| Parameter {
                    vhost: (*vhost).to_owned(),
                    value: json!({ "max-connections": 10, "max-queues": 10 }),
                    ..Parameter::default()
                })
                .collect(),
        },
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap_or_default()
}

impl Scratch {
    fn judge(&self) -> Part {
        let mut part = Part::default();
        judge::broker(&self.broker, &self.context, false, &mut part);
        part
    }
}

/// A breach for each check that looks at what the broker answers.
const PLANTS: &[Plant<Scratch>] = &[
    ("RQ-02", |s| {
        let mut far = s.broker.permissions[1].clone();
        far.vhost = "b".into();
        s.broker.permissions.push(far);
    }),
    ("RQ-03", |s| {
        s.broker.permissions[3].read = "control".into();
    }),
    ("RQ-04", |s| {
        s.broker.users[1] = read(json!({ "name": "control_a_app", "tags": ["monitoring"] }));
    }),
    ("RQ-05", |s| {
        s.broker
            .users
            .push(read(json!({ "name": "guest", "tags": [] })));
    }),
    ("RQ-06", |s| {
        s.broker.parameters.push(read(
            json!({ "component": "shovel", "name": "s", "vhost": "a",
            "value": { "src-uri": "amqp://h/a", "dest-uri": "amqp://h/b" } }),
        ));
    }),
    ("RQ-07", |s| s.broker.vhosts[1].tracing = true),
    ("RQ-08", |s| {
        s.broker
            .bindings
            .push(read(json!({ "source": "control_c.events",
            "destination": "control_d.tx", "vhost": "shared" })));
    }),
    ("RQ-09", |s| {
        s.broker.limits.remove(0);
    }),
    ("RQ-11", |s| {
        s.broker.overview.listeners[0].ip_address = "::".into();
    }),
    ("RQ-12", |s| {
        let mut wide = s.broker.permissions[3].clone();
        wide.exchange = "amq.topic".into();
        wide.read = ".*".into();
        s.broker.topics.push(wide);
    }),
    ("RQ-13", |s| {
        s.broker.overview.rabbitmq_version = "4.2.5".into();
    }),
    ("RQ-14", |s| {
        s.broker.vhosts.push(read(json!({ "name": "left" })));
    }),
];

/// Returns the ids that a breach is planted for.
pub(super) fn planted() -> impl Iterator<Item = &'static str> {
    PLANTS.iter().map(|(id, _)| *id).chain(["RQ-01", "RQ-10"])
}

/// Plants each breach, and says which checks found theirs.
pub(super) fn run() -> BTreeMap<&'static str, bool> {
    let mut found = find_planted(PLANTS, scratch, Scratch::judge);
    // Two of the scratch tenants share a host; without them nobody does.
    let (mut shared, mut apart) = (Part::default(), Part::default());
    let mut scratch = scratch();
    judge::handed(&scratch.context, &mut shared);
    scratch.context.messaging.truncate(2);
    judge::handed(&scratch.context, &mut apart);
    found.insert(
        "RQ-01",
        shared.refutes("RQ-01") && apart.findings.is_empty(),
    );
    let closed = Opened::Refused(530, "NOT_ALLOWED - access to vhost 'b' refused".into());
    let missing = Opened::Refused(530, "NOT_ALLOWED - vhost b not found".into());
    found.insert(
        "RQ-10",
        live::is_refusal(&closed) && !live::is_refusal(&missing) && !live::is_refusal(&Opened::Yes),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;
    use crate::isolation::model::Family;

    #[test]
    fn every_check_finds_its_own_breach_alone_and_nothing_in_clean_answers() {
        assert_eq!(scratch().judge().findings, []);
        for (id, plant) in PLANTS {
            let mut scratch = scratch();
            plant(&mut scratch);
            let part = scratch.judge();
            let found: BTreeSet<&str> = part.findings.iter().map(|f| f.check.as_str()).collect();
            assert_eq!(found, BTreeSet::from([*id]), "{:#?}", part.findings);
        }
        assert!(run().values().all(|found| *found), "{:?}", run());
        let planted: BTreeSet<&str> = planted().collect();
        let all: BTreeSet<&str> = catalogue::of(Family::Rabbitmq).map(|c| c.id).collect();
        assert_eq!(planted, all);
    }
}
