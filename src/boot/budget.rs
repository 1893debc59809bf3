//! How many connections a product may open on a PostgreSQL or MongoDB server.

use schemars::JsonSchema;
use serde::Serialize;

use super::product::Product;
use super::rules::{Effect, Finding};
use super::variables::Variables;

/// Connections that a tenant's pool may hold when nothing else is said.
const PER_POOL: i64 = 25;
/// Most that the library lets one have.
const PER_POOL_CAP: i64 = 200;
/// Connections per tenant and module of MongoDB.
const PER_MONGO: i64 = 100;

/// What the deployment has.
#[derive(Debug, Clone, Copy)]
pub struct Deployment {
    /// Tenants.
    pub tenants: u32,
    /// Replicas of the product.
    pub replicas: u32,
    /// `max_connections` of the server.
    pub max_connections: u32,
}

/// The count, with everything that it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Which server: `postgresql` or `mongodb`.
    pub server: &'static str,
    /// Tenants that are open at once in one process.
    pub hot_tenants: i64,
    /// Whether a variable limits them.
    pub limited: bool,
    /// Modules with a database of their own.
    pub modules: i64,
    /// Connections of one pool.
    pub per_pool: i64,
    /// Pools per module on the primary: two without a read replica.
    pub pools: i64,
    /// Replicas of the product.
    pub replicas: i64,
    /// Most connections, static pools included.
    pub connections: i64,
    /// Connections of static pools among them.
    pub static_connections: i64,
    /// What may be used: four fifths of `max_connections`.
    pub allowed: i64,
    /// How it was counted.
    pub formula: String,
}

impl Budget {
    /// Counts the connections of `product`.
    pub fn of(product: Product, variables: &Variables, deployment: Deployment) -> Self {
        let modules = match product {
            Product::Ledger | Product::Ledger4 => 2,
            _ => 1,
        };
        let postgres = matches!(
            product,
            Product::Ledger | Product::Ledger4 | Product::Tracer | Product::Matcher
        );
        let tenants = i64::from(deployment.tenants);
        let replicas = i64::from(deployment.replicas);
        let cap = cap(product, variables);
        let hot = cap.map_or(tenants, |cap| cap.min(tenants));
        let (per_pool, pools) = if postgres {
            (per_pool(product, variables), 2)
        } else {
            (PER_MONGO, 1)
        };
        let fixed = static_connections(product, variables);
        let per_replica = hot
            .saturating_mul(modules)
            .saturating_mul(per_pool)
            .saturating_mul(pools)
            .saturating_add(fixed);
        Self {
            server: if postgres { "postgresql" } else { "mongodb" },
            hot_tenants: hot,
            limited: cap.is_some(),
            modules,
            per_pool,
            pools,
            replicas,
            connections: per_replica.saturating_mul(replicas),
            static_connections: fixed.saturating_mul(replicas),
            allowed: i64::from(deployment.max_connections) * 4 / 5,
            formula: format!(
                "{replicas} replicas × ({hot} tenants × {modules} modules × {per_pool} connections × {pools} pools + {fixed} static)"
            ),
        }
    }

    /// Returns a finding when there are more than the server has.
    pub fn finding(&self) -> Option<Finding> {
        if self.server != "postgresql" || self.connections <= self.allowed {
            return None;
        }
        let message = format!(
            "up to {} connections, and {} may be used: {}",
            self.connections, self.allowed, self.formula
        );
        Some(Finding::new("budget-exceeded", Effect::Degraded, message))
    }
}

/// Returns the limit of open tenants, where there is one.
fn cap(product: Product, variables: &Variables) -> Option<i64> {
    let said = variables.number("MULTI_TENANT_MAX_TENANT_POOLS");
    match product {
        Product::Ledger | Product::Ledger4 => None,
        Product::Crm | Product::Reporter => (said > 0).then_some(said),
        _ if said > 0 => Some(said),
        _ => Some(100),
    }
}

fn per_pool(product: Product, variables: &Variables) -> i64 {
    let said = variables.number("MULTI_TENANT_MAX_OPEN_CONNS_PER_TENANT");
    if product == Product::Tracer && said > 0 {
        said.min(PER_POOL_CAP)
    } else {
        PER_POOL
    }
}

/// Static pools exist in multi-tenant mode too, and nothing uses them there: a connection or two
/// each, not their limit.
fn static_connections(product: Product, variables: &Variables) -> i64 {
    let multi_tenant = variables.flag("MULTI_TENANT_ENABLED", false);
    let limit = |name: &str| match variables.number(name) {
        0 => PER_POOL,
        limit => limit,
    };
    match (product, multi_tenant) {
        (Product::Ledger | Product::Ledger4, true) => 4,
        (Product::Ledger | Product::Ledger4, false) => {
            limit("DB_ONBOARDING_MAX_OPEN_CONNS") + limit("DB_TRANSACTION_MAX_OPEN_CONNS")
        }
        (Product::Tracer | Product::Matcher, true) => 2,
        (Product::Tracer | Product::Matcher, false) => PER_POOL,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(product: Product, pairs: &[(&str, &str)], tenants: u32) -> Budget {
        let variables: Variables = pairs.iter().copied().collect();
        let deployment = Deployment {
            tenants,
            replicas: 3,
            max_connections: 500,
        };
        Budget::of(product, &variables, deployment)
    }

    const ON: (&str, &str) = ("MULTI_TENANT_ENABLED", "true");

    #[test]
    fn the_formula_is_that_of_the_library() {
        let ledger = count(
            Product::Ledger,
            &[ON, ("MULTI_TENANT_MAX_TENANT_POOLS", "1")],
            7,
        );
        assert_eq!(ledger.connections - ledger.static_connections, 300 * 7);
        assert!(!ledger.limited && ledger.finding().is_some());
        let tracer = count(Product::Tracer, &[ON], 1000);
        assert_eq!(tracer.connections - tracer.static_connections, 15_000);
        assert!(tracer.limited);
        let small = [
            ON,
            ("MULTI_TENANT_MAX_TENANT_POOLS", "5"),
            ("MULTI_TENANT_MAX_OPEN_CONNS_PER_TENANT", "10"),
        ];
        let tracer = count(Product::Tracer, &small, 1000);
        assert_eq!(tracer.connections, 3 * (5 * 10 * 2 + 2));
        assert_eq!((tracer.allowed, tracer.finding()), (400, None));
        let crm = count(Product::Crm, &[ON], 10);
        assert_eq!((crm.server, crm.connections), ("mongodb", 3 * 10 * 100));
        assert!(crm.finding().is_none());
    }

    #[test]
    fn nothing_overflows() {
        let huge = [ON, ("MULTI_TENANT_MAX_TENANT_POOLS", "9223372036854775807")];
        let variables: Variables = huge.into_iter().collect();
        let deployment = Deployment {
            tenants: u32::MAX,
            replicas: u32::MAX,
            max_connections: u32::MAX,
        };
        for product in Product::ALL {
            assert!(Budget::of(product, &variables, deployment).connections >= 0);
        }
    }
}
