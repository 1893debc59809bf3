//! The client against a real Tenant Manager on real databases.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use lerianctl::client::{
    Association, ClientSettings, ErrorKind, OperationQuery, Resolver, ResolverSettings,
    ServiceAction, TenantAction, TenantManager, TenantQuery, Tier,
};
use lerianctl::contract::admin::{
    AddServiceRequest, Change, ChangeRequest, CreateTenantRequest, OperationState, TenantStatus,
    UpdateTenantRequest,
};
use lerianctl::contract::wire::{
    AssociateService, ConnectionSettings, CreateTenant, IsolationMode, Owner, PostgresConfig,
};
use lerianctl::contract::{ServiceName, TenantId};
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::secret::Secret;

use crate::support::{Redis, Server, unique};

fn client(server: &Server) -> TenantManager {
    let url = server.url().parse().unwrap();
    TenantManager::new(ClientSettings::new(url, server.api_key().clone())).unwrap()
}

fn tracer() -> ServiceName {
    "tracer".parse().unwrap()
}

fn request(name: &str, services: &[&str]) -> CreateTenantRequest {
    CreateTenantRequest {
        name: name.to_owned(),
        slug: None,
        id: None,
        environment: "staging".to_owned(),
        isolation_mode: IsolationMode::Database,
        services: services.iter().map(|name| name.parse().unwrap()).collect(),
        metadata: [].into(),
        owner: Owner::default(),
        connection_settings: ConnectionSettings::default(),
        force: false,
        dry_run: false,
        expect_plan: None,
    }
}

async fn done(client: &TenantManager, change: &Change) {
    let operation = change.operation.as_ref().unwrap();
    let mut states = Vec::new();
    let last = client
        .watch(&operation.id, |operation| states.push(operation.state))
        .await
        .unwrap();
    assert_eq!(last.state, OperationState::Succeeded, "{:?}", last.error);
    assert_eq!(states.last(), Some(&OperationState::Succeeded));
}

async fn login(config: &PostgresConfig) -> bool {
    let endpoint = PostgresEndpoint {
        host: config.host.clone(),
        port: config.port,
        database: config.database.clone(),
        user: config.username.clone(),
        password: Some(Secret::new(config.password.clone())),
        sslmode: "disable".to_owned(),
        ca_pem: None,
        search_path: None,
    };
    endpoint.connect().await.is_ok()
}

#[tokio::test]
async fn a_tenant_from_its_making_to_its_end() {
    let server = Server::start();
    let client = client(&server);
    assert!(!client.info().await.unwrap().version.is_empty());
    assert!(client.catalogue().await.unwrap().contains_key("ledger"));

    let name = unique("Client Story");
    let made = client
        .create_tenant(&request(&name, &["tracer"]))
        .await
        .unwrap();
    assert!(made.changed);
    let record = made.tenant.clone().unwrap();
    let (id, slug) = (record.id.clone(), record.slug.to_string());
    done(&client, &made).await;
    let again = client
        .create_tenant(&request(&name, &["tracer"]))
        .await
        .unwrap();
    assert!(!again.changed);

    // As a product sees it, and by its own login.
    let config = client.connections(&id, &tracer()).await.unwrap();
    assert_eq!(config.id, id.as_str());
    let (module, database) = config.databases.first_key_value().unwrap();
    let postgres = database.postgresql.clone().unwrap();
    assert!(login(&postgres).await, "{module}");
    assert_eq!(client.tenant_view(&id).await.unwrap().status, "active");
    assert!(
        client
            .active(&tracer())
            .await
            .unwrap()
            .iter()
            .any(|it| it.id == id.as_str())
    );
    assert_eq!(
        client
            .databases(Some(&slug), None)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let proof = client
        .verify(&slug, &ChangeRequest::default())
        .await
        .unwrap();
    assert!(proof.claims.iter().all(|claim| claim.holds), "{proof:?}");

    // Changes, by slug and by id.
    let update = UpdateTenantRequest {
        name: Some(format!("{name} II")),
        ..UpdateTenantRequest::default()
    };
    assert!(client.update_tenant(&slug, &update).await.unwrap().changed);
    let rotate = ChangeRequest {
        grace_seconds: Some(0),
        ..ChangeRequest::default()
    };
    let rotated = client
        .change(id.as_str(), TenantAction::Rotate, &rotate)
        .await
        .unwrap();
    done(&client, &rotated).await;
    let fresh = client.connections(&id, &tracer()).await.unwrap();
    let fresh = fresh.databases[module].postgresql.clone().unwrap();
    assert_ne!(fresh.username, postgres.username);
    assert!(login(&fresh).await);

    let ledger: ServiceName = "ledger".parse().unwrap();
    let add = AddServiceRequest {
        isolation_mode: None,
        connection_settings: ConnectionSettings::default(),
        force: false,
        dry_run: false,
        expect_plan: None,
    };
    let added = client.add_service(&slug, &ledger, &add).await.unwrap();
    done(&client, &added).await;
    let service = ServiceAction::Suspend;
    let change = ChangeRequest::default();
    client
        .service_change(&slug, &ledger, service, &change)
        .await
        .unwrap();
    let error = client.connections(&id, &ledger).await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Suspended {
            status: "suspended".into()
        }
    );
    assert!(error.request_id.is_some());

    client
        .change(&slug, TenantAction::Suspend, &change)
        .await
        .unwrap();
    assert!(client.connections(&id, &tracer()).await.is_err());
    assert_eq!(
        client.tenant(&slug).await.unwrap().status,
        TenantStatus::Suspended
    );
    let purged = client
        .change(&slug, TenantAction::Purge, &change)
        .await
        .unwrap();
    done(&client, &purged).await;
    assert!(!login(&fresh).await);

    let query = OperationQuery {
        tenant: Some(id.to_string()),
        ..OperationQuery::default()
    };
    let operations = client.operations(&query).await.unwrap();
    let kinds = operations.items.iter().map(|it| it.kind.as_str());
    // The server retires the old login when the grace period is over, on its own.
    let kinds: Vec<_> = kinds.filter(|kind| *kind != "retire").collect();
    assert_eq!(kinds, ["purge", "provision", "rotate", "provision"]);
}

#[tokio::test]
async fn the_contracts_writes_converge_when_repeated() {
    let server = Server::start();
    let client = client(&server);
    let name = unique("Contract Story");
    let tenant = CreateTenant {
        name: name.clone(),
        slug: String::new(),
        environment: "staging".to_owned(),
        isolation: "shared".to_owned(),
        metadata: [].into(),
        owner: Owner {
            email: "owner@aurora.example".to_owned(),
            ..Owner::default()
        },
    };
    let (made, new) = client.create(&tenant).await.unwrap();
    assert!(new);
    let (again, new) = client.create(&tenant).await.unwrap();
    assert_eq!((&again.id, new), (&made.id, false));
    let association = AssociateService {
        isolation_mode: "dedicated".to_owned(),
        ..AssociateService::default()
    };
    let first = client
        .associate(&made.id, &tracer(), &association)
        .await
        .unwrap();
    assert!(matches!(first, Association::Created(_)));
    let second = client
        .associate(&made.id, &tracer(), &association)
        .await
        .unwrap();
    assert_eq!(second, Association::Existed);
    assert!(!client.reactivate(&made.id).await.unwrap(), "it is active");
    let unknown = TenantId::generate();
    let error = client.connections(&unknown, &tracer()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn refusals_of_the_real_server_are_understood() {
    let server = Server::start();
    let client = client(&server);
    let wrong = ClientSettings::new(server.url().parse().unwrap(), Secret::new("wrong-key"));
    let error = TenantManager::new(wrong).unwrap().info().await.unwrap_err();
    assert_eq!(
        (error.kind.clone(), error.code()),
        (ErrorKind::Auth, "auth.invalid_key")
    );
    let error = client.tenant("nobody").await.unwrap_err();
    assert_eq!(
        (error.kind.clone(), error.code()),
        (ErrorKind::NotFound, "tenant.not_found")
    );
    let error = client.operation("nothing").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let error = client.watch("nothing", |_| ()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    let mut nameless = request("", &[]);
    assert_eq!(
        client.create_tenant(&nameless).await.unwrap_err().kind,
        ErrorKind::Usage
    );
    nameless.name = unique("Plan Story");
    nameless.expect_plan = Some("sha256:other".to_owned());
    let error = client.create_tenant(&nameless).await.unwrap_err();
    assert_eq!(
        (error.kind.clone(), error.code()),
        (ErrorKind::Conflict, "plan.changed")
    );
}

#[tokio::test]
async fn lists_are_whole_whatever_the_page_size() {
    let server = Server::start();
    let client = client(&server);
    let prefix = unique("page").replace('_', "-");
    let mut expected = Vec::new();
    for number in 0..7 {
        let made = client
            .create_tenant(&request(&format!("{prefix} {number}"), &[]))
            .await
            .unwrap();
        expected.push(made.tenant.unwrap().slug.to_string());
    }
    for limit in [1, 2, 3, 7, 1000] {
        let query = TenantQuery {
            search: Some(prefix.clone()),
            limit: Some(limit),
            ..TenantQuery::default()
        };
        let all: Vec<_> = client.all_tenants(query).try_collect().await.unwrap();
        let slugs: Vec<_> = all.iter().map(|tenant| tenant.slug.to_string()).collect();
        assert_eq!(slugs, expected, "{limit}");
    }
}

#[tokio::test]
async fn a_suspended_tenant_leaves_the_caches_of_the_resolver() {
    let server = Server::start();
    let client = client(&server);
    let made = client
        .create_tenant(&request(&unique("Resolver Story"), &["tracer"]))
        .await
        .unwrap();
    done(&client, &made).await;
    let id = made.tenant.unwrap().id;
    let settings = ResolverSettings {
        check_interval: Duration::from_millis(10),
        ..ResolverSettings::default()
    };
    let redis = || Some(Redis::shared().endpoint());
    let first = Resolver::new(client.clone(), settings, redis());
    assert_eq!(
        first.resolve(&id, &tracer()).await.unwrap().tier,
        Tier::Live
    );
    let second = Resolver::new(client.clone(), settings, redis());
    assert_eq!(
        second.resolve(&id, &tracer()).await.unwrap().tier,
        Tier::Shared
    );
    let change = ChangeRequest::default();
    client
        .change(id.as_str(), TenantAction::Suspend, &change)
        .await
        .unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while first.resolve(&id, &tracer()).await.is_ok() {
        assert!(
            tokio::time::Instant::now() < patience,
            "it is served for ever"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let third = Resolver::new(client, settings, redis());
    let error = third.resolve(&id, &tracer()).await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Suspended {
            status: "suspended".into()
        }
    );
}
