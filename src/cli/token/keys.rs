//! Keys to check a token with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use url::Url;

use super::source::variable;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::client::public_json;
use crate::config::is_loopback;
use crate::secret::Secret;
use crate::token::jwks::{self, SharedSecrets};
use crate::token::{KeyError, Keys};

/// Longest key file or key set.
const KEY_BYTES: u64 = 1024 * 1024;

/// Longest time for fetching a key set.
const KEY_SET_DEADLINE: Duration = Duration::from_secs(30);

/// Keys to check the signature with; without one, it is not checked.
#[derive(Debug, Args)]
#[group(id = "keys", multiple = false)]
pub(super) struct KeyArgs {
    /// Check the signature with a key set: an address, or a file
    #[arg(long, value_name = "URL|FILE")]
    jwks: Option<String>,

    /// Check the signature with a public key or certificate in PEM
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,

    /// Check the signature with a shared secret (HS256, HS384, HS512); `-` for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Check the signature with a shared secret from a variable
    #[arg(long, value_name = "NAME")]
    secret_variable: Option<String>,
}

impl KeyArgs {
    /// Returns the keys, when any were given.
    pub(super) fn read(
        &self,
        run: &Invocation,
        secrets: SharedSecrets,
    ) -> Result<Option<Keys>, Failure> {
        let keys = if let Some(place) = &self.jwks {
            jwks::parse(&key_set(run, place)?, secrets)
                .map_err(|error| unusable(&error, "the key set", place))?
        } else if let Some(path) = &self.public_key {
            let bytes = run.read_input(path, KEY_BYTES, "the public key")?;
            Keys::from_pem(&String::from_utf8_lossy(&bytes))
                .map_err(|error| unusable(&error, "the public key", &path.display().to_string()))?
        } else if let Some(path) = &self.secret_file {
            let secret = run.read_secret(path, "the shared secret")?;
            from_secret(&secret, &path.display().to_string())?
        } else if let Some(name) = &self.secret_variable {
            from_secret(&variable(run, name, "the shared secret")?, name)?
        } else {
            return Ok(None);
        };
        Ok(Some(keys))
    }
}

fn from_secret(secret: &Secret, place: &str) -> Result<Keys, Failure> {
    Keys::from_secret(secret).map_err(|error| unusable(&error, "the shared secret", place))
}

fn unusable(error: &KeyError, what: &str, place: &str) -> Failure {
    let failure = Failure::new(
        Kind::Usage,
        "token.key_unusable",
        format!("{what} `{place}` cannot be used"),
    )
    .cause(error);
    match error {
        KeyError::PrivateKey => failure.hint_command(
            "write the public part to a file of its own",
            "openssl pkey -in private.pem -pubout -out public.pem",
        ),
        KeyError::NoUsableKey(_) => failure
            .hint("a shared secret in a key set is accepted only with `--accept-shared-secrets`"),
        KeyError::NotAKeySet(_)
        | KeyError::NotPem
        | KeyError::Unreadable { .. }
        | KeyError::UnsupportedKey(_)
        | KeyError::WeakRsa(_)
        | KeyError::EmptySecret => failure,
    }
}

/// Reads a key set from an address or a file.
fn key_set(run: &Invocation, place: &str) -> Result<String, Failure> {
    if !place.starts_with("http://") && !place.starts_with("https://") {
        let bytes = run.read_input(Path::new(place), KEY_BYTES, "the key set")?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let url: Url = place.parse().map_err(|error| {
        Failure::new(
            Kind::Usage,
            "input.url",
            "the address of the key set is not a URL",
        )
        .cause(error)
    })?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Failure::new(
            Kind::Usage,
            "token.insecure_key_set",
            format!("the key set would come from `{place}` unencrypted, so that anybody on the way could put a key into it"),
        )
        .hint("use https://, or fetch it over a safe way and give the file"));
    }
    let limit = run.remaining().unwrap_or(KEY_SET_DEADLINE);
    let limit = limit.min(KEY_SET_DEADLINE);
    let document = run.block_on(async move { public_json(&url, limit).await })?;
    Ok(document.to_string())
}
