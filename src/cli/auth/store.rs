//! A login, kept per Tenant Manager and renewed before it ends: all of it in a private file, or its
//! tokens in the keyring and the rest in that file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access::{AccessManager, Grant, Tokens};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::keyring::{Keyring, KeyringError};
use crate::config::store::write_private;
use crate::secret::{Secret, sha256_hex};
use zeroize::Zeroize as _;

/// A token that ends sooner than this is renewed first.
const EARLY: SignedDuration = SignedDuration::from_secs(60);
/// Longest time for the keyring to answer: somebody may have to unlock it.
const KEYRING_DEADLINE: Duration = Duration::from_mins(1);
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
    #[serde(default, skip_serializing_if = "String::is_empty")]
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// End of the access token.
    pub expires_at: Timestamp,
    /// What of it is in the keyring, when the tokens are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyring: Option<InKeyring>,
}

/// What is kept in the keyring.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InKeyring {
    /// Whether there is a refresh token beside the access token.
    refresh: bool,
}

impl Login {
    /// Returns the person or application.
    pub fn who(&self) -> &str {
        let who = self.username.as_ref().or(self.client.as_ref());
        who.map_or("", String::as_str)
    }

    /// Returns true when a new token can be had without asking anybody.
    pub fn renewable(&self) -> bool {
        self.refresh_token.is_some()
            || self.keyring.as_ref().is_some_and(|kept| kept.refresh)
            || self.secret_file.is_some()
            || self.secret_variable.is_some()
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

    /// Keeps the tokens in the keyring from now on.
    pub fn use_keyring(&mut self) {
        self.keyring = Some(InKeyring { refresh: false });
    }

    /// Returns true when the tokens are in the keyring.
    pub fn in_keyring(&self) -> bool {
        self.keyring.is_some()
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
            keyring: None,
        };
        login.take(tokens);
        login
    }

    /// Keeps the login: its file is readable by its owner alone, and has no token when there is a
    /// keyring for them.
    pub fn keep(&self, run: &Invocation, server: &Url) -> Result<(), Failure> {
        let path = path(run, server)?;
        let mut kept = self.clone();
        if kept.keyring.is_some() {
            kept.keyring = Some(kept.keep_tokens(run, server)?);
            kept.access_token.zeroize();
            kept.refresh_token.zeroize();
            kept.refresh_token = None;
        }
        let text = serde_json::to_string_pretty(&kept).unwrap_or_default();
        write_private(&path, &text).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "output.unwritable",
                format!("the login cannot be kept in `{}`", path.display()),
            )
            .cause(error)
        })
    }

    fn keep_tokens(&self, run: &Invocation, server: &Url) -> Result<InKeyring, Failure> {
        in_keyring(run, |keyring| {
            let label = |what: &str| format!("lerianctl: {what} for {server}");
            let access = Secret::new(self.access_token.as_str());
            keyring.put(&entry(server, ACCESS), &label("token"), &access)?;
            match &self.refresh_token {
                Some(refresh) => {
                    let refresh = Secret::new(refresh.as_str());
                    keyring.put(&entry(server, REFRESH), &label("refresh token"), &refresh)?;
                }
                None => keyring.forget(&entry(server, REFRESH))?,
            }
            Ok(InKeyring {
                refresh: self.refresh_token.is_some(),
            })
        })
    }

    /// Reads the tokens from the keyring, if that is where they are.
    fn fetch_tokens(&mut self, run: &Invocation, server: &Url) -> Result<(), Failure> {
        let Some(kept) = &self.keyring else {
            return Ok(());
        };
        let (access, refresh) = in_keyring(run, |keyring| {
            let get = |what| {
                let found = keyring.get(&entry(server, what))?;
                found.ok_or(KeyringError::Absent)
            };
            let refresh = kept.refresh.then(|| get(REFRESH)).transpose()?;
            Ok((get(ACCESS)?, refresh))
        })?;
        access.expose().clone_into(&mut self.access_token);
        self.refresh_token = refresh.map(|token| token.expose().to_owned());
        Ok(())
    }
}

/// Names of what is kept in the keyring.
const ACCESS: &str = "token";
const REFRESH: &str = "refresh-token";

fn entry(server: &Url, what: &str) -> String {
    format!("{what} {}", server.as_str().trim_end_matches('/'))
}

/// Works with the keyring.
fn in_keyring<T>(
    run: &Invocation,
    work: impl FnOnce(&Keyring<'_>) -> Result<T, KeyringError>,
) -> Result<T, Failure> {
    let variables = run.environment.text_variables();
    work(&Keyring::new(&variables, KEYRING_DEADLINE)).map_err(|error| {
        Failure::new(Kind::Usage, "auth.no_keyring", error.to_string()).hint_command(
            "keep the login in a private file instead",
            "lerianctl auth login --store file --help",
        )
    })
}

/// Fails unless there is a keyring that can be used.
pub fn try_keyring(run: &Invocation) -> Result<(), Failure> {
    in_keyring(run, |keyring| keyring.get("is it there").map(drop))
}

/// Forgets the tokens that the keyring has for a Tenant Manager.
pub fn forget_tokens(run: &Invocation, server: &Url) -> Result<(), Failure> {
    in_keyring(run, |keyring| {
        keyring.forget(&entry(server, ACCESS))?;
        keyring.forget(&entry(server, REFRESH))
    })
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
    login.fetch_tokens(run, server)?;
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
