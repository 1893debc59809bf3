//! Flags of `server start` about tokens of the Access Manager.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use url::Url;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::is_loopback;
use crate::config::variables::{
    SERVER_AUTH_ADDRESS, SERVER_AUTH_AUDIENCE, SERVER_AUTH_ISSUER, SERVER_AUTH_JWKS,
};
use crate::server::{PermissionSource, TokenKeys, TokenSettings};

/// Whose tokens are accepted
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of flags")]
#[command(next_help_heading = "Tokens of operators")]
pub struct TokenArgs {
    /// Key set (JWKS) of the Access Manager, URL or file: accepts tokens as `Authorization: Bearer`
    /// [variable: LERIANCTL_SERVER_AUTH_JWKS]
    #[arg(long, value_name = "URL|FILE")]
    auth_jwks: Option<String>,

    /// Issuer (`iss`) that tokens must have [variable: LERIANCTL_SERVER_AUTH_ISSUER]
    #[arg(long, value_name = "TEXT")]
    auth_issuer: Option<String>,

    /// Audience (`aud`) that tokens must have [variable: LERIANCTL_SERVER_AUTH_AUDIENCE]
    #[arg(long, value_name = "TEXT")]
    auth_audience: Option<String>,

    /// Claim with the permissions, unless `--auth-address` is given
    #[arg(long, value_name = "NAME", default_value = "permissions")]
    auth_claim: String,

    /// Access Manager that is asked what the bearer of a token may do
    /// [variable: LERIANCTL_SERVER_AUTH_ADDRESS]
    #[arg(long, value_name = "URL")]
    auth_address: Option<String>,

    /// Application that the Access Manager is asked about; may be repeated [default: none]
    #[arg(long, value_name = "ID", action = ArgAction::Append)]
    auth_machine: Vec<String>,
}

fn address(text: &str, what: &str, insecure: bool) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let url = url.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "usage",
            format!("{what} is not an http:// or https:// URL"),
        )
    })?;
    if url.scheme() == "http" && !is_loopback(&url) && !insecure {
        return Err(Failure::new(
            Kind::Usage,
            "server.insecure_http",
            format!("{what} is plain HTTP beyond this machine: whoever is in between decides who is an operator"),
        )
        .hint("use https://, or accept it with `--allow-insecure-http`"));
    }
    Ok(url)
}

impl TokenArgs {
    /// Returns whose tokens are accepted; nobody's without a key set.
    pub(super) fn settings(
        &self,
        run: &Invocation,
        insecure: bool,
    ) -> Result<Option<TokenSettings>, Failure> {
        let or = |flag: &Option<String>, variable: &str| {
            flag.clone()
                .or_else(|| run.environment.variable(variable).map(str::to_owned))
        };
        let decider = or(&self.auth_address, SERVER_AUTH_ADDRESS);
        let Some(jwks) = or(&self.auth_jwks, SERVER_AUTH_JWKS) else {
            if decider.is_some() || !self.auth_machine.is_empty() {
                return Err(Failure::new(
                    Kind::Usage,
                    "usage",
                    "`--auth-address` and `--auth-machine` need the keys that tokens are checked with",
                )
                .hint("name them with `--auth-jwks URL|FILE`"));
            }
            return Ok(None);
        };
        let keys = if jwks.contains("://") {
            TokenKeys::Url(address(&jwks, "`--auth-jwks`", insecure)?)
        } else {
            TokenKeys::File(PathBuf::from(jwks))
        };
        let permissions = match decider {
            Some(text) => {
                PermissionSource::Authorize(address(&text, "`--auth-address`", insecure)?)
            }
            None => PermissionSource::Claim(self.auth_claim.clone()),
        };
        Ok(Some(TokenSettings {
            keys,
            issuer: or(&self.auth_issuer, SERVER_AUTH_ISSUER),
            audience: or(&self.auth_audience, SERVER_AUTH_AUDIENCE),
            permissions,
            machines: self.auth_machine.clone(),
        }))
    }
}
