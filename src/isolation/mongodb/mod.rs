//! The checks of MongoDB: logins, users and their roles, databases, transport.
//!
//! [`check`] asks a deployment as its administrator (`gather`), judges what it answers (`judge`),
//! and has tenants' users try the others' databases (`live`). A control puts planted answers through
//! the same judgement (`control`). Nothing is written.

mod address;
mod control;
mod facts;
mod gather;
mod judge;
mod live;
mod roles;
mod versions;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

pub use address::{Address, hosts};

use super::inventory::Inventory;
use super::model::Check;
use super::part::Part;
use super::rabbitmq::Trials;
use super::report::ServerFacts;
use facts::Context;

/// How MongoDB is looked at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Administrators, one per deployment.
    pub readers: Vec<Address>,
    /// Users that may do everything, besides those that log in here.
    pub trusted: Vec<String>,
    /// Certificates to trust where tenants use TLS, PEM; the system's roots when absent.
    pub ca_pem: Option<String>,
}

/// Checks of what tenants are handed, which no server is asked for.
const HANDED: [&str; 2] = ["MG-06", "MG-08"];
/// Checks that tenants' users make.
const LIVE: [&str; 3] = ["MG-09", "MG-10", "MG-11"];

/// Returns the ids that a breach is planted for in each run.
pub fn planted() -> BTreeSet<&'static str> {
    control::planted().collect()
}

/// Looks at every deployment; `checks` are those that were asked for. Without `trials` nobody's
/// login is tried.
pub async fn check(
    inventory: &Inventory,
    options: &Options,
    checks: &[&'static Check],
    trials: Option<Trials>,
) -> Part {
    let mut part = Part::default();
    if checks.is_empty() {
        return part;
    }
    if options.readers.is_empty() && inventory.documents.is_empty() {
        part.skip_all(
            checks,
            "no MongoDB is configured, and no tenant is led to one",
        );
        return part;
    }
    let asked: BTreeSet<&str> = checks.iter().map(|check| check.id).collect();
    if inventory.documents.is_empty() {
        for id in HANDED.into_iter().chain(LIVE) {
            part.skip(id, "no tenant is led to a MongoDB");
        }
    } else {
        judge::handed(&inventory.documents, &mut part);
    }
    let of_server = checks.iter().copied();
    let of_server = of_server.filter(|c| !HANDED.contains(&c.id) && !LIVE.contains(&c.id));
    let of_server: Vec<&'static Check> = of_server.collect();
    if options.readers.is_empty() {
        part.skip_all(
            &of_server,
            "no administrator's URL was given (--mongodb-url-file)",
        );
    }
    let mut trusted: BTreeSet<String> = options.trusted.iter().cloned().collect();
    trusted.extend(options.readers.iter().map(|reader| reader.username.clone()));
    let alone = options.readers.len() == 1 && judge::deployments(&inventory.documents).len() < 2;
    let mut collections: BTreeMap<String, String> = BTreeMap::new();
    for reader in &options.readers {
        let hosts = judge::members(&reader.hosts);
        let of_here = |one: &Address| alone || !judge::members(&one.hosts).is_disjoint(&hosts);
        let context = Context::new(inventory, &reader.place(), of_here, trusted.clone());
        let of_tenants = context.databases();
        let sources = context.documents.iter();
        let mut more: BTreeSet<&str> = sources
            .map(|one| one.address.auth_source.as_str())
            .collect();
        more.extend(&of_tenants);
        match gather::read(reader, &more).await {
            Ok((mut session, found)) => {
                judge::deployment(&found, &context, &mut part);
                if trials.is_some() {
                    collections.extend(gather::collections(&mut session, &of_tenants).await);
                }
                part.servers.push(ServerFacts {
                    kind: "MongoDB".into(),
                    address: reader.place(),
                    version: found.version,
                    reader: reader.username.clone(),
                });
            }
            Err(reason) => part.fail_all(&of_server, &format!("{}: {reason}", reader.place())),
        }
    }
    if !inventory.documents.is_empty() {
        match trials {
            Some(trials) if LIVE.iter().any(|id| asked.contains(id)) => {
                let mut documents = inventory.documents.clone();
                for one in &mut documents {
                    let ca = &mut one.address.ca_pem;
                    *ca = ca.take().or_else(|| options.ca_pem.clone());
                }
                live::run(&documents, &collections, trials, &mut part).await;
            }
            Some(_) => {}
            None => {
                for id in LIVE {
                    part.skip(id, "it was switched off (--static)");
                }
            }
        }
    }
    part.planted = control::run();
    part.findings
        .retain(|finding| asked.contains(finding.check.as_str()));
    part.looked.retain(|id, _| asked.contains(id));
    part.planted.retain(|id, _| asked.contains(id));
    part
}
