//! `lerianctl auth login`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use url::Url;

use super::LoginReport;
use super::store::{self, Login};
use crate::access::{AccessManager, Grant};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::is_loopback;
use crate::secret::Secret;

/// Where a login is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// The keyring of the desktop, through secret-tool; its file holds no token
    Keyring,
    /// A file in the data folder that only you can read
    File,
}

/// Get a token and keep it for calls of this Tenant Manager
///
/// The token is sent to the Tenant Manager that is configured now, and to no other. It is renewed
/// before it ends, when the Access Manager gave a refresh token or when the application's secret
/// is in a file or variable.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl auth login --store file --client-id deploy --client-secret-file deploy.secret\n  lerianctl auth login --username ana@lerian.example"
)]
pub struct LoginArgs {
    /// Address of the Access Manager [variables: PLUGIN_AUTH_HOST, PLUGIN_AUTH_ADDRESS]
    #[arg(long, value_name = "URL")]
    access_manager: Option<String>,

    /// Log in as this application
    #[arg(long, value_name = "ID", required_unless_present = "username")]
    client_id: Option<String>,

    /// File with the application's secret, `-` for standard input
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,

    /// Variable with the application's secret
    #[arg(
        long,
        value_name = "NAME",
        requires = "client_id",
        conflicts_with = "client_secret_file"
    )]
    client_secret_env: Option<String>,

    /// Log in as this person; the password is asked for
    #[arg(long, value_name = "NAME", conflicts_with = "client_id")]
    username: Option<String>,

    /// File with the person's password, `-` for standard input
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,

    /// Where the login is kept
    #[arg(long, value_enum, value_name = "WHERE", default_value = "keyring")]
    store: Store,
}

/// Logs in.
pub fn login(run: &Invocation, args: &LoginArgs) -> Result<LoginReport, Failure> {
    let server = run.server()?;
    if args.store == Store::Keyring {
        // Before a token is asked for that could not be kept.
        store::try_keyring(run)?;
    }
    // What was kept before is found now, or it would stay in the keyring for ever.
    let before = store::load(run, &server).ok().flatten();
    let address = address(run, args)?;
    let given = |file: &Option<PathBuf>, what: &str| match file {
        Some(file) => run.read_secret(file, what),
        None if run.may_prompt() => run.ask_secret(what, false),
        None => Err(Failure::new(
            Kind::Usage,
            "input.no_terminal",
            format!("{what} is needed, and there is no terminal to ask on"),
        )
        .hint("name its file, or `-` for standard input")),
    };
    let grant = if let Some(username) = &args.username {
        Grant::Password {
            username: username.clone(),
            password: given(&args.password_file, "the password")?,
        }
    } else {
        let secret = match &args.client_secret_env {
            Some(name) => run
                .environment
                .variable(name)
                .map(Secret::new)
                .ok_or_else(|| {
                    Failure::new(
                        Kind::Usage,
                        "input.variable_unset",
                        format!("the variable {name} is not set"),
                    )
                })?,
            None => given(&args.client_secret_file, "the application's secret")?,
        };
        Grant::ClientCredentials {
            client: args.client_id.clone().unwrap_or_default(),
            secret,
        }
    };
    let manager = AccessManager::new(&address)?;
    let tokens = run.block_on(async move { manager.tokens(&grant).await })?;
    let mut login = Login::new(&server, &address, &tokens);
    login.username.clone_from(&args.username);
    login.client.clone_from(&args.client_id);
    login.secret_variable.clone_from(&args.client_secret_env);
    // Standard input cannot be read again.
    let file = args.client_secret_file.as_ref();
    let file = file.filter(|file| *file != std::path::Path::new("-"));
    login.secret_file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    if args.store == Store::Keyring {
        login.use_keyring();
    } else if before.is_some_and(|before| before.in_keyring()) {
        store::forget_tokens(run, &server)?;
    }
    login.keep(run, &server)?;
    Ok(LoginReport::of(&login))
}

fn address(run: &Invocation, args: &LoginArgs) -> Result<Url, Failure> {
    let config = run.config()?;
    let text = args
        .access_manager
        .clone()
        .or_else(|| config.auth_address().map(|address| address.value));
    let text = text.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "config.missing",
            "the address of the Access Manager is not known",
        )
        .hint("name it with `--access-manager URL`")
    })?;
    let url = Url::parse(&text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let url = url.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "usage",
            "the address of the Access Manager is not an http:// or https:// URL",
        )
    })?;
    if url.scheme() == "http" && !is_loopback(&url) && !config.allow_insecure_http()?.value {
        return Err(Failure::new(
            Kind::Usage,
            "config.insecure_http",
            "the password or secret would be sent unencrypted to the Access Manager",
        )
        .hint("use https://, or accept it with MULTI_TENANT_ALLOW_INSECURE_HTTP=true"));
    }
    Ok(url)
}
