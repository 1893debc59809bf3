//! What is tried besides the derangements: replicas, closed logins, clear text, notifications.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream;

use super::tally::Tallies;
use super::{Progress, Settings};
use crate::isolation::catalogue::known;
use crate::isolation::inventory::{Retired, Store};
use crate::isolation::live::{Outcome, besides};
use crate::isolation::model::{Family, Finding};
use crate::link::postgres::Gate;

/// What tells one server from another.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) address: String,
    pub(super) system: String,
    pub(super) started: String,
    pub(super) recovering: bool,
    pub(super) tenants: Vec<String>,
}

/// Finds servers that are copies of each other.
pub(super) fn twins(servers: &[Identity], settings: &Settings, tallies: &mut Tallies) {
    const ID: &str = "PG-028";
    if !settings.wants(known(ID)) {
        return;
    }
    let told = servers.iter().filter(|server| !server.system.is_empty());
    let mut by_system: BTreeMap<&str, Vec<&Identity>> = BTreeMap::new();
    for server in told.filter(|server| !server.recovering) {
        by_system.entry(&server.system).or_default().push(server);
    }
    tallies.looked_or(
        ID,
        by_system.values().map(Vec::len).sum::<usize>() as u64,
        "no server tells its identity",
    );
    for (system, servers) in by_system {
        let starts: BTreeSet<&str> = servers
            .iter()
            .map(|server| server.started.as_str())
            .collect();
        if starts.len() < 2 {
            continue;
        }
        let mut finding = Finding::new(known(ID), &servers[0].address, format!("system {system}"));
        finding.to = servers
            .iter()
            .flat_map(|server| server.tenants.clone())
            .collect();
        finding.to.sort();
        finding.to.dedup();
        let addresses: Vec<&str> = servers
            .iter()
            .map(|server| server.address.as_str())
            .collect();
        finding.evidence = format!(
            "{} have this identity, and none of them is a replica",
            addresses.join(" and ")
        );
        tallies.find(vec![finding]);
    }
}

/// Tells which roles of the server stand for several tenants; `landed` are the roles that tenants'
/// sessions turned out to have, by cluster, where they are not their own.
pub(super) fn landed(
    landed: BTreeMap<(String, String), BTreeSet<String>>,
    tried: u64,
    settings: &Settings,
    tallies: &mut Tallies,
) {
    const ID: &str = "PB-05";
    if !settings.wants(known(ID)) {
        return;
    }
    tallies.looked_or(ID, tried, "no login could be tried");
    for ((cluster, role), tenants) in landed {
        if tenants.len() > 1 {
            let mut finding = Finding::new(known(ID), cluster, format!("role {role}"));
            finding.from = tenants.into_iter().collect();
            finding.to.clone_from(&finding.from);
            finding.evidence = format!("sessions of {} tenants are of {role}", finding.from.len());
            finding.roles = vec![role];
            tallies.find(vec![finding]);
        }
    }
}

/// Places and tenants by the nonce of the canary that was found there.
pub(super) type Nonces = BTreeMap<String, BTreeSet<((String, String, Option<String>), String)>>;

/// Tells which canaries stand in several tenants' places; `found` of `tried` logins found one.
pub(super) fn canaries(
    found: u64,
    tried: u64,
    nonces: Nonces,
    settings: &Settings,
    tallies: &mut Tallies,
) {
    const ID: &str = "PG-206";
    if found == 0 {
        return tallies.skip(ID, "no tenant has a canary (lerianctl isolation canary)");
    }
    tallies.expect(ID, tried.max(found));
    if !settings.wants(known(ID)) {
        return;
    }
    for places in nonces.into_values() {
        let tenants: BTreeSet<&String> = places.iter().map(|(_, tenant)| tenant).collect();
        let apart: BTreeSet<_> = places.iter().map(|(place, _)| place).collect();
        if tenants.len() > 1 && apart.len() > 1 {
            let ((cluster, ..), _) = &places.iter().next().expect("there are several");
            let mut finding = Finding::new(known(ID), cluster.as_str(), "one canary");
            finding.from = tenants.into_iter().cloned().collect();
            finding.to.clone_from(&finding.from);
            finding.evidence = format!("it stands in {} places: one is a copy", apart.len());
            tallies.find(vec![finding]);
        }
    }
}

/// One thing to try.
enum Work<'a> {
    Gone(&'a Store),
    Clear(&'a Store),
    Replica(&'a Store),
    Told(&'a Store, &'a Store),
    Retired(&'a Store, &'a Retired),
}

/// Why neither the server nor a pooler was asked with an old password.
const NO_OLD: &str = "the inventory names no password that was rotated out (retired-password-file)";

/// Tries all of it.
pub(super) async fn probe(
    stores: &[Store],
    retired: &[(Store, Retired)],
    settings: &Settings,
    gate: &Gate,
    tallies: &mut Tallies,
    progress: Progress<'_>,
) {
    let mut work = Vec::new();
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut add = |id, one| {
        work.push(one);
        *counts.entry(id).or_default() += 1;
    };
    for (store, old) in retired.iter().filter(|(store, _)| store.password.is_some()) {
        add("", Work::Retired(store, old));
    }
    let known_password = |store: &&Store| store.password.is_some();
    for store in stores.iter().filter(known_password) {
        if store.status != "active" {
            add("PG-209", Work::Gone(store));
        } else if store.replica_endpoint().is_some() {
            add("PG-029", Work::Replica(store));
        }
    }
    let mut clusters: BTreeMap<String, Vec<&Store>> = BTreeMap::new();
    for store in stores
        .iter()
        .filter(|store| store.status == "active")
        .filter(known_password)
    {
        clusters.entry(store.cluster()).or_default().push(store);
    }
    for of_cluster in clusters.values() {
        if let Some(store) = of_cluster.iter().find(|store| besides::wants_tls(store)) {
            add("PG-212", Work::Clear(store));
        }
        for together in [true, false] {
            let pair = of_cluster.iter().find_map(|a| {
                let other =
                    |b: &&&Store| b.tenant != a.tenant && (b.database == a.database) == together;
                of_cluster.iter().find(other).map(|b| (*a, *b))
            });
            if let Some((a, b)) = pair {
                add("PG-211", Work::Told(a, b));
            }
        }
    }
    for (id, reason) in [
        ("PG-029", "no tenant is handed a read replica"),
        (
            "PG-209",
            "no tenant is suspended or purged whose password is known",
        ),
        (
            "PG-211",
            "there are no two tenants whose passwords are known",
        ),
        ("PG-212", "no tenant is told to use TLS"),
    ] {
        match counts.get(id) {
            Some(count) => tallies.expect(id, *count as u64),
            None => tallies.skip(id, reason),
        }
    }
    let retired = counts.contains_key("");
    let total = work.len() as u64;
    let mut results = stream::iter(work)
        .map(|one| async move {
            let mut outcome = Outcome::default();
            match one {
                Work::Gone(store) => besides::gone(gate, store, &mut outcome).await,
                Work::Clear(store) => besides::clear_text(gate, store, &mut outcome).await,
                Work::Replica(store) => besides::replica(gate, store, &mut outcome).await,
                Work::Retired(store, old) => besides::retired(gate, store, old, &mut outcome).await,
                Work::Told(a, b) => besides::told(gate, a, b, &mut outcome).await,
            }
            outcome
        })
        .buffer_unordered(gate.bound());
    let mut done = 0;
    let mut answered = BTreeMap::from([("PG-208", 0), ("PB-06", 0)]);
    while let Some(outcome) = results.next().await {
        done += 1;
        // Which of the two it is shows when something answers.
        for (id, count) in &mut answered {
            let unclear = outcome
                .unclear
                .get(id)
                .map_or(0, |reasons| reasons.len() as u64);
            *count += outcome.tried.get(id).copied().unwrap_or_default() + unclear;
        }
        progress("replicas, closed logins, clear text", done, total);
        tallies.tried(outcome, settings);
    }
    for (id, count) in answered {
        match (count, retired) {
            (0, false) => tallies.skip(id, NO_OLD),
            (0, true) => tallies.skip(id, "nothing of this kind stands there"),
            _ => tallies.expect(id, count),
        }
    }
}

/// Says for every check of this family that it was switched off.
pub(super) fn off(settings: &Settings, tallies: &mut Tallies) {
    for check in settings.wanted(Family::Live) {
        tallies.skip(check.id, "it was switched off (--static)");
    }
}
