//! Publishes events.

use crate::link::LinkError;
use crate::link::redis::RedisEndpoint;

/// A connection that publishes; reconnects by itself at the next call after a failure.
#[derive(Debug)]
pub struct Publisher {
    _endpoint: RedisEndpoint,
}

impl Publisher {
    /// Takes the endpoint; connects at the first publish.
    pub fn new(endpoint: RedisEndpoint) -> Self {
        Self {
            _endpoint: endpoint,
        }
    }

    /// Publishes `messages` on `channel` in order, pipelined, and returns for each how many
    /// subscribers received it. On an error none, some or all may have been delivered.
    pub async fn publish(&mut self, _messages: &[(String, String)]) -> Result<Vec<u64>, LinkError> {
        unimplemented!()
    }
}
