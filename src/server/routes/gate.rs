//! What every request passes: request id, key, a place to work in, a deadline, figures, a line
//! in the log. One layer, because the connections endpoint is asked very often.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use super::{Access, Need, Shared};
use crate::contract::permission::Permission;
use crate::link::trace::TraceContext;
use crate::server::audit::{self, Read, Trail};
use crate::server::auth::Caller;
use crate::server::bearer::token_of;
use crate::server::error::{ApiError, Refusal};
use crate::server::keys::HEADER;
use crate::server::listener::Peer;
use crate::server::registry::Origin;

/// Header with the id of the request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over.
const LONGEST_ID: usize = 128;

/// What the layer of one route knows.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) app: Shared,
    pub(super) access: Access,
    pub(super) route: &'static str,
    pub(super) needs: Arc<[Need]>,
}

impl Gate {
    /// Returns what a request needs. What is not in the table needs break-glass, and so does an
    /// action whose name is written in an unusual way.
    fn needed(&self, request: &Request) -> Permission {
        let method = match request.method() {
            &Method::HEAD => "GET",
            other => other.as_str(),
        };
        let last = request.uri().path().rsplit('/').next();
        let mut general = Permission::BreakGlass;
        for need in self.needs.iter().filter(|need| need.method == method) {
            match need.action {
                Some(action) if Some(action) == last => return need.permission,
                Some(_) => {}
                None => general = need.permission,
            }
        }
        general
    }
}

/// Lets a request through, or answers it.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(&request);
    let method = word(request.method());
    let changes = !request.method().is_safe();
    let mut trace = trace_context(request.headers());

    let from = peer(&request);
    let (who, allowed) = identify(&gate, &mut request).await;
    let trail = who
        .as_ref()
        .filter(|_| changes)
        .map(|who| trail(&gate, who, &id, &mut request));
    let mut response = match allowed {
        Err(refusal) => refusal.into_response(),
        Ok(()) if changes => {
            let origin = Origin {
                request: id.to_str().unwrap_or_default().to_owned(),
                span: trace.get_or_insert_with(TraceContext::root).to_string(),
            };
            let span = tracing::info_span!(
                "request",
                id = origin.request,
                trace = origin.trace(),
                method,
                route = gate.route
            );
            request.extensions_mut().insert(origin);
            answer(&gate, request, next).instrument(span).await
        }
        Ok(()) => answer(&gate, request, next).await,
    };
    if trail.is_some() || !response.status().is_success() {
        response = audited(&gate, who.as_ref(), from, trail.as_ref(), response).await;
    }

    let took = begun.elapsed();
    let status = response.status();
    response.headers_mut().insert(REQUEST_ID, id.clone());
    gate.app
        .tenancy
        .metrics
        .request(gate.route, method, status.as_u16(), took);
    note(
        &gate,
        (&id, trace.as_ref()),
        method,
        changes,
        status,
        took,
        who.as_ref(),
    );
    response
}

/// Finds out who asks, and leaves that with the request; nobody in particular on open routes.
///
/// Who it is is told even when it may not do what it asks for.
async fn identify(gate: &Gate, request: &mut Request) -> (Option<Caller>, Result<(), ApiError>) {
    if gate.access == Access::Open {
        return (None, Ok(()));
    }
    let app = &gate.app;
    // Before keys and tenants are looked up: what other servers changed is known here.
    if (request.headers().contains_key(HEADER) || token_of(request.headers()).is_some())
        && let Err(refusal) = app.tenancy.fresh().await
    {
        return (None, Err(refusal));
    }
    let mut caller = match known(app, request.headers()).await {
        Ok(caller) => caller,
        Err(refusal) => return (None, Err(refusal)),
    };
    caller.peer = peer(request);
    let needed = gate.needed(request);
    let allowed = app.require(&caller, needed, gate.route).await;
    if allowed.is_ok() && !caller.permissions.has(needed) {
        caller.permissions = caller.permissions.or([needed].into_iter().collect());
        let role = caller.permissions.role().unwrap_or(caller.role);
        caller.role = caller.role.max(role);
    }
    request.extensions_mut().insert(caller.clone());
    (Some(caller), allowed)
}

/// Returns who a request comes from, by its token, its key, or both.
async fn known(app: &Shared, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let (Some(bearers), Some(token)) = (&app.bearers, token_of(headers)) else {
        return app.keys.caller(&app.tenancy.vault, headers);
    };
    // Whoever shows a token shows a good one, also beside a key.
    let bearer = bearers.caller(token).await?;
    if headers.contains_key(HEADER) {
        let key = app.keys.caller(&app.tenancy.vault, headers)?;
        return Ok(bearer.with_key(key));
    }
    Ok(bearer)
}

/// Leaves with a request what the audit log is to be told of it.
fn trail(gate: &Gate, who: &Caller, id: &HeaderValue, request: &mut Request) -> Trail {
    let path = request.uri().path();
    let segment = |names: &[&str]| {
        let pattern = gate.route.split('/');
        let mut both = pattern.zip(path.split('/'));
        both.find(|(name, _)| names.contains(name))
            .map(|(_, text)| text)
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let trail = Trail::new(
        who.clone(),
        id.to_str().unwrap_or_default(),
        audit::action(word(request.method()), gate.route, last),
        segment(&["{tenant}", "{id}", "{key}"]),
        segment(&["{service}"]),
    );
    request.extensions_mut().insert(trail.clone());
    trail
}

/// Records what was refused, and what was asked for and changed nothing; a change that was made
/// is in the audit log already.
async fn audited(
    gate: &Gate,
    who: Option<&Caller>,
    from: Option<SocketAddr>,
    trail: Option<&Trail>,
    response: Response,
) -> Response {
    if gate.access == Access::Open {
        return response;
    }
    let status = response.status();
    let refusal = response.extensions().get::<Refusal>().copied();
    if refusal.is_some_and(|refusal| refusal.noted) {
        return response;
    }
    let code = refusal.map(|refusal| refusal.code);
    let tenancy = &gate.app.tenancy;
    if code.is_some_and(|code| code.starts_with("auth.")) {
        tenancy.reads.note_failure(&Read {
            action: audit::AUTH_REFUSED,
            caller: who,
            peer: from.map(|from| from.ip()),
            tenant: "",
            service: gate.route,
            result: code.unwrap_or("auth.refused"),
            status: status.as_u16(),
        });
        return response;
    }
    let Some(trail) = trail.filter(|trail| !trail.is_recorded()) else {
        return response;
    };
    let record = trail.record(status.as_u16(), code);
    match tenancy.registry.append_audit(vec![record]).await {
        Ok(()) => response,
        Err(_) if status.is_server_error() => response,
        Err(error) => {
            tenancy.metrics.registry_failed();
            tracing::error!(%error, "the audit log cannot be written");
            audit::unavailable().into_response()
        }
    }
}

async fn answer(gate: &Gate, request: Request, next: Next) -> Response {
    let app = &gate.app;
    let work = async {
        // Never closed, so there is always a place in the end.
        let _place = app.requests.acquire().await;
        next.run(request).await
    };
    tokio::time::timeout(app.limits.request_time, work)
        .await
        .unwrap_or_else(|_| {
            ApiError::unavailable(
                "request.timeout",
                "the request took too long; if it was a change, look whether it happened",
            )
            .into_response()
        })
}

/// Returns where a request comes from.
fn peer(request: &Request) -> Option<SocketAddr> {
    request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .map(|ConnectInfo(peer)| peer.0)
}

/// Returns the caller's request id if it is a sane one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    request
        .headers()
        .get(&REQUEST_ID)
        .filter(|id| {
            (1..=LONGEST_ID).contains(&id.len())
                && id
                    .as_bytes()
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        })
        .cloned()
        .unwrap_or_else(|| {
            let mut text = uuid::Uuid::encode_buffer();
            let id = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
            HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
}

/// Returns a span of the caller's trace, when the request belongs to one.
fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = TraceContext::parse(headers.get("traceparent")?.to_str().ok()?)?;
    let state: Vec<&str> = headers
        .get_all("tracestate")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    Some(parent.with_state(&state.join(",")).child())
}

/// Trace and span, as the line in the log has them.
struct Span<'a>(&'a TraceContext);

impl std::fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.trace_id(), self.0.span_id())
    }
}

/// Returns a method's name as a label; made-up methods must not fill the memory.
fn word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Writes the line in the log: changes and failures always, reads only on demand.
fn note(
    gate: &Gate,
    (id, trace): (&HeaderValue, Option<&TraceContext>),
    method: &'static str,
    changes: bool,
    status: StatusCode,
    took: Duration,
    caller: Option<&Caller>,
) {
    let role = caller.map_or("none", |caller| caller.role.as_str());
    let peer = caller
        .and_then(|caller| caller.peer)
        .map(tracing::field::display);
    let caller = caller.map_or("", |caller| &*caller.id);
    let trace = trace.map(|trace| tracing::field::display(Span(trace)));
    let id = id.to_str().unwrap_or_default();
    let (route, status) = (gate.route, status.as_u16());
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::warn!(
            id, trace, method, route, status, micros, caller, role, peer, "answered"
        );
    } else if changes {
        tracing::info!(
            id, trace, method, route, status, micros, caller, role, peer, "answered"
        );
    } else {
        tracing::debug!(
            id, trace, method, route, status, micros, caller, role, peer, "answered"
        );
    }
}
