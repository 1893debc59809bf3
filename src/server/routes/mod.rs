//! Routes: thin. They read the request, ask the rules, and write the answer.

mod admin;
mod audit;
mod contract;
mod extract;
mod gate;
mod health;
mod isolation;
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

/// A route: whether it needs a key, its path, the names of its methods, and what answers them.
type Served = (Access, &'static str, &'static str, MethodRouter<Shared>);

/// Returns every route.
fn table() -> Vec<Served> {
    vec![
        (Open, "/healthz", "GET", get(health::alive)),
        (Open, "/readyz", "GET", get(health::ready)),
        (Open, "/metrics", "GET", get(health::metrics)),
        (Open, "/.well-known/jwks.json", "GET", get(health::jwks)),
        (Open, "/openapi.json", "GET", get(health::openapi)),
        (Keyed, "/v1/admin/openapi.json", "GET", get(health::openapi)),
        (Keyed, "/v1/tenants", "POST", post(contract::create)),
        (Keyed, "/v1/tenants/active", "GET", get(contract::active)),
        (Keyed, "/v1/tenants/{id}", "GET", get(contract::view)),
        (
            Keyed,
            "/v1/tenants/{id}/reactivate",
            "PUT",
            put(contract::reactivate),
        ),
        (
            Keyed,
            "/v1/tenants/{id}/associations/{service}",
            "POST",
            post(contract::associate),
        ),
        (
            Keyed,
            "/v1/tenants/{id}/associations/{service}/suspend",
            "PUT",
            put(contract::suspend),
        ),
        (
            Keyed,
            "/v1/tenants/{id}/associations/{service}/connections",
            "GET",
            get(contract::connections),
        ),
        (
            Keyed,
            "/v1/tenants/{id}/associations/{service}/principals",
            "GET",
            get(contract::principals),
        ),
        (Keyed, "/v1/admin/info", "GET", get(admin::info)),
        (Keyed, "/v1/admin/services", "GET", get(admin::services)),
        (Keyed, "/v1/admin/databases", "GET", get(admin::databases)),
        (
            Keyed,
            "/v1/admin/tenants",
            "GET POST",
            get(admin::list).post(admin::create),
        ),
        (
            Keyed,
            "/v1/admin/tenants/{tenant}",
            "GET PATCH",
            get(admin::show).patch(admin::update),
        ),
        (
            Keyed,
            "/v1/admin/tenants/{tenant}/{action}",
            "POST",
            post(admin::change),
        ),
        (
            Keyed,
            "/v1/admin/tenants/{tenant}/verify",
            "POST",
            post(admin::verify),
        ),
        (
            Keyed,
            "/v1/admin/tenants/{tenant}/services/{service}",
            "POST",
            post(admin::add_service),
        ),
        (
            Keyed,
            "/v1/admin/tenants/{tenant}/services/{service}/{action}",
            "POST",
            post(admin::change_service),
        ),
        (Keyed, "/v1/admin/audit", "GET", get(audit::list)),
        (Keyed, "/v1/admin/audit/head", "GET", get(audit::head)),
        (Keyed, "/v1/admin/audit/verify", "GET", get(audit::verify)),
        (
            Keyed,
            "/v1/admin/keys",
            "GET POST",
            get(keys::list).post(keys::create),
        ),
        (Keyed, "/v1/admin/keys/{key}", "GET", get(keys::show)),
        (
            Keyed,
            "/v1/admin/keys/{key}/rotate",
            "POST",
            post(keys::rotate),
        ),
        (
            Keyed,
            "/v1/admin/keys/{key}/revoke",
            "POST",
            post(keys::revoke),
        ),
        (
            Keyed,
            "/v1/admin/rekey",
            "GET POST",
            get(rekey::status).post(rekey::rekey),
        ),
        (Keyed, "/v1/admin/isolation", "GET", get(isolation::status)),
        (
            Keyed,
            "/v1/admin/isolation/report",
            "GET",
            get(isolation::report),
        ),
        (
            Keyed,
            "/v1/admin/isolation/check",
            "POST",
            post(isolation::check),
        ),
        (Keyed, "/v1/admin/operations", "GET", get(operations::list)),
        (
            Keyed,
            "/v1/admin/operations/{id}",
            "GET",
            get(operations::show),
        ),
        (
            Keyed,
            "/v1/admin/operations/{id}/progress",
            "GET",
            get(operations::progress),
        ),
    ]
}

/// Builds every route.
pub(crate) fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for (access, path, _, methods) in table() {
        let methods = gated(&app, access, path, methods.fallback(method_not_allowed));
        router = router.route(path, methods);
    }

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contract::openapi;

    /// Returns a path with the names of its parameters left out.
    fn bare(path: &str) -> String {
        path.split('/')
            .map(|part| if part.starts_with('{') { "{}" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    }

    fn documented() -> BTreeSet<(String, String)> {
        openapi::routes()
            .iter()
            .map(|route| (route.method.to_owned(), bare(route.path)))
            .collect()
    }

    /// Returns the actions behind one route of several: those that need a permission.
    fn actions(path: &str) -> Vec<String> {
        let Some(before) = path.strip_suffix("{action}") else {
            return vec![bare(path)];
        };
        needs(path)
            .iter()
            .filter_map(|need| need.action)
            .map(|action| format!("{}{action}", bare(before)))
            .collect()
    }

    #[test]
    fn what_is_served_is_documented_and_what_is_documented_is_served() {
        let mut served = BTreeSet::new();
        for (_, path, methods, _) in table() {
            let paths = actions(path);
            assert!(!paths.is_empty(), "{path}");
            for method in methods.split(' ') {
                served.extend(paths.iter().map(|path| (method.to_owned(), path.clone())));
            }
        }
        let documented = documented();
        let missing: Vec<_> = served.difference(&documented).collect();
        assert!(
            missing.is_empty(),
            "not in the OpenAPI document: {missing:?}"
        );
        let gone: Vec<_> = documented.difference(&served).collect();
        assert!(gone.is_empty(), "documented and not served: {gone:?}");
    }

    #[test]
    fn keys_are_asked_for_as_documented() {
        for (access, path, ..) in table() {
            for path in actions(path) {
                let route = openapi::routes()
                    .into_iter()
                    .find(|route| bare(route.path) == path)
                    .unwrap_or_else(|| panic!("{path} is not documented"));
                assert_eq!(route.tag == "open", access == Open, "{path}");
            }
        }
    }

    #[tokio::test]
    async fn the_names_of_methods_are_those_that_are_answered() {
        use axum::routing::MethodFilter;
        // A method that is answered cannot be answered by something else too.
        for (_, path, methods, _) in table() {
            for (name, filter) in [
                ("GET", MethodFilter::GET),
                ("POST", MethodFilter::POST),
                ("PUT", MethodFilter::PUT),
                ("PATCH", MethodFilter::PATCH),
                ("DELETE", MethodFilter::DELETE),
            ] {
                let mut again = table().into_iter().filter(|(_, other, ..)| *other == path);
                let router = again.next().expect("it is there").3;
                let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    router.on(filter, || async {})
                }));
                let named = methods.split(' ').any(|method| method == name);
                assert_eq!(twice.is_err(), named, "{name} {path}");
            }
        }
    }
}
