//! `lerianctl cache …`: what lies in Redis, and deleting the caches of it.

pub mod flush;
pub mod list;
mod memory;
pub mod report;
pub mod target;

use clap::Subcommand;

use super::failure::{Failure, Kind};
use super::invocation::Invocation;
use crate::cache::CacheError;

/// Redis keys of products, and their caches
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Count the keys of products by kind
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Delete caches, and nothing but caches
    Flush(flush::FlushArgs),
}

impl CacheCommand {
    /// Runs the verb and prints its outcome.
    pub fn run(&self, run: &Invocation) -> u8 {
        match self {
            Self::List(args) => run.emit(list::list(run, args)),
            Self::Flush(args) => run.emit(flush::flush(run, args)),
        }
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Link(error) => error.into(),
            CacheError::Denied(_) => Self::new(Kind::Internal, "cache.denied", error.to_string())
                .hint("please report it: the key's kind was taken for a cache"),
        }
    }
}
