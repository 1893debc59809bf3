//! The probes of a running product: the clean sample gives no finding; each leak put in front of it
//! is found by exactly the checks that should, with the right tenants named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lerianctl::client::Resolver;
use lerianctl::devstack::sample;
use lerianctl::isolation::catalogue;
use lerianctl::isolation::http::{
    self as http, Behind, Manager, Means, Outcome, Recipe, Side, Signer, Target,
};
use lerianctl::isolation::model::{Check, Family, Finding};
use lerianctl::link::postgres::Gate;
use lerianctl::middleware::{Tenancy, TenancySettings, Trust};
use lerianctl::secret::Secret;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::middleware_kit::{Stage, calm};
use crate::sample_kit::{Bearer, Service, clean, tenancy};
use crate::server_kit::{path, slug};
use crate::support::{Play, Sandbox, Script};

/// A mistake that a product could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leak {
    None,
    NoSignature,
    PublicKeyAsSecret,
    BrokenSignature,
    SwappedClaim,
    NoToken,
    OddClaim,
    OtherClaim,
    Header,
    Query,
    GetById,
    ExistenceOracle,
    MergedLists,
    SharedIdempotency,
    PublicCache,
    Spellings,
    OtherIssuer,
    OwnKey,
    Expired,
    SuspendedServed,
    TellsStrangers,
    CrossTalk,
    ErrorBodies,
    ForeignFile,
    LaterMixed,
    SharedAudit,
    DefaultPool,
}

/// What stands in front of the clean sample.
struct Front {
    leak: Leak,
    clean: Router,
    stage: Arc<Stage>,
    ids: [String; 2],
    tokens: [String; 2],
    suspended: String,
    answers: Mutex<BTreeMap<String, (StatusCode, Vec<u8>)>>,
    busy: AtomicUsize,
    last: Mutex<String>,
    /// Records of each tenant.
    records: Mutex<[usize; 2]>,
}

struct Token {
    header: Value,
    claims: Value,
    parts: Vec<String>,
}

fn read(token: &str) -> Option<Token> {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let object = |part: &String| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    Some(Token {
        header: object(parts.first()?)?,
        claims: object(parts.get(1)?)?,
        parts,
    })
}

impl Front {
    /// Returns the tenant that the mistake lets a request be.
    fn taken_for(&self, request: &Request) -> Option<String> {
        let bearer = request
            .headers()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        let text = bearer
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let good = self.tokens.iter().any(|token| token == text);
        let b = self.ids[1].clone();
        if self.leak == Leak::NoToken && bearer.is_none() {
            return Some(b);
        }
        if self.leak == Leak::Header && good {
            let last = request.headers().get_all("x-tenant-id").iter().next_back();
            return last
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
        }
        if self.leak == Leak::Query && good {
            let query = request.uri().query().unwrap_or_default();
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            return pairs
                .find(|(name, _)| name == "tenantId")
                .map(|(_, id)| id.into_owned());
        }
        let token = read(text)?;
        let signature = token.parts.get(2).map_or("", String::as_str);
        let claim = |name: &str| token.claims[name].as_str().unwrap_or_default().to_owned();
        let theirs = read(&self.tokens[1])?;
        let mine = read(&self.tokens[0])?;
        let own_key = ["jwk", "jku", "x5u"]
            .iter()
            .any(|name| token.header.get(name).is_some())
            || token.header["kid"]
                .as_str()
                .is_some_and(|id| id.contains(['/', '\'']));
        let wrong = match self.leak {
            Leak::NoSignature => signature.is_empty(),
            Leak::PublicKeyAsSecret => token.header["alg"] == "HS256" && !own_key,
            Leak::OwnKey => own_key,
            Leak::BrokenSignature => {
                token.parts[..2] == theirs.parts[..2] && !signature.is_empty() && !good
            }
            Leak::SwappedClaim => {
                token.header == mine.header
                    && signature == mine.parts[2]
                    && token.claims["jti"] == mine.claims["jti"]
                    && claim("tenantId") == b
            }
            Leak::OddClaim => token.claims["tenantId"].is_array(),
            Leak::OtherClaim => claim("tenantId").is_empty() && claim("owner") == b,
            Leak::Spellings => !good && claim("tenantId").trim() == b && claim("tenantId") != b,
            Leak::OtherIssuer => claim("iss").contains("staging"),
            Leak::Expired => token.claims["exp"]
                .as_i64()
                .is_some_and(|exp| (100..jiff::Timestamp::now().as_second()).contains(&exp)),
            _ => false,
        };
        wrong.then_some(b)
    }

    async fn serve(self: Arc<Self>, mut request: Request) -> Response {
        if let Some(tenant) = self.taken_for(&request)
            && tenant.parse::<lerianctl::contract::TenantId>().is_ok()
        {
            Self::as_tenant(&mut request, &self.stage.token_of(&tenant));
        }
        let text = request
            .headers()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        let text = text
            .unwrap_or_default()
            .trim_start_matches("Bearer ")
            .to_owned();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let listing = method == Method::GET && path == "/v1/organizations";
        let side = self.tokens.iter().position(|token| *token == text);
        let query = request.uri().query().unwrap_or_default().to_owned();
        if let Some(response) = self.besides(&path, &query, side).await {
            return response;
        }
        if let (true, Some(side)) = (method == Method::POST, side) {
            self.records.lock().unwrap()[side] += 1;
        }
        match self.leak {
            Leak::SuspendedServed if text == self.suspended => {
                return axum::Json(json!({ "items": [] })).into_response();
            }
            Leak::TellsStrangers => {
                let response = self.clean(request).await;
                let unknown = read(&text).is_some_and(|token| {
                    token.claims["jti"] == "stranger"
                        && !self
                            .ids
                            .iter()
                            .any(|id| token.claims["tenantId"] == id.as_str())
                });
                return if response.status() == 401 && unknown {
                    StatusCode::NOT_FOUND.into_response()
                } else {
                    response
                };
            }
            Leak::GetById | Leak::ExistenceOracle
                if method == Method::GET && !listing && side.is_some() =>
            {
                let other = &self.tokens[1 - side.unwrap()];
                let query = request.uri().clone();
                let response = self.clean(request).await;
                if response.status() != 404 {
                    return response;
                }
                let mut again = Request::get(query).body(Body::empty()).unwrap();
                Self::as_tenant(&mut again, other);
                let theirs = self.clean(again).await;
                return match (theirs.status() == 200, self.leak) {
                    (true, Leak::GetById) => theirs,
                    (true, _) => StatusCode::FORBIDDEN.into_response(),
                    (false, _) => response,
                };
            }
            Leak::DefaultPool if listing => {
                let response = self.clean(request).await;
                return if response.status() == 404 {
                    axum::Json(json!({ "items": [] })).into_response()
                } else {
                    response
                };
            }
            Leak::MergedLists if listing => return self.merged(request).await,
            Leak::SharedIdempotency if method == Method::POST => {
                return self.idempotent(request).await;
            }
            Leak::CrossTalk if listing && side.is_some() => {
                let company = self.busy.fetch_add(1, Ordering::SeqCst) > 0;
                let guard = Busy(Arc::clone(&self));
                tokio::time::sleep(Duration::from_millis(1)).await;
                let last = std::mem::replace(&mut *self.last.lock().unwrap(), text);
                if company && !last.is_empty() {
                    Self::as_tenant(&mut request, &last);
                }
                let response = self.clean(request).await;
                drop(guard);
                return response;
            }
            _ => {}
        }
        let mut response = self.clean(request).await;
        if self.leak == Leak::PublicCache {
            let value = HeaderValue::from_static("public, max-age=60");
            response.headers_mut().insert("cache-control", value);
        }
        if self.leak == Leak::ErrorBodies && response.status() == 404 {
            let text = r#"{"code":"0038","message":"postgres://app:x@db/main: no rows"}"#;
            return (StatusCode::NOT_FOUND, text).into_response();
        }
        response
    }

    /// Files, what comes later and an audit chain, which the sample has not.
    async fn besides(&self, path: &str, query: &str, side: Option<usize>) -> Option<Response> {
        let file = path.strip_suffix("/file");
        if file.is_none() && path != "/v1/later" && path != "/v1/audit/verify" {
            return None;
        }
        let Some(side) = side.or((self.leak == Leak::ForeignFile && file.is_some()).then_some(0))
        else {
            return Some(StatusCode::UNAUTHORIZED.into_response());
        };
        let sides = match self.leak {
            Leak::ForeignFile if file.is_some() => vec![0, 1],
            Leak::LaterMixed if path == "/v1/later" => vec![0, 1],
            Leak::SharedAudit if path == "/v1/audit/verify" => vec![0, 1],
            _ => vec![side],
        };
        if path == "/v1/audit/verify" {
            let records = self.records.lock().unwrap();
            let count: usize = sides.iter().map(|side| records[*side]).sum();
            return Some(axum::Json(json!({ "checked": count })).into_response());
        }
        let about = query.replace("about=", "name=");
        let from = match file {
            Some(one) => one.to_owned(),
            None => format!("/v1/organizations?{about}"),
        };
        let mut answer = StatusCode::NOT_FOUND.into_response();
        for side in sides {
            let mut one = Request::get(&from).body(Body::empty()).unwrap();
            Self::as_tenant(&mut one, &self.tokens[side]);
            let response = self.clean(one).await;
            if !response.status().is_success() {
                continue;
            }
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let found = String::from_utf8_lossy(&body).contains("lerianctl-probe");
            if found || answer.status() == StatusCode::NOT_FOUND {
                answer = body.into_response();
            }
        }
        Some(answer)
    }

    fn as_tenant(request: &mut Request, token: &str) {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }

    async fn clean(&self, request: Request) -> Response {
        self.clean.clone().oneshot(request).await.unwrap()
    }

    async fn merged(&self, request: Request) -> Response {
        let uri = request.uri().clone();
        let asked = self.clean(request).await;
        if !asked.status().is_success() {
            return asked;
        }
        let mut items = Vec::new();
        for token in &self.tokens {
            let mut one = Request::get(uri.clone()).body(Body::empty()).unwrap();
            Self::as_tenant(&mut one, token);
            let response = self.clean(one).await;
            if !response.status().is_success() {
                return response;
            }
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            items.extend(body["items"].as_array().unwrap().iter().cloned());
        }
        let headers = [("cache-control", "no-store")];
        (headers, axum::Json(json!({ "items": items }))).into_response()
    }

    async fn idempotent(&self, request: Request) -> Response {
        let key = request
            .headers()
            .get("x-idempotency")
            .map(|v| v.to_str().unwrap().to_owned());
        let known = key
            .as_ref()
            .and_then(|key| self.answers.lock().unwrap().get(key).cloned());
        if let Some(known) = known {
            return known.into_response();
        }
        let response = self.clean(request).await;
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap()
            .to_vec();
        if let Some(key) = key {
            self.answers
                .lock()
                .unwrap()
                .insert(key, (status, body.clone()));
        }
        (status, body).into_response()
    }
}

/// Counts down also when the caller gives up.
struct Busy(Arc<Front>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A Tenant Manager with two tenants to be probed and a suspended one.
struct Ground {
    stage: Arc<Stage>,
    tenants: [Value; 2],
    suspended: String,
    service_key: Option<Secret>,
}

impl Ground {
    async fn start() -> Self {
        let stage = Stage::start();
        let a = stage.caller.tenant(&["ledger"], "schema").await;
        let b = stage.caller.tenant(&["ledger", "tracer"], "database").await;
        let c = stage.caller.tenant(&["ledger"], "database").await;
        stage
            .caller
            .post(&path(&c, "/suspend"), &json!({}))
            .await
            .expect(200);
        let body = json!({ "name": slug("ledger"), "role": "service", "services": ["ledger"] });
        let made = stage.caller.post("/v1/admin/keys", &body).await.expect(201);
        let service_key = made["key"].as_str().map(Secret::new);
        assert!(service_key.is_some(), "{made}");
        Self {
            service_key,
            suspended: stage.token(&c),
            tenants: [a, b],
            stage: Arc::new(stage),
        }
    }

    fn front(&self, leak: Leak, clean: Router) -> Router {
        let front = Arc::new(Front {
            leak,
            clean,
            ids: self.ids(),
            tokens: self.tokens(),
            stage: Arc::clone(&self.stage),
            suspended: self.suspended.clone(),
            answers: Mutex::default(),
            busy: AtomicUsize::new(0),
            last: Mutex::default(),
            records: Mutex::default(),
        });
        // A router of its own: parameters of a path that was matched before would be in the way.
        Router::new().fallback(move |request: Request| Arc::clone(&front).serve(request))
    }

    fn ids(&self) -> [String; 2] {
        [0, 1].map(|at| self.tenants[at]["id"].as_str().unwrap().to_owned())
    }

    fn tokens(&self) -> [String; 2] {
        // The same every time: leaks compare them.
        static TOKENS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
        self.ids().map(|id| {
            let mut tokens = TOKENS.lock().unwrap();
            let token = tokens
                .entry(id.clone())
                .or_insert_with(|| self.stage.token_of(&id));
            token.clone()
        })
    }

    fn target(&self, url: &str) -> Target {
        let mut recipe = Recipe::built_in("sample").unwrap();
        recipe.jwks = Some(format!("{}/.well-known/jwks.json", self.stage.server.url()));
        let side = |at: usize| {
            let token = Secret::new(self.tokens()[at].clone());
            let mut side = Side::new(token, BTreeMap::new()).unwrap();
            ["aurora", "brisa"][at].clone_into(&mut side.name);
            side
        };
        let databases = self
            .tenants
            .iter()
            .flat_map(|t| t["services"][0]["databases"].as_array().unwrap());
        Target {
            recipe,
            base: url.parse().unwrap(),
            means: Means {
                sides: [side(0), side(1)],
                writes: true,
                requests: 300,
                suspended: Some(Secret::new(self.suspended.clone())),
                signer: Some(Arc::new(Signer::from_pem(self.stage.key.to_pem()).unwrap())),
                manager: Some(Manager {
                    base: self.stage.server.url().parse().unwrap(),
                    key: self.stage.server.api_key().clone(),
                    service_key: self.service_key.clone(),
                    other_services: vec!["tracer".into()],
                }),
                databases: Vec::new(),
            },
            inner_names: databases
                .map(|d| d["database"].as_str().unwrap().to_owned())
                .collect(),
        }
    }
}

/// Probes a product whose databases are not known.
async fn run(target: &Target, wanted: &[&'static Check]) -> Outcome {
    let gate = Gate::new(1);
    let behind = Behind {
        stores: &[],
        auditors: &[],
        gate: &gate,
    };
    http::run(target, wanted, &behind).await
}

fn wanted() -> Vec<&'static Check> {
    catalogue::of(Family::Http).collect()
}

fn refuted(outcome: &Outcome) -> BTreeSet<&str> {
    outcome
        .findings
        .iter()
        .map(|finding| finding.check.as_str())
        .collect()
}

fn find<'a>(outcome: &'a Outcome, check: &str) -> &'a Finding {
    outcome
        .findings
        .iter()
        .find(|finding| finding.check == check)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clean_sample_gives_no_finding_and_nothing_is_left_behind() {
    let ground = Ground::start().await;
    let service = Service::serve(clean(&ground.stage)).await;
    let outcome = run(&ground.target(&service.url()), &wanted()).await;
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    assert!(outcome.unproven.is_empty(), "{:#?}", outcome.unproven);
    assert!(outcome.left_behind.is_empty(), "{:#?}", outcome.left_behind);
    let skipped: Vec<_> = outcome.skipped.keys().copied().collect();
    assert_eq!(
        skipped,
        ["JW-15", "JW-18", "JW-26", "JW-27", "JW-28", "PG-207"]
    );
    for check in wanted() {
        let tried = outcome.tried.get(check.id).copied().unwrap_or_default();
        assert_eq!(tried == 0, skipped.contains(&check.id), "{}", check.id);
    }
    for token in ground.tokens() {
        let ids = Bearer::new(&service.url(), token)
            .ids("/v1/organizations")
            .await;
        assert!(ids.is_empty(), "{ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_leak_is_found_by_exactly_the_checks_that_should() {
    let ground = Ground::start().await;
    let clean = clean(&ground.stage);
    let mut problems = Vec::new();
    for (leak, expected) in [
        (Leak::None, &[][..]),
        (Leak::NoSignature, &["JW-01"]),
        (Leak::PublicKeyAsSecret, &["JW-02"]),
        (Leak::BrokenSignature, &["JW-03"]),
        (Leak::SwappedClaim, &["JW-04"]),
        (Leak::NoToken, &["JW-05"]),
        (Leak::OddClaim, &["JW-06"]),
        (Leak::OtherClaim, &["JW-07"]),
        (Leak::Header, &["JW-08"]),
        (Leak::Query, &["JW-09"]),
        (Leak::GetById, &["JW-10"]),
        (Leak::ExistenceOracle, &["JW-10"]),
        (Leak::MergedLists, &["JW-11"]),
        (Leak::SharedIdempotency, &["JW-12"]),
        (Leak::PublicCache, &["JW-13"]),
        (Leak::Spellings, &["JW-14"]),
        (Leak::OtherIssuer, &["JW-16"]),
        (Leak::OwnKey, &["JW-17"]),
        (Leak::Expired, &["JW-19"]),
        (Leak::SuspendedServed, &["JW-20"]),
        (Leak::TellsStrangers, &["JW-21"]),
        (Leak::CrossTalk, &["JW-22"]),
        (Leak::ErrorBodies, &["JW-23"]),
        (Leak::ForeignFile, &["JW-26"]),
        (Leak::LaterMixed, &["JW-27"]),
        (Leak::SharedAudit, &["JW-28"]),
        (Leak::DefaultPool, &["CF-15"]),
    ] {
        let service = Service::serve(ground.front(leak, clean.clone())).await;
        let mut target = ground.target(&service.url());
        target.recipe.audit_verify = Some("/v1/audit/verify".into());
        let first = &mut target.recipe.collection[0];
        first.file = Some("/v1/organizations/{id}/file".into());
        first.later = Some("/v1/later?about={marker}".into());
        let outcome = run(&target, &wanted()).await;
        let found = refuted(&outcome);
        if found != expected.iter().copied().collect() {
            problems.push(format!(
                "{leak:?}: {found:?}, {:#?} {:?}",
                outcome.findings, outcome.unproven
            ));
            continue;
        }
        for finding in &outcome.findings {
            let names: BTreeSet<&str> = finding
                .from
                .iter()
                .chain(&finding.to)
                .map(String::as_str)
                .collect();
            if !names.iter().all(|name| ["aurora", "brisa"].contains(name)) || names.is_empty() {
                problems.push(format!("{leak:?}: {names:?}"));
            }
        }
        let both = ["aurora".to_owned(), "brisa".to_owned()];
        match leak {
            Leak::SwappedClaim => {
                let finding = find(&outcome, "JW-04");
                assert_eq!(
                    (&finding.from[..], &finding.to[..]),
                    (&both[..1], &both[1..])
                );
            }
            Leak::GetById | Leak::Header | Leak::SharedIdempotency => {
                assert_eq!(outcome.findings[0].from, both, "{leak:?}");
                assert_eq!(outcome.findings[0].to, both, "{leak:?}");
            }
            _ => {}
        }
        let text = format!("{:?}", outcome.findings);
        let secrets = ground
            .tokens()
            .map(|token| token.rsplit('.').next().unwrap().to_owned());
        assert!(
            !secrets.iter().any(|secret| text.contains(secret)),
            "a token is in the evidence"
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_verifies_nothing_is_found_by_all_that_forge() {
    let ground = Ground::start().await;
    let settings = TenancySettings {
        modules: vec!["onboarding".into()],
        trust: Trust::Upstream,
        ..ground.stage.settings()
    };
    let resolver = Resolver::new(ground.stage.manager(), calm(), None);
    let open = Service::serve(sample::router(Tenancy::new(settings, resolver))).await;
    let mut target = ground.target(&open.url());
    target
        .recipe
        .other_environment_jwks
        .clone_from(&target.recipe.jwks);
    let script = Script::play([Play::json(200, json!({ "databases": {} }))]);
    target.means.manager.as_mut().unwrap().base = script.url().parse().unwrap();
    let outcome = run(&target, &wanted()).await;
    let expected = [
        "JW-01", "JW-02", "JW-03", "JW-04", "JW-16", "JW-17", "JW-18", "JW-21", "JW-24", "JW-25",
    ];
    assert_eq!(
        refuted(&outcome),
        expected.into(),
        "{:#?}",
        outcome.findings
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_positive_control_nothing_is_proved() {
    let ground = Ground::start().await;
    let closed = Script::play([Play::json(403, json!({ "code": "0131" }))]);
    let outcome = run(&ground.target(&closed.url()), &wanted()).await;
    assert!(outcome.findings.is_empty() && outcome.tried.is_empty());
    assert_eq!(outcome.unproven.len(), wanted().len());
    // Only to read, and with nothing to be seen: what cannot be told apart is not proved either.
    let service = Service::serve(sample::router(tenancy(&ground.stage))).await;
    let mut target = ground.target(&service.url());
    target.means.writes = false;
    target.means.signer = None;
    let outcome = run(&target, &wanted()).await;
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    for check in ["JW-08", "JW-09", "JW-10", "JW-11", "JW-22"] {
        assert!(outcome.unproven.contains_key(check), "{check}");
    }
    for check in [
        "CF-15", "JW-06", "JW-07", "JW-12", "JW-14", "JW-16", "JW-19",
    ] {
        assert!(outcome.skipped.contains_key(check), "{check}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_probes_a_product_and_proves_itself() {
    let ground = Ground::start().await;
    let clean = clean(&ground.stage);
    let service = Service::serve(clean.clone()).await;
    let [a, b] = ground.tokens();
    let room = Sandbox::new()
        .with("LERIANCTL_SERVER", ground.stage.server.url())
        .with("LERIANCTL_API_KEY", ground.stage.server.api_key().expose())
        .with("OTHER_TOKEN", &b);
    room.write("a.token", &a);
    room.write("key.pem", ground.stage.key.to_pem().expose());
    let url = service.url();
    let mut arguments = vec![
        "isolation",
        "check",
        "--recipe",
        "sample",
        "--product-url",
        &url,
    ];
    arguments.extend([
        "--token-a-file",
        "a.token",
        "--token-b-variable",
        "OTHER_TOKEN",
    ]);
    arguments.extend([
        "--probe-writes",
        "--token-key-file",
        "key.pem",
        "--http-requests",
        "200",
    ]);
    for check in wanted() {
        arguments.extend(["--check", check.id]);
    }
    let report = room
        .run([&arguments[..], &["-o", "json"]].concat())
        .success();
    let document = report.json();
    assert_eq!(document["verdict"], "holds", "{report}");
    assert_eq!(document["control"]["state"], "detected", "{report}");
    let verdict = |id: &str| {
        let checks = document["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == id).unwrap()["verdict"].clone()
    };
    assert_eq!(verdict("JW-04"), "holds");
    assert_eq!(verdict("JW-20"), "skipped");
    // A sample, and said so.
    assert_eq!(verdict("JW-22"), "unproven");
    assert!(!report.stdout.contains(a.rsplit('.').next().unwrap()));
    let leaky = Service::serve(ground.front(Leak::GetById, clean)).await;
    let leaky = leaky.url();
    arguments[5] = &leaky;
    let text = room.run(&arguments).exits(3);
    assert!(
        text.stdout.starts_with("ISOLATION REFUTED: 2 critical\n"),
        "{text}"
    );
    assert!(text.stdout.contains("JW-10"), "{text}");
    arguments[5] = "http://example.com";
    let refused = room.run(&arguments).exits(2);
    assert!(
        refused.stderr.contains("isolation.product_url"),
        "{refused}"
    );
}
