//! Sessions with PostgreSQL: encryption, refusals, sockets, deadlines.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use lerianctl::devstack::postgres;
use lerianctl::devstack::temporary::Temporary;
use lerianctl::link::LinkError;
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::secret::Secret;

use crate::provision_fixture::text;
use crate::support::Postgres;

pub(crate) const AUTHORITY: &str = include_str!("certificates/authority.pem");
pub(crate) const OTHER_AUTHORITY: &str = include_str!("certificates/other-authority.pem");
/// For the host name `localhost`, signed by `AUTHORITY`.
const CERTIFICATE: &str = include_str!("certificates/server.pem");
const KEY: &str = include_str!("certificates/server-key.pem");

/// Starts a server that offers TLS.
pub(crate) async fn server_with_tls() -> Temporary<postgres::Postgres> {
    let server = Postgres::private();
    let owner = std::fs::metadata(server.data()).unwrap();
    for (name, content) in [("server.crt", CERTIFICATE), ("server.key", KEY)] {
        let path = server.data().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let session = server.endpoint().connect().await.unwrap();
    session
        .batch_execute("ALTER SYSTEM SET ssl = on")
        .await
        .unwrap();
    session
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    // The setting holds for connections from the moment that the main process has read it.
    let mut endpoint = server.endpoint();
    endpoint.sslmode = "require".into();
    for _ in 0..500 {
        if endpoint.connect().await.is_ok() {
            return server;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the server does not offer TLS");
}

fn endpoint(
    server: &postgres::Postgres,
    sslmode: &str,
    host: &str,
    ca_pem: Option<&str>,
) -> PostgresEndpoint {
    PostgresEndpoint {
        host: host.into(),
        sslmode: sslmode.into(),
        ca_pem: ca_pem.map(str::to_owned),
        ..server.endpoint()
    }
}

#[tokio::test]
async fn each_sslmode_means_what_it_means_to_libpq() {
    let server = server_with_tls().await;
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (sslmode, host, ca, expected) in [
        ("disable", "127.0.0.1", None, Some("f")),
        ("prefer", "127.0.0.1", None, Some("t")),
        ("prefer", "127.0.0.1", Some(OTHER_AUTHORITY), Some("t")),
        ("require", "127.0.0.1", None, Some("t")),
        ("require", "127.0.0.1", Some(AUTHORITY), Some("t")),
        ("require", "127.0.0.1", Some(OTHER_AUTHORITY), None),
        ("verify-ca", "127.0.0.1", Some(AUTHORITY), Some("t")),
        ("verify-ca", "127.0.0.1", Some(OTHER_AUTHORITY), None),
        ("verify-full", "localhost", Some(AUTHORITY), Some("t")),
        ("verify-full", "127.0.0.1", Some(AUTHORITY), None),
        ("verify-full", "localhost", Some(OTHER_AUTHORITY), None),
        ("verify-full", "localhost", Some("rubbish"), None),
    ] {
        let endpoint = endpoint(&server, sslmode, host, ca);
        let case = format!("{sslmode} {host}");
        match (endpoint.connect().await, expected) {
            (Ok(session), Some(expected)) => {
                assert_eq!(text(&session, encrypted).await, expected, "{case}");
            }
            (Err(LinkError::Tls { target, .. }), None) => {
                assert_eq!(target, endpoint.address(), "{case}");
            }
            (result, _) => panic!("{case}: {result:?}"),
        }
    }
    // The roots of the system, where there are any, do not know this authority.
    for sslmode in ["verify-ca", "verify-full"] {
        let result = endpoint(&server, sslmode, "localhost", None)
            .connect()
            .await;
        assert!(matches!(result, Err(LinkError::Tls { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let server = Postgres::shared();
    for (sslmode, allowed) in [
        ("disable", true),
        ("prefer", true),
        ("require", false),
        ("verify-ca", false),
        ("verify-full", false),
    ] {
        let result = endpoint(server, sslmode, "127.0.0.1", Some(AUTHORITY))
            .connect()
            .await;
        assert_eq!(result.is_ok(), allowed, "{sslmode}: {result:?}");
        if !allowed {
            assert!(matches!(result, Err(LinkError::Tls { .. })), "{result:?}");
        }
    }
    let result = endpoint(server, "always", "127.0.0.1", None)
        .connect()
        .await;
    assert!(
        matches!(result, Err(LinkError::Address { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_refusal_says_why_and_never_shows_the_password() {
    let server = Postgres::shared();
    let wrong = PostgresEndpoint {
        password: Some(Secret::new("hunter2")),
        ..server.endpoint()
    };
    let nowhere = server.endpoint().with_database("no such database");
    let nobody = PostgresEndpoint {
        user: "nobody at all".into(),
        ..server.endpoint()
    };
    let silent = PostgresEndpoint {
        password: None,
        ..server.endpoint()
    };
    for (endpoint, code) in [
        (&wrong, Some("28P01")),
        (&nowhere, Some("3D000")),
        (&nobody, Some("28P01")),
        (&silent, None),
    ] {
        let error = endpoint.try_connect("").await.unwrap_err();
        assert_eq!(error.sqlstate.as_deref(), code, "{error}");
        assert!(matches!(error.link, LinkError::Refused { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.to_string().contains(&endpoint.describe()), "{error}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gone = server.endpoint();
    gone.port = port.local_addr().unwrap().port();
    drop(port);
    let error = gone.connect().await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
    gone.host = "no-such-host.invalid".into();
    let error = gone.connect().await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_that_hangs_or_talks_rubbish_is_unreachable() {
    use tokio::io::AsyncWriteExt as _;
    for answer in [None, Some("HTTP/1.1 400 Bad Request\r\n\r\n")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = Postgres::shared().endpoint();
        endpoint.port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                held.push(stream);
            }
        });
        let error = endpoint.connect().await.unwrap_err();
        assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
        server.abort();
    }
}

#[tokio::test]
async fn sessions_carry_our_name_and_the_pinned_schema() {
    let mut endpoint = Postgres::shared().endpoint();
    endpoint.search_path = Some("information_schema".into());
    let session = endpoint.try_connect("-c lock_timeout=7s").await.unwrap();
    assert_eq!(text(&session, "SHOW application_name").await, "lerianctl");
    assert_eq!(
        text(&session, "SHOW search_path").await,
        "information_schema"
    );
    assert_eq!(text(&session, "SHOW lock_timeout").await, "7s");
    session.close().await;

    // Products send it unquoted; anything that PostgreSQL would take apart is refused here.
    for schema in ["a,b", "a b", "\"a\"", "1a", "", "a -c role=postgres"] {
        endpoint.search_path = Some(schema.into());
        let result = endpoint.connect().await;
        assert!(matches!(result, Err(LinkError::Address { .. })), "{schema}");
    }
}

#[tokio::test]
async fn a_folder_as_host_is_a_unix_socket() {
    let mut server = Postgres::private();
    let folder = server.data();
    let session = server.endpoint().connect().await.unwrap();
    session
        .batch_execute(&format!(
            "ALTER SYSTEM SET unix_socket_directories = '{}'",
            folder.display()
        ))
        .await
        .unwrap();
    server.restart().await.unwrap();
    let host = folder.display().to_string().replace('/', "%2F");
    let url = format!("postgres://postgres@{host}:{}/postgres", server.port());
    let mut endpoint = PostgresEndpoint::parse_url(&url).unwrap();
    endpoint.password = server.endpoint().password;
    // As in libpq, nothing is encrypted there, and nobody has to ask for that.
    for sslmode in ["prefer", "verify-full"] {
        endpoint.sslmode = sslmode.into();
        let session = endpoint.connect().await.unwrap();
        let address = "SELECT inet_server_addr() IS NULL";
        assert_eq!(text(&session, address).await, "t");
    }
}

#[tokio::test]
async fn a_pool_hands_out_only_living_sessions() {
    let endpoint = Postgres::shared().endpoint();
    let pool = endpoint.pool(1, "-c lock_timeout=9s").unwrap();
    let session = pool.get().await.unwrap();
    let pid: i32 = session
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let admin = endpoint.connect().await.unwrap();
    admin
        .execute("SELECT pg_terminate_backend($1, 10000)", &[&pid])
        .await
        .unwrap();
    // It learns of its end with the next statement, and is not handed out again.
    assert!(session.simple_query("SELECT 1").await.is_err());
    drop(session);
    let session = pool.get().await.unwrap();
    let row = session
        .query_one(
            "SELECT pg_backend_pid(), current_setting('lock_timeout')",
            &[],
        )
        .await
        .unwrap();
    assert_ne!(row.get::<_, i32>(0), pid);
    assert_eq!(row.get::<_, String>(1), "9s");

    let wrong = PostgresEndpoint {
        password: Some(Secret::new("hunter2")),
        ..endpoint
    };
    let error = wrong.pool(1, "").unwrap().get().await.unwrap_err();
    let error = wrong.pool_error(error);
    assert!(matches!(error, LinkError::Refused { .. }), "{error:?}");
}
