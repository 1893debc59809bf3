//! Which RabbitMQ is looked at, and how.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::isolation::rabbitmq::{Management, Options};
use crate::link::LinkError;

/// Largest file of certificates.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Flags of the checks of RabbitMQ. Virtual hosts and users of tenants are those that the Tenant
/// Manager hands out, or `[[rabbitmq]]` of the inventory file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "RabbitMQ")]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub struct RabbitmqArgs {
    /// File with an http(s)://user:password@host:15672 URL of the management interface; one per broker
    #[arg(long, value_name = "FILE")]
    rabbitmq_url_file: Vec<PathBuf>,

    /// Certificates to trust for the management interface, PEM
    #[arg(long, value_name = "FILE")]
    rabbitmq_ca_file: Option<PathBuf>,

    /// User that may do everything, besides the one that logs in; may be repeated
    #[arg(long, value_name = "USER")]
    rabbitmq_trusted: Vec<String>,
}

impl RabbitmqArgs {
    /// Returns how RabbitMQ is looked at.
    pub(super) fn options(&self, run: &Invocation) -> Result<Options, Failure> {
        let ca = match &self.rabbitmq_ca_file {
            Some(path) => {
                let bytes = run.read_input(path, FILE_BYTES, "the certificates")?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            None => None,
        };
        Ok(Options {
            brokers: brokers(run, &self.rabbitmq_url_file, ca.as_deref())?,
            trusted: self.rabbitmq_trusted.clone(),
        })
    }
}

/// Reads the addresses of management interfaces.
pub fn brokers(
    run: &Invocation,
    files: &[PathBuf],
    ca: Option<&str>,
) -> Result<Vec<Management>, Failure> {
    let mut brokers = Vec::new();
    for path in files {
        let url = run.read_secret(path, "the RabbitMQ URL")?;
        let broker =
            Management::parse_url(url.expose(), ca).map_err(|reason| LinkError::Address {
                what: "the RabbitMQ URL".into(),
                reason,
            })?;
        brokers.push(broker);
    }
    Ok(brokers)
}
