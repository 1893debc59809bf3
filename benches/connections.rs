//! The connections endpoint, asked over kept-alive connections for tenants at random: a constant
//! axum handler that answers the same bytes, and the real server (key, request id, figures, sealed
//! credentials) on each registry, in turn, in one run, by the same callers.
//! `cargo bench --bench connections`.
//!
//! Callers, servers and PostgreSQL share the processors, so the ratio is what counts.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and stops at the first surprise"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use lerianctl::contract::catalogue::Catalogue;
use lerianctl::contract::wire::{ConnectionSettings, IsolationMode};
use lerianctl::contract::{ServiceName, Slug, TenantId};
use lerianctl::devstack::Programs;
use lerianctl::devstack::temporary;
use lerianctl::provision::{Cluster, DatabaseSpec, Names};
use lerianctl::secret::{Sealer, Secret};
use lerianctl::server::{
    Limits, RegistryPlace, ServerError, ServerSettings, read_archive, serve, write_archive,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CALLERS: usize = 32;
const TENANTS: usize = 10_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const GOAL: f64 = 0.5;
/// Times the median that the slowest of a hundred may take.
const TAIL: f64 = 6.0;

/// What the callers send, in turn.
type Requests = Arc<Vec<Vec<u8>>>;

/// Requests per second, and times in microseconds.
struct Figures {
    rate: f64,
    times: Vec<u32>,
}

impl Figures {
    fn at(&self, part: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list"
        )]
        let at = ((self.times.len() - 1) as f64 * part) as usize;
        f64::from(self.times[at])
    }
}

/// Asks over and over until the time is up.
async fn load(address: SocketAddr, requests: &Requests) -> Figures {
    let begun = Instant::now();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let requests = Arc::clone(requests);
        callers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 16 * 1024];
            let mut times = Vec::new();
            while begun.elapsed() < ROUND {
                let at = rand::random_range(0..requests.len());
                let asked = Instant::now();
                stream.write_all(&requests[at]).await.unwrap();
                read_answer(&mut stream, &mut buffer).await;
                times.push(u32::try_from(asked.elapsed().as_micros()).unwrap());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.unwrap());
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    Figures { rate, times }
}

/// Reads one answer, which must be 200 and have a length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the server hung up");
        filled += read;
        let text = &buffer[..filled];
        let Some(head) = text.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        assert!(text.starts_with(b"HTTP/1.1 200"), "not 200");
        let lines = std::str::from_utf8(&text[..head]).unwrap();
        let length: usize = lines
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        if filled == head + 4 + length {
            return;
        }
    }
}

fn request(path: &str, key: &Secret) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nX-API-Key: {}\r\n\r\n",
        key.expose()
    )
    .into_bytes()
}

/// Makes a registry of many tenants, secret as the first version did: the server brings that
/// over, and nobody waits for ten thousand databases. Returns the paths of their connections.
async fn fill(place: &RegistryPlace, path: &Path, master: &Secret) -> Vec<String> {
    lerianctl::server::migrate(place, false).await.unwrap();
    let mut file = rusqlite::Connection::open(path).unwrap();
    let transaction = file.transaction().unwrap();
    let sealer = Sealer::derive(master, "registry");
    let check = sealer.seal("right", "meta/master-check");
    let insert = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction
            .prepare_cached(sql)
            .unwrap()
            .execute(values)
            .unwrap();
    };
    insert("INSERT INTO meta VALUES ('master_check', ?1)", &[&check]);
    let service: ServiceName = "tracer".parse().unwrap();
    let mut paths = Vec::new();
    for number in 0..TENANTS {
        let id = TenantId::generate();
        let slug: Slug = format!("tenant-{number}").parse().unwrap();
        let spec = DatabaseSpec {
            names: Names::make(&id, &slug, &service, "tracer", IsolationMode::Database),
            tenant_id: id.clone(),
            tenant_slug: slug.clone(),
            service: service.clone(),
            module: "tracer".into(),
            mode: IsolationMode::Database,
            cluster: "main".into(),
            settings: ConnectionSettings::default(),
        };
        let password = Secret::generate();
        let secret = sealer.seal(
            password.expose(),
            &format!("credentials/{id}/tracer/tracer/1"),
        );
        insert(
            "INSERT INTO tenants (id, slug, name, environment, isolation_mode, status, metadata,
                 owner_email, owner_email_verified, search_text, revision, created_at, updated_at)
             VALUES (?1, ?2, ?2, 'production', 'database', 'active', '{}', '', 0, ?2, 1, 0, 0)",
            &[&id.as_str(), &slug.as_str()],
        );
        insert(
            "INSERT INTO associations VALUES (?1, 'tracer', 'database', 'live', 1, 1, '{}', 0, 0)",
            &[&id.as_str()],
        );
        insert(
            "INSERT INTO databases VALUES (?1, 'tracer', 'tracer', 'main', 'database', 'ready', ?2)",
            &[&id.as_str(), &serde_json::to_string(&spec).unwrap()],
        );
        insert(
            "INSERT INTO credentials VALUES (?1, 'tracer', 1, 'tracer', ?2)",
            &[&id.as_str(), &secret],
        );
        paths.push(format!("/v1/tenants/{id}/associations/tracer/connections"));
    }
    transaction.commit().unwrap();
    paths
}

/// A server under way.
struct Running {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), ServerError>>,
}

async fn start(settings: ServerSettings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ready = Arc::clone(&settings.ready);
    let task = tokio::spawn(serve(listener, settings, async {
        let _ = stopped.await;
    }));
    ready.notified().await;
    Running {
        address,
        stop,
        task,
    }
}

/// Measures a server against the constant handler; returns true when the goals are reached.
async fn measure(name: &str, ours: SocketAddr, bare: SocketAddr, requests: &Requests) -> bool {
    // The first answers are put together once; that is not what is measured.
    load(ours, requests).await;
    let (mut floor, mut real) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turn, and not always the same first.
        if round % 2 == 0 {
            floor.push(load(bare, requests).await);
            real.push(load(ours, requests).await);
        } else {
            real.push(load(ours, requests).await);
            floor.push(load(bare, requests).await);
        }
    }
    let (floor, real) = (median(floor), median(real));
    let ratio = real.rate / floor.rate;
    let tail = real.at(0.99) / real.at(0.5);
    println!("{name}");
    for (name, figures) in [("constant handler", &floor), ("connections", &real)] {
        println!(
            "  {name:<17} {:>9.0} requests/s   p50 {:>6.0} us   p99 {:>6.0} us",
            figures.rate,
            figures.at(0.5),
            figures.at(0.99)
        );
    }
    let said = |good: bool| if good { "reached" } else { "MISSED" };
    println!(
        "  ratio             {ratio:>9.2}   goal {GOAL}: {}",
        said(ratio >= GOAL)
    );
    println!(
        "  p99 / p50         {tail:>9.2}   goal {TAIL}: {}",
        said(tail < TAIL)
    );
    ratio >= GOAL && tail < TAIL
}

async fn constant(body: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = move || {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], body) }
    };
    let router = Router::new().route(
        "/v1/tenants/{id}/associations/{service}/connections",
        get(handler),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let middle = figures.len() / 2;
    figures.swap_remove(middle)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    lerianctl::link::tls::install();
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench has no environment of its own"
    )]
    let search = std::env::var_os("PATH").unwrap_or_default();
    let programs = Programs::find(&search, None).unwrap();
    let parent = std::env::temp_dir();
    let postgres = temporary::postgres(&programs.postgres, &parent)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = Secret::generate();
    let (path, master) = (folder.path().join("registry.sqlite"), Secret::generate());
    let mut settings = ServerSettings {
        registry: RegistryPlace::Sqlite(path.clone()),
        master_key: master.clone().into(),
        previous_master_key: None,
        api_keys: vec![key.clone()],
        clusters: vec![Cluster {
            name: "main".to_owned(),
            admin: postgres.endpoint(),
            public_host: "127.0.0.1".to_owned(),
            public_port: postgres.port(),
            public_sslmode: "disable".to_owned(),
        }],
        event_redis: None,
        catalogue: Catalogue::default(),
        development_jwks: None,
        rotation_grace: Duration::from_mins(5),
        jobs: 4,
        drain: Duration::from_secs(5),
        access: lerianctl::server::AccessSettings::default(),
        limits: Limits::default(),
        tls: None,
        isolation: None,
        ready: Arc::default(),
    };
    let paths = fill(&settings.registry, &path, &master).await;
    let requests: Requests = Arc::new(paths.iter().map(|path| request(path, &key)).collect());
    let server = start(settings.clone()).await;
    let answer = reqwest::Client::new()
        .get(format!("http://{}{}", server.address, paths[0]))
        .header("X-API-Key", key.expose());
    let body = answer.send().await.unwrap().text().await.unwrap();
    println!(
        "{CALLERS} callers, {TENANTS} tenants, {} bytes of JSON, {ROUNDS} rounds of {ROUND:?}",
        body.len()
    );
    let bare = constant(body).await;
    let mut reached = measure("registry on SQLite", server.address, bare, &requests).await;
    drop(server.stop);
    server.task.await.unwrap().unwrap();

    let export = folder.path().join("export");
    write_archive(&settings.registry, &export, true)
        .await
        .unwrap();
    settings.registry = RegistryPlace::Postgres {
        endpoint: postgres.endpoint(),
        schema: "registry".into(),
    };
    read_archive(&settings.registry, &export, false)
        .await
        .unwrap();
    settings.ready = Arc::default();
    let server = start(settings).await;
    reached &= measure("registry on PostgreSQL", server.address, bare, &requests).await;
    drop(server.stop);
    server.task.await.unwrap().unwrap();
    assert!(reached, "a goal was missed");
}
