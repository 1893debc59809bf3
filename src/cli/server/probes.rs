//! Flags of `server start` about products that the server probes over HTTP.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::cli::isolation::http::{
    RecipeVariable, WHOSE, of_side, products, refuse_one_tenant, refuse_plain, side_of, signer_of,
    variable,
};
use crate::config::variables::SERVER_ISOLATION_PRODUCT_DATABASE_URL;
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use crate::server::ProductProbes;

/// Which products, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Check of isolation: products over HTTP")]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub(super) struct ProbeArgs {
    /// Probe a running product: ledger, crm, tracer, reporter, sample, or a file; may be repeated
    #[arg(
        long,
        value_name = "NAME|FILE",
        requires = "isolation_token_a_file",
        requires = "isolation_token_b_file"
    )]
    isolation_recipe: Vec<String>,

    /// Where the product is, instead of what the recipe says
    #[arg(long, value_name = "URL", requires = "isolation_recipe")]
    isolation_product_url: Option<Url>,

    /// File with a token of the first probe tenant; read again before each check
    #[arg(long, value_name = "FILE", requires = "isolation_recipe")]
    isolation_token_a_file: Option<PathBuf>,

    /// File with a token of the second probe tenant; read again before each check
    #[arg(long, value_name = "FILE", requires = "isolation_recipe")]
    isolation_token_b_file: Option<PathBuf>,

    /// File with a token of a tenant that is suspended; read again before each check
    #[arg(long, value_name = "FILE", requires = "isolation_recipe")]
    isolation_suspended_token_file: Option<PathBuf>,

    /// Address of the key set that tokens are signed with, instead of what the recipe says
    #[arg(long, value_name = "URL", requires = "isolation_recipe")]
    isolation_jwks: Option<Url>,

    /// File with the RSA key that signs tokens, on a test deployment: for claims that must not count;
    /// read again before each check
    #[arg(long, value_name = "FILE", requires = "isolation_recipe")]
    isolation_token_key_file: Option<PathBuf>,

    /// Where products reach this Tenant Manager: whether it tells passwords without a key
    #[arg(long, value_name = "URL", requires = "isolation_service_key_file")]
    isolation_server: Option<Url>,

    /// File with the key that the product itself has at the Tenant Manager; read again before each check
    #[arg(
        long,
        value_name = "FILE",
        requires = "isolation_recipe",
        requires = "isolation_server"
    )]
    isolation_service_key_file: Option<PathBuf>,

    /// Make resources in both probe tenants, and remove them again: never with a customer's tenant
    #[arg(long, requires = "isolation_recipe")]
    isolation_probe_writes: bool,

    /// File with a postgres:// URL of the product's own database, where nothing of a tenant may land; may
    /// be repeated [variable: LERIANCTL_SERVER_ISOLATION_PRODUCT_DATABASE_URL]
    #[arg(long, value_name = "FILE", requires = "isolation_probe_writes")]
    isolation_product_database_url_file: Vec<PathBuf>,

    /// Requests of the check under load; below 100000 it is a sample
    #[arg(long, value_name = "COUNT", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    isolation_http_requests: u32,

    /// What a recipe needs to know of a tenant, as `a.NAME=VALUE` or `b.NAME=VALUE`
    #[arg(long, value_name = "SIDE.NAME=VALUE", value_parser = variable, requires = "isolation_recipe")]
    isolation_recipe_variable: Vec<RecipeVariable>,
}

impl ProbeArgs {
    /// Returns how products are probed; nothing when none was named. What cannot be used is told
    /// now, and not by the first check.
    pub(super) fn probes(&self, run: &Invocation) -> Result<Option<ProductProbes>, Failure> {
        let (Some(a), Some(b)) = (&self.isolation_token_a_file, &self.isolation_token_b_file)
        else {
            return Ok(None);
        };
        let variables = &self.isolation_recipe_variable;
        let probes = ProductProbes {
            products: products(
                run,
                &self.isolation_recipe,
                self.isolation_product_url.as_ref(),
                self.isolation_jwks.as_ref(),
            )?,
            tokens: [a.clone(), b.clone()],
            variables: [of_side(0, variables), of_side(1, variables)],
            suspended: self.isolation_suspended_token_file.clone(),
            writes: self.isolation_probe_writes,
            requests: self.isolation_http_requests,
            token_key: self.isolation_token_key_file.clone(),
            manager: self
                .isolation_server
                .clone()
                .zip(self.isolation_service_key_file.clone()),
            databases: self.databases(run)?,
        };
        let side = |at: usize| {
            let token = run.read_secret(&probes.tokens[at], WHOSE[at])?;
            side_of(at, token, variables)
        };
        refuse_one_tenant(&[side(0)?, side(1)?])?;
        if let Some(path) = &probes.suspended {
            run.read_secret(path, "the suspended tenant's token")?;
        }
        if let Some(path) = &probes.token_key {
            signer_of(run, path)?;
        }
        if let Some((base, path)) = &probes.manager {
            refuse_plain(base, "the product's key")?;
            run.read_secret(path, "the product's key")?;
        }
        Ok(Some(probes))
    }

    /// Returns the products' own databases: those of the files, or else that of the variable.
    fn databases(&self, run: &Invocation) -> Result<Vec<PostgresEndpoint>, Failure> {
        let mut urls = Vec::new();
        for path in &self.isolation_product_database_url_file {
            urls.push(run.read_secret(path, "the PostgreSQL URL")?);
        }
        if urls.is_empty() {
            let variable = run
                .environment
                .variable(SERVER_ISOLATION_PRODUCT_DATABASE_URL);
            urls.extend(variable.filter(|url| !url.is_empty()).map(Secret::new));
        }
        let parsed = urls
            .iter()
            .map(|url| PostgresEndpoint::parse_url(url.expose()));
        Ok(parsed.collect::<Result<Vec<_>, _>>()?)
    }
}
