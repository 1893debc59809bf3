//! The tower layer.

use std::task::{Context, Poll};

use axum::extract::FromRequestParts;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::refusal::Refusal;
use super::tenancy::{Tenancy, Tenant};

/// Lets only requests of tenants through, each with its [`Tenant`] in the extensions.
///
/// The tenant is that of the token and nothing else: no header, query or body says otherwise.
#[derive(Debug, Clone)]
pub struct TenantLayer {
    tenancy: Tenancy,
}

impl TenantLayer {
    /// Builds the layer.
    pub fn new(tenancy: Tenancy) -> Self {
        Self { tenancy }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TenantService {
            tenancy: self.tenancy.clone(),
            inner,
        }
    }
}

/// A service behind a [`TenantLayer`].
#[derive(Debug, Clone)]
pub struct TenantService<S> {
    tenancy: Tenancy,
    inner: S,
}

impl<S, B> Service<Request<B>> for TenantService<S>
where
    S: Service<Request<B>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready serves; the clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let tenancy = self.tenancy.clone();
        async move {
            // Held until there is an answer, so that its pools count as used.
            let tenant = match tenancy.admit(request.headers()).await {
                Ok(tenant) => tenant,
                Err(refusal) => return Ok(refusal.into_response()),
            };
            request.extensions_mut().insert(tenant.clone());
            let mut response = inner.call(request).await?;
            // Whatever stands between keeps nothing, unless the handler knows better.
            let headers = response.headers_mut();
            if !headers.contains_key(CACHE_CONTROL) {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            drop(tenant);
            Ok(response)
        }
        .boxed()
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        // Without the layer there is no tenant, and so no database.
        let tenant = parts.extensions.get::<Self>().cloned();
        tenant.ok_or_else(Refusal::database)
    }
}
