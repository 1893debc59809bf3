//! Who a request comes from, and what that one may do.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;

use super::bearer::Bearer;
use super::error::ApiError;
use super::registry::Tenant;
use crate::contract::permission::{Permissions, Role};
use crate::contract::{Environment, ServiceName};

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CallerKind {
    /// A key that the server was started with: every right.
    BootstrapKey,
    /// A key that an operator made.
    ApiKey,
    /// A token of the Access Manager.
    OperatorToken,
}

impl CallerKind {
    /// Returns the word for logs and records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BootstrapKey => "bootstrap-key",
            Self::ApiKey => "api-key",
            Self::OperatorToken => "operator-token",
        }
    }
}

/// What a key of a product is narrowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Services that it reads.
    pub(crate) services: Vec<ServiceName>,
    /// Environments whose tenants it reads; empty means all.
    pub(crate) environments: Vec<Environment>,
}

/// Who a request comes from: an extension of every request that the gate let through, but for
/// those of open routes.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// How it proved who it is.
    pub(crate) kind: CallerKind,
    /// Public id of the key, or subject of the token. No secret.
    pub(crate) id: Arc<str>,
    /// Name of the key or person, for people to read.
    pub(crate) name: Arc<str>,
    /// What it may do, in a word.
    pub(crate) role: Role,
    /// What it may do.
    pub(crate) permissions: Permissions,
    /// What it is narrowed to; none for everything.
    pub(crate) scope: Option<Arc<Scope>>,
    /// The key that came along with a token.
    pub(crate) key: Option<Arc<str>>,
    /// The token, where someone else is asked what it may do.
    pub(crate) bearer: Option<Arc<Bearer>>,
    /// Where it connects from, if that is known; behind a proxy this is the proxy.
    pub(crate) peer: Option<SocketAddr>,
}

impl Caller {
    /// Builds a caller with everything that its role may do.
    pub(crate) fn new(kind: CallerKind, id: &str, name: &str, role: Role) -> Self {
        Self {
            kind,
            id: id.into(),
            name: name.into(),
            role,
            permissions: role.permissions(),
            scope: None,
            key: None,
            bearer: None,
            peer: None,
        }
    }

    /// Returns the bearer of a token that came with a key: both count, and the person is named.
    #[must_use]
    pub(crate) fn with_key(mut self, key: Self) -> Self {
        let alone = self.permissions;
        self.permissions = alone.or(key.permissions);
        self.role = self.role.max(key.role);
        // What only the key may do, it may do only where it is for.
        if !Role::Service.permissions().within(alone) {
            self.scope = key.scope;
        }
        self.key = Some(key.id);
        self
    }

    /// Refuses unless the caller reads this service.
    pub(crate) fn reads_service(&self, service: &str) -> Result<(), ApiError> {
        match &self.scope {
            Some(scope) if !scope.services.iter().any(|it| it.as_str() == service) => {
                Err(self.out_of_scope("service"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses unless the caller reads tenants of this environment.
    pub(crate) fn reads_environment(&self, environment: &str) -> Result<(), ApiError> {
        match self.environments() {
            [] => Ok(()),
            some if some.iter().any(|it| it.as_str() == environment) => Ok(()),
            _ => Err(self.out_of_scope("environment")),
        }
    }

    /// Refuses unless the tenant is of an environment and has a service that the caller reads.
    pub(crate) fn reads_tenant(&self, tenant: &Tenant) -> Result<(), ApiError> {
        self.reads_environment(tenant.environment.as_str())?;
        match &self.scope {
            Some(scope)
                if !scope
                    .services
                    .iter()
                    .any(|service| tenant.associations.contains_key(service)) =>
            {
                Err(self.out_of_scope("service"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the environments that the caller is narrowed to; none for all.
    pub(crate) fn environments(&self) -> &[Environment] {
        self.scope.as_ref().map_or(&[], |scope| &scope.environments)
    }

    /// The refusal of what a good key is not for.
    ///
    /// A 403 without a status: Lerian's client takes it for a decision ("access denied"), answers
    /// its own caller 403 and knows that this server is well. A 401 would be an opaque error to
    /// it: products would answer 500, as if the server were broken, and people would look for a
    /// wrong key. A 403 *with* a status closes pools, but calls the tenant suspended, which it is
    /// not. None of the three makes a product forget credentials that it was given before:
    /// narrowing a key is not enough to take those back, rotating them is.
    fn out_of_scope(&self, what: &str) -> ApiError {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "auth.out_of_scope",
            format!("the key `{}` is not for this {what}", self.id),
        )
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` ({})", self.kind.as_str(), self.name, self.id)
    }
}
