//! What the tests of the tenant middleware share: a Tenant Manager with tenants, tokens, and a
//! service behind the layer that says where its session is.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use jiff::Timestamp;
use lerianctl::client::{ClientSettings, Resolver, ResolverSettings, RetryPolicy, TenantManager};
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::middleware::{
    Listener, Listening, PoolSettings, Refusal, Tenancy, TenancySettings, Tenant, TenantLayer,
    Trust, listen,
};
use lerianctl::server::ServerSettings;
use lerianctl::token::jwks::{SharedSecrets, parse};
use lerianctl::token::{Claims, SigningKey, TokenType, mint};
use serde_json::{Map, Value};
use tower::ServiceExt as _;

use crate::server_kit::Caller;
use crate::support::{Redis, Server};

/// A Tenant Manager, and the key that signs tokens.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) caller: Caller,
    pub(crate) key: SigningKey,
}

/// An answer of the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Said {
    /// Returns the code of a refusal.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body));
        assert!(body["title"].is_string() && body["message"].is_string());
        body["code"].as_str().unwrap().to_owned()
    }
}

/// As in production, but nothing happens by itself.
pub(crate) fn calm() -> ResolverSettings {
    ResolverSettings {
        check_interval: Duration::ZERO,
        ..ResolverSettings::default()
    }
}

impl Stage {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// As [`Self::start`], with a server whose settings `change` has altered.
    pub(crate) fn start_with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let key = SigningKey::generate().unwrap();
        let jwks = key.jwks();
        let server = Server::start_with(|settings| {
            settings.development_jwks = Some(jwks);
            change(settings);
        });
        Self {
            caller: Caller::new(&server),
            server,
            key,
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        let keys = parse(&self.key.jwks().to_string(), SharedSecrets::Refuse).unwrap();
        Trust::Keys(keys.into())
    }

    pub(crate) fn settings(&self) -> TenancySettings {
        TenancySettings {
            service: "ledger".parse().unwrap(),
            modules: vec!["onboarding".into(), "transaction".into()],
            trust: self.trust(),
            issuer: None,
            audience: None,
            pools: PoolSettings::default(),
        }
    }

    pub(crate) fn manager(&self) -> TenantManager {
        self.manager_at(&self.server.url())
    }

    pub(crate) fn manager_at(&self, url: &str) -> TenantManager {
        let key = self.server.api_key().clone();
        let mut settings = ClientSettings::new(url.parse().unwrap(), key);
        settings.retry = RetryPolicy {
            times: 0,
            ..RetryPolicy::default()
        };
        settings.breaker.threshold = 2;
        TenantManager::new(settings).unwrap()
    }

    pub(crate) fn tenancy(&self) -> Tenancy {
        let resolver = Resolver::new(self.manager(), calm(), None);
        Tenancy::new(self.settings(), resolver)
    }

    /// Listens to the events of the server's tenants.
    pub(crate) async fn listen(&self, tenancy: &Tenancy) -> Listener {
        self.listen_at(tenancy, Redis::shared().endpoint()).await
    }

    pub(crate) async fn listen_at(&self, tenancy: &Tenancy, redis: RedisEndpoint) -> Listener {
        let listening = Listening {
            redis,
            environment: "production".parse().unwrap(),
            jitter: Duration::ZERO,
        };
        let mut listener = listen(tenancy, listening);
        listener.ready().await;
        listener
    }

    pub(crate) fn token(&self, tenant: &Value) -> String {
        self.token_of(tenant["id"].as_str().unwrap())
    }

    pub(crate) fn token_of(&self, id: &str) -> String {
        let claims = Claims {
            tenant_id: id.parse().unwrap(),
            tenant_slug: None,
            owner: None,
            subject: Some("tests".into()),
            token_type: TokenType::Machine("application".into()),
            extra: Map::new(),
        };
        let token = mint(
            &self.key,
            &claims,
            Duration::from_hours(1),
            Timestamp::now(),
        );
        token.unwrap().expose().to_owned()
    }
}

/// What a handler is asked to do first.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    module: Option<String>,
    sql: Option<String>,
    /// Waits before it asks for a session once more.
    pause_ms: u64,
}

/// Says `tenant database schema role`, as the tenant's own session tells.
async fn place(tenant: Tenant, Query(wish): Query<Wish>) -> Result<String, Refusal> {
    let module = wish.module.unwrap_or_else(|| "onboarding".into());
    let session = tenant.session_of(&module).await?;
    if let Some(sql) = wish.sql {
        // What the tenant's login may not do, such as temporary tables in a shared database.
        session.batch_execute(&sql).await.map_err(|error| {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Refusal::new(status, "SQL", "Refused", error.to_string())
        })?;
    }
    drop(session);
    if wish.pause_ms > 0 {
        tokio::time::sleep(Duration::from_millis(wish.pause_ms)).await;
    }
    let session = tenant.session_of(&module).await?;
    let row = session
        .query_one(
            "SELECT current_database()::text, current_schema()::text, current_user::text,
                    (SELECT count(*)::text FROM pg_class
                      WHERE relnamespace = pg_my_temp_schema()) AS temporary",
            &[],
        )
        .await
        .map_err(|_| Refusal::database())?;
    let text = |at: usize| row.get::<_, Option<String>>(at).unwrap_or_default();
    Ok(format!(
        "{} {} {} {} {}",
        tenant.id(),
        text(0),
        text(1),
        text(2),
        text(3)
    ))
}

/// Returns the service behind the layer.
pub(crate) fn router(tenancy: &Tenancy) -> Router {
    Router::new()
        .route("/place", get(place))
        .layer(TenantLayer::new(tenancy.clone()))
}

pub(crate) fn request(path: &str, token: &str) -> Request<Body> {
    Request::get(path)
        .header("Authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Said {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    Said {
        status,
        body: String::from_utf8(body.unwrap().to_vec()).unwrap(),
    }
}

/// Asks where a tenant is.
pub(crate) async fn ask(router: &Router, token: &str) -> Said {
    send(router, request("/place", token)).await
}

/// Asks with a wish, as the query of the request.
pub(crate) async fn wish(router: &Router, token: &str, query: &[(&str, &str)]) -> Said {
    let mut url = url::Url::parse("http://x/place").unwrap();
    url.query_pairs_mut().extend_pairs(query);
    let path = format!("/place?{}", url.query().unwrap_or_default());
    send(router, request(&path, token)).await
}

/// Returns what the service must say for a tenant's module.
pub(crate) fn expected(tenant: &Value, module: &str) -> String {
    let databases = tenant["services"][0]["databases"].as_array().unwrap();
    let found = databases.iter().find(|d| d["module"] == module).unwrap();
    let text = |key: &str| found[key].as_str().unwrap_or("public");
    format!(
        "{} {} {} {} 0",
        tenant["id"].as_str().unwrap(),
        text("database"),
        text("schema"),
        text("owner")
    )
}
