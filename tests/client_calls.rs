//! Requests as the contract wants them, and what its answers mean.

use futures_util::{StreamExt as _, TryStreamExt as _};
use lerianctl::client::{
    Association, ClientSettings, ErrorKind, TenantAction, TenantManager, TenantQuery,
};
use lerianctl::contract::admin::ChangeRequest;
use lerianctl::contract::wire::{AssociateService, CreateTenant, Owner};
use lerianctl::contract::{ServiceName, TenantId};
use lerianctl::secret::Secret;
use serde_json::json;

use crate::support::{Play, Script};

const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

fn client(script: &Script) -> TenantManager {
    let url = script.url().parse().unwrap();
    TenantManager::new(ClientSettings::new(url, Secret::new("key"))).unwrap()
}

fn ids() -> (TenantId, ServiceName) {
    (ID.parse().unwrap(), "ledger".parse().unwrap())
}

fn new_tenant() -> CreateTenant {
    CreateTenant {
        name: "Banco Aurora".into(),
        slug: String::new(),
        environment: "production".into(),
        isolation: "database".into(),
        metadata: [].into(),
        owner: Owner::default(),
    }
}

#[tokio::test]
async fn the_seven_endpoints_are_asked_as_the_contract_says() {
    let script = Script::answer(|seen, _| match seen.line.as_str() {
        "POST /v1/tenants" => Play::json(
            201,
            json!({"id": ID, "slug": "banco-aurora", "status": "active"}),
        ),
        line if line.ends_with("/connections") => Play::json(200, json!({"id": ID})),
        line if line.ends_with("active?service=ledger") => Play::json(200, "null"),
        line if line.starts_with("POST") => {
            Play::json(201, json!({"serviceName": "ledger", "status": "active"}))
        }
        line if line.starts_with("PUT") => {
            Play::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
        }
        _ => Play::json(
            200,
            json!({"id": ID, "tenantSlug": "banco-aurora", "name": "", "status": "active",
                   "environment": "production", "metadata": {"plan": "gold"}}),
        ),
    });
    let client = client(&script);
    let (tenant, service) = ids();
    assert_eq!(client.connections(&tenant, &service).await.unwrap().id, ID);
    assert!(client.active(&service).await.unwrap().is_empty());
    assert_eq!(
        client.tenant_view(&tenant).await.unwrap().metadata["plan"],
        "gold"
    );
    assert!(client.create(&new_tenant()).await.unwrap().1);
    let association = AssociateService {
        isolation_mode: "dedicated".into(),
        ..AssociateService::default()
    };
    assert!(matches!(
        client
            .associate(&tenant, &service, &association)
            .await
            .unwrap(),
        Association::Created(_)
    ));
    assert!(client.suspend_association(&tenant, &service).await.unwrap());
    assert!(client.reactivate(&tenant).await.unwrap());

    let seen = script.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            &format!("GET /v1/tenants/{ID}/associations/ledger/connections"),
            "GET /v1/tenants/active?service=ledger",
            &format!("GET /v1/tenants/{ID}"),
            "POST /v1/tenants",
            &format!("POST /v1/tenants/{ID}/associations/ledger"),
            &format!("PUT /v1/tenants/{ID}/associations/ledger/suspend"),
            &format!("PUT /v1/tenants/{ID}/reactivate"),
        ]
    );
    for request in &seen {
        assert_eq!(request.headers["x-api-key"], "key");
        assert_eq!(request.headers["accept"], "application/json");
        assert!(request.headers["user-agent"].starts_with("lerianctl/"));
        let post = request.line.starts_with("POST");
        assert_eq!(
            request.headers.contains_key("content-type"),
            post,
            "{}",
            request.line
        );
    }
    assert_eq!(seen[4].body, r#"{"isolationMode":"dedicated"}"#);
}

#[tokio::test]
async fn what_is_there_already_is_no_error_where_the_contract_says_so() {
    let script = Script::answer(|seen, _| match seen.line.as_str() {
        "POST /v1/tenants" => Play::json(
            200,
            json!({"id": ID, "slug": "banco-aurora", "status": "active"}),
        ),
        _ => Play::json(409, json!({"error": "already so"})),
    });
    let client = client(&script);
    let (tenant, service) = ids();
    assert!(!client.create(&new_tenant()).await.unwrap().1);
    let association = AssociateService::default();
    assert_eq!(
        client
            .associate(&tenant, &service, &association)
            .await
            .unwrap(),
        Association::Existed
    );
    assert!(!client.suspend_association(&tenant, &service).await.unwrap());
    assert!(!client.reactivate(&tenant).await.unwrap());
}

#[tokio::test]
async fn answers_outside_of_the_contract_are_refused() {
    let script = Script::play([Play::json(202, "{}")]);
    let client = client(&script);
    let (tenant, service) = ids();
    let error = client.create(&new_tenant()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
    let association = AssociateService::default();
    let error = client
        .associate(&tenant, &service, &association)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn each_refusal_has_its_kind() {
    let status = |status: &str| ErrorKind::Suspended {
        status: status.into(),
    };
    for (code, body, expected) in [
        (
            400,
            json!({"code": "request.invalid", "error": "x"}),
            ErrorKind::Usage,
        ),
        (422, json!({}), ErrorKind::Usage),
        (
            401,
            json!({"code": "auth.invalid_key", "error": "x"}),
            ErrorKind::Auth,
        ),
        (403, json!({"error": "x"}), ErrorKind::Auth),
        (403, json!({"error": "x", "status": ""}), ErrorKind::Auth),
        (
            403,
            json!({"error": "x", "status": "suspended"}),
            status("suspended"),
        ),
        (
            403,
            json!({"error": "x", "status": "purged"}),
            status("purged"),
        ),
        (
            404,
            json!({"error": "tenant not found"}),
            ErrorKind::NotFound,
        ),
        (
            409,
            json!({"code": "plan.changed", "error": "x"}),
            ErrorKind::Conflict,
        ),
        (500, json!({"error": "x"}), ErrorKind::Unavailable),
    ] {
        let script = Script::play([Play::json(code, &body)]);
        let (tenant, service) = ids();
        let error = client(&script)
            .connections(&tenant, &service)
            .await
            .unwrap_err();
        assert_eq!(error.kind, expected, "{code} {body}");
        assert_eq!(error.code(), body["code"].as_str().unwrap_or_default());
        assert_eq!(error.request_id.as_deref(), Some("scripted"));
    }
}

#[tokio::test]
async fn a_server_without_our_extensions_is_told_from_a_missing_tenant() {
    for (code, body, expected) in [
        (404, "404 page not found", ErrorKind::Unsupported),
        (404, r#"{"error":"not found"}"#, ErrorKind::Unsupported),
        (
            404,
            r#"{"code":"route.not_found","error":"x"}"#,
            ErrorKind::Unsupported,
        ),
        (405, "", ErrorKind::Unsupported),
        (
            404,
            r#"{"code":"tenant.not_found","error":"x"}"#,
            ErrorKind::NotFound,
        ),
    ] {
        let script = Script::play([Play::with(code, "", body)]);
        let error = client(&script).tenant("acme").await.unwrap_err();
        assert_eq!(error.kind, expected, "{code} {body}");
    }
}

#[tokio::test]
async fn names_that_cannot_be_tenants_are_never_sent() {
    let script = Script::play([Play::json(200, "{}")]);
    let client = client(&script);
    for name in [
        "",
        "..",
        "../admin",
        "a/b",
        "a b",
        "x'; DROP",
        "\u{1f600}",
        &"a".repeat(10_000),
    ] {
        let error = client.tenant(name).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.to_string().len() < 500, "{error}");
        let request = ChangeRequest::default();
        client
            .change(name, TenantAction::Purge, &request)
            .await
            .unwrap_err();
    }
    assert_eq!(
        client.operation("..").await.unwrap_err().kind,
        ErrorKind::Usage
    );
    assert!(script.seen().is_empty());
    client.operation("a/../b?c#d%2e").await.unwrap_err();
    assert_eq!(
        script.seen()[0].line,
        "GET /v1/admin/operations/a%2F..%2Fb%3Fc%23d%252e"
    );
}

fn page(first: usize, count: usize, next: Option<&str>) -> Play {
    let items: Vec<_> = (first..first + count)
        .map(|number| {
            json!({"id": format!("{number:032x}"), "slug": format!("t{number}"), "name": "x",
                   "environment": "staging", "isolationMode": "database", "status": "active",
                   "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"})
        })
        .collect();
    Play::json(200, json!({"items": items, "nextCursor": next}))
}

#[tokio::test]
async fn all_tenants_come_page_by_page_and_only_as_they_are_wanted() {
    let script = Script::play([
        page(0, 2, Some("c/1")),
        page(2, 2, Some("c2")),
        page(4, 1, None),
    ]);
    let client = client(&script);
    let query = TenantQuery {
        search: Some("a&b".into()),
        limit: Some(2),
        ..TenantQuery::default()
    };
    let few: Vec<_> = client
        .all_tenants(query.clone())
        .take(2)
        .try_collect()
        .await
        .unwrap();
    assert_eq!((few.len(), script.seen().len()), (2, 1));

    let script = Script::play([
        page(0, 2, Some("c/1")),
        page(2, 2, Some("c2")),
        page(4, 1, None),
    ]);
    let all: Vec<_> = self::client(&script)
        .all_tenants(query)
        .try_collect()
        .await
        .unwrap();
    let slugs: Vec<_> = all.iter().map(|tenant| tenant.slug.as_str()).collect();
    assert_eq!(slugs, ["t0", "t1", "t2", "t3", "t4"]);
    let lines: Vec<_> = script.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/admin/tenants?search=a%26b&limit=2",
            "GET /v1/admin/tenants?search=a%26b&limit=2&cursor=c%2F1",
            "GET /v1/admin/tenants?search=a%26b&limit=2&cursor=c2",
        ]
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_completed_says_so() {
    let script = Script::play([page(0, 2, Some("c1")), Play::json(500, "{}")]);
    let results: Vec<_> = client(&script)
        .all_tenants(TenantQuery::default())
        .collect()
        .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    assert!(results.last().unwrap().is_err());

    let script = Script::play([page(0, 1, Some("same"))]);
    let results: Vec<_> = client(&script)
        .all_tenants(TenantQuery::default())
        .collect()
        .await;
    assert!(results.last().unwrap().is_err(), "a list without an end");
}

#[tokio::test]
async fn key_sets_are_fetched_without_the_api_key() {
    let script = Script::play([Play::json(200, json!({"keys": []}))]);
    let elsewhere = Script::play([Play::json(200, json!({"keys": []}))]);
    let url = format!("{}/.well-known/jwks.json", elsewhere.url());
    let keys = client(&script).jwks(&url.parse().unwrap()).await.unwrap();
    assert_eq!(keys, json!({"keys": []}));
    let seen = &elsewhere.seen()[0];
    assert_eq!(seen.line, "GET /.well-known/jwks.json");
    assert!(!seen.headers.contains_key("x-api-key"), "{seen:?}");
}
