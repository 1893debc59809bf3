//! Checks of what tenants are handed: pure, without a connection.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;

use super::catalogue::known;
use super::inventory::{Inventory, Store};
use super::model::Finding;
use super::run::Settings;
use crate::contract::wire::IsolationMode;
use crate::secret::random_bytes;

/// Where findings about the inventory itself are placed.
pub const STORE: &str = "inventory";

/// Returns the findings of every check of this family.
pub fn check(inventory: &Inventory) -> Vec<Finding> {
    let stores = &inventory.stores;
    let mut findings = Vec::new();
    same_store(stores, &mut findings);
    same_password(stores, &mut findings);
    near_names(stores, &mut findings);
    environments(inventory, &mut findings);
    replicas(stores, &mut findings);
    same_secret(stores, &mut findings);
    for store in stores {
        one(store, &mut findings);
    }
    findings
}

fn subject(store: &Store) -> String {
    let parts = [&store.tenant, &store.service, &store.module];
    let parts: Vec<&str> = parts
        .into_iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("/")
}

/// Folds the names under which one machine is known here.
fn host_of(store: &Store) -> String {
    if store.is_local() && !store.host.starts_with('/') {
        "localhost".into()
    } else {
        store.host.trim_end_matches('.').to_ascii_lowercase()
    }
}

fn tenants_of<'a>(stores: &[&'a Store]) -> BTreeSet<&'a str> {
    stores.iter().map(|store| store.tenant.as_str()).collect()
}

fn each_other(finding: &mut Finding, tenants: &BTreeSet<&str>) {
    finding.from = tenants.iter().map(ToString::to_string).collect();
    finding.to.clone_from(&finding.from);
}

fn same_store(stores: &[Store], findings: &mut Vec<Finding>) {
    let mut places: BTreeMap<_, Vec<&Store>> = BTreeMap::new();
    for store in stores.iter().filter(|store| store.status != "purged") {
        let place = (
            host_of(store),
            store.port,
            &store.database,
            store.schema.as_deref().unwrap_or_default(),
        );
        places.entry(place).or_default().push(store);
    }
    for ((_, _, _, _), stores) in places {
        let tenants = tenants_of(&stores);
        if tenants.len() > 1 {
            let mut finding = Finding::new(known("CF-01"), STORE, stores[0].place());
            each_other(&mut finding, &tenants);
            finding.evidence = format!(
                "{} are all led to {} on {}",
                stores
                    .iter()
                    .map(|s| subject(s))
                    .collect::<Vec<_>>()
                    .join(", "),
                stores[0].place(),
                stores[0].cluster()
            );
            findings.push(finding);
        }
    }
}

/// Returns the findings of stores that are known to be of one server, under several addresses.
pub(super) fn one_server(stores: &[&Store], settings: &Settings) -> Vec<Finding> {
    let mut places: BTreeMap<_, Vec<&Store>> = BTreeMap::new();
    for store in stores.iter().filter(|store| store.status != "purged") {
        let place = (&store.database, store.schema.as_deref().unwrap_or_default());
        places.entry(place).or_default().push(store);
    }
    let mut findings = Vec::new();
    for stores in places.into_values() {
        let addresses: BTreeSet<_> = stores.iter().map(|s| (host_of(s), s.port)).collect();
        let tenants = tenants_of(&stores);
        if tenants.len() > 1 && addresses.len() > 1 && settings.wants(known("CF-01")) {
            let mut finding = Finding::new(known("CF-01"), STORE, stores[0].place());
            each_other(&mut finding, &tenants);
            let addresses: BTreeSet<String> = stores.iter().map(|s| s.cluster()).collect();
            finding.evidence = format!(
                "{} are one server, and both lead to {}",
                addresses.into_iter().collect::<Vec<_>>().join(" and "),
                stores[0].place()
            );
            findings.push(finding);
        }
    }
    findings
}

/// Compares fingerprints under a key that is thrown away.
fn same_password(stores: &[Store], findings: &mut Vec<Finding>) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>());
    let mut prints: BTreeMap<Vec<u8>, Vec<&Store>> = BTreeMap::new();
    for store in stores {
        if let Some(password) = store.password.as_ref().filter(|p| !p.is_empty()) {
            let print = hmac::sign(&key, password.expose().as_bytes());
            prints
                .entry(print.as_ref().to_vec())
                .or_default()
                .push(store);
        }
    }
    for stores in prints.into_values() {
        let tenants = tenants_of(&stores);
        if tenants.len() > 1 {
            let logins: BTreeSet<&str> = stores.iter().map(|s| s.login.as_str()).collect();
            let logins = logins.into_iter().collect::<Vec<_>>().join(", ");
            let mut finding = Finding::new(known("CF-02"), STORE, format!("password of {logins}"));
            each_other(&mut finding, &tenants);
            finding.evidence = format!("{} tenants have one and the same", tenants.len());
            finding.remedy = tenants
                .iter()
                .map(|tenant| format!("lerianctl tenant rotate {tenant}"))
                .collect();
            findings.push(finding);
        }
    }
    findings.sort_by(|a, b| a.object.cmp(&b.object));
}

/// Folds a name as the least careful tool would.
fn folded(name: &str) -> String {
    let lower = name.to_lowercase().replace('-', "_");
    let mut end = lower.len().min(63);
    while !lower.is_char_boundary(end) {
        end -= 1;
    }
    lower[..end].to_owned()
}

fn replicas(stores: &[Store], findings: &mut Vec<Finding>) {
    for store in stores {
        let Some(replica) = store.replica.as_deref() else {
            continue;
        };
        if replica.database == store.database && replica.schema == store.schema {
            continue;
        }
        let owners: BTreeSet<&str> = stores
            .iter()
            .filter(|other| other.database == replica.database && other.schema == replica.schema)
            .map(|other| other.tenant.as_str())
            .filter(|tenant| *tenant != store.tenant)
            .collect();
        let mut finding = Finding::new(
            known("CF-04"),
            STORE,
            format!("replica of {}", subject(store)),
        );
        finding.from = vec![store.tenant.clone()];
        finding.to = if owners.is_empty() {
            vec![store.tenant.clone()]
        } else {
            owners.into_iter().map(ToOwned::to_owned).collect()
        };
        let place = match &replica.schema {
            Some(schema) => format!("{}.{schema}", replica.database),
            None => replica.database.clone(),
        };
        finding.evidence = format!(
            "the primary is {}, the replica {place} on {}",
            store.place(),
            replica.cluster()
        );
        finding.remedy = vec![format!("lerianctl tenant invalidate {}", store.tenant)];
        findings.push(finding);
    }
}

fn same_secret(stores: &[Store], findings: &mut Vec<Finding>) {
    let mut paths: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for store in stores {
        for path in &store.secret_paths {
            paths.entry(path).or_default().insert(&store.tenant);
        }
    }
    for (path, tenants) in paths.into_iter().filter(|(_, tenants)| tenants.len() > 1) {
        let mut finding = Finding::new(known("CF-16"), STORE, format!("secret {path}"));
        each_other(&mut finding, &tenants);
        finding.evidence = format!("{} tenants are led to it", tenants.len());
        findings.push(finding);
    }
}

fn near_names(stores: &[Store], findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<(String, &str, String), BTreeMap<&str, &str>> = BTreeMap::new();
    for store in stores {
        for (kind, name) in [
            ("database", Some(store.database.as_str())),
            ("schema", store.schema.as_deref()),
            ("login", Some(store.login.as_str())),
        ] {
            let Some(name) = name else { continue };
            if kind == "database" && store.mode == IsolationMode::Schema {
                continue;
            }
            let scope = if kind == "schema" {
                format!("{}/{}", store.cluster(), store.database)
            } else {
                store.cluster()
            };
            if name.len() > 63 {
                let mut finding = Finding::new(known("CF-03"), STORE, format!("{kind} {name}"));
                finding.from = vec![store.tenant.clone()];
                finding.to = vec![store.tenant.clone()];
                finding.evidence =
                    format!("its name has {} bytes, PostgreSQL keeps 63", name.len());
                findings.push(finding);
            }
            names
                .entry((scope, kind, folded(name)))
                .or_default()
                .insert(name, &store.tenant);
        }
    }
    for ((_, kind, folded), spellings) in names {
        let tenants: BTreeSet<&str> = spellings.values().copied().collect();
        if spellings.len() > 1 && tenants.len() > 1 {
            let mut finding = Finding::new(known("CF-03"), STORE, format!("{kind} {folded}"));
            each_other(&mut finding, &tenants);
            let spelled: Vec<&str> = spellings.keys().copied().collect();
            finding.evidence = format!("{} become one name", spelled.join(" and "));
            findings.push(finding);
        }
    }
}

fn environments(inventory: &Inventory, findings: &mut Vec<Finding>) {
    for (cluster, stores) in inventory.clusters() {
        let found: BTreeSet<&str> = stores
            .iter()
            .filter(|store| store.status != "purged" && !store.environment.is_empty())
            .map(|store| store.environment.as_str())
            .collect();
        if found.len() > 1 {
            let mut finding = Finding::new(known("CF-09"), STORE, format!("cluster {cluster}"));
            each_other(&mut finding, &tenants_of(&stores));
            let words: Vec<&str> = found.into_iter().collect();
            finding.evidence = format!("it has tenants of {}", words.join(" and "));
            findings.push(finding);
        }
    }
}

/// What can be said of one store alone.
fn one(store: &Store, findings: &mut Vec<Finding>) {
    let mut add = |id, evidence: String, remedy: &[String]| {
        let mut finding = Finding::new(known(id), STORE, subject(store));
        finding.from = vec![store.tenant.clone()];
        finding.to = vec![store.tenant.clone()];
        finding.evidence = evidence;
        finding.remedy = remedy.to_vec();
        findings.push(finding);
    };
    let provision = [format!("lerianctl db provision {}", store.tenant)];
    if store.mode == IsolationMode::Schema {
        let schema = store.schema.as_deref().unwrap_or_default();
        let wrong = match schema {
            "" => Some("it has no schema".to_owned()),
            "public" => Some("its schema is public, which all tenants share".to_owned()),
            _ if store.pinned().is_none() => {
                Some(format!("the schema {schema} cannot be pinned unquoted"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            add("CF-05", wrong, &provision);
        }
    }
    if !store.drift.is_empty() {
        add("CF-06", store.drift.join("; "), &provision);
    }
    if !store.is_local()
        && !matches!(
            store.sslmode.as_str(),
            "verify-full" | "verify-ca" | "require"
        )
    {
        let word = if store.sslmode.is_empty() {
            "it has no sslmode, and products then do not encrypt".to_owned()
        } else {
            format!("sslmode={} on {}", store.sslmode, store.cluster())
        };
        add("CF-07", word, &[]);
    }
    if store.handed_out && store.status != "active" {
        let suspend = [format!("lerianctl tenant suspend {}", store.tenant)];
        let evidence = format!(
            "the tenant is {}, and /connections answers 200",
            store.status
        );
        add("CF-23", evidence, &suspend);
    }
}
