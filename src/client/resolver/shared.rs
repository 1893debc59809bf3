//! The tier in Redis: sealed, because the answers hold passwords.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Fetched, Pair};
use crate::contract::wire::TenantConfig;
use crate::link::LinkError;
use crate::link::redis::{RedisEndpoint, Session};
use crate::secret::{SealError, Sealer, Secret};

/// Longest time for one exchange: the Tenant Manager is asked when Redis is slower.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a Redis that failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Answers of the Tenant Manager that processes with the same API key share.
///
/// Whatever goes wrong here is logged and costs a request to the Tenant Manager, nothing else.
pub(super) struct SharedTier {
    endpoint: RedisEndpoint,
    sealer: Sealer,
    ttl: Duration,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    /// By address: one, or the nodes of a cluster that were needed.
    sessions: HashMap<String, Session>,
    resume: Option<Instant>,
    /// Answers that could not be deleted, and until when they may still be there.
    distrusted: HashMap<Pair, Instant>,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored<C> {
    fetched_at: Timestamp,
    config: C,
}

impl SharedTier {
    pub(super) fn new(endpoint: RedisEndpoint, sealer: Sealer, ttl: Duration) -> Self {
        Self {
            endpoint,
            sealer,
            ttl,
            link: Mutex::default(),
        }
    }

    /// Returns a stored answer. One that was altered, moved or cut is deleted, never trusted.
    pub(super) async fn get(&self, pair: &Pair) -> Option<Fetched> {
        let key = pair.redis_key();
        if self.link.lock().await.distrusted.contains_key(pair) {
            self.remove(pair).await;
            return None;
        }
        let sealed: Option<Secret> = self
            .send(redis::cmd("GET").arg(&key), || true)
            .await
            .and_then(|text: Option<String>| text.map(Secret::new));
        match self.open(sealed?.expose(), &key) {
            Ok(fetched) => Some(fetched),
            // Not ours to delete: a process with another API key put it there.
            Err(SealError::OtherKey { .. }) => None,
            Err(error) => {
                tracing::warn!(key, %error, "a shared answer is not trusted, and deleted");
                self.remove(pair).await;
                None
            }
        }
    }

    fn open(&self, sealed: &str, key: &str) -> Result<Fetched, SealError> {
        let plain = self.sealer.open(sealed, key)?;
        let stored: Stored<TenantConfig> =
            serde_json::from_str(plain.expose()).map_err(|_| SealError::Malformed)?;
        // A clock that runs behind the writer's makes an answer young; Redis ends its life anyway.
        let age = Timestamp::now().duration_since(stored.fetched_at);
        let age = Duration::try_from(age).unwrap_or_default();
        Ok(Fetched::new(stored.config, age, Instant::now()))
    }

    /// Stores an answer for what is left of its time, if it is still `current` when its turn comes.
    pub(super) async fn put(&self, pair: &Pair, fetched: &Fetched, current: impl Fn() -> bool) {
        let age = fetched.age(Instant::now());
        let left = self.ttl.saturating_sub(age).as_millis();
        let Ok(fetched_at) = Timestamp::now().checked_sub(age) else {
            return;
        };
        let stored = Stored {
            fetched_at,
            config: &*fetched.config,
        };
        let Ok(plain) = serde_json::to_string(&stored).map(Secret::new) else {
            return;
        };
        if left == 0 {
            return;
        }
        let key = pair.redis_key();
        let sealed = self.sealer.seal(plain.expose(), &key);
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let command = redis::cmd("SET")
            .arg(&key)
            .arg(sealed)
            .arg("PX")
            .arg(left)
            .take();
        let _: Option<()> = self.send(&command, current).await;
    }

    /// Deletes an answer; one that could not be deleted is not used until it has expired.
    pub(super) async fn remove(&self, pair: &Pair) {
        let command = redis::cmd("DEL").arg(pair.redis_key()).take();
        let deleted: Option<u64> = self.send(&command, || true).await;
        let mut link = self.link.lock().await;
        if deleted.is_some() {
            link.distrusted.remove(pair);
            return;
        }
        let now = Instant::now();
        link.distrusted.retain(|_, until| *until > now);
        link.distrusted.insert(pair.clone(), now + self.ttl);
    }

    /// Sends a command, within the deadline, if `wanted` still when its turn comes; `None` when
    /// that failed. Commands go one after the other, so what is forgotten stays forgotten.
    async fn send<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
        wanted: impl Fn() -> bool,
    ) -> Option<T> {
        let mut link = self.link.lock().await;
        if !wanted() || link.resume.is_some_and(|resume| Instant::now() < resume) {
            return None;
        }
        let work = self.exchange(&mut link, command);
        let error = match tokio::time::timeout(DEADLINE, work).await {
            Ok(Ok(answer)) => {
                link.resume = None;
                return Some(answer);
            }
            // It works, and refuses this command: another key may be fine.
            Ok(Err(error @ LinkError::Rejected { .. })) => {
                tracing::warn!(%error, "the shared cache of tenants refuses a command");
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{} does not answer", self.endpoint.address()),
        };
        tracing::warn!(error, "the shared cache of tenants is not used");
        // An answer may still be under way on these: they are of no use any more.
        link.sessions.clear();
        link.resume = Some(Instant::now() + PAUSE);
        None
    }

    /// Sends a command to the server, and once more to the node of a cluster that it names.
    async fn exchange<T: redis::FromRedisValue>(
        &self,
        link: &mut Link,
        command: &redis::Cmd,
    ) -> Result<T, LinkError> {
        let error = match session(link, &self.endpoint).await?.query(command).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(node) = moved(&error, &self.endpoint) else {
            return Err(error);
        };
        session(link, &node).await?.query(command).await
    }
}

/// Returns a session with `endpoint`, the one at hand or a new one.
async fn session<'a>(
    link: &'a mut Link,
    endpoint: &RedisEndpoint,
) -> Result<&'a mut Session, LinkError> {
    let address = endpoint.address();
    link.sessions.retain(|_, session| !session.is_closed());
    if !link.sessions.contains_key(&address) {
        let session = endpoint.connect().await?;
        link.sessions.insert(address.clone(), session);
    }
    Ok(link
        .sessions
        .get_mut(&address)
        .expect("it was there or was just put there"))
}

/// Returns the node that owns the key, when a node of a cluster says that it does not:
/// `MOVED <slot> <host>:<port>`, with an empty host for "the same host".
fn moved(error: &LinkError, seed: &RedisEndpoint) -> Option<RedisEndpoint> {
    let LinkError::Rejected { reason, .. } = error else {
        return None;
    };
    let mut words = reason
        .split_ascii_whitespace()
        .skip_while(|word| *word != "MOVED")
        .skip(2);
    let (host, port) = words.next()?.rsplit_once(':')?;
    let host = match host.trim_matches(['[', ']']) {
        "" => seed.host.clone(),
        host => host.to_owned(),
    };
    Some(RedisEndpoint {
        host,
        port: port.parse().ok()?,
        ..seed.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_key_is_read_from_the_refusal() {
        let seed = RedisEndpoint::parse_url("redis://:pw@10.0.0.1:7000").unwrap();
        let error = |reason: &str| LinkError::Rejected {
            target: String::new(),
            reason: reason.to_owned(),
        };
        let to = |reason: &str| moved(&error(reason), &seed).map(|node| node.address());
        assert_eq!(
            to("MOVED 3999 10.0.0.2:7001").as_deref(),
            Some("10.0.0.2:7001")
        );
        assert_eq!(to("MOVED 3999 :7001").as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(to("MOVED 3999 ::1:7001").as_deref(), Some("[::1]:7001"));
        assert_eq!(to("ERR unknown command"), None);
        assert_eq!(to("MOVED"), None);
    }
}
