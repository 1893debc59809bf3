//! The master key: it wraps the keys that everything else is sealed with, and nothing besides.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::secret::{SealError, Sealer, Secret};

/// Fewest characters that can hold 128 bits, at six bits each.
const SHORTEST_KEY: usize = 16;

/// Why a key could not be wrapped or unwrapped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeySourceError {
    /// The master key is not one, or not the one that wrapped the key.
    #[error("{0}")]
    Refused(String),
    /// Whoever holds the master key does not answer.
    #[error("the master key cannot be asked: {0}")]
    Unavailable(String),
}

impl From<SealError> for KeySourceError {
    fn from(error: SealError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Wraps and unwraps keys: with a key at hand ([`LocalKey`]), or by asking a key management
/// service, which never lets go of its key.
#[async_trait]
pub trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// Returns the id of the master key, which says nothing about the key itself.
    fn id(&self) -> &str;

    /// Wraps `key`, bound to `context`.
    async fn wrap(&self, key: &Secret, context: &str) -> Result<String, KeySourceError>;

    /// Unwraps what [`KeySource::wrap`] made with the same `context`.
    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<Secret, KeySourceError>;

    /// Returns the key itself when it is at hand: registries of earlier versions were sealed
    /// with it directly, and are opened with it once more to be brought over.
    fn material(&self) -> Option<&Secret> {
        None
    }
}

/// A master key at hand, as a file, a variable or a command gave it.
pub struct LocalKey {
    material: Secret,
    sealer: Sealer,
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({})", self.sealer.key_id())
    }
}

impl LocalKey {
    /// Takes a master key.
    pub fn new(material: Secret) -> Self {
        Self {
            sealer: Sealer::derive(&material, "master"),
            material,
        }
    }

    fn checked(&self) -> Result<&Sealer, KeySourceError> {
        if self.material.expose().len() < SHORTEST_KEY {
            return Err(KeySourceError::Refused(format!(
                "it has fewer than {SHORTEST_KEY} characters"
            )));
        }
        Ok(&self.sealer)
    }
}

#[async_trait]
impl KeySource for LocalKey {
    fn id(&self) -> &str {
        self.sealer.key_id()
    }

    async fn wrap(&self, key: &Secret, context: &str) -> Result<String, KeySourceError> {
        Ok(self.checked()?.seal(key.expose(), context))
    }

    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<Secret, KeySourceError> {
        Ok(self.checked()?.open(wrapped, context)?)
    }

    fn material(&self) -> Option<&Secret> {
        Some(&self.material)
    }
}

/// The master key of a server, wherever it is kept.
#[derive(Debug, Clone)]
pub struct MasterKey(Arc<dyn KeySource>);

impl MasterKey {
    /// Takes a master key from where it is kept.
    pub fn new(source: impl KeySource) -> Self {
        Self(Arc::new(source))
    }
}

impl From<Secret> for MasterKey {
    fn from(material: Secret) -> Self {
        Self::new(LocalKey::new(material))
    }
}

impl std::ops::Deref for MasterKey {
    type Target = dyn KeySource;

    fn deref(&self) -> &(dyn KeySource + 'static) {
        &*self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_comes_back_only_from_its_master_key_and_place() {
        let a = MasterKey::from(Secret::new("0123456789abcdef"));
        let b = MasterKey::from(Secret::new("fedcba9876543210"));
        let key = Secret::generate();
        let wrapped = a.wrap(&key, "here").await.unwrap();
        assert_eq!(a.unwrap(&wrapped, "here").await.unwrap(), key);
        assert!(a.unwrap(&wrapped, "there").await.is_err());
        let refused = b.unwrap(&wrapped, "here").await.unwrap_err().to_string();
        assert!(refused.contains(a.id()) && refused.contains(b.id()));
        assert!(!format!("{a:?} {refused}").contains("0123456789abcdef"));
        let short = MasterKey::from(Secret::new("short"));
        assert!(short.wrap(&key, "here").await.is_err());
    }
}
