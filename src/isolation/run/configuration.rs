//! The configuration: what tenants are handed, what products are told, what was waived.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::tally::Tallies;
use super::{Settings, tallies_wants};
use crate::isolation::catalogue::known;
use crate::isolation::config;
use crate::isolation::files;
use crate::isolation::inventory::Inventory;
use crate::isolation::model::{Family, Finding};
use crate::isolation::products::{self, Room};
use crate::isolation::report::NotTested;
use crate::secret::Secret;

/// Grace after a rotation when nobody says one: what a server has by default.
const GRACE: Duration = Duration::from_mins(5);

/// Runs every check of the configuration.
pub(super) async fn check(
    inventory: &Inventory,
    settings: &Settings,
    tallies: &mut Tallies,
    not_tested: &mut BTreeSet<NotTested>,
) {
    let stores = inventory.stores.len() as u64;
    let products = settings.products.len() as u64;
    let replicas = inventory
        .stores
        .iter()
        .filter(|s| s.replica.is_some())
        .count() as u64;
    let waivers = settings.waivers.waiver.len() as u64;
    for check in settings.wanted(Family::Config) {
        let id = check.id;
        match id {
            // Of tenants too, so that it is looked at without products.
            "CF-09" => tallies.looked(id, stores + products),
            _ if products::IDS.contains(&id) => tallies.looked_or(
                id,
                products,
                "no environment of a product was given (--product-env)",
            ),
            "CF-04" => tallies.looked_or(id, replicas, "no tenant is handed a read replica"),
            "CF-19" if settings.clusters.is_empty() => {
                tallies.skip(id, "no cluster was named (--cluster)");
            }
            "CF-19" | "CF-22" => {}
            "CF-21" => tallies.looked_or(id, waivers, "there are no waivers"),
            _ => tallies.looked(id, stores),
        }
    }
    let mut findings = config::check(inventory);
    let grace = settings.grace.or(inventory.rotation_grace).unwrap_or(GRACE);
    findings.extend(products::check(inventory, &settings.products, grace));
    for waiver in settings.waivers.over(settings.today()) {
        let object = waiver.object.as_deref().unwrap_or("everything");
        let mut finding = Finding::new(
            known("CF-21"),
            "waivers",
            format!("waiver of {} for {object}", waiver.check),
        );
        finding.evidence = format!(
            "it ended on {}; {} answers for it",
            waiver.expires, waiver.owner
        );
        findings.push(finding);
    }
    if !settings.clusters.is_empty() && settings.wants(known("CF-19")) {
        addresses(inventory, settings, tallies, &mut findings).await;
    }
    if settings.wants(known("CF-22")) {
        files(inventory, settings, tallies, not_tested, &mut findings).await;
    }
    findings.retain(|finding| tallies_wants(settings, finding));
    tallies.find(findings);
}

/// Reads the files of this program for passwords.
async fn files(
    inventory: &Inventory,
    settings: &Settings,
    tallies: &mut Tallies,
    not_tested: &mut BTreeSet<NotTested>,
    findings: &mut Vec<Finding>,
) {
    const ID: &str = "CF-22";
    let (folders, mut left_out) = settings.files.clone();
    left_out.extend(inventory.password_files.iter().cloned());
    let stores = inventory.stores.iter();
    let secrets: Vec<(String, Secret)> = stores
        .filter_map(|store| Some((store.tenant.clone(), store.password.clone()?)))
        .collect();
    if folders.is_empty() || secrets.is_empty() {
        return tallies.skip(
            ID,
            "no folder of this program, or no password, is known here",
        );
    }
    let tenants: BTreeSet<String> = inventory.tenants().into_iter().collect();
    let look = move || files::look(&folders, &left_out, &secrets);
    let seen = match tokio::task::spawn_blocking(look).await {
        Ok(seen) => seen,
        Err(error) => return tallies.failed(ID, error.to_string()),
    };
    tallies.looked_or(ID, seen.files, "this program keeps no file here");
    for gap in seen.gaps {
        not_tested.insert(NotTested {
            what: format!("{ID} · a file of this program"),
            why: gap,
        });
    }
    for (path, whose) in seen.found {
        let mut finding =
            Finding::new(known(ID), config::STORE, format!("file {}", path.display()));
        finding.evidence = format!("the password of {} stands in it", some(&whose));
        finding.to = whose
            .into_iter()
            .filter(|name| tenants.contains(name))
            .collect();
        finding.remedy = finding
            .to
            .iter()
            .map(|tenant| format!("lerianctl tenant rotate {tenant}"))
            .collect();
        findings.push(finding);
    }
}

fn some(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().map(String::as_str).take(5).collect();
    let more = names.len().saturating_sub(first.len());
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", first.join(", "))
}

/// Adds what products can open on a cluster to what its logins may.
pub(super) fn budget(
    cluster: &str,
    room: Room,
    inventory: &Inventory,
    settings: &Settings,
    tallies: &mut Tallies,
) {
    if room.most > 0 && settings.wants(known("CF-13")) {
        let finding = products::budget(cluster, room, inventory, &settings.products);
        tallies.find(finding.into_iter().collect());
    }
}

async fn resolved(address: &str) -> Result<BTreeSet<IpAddr>, String> {
    let mut found = BTreeSet::new();
    match tokio::net::lookup_host(address).await {
        Ok(addresses) => found.extend(addresses.map(|address| address.ip().to_canonical())),
        Err(error) => return Err(error.to_string()),
    }
    Ok(found)
}

async fn addresses(
    inventory: &Inventory,
    settings: &Settings,
    tallies: &mut Tallies,
    findings: &mut Vec<Finding>,
) {
    const ID: &str = "CF-19";
    let mut registered: BTreeSet<(IpAddr, u16)> = BTreeSet::new();
    for cluster in &settings.clusters {
        let port = cluster
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        match (port, resolved(cluster).await) {
            (Some(port), Ok(found)) => registered.extend(found.into_iter().map(|ip| (ip, port))),
            (None, _) => tallies.failed(ID, format!("{cluster} is not HOST:PORT")),
            (_, Err(reason)) => tallies.failed(ID, format!("{cluster}: {reason}")),
        }
    }
    let mut places: BTreeMap<String, (u16, BTreeSet<&str>)> = BTreeMap::new();
    for store in &inventory.stores {
        let of = places.entry(store.cluster()).or_default();
        of.0 = store.port;
        of.1.insert(&store.tenant);
    }
    for (address, (port, tenants)) in places {
        let (first, second) = (resolved(&address).await, resolved(&address).await);
        let (first, second) = match (first, second) {
            (Ok(first), Ok(second)) => (first, second),
            (Err(reason), _) | (_, Err(reason)) => {
                tallies.failed(ID, format!("{address}: {reason}"));
                continue;
            }
        };
        tallies.looked(ID, 1);
        let strange: Vec<String> = first
            .union(&second)
            .filter(|ip| !registered.contains(&(**ip, port)))
            .map(ToString::to_string)
            .collect();
        if !strange.is_empty() {
            let mut finding = Finding::new(known(ID), config::STORE, format!("server {address}"));
            finding.from = tenants.iter().map(ToString::to_string).collect();
            finding.to.clone_from(&finding.from);
            let changed = if first == second {
                ""
            } else {
                ", and its addresses change"
            };
            finding.evidence = format!(
                "its address {} is none of a cluster that was named{changed}",
                strange.join(", ")
            );
            findings.push(finding);
        }
    }
}
