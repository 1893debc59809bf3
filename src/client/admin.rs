//! Our extensions under `/v1/admin`.

use std::collections::BTreeMap;

use futures_util::stream::{self, Stream};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::TenantManager;
use super::call::{Call, Surface};
use super::error::{ClientError, ErrorKind};
use crate::contract::ServiceName;
use crate::contract::admin::{
    AddServiceRequest, Change, ChangeRequest, CreateTenantRequest, DatabaseList, OperationPage,
    OperationRecord, ServerInfo, TenantPage, TenantRecord, UpdateTenantRequest, Verification,
};
use crate::contract::catalogue::Service;
use crate::contract::ids::TenantRef;
use crate::contract::isolation::{IsolationAnswer, IsolationRequest, IsolationStatus};
use crate::contract::rekey::{KeyStatus, Rekey, RekeyRequest};

/// A change of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the route says it")]
pub enum TenantAction {
    Suspend,
    Reactivate,
    Rotate,
    Purge,
    Provision,
    Invalidate,
}

impl TenantAction {
    /// Returns the last segment of the route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Reactivate => "reactivate",
            Self::Rotate => "rotate",
            Self::Purge => "purge",
            Self::Provision => "provision",
            Self::Invalidate => "invalidate",
        }
    }
}

/// A change of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the route says it")]
pub enum ServiceAction {
    Suspend,
    Reactivate,
    Remove,
}

impl ServiceAction {
    /// Returns the last segment of the route.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Reactivate => "reactivate",
            Self::Remove => "remove",
        }
    }
}

/// Which tenants to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantQuery {
    /// Part of the slug or the name.
    pub search: Option<String>,
    /// State.
    pub status: Option<String>,
    /// Environment.
    pub environment: Option<String>,
    /// Associated with this service.
    pub service: Option<String>,
    /// Page size, 1 to 1000.
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Which operations to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationQuery {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// Page size, 1 to 1000.
    pub limit: Option<u32>,
    /// Where the page begins: `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl TenantManager {
    /// Returns what the server says about itself.
    pub async fn info(&self) -> Result<ServerInfo, ClientError> {
        self.ask(&["info"]).await
    }

    /// Returns the service catalogue as the server has it.
    pub async fn catalogue(&self) -> Result<BTreeMap<String, Service>, ClientError> {
        self.ask(&["services"]).await
    }

    /// Returns one page of tenants.
    pub async fn tenants(&self, query: &TenantQuery) -> Result<TenantPage, ClientError> {
        let call = Call::get(Surface::Extension, &["v1", "admin", "tenants"])?
            .query("search", query.search.as_ref())
            .query("status", query.status.as_ref())
            .query("environment", query.environment.as_ref())
            .query("service", query.service.as_ref())
            .query("limit", query.limit)
            .query("cursor", query.cursor.as_ref());
        self.inner.json(&call).await
    }

    /// Returns every tenant, fetching pages as they are asked for; memory stays that of one page.
    ///
    /// The first error ends the stream: what came before is then not the whole list.
    pub fn all_tenants(
        &self,
        query: TenantQuery,
    ) -> impl Stream<Item = Result<TenantRecord, ClientError>> + use<> {
        let client = self.clone();
        let begin = (Vec::new().into_iter(), Some(query));
        stream::try_unfold(begin, move |(mut page, mut next)| {
            let client = client.clone();
            async move {
                loop {
                    if let Some(tenant) = page.next() {
                        return Ok(Some((tenant, (page, next))));
                    }
                    let Some(query) = next.take() else {
                        return Ok(None);
                    };
                    let answer = client.tenants(&query).await?;
                    if answer.next_cursor.is_some() && answer.next_cursor == query.cursor {
                        return Err(ClientError::new(
                            ErrorKind::Protocol,
                            "GET /v1/admin/tenants",
                            "answered with the same page again",
                        ));
                    }
                    page = answer.items.into_iter();
                    next = answer.next_cursor.map(|cursor| TenantQuery {
                        cursor: Some(cursor),
                        ..query
                    });
                }
            }
        })
    }

    /// Returns one tenant.
    pub async fn tenant(&self, tenant: &str) -> Result<TenantRecord, ClientError> {
        self.ask(&["tenants", &named(tenant)?]).await
    }

    /// Creates a tenant, associates it and provisions it in one go.
    pub async fn create_tenant(
        &self,
        request: &CreateTenantRequest,
    ) -> Result<Change, ClientError> {
        self.tell(Method::POST, &["tenants"], request).await
    }

    /// Changes a tenant's description.
    pub async fn update_tenant(
        &self,
        tenant: &str,
        request: &UpdateTenantRequest,
    ) -> Result<Change, ClientError> {
        let path = ["tenants", &named(tenant)?];
        self.tell(Method::PATCH, &path, request).await
    }

    /// Changes a tenant.
    pub async fn change(
        &self,
        tenant: &str,
        action: TenantAction,
        request: &ChangeRequest,
    ) -> Result<Change, ClientError> {
        let path = ["tenants", &named(tenant)?, action.as_str()];
        self.tell(Method::POST, &path, request).await
    }

    /// Changes an association.
    pub async fn service_change(
        &self,
        tenant: &str,
        service: &ServiceName,
        action: ServiceAction,
        request: &ChangeRequest,
    ) -> Result<Change, ClientError> {
        let tenant = named(tenant)?;
        let path = [
            "tenants",
            &tenant,
            "services",
            service.as_str(),
            action.as_str(),
        ];
        self.tell(Method::POST, &path, request).await
    }

    /// Associates a tenant with a service and provisions it.
    pub async fn add_service(
        &self,
        tenant: &str,
        service: &ServiceName,
        request: &AddServiceRequest,
    ) -> Result<Change, ClientError> {
        let path = ["tenants", &named(tenant)?, "services", service.as_str()];
        self.tell(Method::POST, &path, request).await
    }

    /// Has the isolation of a tenant tried with its own logins.
    pub async fn verify(
        &self,
        tenant: &str,
        request: &ChangeRequest,
    ) -> Result<Verification, ClientError> {
        let path = ["tenants", &named(tenant)?, "verify"];
        self.tell(Method::POST, &path, request).await
    }

    /// Returns databases, of everyone or of one tenant or service.
    pub async fn databases(
        &self,
        tenant: Option<&str>,
        service: Option<&str>,
    ) -> Result<DatabaseList, ClientError> {
        let call = Call::get(Surface::Extension, &["v1", "admin", "databases"])?
            .query("tenant", tenant)
            .query("service", service);
        self.inner.json(&call).await
    }

    /// Returns one page of operations, newest first.
    pub async fn operations(&self, query: &OperationQuery) -> Result<OperationPage, ClientError> {
        let call = Call::get(Surface::Extension, &["v1", "admin", "operations"])?
            .query("tenant", query.tenant.as_ref())
            .query("state", query.state.as_ref())
            .query("limit", query.limit)
            .query("cursor", query.cursor.as_ref());
        self.inner.json(&call).await
    }

    /// Returns which key seals how much of the registry.
    pub async fn key_status(&self) -> Result<KeyStatus, ClientError> {
        self.ask(&["rekey"]).await
    }

    /// Has a new key made, and everything in the registry sealed with it.
    pub async fn rekey(&self, request: &RekeyRequest) -> Result<Rekey, ClientError> {
        self.tell(Method::POST, &["rekey"], request).await
    }

    /// Tells where the server's own check of isolation stands.
    pub async fn isolation_status(&self) -> Result<IsolationStatus, ClientError> {
        self.ask(&["isolation"]).await
    }

    /// Returns the last report of the server's own check of isolation.
    pub async fn isolation_report(&self) -> Result<IsolationAnswer, ClientError> {
        self.ask(&["isolation", "report"]).await
    }

    /// Has the server check isolation as soon as no check is under way.
    pub async fn ask_isolation(&self) -> Result<IsolationStatus, ClientError> {
        let path = ["isolation", "check"];
        self.tell(Method::POST, &path, &IsolationRequest::default())
            .await
    }

    /// Returns one operation.
    pub async fn operation(&self, id: &str) -> Result<OperationRecord, ClientError> {
        self.ask(&["operations", id]).await
    }

    /// Fetches a key set. The API key is not sent: the address may be anybody's.
    pub async fn jwks(&self, url: &Url) -> Result<serde_json::Value, ClientError> {
        let (limit, _) = self.inner.limit(&format!("GET {}", url.path()))?;
        super::public_json(url, limit).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        let call = Call::get(Surface::Extension, &[&["v1", "admin"], path].concat())?;
        self.inner.json(&call).await
    }

    async fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let path = [&["v1", "admin"], path].concat();
        let call = Call::new(method, Surface::Extension, &path)?.json(body)?;
        self.inner.json(&call).await
    }
}

/// Returns a tenant as an operator named it, when that can be one.
fn named(tenant: &str) -> Result<String, ClientError> {
    tenant
        .parse::<TenantRef>()
        .map(|tenant| tenant.to_string())
        .map_err(|error| ClientError::new(ErrorKind::Usage, "client", error.to_string()))
}
