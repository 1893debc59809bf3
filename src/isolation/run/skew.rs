//! Versions of the migrations, compared over all databases of a service.

use std::collections::BTreeMap;

use super::Settings;
use super::tally::Tallies;
use crate::isolation::audit::Raw;
use crate::isolation::catalogue::known;
use crate::isolation::inventory::Store;
use crate::isolation::model::Finding;

/// The check.
pub(super) const ID: &str = "PG-122";

/// What was applied in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    tenant: String,
    /// Service and module.
    of: (String, String),
    cluster: String,
    place: String,
    version: u64,
    dirty: bool,
}

impl Applied {
    /// Reads a row of the query, for each store that it is about.
    pub(super) fn read(stores: &[Store], database: &str, raw: &Raw) -> Vec<Self> {
        let (version, dirty) = raw.evidence.split_once(' ').unwrap_or_default();
        let Ok(version) = version.parse() else {
            return Vec::new();
        };
        stores
            .iter()
            .filter(|store| store.database == database && raw.tenants.contains(&store.tenant))
            .filter(|store| store.schema.as_deref().unwrap_or("public") == raw.object)
            .map(|store| Self {
                tenant: store.tenant.clone(),
                of: (store.service.clone(), store.module.clone()),
                cluster: store.cluster(),
                place: store.place(),
                version,
                dirty: dirty == "true",
            })
            .collect()
    }
}

/// Compares what was applied.
pub(super) fn check(applied: &[Applied], settings: &Settings, tallies: &mut Tallies) {
    if !settings.wants(known(ID)) {
        return;
    }
    tallies.looked_or(
        ID,
        applied.len() as u64,
        "no schema_migrations was found that the reader may read",
    );
    tallies.find(compare(applied));
}

fn compare(applied: &[Applied]) -> Vec<Finding> {
    let mut groups: BTreeMap<&(String, String), Vec<&Applied>> = BTreeMap::new();
    for one in applied {
        groups.entry(&one.of).or_default().push(one);
    }
    let mut findings = Vec::new();
    for group in groups.into_values() {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for one in &group {
            *counts.entry(one.version).or_default() += 1;
        }
        // Of two that are as common the newer one.
        let usual = counts
            .iter()
            .max_by_key(|(version, count)| (**count, **version));
        let usual = usual.map_or(0, |(version, _)| *version);
        for one in group {
            let mut wrong = Vec::new();
            if one.version != usual {
                wrong.push(format!(
                    "it is at version {}, and most are at {usual}",
                    one.version
                ));
            }
            if one.dirty {
                wrong.push(format!("migration {} stopped half way", one.version));
            }
            if !wrong.is_empty() {
                let mut finding = Finding::new(known(ID), &one.cluster, &one.place);
                finding.to = vec![one.tenant.clone()];
                finding.evidence = wrong.join("; ");
                findings.push(finding);
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_few_are_named_and_services_are_apart() {
        let one = |tenant: &str, service: &str, version, dirty| Applied {
            tenant: tenant.into(),
            of: (service.into(), String::new()),
            cluster: "h:1".into(),
            place: tenant.into(),
            version,
            dirty,
        };
        let mut all = vec![
            one("a", "ledger", 3, false),
            one("b", "ledger", 3, false),
            one("c", "crm", 9, false),
        ];
        assert!(compare(&all).is_empty());
        all.push(one("d", "ledger", 2, false));
        all.push(one("e", "crm", 9, true));
        let found = compare(&all);
        let tenants: Vec<&str> = found.iter().map(|f| f.to[0].as_str()).collect();
        assert_eq!(tenants, ["e", "d"]);
    }
}
