//! Which MongoDB is looked at, and how.

use std::path::{Path, PathBuf};

use clap::Args;

use super::rabbitmq::certificates;
use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::isolation::mongodb::{Address, Options};
use crate::link::LinkError;

/// Flags of the checks of MongoDB. Databases and users of tenants are those that the Tenant Manager
/// hands out, or `[[mongodb]]` of the inventory file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "MongoDB")]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub struct MongodbArgs {
    /// File with the mongodb://user:password@host:27017 URL of an administrator; one per deployment
    #[arg(long, value_name = "FILE")]
    mongodb_url_file: Vec<PathBuf>,

    /// Certificates to trust for MongoDB, PEM
    #[arg(long, value_name = "FILE")]
    mongodb_ca_file: Option<PathBuf>,

    /// User that may do everything, besides the one that logs in; may be repeated
    #[arg(long, value_name = "USER")]
    mongodb_trusted: Vec<String>,
}

impl MongodbArgs {
    /// Returns how MongoDB is looked at.
    pub(super) fn options(&self, run: &Invocation) -> Result<Options, Failure> {
        options(
            run,
            &self.mongodb_url_file,
            self.mongodb_ca_file.as_deref(),
            &self.mongodb_trusted,
        )
    }
}

/// Reads the addresses of administrators, and the certificates to trust.
pub fn options(
    run: &Invocation,
    files: &[PathBuf],
    ca: Option<&Path>,
    trusted: &[String],
) -> Result<Options, Failure> {
    let ca_pem = certificates(run, ca)?;
    let mut readers = Vec::new();
    for path in files {
        let url = run.read_secret(path, "the MongoDB URL")?;
        let mut reader = Address::parse(url.expose()).map_err(|reason| LinkError::Address {
            what: "the MongoDB URL".into(),
            reason,
        })?;
        reader.ca_pem.clone_from(&ca_pem);
        readers.push(reader);
    }
    Ok(Options {
        readers,
        trusted: trusted.to_vec(),
        ca_pem,
    })
}
