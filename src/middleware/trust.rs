//! Who vouches for a token: keys that this process has, or somebody who checked it before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use crate::client::public_json;
use crate::token::jwks::{self, SharedSecrets};
use crate::token::{Identity, Keys, Reason, Unacceptable, identify};

/// How long a key set is used before it is asked for again.
const MAX_AGE: Duration = Duration::from_mins(10);
/// How long it is used at most where it cannot be had again.
const LAST_RESORT: Duration = Duration::from_hours(1);
/// Shortest time between two questions, whatever tokens come in.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest time that the answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who vouches for a token.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The given keys must have signed it.
    Keys(Arc<Keys>),
    /// The keys that are published there must have signed it.
    Published(KeySet),
    /// Somebody in front has checked it, as the products' own middleware takes for granted. Whoever
    /// reaches a process that trusts this way can be any tenant.
    Upstream,
}

/// Why nobody could say whether a token counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIdentified {
    /// It does not.
    #[error(transparent)]
    Unacceptable(#[from] Unacceptable),
    /// The keys cannot be had.
    #[error("the keys that check tokens cannot be had: {0}")]
    NoKeys(String),
}

impl Trust {
    /// Returns whose token it is.
    pub(super) async fn identify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Identity, NotIdentified> {
        match self {
            Self::Upstream => Ok(identify(token, None, now)?),
            Self::Keys(keys) => Ok(identify(token, Some(keys), now)?),
            Self::Published(set) => set.identify(token, now).await,
        }
    }
}

/// A key set at an address, asked for when needed and kept for a while.
#[derive(Debug, Clone)]
pub struct KeySet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: Url,
    known: Mutex<Known>,
    /// Held while asking, so that many callers ask once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    keys: Option<(Arc<Keys>, Instant)>,
    asked: Option<Instant>,
    failure: String,
}

impl KeySet {
    /// Builds a key set; nothing is asked for yet.
    pub fn new(url: Url) -> Self {
        Self {
            inner: Arc::new(Inner {
                url,
                known: Mutex::default(),
                asking: tokio::sync::Mutex::default(),
            }),
        }
    }

    fn known(&self) -> Known {
        let known = self.inner.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn identify(&self, token: &str, now: Timestamp) -> Result<Identity, NotIdentified> {
        let keys = self.keys().await?;
        let refused = match identify(token, Some(&keys), now) {
            Ok(identity) => return Ok(identity),
            Err(refused) => refused,
        };
        // Keys are exchanged from time to time: perhaps this is the new one's.
        let other_key = matches!(
            refused,
            Unacceptable::Unsigned {
                reason: Reason::KeyUnknown | Reason::SignatureWrong,
                ..
            }
        );
        if other_key && self.ask(true).await {
            let keys = self.keys().await?;
            return Ok(identify(token, Some(&keys), now)?);
        }
        Err(refused.into())
    }

    async fn keys(&self) -> Result<Arc<Keys>, NotIdentified> {
        let fresh = |known: &Known, age| match &known.keys {
            Some((keys, at)) if at.elapsed() < age => Some(Arc::clone(keys)),
            _ => None,
        };
        if let Some(keys) = fresh(&self.known(), MAX_AGE) {
            return Ok(keys);
        }
        self.ask(false).await;
        let known = self.known();
        fresh(&known, LAST_RESORT).ok_or(NotIdentified::NoKeys(known.failure))
    }

    /// Asks for the key set, unless somebody just did; true when it was had anew.
    async fn ask(&self, sooner: bool) -> bool {
        let before = self.known().asked;
        let _asking = self.inner.asking.lock().await;
        let known = self.known();
        if known.asked != before {
            return known.failure.is_empty();
        }
        let have = known.keys.is_some();
        if known
            .asked
            .is_some_and(|at| at.elapsed() < PAUSE && (sooner || have))
        {
            return false;
        }
        let answer = public_json(&self.inner.url, DEADLINE).await;
        let answer = answer.map_err(|error| error.to_string()).and_then(|json| {
            jwks::parse(&json.to_string(), SharedSecrets::Refuse).map_err(|e| e.to_string())
        });
        let mut known = self
            .inner
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.asked = Some(Instant::now());
        match answer {
            Ok(keys) => {
                known.keys = Some((Arc::new(keys), Instant::now()));
                known.failure.clear();
                true
            }
            Err(reason) => {
                tracing::warn!(reason, "the keys that check tokens cannot be had");
                known.failure = reason;
                false
            }
        }
    }
}
