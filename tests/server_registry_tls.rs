//! A registry on a PostgreSQL that is reached over TLS, and on none that does not prove itself.

use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::secret::Secret;
use lerianctl::server::RegistryPlace;

use crate::postgres_link::{AUTHORITY, OTHER_AUTHORITY, server_with_tls};
use crate::server_kit::Caller;
use crate::support::{Sandbox, Server, unique};

fn url(endpoint: &PostgresEndpoint, authority: &std::path::Path) -> String {
    let mut url = url::Url::parse("postgres://localhost").unwrap();
    url.set_port(Some(endpoint.port)).unwrap();
    url.set_username(&endpoint.user).unwrap();
    let password = endpoint.password.as_ref().map(Secret::expose);
    url.set_password(password).unwrap();
    url.set_path(&endpoint.database);
    url.query_pairs_mut()
        .append_pair("sslmode", "verify-full")
        .append_pair("sslrootcert", authority.to_str().unwrap());
    url.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_of_the_registry_is_encrypted() {
    let postgres = server_with_tls().await;
    let endpoint = PostgresEndpoint {
        host: "localhost".into(),
        sslmode: "verify-full".into(),
        ca_pem: Some(AUTHORITY.into()),
        ..postgres.endpoint()
    };
    // Only sessions of the registry are on that server.
    let server = Server::start_with(|settings| {
        settings.registry = RegistryPlace::Postgres {
            endpoint: endpoint.clone(),
            schema: unique("registry"),
        };
    });
    let caller = Caller::new(&server);
    let tenant = caller.tenant(&["tracer"], "schema").await;
    caller.connections(&tenant, "tracer").await.expect(200);

    let session = endpoint.connect().await.unwrap();
    let row = session
        .query_one(
            "SELECT count(*) FILTER (WHERE s.ssl), count(*) FILTER (WHERE NOT s.ssl)
             FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
             WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    let (encrypted, plain): (i64, i64) = (row.get(0), row.get(1));
    // Reads and changes, what other servers do, who publishes, what is still true.
    assert!(encrypted >= 4, "{encrypted}");
    assert_eq!(plain, 0);
    drop(session);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_prove_itself_is_not_used() {
    let postgres = server_with_tls().await;
    let migrate = ["server", "migrate", "-o", "json"];
    let with = |authority: &str| {
        let room = Sandbox::new();
        let authority = room.write("authority.pem", authority);
        let url = url(&postgres.endpoint(), &authority);
        (room, url)
    };
    let by_file = |authority: &str| {
        let (room, url) = with(authority);
        room.write("registry.url", url);
        room.run(
            migrate
                .into_iter()
                .chain(["--registry-url-file", "registry.url"]),
        )
    };
    let by_variable = |authority: &str| {
        let (room, url) = with(authority);
        room.with("LERIANCTL_SERVER_REGISTRY_URL", url).run(migrate)
    };
    let by_flag = |authority: &str| {
        let (room, url) = with(authority);
        let mut url = url::Url::parse(&url).unwrap();
        url.set_password(None).unwrap();
        room.run(migrate.into_iter().chain(["--registry", url.as_str()]))
    };
    for refused in [
        by_file(OTHER_AUTHORITY),
        by_variable(OTHER_AUTHORITY),
        by_flag(OTHER_AUTHORITY),
    ] {
        let refused = refused.exits(6);
        assert!(refused.stderr.contains("UnknownIssuer"), "{refused}");
    }
    by_file(AUTHORITY).success().json();
    by_variable(AUTHORITY).success().json();
    // The server proved itself; that there is no password in an argument is another matter.
    let refused = by_flag(AUTHORITY);
    assert!(refused.stderr.contains("password"), "{refused}");
    assert!(!refused.stderr.contains("UnknownIssuer"), "{refused}");
}
