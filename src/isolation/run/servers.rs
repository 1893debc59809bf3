//! Which addresses are one server: a name and its number, two names, a pooler and what is behind it.
//! Tenants of one server are looked at together, whatever they are told to connect to.

use std::collections::BTreeMap;

use super::Settings;
use crate::isolation::audit::READ_ONLY;
use crate::isolation::inventory::{Inventory, Store};
use crate::link::postgres::{Gate, PostgresEndpoint};

/// Addresses, each with the one that its server goes by.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Asks every address who is there, where there are several.
    pub(super) async fn learn(inventory: &Inventory, settings: &Settings, gate: &Gate) -> Self {
        let clusters = inventory.clusters();
        let mut names = BTreeMap::new();
        if clusters.len() < 2 {
            return Self(names);
        }
        let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut addresses: Vec<(&String, &Vec<&Store>)> = clusters.iter().collect();
        // A server goes by the address that an auditor is given for.
        let has_auditor = |address: &str| settings.auditors.iter().any(|a| a.address() == address);
        addresses.sort_by_key(|(address, _)| !has_auditor(address));
        for (address, stores) in addresses {
            let auditor = settings.auditors.iter().find(|a| a.address() == *address);
            let own = stores.iter().find_map(|store| store.endpoint());
            let Some(endpoint) = auditor.cloned().or(own) else {
                continue;
            };
            if let Some(identity) = identity(gate, endpoint).await {
                let name = known.entry(identity).or_insert_with(|| address.clone());
                names.insert(address.clone(), name.clone());
            }
        }
        Self(names)
    }

    /// Returns the address that the server at `address` goes by.
    pub(super) fn of(&self, address: &str) -> String {
        self.0
            .get(address)
            .map_or(address, String::as_str)
            .to_owned()
    }

    /// Returns the stores by server.
    pub(super) fn group<'a>(
        &self,
        stores: impl IntoIterator<Item = &'a Store>,
    ) -> BTreeMap<String, Vec<&'a Store>> {
        let mut groups: BTreeMap<String, Vec<&Store>> = BTreeMap::new();
        for store in stores {
            groups
                .entry(self.of(&store.cluster()))
                .or_default()
                .push(store);
        }
        groups
    }
}

/// Returns the identity of the data and the start of the process, which a copy does not share.
async fn identity(gate: &Gate, endpoint: PostgresEndpoint) -> Option<(String, String)> {
    let endpoint = PostgresEndpoint {
        search_path: None,
        ..endpoint
    };
    let session = gate.connect(&endpoint, READ_ONLY).await.ok()?;
    let query =
        "SELECT system_identifier::text, pg_postmaster_start_time()::text FROM pg_control_system()";
    let row = session.query_typed_one(query, &[]).await;
    session.close().await;
    let row = row.ok()?;
    Some((row.get(0), row.get(1)))
}
