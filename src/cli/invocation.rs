//! What verbs receive: resolved configuration, clients, console; no globals.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::environment::Environment;
use super::failure::{Failure, Kind};
use super::globals::{ColorChoice, Globals, OutputFormat};
use crate::client::TenantManager;
use crate::config::system::SystemSecrets;
use crate::config::{
    self, ConfigInput, Key, Problem, Resolved, SecretReference, SecretSource as _,
};
use crate::output::{Console, Format, Report};
use crate::secret::Secret;

/// Largest secret that is read from a file or from standard input.
const SECRET_BYTES: u64 = 64 * 1024;
/// Largest file of variables.
const ENV_FILE_BYTES: u64 = 1024 * 1024;
/// Longest time that a program may take to give a secret.
const SECRET_PROGRAM_DEADLINE: Duration = Duration::from_secs(30);

/// One call of the command line.
pub struct Invocation {
    /// Surroundings.
    pub environment: Environment,
    /// Global flags.
    pub globals: Globals,
    /// Where the result and everything else goes.
    pub console: Console,
    /// The call as typed, quoted for a shell, for hints.
    pub command_line: String,
    completing: bool,
    problem: Option<Failure>,
    begun: Instant,
    deadline: Option<Duration>,
    resolved: OnceCell<Result<Resolved, Failure>>,
    secrets: OnceCell<SystemSecrets>,
    manager: OnceCell<TenantManager>,
    runtime: OnceCell<tokio::runtime::Runtime>,
    stdin_taken: std::cell::Cell<bool>,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation")
            .field("command_line", &self.command_line)
            .finish_non_exhaustive()
    }
}

impl Invocation {
    /// Prepares a call; reads no file.
    ///
    /// `completing` keeps everything quiet and runs no program for a secret.
    pub fn new(
        environment: Environment,
        globals: Globals,
        command_line: String,
        completing: bool,
    ) -> Self {
        let mut problem = None;
        let format = match (globals.output, environment.variable("LERIANCTL_OUTPUT")) {
            (Some(format), _) => format,
            (None, Some(text)) => <OutputFormat as clap::ValueEnum>::from_str(text, false)
                .unwrap_or_else(|_| {
                    problem = Some(bad_variable(
                        "LERIANCTL_OUTPUT",
                        text,
                        "table, json, jsonl, yaml, csv or name",
                    ));
                    OutputFormat::Table
                }),
            (None, None) => OutputFormat::Table,
        };
        let format = match format {
            OutputFormat::Table => Format::Table,
            OutputFormat::Json => Format::Json,
            OutputFormat::Jsonl => Format::Jsonl,
            OutputFormat::Yaml => Format::Yaml,
            OutputFormat::Csv => Format::Csv,
            OutputFormat::Name => Format::Name,
        };
        let deadline = globals.timeout.or_else(|| {
            let text = environment.variable("LERIANCTL_TIMEOUT")?;
            super::globals::duration(text)
                .inspect_err(|rule| {
                    problem = Some(bad_variable("LERIANCTL_TIMEOUT", text, rule));
                })
                .ok()
        });
        let color = |terminal: bool| match globals.color {
            Some(ColorChoice::Always) => true,
            Some(ColorChoice::Never) => false,
            Some(ColorChoice::Auto) | None => {
                if environment.variable("NO_COLOR").is_some() {
                    false
                } else if environment
                    .variable("CLICOLOR_FORCE")
                    .is_some_and(|value| value != "0")
                {
                    true
                } else {
                    terminal && environment.variable("TERM") != Some("dumb")
                }
            }
        };
        let interactive = environment.stderr_terminal
            && environment.variable("CI").is_none()
            && format == Format::Table;
        let console = Console {
            format,
            columns: globals.columns.clone(),
            headers: !globals.no_headers,
            width: environment.width,
            color_out: color(environment.stdout_terminal),
            color_err: color(environment.stderr_terminal),
            quiet: globals.quiet || completing,
            animate: interactive && !globals.quiet && !completing,
            lock: std::sync::Mutex::default(),
        };
        Self {
            environment,
            globals,
            console,
            command_line,
            completing,
            problem,
            begun: Instant::now(),
            deadline,
            resolved: OnceCell::new(),
            secrets: OnceCell::new(),
            manager: OnceCell::new(),
            runtime: OnceCell::new(),
            stdin_taken: std::cell::Cell::new(false),
        }
    }

    /// Fails when a variable for the call itself is malformed, and starts the log when wanted.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        super::log::start(self)
    }

    /// Returns true when the operator can be asked.
    pub fn may_prompt(&self) -> bool {
        self.environment.stdin_terminal
            && self.environment.stderr_terminal
            && self.console.format == Format::Table
            && !self.no_input()
    }

    fn no_input(&self) -> bool {
        let set = |name| {
            self.environment
                .variable(name)
                .is_some_and(|value| !matches!(value, "0" | "false"))
        };
        self.globals.no_input || set("LERIANCTL_NO_INPUT") || set("CI")
    }

    /// Returns the resolved configuration.
    pub fn config(&self) -> Result<&Resolved, Failure> {
        self.resolved
            .get_or_init(|| self.resolve())
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Returns the path of the config file and where it comes from.
    pub fn config_path(&self) -> config::Value<PathBuf> {
        config::config_path(
            self.globals.config.clone(),
            &self.environment.text_variables(),
            self.environment
                .config_folder()
                .unwrap_or_default()
                .join("config.toml"),
        )
    }

    /// Returns what `~/` stands for in the config file.
    pub fn home(&self) -> Option<PathBuf> {
        directories::BaseDirs::new().map(|base| base.home_dir().to_owned())
    }

    /// Reads every layer of the configuration.
    pub fn config_input(&self) -> Result<ConfigInput, Failure> {
        let path = self.config_path();
        let config_file = config::store::read(&path.value)?;
        if config_file.is_none() && path.origin != config::Origin::Default {
            return Err(Failure::new(
                Kind::Usage,
                "config.unreadable",
                format!(
                    "the config file `{}` ({}) does not exist",
                    path.value.display(),
                    path.origin
                ),
            )
            .hint_command("make one", "lerianctl config init"));
        }
        let mut env_files = Vec::new();
        for file in &self.globals.env_file {
            let bytes = self.read_input(file, ENV_FILE_BYTES, "the variables")?;
            env_files.push((file.clone(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(ConfigInput {
            flags: self.flags(),
            variables: self.environment.text_variables(),
            env_files,
            config_file,
            home: self.home(),
        })
    }

    fn resolve(&self) -> Result<Resolved, Failure> {
        let resolved = Resolved::resolve(&self.config_input()?)
            .map_err(|problems| problems_failure(&problems))?;
        if !self.console.quiet {
            for warning in resolved.warnings() {
                self.console.warn(&warning.message);
            }
        }
        Ok(resolved.with_config_path(self.config_path()))
    }

    fn flags(&self) -> BTreeMap<Key, String> {
        let globals = &self.globals;
        let mut flags = BTreeMap::new();
        let mut put = |key, value: Option<String>| {
            if let Some(value) = value {
                flags.insert(key, value);
            }
        };
        put(Key::Context, globals.context.clone());
        put(Key::Server, globals.server.clone());
        for (key, path) in [
            (Key::ApiKey, &globals.api_key_file),
            (Key::CaFile, &globals.ca_file),
            (Key::ClientCertificateFile, &globals.client_certificate_file),
            (Key::ClientKeyFile, &globals.client_key_file),
        ] {
            put(key, path.as_ref().map(|path| path.display().to_string()));
        }
        put(Key::Output, globals.output.as_ref().and_then(word_of));
        put(Key::Color, globals.color.as_ref().and_then(word_of));
        let time = globals.timeout.map(jiff::SignedDuration::try_from);
        put(
            Key::Timeout,
            time.and_then(Result::ok).map(|it| format!("{it:#}")),
        );
        put(Key::NoInput, globals.no_input.then(|| "true".to_owned()));
        flags
    }

    /// Returns what turns secret references into secrets.
    pub fn secrets(&self) -> &SystemSecrets {
        self.secrets.get_or_init(|| {
            SystemSecrets::new(self.environment.text_variables(), SECRET_PROGRAM_DEADLINE)
        })
    }

    /// Returns a Tenant Manager client for the resolved server.
    pub fn tenant_manager(&self) -> Result<TenantManager, Failure> {
        if let Some(manager) = self.manager.get() {
            return Ok(manager.clone());
        }
        let settings = self.client_settings()?;
        let manager = TenantManager::new(settings)?;
        Ok(self.manager.get_or_init(|| manager).clone())
    }

    /// Returns the URL of the Tenant Manager.
    pub fn server(&self) -> Result<url::Url, Failure> {
        let server = self.config()?.server()?.map(|server| server.value);
        server.ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "config.no_server",
                "no Tenant Manager is configured",
            )
            .hint_command("start a private one", "lerianctl dev up --detach")
            .hint("or name one with `--server URL`, `LERIANCTL_SERVER`, or a context in the config file")
        })
    }

    /// Returns how the Tenant Manager is reached, as the configuration says: with the API key,
    /// the token of `auth login`, or both.
    pub fn client_settings(&self) -> Result<crate::client::ClientSettings, Failure> {
        let config = self.config()?;
        let server = self.server()?;
        // Pressing TAB must not renew anything.
        let bearer = if self.completing {
            None
        } else {
            super::auth::store::token(self, &server)?
        };
        let api_key = match config.api_key() {
            Some(reference) => self.api_key(&reference.value)?,
            None if bearer.is_some() => Secret::default(),
            None => {
                return Err(Failure::new(
                    Kind::Auth,
                    "auth.no_key",
                    format!("there is no API key for {server}"),
                )
                .hint("give one with `--api-key-file FILE`, `LERIANCTL_API_KEY_FILE`, or `api-key` in the context")
                .hint_command("or log in with the Access Manager", "lerianctl auth login --help"));
            }
        };
        let tls = config.server_tls(self.secrets())?;
        if server.scheme() == "http" && tls.says_something() && !self.console.quiet {
            self.console.warn(format!(
                "certificates are configured, and {server} does not speak TLS"
            ));
        }
        let mut settings = crate::client::ClientSettings::new(server, api_key);
        settings.bearer = bearer;
        settings.ca_pem = tls.ca_pem;
        settings.identity = tls.identity;
        settings.timeout = config.client_timeout()?.value;
        settings.deadline = self.remaining();
        // Pipelines that are traced pass their span on in these.
        settings.trace = self
            .environment
            .variable("TRACEPARENT")
            .and_then(crate::link::trace::TraceContext::parse)
            .map(|trace| {
                trace.with_state(self.environment.variable("TRACESTATE").unwrap_or_default())
            });
        settings.breaker.threshold = config.breaker_threshold()?.value;
        settings.breaker.open_for = config.breaker_timeout()?.value;
        Ok(settings)
    }

    fn api_key(&self, reference: &SecretReference) -> Result<Secret, Failure> {
        match reference {
            // Pressing TAB must not start programs, nor take what is typed next.
            SecretReference::Command { .. } | SecretReference::Stdin if self.completing => {
                return Err(Failure::new(
                    Kind::Auth,
                    "auth.no_key",
                    "not while completing",
                ));
            }
            SecretReference::Stdin => self.take_stdin()?,
            _ => {}
        }
        Ok(self.secrets().reveal(reference)?)
    }

    /// Says on standard error what is about to be changed, where, and with whose key.
    pub fn target_line(&self, command: &str, target: &str) -> Result<(), Failure> {
        let config = self.config()?;
        if let Some(conflict) = config.write_conflict() {
            return Err(Failure::new(
                Kind::Usage,
                "config.two_servers",
                conflict.to_string(),
            ));
        }
        let mut parts = vec![format!("{command} {target}")];
        if let Some(context) = config.context() {
            parts.push(format!("context {}", context.name.value));
        }
        if let Some(server) = config.server()? {
            parts.push(server.value.to_string().trim_end_matches('/').to_owned());
        }
        if let Some(key) = config.api_key() {
            parts.push(format!("API key from {}", key.origin));
        }
        self.console.status(parts.join(" · "));
        Ok(())
    }

    /// Returns the name of the context in use when it is protected.
    pub fn protected_context(&self) -> Result<Option<String>, Failure> {
        Ok(self
            .config()?
            .context()
            .filter(|context| context.protected)
            .map(|context| context.name.value))
    }

    /// Returns the time that is left of `--timeout`.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_sub(self.begun.elapsed()))
    }

    /// Runs a future to its end, to the deadline, or to the first signal.
    pub fn block_on<T, E, F>(&self, future: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, E>>,
        Failure: From<E>,
    {
        let runtime = if let Some(runtime) = self.runtime.get() {
            runtime
        } else {
            let built = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| {
                    Failure::new(Kind::Internal, "internal", "no runtime could be started")
                        .cause(error)
                })?;
            self.runtime.get_or_init(|| built)
        };
        let remaining = self.remaining();
        runtime.block_on(async {
            tokio::select! {
                result = future => result.map_err(Failure::from),
                failure = signalled() => Err(failure),
                () = sleep(remaining) => Err(self.too_late()),
            }
        })
    }

    fn too_late(&self) -> Failure {
        let seconds = self.deadline.unwrap_or_default().as_secs_f64();
        Failure::new(
            Kind::Deadline,
            "deadline.passed",
            format!("the deadline of {seconds} s passed"),
        )
        .hint("give more time with `--timeout`")
    }

    /// Reads a secret from a file, or from standard input for `-`; one trailing line feed does
    /// not count.
    pub fn read_secret(&self, path: &Path, what: &str) -> Result<Secret, Failure> {
        let bytes = self.read_input(path, SECRET_BYTES, what)?;
        let mut text = String::from_utf8(bytes).map_err(|_| {
            Failure::new(
                Kind::Usage,
                "input.not_text",
                format!("{what} in `{}` is not UTF-8 text", path.display()),
            )
        })?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(Secret::new(text))
    }

    /// Reads a file, or standard input for `-`, of at most `limit` bytes.
    pub fn read_input(&self, path: &Path, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Kind::Usage,
                "input.unreadable",
                format!("{what} cannot be read from `{}`", path.display()),
            )
            .cause(error)
        };
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            self.take_stdin()?;
            if self.environment.stdin_terminal {
                return Err(Failure::new(
                    Kind::Usage,
                    "input.no_pipe",
                    format!("{what} is to come from standard input, but that is a terminal"),
                )
                .hint("pipe it in, or name a file"));
            }
            std::io::stdin()
                .lock()
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(failed)?;
        } else {
            std::fs::File::open(path)
                .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
                .map_err(failed)?;
        }
        if bytes.len() as u64 > limit {
            return Err(Failure::new(
                Kind::Usage,
                "input.too_large",
                format!("{what} in `{}` has more than {limit} bytes", path.display()),
            ));
        }
        Ok(bytes)
    }

    fn take_stdin(&self) -> Result<(), Failure> {
        if self.stdin_taken.replace(true) {
            return Err(Failure::new(
                Kind::Usage,
                "input.stdin_twice",
                "standard input (`-`) can be read only once in a call",
            ));
        }
        Ok(())
    }

    /// Prints the outcome of a verb and returns the exit status.
    pub fn emit<R: Report>(&self, outcome: Result<R, Failure>) -> u8 {
        match outcome {
            Ok(report) => match self.console.result(&report) {
                Ok(()) if report.ok() => 0,
                Ok(()) => 3,
                Err(reason) => self.fail(&Failure::new(Kind::Usage, "output.columns", reason)),
            },
            Err(failure) => self.fail(&failure),
        }
    }

    /// Like [`Invocation::emit`] for a verb that printed its own result.
    pub fn emit_or_done(&self, outcome: Result<(), Failure>) -> u8 {
        match outcome {
            Ok(()) => 0,
            Err(failure) => self.fail(&failure),
        }
    }

    /// Prints a failure and returns its exit status.
    pub fn fail(&self, failure: &Failure) -> u8 {
        if self.completing && self.command_line.is_empty() {
            return failure.kind.exit_status();
        }
        if self.console.format.is_document() {
            self.console.document(&failure.document(&self.target()));
        }
        self.console.err(&failure.human(self.console.color_err));
        failure.kind.exit_status()
    }

    /// Returns what is known of the target without reading anything new.
    fn target(&self) -> Value {
        let Some(Ok(config)) = self.resolved.get() else {
            return Value::Null;
        };
        json!({
            "context": config.context().map(|context| context.name.value),
            "server": config.server().ok().flatten().map(|server| server.value.to_string()),
        })
    }
}

impl Globals {
    /// Returns flags for a completion call.
    pub fn for_completion(deadline: Duration) -> Self {
        Self {
            timeout: Some(deadline),
            ..Self::plain()
        }
    }

    /// Returns flags of a call without any.
    pub fn plain() -> Self {
        Self {
            context: None,
            config: None,
            server: None,
            api_key_file: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            env_file: Vec::new(),
            output: None,
            columns: Vec::new(),
            no_headers: false,
            color: None,
            quiet: false,
            verbose: 0,
            log_format: super::globals::LogFormat::Text,
            no_input: false,
            timeout: None,
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        problems_failure(&[problem])
    }
}

/// All problems in one answer: the first is the failure, the others follow it.
fn problems_failure(problems: &[Problem]) -> Failure {
    let Some(first) = problems.first() else {
        return Failure::new(
            Kind::Internal,
            "internal",
            "a problem without a description",
        );
    };
    let mut failure = Failure::new(Kind::Usage, first.code, &first.message);
    for problem in &problems[1..] {
        failure = failure.cause(format!("also: {}", problem.message));
    }
    for hint in problems.iter().filter_map(|problem| problem.hint.as_ref()) {
        failure = failure.hint(hint);
    }
    failure
}

/// Returns the word that stands for a value on the command line.
fn word_of(value: &impl clap::ValueEnum) -> Option<String> {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
}

fn bad_variable(name: &str, text: &str, rule: &str) -> Failure {
    Failure::new(
        Kind::Usage,
        "config.invalid_value",
        format!(
            "`{}` is not valid for variable {name}: {rule}",
            crate::output::view::one_line(text)
        ),
    )
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn signalled() -> Failure {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = tokio::signal::ctrl_c() => interrupted(),
                _ = terminate.recv() => Failure::new(
                    Kind::Terminated, "signal.terminated", "told to stop (TERM)"),
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    interrupted()
}

fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "signal.interrupted", "interrupted")
}

/// Returns the call as typed, quoted for a shell.
pub fn command_line(args: &[OsString]) -> String {
    let words = args.iter().enumerate().map(|(at, arg)| {
        let text = arg.to_string_lossy().replace('\0', "");
        if at == 0 {
            "lerianctl".to_owned()
        } else {
            text
        }
    });
    let words: Vec<String> = words.collect();
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

/// Returns the folder of the development stack.
pub fn development_folder(run: &Invocation, given: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    given
        .cloned()
        .or_else(|| {
            run.environment
                .data_folder()
                .map(|folder| folder.join("dev"))
        })
        .ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "input.no_home",
                "there is no home folder to keep data in",
            )
            .hint("name a folder with `--data DIR`")
        })
}

/// Makes a panic say what to report, without data and without a backtrace.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        let text = format!(
            "error[internal]: lerianctl {} on {}-{} met a bug at {place}\n  hint: please report it with this line and what you did",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            std::env::consts::OS,
        );
        crate::output::console::last_words(&text);
    }));
}
