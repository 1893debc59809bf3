//! What running products are probed with, and what the inventory adds to it.

use std::sync::Arc;

use url::Url;

use super::{Manager, Recipe, Side, Signer, Target};
use crate::isolation::inventory::Inventory;
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;

/// What products are probed with, whatever the fleet is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The products, and where they are.
    pub products: Vec<(Recipe, Url)>,
    /// The two tenants.
    pub sides: [Side; 2],
    /// Whether resources may be made, and removed again.
    pub writes: bool,
    /// Requests for the check under load.
    pub requests: u32,
    /// Token of a tenant that is suspended.
    pub suspended: Option<Secret>,
    /// What really signs tokens there, where it is at hand.
    pub signer: Option<Arc<Signer>>,
    /// The Tenant Manager.
    pub manager: Option<Manager>,
    /// Databases of the products themselves, where nothing of a tenant may land.
    pub databases: Vec<PostgresEndpoint>,
}

impl Plan {
    /// Returns the products, with names and places as the inventory knows them.
    pub fn targets(&self, inventory: &Inventory) -> Vec<Target> {
        let mut sides = self.sides.clone();
        for side in &mut sides {
            let id = side.id();
            if let Some(store) = inventory.stores.iter().find(|store| store.tenant_id == id) {
                side.name.clone_from(&store.tenant);
            }
        }
        let second = sides[1].id();
        let target = |(recipe, base): &(Recipe, Url)| {
            let mut manager = self.manager.clone();
            if let Some(manager) = &mut manager {
                manager.other_services = others(inventory, &second, &recipe.service);
            }
            Target {
                recipe: recipe.clone(),
                base: base.clone(),
                sides: sides.clone(),
                writes: self.writes,
                requests: self.requests,
                suspended: self.suspended.clone(),
                signer: self.signer.clone(),
                manager,
                databases: self.databases.clone(),
                inner_names: inner_names(inventory),
            }
        };
        self.products.iter().map(target).collect()
    }
}

/// Returns the services of a tenant besides `service`.
fn others(inventory: &Inventory, tenant: &str, service: &str) -> Vec<String> {
    let stores = inventory.stores.iter();
    let other = stores.filter(|store| store.tenant_id == tenant && store.service != service);
    let mut services: Vec<String> = other.map(|store| store.service.clone()).collect();
    services.sort();
    services.dedup();
    services.retain(|service| !service.is_empty());
    services
}

/// Names that a caller of a product has no business to know.
fn inner_names(inventory: &Inventory) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for store in &inventory.stores {
        names.extend([store.database.clone(), store.login.clone()]);
        names.extend(store.schema.clone());
        if !store.is_local() {
            names.push(store.host.clone());
        }
    }
    names.sort();
    names.dedup();
    names
}
