//! A login, kept in a private file per Tenant Manager, and renewed before it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access::{AccessManager, Grant, Tokens};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::store::write_private;
use crate::secret::{Secret, sha256_hex};

/// A token that ends sooner than this is renewed first.
const EARLY: SignedDuration = SignedDuration::from_secs(60);
/// Life of a token whose answer does not say.
const SHORT: u64 = 300;

/// A login. Holds tokens, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    /// The Tenant Manager that it is for: the token is sent nowhere else.
    pub server: String,
    /// The Access Manager that gave it.
    pub access_manager: String,
    /// Person, for the password grant.
    pub username: Option<String>,
    /// Application, for client credentials.
    pub client: Option<String>,
    /// File with the application's secret; the secret itself is never kept.
    pub secret_file: Option<PathBuf>,
    /// Variable with the application's secret.
    pub secret_variable: Option<String>,
    access_token: String,
    refresh_token: Option<String>,
    /// End of the access token.
    pub expires_at: Timestamp,
}

impl Login {
    /// Returns the person or application.
    pub fn who(&self) -> &str {
        let who = self.username.as_ref().or(self.client.as_ref());
        who.map_or("", String::as_str)
    }

    /// Returns true when a new token can be had without asking anybody.
    pub fn renewable(&self) -> bool {
        self.refresh_token.is_some() || self.secret_file.is_some() || self.secret_variable.is_some()
    }

    /// Takes over what was given.
    pub fn take(&mut self, tokens: &Tokens) {
        let lives = i64::try_from(tokens.expires_in.unwrap_or(SHORT)).unwrap_or(i64::MAX);
        let end = Timestamp::now().checked_add(SignedDuration::from_secs(lives));
        self.expires_at = end.unwrap_or(Timestamp::MAX);
        tokens.access.expose().clone_into(&mut self.access_token);
        if let Some(refresh) = &tokens.refresh {
            self.refresh_token = Some(refresh.expose().to_owned());
        }
    }

    /// Builds a login with its first tokens.
    pub fn new(server: &Url, access_manager: &Url, tokens: &Tokens) -> Self {
        let mut login = Self {
            server: server.to_string(),
            access_manager: access_manager.to_string(),
            username: None,
            client: None,
            secret_file: None,
            secret_variable: None,
            access_token: String::new(),
            refresh_token: None,
            expires_at: Timestamp::UNIX_EPOCH,
        };
        login.take(tokens);
        login
    }

    /// Keeps the login, readable by its owner alone.
    pub fn keep(&self, run: &Invocation, server: &Url) -> Result<(), Failure> {
        let path = path(run, server)?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_private(&path, &text).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "output.unwritable",
                format!("the login cannot be kept in `{}`", path.display()),
            )
            .cause(error)
        })
    }
}

/// Returns the file of the login for a Tenant Manager.
pub fn path(run: &Invocation, server: &Url) -> Result<PathBuf, Failure> {
    let folder = run.environment.data_folder().ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "input.no_home",
            "there is no home folder to keep a login in",
        )
    })?;
    let name = &sha256_hex(server.as_str().trim_end_matches('/').as_bytes())[..16];
    Ok(folder.join("logins").join(format!("{name}.json")))
}

/// Returns the login for a Tenant Manager, if there is one.
pub fn load(run: &Invocation, server: &Url) -> Result<Option<Login>, Failure> {
    // Without a home there is no login either.
    let Ok(path) = path(run, server) else {
        return Ok(None);
    };
    let unusable = |reason: String| {
        Failure::new(
            Kind::Auth,
            "auth.login_file",
            format!("the login in `{}` cannot be used: {reason}", path.display()),
        )
        .hint_command("log in again", "lerianctl auth login --help")
    };
    let meta = match std::fs::metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error.to_string())),
    };
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(unusable(format!("others can read it (mode {mode:o})")));
    }
    let text = run.read_input(&path, 256 * 1024, "the login")?;
    let login: Login = serde_json::from_slice(&text)
        .map_err(|_| unusable("it is not what `auth login` writes".into()))?;
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    Ok(Some(login).filter(|login| same(&login.server, server.as_str())))
}

/// Returns a token for calls of a Tenant Manager, renewed if it is about to end; nothing when
/// nobody is logged in.
pub fn token(run: &Invocation, server: &Url) -> Result<Option<Secret>, Failure> {
    let Some(mut login) = load(run, server)? else {
        return Ok(None);
    };
    if login.expires_at - EARLY > Timestamp::now() {
        return Ok(Some(Secret::new(login.access_token)));
    }
    let over = || {
        Failure::new(
            Kind::Auth,
            "auth.login_over",
            format!("the login of `{}` is over", login.who()),
        )
        .hint_command("log in again", "lerianctl auth login --help")
    };
    let secret = match (&login.secret_file, &login.secret_variable) {
        (Some(file), _) => Some(run.read_secret(file, "the application's secret")?),
        (None, Some(name)) => run.environment.variable(name).map(Secret::new),
        (None, None) => None,
    };
    let grant = match (&login.refresh_token, &login.client, secret) {
        (Some(token), ..) => Grant::Refresh(Secret::new(token.as_str())),
        (None, Some(client), Some(secret)) => Grant::ClientCredentials {
            client: client.clone(),
            secret,
        },
        _ if login.expires_at > Timestamp::now() => {
            return Ok(Some(Secret::new(login.access_token)));
        }
        _ => return Err(over()),
    };
    let address = Url::parse(&login.access_manager).map_err(|_| over())?;
    let manager = AccessManager::new(&address)?;
    let tokens = run
        .block_on(async move { manager.tokens(&grant).await })
        .map_err(|failure| match failure.kind {
            Kind::Auth => over().cause(failure.message),
            _ => failure,
        })?;
    login.take(&tokens);
    login.keep(run, server)?;
    Ok(Some(tokens.access))
}
