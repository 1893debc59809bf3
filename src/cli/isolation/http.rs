//! The products that are probed over HTTP, and the tenants whose tokens are used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use url::Url;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::http::{Manager, Means, Plan, Recipe, Side, Signer, Target};
use crate::isolation::inventory::Inventory;
use crate::secret::Secret;

/// Largest recipe.
const RECIPE_BYTES: u64 = 1024 * 1024;

/// Which products, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Products over HTTP")]
pub(super) struct HttpArgs {
    /// Probe a running product: ledger, crm, tracer, reporter, sample, or a file; may be repeated
    #[arg(
        long,
        value_name = "NAME|FILE",
        requires = "side_a",
        requires = "side_b"
    )]
    recipe: Vec<String>,

    /// Where the product is, instead of what the recipe says
    #[arg(long, value_name = "URL")]
    product_url: Option<Url>,

    /// File with a token of the first probe tenant
    #[arg(long, value_name = "FILE", group = "side_a")]
    token_a_file: Option<PathBuf>,

    /// Variable with a token of the first probe tenant
    #[arg(long, value_name = "NAME", group = "side_a")]
    token_a_variable: Option<String>,

    /// File with a token of the second probe tenant
    #[arg(long, value_name = "FILE", group = "side_b")]
    token_b_file: Option<PathBuf>,

    /// Variable with a token of the second probe tenant
    #[arg(long, value_name = "NAME", group = "side_b")]
    token_b_variable: Option<String>,

    /// File with a token of a tenant that is suspended
    #[arg(long, value_name = "FILE", requires = "recipe")]
    suspended_token_file: Option<PathBuf>,

    /// File with the RSA key that signs tokens, on a test deployment: for claims that must not count
    #[arg(long, value_name = "FILE", requires = "recipe")]
    token_key_file: Option<PathBuf>,

    /// Address of the key set that tokens are signed with, instead of what the recipe says
    #[arg(long, value_name = "URL", requires = "recipe")]
    jwks: Option<Url>,

    /// File with the key that the product itself has at the Tenant Manager
    #[arg(long, value_name = "FILE", requires = "recipe")]
    service_key_file: Option<PathBuf>,

    /// Make resources in both probe tenants, and remove them again: never with a customer's tenant
    #[arg(long, requires = "recipe")]
    probe_writes: bool,

    /// File with a postgres:// URL of the product's own database, where nothing of a tenant may land
    #[arg(long, value_name = "FILE", requires = "probe_writes")]
    product_database_url_file: Vec<PathBuf>,

    /// Requests of the check under load; below 100000 it is a sample
    #[arg(long, value_name = "COUNT", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    http_requests: u32,

    /// What a recipe needs to know of a tenant, as `a.NAME=VALUE` or `b.NAME=VALUE`
    #[arg(long, value_name = "SIDE.NAME=VALUE", value_parser = variable)]
    recipe_variable: Vec<RecipeVariable>,
}

/// A tenant's number, and what a recipe needs to know of it.
pub type RecipeVariable = (usize, String, String);

/// Understands `a.NAME=VALUE`.
pub fn variable(text: &str) -> Result<RecipeVariable, String> {
    let (place, value) = text
        .split_once('=')
        .ok_or("must be a.NAME=VALUE or b.NAME=VALUE")?;
    let (side, name) = match place.split_once('.') {
        Some(("a", name)) => (0, name),
        Some(("b", name)) => (1, name),
        _ => return Err("must begin with `a.` or `b.`, for the tenant".into()),
    };
    Ok((side, name.to_owned(), value.to_owned()))
}

impl HttpArgs {
    /// Returns true when a product is to be probed.
    pub(super) fn asked(&self) -> bool {
        !self.recipe.is_empty()
    }

    /// Returns the products, with names and places as the inventory knows them.
    pub(super) fn targets(
        &self,
        run: &Invocation,
        inventory: &Inventory,
    ) -> Result<Vec<Target>, Failure> {
        if !self.asked() {
            return Ok(Vec::new());
        }
        let side = |at, file: &Option<PathBuf>, name: &Option<String>| {
            self.side(run, at, file.as_deref(), name.as_deref())
        };
        let sides = [
            side(0, &self.token_a_file, &self.token_a_variable)?,
            side(1, &self.token_b_file, &self.token_b_variable)?,
        ];
        let read = |path: &Option<PathBuf>, what| match path {
            Some(path) => run.read_secret(path, what).map(Some),
            None => Ok(None),
        };
        let suspended = read(&self.suspended_token_file, "the suspended tenant's token")?;
        let signer = self.token_key_file.as_deref();
        let signer = signer.map(|path| signer_of(run, path)).transpose()?;
        // Without a Tenant Manager its check is left out, and says so.
        let service_key = read(&self.service_key_file, "the product's key")?;
        let manager = match run.config()?.server()? {
            Some(_) => run.client_settings().ok().map(|client| Manager {
                base: client.base,
                key: client.api_key,
                service_key,
                other_services: Vec::new(),
            }),
            None => None,
        };
        let plan = Plan {
            products: products(
                run,
                &self.recipe,
                self.product_url.as_ref(),
                self.jwks.as_ref(),
            )?,
            means: Means {
                sides,
                writes: self.probe_writes,
                requests: self.http_requests,
                suspended,
                signer,
                manager: manager.filter(|manager| !manager.key.is_empty()),
                databases: super::check::operators(run, &self.product_database_url_file)?,
            },
        };
        refuse_one_tenant(&plan.means.sides)?;
        Ok(plan.targets(inventory))
    }

    fn side(
        &self,
        run: &Invocation,
        at: usize,
        file: Option<&Path>,
        name: Option<&str>,
    ) -> Result<Side, Failure> {
        let what = WHOSE[at];
        let token = match (file, name) {
            (Some(path), _) => run.read_secret(path, what)?,
            (None, Some(name)) => {
                let value = run.environment.variable(name).ok_or_else(|| {
                    let message = format!("there is no variable `{name}` for {what}");
                    Failure::new(Kind::Usage, "input.variable_unset", message)
                })?;
                Secret::new(value)
            }
            (None, None) => {
                return Err(Failure::new(
                    Kind::Usage,
                    "usage",
                    format!("{what} is missing"),
                ));
            }
        };
        side_of(at, token, &self.recipe_variable)
    }
}

/// Reads the key that signs tokens on a test deployment.
pub fn signer_of(run: &Invocation, path: &Path) -> Result<Arc<Signer>, Failure> {
    let pem = run.read_secret(path, "the signing key")?;
    let signer = Signer::from_pem(&pem).map_err(|reason| {
        Failure::new(
            Kind::Usage,
            "token.key_unusable",
            "the signing key cannot be used",
        )
        .cause(reason)
    })?;
    Ok(Arc::new(signer))
}

/// What the tokens are called in messages.
pub const WHOSE: [&str; 2] = ["the first tenant's token", "the second tenant's token"];

/// Returns a tenant that may be probed.
pub fn side_of(at: usize, token: Secret, variables: &[RecipeVariable]) -> Result<Side, Failure> {
    Side::new(token, of_side(at, variables)).map_err(|reason| {
        Failure::new(
            Kind::Usage,
            "isolation.token",
            format!("{} cannot be used: {reason}", WHOSE[at]),
        )
    })
}

/// Returns what recipes need to know of one of the tenants.
pub fn of_side(at: usize, variables: &[RecipeVariable]) -> BTreeMap<String, String> {
    variables
        .iter()
        .filter(|(side, _, _)| *side == at)
        .map(|(_, name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Refuses two tokens of one tenant.
pub fn refuse_one_tenant(sides: &[Side; 2]) -> Result<(), Failure> {
    if Side::are_one(sides) {
        return Err(Failure::new(
            Kind::Usage,
            "isolation.same_tenant",
            "both tokens are of the same tenant, so there is nobody to be kept apart",
        ));
    }
    Ok(())
}

/// Reads the recipes, and tells where each product is.
pub fn products(
    run: &Invocation,
    names: &[String],
    base: Option<&Url>,
    jwks: Option<&Url>,
) -> Result<Vec<(Recipe, Url)>, Failure> {
    let mut products = Vec::new();
    for name in names {
        let mut recipe = recipe(run, name)?;
        if let Some(address) = jwks {
            recipe.jwks = Some(address.to_string());
        }
        let base = match base {
            Some(url) => url.clone(),
            None => recipe
                .base
                .parse()
                .map_err(|error| unusable(name, &error))?,
        };
        refuse_plain(&base, "the tenants' tokens")?;
        products.push((recipe, base));
    }
    Ok(products)
}

fn recipe(run: &Invocation, name: &str) -> Result<Recipe, Failure> {
    if let Some(recipe) = Recipe::built_in(name) {
        return Ok(recipe);
    }
    if !name.contains(['.', '/']) {
        return Err(Failure::new(
            Kind::NotFound,
            "isolation.recipe",
            format!("there is no recipe `{name}`"),
        )
        .hint(format!(
            "built in are {}; a file is named with a path, such as ./{name}.toml",
            Recipe::names().join(", ")
        )));
    }
    let bytes = run.read_input(Path::new(name), RECIPE_BYTES, "the recipe")?;
    Recipe::parse(&String::from_utf8_lossy(&bytes)).map_err(|reason| unusable(name, &reason))
}

fn unusable(name: &str, reason: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Kind::Usage,
        "isolation.recipe",
        format!("the recipe `{name}` cannot be used"),
    )
    .cause(reason)
}

/// Secrets go over the wire: only this machine may be reached without encryption.
pub fn refuse_plain(base: &Url, what: &str) -> Result<(), Failure> {
    let loopback = match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if base.scheme() == "https" || (base.scheme() == "http" && loopback) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Usage,
        "isolation.product_url",
        format!(
            "`{}` is not encrypted, and {what} would go there",
            base.origin().ascii_serialization()
        ),
    )
    .hint("use https://, or forward a port of this machine to it"))
}
