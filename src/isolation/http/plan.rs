//! What running products are probed with, and what the inventory adds to it.

use url::Url;

use super::{Means, Recipe, Target};
use crate::isolation::inventory::Inventory;

/// What products are probed with, whatever the fleet is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The products, and where they are.
    pub products: Vec<(Recipe, Url)>,
    /// What they are probed with.
    pub means: Means,
}

impl Plan {
    /// Returns the products, with names and places as the inventory knows them.
    pub fn targets(&self, inventory: &Inventory) -> Vec<Target> {
        let mut means = self.means.clone();
        for side in &mut means.sides {
            let id = side.id();
            if let Some(store) = inventory.stores.iter().find(|store| store.tenant_id == id) {
                side.name.clone_from(&store.tenant);
            }
        }
        let second = means.sides[1].id();
        let target = |(recipe, base): &(Recipe, Url)| {
            let mut means = means.clone();
            if let Some(manager) = &mut means.manager {
                manager.other_services = others(inventory, &second, &recipe.service);
            }
            Target {
                recipe: recipe.clone(),
                base: base.clone(),
                means,
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
