//! Redis caches: what each key is, how many there are, and how caches alone are deleted.
//!
//! A Midaz Redis holds caches beside the only copy of unpersisted money movements, under the
//! same prefix. So nothing is deleted but what the map of known keys calls a cache.

mod census;
mod classes;
mod flush;
mod keyspace;
mod scope;
mod tally;

pub use census::{Census, CensusRow, census};
pub use classes::{CLASSES, DENIED, KeyClass, PREFIXED_TWICE, UNCLASSIFIED, Verdict};
pub use flush::{Flush, flush, plan_flush};
pub use keyspace::{Classified, KeyTenant, Refusal, classify, denied};
pub use scope::Scope;
pub use tally::{Counts, Kept, NodeTally, Tally, printable};

use redis::{Cmd, Value};

use crate::link::LinkError;
use crate::link::redis::RedisEndpoint;

/// Why a walk over keys ended early.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The server failed or refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A key on its way out must not be deleted; its whole batch was kept.
    #[error("nothing more was deleted, because `{0}` must not be and was about to be")]
    Denied(String),
}

/// Keys that the server looks at in one step: few enough round trips to cost nothing, few
/// enough keys to block other clients for some milliseconds only.
const COUNT: u64 = 10_000;

/// How far a walk over a server's keys has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Server.
    pub node: String,
    /// Keys looked at, about.
    pub scanned: u64,
    /// Keys that it holds.
    pub keys: u64,
    /// Keys of interest so far.
    pub found: u64,
    /// Of these, deleted so far.
    pub deleted: u64,
}

/// Returns the class with this id.
pub fn class(id: &str) -> Option<&'static KeyClass> {
    CLASSES
        .iter()
        .chain([&UNCLASSIFIED, &PREFIXED_TWICE])
        .find(|class| class.id == id)
}

/// A key, byte for byte.
type Key = Vec<u8>;

fn scan_command(cursor: &[u8], glob: Option<&[u8]>) -> Cmd {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor);
    if let Some(glob) = glob {
        command.arg("MATCH").arg(glob);
    }
    command.arg("COUNT").arg(COUNT);
    command
}

/// Returns the next cursor, `None` after the last step, and the keys of this one.
fn scan_answer(
    answer: Value,
    endpoint: &RedisEndpoint,
) -> Result<(Option<Vec<u8>>, Vec<Key>), LinkError> {
    let answer = answer
        .extract_error()
        .map_err(|error| endpoint.failure(&error))?;
    let parsed = match answer {
        Value::Array(parts) => <[Value; 2]>::try_from(parts).ok(),
        _ => None,
    };
    let Some([Value::BulkString(cursor), Value::Array(keys)]) = parsed else {
        return Err(endpoint.rejected("SCAN was not answered with a cursor and keys"));
    };
    let keys = keys
        .into_iter()
        .filter_map(|key| match key {
            Value::BulkString(key) => Some(key),
            _ => None,
        })
        .collect();
    Ok(((cursor != b"0").then_some(cursor), keys))
}
