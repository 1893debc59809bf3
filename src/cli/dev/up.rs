//! `lerianctl dev up`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;

use super::DataArgs;
use super::env::ENVIRONMENT;
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::cli::server::run::{Announce, bind, runtime, say_ready, told_to_stop};
use crate::cli::token::mint::stack_key;
use crate::contract::catalogue::Catalogue;
use crate::devstack::stack::{self, Incident, Stack, StackSettings};
use crate::link::postgres::PostgresEndpoint;
use crate::link::redis::RedisEndpoint;
use crate::provision::Cluster;
use crate::server::{Limits, RegistryPlace, ServerSettings, serve};

/// Where the Tenant Manager of Lerian's own examples listens.
const PORT: u16 = 4003;
/// Longest time for a detached stack to become ready when `--timeout` says nothing.
const PATIENCE: Duration = Duration::from_mins(2);

/// Start the stack: PostgreSQL, Redis and a Tenant Manager, on loopback
///
/// Not for production. Data stays between starts; Ctrl-C stops everything. PostgreSQL and Redis
/// are started from the programs installed on this machine, on free ports; those that already
/// run are never touched.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl dev up\n  lerianctl dev up --detach && eval \"$(lerianctl dev env)\"\n  lerianctl dev up --redis-url redis://127.0.0.1:6379"
)]
pub struct UpArgs {
    #[command(flatten)]
    data: DataArgs,

    /// Return once everything answers, and leave the stack running
    #[arg(long)]
    detach: bool,

    /// Port of the Tenant Manager [default: that of the last run, 4003, or a free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// A PostgreSQL to use instead of a private one, without a password in it
    #[arg(long, value_name = "URL", conflicts_with = "postgres_url_file")]
    postgres_url: Option<String>,

    /// File with the URL of a PostgreSQL to use instead of a private one
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Option<PathBuf>,

    /// A Redis to use instead of a private one, without a password in it
    #[arg(long, value_name = "URL", conflicts_with = "redis_url_file")]
    redis_url: Option<String>,

    /// File with the URL of a Redis to use instead of a private one
    #[arg(long, value_name = "FILE")]
    redis_url_file: Option<PathBuf>,

    /// Folder with PostgreSQL's programs [default: found on PATH and in the usual folders]
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,

    /// How long a retired login stays valid after a rotation
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    rotation_grace: Duration,

    /// File that is written once everything answers: addresses as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Set by `--detach` for the process that stays
    #[arg(long, hide = true)]
    detached: bool,
}

/// Starts the stack and returns when it has stopped, or when it is ready with `--detach`.
pub fn up(run: &Invocation, args: &UpArgs) -> Result<(), Failure> {
    let data = args.data.folder(run)?;
    if args.detach {
        return detach(run, args, &data);
    }
    if args.detached {
        // A session of its own: closing the terminal does not end the stack.
        let _ = rustix::process::setsid();
    }
    crate::cli::log::start_development(run)?;
    let settings = StackSettings {
        path: run.environment.raw("PATH").cloned().unwrap_or_default(),
        durable: true,
        postgres_bin: args.postgres_bin.clone(),
        postgres: existing(
            run,
            ("--postgres-url", args.postgres_url.as_deref()),
            args.postgres_url_file.as_ref(),
        )?
        .map(|url| PostgresEndpoint::parse_url(&url))
        .transpose()?,
        redis: existing(
            run,
            ("--redis-url", args.redis_url.as_deref()),
            args.redis_url_file.as_ref(),
        )?
        .map(|url| RedisEndpoint::parse_url(&url))
        .transpose()?,
    };
    runtime()?.block_on(foreground(run, args, &data, settings))
}

/// Returns the URL of an existing server, when one is to be used.
fn existing(
    run: &Invocation,
    (flag, url): (&str, Option<&str>),
    file: Option<&PathBuf>,
) -> Result<Option<String>, Failure> {
    if let Some(path) = file {
        let secret = run.read_secret(path, "the URL")?;
        return Ok(Some(secret.expose().to_owned()));
    }
    let Some(url) = url else {
        return Ok(None);
    };
    let secret = url::Url::parse(url).is_ok_and(|url| url.password().is_some());
    if secret {
        return Err(Failure::new(
            Kind::Usage,
            "input.secret_in_argument",
            format!("the URL of `{flag}` holds a password, which everybody on this machine could read in the process list"),
        )
        .hint(format!("put the URL into a file and give it with `{flag}-file FILE`")));
    }
    Ok(Some(url.to_owned()))
}

async fn foreground(
    run: &Invocation,
    args: &UpArgs,
    data: &Path,
    settings: StackSettings,
) -> Result<(), Failure> {
    let mut stack = Stack::open(data, settings)?;
    run.console
        .status("a private stack for trying things, not for production");
    let connections = tokio::select! {
        started = stack.start() => started?.clone(),
        () = told_to_stop() => return Ok(()),
    };
    let listener = listener(args.port, stack.previous_server().as_deref()).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::from(crate::server::ServerError::from(error)))?;
    let settings = server_settings(args, &stack, &connections)?;
    let url = format!("http://{address}");
    let announce = Announce {
        ready_file: args.ready_file.clone(),
        extra: vec![
            ("postgres", connections.postgres.address()),
            ("redis", connections.redis.address()),
            ("environment", ENVIRONMENT.to_owned()),
            ("data", data.display().to_string()),
        ],
    };
    let ready = Arc::clone(&settings.ready);
    let server = serve(listener, settings, told_to_stop());
    tokio::pin!(server);
    let early = tokio::select! {
        ended = &mut server => Some(ended),
        () = ready.notified() => None,
    };
    let ended = if let Some(ended) = early {
        ended
    } else {
        stack.announce(Some(&url))?;
        say_ready(run, &url, &announce)?;
        tokio::select! {
            ended = &mut server => ended,
            () = stack.supervise(|incident| report(run, &incident)) => Ok(()),
        }
    };
    let stopped = stack.stop().await;
    ended?;
    stopped?;
    Ok(())
}

fn report(run: &Invocation, incident: &Incident) {
    match incident {
        Incident::Ended { server, how } => {
            run.console
                .warn(format!("{server} ended ({how}); starting it again"));
        }
        Incident::Restarted { server } => run.console.status(format!("{server} runs again")),
        Incident::Failed {
            server,
            reason,
            pause,
        } => run.console.warn(format!(
            "{server} could not be started ({reason}); once more in {} s",
            pause.as_secs_f32()
        )),
    }
}

/// Binds the port asked for, or that of the last run, or the usual one, or any free one.
async fn listener(port: Option<u16>, previous: Option<&str>) -> Result<TcpListener, Failure> {
    let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = port {
        return bind(on(port)).await;
    }
    let previous = previous
        .and_then(|url| url::Url::parse(url).ok())
        .and_then(|url| url.port());
    for port in previous.into_iter().chain([PORT]) {
        if let Ok(listener) = TcpListener::bind(on(port)).await {
            return Ok(listener);
        }
    }
    bind(on(0)).await
}

fn server_settings(
    args: &UpArgs,
    stack: &Stack,
    connections: &stack::Connections,
) -> Result<ServerSettings, Failure> {
    let keys = stack.keys();
    let signing = stack_key(keys)?;
    let postgres = &connections.postgres;
    Ok(ServerSettings {
        registry: RegistryPlace::Sqlite(stack.home().registry().join("registry.db")),
        master_key: keys.master_key()?.into(),
        previous_master_key: None,
        api_keys: vec![keys.api_key()?],
        clusters: vec![Cluster {
            name: "main".into(),
            public_host: postgres.host.clone(),
            public_port: postgres.port,
            public_sslmode: match postgres.sslmode.as_str() {
                "prefer" | "allow" => String::new(),
                other => other.to_owned(),
            },
            admin: postgres.clone(),
        }],
        event_redis: Some(connections.redis.clone()),
        catalogue: Catalogue::default(),
        development_jwks: Some(signing.jwks()),
        rotation_grace: args.rotation_grace,
        jobs: 4,
        drain: Duration::from_secs(5),
        access: crate::server::AccessSettings::default(),
        limits: Limits::default(),
        tls: None,
        isolation: None,
        ready: Arc::default(),
    })
}

/// Starts a process that stays, and returns when it is ready.
fn detach(run: &Invocation, args: &UpArgs, data: &Path) -> Result<(), Failure> {
    let internal = |what: &str, error: std::io::Error| {
        Failure::new(Kind::Internal, "internal", format!("{what} failed")).cause(error)
    };
    let running = run
        .block_on(stack::status(data))?
        .filter(|status| status.running && status.ready);
    if let Some(status) = running {
        run.console
            .status("the development stack runs already; nothing was changed");
        let ready = already(&status);
        if let Some(path) = &args.ready_file {
            crate::config::store::write_private(path, &format!("{ready}\n"))
                .map_err(|error| internal("writing the ready file", error))?;
        }
        show_ready(run, &ready);
        return Ok(());
    }
    let folder = tempfile::tempdir().map_err(|error| internal("making a folder", error))?;
    let ready = args
        .ready_file
        .clone()
        .unwrap_or_else(|| folder.path().join("ready.json"));
    let _ = std::fs::remove_file(&ready);
    let said = folder.path().join("said.txt");
    let file = || {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(&said)
    };
    let program =
        std::env::current_exe().map_err(|error| internal("finding this program", error))?;
    let mut command = Command::new(program);
    command
        .args(["dev", "up", "--detached", "--data"])
        .arg(data)
        .arg("--ready-file")
        .arg(&ready)
        .args(["--color", "never"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file().map_err(|error| internal("making a file", error))?);
    pass_on(args, &mut command);
    let mut child = command
        .spawn()
        .map_err(|error| internal("starting a process", error))?;
    let patience = run.remaining().unwrap_or(PATIENCE);
    let begun = std::time::Instant::now();
    loop {
        if ready.exists() {
            break;
        }
        if let Some(status) = child
            .try_wait()
            .map_err(|error| internal("waiting", error))?
        {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            return Err(ended_early(status.code(), &text));
        }
        if begun.elapsed() > patience {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::TERM,
            );
            let _ = child.wait();
            return Err(Failure::new(
                Kind::Deadline,
                "deadline.passed",
                format!(
                    "the development stack was not ready within {} s and was stopped",
                    patience.as_secs()
                ),
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(&ready).unwrap_or_default();
    let ready: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    show_ready(run, &ready);
    Ok(())
}

/// Returns what a stack that runs already would have announced.
fn already(status: &stack::Status) -> serde_json::Value {
    let address = |server: &Option<stack::ServerStatus>| {
        let server = server.as_ref()?;
        Some(format!("{}:{}", server.host, server.port))
    };
    crate::output::document::wrap(
        "Ready",
        serde_json::json!({
            "server": status.server,
            "pid": status.supervisor,
            "postgres": address(&status.postgres),
            "redis": address(&status.redis),
            "environment": ENVIRONMENT,
            "data": status.data,
        }),
    )
}

/// Gives the process that stays what was asked of this one.
fn pass_on(args: &UpArgs, command: &mut Command) {
    let mut put = |flag: &str, value: Option<&std::ffi::OsStr>| {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.as_os_str().to_owned());
    put(
        "--postgres-url",
        args.postgres_url.as_ref().map(AsRef::as_ref),
    );
    put("--redis-url", args.redis_url.as_ref().map(AsRef::as_ref));
    put(
        "--postgres-url-file",
        path(&args.postgres_url_file).as_deref(),
    );
    put("--redis-url-file", path(&args.redis_url_file).as_deref());
    put("--postgres-bin", path(&args.postgres_bin).as_deref());
    let port = args.port.map(|port| port.to_string());
    put("--port", port.as_ref().map(AsRef::as_ref));
    let grace = format!("{}s", args.rotation_grace.as_secs().max(1));
    put("--rotation-grace", Some(grace.as_ref()));
}

/// The failure of a process that ended before it was ready: what it said itself.
fn ended_early(status: Option<i32>, text: &str) -> Failure {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().rposition(|line| line.starts_with("error["));
    let told = lines[start.unwrap_or(lines.len().saturating_sub(5))..].join("\n");
    let kind = match status {
        Some(2) => Kind::Usage,
        Some(4) => Kind::Auth,
        Some(6) => Kind::Conflict,
        Some(7) => Kind::Unavailable,
        _ => Kind::Internal,
    };
    Failure::new(kind, "dev.failed", "the development stack did not start").cause(told)
}

fn show_ready(run: &Invocation, ready: &serde_json::Value) {
    if run.console.format == crate::output::Format::Table {
        let mut view = crate::output::View::new(run.console.width, run.console.color_out);
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        view.fields(&[
            ("server", text("server")),
            ("postgres", text("postgres")),
            ("redis", text("redis")),
            ("environment", text("environment")),
            ("data", text("data")),
        ])
        .plain("ready")
        .line();
        run.console.out(&view.into_text());
    } else {
        run.console.document(ready);
    }
}
