//! Real servers for the tests.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use lerianctl::devstack::programs::find_postgres;
use lerianctl::devstack::temporary::{self, Temporary};
use lerianctl::devstack::{DevstackError, Programs, postgres, redis, redis_cluster};
use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::provision::Cluster;

use super::block_on;

/// Returns the servers' programs; the test fails with the command to install what is missing.
#[expect(
    clippy::disallowed_methods,
    reason = "tests look where the user's shell would"
)]
pub(crate) fn programs() -> &'static Programs {
    static PROGRAMS: LazyLock<Programs> = LazyLock::new(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Programs::find(&path, None).unwrap_or_else(|missing| {
            let command = missing.install_command().unwrap_or_default();
            panic!("{missing}; install with: {command}")
        })
    });
    &PROGRAMS
}

/// Returns the folder of PostgreSQL 18's programs, which `scripts/postgres18` brings and `make test`
/// names; without them it is said loudly that `what` (such as "no leak was planted") on it.
#[expect(
    clippy::disallowed_methods,
    reason = "where the tests find a PostgreSQL is not the program's configuration"
)]
pub(crate) fn postgres_18(what: &str) -> Option<PathBuf> {
    const NAME: &str = "LERIANCTL_TEST_POSTGRES_18_BIN";
    let folder = std::env::var_os(NAME).map(PathBuf::from);
    if folder.is_none() {
        super::skip(&format!(
            "{what} on PostgreSQL 18, {NAME} is not set (scripts/postgres18)"
        ));
    }
    folder
}

fn started<T>(result: Result<T, DevstackError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// PostgreSQL for tests; see the functions.
pub(crate) struct Postgres;

impl Postgres {
    /// Returns the server that all tests of this process share.
    pub(crate) fn shared() -> &'static postgres::Postgres {
        static SHARED: OnceLock<Temporary<postgres::Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::private)
    }

    /// Starts a server for one test.
    #[must_use]
    pub(crate) fn private() -> Temporary<postgres::Postgres> {
        let programs = &programs().postgres;
        started(block_on(temporary::postgres(programs, temp_folder())))
    }

    /// Starts a server for one test with the programs in `folder`.
    #[must_use]
    pub(crate) fn private_of(folder: &Path) -> Temporary<postgres::Postgres> {
        let programs = find_postgres("".as_ref(), Some(folder))
            .unwrap_or_else(|| panic!("there is no PostgreSQL in {}", folder.display()));
        started(block_on(async move {
            temporary::postgres(&programs, temp_folder()).await
        }))
    }
}

/// Redis for tests; see the functions.
pub(crate) struct Redis;

impl Redis {
    /// Returns the server that all tests of this process share.
    pub(crate) fn shared() -> &'static redis::Redis {
        static SHARED: OnceLock<Temporary<redis::Redis>> = OnceLock::new();
        SHARED.get_or_init(Self::private)
    }

    /// Starts a server for one test.
    #[must_use]
    pub(crate) fn private() -> Temporary<redis::Redis> {
        Self::private_with(&[])
    }

    /// Starts a server for one test with lines added to its settings file.
    #[must_use]
    pub(crate) fn private_with(directives: &[&str]) -> Temporary<redis::Redis> {
        let directives: Vec<String> = directives.iter().map(ToString::to_string).collect();
        started(block_on(async move {
            temporary::redis_with(&programs().redis, temp_folder(), &directives).await
        }))
    }
}

/// Redis Cluster of three primaries for tests; see the functions.
pub(crate) struct RedisCluster;

impl RedisCluster {
    /// Returns the cluster that all tests of this process share.
    pub(crate) fn shared() -> &'static redis_cluster::RedisCluster {
        static SHARED: OnceLock<Temporary<redis_cluster::RedisCluster>> = OnceLock::new();
        SHARED.get_or_init(Self::private)
    }

    /// Starts a cluster for one test.
    #[must_use]
    pub(crate) fn private() -> Temporary<redis_cluster::RedisCluster> {
        let program = &programs().redis;
        started(block_on(temporary::redis_cluster(
            program,
            temp_folder(),
            3,
        )))
    }
}

/// Returns `server` as a cluster to place tenants on.
pub(crate) fn cluster(name: &str, server: &postgres::Postgres) -> Cluster {
    Cluster {
        name: name.to_owned(),
        admin: server.endpoint(),
        public_host: "127.0.0.1".to_owned(),
        public_port: server.port(),
        public_sslmode: "disable".to_owned(),
    }
}

/// The system's folder for temporary files.
fn temp_folder() -> &'static std::path::Path {
    static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(std::env::temp_dir);
    &FOLDER
}

/// Opens a session as the endpoint says.
pub(crate) async fn session(endpoint: &PostgresEndpoint) -> tokio_postgres::Client {
    let password = endpoint.password.as_ref().expect("there is a password");
    let (client, connection) = tokio_postgres::Config::new()
        .host(&endpoint.host)
        .port(endpoint.port)
        .user(&endpoint.user)
        .dbname(&endpoint.database)
        .password(password.expose())
        .connect(tokio_postgres::NoTls)
        .await
        .expect("the server lets us in");
    tokio::spawn(connection);
    client
}

/// Opens a connection as the endpoint says.
pub(crate) async fn connection(endpoint: &RedisEndpoint) -> ::redis::aio::MultiplexedConnection {
    let password = endpoint.password.as_ref().expect("there is a password");
    let url = format!(
        "redis://:{}@{}:{}",
        password.expose(),
        endpoint.host,
        endpoint.port
    );
    ::redis::Client::open(url)
        .expect("the address is good")
        .get_multiplexed_async_connection()
        .await
        .expect("the server lets us in")
}
