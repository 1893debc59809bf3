//! API keys, under `/v1/admin/keys`.

use reqwest::Method;

use super::TenantManager;
use super::call::{Call, Surface};
use super::error::ClientError;
use crate::contract::keys::{
    CreateKeyRequest, KeyCreated, KeyPage, KeyRecord, RevokeKeyRequest, RotateKeyRequest,
};

/// Which keys to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// `active` or `all`.
    pub state: Option<String>,
    /// Part of name or id.
    pub search: Option<String>,
    /// Page size, 1 to 1000.
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
}

const KEYS: [&str; 3] = ["v1", "admin", "keys"];

impl TenantManager {
    /// Returns one page of keys, newest first.
    pub async fn keys(&self, query: &KeyQuery) -> Result<KeyPage, ClientError> {
        let call = Call::get(Surface::Extension, &KEYS)?
            .query("state", query.state.as_ref())
            .query("search", query.search.as_ref())
            .query("limit", query.limit)
            .query("cursor", query.cursor.as_ref());
        self.inner.json(&call).await
    }

    /// Returns what is known of a key, by id or name.
    pub async fn key(&self, key: &str) -> Result<KeyRecord, ClientError> {
        let call = Call::get(Surface::Extension, &[&KEYS[..], &[key]].concat())?;
        self.inner.json(&call).await
    }

    /// Makes a key. The answer holds its text, which is never shown again.
    pub async fn create_key(&self, request: &CreateKeyRequest) -> Result<KeyCreated, ClientError> {
        let call = Call::new(Method::POST, Surface::Extension, &KEYS)?.json(request)?;
        self.inner.json(&call).await
    }

    /// Makes the successor of a key.
    pub async fn rotate_key(
        &self,
        key: &str,
        request: &RotateKeyRequest,
    ) -> Result<KeyCreated, ClientError> {
        let path = [&KEYS[..], &[key, "rotate"]].concat();
        let call = Call::new(Method::POST, Surface::Extension, &path)?.json(request)?;
        self.inner.json(&call).await
    }

    /// Withdraws a key, or every active one of a name.
    pub async fn revoke_key(
        &self,
        key: &str,
        request: &RevokeKeyRequest,
    ) -> Result<KeyPage, ClientError> {
        let path = [&KEYS[..], &[key, "revoke"]].concat();
        let call = Call::new(Method::POST, Surface::Extension, &path)?.json(request)?;
        self.inner.json(&call).await
    }
}
