//! Which Redis is looked at, and how.

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::invocation::Invocation;
use crate::isolation::redis::{Options, SAMPLE, Target};

/// Flags of the checks of Redis. Which Redis it is, the context or the variables tell, as for
/// `cache` and `event`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub struct RedisArgs {
    /// Keys of each server whose names are looked at, at random; all with --exhaustive
    #[arg(long, value_name = "N", default_value_t = SAMPLE, value_parser = clap::value_parser!(u64).range(1..))]
    redis_keys: u64,

    /// User that may do everything, besides the one that logs in; may be repeated
    #[arg(long, value_name = "USER")]
    redis_trusted: Vec<String>,

    /// Beginning of keys that are known to belong to no tenant; may be repeated
    #[arg(long, value_name = "TEXT")]
    redis_allow: Vec<String>,

    /// Products that should listen to the events of an environment
    #[arg(long, value_name = "N")]
    redis_listeners: Option<u64>,

    /// Publish one event that means nothing, and see whether it comes back
    #[arg(long)]
    redis_publish: bool,
}

impl RedisArgs {
    /// Returns how Redis is looked at; without servers when none is configured.
    pub(super) fn options(&self, run: &Invocation, whole: bool) -> Result<Options, Failure> {
        let config = run.config()?;
        let mut targets: Vec<Target> = Vec::new();
        for (settings, events) in [(config.redis()?, false), (config.event_redis()?, true)] {
            let Some(settings) = settings else { continue };
            let endpoint = settings.endpoint(run.secrets())?;
            let same = |known: &&mut Target| {
                known.endpoint.address() == endpoint.address()
                    && known.endpoint.database == endpoint.database
            };
            match targets.iter_mut().find(same) {
                Some(known) => known.events |= events,
                None => targets.push(Target { endpoint, events }),
            }
        }
        Ok(Options {
            targets,
            trusted: self.redis_trusted.clone(),
            allowed: self.redis_allow.clone(),
            keys: (!whole).then_some(self.redis_keys),
            listeners: self.redis_listeners,
            publish: self.redis_publish,
            environment: config
                .environment()?
                .map(|environment| environment.value.to_string()),
        })
    }
}
