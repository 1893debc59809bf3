//! A Tenant Manager in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lerianctl::contract::catalogue::Catalogue;
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::provision::Cluster;
use lerianctl::secret::Secret;
use lerianctl::server::{Limits, RegistryPlace, ServerError, ServerSettings, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Postgres, RUNTIME, Redis, block_on, cluster, unique};

/// A running Tenant Manager on a free loopback port, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    settings: ServerSettings,
    shutdown: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), ServerError>>>,
    folder: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts a server with a new registry on the shared PostgreSQL and Redis.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// As [`Server::start`], with settings that `change` has altered.
    #[must_use]
    pub(crate) fn start_with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut settings = Self::settings(
            folder.path(),
            vec![cluster("main", Postgres::shared())],
            Some(Redis::shared().endpoint()),
        );
        change(&mut settings);
        let mut server = Self::serve(settings);
        server.folder = Some(folder);
        server
    }

    /// Returns settings as tests want them, with the registry in `folder`.
    pub(crate) fn settings(
        folder: &Path,
        clusters: Vec<Cluster>,
        event_redis: Option<RedisEndpoint>,
    ) -> ServerSettings {
        ServerSettings {
            registry: Self::place(folder),
            master_key: Secret::generate().into(),
            previous_master_key: None,
            api_keys: vec![Secret::generate()],
            clusters,
            event_redis,
            catalogue: Catalogue::default(),
            development_jwks: None,
            rotation_grace: Duration::from_mins(5),
            jobs: 4,
            drain: Duration::from_secs(10),
            access: lerianctl::server::AccessSettings::default(),
            limits: Limits::default(),
            tls: None,
            isolation: None,
            ready: Arc::default(),
        }
    }

    /// Returns where the registry of a test is: a schema of its own on the shared PostgreSQL for
    /// the stories below `on_postgres`, a file in `folder` for all others.
    pub(crate) fn place(folder: &Path) -> RegistryPlace {
        let thread = std::thread::current();
        if thread
            .name()
            .is_some_and(|name| name.starts_with("on_postgres::"))
        {
            return RegistryPlace::Postgres {
                endpoint: Postgres::shared().endpoint(),
                schema: unique("registry"),
            };
        }
        RegistryPlace::Sqlite(folder.join("registry.sqlite"))
    }

    /// Starts a server with exactly `settings`; the caller keeps the registry's folder.
    #[must_use]
    pub(crate) fn serve(settings: ServerSettings) -> Self {
        let bound = block_on(async { TcpListener::bind("127.0.0.1:0").await });
        let listener = bound.expect("a loopback port can be bound");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let (shutdown, stopped) = oneshot::channel::<()>();
        let task = RUNTIME.spawn(serve(listener, settings.clone(), async move {
            let _ = stopped.await;
        }));
        let mut server = Self {
            address,
            settings,
            shutdown: Some(shutdown),
            task: Some(task),
            folder: None,
        };
        server.wait_until_ready();
        server
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the first API key.
    pub(crate) fn api_key(&self) -> &Secret {
        self.settings.api_keys.first().expect("there is a key")
    }

    /// Returns the settings that it runs with.
    pub(crate) fn server_settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Returns the path of the registry, which is a file.
    pub(crate) fn registry(&self) -> PathBuf {
        match &self.settings.registry {
            RegistryPlace::Sqlite(path) => path.clone(),
            RegistryPlace::Postgres { .. } => panic!("the registry is no file"),
        }
    }

    /// Stops the server in good order and starts it again with the same settings and registry,
    /// on another port.
    #[must_use]
    pub(crate) fn restart(mut self) -> Self {
        let folder = self.folder.take();
        let settings = self.settings.clone();
        self.stop();
        let mut server = Self::serve(settings);
        server.folder = folder;
        server
    }

    /// Stops the server in good order; fails when it ended with an error.
    pub(crate) fn stop(mut self) {
        if let Some(result) = self.shut_down() {
            result.expect("the server ends without an error");
        }
    }

    fn shut_down(&mut self) -> Option<Result<(), ServerError>> {
        drop(self.shutdown.take());
        let task = self.task.take()?;
        Some(block_on(task).expect("the server does not panic"))
    }

    /// Waits until `/readyz` answers 200; fails when the server ended instead.
    fn wait_until_ready(&mut self) {
        let url = format!("{}/readyz", self.url());
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        loop {
            let task = self.task.as_ref().expect("the server was started");
            let ended = task.is_finished();
            assert!(
                !ended,
                "the server ended at its start: {:?}",
                self.shut_down()
            );
            if block_on(status(url.clone())) == Some(200) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "`{url}` never answered 200"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.shutdown.take());
            if let Some(task) = self.task.take() {
                task.abort();
            }
        } else if let Some(Err(error)) = self.shut_down() {
            panic!("the server ended with an error: {error}");
        }
    }
}

/// Returns the status of a GET.
async fn status(url: String) -> Option<u16> {
    lerianctl::link::tls::install();
    let response = reqwest::get(url).await.ok()?;
    Some(response.status().as_u16())
}
