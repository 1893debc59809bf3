//! The sample service over HTTP: served in this process, with a caller per tenant.

use std::net::SocketAddr;

use axum::Router;
use lerianctl::client::Resolver;
use lerianctl::devstack::sample;
use lerianctl::middleware::{Tenancy, TenancySettings};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::middleware_kit::{Stage, calm};
use crate::server_kit::{Answer, Caller};

/// A service on loopback, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub(crate) async fn serve(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Returns the tenants of a sample: tokens of the development issuer, for the ledger.
pub(crate) fn tenancy(stage: &Stage) -> Tenancy {
    let settings = TenancySettings {
        modules: vec!["onboarding".into()],
        issuer: Some("lerianctl-development".into()),
        audience: Some("ledger".into()),
        ..stage.settings()
    };
    Tenancy::new(settings, Resolver::new(stage.manager(), calm(), None))
}

/// Returns the clean sample.
pub(crate) fn clean(stage: &Stage) -> Router {
    sample::router(tenancy(stage))
}

/// Someone with a token.
pub(crate) struct Bearer {
    caller: Caller,
    token: String,
}

impl Bearer {
    pub(crate) fn new(url: &str, token: impl Into<String>) -> Self {
        Self {
            caller: Caller::at(url),
            token: token.into(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.caller.request(method, path).bearer_auth(&self.token);
        if let Some(key) = key {
            request = request.header("X-Idempotency", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Caller::send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, None).await
    }

    /// Makes an organization and returns its id.
    pub(crate) async fn organization(&self, name: &str) -> String {
        let body = json!({ "legalName": name });
        let made = self
            .send("POST", "/v1/organizations", None, Some(body))
            .await;
        made.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Returns the ids of a list.
    pub(crate) async fn ids(&self, path: &str) -> Vec<String> {
        let page = self.get(path).await.expect(200);
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    }
}
