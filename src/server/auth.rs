//! Who a request comes from. API keys are kept as keyed digests and compared in constant time.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use axum::http::{HeaderMap, StatusCode};

use super::error::ApiError;
use super::vault::Vault;
use crate::contract::permission::Role;

/// Header that carries the key.
pub(crate) const HEADER: &str = "x-api-key";

/// Length of a digest in bytes.
const DIGEST: usize = 32;

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CallerKind {
    /// A key that the server was started with: every right.
    BootstrapKey,
}

impl CallerKind {
    /// Returns the word for logs and records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BootstrapKey => "bootstrap-key",
        }
    }
}

/// Who a request comes from: an extension of every request that the gate let through with a key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// How it proved who it is.
    pub(crate) kind: CallerKind,
    /// Public id of the key, or subject of the token. No secret.
    pub(crate) id: Arc<str>,
    /// Name of the key or person, for people to read.
    pub(crate) name: Arc<str>,
    /// What it may do.
    pub(crate) role: Role,
    /// Where it connects from, if that is known; behind a proxy this is the proxy.
    pub(crate) peer: Option<SocketAddr>,
}

impl Caller {
    fn bootstrap(digest: &[u8]) -> Self {
        // Some characters of the keyed digest tell several keys apart and say nothing of them.
        let id = format!("bootstrap-{}", &hex(digest)[..8]);
        Self {
            kind: CallerKind::BootstrapKey,
            id: id.into(),
            name: "bootstrap key".into(),
            role: Role::BreakGlass,
            peer: None,
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` ({})", self.kind.as_str(), self.name, self.id)
    }
}

/// The accepted keys.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    bootstrap: Vec<(Vec<u8>, Caller)>,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the stored form of a key's digest.
pub(crate) fn stored_digest(vault: &Vault, key: &str) -> String {
    hex(vault.api_key_digest(key.as_bytes()).as_ref())
}

impl ApiKeys {
    /// Takes stored digests; what is not one is left out.
    pub(crate) fn new(stored: &[String]) -> Self {
        let bootstrap = stored
            .iter()
            .filter_map(|hex| {
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                    .collect::<Option<Vec<u8>>>()
            })
            .filter(|digest| digest.len() == DIGEST)
            .map(|digest| {
                let caller = Caller::bootstrap(&digest);
                (digest, caller)
            })
            .collect();
        Self { bootstrap }
    }

    /// Returns who a request comes from; refuses one without an accepted key. Never with 403:
    /// products would report that as "access denied" for the tenant.
    pub(crate) fn caller(&self, vault: &Vault, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let Some(key) = headers.get(HEADER).filter(|key| !key.is_empty()) else {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.missing_key",
                "the request has no `X-API-Key`",
            ));
        };
        let digest = vault.api_key_digest(key.as_bytes());
        // Every digest is compared, so that time does not tell which one it was.
        let mut found = None;
        for (stored, caller) in &self.bootstrap {
            if constant_time::verify_slices_are_equal(stored, digest.as_ref()).is_ok() {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(|| {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.invalid_key",
                "the `X-API-Key` of the request is not accepted here",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn only_the_very_key_is_accepted() {
        let vault = Vault::new(&Secret::new("0123456789abcdef")).unwrap();
        let keys = ApiKeys::new(&[
            stored_digest(&vault, "first"),
            stored_digest(&vault, "second"),
        ]);
        let check = |key: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(key) = key {
                headers.insert(HEADER, key.parse().unwrap());
            }
            keys.caller(&vault, &headers)
                .map(|caller| caller.id.to_string())
                .map_err(|error| error.code)
        };
        let id = |key: &str| format!("bootstrap-{}", &stored_digest(&vault, key)[..8]);
        assert_eq!(check(Some("first")), Ok(id("first")));
        assert_eq!(check(Some("second")), Ok(id("second")));
        assert_eq!(check(Some("First")), Err("auth.invalid_key"));
        assert_eq!(check(Some("")), Err("auth.missing_key"));
        assert_eq!(check(None), Err("auth.missing_key"));
        assert!(!stored_digest(&vault, "first").contains("first"));
    }
}
