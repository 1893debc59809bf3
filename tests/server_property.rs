//! Requests made from our own OpenAPI document, valid and broken, against a real server: no
//! failure of the server, and no answer that the document does not allow.
//!
//! `LERIANCTL_PROPERTY_REQUESTS=100000` asks for more than the usual number, and
//! `LERIANCTL_PROPERTY_SEED` for others than usual.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use crate::server_kit::Caller;
use crate::support::Server;

/// Callers at once.
const CALLERS: u64 = 4;
/// Requests that need no number from outside.
const USUAL: u64 = 2000;

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the tests may ask for more of them"
)]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// What may be answered: form of the body, and what it must fit.
struct Answer {
    form: String,
    fits: Option<jsonschema::Validator>,
}

/// A route of the document.
struct Operation {
    method: String,
    path: String,
    query: Vec<(String, Value)>,
    body: Option<Value>,
    keyed: bool,
    answers: HashMap<u16, Answer>,
}

/// The document, ready to be used.
struct Interface {
    schemas: Value,
    operations: Vec<Operation>,
}

impl Interface {
    fn of(document: &Value) -> Self {
        let schemas = document["components"]["schemas"].clone();
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                operations.push(Self::operation(document, path, method, operation));
            }
        }
        Self {
            schemas,
            operations,
        }
    }

    fn operation(document: &Value, path: &str, method: &str, operation: &Value) -> Operation {
        let mut answers = HashMap::new();
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let (form, content) = answer["content"]
                .as_object()
                .and_then(|content| content.iter().next())
                .unwrap_or_else(|| panic!("{method} {path} {status} has no content"));
            let fits = (form == "application/json").then(|| {
                let mut schema = content["schema"].clone();
                if schema == json!(true) {
                    schema = json!({});
                }
                schema["components"] = document["components"].clone();
                jsonschema::validator_for(&schema)
                    .unwrap_or_else(|error| panic!("{method} {path} {status}: {error}"))
            });
            let form = form.clone();
            answers.insert(status.parse().unwrap(), Answer { form, fits });
        }
        let parameters = operation["parameters"].as_array().cloned();
        let query = parameters
            .unwrap_or_default()
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| {
                let name = parameter["name"].as_str().unwrap().to_owned();
                (name, parameter["schema"].clone())
            })
            .collect();
        Operation {
            method: method.to_uppercase(),
            path: path.to_owned(),
            query,
            body: operation["requestBody"]["content"]["application/json"]
                .get("schema")
                .cloned(),
            keyed: operation["security"] != json!([]),
            answers,
        }
    }
}

/// Makes values.
struct Maker<'a> {
    random: StdRng,
    schemas: &'a Value,
    /// Texts that name something, by what they name.
    known: &'a BTreeMap<&'static str, Vec<String>>,
}

impl Maker<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn odd_text(&mut self) -> String {
        let number = self.random.random_range(0..16_u32);
        match number {
            0 => String::new(),
            1 => "\0".into(),
            2 => "a\0b".into(),
            3 => "a".repeat(self.random.random_range(1..5000)),
            4 => "é\u{202e}\u{1F600}\u{fffd}漢字".into(),
            5 => "'; DROP TABLE tenants; --".into(),
            6 => "../../etc/passwd".into(),
            7 => "..".into(),
            8 => "%00%2F%zz".into(),
            9 => " \t\r\n".into(),
            10 => "-1".into(),
            11 => "99999999999999999999999999".into(),
            12 => "\u{7f}\u{80}\u{85}\u{2028}".into(),
            13 => "Aurora Ltda.".into(),
            14 => "*?[a]{b}$(c)`d`".into(),
            _ => {
                let length = self.random.random_range(1..40);
                (0..length).map(|_| self.random.random::<char>()).collect()
            }
        }
    }

    fn known_text(&mut self, what: &str) -> String {
        let known = self.known.get(what).or_else(|| self.known.get("tenant"));
        known
            .and_then(|known| known.choose(&mut self.random))
            .cloned()
            .unwrap_or_default()
    }

    /// A value for a place called `name`.
    fn text(&mut self, name: &str) -> String {
        match self.random.random_range(0..10_u32) {
            0..=5 => self.known_text(name),
            6 => {
                let mut text = self.known_text(name);
                let odd = self.odd_text();
                text.push_str(&odd);
                text
            }
            7 => format!("made-{}", self.random.random_range(0..300_u32)),
            _ => self.odd_text(),
        }
    }

    fn any(&mut self, depth: u32) -> Value {
        match self
            .random
            .random_range(0..if depth > 3 { 6 } else { 8_u32 })
        {
            0 => Value::Null,
            1 => self.random.random::<bool>().into(),
            2 => self.random.random::<i64>().into(),
            3 => json!(self.random.random::<f64>() * 1e300),
            4 | 5 => self.odd_text().into(),
            6 => {
                let length = self.random.random_range(0..4);
                (0..length).map(|_| self.any(depth + 1)).collect()
            }
            _ => {
                let length = self.random.random_range(0..4);
                let pairs = (0..length).map(|_| (self.odd_text(), self.any(depth + 1)));
                Value::Object(pairs.collect::<Vec<_>>().into_iter().collect())
            }
        }
    }

    /// A value that fits the schema, as far as it says what fits.
    fn fitting(&mut self, schema: &Value, name: &str, depth: u32) -> Value {
        if depth > 12 {
            return Value::Null;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.rsplit('/').next().unwrap();
            let target = self.schemas[target].clone();
            return self.fitting(&target, name, depth + 1);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(choices) = schema["enum"].as_array() {
            return choices.choose(&mut self.random).cloned().unwrap();
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[several].as_array() {
                let choice = choices.choose(&mut self.random).cloned().unwrap();
                return self.fitting(&choice, name, depth + 1);
            }
        }
        if let Some(first) = schema["allOf"].as_array().and_then(|all| all.first()) {
            let first = first.clone();
            return self.fitting(&first, name, depth + 1);
        }
        let form = match &schema["type"] {
            Value::Array(forms) => forms.choose(&mut self.random).cloned().unwrap(),
            form => form.clone(),
        };
        match form.as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => {
                let length = self.random.random_range(0..4);
                let items = schema["items"].clone();
                (0..length)
                    .map(|_| self.fitting(&items, name, depth + 1))
                    .collect()
            }
            Some("integer") => {
                let least = schema["minimum"].as_i64().unwrap_or(-3);
                let most = schema["maximum"].as_i64().unwrap_or(100_000);
                self.random.random_range(least..=most.max(least)).into()
            }
            Some("number") => json!(self.random.random::<f64>()),
            Some("boolean") => self.random.random::<bool>().into(),
            Some("null") => Value::Null,
            Some(_) => self.text(name).into(),
            None => self.any(depth),
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let mut object = Map::new();
        let required: Vec<&str> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                if required.contains(&name.as_str()) || self.chance(50) {
                    let value = self.fitting(property, name, depth + 1);
                    object.insert(name.clone(), value);
                }
            }
        }
        if schema["additionalProperties"].is_object() {
            let more = schema["additionalProperties"].clone();
            for _ in 0..self.random.random_range(0..3) {
                let value = self.fitting(&more, "", depth + 1);
                let name = self.text("");
                object.insert(name, value);
            }
        }
        Value::Object(object)
    }

    /// Breaks something somewhere in a value.
    fn broken(&mut self, value: Value) -> Value {
        match value {
            Value::Object(mut object) if !object.is_empty() && self.chance(80) => {
                let names: Vec<String> = object.keys().cloned().collect();
                let name = names.choose(&mut self.random).cloned().unwrap();
                match self.random.random_range(0..4_u32) {
                    0 => drop(object.remove(&name)),
                    1 => drop(object.insert(self.odd_text(), self.any(0))),
                    _ => {
                        let inner = object.remove(&name).unwrap();
                        let inner = self.broken(inner);
                        object.insert(name, inner);
                    }
                }
                Value::Object(object)
            }
            Value::Array(mut array) if !array.is_empty() && self.chance(70) => {
                let at = self.random.random_range(0..array.len());
                let inner = array.remove(at);
                array.push(self.broken(inner));
                Value::Array(array)
            }
            _ => self.any(0),
        }
    }

    fn body(&mut self, schema: &Value) -> Vec<u8> {
        let mut value = self.fitting(schema, "", 0);
        // Most changes are only planned, or the database server would have all the work.
        if let Value::Object(object) = &mut value
            && self.chance(90)
            && schema["$ref"]
                .as_str()
                .is_some_and(|name| name.ends_with("Request"))
        {
            object.insert("dryRun".into(), true.into());
        }
        for _ in 0..[0, 0, 1, 1, 3].choose(&mut self.random).copied().unwrap() {
            value = self.broken(value);
        }
        let mut bytes = serde_json::to_vec(&value).unwrap();
        match self.random.random_range(0..30_u32) {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes = vec![b'['; 2000],
            2 => bytes.push(0xff),
            3 => bytes = (0..50).map(|_| self.random.random()).collect(),
            4 => bytes.clear(),
            // Twice the same key.
            5 if bytes.first() == Some(&b'{') && bytes.len() > 2 => {
                let mut twice = bytes[..bytes.len() - 1].to_vec();
                twice.push(b',');
                twice.extend_from_slice(&bytes[1..]);
                bytes = twice;
            }
            _ => {}
        }
        bytes
    }

    /// Writes a request; says it in words too.
    fn request(&mut self, operation: &Operation, key: &str) -> (Request<Body>, String) {
        let mut path = String::new();
        for segment in operation.path.split('/').skip(1) {
            path.push('/');
            let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            match name {
                None => path.push_str(segment),
                Some(name) => {
                    let mut text = self.text(name);
                    if text.is_empty() {
                        text.push('x');
                    }
                    path.extend(utf8_percent_encode(&text, NON_ALPHANUMERIC));
                }
            }
        }
        path.truncate(30_000);
        let mut separator = '?';
        for (name, schema) in &operation.query {
            if self.chance(60) {
                let text = match self.fitting(schema, name, 0) {
                    Value::String(text) => text,
                    other if self.chance(70) => other.to_string(),
                    _ => self.odd_text(),
                };
                path.push(separator);
                path.push_str(name);
                path.push('=');
                path.extend(utf8_percent_encode(&text, NON_ALPHANUMERIC));
                separator = '&';
            }
        }
        if self.chance(5) {
            path.push(separator);
            path.push_str("unknown=%ff&limit=");
        }
        let body = operation.body.as_ref().map(|schema| self.body(schema));
        let body = body.unwrap_or_default();
        let mut builder = Request::builder()
            .method(operation.method.as_str())
            .uri(&path)
            .header(header::HOST, "localhost");
        if operation.keyed {
            match self.random.random_range(0..40_u32) {
                0 => {}
                1 => builder = builder.header("x-api-key", "wrong"),
                _ => builder = builder.header("x-api-key", key),
            }
        }
        let form = [
            "application/json",
            "text/plain",
            "application/json; charset=latin1",
            "\u{1}",
        ];
        let form = if self.chance(90) {
            form[0]
        } else {
            form.choose(&mut self.random).unwrap()
        };
        if form != "\u{1}" {
            builder = builder.header(header::CONTENT_TYPE, form);
        }
        if self.chance(20) {
            let number = self.random.random_range(0..50_u32);
            builder = builder.header("idempotency-key", format!("key {number}").replace(' ', "-"));
        }
        if self.chance(5) {
            builder = builder.header("idempotency-key", "not allowed \u{e9}");
        }
        if self.chance(5) {
            builder = builder
                .header("x-request-id", "a b")
                .header("traceparent", "00-0-0-0");
        }
        let said = format!(
            "{} {path} {}",
            operation.method,
            String::from_utf8_lossy(&body)
        );
        let request = builder
            .body(Body::from(body))
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        (request, said)
    }
}

/// Says what is wrong with an answer.
async fn problem(
    operation: &Operation,
    response: hyper::Response<hyper::body::Incoming>,
) -> Result<u16, String> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|form| form.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let reading = axum::body::to_bytes(Body::new(response.into_body()), 64 * 1024 * 1024);
    let text = match tokio::time::timeout(Duration::from_secs(20), reading).await {
        Ok(bytes) => bytes.map_err(|error| format!("{status}, and breaks off: {error}"))?,
        // An operation that waits is streamed for as long as it does.
        Err(_) if form == "application/x-ndjson" => return Ok(status),
        Err(_) => return Err(format!("{status}, and does not end")),
    };
    let shown = || {
        String::from_utf8_lossy(&text)
            .chars()
            .take(600)
            .collect::<String>()
    };
    if status >= 500 && status != 503 {
        return Err(format!("{status}: {}", shown()));
    }
    let Some(answer) = operation.answers.get(&status) else {
        return Err(format!("{status} is not in the document: {}", shown()));
    };
    if form.split(';').next() != Some(answer.form.as_str()) {
        return Err(format!(
            "{status} is `{form}`, documented as `{}`",
            answer.form
        ));
    }
    if !headers.contains_key("x-request-id") {
        return Err(format!("{status} has no request id"));
    }
    if let Some(fits) = &answer.fits {
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| format!("{status} is not JSON: {error}: {}", shown()))?;
        if let Err(error) = fits.validate(&value) {
            return Err(format!(
                "{status} does not fit at `{}`: {error}: {}",
                error.instance_path(),
                shown()
            ));
        }
    }
    Ok(status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_as_the_document_says() {
    let server = Server::start_with(|settings| settings.jobs = 1);
    let caller = Caller::new(&server);
    let document = caller.get("/v1/admin/openapi.json").await.expect(200);
    let interface = Arc::new(Interface::of(&document));
    let mut known: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for services in [&["tracer"][..], &[], &["tracer", "reporter"]] {
        let tenant = caller.tenant(services, "database").await;
        let id = tenant["id"].as_str().unwrap().to_owned();
        known.entry("tenantId").or_default().push(id.clone());
        let tenants = known.entry("tenant").or_default();
        tenants.extend([id, tenant["slug"].as_str().unwrap().to_owned()]);
    }
    let operations = caller.get("/v1/admin/operations").await.expect(200);
    let ids = operations["items"].as_array().unwrap().iter();
    let ids: Vec<String> = ids
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect();
    known.insert("id", ids);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    known.insert(
        "service",
        words(&["tracer", "reporter", "ledger", "nothing"]),
    );
    known.insert("services", words(&["tracer", "reporter"]));
    known.insert("environment", words(&["production", "staging", "x"]));
    known.insert("isolationMode", words(&["database", "schema", "none"]));
    known.insert("name", words(&["Banco Aurora", "Banco Brisa"]));
    known.insert("slug", words(&["banco-aurora", "banco-brisa", "active"]));
    known.insert("limit", words(&["1", "1000", "0"]));
    known.insert("state", words(&["pending", "running", "failed"]));
    known.insert("status", words(&["active", "suspended"]));
    let known = Arc::new(known);

    let total = number("LERIANCTL_PROPERTY_REQUESTS", USUAL);
    let seed = number("LERIANCTL_PROPERTY_SEED", 1);
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (interface, known) = (Arc::clone(&interface), Arc::clone(&known));
        let (port, key) = (server.port(), server.api_key().expose().to_owned());
        callers.push(tokio::spawn(async move {
            let mut maker = Maker {
                random: StdRng::seed_from_u64(seed.wrapping_mul(1000) + caller),
                schemas: &interface.schemas,
                known: &known,
            };
            let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
            let mut wrong = BTreeMap::new();
            let mut sender = None;
            for _ in 0..total / CALLERS {
                let operation = interface.operations.choose(&mut maker.random).unwrap();
                let (request, said) = maker.request(operation, &key);
                let mut open = match sender.take() {
                    Some(open) => open,
                    None => connect(port).await,
                };
                if open.ready().await.is_err() {
                    open = connect(port).await;
                }
                let answered = match open.send_request(request).await {
                    Ok(response) => problem(operation, response).await,
                    Err(error) => Err(format!("no answer: {error}")),
                };
                match answered {
                    Ok(status) => {
                        *statuses.entry(status).or_default() += 1;
                        sender = Some(open);
                    }
                    Err(reason) => {
                        let place = format!("{} {}", operation.method, operation.path);
                        let what: String = reason.chars().take(60).collect();
                        wrong.entry((place, what)).or_insert_with(|| {
                            let said: String = said.chars().take(1500).collect();
                            format!("{reason}\n  {said}")
                        });
                    }
                }
            }
            (statuses, wrong)
        }));
    }
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    let mut wrong = BTreeMap::new();
    for caller in callers {
        let (some, bad) = caller.await.unwrap();
        for (status, count) in some {
            *statuses.entry(status).or_default() += count;
        }
        wrong.extend(bad);
    }
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} kinds\n{:#?}\n{statuses:?}",
        wrong.len(),
        wrong.values().take(40).collect::<Vec<_>>()
    );
    // Something of everything was asked, or the requests are not worth much.
    for status in [200, 400, 401, 404, 409, 422] {
        let least = if status == 409 { 1 } else { total / 200 };
        let found = statuses.get(&status).copied().unwrap_or_default();
        assert!(found >= least, "hardly any {status}: {statuses:?}");
    }
}

async fn connect(port: u16) -> http1::SendRequest<Body> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
