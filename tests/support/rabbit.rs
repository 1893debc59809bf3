//! A real RabbitMQ for the tests, when it is installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lerianctl::devstack::temporary::TemporaryFolder;
use lerianctl::secret::{Secret, hex, random_bytes};

/// Starts the node and its own epmd, waits for the end of stdin, and ends both by their ids. `$1` is
/// the folder, `$2` the server, `$3` epmd.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
exec 9<&0
export HOME="$1"
"$3" -port "$ERL_EPMD_PORT" -address 127.0.0.1 >/dev/null 2>&1 </dev/null 9<&- &
epmd=$!
"$2" >"$1/out" 2>&1 </dev/null 9<&- &
server=$!
read -r line <&9
broker=$(cat "$1/pid" 2>/dev/null)
kill -KILL $broker "$server" 2>/dev/null
wait "$server" 2>/dev/null
kill -KILL "$epmd" 2>/dev/null
wait "$epmd" 2>/dev/null
rm -rf -- "$1/mnesia"
"#;

/// A node on loopback, with a cookie, ports and a name of its own, gone with this process.
pub(crate) struct Rabbit {
    pub(crate) amqp: u16,
    pub(crate) amqps: u16,
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) password: Secret,
    /// Closed with this process, which ends the node.
    _guardian: Child,
    _folder: TemporaryFolder,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

fn program(candidates: &[&str]) -> Option<PathBuf> {
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

impl Rabbit {
    /// Returns the node that all tests of this process share; says loudly when there is none.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Rabbit>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts a node for one test; says loudly when there is none.
    #[must_use]
    pub(crate) fn private() -> Option<Self> {
        Self::start()
    }

    fn start() -> Option<Self> {
        // The wrapper in PATH refuses to run as anybody but root or rabbitmq; this one does not.
        let server = program(&[
            "/usr/lib/rabbitmq/bin/rabbitmq-server",
            "/usr/local/sbin/rabbitmq-server",
            "/opt/homebrew/sbin/rabbitmq-server",
        ]);
        let epmd = program(&[
            "/usr/bin/epmd",
            "/usr/local/bin/epmd",
            "/opt/homebrew/bin/epmd",
        ]);
        let (Some(server), Some(epmd)) = (server, epmd) else {
            let _ = writeln!(
                std::io::stderr(),
                "\n!!! RabbitMQ is not installed: ITS TESTS ARE SKIPPED. Run scripts/prerequisites test\n"
            );
            return None;
        };
        Some(Self::run(&server, &epmd))
    }

    fn run(server: &Path, epmd: &Path) -> Self {
        let folder = TemporaryFolder::new(&std::env::temp_dir(), None).expect("a folder");
        let at = folder.path().display().to_string();
        let (amqp, amqps, http, https) = (free_port(), free_port(), free_port(), free_port());
        let password = Secret::generate();
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nlisteners.ssl.1 = 127.0.0.1:{amqps}\n\
             ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server-key.pem\n\
             ssl_options.verify = verify_none\nmanagement.tcp.port = {http}\n\
             management.tcp.ip = 127.0.0.1\nmanagement.ssl.port = {https}\n\
             management.ssl.ip = 127.0.0.1\nmanagement.ssl.certfile = {at}/server.pem\n\
             management.ssl.keyfile = {at}/server-key.pem\ndefault_user = admin\ndefault_pass = {}\n",
            password.expose()
        );
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("the folder is ours");
        };
        write("rabbitmq.conf", &settings);
        write("server.pem", include_str!("../certificates/server.pem"));
        write(
            "server-key.pem",
            include_str!("../certificates/server-key.pem"),
        );
        write(
            "enabled",
            "[rabbitmq_management,rabbitmq_shovel,rabbitmq_federation].",
        );
        write(".erlang.cookie", &hex(&random_bytes::<16>()));
        let cookie = folder.path().join(".erlang.cookie");
        let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o400);
        std::fs::set_permissions(cookie, only_us).expect("the file is ours");
        let guardian = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "lerianctl-rabbit", &at])
            .args([server, epmd])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", "lerianctl@localhost")
            .env("RABBITMQ_MNESIA_BASE", format!("{at}/mnesia"))
            .env("RABBITMQ_LOG_BASE", format!("{at}/log"))
            .env("RABBITMQ_CONFIG_FILE", format!("{at}/rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", format!("{at}/none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{at}/enabled"))
            .env("RABBITMQ_PID_FILE", format!("{at}/pid"))
            .env("RABBITMQ_DIST_PORT", free_port().to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("ERL_EPMD_PORT", free_port().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let rabbit = Self {
            amqp,
            amqps,
            http,
            https,
            password,
            _guardian: guardian,
            _folder: folder,
        };
        let limit = Instant::now() + Duration::from_mins(3);
        while !rabbit.answers() {
            let out = std::fs::read_to_string(format!("{at}/out")).unwrap_or_default();
            assert!(Instant::now() < limit, "RabbitMQ does not start: {out}");
            std::thread::sleep(Duration::from_millis(200));
        }
        rabbit
    }

    /// Returns true when the management interface answers; it starts after everything else.
    fn answers(&self) -> bool {
        let (http, password) = (self.http, self.password.clone());
        super::block_on(async move { call(http, &password, "GET", "whoami", None).await == 200 })
    }

    /// Returns the address of the management interface, with the login.
    pub(crate) fn url(&self) -> String {
        format!(
            "http://admin:{}@127.0.0.1:{}",
            self.password.expose(),
            self.http
        )
    }

    /// Returns its address over TLS, whose certificate is for `localhost`.
    pub(crate) fn secure_url(&self) -> String {
        format!(
            "https://admin:{}@localhost:{}",
            self.password.expose(),
            self.https
        )
    }

    /// Asks the management interface to change something.
    pub(crate) async fn change(&self, method: &str, path: &str, body: serde_json::Value) {
        let status = call(self.http, &self.password, method, path, Some(body)).await;
        assert!((200..300).contains(&status), "{method} {path}: {status}");
    }
}

async fn call(
    port: u16,
    password: &Secret,
    method: &str,
    path: &str,
    body: Option<serde_json::Value>,
) -> u16 {
    lerianctl::link::tls::install();
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let method = method.parse().expect("a method");
    let mut request = client
        .request(method, format!("http://127.0.0.1:{port}/api/{path}"))
        .basic_auth("admin", Some(password.expose()));
    if let Some(body) = body {
        request = request.json(&body);
    }
    request
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}
