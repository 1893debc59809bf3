//! Which RabbitMQ is looked at, and how.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::rabbitmq::{Management, Options};
use crate::link::{LinkError, tls};

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

    /// Certificates to trust for RabbitMQ, PEM: the management interface, and AMQP over TLS
    #[arg(long, value_name = "FILE")]
    rabbitmq_ca_file: Option<PathBuf>,

    /// User that may do everything, besides the one that logs in; may be repeated
    #[arg(long, value_name = "USER")]
    rabbitmq_trusted: Vec<String>,
}

impl RabbitmqArgs {
    /// Returns how RabbitMQ is looked at.
    pub(super) fn options(&self, run: &Invocation) -> Result<Options, Failure> {
        let ca = certificates(run, self.rabbitmq_ca_file.as_deref())?;
        Ok(Options {
            brokers: brokers(run, &self.rabbitmq_url_file, ca.as_deref())?,
            trusted: self.rabbitmq_trusted.clone(),
            ca_pem: ca,
        })
    }
}

/// Reads certificates to trust, of which there has to be one.
pub fn certificates(run: &Invocation, file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = file else { return Ok(None) };
    let bytes = run.read_input(path, FILE_BYTES, "the certificates")?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // Told whatever the address is: with plain HTTP nobody else would read them.
    tls::client_config(Some(&text)).map_err(|error| {
        Failure::new(
            Kind::Usage,
            "isolation.certificates",
            format!("`{}` holds no certificates to trust", path.display()),
        )
        .cause(error)
        .hint("name a PEM file with the certificate of the authority")
    })?;
    Ok(Some(text))
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
