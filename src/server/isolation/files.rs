//! Files that are read anew before each check, because somebody may have changed them meanwhile:
//! waivers, the baseline, the tokens of the tenants that may be probed, the keys of these probes.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::isolation::http::{Manager, Means, Plan, Recipe, Side, Signer};
use crate::isolation::model::Finding;
use crate::isolation::report::Isolation;
use crate::isolation::verdict::{Waivers, contradictions};
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;

/// Largest file of waivers in bytes.
const WAIVER_BYTES: u64 = 1024 * 1024;
/// Largest report.
const REPORT_BYTES: u64 = 256 * 1024 * 1024;
/// Largest token.
const TOKEN_BYTES: u64 = 64 * 1024;

/// Running products that are probed over HTTP, as two tenants that may be probed.
#[derive(Debug, Clone)]
pub struct ProductProbes {
    /// How each is probed, and where it is.
    pub products: Vec<(Recipe, Url)>,
    /// Files with the tokens of the two tenants.
    pub tokens: [PathBuf; 2],
    /// What the recipes need to know of them.
    pub variables: [BTreeMap<String, String>; 2],
    /// File with the token of a tenant that is suspended.
    pub suspended: Option<PathBuf>,
    /// Whether resources may be made in both tenants, and removed again.
    pub writes: bool,
    /// Requests for the check under load.
    pub requests: u32,
    /// File with the key that signs tokens, on a test deployment.
    pub token_key: Option<PathBuf>,
    /// Where products reach the Tenant Manager, and the file with the key that they have there.
    pub manager: Option<(Url, PathBuf)>,
    /// Databases of the products themselves, where nothing of a tenant may land.
    pub databases: Vec<PostgresEndpoint>,
}

impl ProductProbes {
    /// Reads the tokens, which expire and are written anew by whoever keeps them valid.
    pub fn plan(&self) -> Result<Plan, String> {
        let side = |at: usize| -> Result<Side, String> {
            let path = &self.tokens[at];
            let token = token(path)?;
            let failed = |reason| format!("the token in `{}`: {reason}", path.display());
            Side::new(token, self.variables[at].clone()).map_err(failed)
        };
        let plan = Plan {
            products: self.products.clone(),
            means: Means {
                sides: [side(0)?, side(1)?],
                writes: self.writes,
                requests: self.requests,
                suspended: self.suspended.as_deref().map(token).transpose()?,
                signer: self.token_key.as_deref().map(signer).transpose()?,
                manager: self.manager.as_ref().map(manager).transpose()?,
                databases: self.databases.clone(),
            },
        };
        if Side::are_one(&plan.means.sides) {
            return Err("both tokens of the products' probes are of the same tenant".into());
        }
        Ok(plan)
    }
}

fn text(path: &Path, most: u64, what: &str) -> Result<String, String> {
    let failed = |reason: String| format!("{what} in `{}`: {reason}", path.display());
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    let read = file
        .take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    if read as u64 > most {
        return Err(failed(format!("it is larger than {most} bytes")));
    }
    Ok(text)
}

fn token(path: &Path) -> Result<Secret, String> {
    secret(path, "the token")
}

fn secret(path: &Path, what: &str) -> Result<Secret, String> {
    let text = Secret::new(text(path, TOKEN_BYTES, what)?);
    Ok(Secret::new(text.expose().trim_end()))
}

fn signer(path: &Path) -> Result<Arc<Signer>, String> {
    let failed = |reason| format!("the signing key in `{}`: {reason}", path.display());
    let pem = secret(path, "the signing key")?;
    Signer::from_pem(&pem).map(Arc::new).map_err(failed)
}

/// The product's own key is one that is accepted, for what is the product's.
fn manager((base, path): &(Url, PathBuf)) -> Result<Manager, String> {
    let key = secret(path, "the product's key")?;
    Ok(Manager {
        base: base.clone(),
        key: key.clone(),
        service_key: Some(key),
        other_services: Vec::new(),
    })
}

/// Reads a file of waivers.
pub fn read_waivers(path: &Path) -> Result<Waivers, String> {
    let text = text(path, WAIVER_BYTES, "the waivers")?;
    let failed = |reason| format!("the waivers in `{}`: {reason}", path.display());
    Waivers::parse(&text).map_err(failed)
}

/// Reads the findings of an earlier report, as `-o json` prints it or a server keeps it.
pub fn read_baseline(path: &Path) -> Result<Vec<Finding>, String> {
    let text = text(path, REPORT_BYTES, "the baseline")?;
    let failed = |reason: String| format!("the baseline in `{}`: {reason}", path.display());
    let report: Isolation =
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    match contradictions(&report).first() {
        None => Ok(report.findings),
        Some(wrong) => Err(failed((*wrong).to_owned())),
    }
}
