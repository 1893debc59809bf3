//! The built-in recipes against services with the products' routes, bodies and answers: what they
//! make is made, read and removed, and a mix-up of tenants is found by the checks that should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lerianctl::isolation::catalogue;
use lerianctl::isolation::http::{self as http, Behind, Means, Outcome, Recipe, Side, Target};
use lerianctl::link::postgres::Gate;
use lerianctl::secret::Secret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sample_kit::Service;

/// What the services mix up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mixed {
    Nothing,
    Files,
    Chain,
}

/// A resource of a tenant.
#[derive(Debug, Clone)]
struct Thing {
    side: usize,
    collection: String,
    id: String,
    body: Value,
    /// What its file holds, and how often it was asked for before it was there.
    file: (String, u32),
}

struct Products {
    mixed: Mixed,
    tokens: [String; 2],
    things: Mutex<Vec<Thing>>,
    /// Records: whose, and of what.
    records: Mutex<Vec<(usize, String, String)>>,
    keys: Mutex<BTreeMap<(usize, String), Value>>,
}

/// What a request says that makes a resource.
struct Given {
    side: usize,
    path: String,
    body: Value,
    file: String,
}

fn token(tenant: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "tenantId": tenant, "sub": "probe", "exp": 4_000_000_000_u64 });
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    format!("{}.{}.{}", part(&header), part(&claims), part(&json!("s")))
}

/// Returns the fields of a form and the content of its file, which has to be a template.
fn form(kind: &str, text: &str) -> Option<(Value, String)> {
    let boundary = kind.strip_prefix("multipart/form-data; boundary=")?;
    let (mut fields, mut file) = (serde_json::Map::new(), String::new());
    for part in text.split(&format!("--{boundary}")) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let name = head.split("name=\"").nth(1)?.split('"').next()?;
        let content = content.strip_suffix("\r\n")?.to_owned();
        match head.split("filename=\"").nth(1) {
            Some(file_name) if name == "template" && file_name.starts_with("probe.tpl\"") => {
                file = content;
            }
            Some(_) => return None,
            None => {
                fields.insert(name.to_owned(), content.into());
            }
        }
    }
    (!file.is_empty()).then_some((fields.into(), file))
}

fn is_cpf(text: &str) -> bool {
    let digits: Vec<usize> = text.bytes().map(|byte| usize::from(byte - b'0')).collect();
    digits.len() == 11
        && [9, 10].iter().all(|&at| {
            let sum: usize = (0..at).map(|i| digits[i] * (at + 1 - i)).sum();
            digits[at] == sum * 10 % 11 % 10
        })
}

impl Products {
    fn of(&self, side: usize, collection: &str) -> Vec<Thing> {
        let things = self.things.lock().unwrap();
        let fits = |thing: &&Thing| thing.side == side && thing.collection == collection;
        things.iter().filter(fits).rev().cloned().collect()
    }

    fn recorded(&self, side: usize, id: &str) {
        let record = (side, Uuid::now_v7().to_string(), id.to_owned());
        self.records.lock().unwrap().push(record);
    }

    /// Says which of the products' rules a body breaks.
    fn wrong(&self, given: &Given) -> Option<(StatusCode, &'static str)> {
        let body = &given.body;
        let text = |key: &str| body[key].as_str().is_some_and(|text| !text.is_empty());
        let bad = |wrong: bool| wrong.then_some((StatusCode::BAD_REQUEST, "0009"));
        match given.path.as_str() {
            "/v1/rules" => bad(!(text("name") && text("expression") && text("action"))),
            "/v1/limits" => {
                let scopes = body["scopes"].as_array().is_some_and(|all| !all.is_empty());
                let texts = ["name", "limitType", "maxAmount", "asset"]
                    .into_iter()
                    .all(text);
                bad(!(texts && scopes))
            }
            "/v1/templates" => bad(!(body["outputFormat"] == "TXT" && text("description"))),
            "/v1/reports" => {
                let templates = self.of(given.side, "/v1/templates");
                let known = templates
                    .iter()
                    .any(|thing| body["templateId"] == thing.id.as_str());
                bad(!(known && body["filters"].is_object()))
            }
            "/v1/organizations" => {
                let address = body["address"].as_object();
                let keys = ["line1", "line2", "zipCode", "city", "state", "country"];
                let whole = address.is_some_and(|a| keys.iter().all(|key| a.contains_key(*key)));
                bad(!(text("legalName") && text("legalDocument") && whole))
            }
            "/v1/holders" => {
                let document = body["document"].as_str().unwrap_or_default();
                let holders = self.of(given.side, "/v1/holders");
                if holders
                    .iter()
                    .any(|thing| thing.body["document"] == document)
                {
                    return Some((StatusCode::CONFLICT, "CRM-0010"));
                }
                bad(!(text("name") && body["type"] == "NATURAL_PERSON" && is_cpf(document)))
            }
            path if path.ends_with("/ledgers") => bad(!text("name")),
            _ => Some((StatusCode::NOT_FOUND, "0038")),
        }
    }

    fn make(&self, given: Given) -> (StatusCode, Value) {
        if let Some((status, code)) = self.wrong(&given) {
            return (status, json!({ "code": code }));
        }
        let id = Uuid::now_v7().to_string();
        let mut body = given.body;
        body[key_of(&given.path)] = id.as_str().into();
        let file = match given.path.as_str() {
            "/v1/reports" => {
                let templates = self.of(given.side, "/v1/templates");
                let of = |thing: &&Thing| body["templateId"] == thing.id.as_str();
                (templates.iter().find(of).unwrap().file.0.clone(), 2)
            }
            _ => (given.file, 0),
        };
        self.recorded(given.side, &id);
        self.things.lock().unwrap().push(Thing {
            side: given.side,
            collection: given.path,
            id,
            body: body.clone(),
            file,
        });
        (StatusCode::CREATED, body)
    }

    /// The records of a chain that a tenant is shown, oldest first.
    fn chain(&self, side: usize) -> Vec<(String, String)> {
        let records = self.records.lock().unwrap();
        let own =
            |record: &&(usize, String, String)| self.mixed == Mixed::Chain || record.0 == side;
        let shown = records.iter().filter(own);
        shown.map(|(_, id, of)| (id.clone(), of.clone())).collect()
    }

    fn look(&self, side: usize, path: &str, query: &BTreeMap<String, String>) -> Response {
        if path == "/v1/audit-events" {
            let newest = self.chain(side).into_iter().next_back();
            let events: Vec<Value> = newest
                .map(|(id, of)| json!({ "eventId": id, "resourceId": of }))
                .into_iter()
                .collect();
            assert_eq!(query.get("limit").map(String::as_str), Some("1"));
            return axum::Json(json!({ "auditEvents": events, "hasMore": true })).into_response();
        }
        if let Some(rest) = path.strip_prefix("/v1/audit-events/") {
            let id = rest.strip_suffix("/verify").unwrap();
            let at = self.chain(side).iter().position(|(event, _)| event == id);
            return match at {
                Some(at) => axum::Json(
                    json!({ "isValid": true, "totalChecked": at + 1, "message": "whole" }),
                )
                .into_response(),
                None => refusal(StatusCode::NOT_FOUND, "0390"),
            };
        }
        let known = [
            "/v1/rules",
            "/v1/limits",
            "/v1/templates",
            "/v1/reports",
            "/v1/organizations",
            "/v1/holders",
        ];
        if known.contains(&path) || path.ends_with("/ledgers") {
            let fits = |thing: &Thing| {
                ["name", "description"].iter().all(|key| {
                    query
                        .get(*key)
                        .is_none_or(|wanted| thing.body[*key] == wanted.as_str())
                })
            };
            let all = self.of(side, path).into_iter().filter(fits);
            let items: Vec<Value> = all.map(|thing| thing.body).collect();
            let key = match path {
                "/v1/rules" => "rules",
                "/v1/limits" => "limits",
                _ => "items",
            };
            return axum::Json(json!({ key: items })).into_response();
        }
        let mut things = self.things.lock().unwrap();
        if let Some(rest) = path.strip_suffix("/download") {
            let shown = |thing: &&mut Thing| {
                rest == format!("{}/{}", thing.collection, thing.id)
                    && (thing.side == side || self.mixed == Mixed::Files)
            };
            return match things.iter_mut().find(shown) {
                None => refusal(StatusCode::NOT_FOUND, "TPL-0011"),
                Some(thing) if thing.file.1 > 0 => {
                    thing.file.1 -= 1;
                    refusal(StatusCode::BAD_REQUEST, "TPL-0028")
                }
                Some(thing) => thing.file.0.clone().into_response(),
            };
        }
        let one = |thing: &&Thing| {
            thing.side == side && path == format!("{}/{}", thing.collection, thing.id)
        };
        match things.iter().find(one) {
            Some(thing) => axum::Json(thing.body.clone()).into_response(),
            None => refusal(StatusCode::NOT_FOUND, "0007"),
        }
    }

    async fn serve(self: Arc<Self>, request: Request) -> Response {
        let (parts, sent) = request.into_parts();
        let header = |name: &str| {
            let value = parts.headers.get(name);
            value
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let bearer = header("authorization");
        let known = |token: &String| bearer == format!("Bearer {token}");
        let Some(side) = self.tokens.iter().position(known) else {
            return refusal(StatusCode::UNAUTHORIZED, "Unauthenticated");
        };
        let (kind, key) = (header("content-type"), header("x-idempotency"));
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let path = uri.path().to_owned();
        if path.starts_with("/v1/holders") && header("x-organization-id") != format!("o{side}") {
            return refusal(StatusCode::BAD_REQUEST, "CRM-0001");
        }
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let query: BTreeMap<String, String> = query.into_owned().collect();
        if method == Method::GET {
            return self.look(side, &path, &query);
        }
        if method == Method::DELETE {
            let mut things = self.things.lock().unwrap();
            let one = |thing: &Thing| {
                thing.side == side
                    && thing.collection != "/v1/reports"
                    && path == format!("{}/{}", thing.collection, thing.id)
            };
            let Some(at) = things.iter().position(one) else {
                return refusal(StatusCode::NOT_FOUND, "0007");
            };
            let gone = things.remove(at);
            self.recorded(side, &gone.id);
            return StatusCode::NO_CONTENT.into_response();
        }
        let known = self.keys.lock().unwrap().get(&(side, key.clone())).cloned();
        if let Some(known) = known.filter(|_| !key.is_empty()) {
            return (StatusCode::CREATED, axum::Json(known)).into_response();
        }
        let bytes = to_bytes(sent, 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let read = if path == "/v1/templates" {
            form(&kind, &text)
        } else {
            serde_json::from_str(&text)
                .ok()
                .map(|body| (body, String::new()))
        };
        let Some((body, file)) = read else {
            return refusal(StatusCode::BAD_REQUEST, "TPL-0003");
        };
        let (status, body) = self.make(Given {
            side,
            path,
            body,
            file,
        });
        if status == StatusCode::CREATED && !key.is_empty() {
            self.keys.lock().unwrap().insert((side, key), body.clone());
        }
        (status, axum::Json(body)).into_response()
    }
}

fn key_of(path: &str) -> &'static str {
    match path {
        "/v1/rules" => "ruleId",
        "/v1/limits" => "limitId",
        _ => "id",
    }
}

fn refusal(status: StatusCode, code: &str) -> Response {
    (status, axum::Json(json!({ "code": code }))).into_response()
}

/// The checks that a recipe is for.
const WANTED: [&str; 9] = [
    "JW-05", "JW-08", "JW-09", "JW-10", "JW-11", "JW-12", "JW-26", "JW-27", "JW-28",
];

const IDS: [&str; 2] = [
    "11111111111111111111111111111111",
    "22222222222222222222222222222222",
];

/// Probes a product with its recipe; returns what came of it and what is left there.
async fn probed(name: &str, mixed: Mixed) -> (Outcome, Vec<Thing>) {
    let products = Arc::new(Products {
        mixed,
        tokens: IDS.map(token),
        things: Mutex::default(),
        records: Mutex::default(),
        keys: Mutex::default(),
    });
    let serving = Arc::clone(&products);
    let router = Router::new().fallback(move |request: axum::http::Request<Body>| {
        let products = Arc::clone(&serving);
        async move { products.serve(request).await }
    });
    let service = Service::serve(router).await;
    let side = |at: usize| {
        let variables = [("organization".to_owned(), format!("o{at}"))];
        // The ledger's recipe makes its organizations itself.
        let variables = variables.into_iter().filter(|_| name == "crm").collect();
        let mut side = Side::new(Secret::new(token(IDS[at])), variables).unwrap();
        ["aurora", "brisa"][at].clone_into(&mut side.name);
        side
    };
    let target = Target {
        recipe: Recipe::built_in(name).unwrap(),
        base: service.url().parse().unwrap(),
        means: Means {
            sides: [side(0), side(1)],
            writes: true,
            requests: 10,
            suspended: None,
            signer: None,
            manager: None,
            databases: Vec::new(),
        },
        inner_names: Vec::new(),
    };
    let wanted: Vec<_> = WANTED
        .iter()
        .map(|id| catalogue::find(id).unwrap())
        .collect();
    let gate = Gate::new(1);
    let behind = Behind {
        stores: &[],
        auditors: &[],
        gate: &gate,
    };
    let outcome = http::run(&target, &wanted, &behind).await;
    let left = products.things.lock().unwrap().clone();
    (outcome, left)
}

#[tokio::test]
async fn each_recipe_makes_reads_and_removes_what_its_product_has() {
    for (name, skipped) in [
        ("tracer", &["JW-12", "JW-26", "JW-27"][..]),
        ("reporter", &["JW-28"]),
        ("ledger", &["JW-26", "JW-27", "JW-28"]),
        ("crm", &["JW-12", "JW-26", "JW-27", "JW-28"]),
    ] {
        let (outcome, left) = probed(name, Mixed::Nothing).await;
        assert!(
            outcome.findings.is_empty(),
            "{name}: {:#?}",
            outcome.findings
        );
        assert!(
            outcome.unproven.is_empty(),
            "{name}: {:#?}",
            outcome.unproven
        );
        let wanted = |id: &&str| WANTED.contains(id);
        let found: Vec<&str> = outcome.skipped.keys().copied().filter(wanted).collect();
        assert_eq!(found, skipped, "{name}: {:#?}", outcome.skipped);
        for id in ["JW-09", "JW-10", "JW-11"] {
            assert!(outcome.tried[id] > 0, "{name}: {id}");
        }
        // Reports are not removed by any request; each that is left is named.
        let (kept, named): (BTreeSet<String>, BTreeSet<String>) = (
            left.iter()
                .map(|thing| format!("{}/{}", thing.collection, thing.id))
                .collect(),
            outcome
                .left_behind
                .iter()
                .map(|left| left.split(' ').next().unwrap().to_owned())
                .collect(),
        );
        assert_eq!(kept, named, "{name}");
        assert_eq!(kept.is_empty(), name != "reporter", "{name}");
        assert!(
            left.iter().all(|thing| thing.collection == "/v1/reports"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_mix_up_of_files_or_of_an_audit_chain_is_found() {
    for (name, mixed, found_by) in [
        ("reporter", Mixed::Files, &["JW-26", "JW-27"][..]),
        ("tracer", Mixed::Chain, &["JW-28"]),
    ] {
        let (outcome, _) = probed(name, mixed).await;
        let found: BTreeSet<&str> = outcome.findings.iter().map(|f| f.check.as_str()).collect();
        assert_eq!(
            found,
            found_by.iter().copied().collect(),
            "{name}: {outcome:#?}"
        );
        for finding in &outcome.findings {
            assert_eq!(finding.to, ["aurora", "brisa"], "{finding:?}");
        }
    }
}
