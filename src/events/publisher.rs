//! Publishes events.

use redis::Value;

use crate::link::LinkError;
use crate::link::redis::{RedisEndpoint, Session};

/// Messages per round trip: bounds what is in memory twice and what one deadline covers.
const BATCH: usize = 500;

/// A connection that publishes; reconnects by itself at the next call after a failure.
#[derive(Debug)]
pub struct Publisher {
    endpoint: RedisEndpoint,
    session: Option<Session>,
}

impl Publisher {
    /// Takes the endpoint; connects at the first publish.
    pub fn new(endpoint: RedisEndpoint) -> Self {
        Self {
            endpoint,
            session: None,
        }
    }

    /// Returns where it publishes.
    pub fn endpoint(&self) -> &RedisEndpoint {
        &self.endpoint
    }

    /// Publishes `messages` on `channel` in order, pipelined, and returns for each how many
    /// subscribers received it. On an error none, some or all may have been delivered.
    pub async fn publish(&mut self, messages: &[(String, String)]) -> Result<Vec<u64>, LinkError> {
        let mut receivers = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            // Taken out, and put back only after a clean answer: a session that failed, or whose
            // future was dropped half-way, is never used again.
            let mut session = match self.session.take() {
                Some(session) if !session.is_closed() => session,
                _ => self.connected().await?,
            };
            publish_batch(&mut session, batch, &mut receivers).await?;
            self.session = Some(session);
        }
        Ok(receivers)
    }

    async fn connected(&self) -> Result<Session, LinkError> {
        let session = self.endpoint.connect().await?;
        session.require_primary()?;
        Ok(session)
    }
}

async fn publish_batch(
    session: &mut Session,
    batch: &[(String, String)],
    receivers: &mut Vec<u64>,
) -> Result<(), LinkError> {
    let mut commands = redis::Pipeline::with_capacity(batch.len());
    for (channel, message) in batch {
        commands.cmd("PUBLISH").arg(channel).arg(message);
    }
    for answer in session.pipeline(&commands).await? {
        match answer.extract_error() {
            Ok(Value::Int(count)) => receivers.push(u64::try_from(count).unwrap_or(0)),
            Ok(_) => {
                return Err(session
                    .endpoint()
                    .rejected("PUBLISH was not answered with a count"));
            }
            Err(error) => return Err(session.endpoint().failure(&error)),
        }
    }
    Ok(())
}
