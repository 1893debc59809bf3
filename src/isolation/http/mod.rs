//! Probes of a running product, with the tokens of two tenants: what must be refused, and what must
//! make no difference.
//!
//! Each probe stands between two positive controls: the unmodified token succeeds on the same
//! request before and after. Without them a missing route or a rate limiter would look like a
//! refusal, so the check stays unproven. Resources are made only when that was allowed, in the two
//! probe tenants, and removed again.

mod besides;
mod control;
mod forge;
mod load;
mod objects;
mod outcome;
mod plan;
mod recipe;
mod session;
mod talk;
mod tokens;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

pub use control::run as run_control;
pub use forge::Signer;
pub use outcome::Outcome;
pub use plan::Plan;
pub use recipe::{Collection, Recipe, Upload, VERSION};
pub use writes::Behind;

use super::model::Check;
use crate::contract::TenantId;
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use forge::Parts;
use session::Session;

/// A running product, and two tenants that may be probed there.
#[derive(Debug, Clone)]
pub struct Target {
    /// How it is probed.
    pub recipe: Recipe,
    /// Where it is.
    pub base: Url,
    /// What it is probed with.
    pub means: Means,
    /// Names that no refusal may give away: hosts, databases, schemas, logins.
    pub inner_names: Vec<String>,
}

/// What products are probed with.
#[derive(Debug, Clone)]
pub struct Means {
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

/// A tenant that may be probed.
#[derive(Debug, Clone)]
pub struct Side {
    /// Name in the report.
    pub name: String,
    /// A token of it, as a caller sends it.
    pub token: Secret,
    /// What the recipe needs to know of it.
    pub variables: BTreeMap<String, String>,
}

impl Side {
    /// Returns true when both tokens are of one tenant, so that nobody is to be kept apart.
    pub fn are_one([a, b]: &[Self; 2]) -> bool {
        a.id() == b.id()
    }

    /// Builds a tenant from its token; named by its slug, or its id, as the token says.
    pub fn new(token: Secret, variables: BTreeMap<String, String>) -> Result<Self, String> {
        let parts = Parts::of(&token).ok_or("it is not a token")?;
        let id = parts.claim("tenantId");
        if id.is_empty() {
            return Err("it has no claim `tenantId`".into());
        }
        let name = match parts.claim("tenantSlug") {
            "" => id,
            slug => slug,
        };
        Ok(Self {
            name: name.chars().filter(|c| !c.is_control()).take(80).collect(),
            token,
            variables,
        })
    }

    /// Returns the tenant's id, in its canonical form where it has one.
    pub fn id(&self) -> String {
        let parts = Parts::of(&self.token);
        let id = parts
            .map(|parts| parts.claim("tenantId").to_owned())
            .unwrap_or_default();
        TenantId::canonical(&id).map_or(id, String::from)
    }
}

/// The Tenant Manager, whose answers hold passwords.
#[derive(Debug, Clone)]
pub struct Manager {
    /// Where it is.
    pub base: Url,
    /// A key that it accepts.
    pub key: Secret,
    /// The key that the product itself has.
    pub service_key: Option<Secret>,
    /// Services that the second tenant has besides this one.
    pub other_services: Vec<String>,
}

/// Probes one product with every check that is wanted.
pub async fn run(target: &Target, wanted: &[&'static Check], behind: &Behind<'_>) -> Outcome {
    let mut session = match Session::open(target, wanted).await {
        Ok(session) => session,
        Err(reason) => {
            let mut outcome = Outcome::default();
            for check in wanted {
                outcome.unproven(check.id, reason.clone());
            }
            return outcome;
        }
    };
    tokens::run(&mut session).await;
    objects::run(&mut session).await;
    besides::run(&mut session).await;
    writes::run(&mut session, behind).await;
    load::run(&mut session).await;
    session.close().await
}
