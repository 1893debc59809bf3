//! The negative control of the MongoDB checks: breaches in what a deployment answers, never on one.

use std::collections::{BTreeMap, BTreeSet};

use bson::doc;

use super::address::Address;
use super::facts::{Context, CustomRole, Deployment, Privilege, Resource, User};
use super::judge;
use super::live::{self, Tried};
use super::wire::{Refusal, UNAUTHORIZED};
use crate::isolation::inventory::Documents;
use crate::isolation::part::{Part, Plant, find_planted};

struct Scratch {
    context: Context,
    found: Deployment,
}

fn documents(tenant: &str) -> Documents {
    Documents {
        tenant: format!("control_{tenant}"),
        address: Address {
            hosts: vec![("127.0.0.1".into(), 27017)],
            database: format!("control_{tenant}"),
            username: format!("control_{tenant}_app"),
            auth_source: "admin".into(),
            ..Address::default()
        },
    }
}

fn user(name: &str, role: &str, db: &str) -> User {
    User {
        name: name.into(),
        db: "admin".into(),
        roles: vec![(role.into(), db.into())],
    }
}

fn scratch() -> Scratch {
    let tenants = ["control_a", "control_b"];
    Scratch {
        context: Context {
            store: "control".into(),
            documents: vec![documents("a"), documents("b")],
            tenants: tenants
                .iter()
                .map(|name| ((*name).to_owned(), "active".to_owned()))
                .collect(),
            complete: true,
            trusted: BTreeSet::from(["root".to_owned()]),
        },
        found: Deployment {
            version: "8.2.3".into(),
            open: Some(false),
            settings: Some(doc! {
                "net": { "bindIp": "0.0.0.0", "tls": { "mode": "requireTLS" } },
                "security": { "authorization": "enabled", "javascriptEnabled": false },
            }),
            compressors: vec!["zlib".into()],
            databases: ["admin", "config", "local", "control_a", "control_b"]
                .map(str::to_owned)
                .into(),
            users: Ok(vec![
                user("root", "root", "admin"),
                user("control_a_app", "readWrite", "control_a"),
                user("control_b_app", "readWrite", "control_b"),
            ]),
            roles: BTreeMap::new(),
        },
    }
}

impl Scratch {
    fn judge(&self) -> Part {
        let mut part = Part::default();
        judge::handed(&self.context.documents, &mut part);
        judge::deployment(&self.found, &self.context, &mut part);
        part
    }

    /// Gives the first tenant's user a role.
    fn give(&mut self, role: &str, db: &str) {
        if let Ok(users) = &mut self.found.users {
            users[1].roles.push((role.into(), db.into()));
        }
    }

    /// Gives it a role that somebody made.
    fn give_privilege(&mut self, resource: Resource, action: &str) {
        let privileges = vec![Privilege {
            resource,
            actions: vec![action.into()],
        }];
        let role = CustomRole {
            privileges,
            ..CustomRole::default()
        };
        self.found
            .roles
            .insert(("made".into(), "control_a".into()), role);
        self.give("made", "control_a");
    }
}

/// A breach for each check that looks at what a deployment answers, or tenants are handed.
const PLANTS: &[Plant<Scratch>] = &[
    ("MG-01", |s| s.found.open = Some(true)),
    ("MG-02", |s| s.give("read", "control_b")),
    ("MG-03", |s| s.give("readAnyDatabase", "admin")),
    ("MG-04", |s| s.give("userAdmin", "control_a")),
    ("MG-05", |s| {
        let (db, collection) = (String::new(), String::new());
        s.give_privilege(Resource::Named { db, collection }, "find");
    }),
    ("MG-06", |s| {
        // Its own user is gone with it, and nothing else is handed out twice.
        let shared = s.context.documents[0].address.username.clone();
        s.context.documents[1].address.username = shared;
        if let Ok(users) = &mut s.found.users {
            users.truncate(2);
        }
    }),
    ("MG-07", |s| s.give("read", "local")),
    ("MG-08", |s| {
        let mut upper = documents("c");
        upper.address.database = "CONTROL_A".into();
        s.context.documents.push(upper);
        s.found.databases.push("CONTROL_A".into());
        if let Ok(users) = &mut s.found.users {
            users.push(user("control_c_app", "readWrite", "CONTROL_A"));
        }
    }),
    ("MG-12", |s| {
        s.found.settings = Some(doc! {
            "net": { "bindIp": "0.0.0.0" }, "security": { "javascriptEnabled": false },
        });
    }),
    ("MG-13", |s| s.found.version = "8.2.2".into()),
    ("MG-14", |s| {
        s.found.settings = Some(doc! { "net": { "bindIp": "127.0.0.1" } });
    }),
    ("MG-16", |s| s.found.databases.push("left".into())),
];

/// Returns the ids that a breach is planted for.
pub(super) fn planted() -> impl Iterator<Item = &'static str> {
    let live = ["MG-09", "MG-10", "MG-11"];
    PLANTS.iter().map(|(id, _)| *id).chain(live)
}

/// Plants each breach, and says which checks found theirs.
pub(super) fn run() -> BTreeMap<&'static str, bool> {
    let mut found = find_planted(PLANTS, scratch, Scratch::judge);
    let no = Refusal::Server(UNAUTHORIZED, "not authorized".into());
    let strange = Refusal::Server(9, "failed to parse".into());
    let seen = |answer| live::read::<()>(answer, "read");
    let tells = seen(Ok(())) == Tried::Open("read")
        && seen(Err(no.clone())) == Tried::Closed
        && matches!(seen(Err(strange.clone())), Tried::Unclear(_))
        && live::together([seen(Err(no.clone())), seen(Ok(()))]) == Tried::Open("read")
        && matches!(
            live::together([seen(Err(no)), seen(Err(strange))]),
            Tried::Unclear(_)
        );
    for id in ["MG-09", "MG-10", "MG-11"] {
        found.insert(id, tells);
    }
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
        let all: BTreeSet<&str> = catalogue::of(Family::Mongodb).map(|c| c.id).collect();
        assert_eq!(planted, all);
    }
}
