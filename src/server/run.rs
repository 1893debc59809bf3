//! Start, drain and end of the server.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::audit::{self, Reads};
use super::bearer::Bearers;
use super::freshness::{self, Freshness};
use super::isolation::{self, Checking};
use super::keys::{self as api_keys, ApiKeys, stored_digest};
use super::listener::{self, Front, Phase};
use super::metrics::Metrics;
use super::operations::{self, Leases, Progress};
use super::outbox;
use super::registry::postgres::PostgresRegistry;
use super::registry::sqlite::SqliteRegistry;
use super::registry::{Registry, RegistryError, Signal, model::now};
use super::rekey::{self, Resealing};
use super::routes::{self, App};
use super::service::{Answers, Tenancy};
use super::tls::Tls;
use super::vault::{Vault, VaultError};
use super::{RegistryPlace, ServerError, ServerSettings};
use crate::audit::actions;
use crate::contract::admin::ServerInfo;
use crate::contract::permission::Role;
use crate::provision::Provisioner;

/// Time between two rounds of forgetting.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// How long published events are kept.
const KEEP_EVENTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long answers are kept for repeated requests.
const KEEP_REPLAYS: SignedDuration = SignedDuration::from_hours(24);
/// Time that the last reads get to reach the audit log.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// Time between two looks whether the server is ready.
const READY_EVERY: Duration = Duration::from_millis(50);
/// Time that cut connections and aborted tasks get to end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// See [`super::serve`].
pub(super) async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    let tls = settings
        .tls
        .clone()
        .map(|files| Tls::open(files).map(Arc::new))
        .transpose()
        .map_err(|(path, reason)| ServerError::Tls { path, reason })?;
    let bearers = settings.access.tokens.clone().map(Bearers::new).transpose();
    let bearers = bearers.map_err(|error| ServerError::NoAccess(error.to_string()))?;
    let Opened {
        registry,
        vault,
        keys,
    } = open(&settings).await?;
    let mut metrics = Metrics::new();
    if let Some(tls) = &tls {
        metrics.tls_opened(tls.expires());
    }
    if settings.isolation.is_some() {
        metrics.isolation_opened();
    }
    let (close, closing) = watch::channel(false);
    lived(registry.as_ref(), actions::SERVER_START).await;
    let signals = registry.signals();
    let freshness = signals.is_some().then(|| Arc::new(Freshness::default()));
    let tenancy = Arc::new(Tenancy {
        registry: Arc::clone(&registry),
        catalogue: settings.catalogue,
        provisioner: Provisioner::new(settings.clusters.clone()),
        clusters: settings.clusters,
        vault,
        answers: Answers::default(),
        freshness: freshness.clone(),
        metrics,
        rotation_grace: settings.rotation_grace,
        publishes: settings.event_redis.is_some(),
        work: Notify::new(),
        mail: Notify::new(),
        progress: Progress::default(),
        leases: Leases::default(),
        resealing: Resealing::default(),
        reads: Reads::default(),
        checking: Checking {
            settings: settings.isolation,
            redis: settings.event_redis.clone(),
            ..Checking::default()
        },
    });
    let recovered = Arc::new(AtomicBool::new(false));
    let app = App::new(
        Arc::clone(&tenancy),
        Arc::clone(&keys),
        bearers,
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            event_redis: settings
                .event_redis
                .as_ref()
                .map(|redis| format!("{}:{}", redis.host, redis.port)),
            development: settings.development_jwks.is_some(),
            rotation_grace_seconds: Some(settings.rotation_grace.as_secs()),
        },
        settings.development_jwks.map(|keys| keys.to_string()),
        Arc::clone(&recovered),
        closing.clone(),
        settings.limits.clone(),
    );
    let app = Arc::new(app);

    let engine = tokio::spawn(operations::work(
        Arc::clone(&tenancy),
        settings.jobs,
        closing.clone(),
        recovered,
    ));
    let mut helpers = vec![
        tokio::spawn(prune(Arc::clone(&tenancy), closing.clone())),
        tokio::spawn(api_keys::watch(
            Arc::clone(&keys),
            Arc::clone(&tenancy.registry),
            closing.clone(),
        )),
        tokio::spawn(rekey::work(Arc::clone(&tenancy), closing.clone())),
        tokio::spawn(isolation::work(Arc::clone(&tenancy), closing.clone())),
    ];
    if let Some(redis) = settings.event_redis {
        helpers.push(tokio::spawn(outbox::dispatch(
            Arc::clone(&tenancy),
            redis,
            closing.clone(),
        )));
    }
    let (drained, empty) = watch::channel(false);
    let reads = tokio::spawn(audit::flush(Arc::clone(&tenancy), empty));
    if let Some(tls) = &tls {
        let watching = Arc::clone(tls).watch(Arc::clone(&tenancy), closing.clone());
        helpers.push(tokio::spawn(watching));
    }
    helpers.push(tokio::spawn(announce(
        Arc::clone(&app),
        settings.ready,
        closing.clone(),
    )));
    // What lives as long as the server and has nothing to finish.
    let mut watching = Vec::new();
    if let Some(signals) = signals {
        watching.push(tokio::spawn(hear(Arc::clone(&tenancy), signals)));
    }
    if let Some(freshness) = freshness {
        watching.push(tokio::spawn(freshness::watch(
            freshness,
            Arc::clone(&tenancy),
            keys,
        )));
    }
    // Dropped with this future, however it ends: nothing goes on without the server.
    let _guard = AbortOnDrop(
        std::iter::once(engine.abort_handle())
            .chain(helpers.iter().map(JoinHandle::abort_handle))
            .chain(std::iter::once(reads.abort_handle()))
            .chain(watching.iter().map(JoinHandle::abort_handle))
            .collect(),
    );

    let (turn, phase) = watch::channel(Phase::Serving);
    let front = Front {
        router: routes::router(app),
        tls,
        limits: settings.limits,
        tenancy: Arc::clone(&tenancy),
        phase,
    };
    let mut serving = Box::pin(listener::serve(listener, front));
    tracing::info!("serving");

    let served = tokio::select! {
        served = &mut serving => Some(served),
        () = shutdown => None,
    };
    tracing::info!("stopping");
    let deadline = Instant::now() + settings.drain;
    close.send_replace(true);
    turn.send_replace(Phase::Draining);
    let served = match served {
        Some(served) => served,
        None => drain(&mut serving, &turn, deadline).await,
    };
    end(engine, helpers, deadline).await;
    drained.send_replace(true);
    if tokio::time::timeout(LAST_WRITE, reads).await.is_err() {
        tracing::error!("reads of credentials were not recorded in the end");
    }
    lived(registry.as_ref(), actions::SERVER_STOP).await;
    registry.close().await;
    tracing::info!("stopped");
    Ok(served?)
}

/// Waits for open requests until the deadline, then cuts what is left.
async fn drain(
    serving: &mut (impl Future<Output = std::io::Result<()>> + Unpin),
    turn: &watch::Sender<Phase>,
    deadline: Instant,
) -> std::io::Result<()> {
    if let Ok(served) = tokio::time::timeout_at(deadline, &mut *serving).await {
        return served;
    }
    tracing::warn!("open connections are cut");
    turn.send_replace(Phase::Cut);
    tokio::time::timeout(LAST_MOMENT, serving)
        .await
        .unwrap_or(Ok(()))
}

/// Waits for the engine until the deadline: a step under way may end, and is recorded; if it
/// does not, it is done again at the next start.
async fn end(mut engine: JoinHandle<()>, helpers: Vec<JoinHandle<()>>, deadline: Instant) {
    if tokio::time::timeout_at(deadline, &mut engine)
        .await
        .is_err()
    {
        tracing::warn!("operations under way are left for the next start");
        engine.abort();
        let _ = engine.await;
    }
    for mut helper in helpers {
        if tokio::time::timeout(LAST_MOMENT + LAST_MOMENT, &mut helper)
            .await
            .is_err()
        {
            helper.abort();
            let _ = helper.await;
        }
    }
}

/// Records that the server starts or has stopped: a start without a stop before it tells that
/// reads of the last moment may be missing.
async fn lived(registry: &dyn Registry, action: &str) {
    let mut record = crate::audit::draft(action, now());
    record.detail = Some(format!(
        "lerianctl {}, process {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    ));
    if let Err(error) = registry.append_audit(vec![record]).await {
        tracing::error!(%error, action, "the audit log cannot be written");
    }
}

/// Says when the server is ready for the first time.
async fn announce(app: Arc<App>, ready: Arc<Notify>, mut closing: watch::Receiver<bool>) {
    while !routes::is_ready(&app).await {
        tokio::select! {
            () = tokio::time::sleep(READY_EVERY) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
    ready.notify_one();
}

/// Tasks that end with the server.
struct AbortOnDrop(Vec<tokio::task::AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// An opened registry.
struct Opened {
    registry: Arc<dyn Registry>,
    vault: Vault,
    keys: Arc<ApiKeys>,
}

/// Opens the registry where it is.
async fn open_place(place: &RegistryPlace) -> Result<Arc<dyn Registry>, String> {
    match place {
        RegistryPlace::Sqlite(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || SqliteRegistry::open(&path)).await;
            Ok(Arc::new(opened.map_err(|error| error.to_string())??))
        }
        RegistryPlace::Postgres { endpoint, schema } => {
            Ok(Arc::new(PostgresRegistry::open(endpoint, schema).await?))
        }
    }
}

/// Opens the registry and its keys.
async fn open(settings: &ServerSettings) -> Result<Opened, ServerError> {
    let failed = |reason: String| ServerError::Registry {
        place: settings.registry.clone(),
        reason,
    };
    let registry = open_place(&settings.registry).await.map_err(failed)?;
    let read = |error: RegistryError| failed(error.to_string());
    let opened = Vault::open(
        registry.as_ref(),
        &settings.master_key,
        settings.previous_master_key.as_ref(),
    );
    let vault = match opened.await {
        Ok(vault) => vault,
        Err(error) => {
            registry.close().await;
            return Err(match error {
                VaultError::MasterKey(reason) => ServerError::MasterKey(reason),
                VaultError::Registry(error) => read(error),
            });
        }
    };
    let digests: Vec<String> = settings
        .api_keys
        .iter()
        .filter(|key| !key.is_empty())
        .map(|key| stored_digest(&vault, key.expose()))
        .collect();
    let access = &settings.access;
    let given = (access.forget_api_keys || !digests.is_empty()).then_some(digests);
    if access.forget_api_keys && access.tokens.is_none() {
        // Before anything is forgotten: that counts on every server of the registry.
        let made = registry.active_access_keys(now()).await.map_err(read)?;
        if !made.iter().any(|key| key.role >= Role::Operator) {
            registry.close().await;
            return Err(ServerError::NoAccess(
                "no key of an operator is active, and no other key is to be accepted: nobody could use this server".into(),
            ));
        }
    }
    if given.is_some() {
        registry.api_keys(given.clone()).await.map_err(read)?;
    }
    let keys = ApiKeys::new(given, access.rate_limit);
    keys.refresh(registry.as_ref()).await.map_err(read)?;
    Ok(Opened {
        registry,
        vault,
        keys: Arc::new(keys),
    })
}

/// Wakes whoever waits for what another server has done.
async fn hear(tenancy: Arc<Tenancy>, mut signals: mpsc::UnboundedReceiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Work => tenancy.work.notify_one(),
            Signal::Mail => tenancy.mail.notify_one(),
            Signal::Operation(id) => tenancy.progress.changed(&id),
            Signal::Leases => tenancy.call_in_lease(),
            Signal::Anything => {
                tenancy.call_in_lease();
                tenancy.work.notify_one();
                tenancy.mail.notify_one();
                tenancy.checking.asked.notify_one();
                tenancy.progress.all_changed();
            }
        }
    }
}

/// Forgets what is old, now and then.
async fn prune(tenancy: Arc<Tenancy>, mut closing: watch::Receiver<bool>) {
    while !*closing.borrow() {
        let at = now();
        let pruned = tenancy
            .registry
            .prune(at - KEEP_EVENTS, at - KEEP_REPLAYS)
            .await;
        match pruned {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "old events and answers were forgotten"),
            Err(error) => {
                tenancy.metrics.registry_failed();
                tracing::warn!(%error, "old events were not forgotten");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PRUNE_EVERY) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}
