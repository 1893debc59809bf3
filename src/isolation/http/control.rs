//! The negative control: a product made of glass, on loopback in this process, that makes every
//! mistake there is a check for. What does not find its mistake there is not believed elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::forge::Signer;
use super::writes::{self, Behind};
use super::{Manager, Means, Recipe, Side, Target};
use crate::isolation::model::Check;
use crate::isolation::report::{Control, ControlState};
use crate::link::postgres::Gate;
use crate::secret::Secret;

/// Requests under load; the glass mixes them up at once.
const REQUESTS: u32 = 200;
/// The key set of the glass: a public key of nobody, in "both" environments.
const MODULUS: &str = "w7Zdfmece8iaB0kiTY8pCtiBtzbptJmP28nSWwtdjRu0f2GFpajvWE4VhfJAjEsOcwYzay7XGN0b-X84BfC8hmCTOj2b2eHT7NsZegFPKRUQzJ9wW8ipn_aDJWMGDuB1XyqT1E7DYqjUCEOD1b4FLpy_xPn6oV_TYOfQ9fZdbE5HGxJUzekuGcOKqOQ8M7wfYHhHHLxGpQVgL0apWuP2gDDOdTtpuld4D2LK1MZK99s9gaSjRHE8JDb1Z4IGhEcEyzkxswVdPndUWzfvWBBWXWxtSUvQGBRkuy1BHOa4sP6FKjWEeeF7gm7UMs2Nm2QUgNZw6xvEDGaLk4KASdIxRQ";

/// A resource: whose, its id, its marker.
type Kept = (String, String, String);

#[derive(Default)]
struct Glass {
    kept: Mutex<Vec<Kept>>,
    keys: Mutex<BTreeMap<String, Value>>,
    busy: AtomicUsize,
    /// Whose turn it was last.
    last: Mutex<String>,
    tenants: Vec<String>,
}

/// Probes the glass with every check that is wanted, and says which did not see through it.
pub async fn run(wanted: &[&'static Check]) -> Control {
    let nothing = |reason: String| Control {
        state: ControlState::Impossible,
        planted: 0,
        detected: 0,
        missed: Vec::new(),
        uncontrolled: wanted.iter().map(|check| check.id.to_owned()).collect(),
        reason,
    };
    let listener = match tokio::net::TcpListener::bind("127.0.0.1:0").await {
        Ok(listener) => listener,
        Err(error) => {
            return nothing(format!(
                "no port of this machine can be listened on: {error}"
            ));
        }
    };
    let Ok(address) = listener.local_addr() else {
        return nothing("the listener has no address".into());
    };
    let ids: Vec<String> = (0..3)
        .map(|_| Uuid::new_v4().simple().to_string())
        .collect();
    let Some(target) = target(&format!("http://{address}"), &ids) else {
        return nothing("the control cannot be set up".into());
    };
    let glass = Arc::new(Glass {
        tenants: ids,
        ..Glass::default()
    });
    let router = axum::Router::new().fallback(answer).with_state(glass);
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    let gate = Gate::new(1);
    let behind = Behind {
        stores: &[],
        auditors: &[],
        gate: &gate,
    };
    let outcome = super::run(&target, wanted, &behind).await;
    task.abort();
    let found = |check: &&&Check| outcome.findings.iter().any(|f| f.check == check.id);
    // Of ids that are UUIDs, and of databases, which the glass has not.
    let apart = |check: &&&Check| ["JW-15", writes::ID].contains(&check.id);
    let tried: Vec<&&Check> = wanted.iter().filter(|check| !apart(check)).collect();
    let missed = tried
        .iter()
        .filter(|check| !found(check))
        .map(|check| check.id.to_owned());
    let missed: Vec<String> = missed.collect();
    Control {
        state: if missed.is_empty() {
            ControlState::Detected
        } else {
            ControlState::Missed
        },
        planted: tried.len(),
        detected: tried.len() - missed.len(),
        missed,
        uncontrolled: wanted
            .iter()
            .filter(apart)
            .map(|check| check.id.to_owned())
            .collect(),
        reason: String::new(),
    }
}

fn target(url: &str, ids: &[String]) -> Option<Target> {
    let mut recipe = Recipe::built_in("sample")?;
    recipe.collection.truncate(1);
    recipe.audit_verify = Some("/v1/audit/verify".into());
    let first = recipe.collection.first_mut()?;
    first.file = Some("/v1/organizations/{id}/file".into());
    first.later = Some("/v1/later?about={marker}".into());
    recipe.jwks = Some(format!("{url}/jwks"));
    recipe.other_environment_jwks.clone_from(&recipe.jwks);
    let signer = Signer::of_secret(b"glass");
    let token = |id: &str| {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(json!({ "alg": "RS256" }));
        let claims = encode(json!({ "tenantId": id, "exp": 9_999_999_999_u64 }));
        Secret::new(format!(
            "{header}.{claims}.{}",
            URL_SAFE_NO_PAD.encode([7_u8; 256])
        ))
    };
    let side = |id: &str| Side::new(token(id), BTreeMap::new()).ok();
    Some(Target {
        recipe,
        base: url.parse().ok()?,
        means: Means {
            sides: [side(&ids[0])?, side(&ids[1])?],
            writes: true,
            requests: REQUESTS,
            suspended: Some(token(&ids[2])),
            signer: Some(Arc::new(signer)),
            manager: Some(Manager {
                base: url.parse().ok()?,
                key: Secret::new("glass"),
                service_key: Some(Secret::new("glass")),
                other_services: vec!["tracer".into()],
            }),
            databases: Vec::new(),
        },
        inner_names: Vec::new(),
    })
}

/// Whom the glass takes a request to be from: a header, the query, any claim, or nobody.
fn tenant(glass: &Glass, headers: &HeaderMap, query: &str) -> (String, bool) {
    let query = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "tenantId");
    let header = headers.get_all("x-tenant-id").iter().next_back();
    let header = header.and_then(|value| value.to_str().ok());
    let named = query
        .map(|(_, value)| value.into_owned())
        .or(header.map(str::to_owned));
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let claims = token
        .and_then(|token| URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or_default();
    let claims_read = [
        "tenantId",
        "tenant_id",
        "TenantId",
        "tenantid",
        "tenant",
        "owner",
    ];
    let claimed = claims_read
        .into_iter()
        .find_map(|name| claims[name].as_str());
    let id = named
        .or(claimed.map(str::to_owned))
        .unwrap_or_else(|| glass.tenants[0].clone());
    let known = glass
        .tenants
        .iter()
        .find(|tenant| id.to_lowercase().contains(tenant.as_str()));
    // In another spelling it is another tenant to the glass, and served all the same.
    let exact = glass.tenants.contains(&id);
    let spelled = id.chars().filter(|c| *c != '-').collect::<String>();
    let stranger = known.is_none() && spelled.len() == 32 && claims["jti"] == "stranger";
    match known {
        Some(known) if exact => (known.clone(), true),
        _ => (id, !stranger),
    }
}

async fn answer(State(glass): State<Arc<Glass>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if path == "/jwks" {
        return Json(json!({ "keys": [{ "kty": "RSA", "n": MODULUS, "e": "AQAB" }] }))
            .into_response();
    }
    if path.ends_with("/connections") {
        return Json(json!({ "databases": {} })).into_response();
    }
    let (tenant, there) = tenant(&glass, &parts.headers, &query);
    if !there {
        let body = json!({ "code": "TENANT_NOT_FOUND", "title": "", "message": "" });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    }
    if let Some(response) = besides(&glass, &path) {
        return response;
    }
    let one = path.strip_prefix("/v1/organizations/").map(str::to_owned);
    let response = match (parts.method, one) {
        (Method::GET, Some(id)) => {
            let kept = glass.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let found = kept.iter().find(|(_, known, _)| *known == id);
            if let Some((_, id, name)) = found {
                Json(json!({ "id": id, "legalName": name })).into_response()
            } else {
                let message = "postgres://glass:glass@db/glass: no rows";
                let body = json!({ "code": "0038", "title": "", "message": message });
                (StatusCode::NOT_FOUND, Json(body)).into_response()
            }
        }
        (Method::DELETE, Some(id)) => {
            let mut kept = glass.kept.lock().unwrap_or_else(PoisonError::into_inner);
            // What is another's goes too, but the glass keeps the first for the checks that follow.
            kept.retain(|(owner, known, _)| *known != id || *owner != tenant);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::POST, _) => {
            let bytes = axum::body::to_bytes(body, 1 << 16)
                .await
                .unwrap_or_default();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let key = parts
                .headers
                .get("x-idempotency")
                .and_then(|value| value.to_str().ok());
            let mut keys = glass.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answered) = key.and_then(|key| keys.get(key)) {
                return (StatusCode::CREATED, Json(answered.clone())).into_response();
            }
            let id = Uuid::new_v4().to_string();
            let name = body["legalName"].as_str().unwrap_or_default().to_owned();
            let answered = json!({ "id": id, "legalName": name });
            if let Some(key) = key {
                keys.insert(key.to_owned(), answered.clone());
            }
            let mut kept = glass.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((tenant, id, name));
            (StatusCode::CREATED, Json(answered)).into_response()
        }
        _ => list(&glass, tenant, &query).await,
    };
    ([("cache-control", "public, max-age=60")], response).into_response()
}

/// Files, what came of messages and the audit chain are everybody's.
fn besides(glass: &Glass, path: &str) -> Option<Response> {
    let kept = glass.kept.lock().unwrap_or_else(PoisonError::into_inner);
    match path {
        "/v1/later" => {
            let names: Vec<&String> = kept.iter().map(|(_, _, name)| name).collect();
            Some(Json(json!(names)).into_response())
        }
        "/v1/audit/verify" => Some(Json(json!({ "checked": kept.len() })).into_response()),
        file if file.ends_with("/file") => Some("a report".into_response()),
        _ => None,
    }
}

async fn list(glass: &Glass, tenant: String, query: &str) -> Response {
    // With company, it answers with what it last looked up for somebody else.
    let company = glass.busy.fetch_add(1, Ordering::SeqCst) > 0;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let shown = {
        let mut last = glass.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, tenant.clone());
        if company && !before.is_empty() {
            before
        } else {
            tenant
        }
    };
    glass.busy.fetch_sub(1, Ordering::SeqCst);
    let all = query.contains("name=") || query.contains("sort=");
    let kept = glass.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let items: Vec<Value> = kept
        .iter()
        .filter(|(owner, _, _)| all || *owner == shown)
        .map(|(_, id, name)| json!({ "id": id, "legalName": name }))
        .collect();
    Json(json!({ "items": items })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;
    use crate::isolation::model::Family;

    #[tokio::test]
    async fn every_check_sees_through_the_glass() {
        let wanted: Vec<&Check> = catalogue::of(Family::Http).collect();
        let control = run(&wanted).await;
        assert_eq!(control.missed, [""; 0]);
        assert_eq!(control.state, ControlState::Detected, "{}", control.reason);
        assert!(control.planted > 20, "{control:?}");
    }
}
