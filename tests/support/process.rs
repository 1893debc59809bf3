//! `lerianctl server start` as a process of its own, to be killed.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lerianctl::link::postgres::PostgresEndpoint;
use lerianctl::link::redis::RedisEndpoint;
use lerianctl::secret::Secret;

use super::Sandbox;

/// The binary serving on a free loopback port, killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    room: Sandbox,
    flags: Vec<String>,
    child: Option<Child>,
    url: String,
    key: Secret,
    starts: u32,
    registry: [&'static str; 2],
}

impl ServerProcess {
    /// Starts the binary on `postgres` and `redis` with a new registry, and waits until it is
    /// ready.
    #[must_use]
    pub(crate) fn start(postgres: &PostgresEndpoint, redis: Option<&RedisEndpoint>) -> Self {
        Self::start_with(postgres, redis, &[])
    }

    /// As [`ServerProcess::start`], with further arguments at every start.
    #[must_use]
    pub(crate) fn start_with(
        postgres: &PostgresEndpoint,
        redis: Option<&RedisEndpoint>,
        arguments: &[&str],
    ) -> Self {
        Self::start_in(postgres, redis, |_| {
            let mut flags = vec!["--master-key-file".to_owned(), "master.key".to_owned()];
            flags.extend(arguments.iter().map(ToString::to_string));
            flags
        })
    }

    /// As [`ServerProcess::start`], in a room that `prepare` has seen, with the flags it returns,
    /// which tell where the master key is.
    #[must_use]
    pub(crate) fn start_in(
        postgres: &PostgresEndpoint,
        redis: Option<&RedisEndpoint>,
        prepare: impl FnOnce(&mut Sandbox) -> Vec<String>,
    ) -> Self {
        let registry = ["--registry", "registry.db"];
        Self::open(postgres, redis, Secret::generate(), registry, prepare)
    }

    /// Starts `count` of them on one registry, which is on `postgres` too.
    #[must_use]
    pub(crate) fn replicas(
        count: usize,
        postgres: &PostgresEndpoint,
        redis: Option<&RedisEndpoint>,
    ) -> Vec<Self> {
        let (key, master) = (Secret::generate(), Secret::generate());
        let registry = ["--registry-url-file", "postgres.url"];
        let flags = ["--master-key-file", "master.key"].map(str::to_owned);
        let start = |_| {
            Self::open(postgres, redis, key.clone(), registry, |room| {
                room.write("master.key", master.expose());
                flags.to_vec()
            })
        };
        (0..count).map(start).collect()
    }

    /// Starts one more on a registry that is on `postgres` too, with further arguments.
    #[must_use]
    pub(crate) fn replica_of(
        postgres: &PostgresEndpoint,
        key: &Secret,
        master: &Secret,
        arguments: &[&str],
    ) -> Self {
        let registry = ["--registry-url-file", "postgres.url"];
        Self::open(postgres, None, key.clone(), registry, |room| {
            room.write("master.key", master.expose());
            let mut flags = vec!["--master-key-file".to_owned(), "master.key".to_owned()];
            flags.extend(arguments.iter().map(ToString::to_string));
            flags
        })
    }

    fn open(
        postgres: &PostgresEndpoint,
        redis: Option<&RedisEndpoint>,
        key: Secret,
        registry: [&'static str; 2],
        prepare: impl FnOnce(&mut Sandbox) -> Vec<String>,
    ) -> Self {
        let mut room = Sandbox::new();
        let expose = |secret: &Option<Secret>| {
            let secret = secret.as_ref().expect("the test server has a password");
            secret.expose().to_owned()
        };
        room.write("api.key", key.expose());
        room.write("master.key", Secret::generate().expose());
        let mut url = url::Url::parse("postgres://localhost").expect("a URL");
        url.set_host(Some(&postgres.host)).expect("a host");
        url.set_port(Some(postgres.port)).expect("a port");
        url.set_username(&postgres.user).expect("a user");
        url.set_password(Some(&expose(&postgres.password)))
            .expect("a password");
        url.set_path(&postgres.database);
        url.set_query(Some("sslmode=disable"));
        room.write("postgres.url", url.as_str());
        if let Some(redis) = redis {
            room.set("MULTI_TENANT_REDIS_HOST", &redis.host);
            room.set("MULTI_TENANT_REDIS_PORT", redis.port.to_string());
            room.set("MULTI_TENANT_REDIS_PASSWORD", expose(&redis.password));
        }
        let flags = prepare(&mut room);
        let mut process = Self {
            room,
            flags,
            child: None,
            url: String::new(),
            key,
            starts: 0,
            registry,
        };
        process.restart();
        process
    }

    /// Starts the binary again on the same registry and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.restart_on("127.0.0.1:0");
    }

    /// As [`ServerProcess::restart`], at the address that it had before.
    pub(crate) fn restart_here(&mut self) {
        let url = url::Url::parse(&self.url).expect("a URL");
        let port = url.port().expect("a port");
        self.restart_on(&format!("127.0.0.1:{port}"));
    }

    fn restart_on(&mut self, listen: &str) {
        assert!(self.child.is_none(), "the process still runs");
        self.starts += 1;
        let ready = self.room.home().join(format!("ready-{}.json", self.starts));
        let log = self.room.home().join(format!("log-{}.txt", self.starts));
        let child = self
            .room
            .command([
                "server",
                "start",
                "--listen",
                listen,
                "--service-key-file",
                "api.key",
                "--postgres-url-file",
                "postgres.url",
                "--ready-file",
            ])
            .arg(&ready)
            .args(self.registry)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file can be made"))
            .spawn()
            .expect("the binary can be run");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_mins(1);
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break text;
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().expect("a child can be waited for"));
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", said());
            assert!(Instant::now() < deadline, "never ready\n{}", said());
            std::thread::sleep(Duration::from_millis(10));
        };
        let ready: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        self.url.clear();
        self.url.push_str(ready["server"].as_str().expect("a URL"));
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to end, waits, and returns its exit status.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the process runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it takes TERM");
        child.wait().expect("a child can be waited for").code()
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sets a variable from the next start on.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.room.set(name, value);
    }

    /// Gives other flags from the next start on, which tell where the master key is.
    pub(crate) fn set_flags(&mut self, flags: Vec<String>) {
        self.flags = flags;
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// Returns the API key.
    pub(crate) fn api_key(&self) -> &Secret {
        &self.key
    }

    /// Returns the folder with registry, keys and logs.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.room.home()
    }

    /// Returns a room whose calls reach this server.
    #[must_use]
    pub(crate) fn room(&self) -> Sandbox {
        let mut room = Sandbox::new()
            .with("LERIANCTL_SERVER", &self.url)
            .with("LERIANCTL_API_KEY", self.key.expose());
        room.name(&self.url, "SERVER");
        room
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
