//! The negative control of the Redis checks: breaches in what was read, never on a server.
//!
//! A scratch deployment of two tenants is read from planted answers of a server; each breach is
//! then put into these answers, and its check has to find it, by the very code that judges the
//! fleet. Without a breach nothing may be found. So a customer's Redis is never written to.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::User;
use super::census::{Census, readable};
use super::facts::{About, Client, Context, Node, Place, Tenant};
use super::{judge, roundtrip};
use crate::cache::{KeyTenant, classify};
use crate::isolation::catalogue;
use crate::isolation::model::Family;
use crate::isolation::part::{Part, Plant, find_planted};

const A: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";
const B: &str = "85b18fdd152f4c1f9d3d0b7a61c2e4a9";

/// The scratch deployment.
struct Scratch {
    context: Context,
    node: Node,
}

fn user(line: &str) -> User {
    User::parse(line).expect("a planted line is one of ACL LIST")
}

/// Where a tenant of that name is led.
fn place(name: &str) -> Place {
    Place {
        host: "control".into(),
        port: 5432,
        database: name.to_owned(),
        schema: String::new(),
        login: format!("{name}_app"),
    }
}

fn scratch() -> Scratch {
    let tenant = |name: &str, id: &str, status: &str| Tenant {
        name: name.to_owned(),
        id: id.to_owned(),
        key: KeyTenant::parse(id),
        status: status.to_owned(),
        environment: "staging".into(),
        places: [("ledger".to_owned(), place(name))].into(),
    };
    let mut census = Census {
        keys: 4,
        ..Census::default()
    };
    for key in [
        format!("tenant:{A}:balance:{{transactions}}:o:l:@cash#default"),
        format!("tenant:{B}:ledger_settings:{{o:l}}"),
        format!("tenant-connections:{A}:ledger"),
        "lock:{transactions}:backup-consumer-cycle".to_owned(),
    ] {
        census.add(key.as_bytes(), &[]);
    }
    let config = [
        ("port", "6379"),
        ("tls-port", "0"),
        ("bind", "127.0.0.1"),
        ("protected-mode", "yes"),
    ];
    Scratch {
        context: Context {
            tenants: vec![
                tenant("control_a", A, "active"),
                tenant("control_b", B, "active"),
            ],
            complete: true,
            environments: vec!["staging".into()],
            trusted: BTreeSet::new(),
            listeners: Some(1),
        },
        node: Node {
            name: "control".into(),
            events: true,
            local: true,
            tls: false,
            me: "manager".into(),
            info: "redis_version:8.2.2\r\nexecutable:/data/redis-server\r\n\
                   maxmemory_policy:noeviction\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n"
                .into(),
            open: Ok(false),
            users: Ok(vec![
                user("user default off ~* &* +@all"),
                user("user manager on #00 ~* &* +@all"),
                user(&format!(
                    "user app_control_a on #00 ~tenant:{A}:* -@all +@read"
                )),
                user("user ledger on #00 ~tenant:* resetchannels &tenant-events:* -@all +@read"),
            ]),
            dry: Ok([
                (("manager".to_owned(), About::Sanity), true),
                (("app_control_a".to_owned(), About::Tenant(0)), true),
                (("app_control_a".to_owned(), About::Tenant(1)), false),
                (("ledger".to_owned(), About::Outside), false),
            ]
            .into()),
            config: Ok(config
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()),
            clients: Ok(Client::parse(
                "id=1 addr=127.0.0.1:5 db=0 sub=1 psub=0 user=ledger\n",
            )),
            patterns: Ok(0),
            listeners: Ok(BTreeMap::from([("staging".to_owned(), 1)])),
            census: Ok(census),
            others: BTreeMap::new(),
            readable: BTreeMap::new(),
            values: 1,
            kept: BTreeMap::new(),
        },
    }
}

impl Scratch {
    fn key(&mut self, key: &str) {
        if let Ok(census) = &mut self.node.census {
            census.keys += 1;
            census.add(key.as_bytes(), &[]);
        }
    }

    fn allow(&mut self, user: &str, about: About) {
        if let Ok(dry) = &mut self.node.dry {
            dry.insert((user.to_owned(), about), true);
        }
    }

    fn add_user(&mut self, line: &str) {
        if let Ok(users) = &mut self.node.users {
            users.retain(|known| !line.starts_with(&format!("user {} ", known.name)));
            users.push(user(line));
        }
    }

    fn fact(&mut self, from: &str, to: &str) {
        self.node.info = self.node.info.replace(from, to);
    }

    fn judge(&self) -> Part {
        let mut part = Part::default();
        judge::ids("control", &self.context, &mut part);
        judge::node(&self.node, &self.context, &mut part);
        judge::listeners(std::slice::from_ref(&self.node), &self.context, &mut part);
        part
    }
}

/// A breach for each check.
const PLANTS: &[Plant<Scratch>] = &[
    ("RD-01", |s| {
        s.add_user("user default on nopass ~* &* +@all");
        s.node.open = Ok(true);
    }),
    ("RD-02", |s| s.allow("app_control_a", About::Tenant(1))),
    ("RD-03", |s| {
        s.allow("ledger", About::Publish("staging".into()));
    }),
    ("RD-04", |s| {
        s.key("balance:{transactions}:o:l:@cash#default");
    }),
    ("RD-05", |s| {
        s.key("tenant:00000000000040008000000000000001:fee_packages:{o:l}");
    }),
    ("RD-06", |s| {
        s.node.patterns = Ok(1);
        s.node.clients = Ok(Client::parse(
            "id=1 addr=127.0.0.1:5 db=0 sub=0 psub=1 user=ledger\n",
        ));
    }),
    ("RD-07", |s| s.node.listeners = Ok(BTreeMap::new())),
    ("RD-08", |s| {
        let stranger = KeyTenant::parse("00000000000040008000000000000002");
        s.node.others.insert(5, stranger.into_iter().collect());
    }),
    ("RD-09", |s| {
        let key = format!("tenant-connections:{A}:ledger");
        let known = classify(key.as_bytes());
        let fields = readable(br#"{"databases":{"x":{"postgresql":{"password":"planted"}}}}"#);
        if let (Some(tenant), false) = (known.tenant(), fields.is_empty()) {
            s.node.readable.insert((known.class.id, tenant), fields);
        }
    }),
    ("CF-17", |s| {
        if let Some(tenant) = KeyTenant::parse(A) {
            let others = [place("control_b")].into();
            s.node.kept.insert((tenant, "ledger".into()), others);
        }
    }),
    ("RD-10", |s| {
        let mut longer = s.context.tenants[1].clone();
        longer.name = "control_c".into();
        longer.id.push('0');
        longer.key = KeyTenant::parse(&longer.id);
        s.context.tenants.push(longer);
    }),
    ("RD-11", |s| s.allow("ledger", About::Command("MONITOR"))),
    ("RD-12", |s| {
        s.fact("redis_version:8.2.2", "redis_version:8.2.1");
        s.allow("ledger", About::Script);
    }),
    ("RD-13", |s| {
        if let Ok(config) = &mut s.node.config {
            config.insert("bind".into(), "* -::*".into());
        }
    }),
    ("RD-14", |s| {
        s.fact(
            "maxmemory_policy:noeviction",
            "maxmemory_policy:allkeys-lru",
        );
    }),
];

/// Returns the ids that a breach is planted for.
pub(super) fn planted() -> impl Iterator<Item = &'static str> {
    PLANTS.iter().map(|(id, _)| *id).chain(["RD-15"])
}

/// Plants each breach, and says which checks found theirs.
pub(super) fn run() -> BTreeMap<&'static str, bool> {
    let mut found = find_planted(PLANTS, scratch, Scratch::judge);
    let lost = roundtrip::Trip {
        receivers: 1,
        expected: 2,
        came_back: Some(false),
    };
    let whole = roundtrip::Trip {
        receivers: 2,
        expected: 2,
        came_back: Some(true),
    };
    found.insert(
        "RD-15",
        lost.problem().is_some() && whole.problem().is_none(),
    );
    debug_assert_eq!(found.len(), catalogue::of(Family::Redis).count());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::model::Severity;

    #[test]
    fn every_check_finds_its_own_breach_alone_and_nothing_in_clean_answers() {
        assert_eq!(scratch().judge().findings, []);
        for (id, plant) in PLANTS {
            let mut scratch = scratch();
            plant(&mut scratch);
            let part = scratch.judge();
            let found: BTreeSet<&str> = part
                .findings
                .iter()
                .filter(|finding| finding.severity > Severity::Info)
                .map(|finding| finding.check.as_str())
                .collect();
            assert_eq!(found, BTreeSet::from([*id]), "{:#?}", part.findings);
        }
        assert!(run().values().all(|found| *found));
        let planted: BTreeSet<&str> = planted().collect();
        let all: BTreeSet<&str> = catalogue::of(Family::Redis).map(|check| check.id).collect();
        assert_eq!(planted, all);
    }
}
