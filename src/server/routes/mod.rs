//! Routes: thin. They read the request, ask the rules, and write the answer.

mod admin;
mod audit;
mod contract;
mod extract;
mod gate;
mod health;
mod keys;
mod operations;
mod rekey;
mod stream;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post, put};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use super::auth::{Caller, CallerKind};
use super::bearer::Bearers;
use super::error::ApiError;
use super::keys::ApiKeys;
use super::limits::Limits;
use super::service::{Reply, Tenancy};
use crate::contract::admin::ServerInfo;
use crate::contract::permission::{Permission, ROUTES};

use Access::{Keyed, Open};
pub(crate) use health::is_ready;

use gate::{Gate, gate};
use health::Readiness;

/// What routes need.
#[derive(Debug)]
pub(crate) struct App {
    /// The rules.
    pub(crate) tenancy: Arc<Tenancy>,
    /// Accepted keys.
    pub(crate) keys: Arc<ApiKeys>,
    /// What checks tokens, where they are accepted.
    pub(crate) bearers: Option<Bearers>,
    /// What the server says of itself.
    pub(crate) info: ServerInfo,
    /// Key set for development tokens.
    pub(crate) jwks: Option<String>,
    /// Whether what an earlier process left behind was taken up.
    pub(crate) recovered: Arc<AtomicBool>,
    /// Turns true when the server stops.
    pub(crate) closing: watch::Receiver<bool>,
    /// What clients may take.
    pub(crate) limits: Limits,
    requests: Semaphore,
    readiness: Readiness,
}

impl App {
    /// Puts together what routes need.
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(crate) fn new(
        tenancy: Arc<Tenancy>,
        keys: Arc<ApiKeys>,
        bearers: Option<Bearers>,
        info: ServerInfo,
        jwks: Option<String>,
        recovered: Arc<AtomicBool>,
        closing: watch::Receiver<bool>,
        limits: Limits,
    ) -> Self {
        Self {
            requests: Semaphore::new(limits.requests.clamp(1, Semaphore::MAX_PERMITS)),
            limits,
            tenancy,
            keys,
            bearers,
            info,
            jwks,
            recovered,
            closing,
            readiness: Readiness::default(),
        }
    }

    /// Tells whether a caller may do something.
    pub(crate) async fn permits(
        &self,
        caller: &Caller,
        permission: Permission,
    ) -> Result<bool, ApiError> {
        if caller.permissions.has(permission) {
            return Ok(true);
        }
        match (&self.bearers, &caller.bearer) {
            (Some(bearers), Some(bearer)) => bearers.permits(bearer, permission).await,
            _ => Ok(false),
        }
    }

    /// Refuses unless a caller may do something; `what` is that something, for the message.
    pub(crate) async fn require(
        &self,
        caller: &Caller,
        permission: Permission,
        what: &str,
    ) -> Result<(), ApiError> {
        if !self.permits(caller, permission).await? {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "auth.not_permitted",
                format!(
                    "{what} needs `{}`, which `{}` of role `{}` does not have",
                    permission.as_str(),
                    caller.name,
                    caller.role.as_str()
                ),
            ));
        }
        if permission == Permission::BreakGlass {
            tracing::warn!(
                %caller,
                peer = caller.peer.map(tracing::field::display),
                what,
                bootstrap = caller.kind == CallerKind::BootstrapKey,
                "BREAK GLASS: something that cannot be undone, or overrides a safeguard"
            );
        }
        Ok(())
    }
}

/// What handlers take as state.
pub(crate) type Shared = Arc<App>;

/// Whether a route needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Keyed,
}

/// Builds every route.
pub(crate) fn router(app: Shared) -> Router {
    let mut router = Router::new();
    let mut add = |access: Access, path: &'static str, methods: MethodRouter<Shared>| {
        let methods = gated(&app, access, path, methods.fallback(method_not_allowed));
        router = std::mem::take(&mut router).route(path, methods);
    };
    add(Open, "/healthz", get(health::alive));
    add(Open, "/readyz", get(health::ready));
    add(Open, "/metrics", get(health::metrics));
    add(Open, "/.well-known/jwks.json", get(health::jwks));

    add(Keyed, "/v1/tenants", post(contract::create));
    add(Keyed, "/v1/tenants/active", get(contract::active));
    add(Keyed, "/v1/tenants/{id}", get(contract::view));
    add(
        Keyed,
        "/v1/tenants/{id}/reactivate",
        put(contract::reactivate),
    );
    add(
        Keyed,
        "/v1/tenants/{id}/associations/{service}",
        post(contract::associate),
    );
    add(
        Keyed,
        "/v1/tenants/{id}/associations/{service}/suspend",
        put(contract::suspend),
    );
    add(
        Keyed,
        "/v1/tenants/{id}/associations/{service}/connections",
        get(contract::connections),
    );

    add(Keyed, "/v1/admin/info", get(admin::info));
    add(Keyed, "/v1/admin/services", get(admin::services));
    add(Keyed, "/v1/admin/databases", get(admin::databases));
    add(
        Keyed,
        "/v1/admin/tenants",
        get(admin::list).post(admin::create),
    );
    add(
        Keyed,
        "/v1/admin/tenants/{tenant}",
        get(admin::show).patch(admin::update),
    );
    add(
        Keyed,
        "/v1/admin/tenants/{tenant}/{action}",
        post(admin::change),
    );
    add(
        Keyed,
        "/v1/admin/tenants/{tenant}/verify",
        post(admin::verify),
    );
    add(
        Keyed,
        "/v1/admin/tenants/{tenant}/services/{service}",
        post(admin::add_service),
    );
    add(
        Keyed,
        "/v1/admin/tenants/{tenant}/services/{service}/{action}",
        post(admin::change_service),
    );
    add(Keyed, "/v1/admin/audit", get(audit::list));
    add(Keyed, "/v1/admin/audit/head", get(audit::head));
    add(Keyed, "/v1/admin/audit/verify", get(audit::verify));
    add(Keyed, "/v1/admin/keys", get(keys::list).post(keys::create));
    add(Keyed, "/v1/admin/keys/{key}", get(keys::show));
    add(Keyed, "/v1/admin/keys/{key}/rotate", post(keys::rotate));
    add(Keyed, "/v1/admin/keys/{key}/revoke", post(keys::revoke));
    add(
        Keyed,
        "/v1/admin/rekey",
        get(rekey::status).post(rekey::rekey),
    );
    add(Keyed, "/v1/admin/operations", get(operations::list));
    add(Keyed, "/v1/admin/operations/{id}", get(operations::show));
    add(
        Keyed,
        "/v1/admin/operations/{id}/progress",
        get(operations::progress),
    );

    let again = router.clone().with_state(Arc::clone(&app));
    let unmatched = move |request: Request| unmatched(again.clone(), request);
    let fallback = gated(&app, Access::Open, "unmatched", any(unmatched));
    router
        .fallback_service(fallback.with_state(Arc::clone(&app)))
        .with_state(app)
}

/// Wraps handlers: key, request id, deadline, figures, log; panics become 500.
fn gated(
    app: &Shared,
    access: Access,
    route: &'static str,
    methods: MethodRouter<Shared>,
) -> MethodRouter<Shared> {
    let state = Gate {
        app: Arc::clone(app),
        access,
        route,
        needs: needs(route).into(),
    };
    methods
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state, gate))
}

/// What a method of a route needs.
#[derive(Debug, Clone, Copy)]
struct Need {
    method: &'static str,
    /// The last segment that it is about, where one route stands for several actions.
    action: Option<&'static str>,
    permission: Permission,
}

/// Returns what the methods and actions of a route need.
fn needs(route: &str) -> Vec<Need> {
    let parts: Vec<&str> = route.split('/').collect();
    let is_open = |part: &str| part.starts_with('{');
    let mut found = Vec::new();
    for (method, path, permission) in ROUTES {
        let row: Vec<&'static str> = path.split('/').collect();
        let (Some(last), Some(own)) = (row.last(), parts.last()) else {
            continue;
        };
        let before = row.len() - 1;
        let fits = row.len() == parts.len()
            && row[..before]
                .iter()
                .zip(&parts[..before])
                .all(|(row, part)| row == part || (is_open(row) && is_open(part)));
        let action = (is_open(own) && !is_open(last)).then_some(*last);
        if fits && (last == own || is_open(own)) {
            found.push(Need {
                method,
                action,
                permission: *permission,
            });
        }
    }
    found
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "internal error; the server's log says more",
    )
    .into_response()
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "route.method",
        format!("{} is not offered here", request.method()),
    )
}

/// Answers what no route matches. A base URL that ends in a slash makes paths that begin with
/// two: those are understood.
async fn unmatched(routes: Router, mut request: Request) -> Response {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    if let Some(rest) = path.strip_prefix("//")
        && let Ok(uri) = format!("/{}", rest.trim_start_matches('/')).parse::<Uri>()
    {
        *request.uri_mut() = uri;
        return match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    ApiError::not_found("route.not_found", "there is nothing at this path").into_response()
}

/// Writes a JSON body that is already text.
fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Writes the answer of a change.
fn reply((status, body): Reply) -> Response {
    json(status, body)
}
