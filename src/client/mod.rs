//! Tenant Manager client. Placeholder with the names that the command line uses: the client
//! engineer replaces this file wholly (and adapts `src/cli` where a name differs).
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "stub")]
use crate::contract::admin::*;
use crate::contract::*;
use crate::secret::Secret;
use std::time::Duration;
#[derive(Debug, Clone, Default)]
pub struct TenantQuery {
    pub search: Option<String>,
    pub status: Option<String>,
    pub environment: Option<String>,
    pub service: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}
#[derive(Debug, Clone, Default)]
pub struct OperationQuery {
    pub tenant: Option<String>,
    pub state: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}
#[derive(Debug, Clone, Copy)]
pub enum TenantAction {
    Suspend,
    Reactivate,
    Rotate,
    Purge,
    Provision,
    Invalidate,
}
#[derive(Debug, Clone, Copy)]
pub enum ServiceAction {
    Suspend,
    Reactivate,
    Remove,
}
#[derive(Debug)]
pub enum ClientError {
    X,
}
#[derive(Debug, Clone)]
pub struct Breaker {
    pub threshold: u32,
    pub open_for: Duration,
}
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub timeout: Duration,
    pub deadline: Option<Duration>,
    pub breaker: Breaker,
}
impl ClientSettings {
    pub fn new(_u: url::Url, _k: Secret) -> Self {
        unimplemented!()
    }
}
#[derive(Debug, Clone)]
pub struct TenantManager;
type R<T> = Result<T, ClientError>;
impl TenantManager {
    pub fn new(_: ClientSettings) -> R<Self> {
        unimplemented!()
    }
    pub async fn tenants(&self, _: &TenantQuery) -> R<TenantPage> {
        unimplemented!()
    }
    pub async fn operations(&self, _: &OperationQuery) -> R<OperationPage> {
        unimplemented!()
    }
    pub async fn operation(&self, _: &str) -> R<OperationRecord> {
        unimplemented!()
    }
    pub async fn tenant(&self, _: &str) -> R<TenantRecord> {
        unimplemented!()
    }
    pub async fn catalogue(&self) -> R<std::collections::BTreeMap<String, catalogue::Service>> {
        unimplemented!()
    }
    pub async fn create_tenant(&self, _: &CreateTenantRequest) -> R<Change> {
        unimplemented!()
    }
    pub async fn update_tenant(&self, _: &str, _: &UpdateTenantRequest) -> R<Change> {
        unimplemented!()
    }
    pub async fn change(&self, _: &str, _: TenantAction, _: &ChangeRequest) -> R<Change> {
        unimplemented!()
    }
    pub async fn service_change(
        &self,
        _: &str,
        _: &ServiceName,
        _: ServiceAction,
        _: &ChangeRequest,
    ) -> R<Change> {
        unimplemented!()
    }
    pub async fn add_service(&self, _: &str, _: &ServiceName, _: &AddServiceRequest) -> R<Change> {
        unimplemented!()
    }
    pub async fn databases(&self, _: Option<&str>, _: Option<&str>) -> R<DatabaseList> {
        unimplemented!()
    }
    pub async fn verify(&self, _: &str, _: &ChangeRequest) -> R<Verification> {
        unimplemented!()
    }
    pub async fn watch(&self, _: &str, _: impl FnMut(&OperationRecord)) -> R<OperationRecord> {
        unimplemented!()
    }
}
