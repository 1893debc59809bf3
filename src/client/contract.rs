//! The upstream contract, endpoints 1 to 7.

use reqwest::Method;

use super::TenantManager;
use super::call::{Call, Surface};
use super::error::{ClientError, ErrorKind};
use crate::contract::wire::{
    ActiveTenant, AssociateService, AssociationCreated, CreateTenant, TenantConfig, TenantCreated,
    TenantView,
};
use crate::contract::{ServiceName, TenantId};

/// What became of a request to associate a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Association {
    /// It is new.
    Created(AssociationCreated),
    /// It was there already; the contract answers 409.
    Existed,
}

impl TenantManager {
    /// Returns how `service` connects as a tenant. Holds passwords.
    pub async fn connections(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<TenantConfig, ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_str(),
            "associations",
            service.as_str(),
            "connections",
        ];
        let call = Call::get(Surface::Connections, &path)?;
        let reply = self.inner.send(&call).await?;
        // To a product, only 200 is an answer here: 202 or 204 say nothing.
        match reply.status.as_u16() {
            200 => reply.json(&call),
            other => Err(unexpected(&call, other)),
        }
    }

    /// Returns the tenants that `service` serves.
    pub async fn active(&self, service: &ServiceName) -> Result<Vec<ActiveTenant>, ClientError> {
        let call = Call::get(Surface::Contract, &["v1", "tenants", "active"])?
            .query("service", Some(service));
        // `null` is an empty list for the official client.
        let tenants: Option<Vec<ActiveTenant>> = self.inner.json(&call).await?;
        Ok(tenants.unwrap_or_default())
    }

    /// Returns a tenant as products see it.
    pub async fn tenant_view(&self, tenant: &TenantId) -> Result<TenantView, ClientError> {
        let call = Call::get(Surface::Contract, &["v1", "tenants", tenant.as_str()])?;
        self.inner.json(&call).await
    }

    /// Creates a tenant; the flag is false when it was there already.
    pub async fn create(
        &self,
        tenant: &CreateTenant,
    ) -> Result<(TenantCreated, bool), ClientError> {
        let call = Call::new(Method::POST, Surface::Contract, &["v1", "tenants"])?.json(tenant)?;
        let reply = self.inner.send(&call).await?;
        let created = match reply.status.as_u16() {
            201 => true,
            200 => false,
            other => return Err(unexpected(&call, other)),
        };
        Ok((reply.json(&call)?, created))
    }

    /// Associates a tenant with a service.
    pub async fn associate(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
        association: &AssociateService,
    ) -> Result<Association, ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_str(),
            "associations",
            service.as_str(),
        ];
        let call = Call::new(Method::POST, Surface::Contract, &path)?.json(association)?;
        match self.inner.send(&call).await {
            Ok(reply) if matches!(reply.status.as_u16(), 200 | 201) => {
                reply.json(&call).map(Association::Created)
            }
            Ok(reply) => Err(unexpected(&call, reply.status.as_u16())),
            Err(error) if error.status() == Some(409) => Ok(Association::Existed),
            Err(error) => Err(error),
        }
    }

    /// Suspends an association; false when it was so already.
    pub async fn suspend_association(
        &self,
        tenant: &TenantId,
        service: &ServiceName,
    ) -> Result<bool, ClientError> {
        let path = [
            "v1",
            "tenants",
            tenant.as_str(),
            "associations",
            service.as_str(),
            "suspend",
        ];
        self.put(&path).await
    }

    /// Reactivates a tenant; false when it was so already.
    pub async fn reactivate(&self, tenant: &TenantId) -> Result<bool, ClientError> {
        let path = ["v1", "tenants", tenant.as_str(), "reactivate"];
        self.put(&path).await
    }

    /// Sends one of the contract's puts: no body, any 2xx is done, 409 means "already so".
    async fn put(&self, path: &[&str]) -> Result<bool, ClientError> {
        let call = Call::new(Method::PUT, Surface::Contract, path)?;
        match self.inner.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn unexpected(call: &Call, status: u16) -> ClientError {
    ClientError::new(
        ErrorKind::Protocol,
        &call.line(),
        format!("answered {status}, which the contract does not know"),
    )
}
