//! The products' environments, next to which tenants are checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::boot::Product;
use crate::boot::input::{self, Found, LARGEST};
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::isolation::products::ProductEnvironment;
use crate::isolation::run::Settings;

/// What products are told.
#[derive(Debug, Args)]
pub(super) struct ProductArgs {
    /// A product's environment, lines of NAME=value; the product is told from it; may be repeated
    #[arg(long, value_name = "[PRODUCT=]FILE", value_parser = parse)]
    product_env: Vec<Given>,

    /// Replicas of each product, to count connections
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    replicas: u32,

    /// How long a retired login stays valid; otherwise what the Tenant Manager says, or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    rotation_grace: Option<Duration>,

    /// Cluster that tenants may be led to, as `host:port`; may be repeated; any when absent
    #[arg(long, value_name = "HOST:PORT")]
    cluster: Vec<String>,
}

/// A file, and the product when it was said.
#[derive(Debug, Clone)]
struct Given {
    product: Option<Product>,
    file: PathBuf,
}

fn parse(text: &str) -> Result<Given, String> {
    match text.split_once('=') {
        Some((name, file)) if !name.contains(['/', '.']) => {
            let product = Product::named(name).ok_or_else(|| {
                let names = Product::ALL.map(Product::as_str).join(", ");
                format!("`{name}` is none of {names}")
            })?;
            Ok(Given {
                product: Some(product),
                file: file.into(),
            })
        }
        _ => Ok(Given {
            product: None,
            file: text.into(),
        }),
    }
}

impl ProductArgs {
    /// Reads the environments into the settings of a run.
    pub(super) fn apply(&self, run: &Invocation, settings: &mut Settings) -> Result<(), Failure> {
        settings.grace = self.rotation_grace;
        settings.clusters.clone_from(&self.cluster);
        for given in &self.product_env {
            let name = given.file.display().to_string();
            let bytes = run.read_input(&given.file, LARGEST, "the environment")?;
            let variables = input::lines(&bytes).map_err(|error| {
                Failure::new(Kind::Usage, "input.structure", format!("`{name}` {error}"))
            })?;
            let found = Found {
                component: String::new(),
                names: vec![name.clone()],
                variables,
                product: given.product,
            };
            let product = found.tell().ok_or_else(|| {
                let names = Product::ALL.map(Product::as_str).join(", ");
                Failure::new(
                    Kind::Usage,
                    "env.no_product",
                    format!("the product cannot be told from `{name}`"),
                )
                .hint(format!(
                    "say which it is with `--product-env PRODUCT={name}`: {names}"
                ))
            })?;
            settings.products.push(ProductEnvironment {
                source: name,
                product,
                variables: found.variables,
                replicas: self.replicas,
            });
        }
        Ok(())
    }
}
