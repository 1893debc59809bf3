//! Registries to try things on.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use crate::audit::MacKey;
use crate::devstack::temporary::{self, Temporary};
use crate::devstack::{Programs, postgres::Postgres};
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use crate::server::registry::Registry;
use crate::server::registry::postgres::PostgresRegistry;
use crate::server::registry::sqlite::SqliteRegistry;

/// A new registry in a file.
pub(super) fn on_sqlite() -> (Arc<dyn Registry>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let registry = SqliteRegistry::open(&folder.path().join("registry")).unwrap();
    registry.audit_with(Arc::new(mac_key()));
    (Arc::new(registry), folder)
}

/// Starts a PostgreSQL.
#[expect(
    clippy::disallowed_methods,
    reason = "tests look where the user's shell would"
)]
pub(super) async fn server() -> Temporary<Postgres> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = Programs::find(OsStr::new(&path), None).unwrap();
    let parent = std::env::temp_dir();
    temporary::postgres(&programs.postgres, &parent)
        .await
        .unwrap()
}

/// A PostgreSQL that all tests of this process share.
pub(in crate::server::registry) fn endpoint() -> PostgresEndpoint {
    static SHARED: OnceLock<(tokio::runtime::Runtime, Temporary<Postgres>)> = OnceLock::new();
    let (_, server) = SHARED.get_or_init(|| {
        // On a thread and a runtime of its own: the tests' runtimes end before the server does.
        let start = || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let server = runtime.block_on(server());
            (runtime, server)
        };
        std::thread::spawn(start).join().unwrap()
    });
    server.endpoint()
}

/// The key of every log.
pub(in crate::server::registry) fn mac_key() -> MacKey {
    static KEY: OnceLock<Secret> = OnceLock::new();
    MacKey::new("00000000", KEY.get_or_init(Secret::generate)).unwrap()
}

/// A name that no other test uses.
pub(in crate::server::registry) fn schema() -> String {
    format!("registry_{}", uuid::Uuid::new_v4().simple())
}

/// A new registry in a schema of its own.
pub(super) async fn on_postgres() -> Arc<dyn Registry> {
    let registry = PostgresRegistry::open(&endpoint(), &schema())
        .await
        .unwrap();
    registry.audit_with(Arc::new(mac_key()));
    Arc::new(registry)
}
