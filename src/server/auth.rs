//! API keys: kept as keyed digests, compared in constant time.

use aws_lc_rs::constant_time;
use axum::http::{HeaderMap, StatusCode};

use super::error::ApiError;
use super::vault::Vault;

/// Header that carries the key.
pub(crate) const HEADER: &str = "x-api-key";

/// The accepted keys.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    digests: Vec<Vec<u8>>,
}

/// Returns the stored form of a key's digest.
pub(crate) fn stored_digest(vault: &Vault, key: &str) -> String {
    use std::fmt::Write as _;
    vault
        .api_key_digest(key.as_bytes())
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl ApiKeys {
    /// Takes stored digests; what is not one is left out.
    pub(crate) fn new(stored: &[String]) -> Self {
        let digests = stored
            .iter()
            .filter_map(|hex| {
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
                    .collect()
            })
            .collect();
        Self { digests }
    }

    /// Refuses a request without an accepted key. Never with 403: products would report that as
    /// "access denied" for the tenant.
    pub(crate) fn check(&self, vault: &Vault, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = headers.get(HEADER).filter(|key| !key.is_empty()) else {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.missing_key",
                "the request has no `X-API-Key`",
            ));
        };
        let digest = vault.api_key_digest(key.as_bytes());
        // Every digest is compared, so that time does not tell which one it was.
        let accepted = self.digests.iter().fold(false, |found, stored| {
            constant_time::verify_slices_are_equal(stored, digest.as_ref()).is_ok() | found
        });
        if accepted {
            Ok(())
        } else {
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "auth.invalid_key",
                "the `X-API-Key` of the request is not accepted here",
            ))
        }
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
            keys.check(&vault, &headers).map_err(|error| error.code)
        };
        assert_eq!(check(Some("first")), Ok(()));
        assert_eq!(check(Some("second")), Ok(()));
        assert_eq!(check(Some("First")), Err("auth.invalid_key"));
        assert_eq!(check(Some("")), Err("auth.missing_key"));
        assert_eq!(check(None), Err("auth.missing_key"));
        assert!(!stored_digest(&vault, "first").contains("first"));
    }
}
