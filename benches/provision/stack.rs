//! A private PostgreSQL and Redis, and `lerianctl server start` on them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lerianctl::contract::wire::IsolationMode;
use lerianctl::contract::{ServiceName, Slug, TenantId};
use lerianctl::devstack::Programs;
use lerianctl::devstack::account::Account;
use lerianctl::devstack::postgres::{Postgres, PostgresSettings};
use lerianctl::devstack::redis::Redis;
use lerianctl::devstack::temporary::{self, Temporary, TemporaryFolder};
use lerianctl::provision::Names;
use lerianctl::secret::Secret;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::capture::{self, Act};
use crate::replay::{Logins, Script};

const LERIANCTL: &str = env!("CARGO_BIN_EXE_lerianctl");
const SERVICE: &str = "tracer";

/// Everything that the measurements run on; stopped when dropped.
pub(crate) struct Stack {
    server: Child,
    variables: BTreeMap<&'static str, OsString>,
    admin: Client,
    // Dropped in this order.
    postgres: Postgres,
    _redis: Temporary<Redis>,
    log: PathBuf,
    _folder: TemporaryFolder,
    _home: tempfile::TempDir,
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What making one tenant asked of PostgreSQL.
pub(crate) struct Captured {
    pub(crate) acts: Vec<Act>,
    pub(crate) logins: Logins,
    id: TenantId,
    slug: Slug,
}

impl Stack {
    pub(crate) async fn start(jobs: usize) -> Self {
        lerianctl::link::tls::install();
        #[expect(
            clippy::disallowed_methods,
            reason = "a bench has no environment of its own"
        )]
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = Programs::find(&path, None).unwrap();
        let account = Account::for_servers().unwrap();
        let folder = TemporaryFolder::new(&std::env::temp_dir(), account.as_ref()).unwrap();
        let log = folder.path().join("postgres.log");
        let postgres = Postgres::start(PostgresSettings {
            programs: programs.postgres.clone(),
            folder: folder.path().to_owned(),
            account,
            password: Secret::generate(),
            port: None,
            max_connections: 200,
            durable: true,
            log: log.clone(),
        });
        let postgres = postgres.await.unwrap();
        let redis = temporary::redis(&programs.redis, &std::env::temp_dir())
            .await
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        let admin = administrator(&postgres).await;
        let mut stack = Self {
            // Replaced below; a child is needed to drop.
            server: Command::new(LERIANCTL)
                .arg("--version")
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
            variables: variables(home.path(), path, &postgres, &redis),
            admin,
            postgres,
            _redis: redis,
            log,
            _folder: folder,
            _home: home,
        };
        stack.serve(jobs);
        stack
    }

    /// Starts the server and learns its address.
    fn serve(&mut self, jobs: usize) {
        let ready = PathBuf::from(&self.variables["HOME"]).join("ready.json");
        let mut command = self.lerianctl();
        command
            .args([
                "server",
                "start",
                "--listen",
                "127.0.0.1:0",
                "--jobs",
                &jobs.to_string(),
            ])
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.server.wait().unwrap();
        self.server = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let address = loop {
            let written = fs::read(&ready).unwrap_or_default();
            if let Some(url) = serde_json::from_slice(&written).ok().and_then(url_in) {
                break url;
            }
            assert!(Instant::now() < deadline, "the server did not become ready");
            assert!(
                self.server.try_wait().unwrap().is_none(),
                "the server ended"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        self.variables.insert("MULTI_TENANT_URL", address.into());
    }

    fn lerianctl(&self) -> Command {
        let mut command = Command::new(LERIANCTL);
        command
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }

    /// Creates tenants with the command line, `parallel` callers at once; returns the wall time.
    pub(crate) fn create_tenants(&self, prefix: &str, count: usize, parallel: usize) -> Duration {
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..parallel {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        self.create_tenant(&format!("{prefix}-{number}"));
                    }
                });
            }
        });
        start.elapsed()
    }

    fn create_tenant(&self, slug: &str) {
        let output = self
            .lerianctl()
            .args([
                "tenant",
                "create",
                slug,
                "--slug",
                slug,
                "--service",
                SERVICE,
                "--quiet",
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{slug}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Makes one more tenant while PostgreSQL logs every statement.
    pub(crate) async fn capture(&self) -> Captured {
        let slug = "captured";
        self.log_statements(true).await;
        let from = fs::metadata(&self.log).unwrap().len();
        self.create_tenant(slug);
        let log = fs::read(&self.log).unwrap();
        let log = String::from_utf8_lossy(&log[usize::try_from(from).unwrap()..]).into_owned();
        self.log_statements(false).await;
        let acts = capture::acts(&log);
        assert!(acts.len() > 10, "too little was captured:\n{log}");

        let id = self.ask(&format!("/v1/admin/tenants/{slug}")).await["id"].clone();
        let id = id.as_str().unwrap();
        let connections = format!("/v1/tenants/{id}/associations/{SERVICE}/connections");
        let connections = self.ask(&connections).await;
        let password = &connections["databases"][SERVICE]["postgresql"]["password"];
        Captured {
            acts,
            logins: Logins {
                admin: self.postgres.endpoint(),
                tenant_password: password.as_str().unwrap().to_owned(),
            },
            id: id.parse().unwrap(),
            slug: slug.parse().unwrap(),
        }
    }

    async fn ask(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.variable("MULTI_TENANT_URL"));
        let request = reqwest::Client::new().get(url);
        let key = self.variable("MULTI_TENANT_SERVICE_API_KEY");
        let answer = request.header("X-API-Key", key).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    fn variable(&self, name: &str) -> &str {
        self.variables[name].to_str().unwrap()
    }

    async fn log_statements(&self, on: bool) {
        let (statements, connections, prefix) = if on {
            ("all", "on", capture::LOG_LINE_PREFIX)
        } else {
            ("none", "off", "%m ")
        };
        for setting in [
            format!("log_statement = '{statements}'"),
            format!("log_connections = {connections}"),
            format!("log_line_prefix = '{prefix}'"),
        ] {
            let sql = format!("ALTER SYSTEM SET {setting}");
            self.admin.simple_query(&sql).await.unwrap();
        }
        self.admin
            .simple_query("SELECT pg_reload_conf()")
            .await
            .unwrap();
        // Sessions that are open take it over between two statements; new ones have it at once.
        while administrator(&self.postgres)
            .await
            .query_one("SHOW log_statement", &[])
            .await
            .unwrap()
            .get::<_, &str>(0)
            != statements
        {}
    }

    /// Writes out what earlier measurements left behind, so that each starts from the same.
    pub(crate) async fn settle(&self) {
        self.admin.simple_query("CHECKPOINT").await.unwrap();
    }

    /// Drops databases that the server knows nothing of, so that they do not fill the disk.
    pub(crate) async fn drop_databases(&self, prefix: &str) {
        let like = "SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1)";
        for row in self.admin.query(like, &[&prefix]).await.unwrap() {
            let sql = format!("DROP DATABASE \"{}\"", row.get::<_, &str>(0));
            self.admin.simple_query(&sql).await.unwrap();
        }
    }

    /// Runs the shell loop and returns its wall time.
    pub(crate) fn shell_loop(&self, count: usize) -> Duration {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/provision-peer.sh");
        let admin = self.postgres.endpoint();
        let start = Instant::now();
        let status = Command::new("bash")
            .arg(script)
            .arg(count.to_string())
            .env_clear()
            .envs(&self.variables)
            .env("PGHOST", &admin.host)
            .env("PGPORT", admin.port.to_string())
            .env("PGUSER", &admin.user)
            .env("PGPASSWORD", admin.password.as_ref().unwrap().expose())
            .env("PGDATABASE", &admin.database)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        let taken = start.elapsed();
        assert!(status.success(), "the shell loop failed");
        taken
    }
}

impl Captured {
    /// Returns the work for `count` other tenants.
    pub(crate) fn scripts(&self, prefix: &str, count: usize) -> Vec<Script> {
        (0..count)
            .map(|number| {
                let id: TenantId = uuid::Uuid::new_v4().simple().to_string().parse().unwrap();
                let slug: Slug = format!("{prefix}-{number}").parse().unwrap();
                Script::new(&self.acts, &self.renames(&id, &slug))
            })
            .collect()
    }

    fn renames(&self, id: &TenantId, slug: &Slug) -> Vec<(String, String)> {
        let service: ServiceName = SERVICE.parse().unwrap();
        let names = |id, slug| Names::make(id, slug, &service, SERVICE, IsolationMode::Database);
        let (old, new) = (names(&self.id, &self.slug), names(id, slug));
        let [old_first, old_second] = old.logins;
        let [new_first, new_second] = new.logins;
        let mut pairs = vec![
            (old.database, new.database),
            (old.owner, new.owner),
            (old_first, new_first),
            (old_second, new_second),
            (self.id.to_string(), id.to_string()),
            (self.slug.to_string(), slug.to_string()),
        ];
        // The longest first: a name may begin with another.
        pairs.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        pairs
    }
}

async fn administrator(postgres: &Postgres) -> Client {
    let endpoint = postgres.endpoint();
    let (client, connection) = tokio_postgres::Config::new()
        .host(&endpoint.host)
        .port(endpoint.port)
        .dbname(&endpoint.database)
        .user(&endpoint.user)
        .password(endpoint.password.as_ref().unwrap().expose())
        .connect(NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn variables(
    home: &Path,
    path: OsString,
    postgres: &Postgres,
    redis: &Redis,
) -> BTreeMap<&'static str, OsString> {
    let (admin, events) = (postgres.endpoint(), redis.endpoint());
    let key = Secret::generate();
    let url = format!(
        "postgres://{}:{}@{}:{}/{}?sslmode=disable",
        admin.user,
        admin.password.as_ref().unwrap().expose(),
        admin.host,
        admin.port,
        admin.database
    );
    BTreeMap::from([
        ("PATH", path),
        ("HOME", home.into()),
        ("LERIANCTL_SERVER_POSTGRES_URL", url.into()),
        (
            "LERIANCTL_SERVER_MASTER_KEY",
            Secret::generate().expose().into(),
        ),
        ("LERIANCTL_SERVER_SERVICE_KEY", key.expose().into()),
        ("MULTI_TENANT_SERVICE_API_KEY", key.expose().into()),
        ("MULTI_TENANT_REDIS_HOST", events.host.into()),
        ("MULTI_TENANT_REDIS_PORT", events.port.to_string().into()),
        (
            "MULTI_TENANT_REDIS_PASSWORD",
            events
                .password
                .as_ref()
                .map_or("", |secret| secret.expose())
                .into(),
        ),
    ])
}

/// Finds the server's address in its ready file.
fn url_in(ready: Value) -> Option<String> {
    match ready {
        Value::String(text) if text.starts_with("http://") => Some(text),
        Value::Object(fields) => fields.into_iter().find_map(|(_, value)| url_in(value)),
        _ => None,
    }
}
