//! How Kafka is looked at.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::isolation::kafka::{Options, parse};

/// Largest list that is read.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Flags of the checks of Kafka. Users of tenants are those that the Tenant Manager hands out, or
/// `[[kafka]]` of the inventory file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Access lists of Kafka, as `kafka-acls.sh --list` prints them; `-` for standard input
    #[arg(long, value_name = "FILE")]
    kafka_acls_file: Option<PathBuf>,
}

impl KafkaArgs {
    /// Returns how Kafka is looked at.
    pub(super) fn options(&self, run: &Invocation) -> Result<Options, Failure> {
        let Some(path) = &self.kafka_acls_file else {
            return Ok(Options::default());
        };
        let bytes = run.read_input(path, FILE_BYTES, "the access lists")?;
        let acls = parse(&String::from_utf8_lossy(&bytes)).map_err(|reason| {
            Failure::new(
                Kind::Usage,
                "isolation.kafka_acls",
                format!(
                    "the access lists `{}` cannot be used: {reason}",
                    path.display()
                ),
            )
            .hint("write them with `kafka-acls.sh --bootstrap-server HOST:9092 --list > FILE`")
        })?;
        Ok(Options { acls: Some(acls) })
    }
}
