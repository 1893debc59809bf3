//! What the tests of the server share: calls over HTTP, waiting for operations, logins as
//! products make them, a subscriber.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lerianctl::link::LinkError;
use lerianctl::link::postgres::{PostgresEndpoint, Session};
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::secret::Secret;
use lerianctl::server::{ServerSettings, serve};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::support::{Server, block_on, unique};

/// Longest time that a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Someone who calls a server.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    base: String,
    key: Secret,
    client: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body as JSON; fails with the whole answer when the status is another.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks status and code of a refusal and returns its sentence.
    pub(crate) fn refusal(&self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}

impl Caller {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            key: server.api_key().clone(),
            ..Self::at(&server.url())
        }
    }

    /// Returns a caller without a key.
    pub(crate) fn at(url: &str) -> Self {
        lerianctl::link::tls::install();
        Self {
            base: url.to_owned(),
            key: Secret::default(),
            client: reqwest::Client::new(),
        }
    }

    /// Returns where it calls.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Returns its key.
    pub(crate) fn key(&self) -> &Secret {
        &self.key
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: Secret::new(key),
            ..self.clone()
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method.parse().unwrap(), format!("{}{path}", self.base));
        if self.key.is_empty() {
            request
        } else {
            request.header("X-API-Key", self.key.expose())
        }
    }

    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request("PATCH", path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str) -> Answer {
        Self::send(self.request("PUT", path)).await
    }

    /// Creates a tenant through the extension and waits until it is provisioned.
    pub(crate) async fn tenant(&self, services: &[&str], mode: &str) -> Value {
        let slug = slug("aurora");
        let body = json!({
            "name": slug, "slug": slug, "environment": "production",
            "isolationMode": mode, "services": services, "force": true,
        });
        let change = self.post("/v1/admin/tenants", &body).await.expect(201);
        if !services.is_empty() {
            self.succeeds(&change).await;
        }
        self.get(&format!("/v1/admin/tenants/{slug}"))
            .await
            .expect(200)
    }

    /// Waits for the operation of a change; fails unless it succeeds.
    pub(crate) async fn succeeds(&self, change: &Value) -> Value {
        let operation = self.ends(change["operation"]["id"].as_str().unwrap()).await;
        assert_eq!(operation["state"], "succeeded", "{operation:#}");
        operation
    }

    /// Waits until an operation ends.
    pub(crate) async fn ends(&self, id: &str) -> Value {
        self.operation_until(id, |operation| {
            matches!(operation["state"].as_str(), Some("succeeded" | "failed"))
        })
        .await
    }

    /// Waits until an operation is as `enough` wants it.
    pub(crate) async fn operation_until(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let operation = self
                .get(&format!("/v1/admin/operations/{id}"))
                .await
                .expect(200);
            if enough(&operation) {
                return operation;
            }
            assert!(Instant::now() < deadline, "{operation:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `/readyz` answers with `status`; an answer may be a second old.
    pub(crate) async fn readiness_becomes(&self, status: u16) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/readyz").await;
            if answer.status == status {
                return;
            }
            assert!(Instant::now() < deadline, "{}", answer.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn connections(&self, tenant: &Value, service: &str) -> Answer {
        let id = tenant["id"].as_str().unwrap();
        self.get(&format!(
            "/v1/tenants/{id}/associations/{service}/connections"
        ))
        .await
    }
}

/// Returns a slug that no other test uses.
pub(crate) fn slug(prefix: &str) -> String {
    unique(prefix).replace('_', "-")
}

/// Returns the path of a tenant's extension route.
pub(crate) fn path(tenant: &Value, rest: &str) -> String {
    format!(
        "/v1/admin/tenants/{}{rest}",
        tenant["slug"].as_str().unwrap()
    )
}

/// Logs in as a product would, with a `postgresql` object of the connections answer.
pub(crate) async fn log_in(postgresql: &Value) -> Result<Session, LinkError> {
    let text = |key: &str| postgresql[key].as_str().unwrap_or_default().to_owned();
    let schema = Some(text("schema")).filter(|schema| !schema.is_empty());
    PostgresEndpoint {
        host: text("host"),
        port: u16::try_from(postgresql["port"].as_u64().unwrap()).unwrap(),
        database: text("database"),
        user: text("username"),
        password: Some(Secret::new(text("password"))),
        sslmode: text("sslmode"),
        ca_pem: None,
        search_path: schema,
    }
    .connect()
    .await
}

/// Collects what is published on the channel of an environment from now on.
pub(crate) async fn listen(endpoint: RedisEndpoint, channel: &str) -> Heard {
    let mut subscriber = endpoint.subscriber().await.unwrap();
    subscriber.subscribe(channel).await.unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let mut messages = subscriber.on_message();
        while let Some(message) = messages.next().await {
            let text: String = message.get_payload().unwrap();
            assert!(!text.contains('\n'), "one line: {text}");
            if sender.send(serde_json::from_str(&text).unwrap()).is_err() {
                return;
            }
        }
    });
    Heard {
        receiver,
        _task: AbortOnDrop(task),
    }
}

/// What a subscriber hears.
pub(crate) struct Heard {
    receiver: mpsc::UnboundedReceiver<Value>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Heard {
    /// Returns the next event, which must come.
    pub(crate) async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.receiver.recv())
            .await
            .expect("an event must come")
            .unwrap()
    }

    /// Returns the next `count` events about `tenant`, which must come.
    pub(crate) async fn about(&mut self, tenant: &Value, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = tokio::time::timeout(PATIENCE, self.receiver.recv())
                .await
                .unwrap_or_else(|_| panic!("{count} events must come, came {events:#?}"))
                .unwrap();
            if event["tenant_id"] == tenant["id"] {
                events.push(event);
            }
        }
        events
    }
}

/// A server on a runtime of its own, so that it can be made to vanish at any instant.
#[derive(Debug)]
pub(crate) struct Vanishing {
    runtime: Option<tokio::runtime::Runtime>,
    port: u16,
}

impl Vanishing {
    /// Starts a server; it may not be ready yet.
    pub(crate) fn start(settings: &ServerSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = settings.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, settings, std::future::pending())
                .await
                .unwrap();
        });
        Self {
            runtime: Some(runtime),
            port,
        }
    }

    pub(crate) fn caller(&self, settings: &ServerSettings) -> Caller {
        Caller {
            key: settings.api_keys[0].clone(),
            ..Caller::at(&format!("http://127.0.0.1:{}", self.port))
        }
    }

    /// Stops everything where it stands, without a word.
    pub(crate) fn vanish(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Vanishing {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A way to a server that can be cut and opened again.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// Leads to a port of this machine; open at first.
    pub(crate) fn to(port: u16) -> Self {
        let (open, state) = watch::channel(true);
        let bound = block_on(async { tokio::net::TcpListener::bind("127.0.0.1:0").await });
        let listener = bound.unwrap();
        let own = listener.local_addr().unwrap().port();
        block_on(async move {
            tokio::spawn(async move {
                while let Ok((mut from, _)) = listener.accept().await {
                    let mut state = state.clone();
                    tokio::spawn(async move {
                        if !*state.borrow() {
                            return;
                        }
                        let to = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                        let Ok(mut to) = to else { return };
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                            _ = state.wait_for(|open| !*open) => {}
                        }
                    });
                }
            });
        });
        Self { port: own, open }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Ends every connection and accepts none.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }
}

/// Returns type and service of events, for comparison.
pub(crate) fn kinds(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let kind = event["event_type"].as_str().unwrap();
            match event["payload"]["service_name"].as_str() {
                Some(service) => format!("{kind} {service}"),
                None => kind.to_owned(),
            }
        })
        .collect()
}
