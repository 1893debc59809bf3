//! `lerianctl token mint`.

use std::fmt;
use std::time::Duration;

use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cli::complete;
use crate::cli::dev::DataArgs;
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::cli::values::pair;
use crate::contract::TenantId;
use crate::contract::ids::TenantRef;
use crate::devstack::stack::{Home, Keys};
use crate::output::{Report, View};
use crate::secret::Secret;
use crate::token::{Claims, SigningKey, TokenType};

/// Make a token for a development server
///
/// Signs with the key of the development stack, for a tenant that its server knows, and prints the
/// token alone. Servers that do not say that they are for development are refused.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl token mint --tenant acme | lerianctl token inspect -\n  TOKEN=$(lerianctl token mint --tenant acme --subject ada --lifetime 10m)\n  lerianctl token mint --tenant acme --type application --claim scope=openid"
)]
pub struct MintArgs {
    /// Tenant slug or id
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: TenantRef,

    /// Claim `sub`: user or application
    #[arg(long, value_name = "TEXT", default_value = "developer")]
    subject: String,

    /// Claim `owner`: organization of the user [default: the tenant's slug]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,

    /// Claim `type`: `normal-user` is a person, anything else a machine
    #[arg(long = "type", value_name = "WORD", default_value = TokenType::NORMAL_USER)]
    token_type: String,

    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    lifetime: Duration,

    /// Further claim; the value is JSON where it can be, else text; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, action = ArgAction::Append)]
    claim: Vec<(String, String)>,

    #[command(flatten)]
    data: DataArgs,
}

/// Mints a token.
pub fn mint(run: &Invocation, args: &MintArgs) -> Result<TokenReport, Failure> {
    let manager = run.tenant_manager()?;
    let mut address = manager.base().clone();
    address.set_path("/.well-known/jwks.json");
    let named = args.tenant.to_string();
    let asked = manager.clone();
    let (tenant, key_set) = run.block_on(async move {
        if !asked.info().await?.development {
            return Err(not_for_development(asked.base().as_str()));
        }
        Ok::<_, Failure>((asked.tenant(&named).await?, asked.jwks(&address).await?))
    })?;
    let key = signing_key(run, args, &key_set, manager.base().as_str())?;
    let claims = Claims {
        tenant_id: tenant.id,
        owner: Some(
            args.owner
                .clone()
                .unwrap_or_else(|| tenant.slug.to_string()),
        ),
        tenant_slug: Some(tenant.slug),
        subject: Some(args.subject.clone()),
        token_type: TokenType::parse(&args.token_type),
        extra: args.claim.iter().cloned().map(claim).collect::<Map<_, _>>(),
    };
    let now = run.environment.now();
    let token = crate::token::mint(&key, &claims, args.lifetime, now)?;
    let seconds = i64::try_from(args.lifetime.as_secs()).unwrap_or(i64::MAX);
    Ok(TokenReport {
        token: token.expose().to_owned(),
        tenant_id: claims.tenant_id,
        key_id: key.id().to_owned(),
        expires_at: Timestamp::from_second(now.as_second().saturating_add(seconds))
            .unwrap_or(Timestamp::MAX),
    })
}

/// Reads `KEY=VALUE`: JSON where the value is JSON, else text.
fn claim((name, value): (String, String)) -> (String, Value) {
    let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
    (name, value)
}

fn not_for_development(server: &str) -> Failure {
    Failure::new(
        Kind::Unsupported,
        "token.not_development",
        format!("{server} is not a development server: its tokens come from the Access Manager"),
    )
    .hint_command("start a private one", "lerianctl dev up --detach")
}

/// Returns the key of the development stack, which must be the one that the server checks with.
fn signing_key(
    run: &Invocation,
    args: &MintArgs,
    key_set: &Value,
    server: &str,
) -> Result<SigningKey, Failure> {
    let folder = args.data.folder(run)?;
    let Some(home) = Home::existing(&folder)? else {
        return Err(Failure::new(
            Kind::NotFound,
            "dev.none",
            format!("there is no development stack in `{}`", folder.display()),
        )
        .hint("name the data folder of that server's stack with `--data DIR`")
        .hint_command("or start one", "lerianctl dev up --detach"));
    };
    let key = stack_key(&Keys::new(&home))?;
    let known = key_set["keys"]
        .as_array()
        .is_some_and(|keys| keys.iter().any(|known| known["kid"] == key.id()));
    if known {
        return Ok(key);
    }
    Err(Failure::new(
        Kind::Conflict,
        "token.other_signing_key",
        format!(
            "{server} does not check tokens with the signing key in `{}`",
            folder.display()
        ),
    )
    .hint("name the data folder of that server's stack with `--data DIR`"))
}

/// Returns the signing key of a development stack, which is made when there is none.
pub(in crate::cli) fn stack_key(keys: &Keys) -> Result<SigningKey, Failure> {
    let mut refused = None;
    let pem = keys.signing_key(|| match SigningKey::generate() {
        Ok(key) => key.to_pem().clone(),
        Err(error) => {
            refused = Some(error);
            Secret::default()
        }
    })?;
    match refused {
        Some(error) => Err(error.into()),
        None => Ok(SigningKey::from_pem(&pem)?),
    }
}

/// A token for trials. Holds the token, since that is what was asked for.
#[derive(serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    /// The token.
    token: String,
    /// Tenant that it is for.
    tenant_id: TenantId,
    /// Key that signed it.
    key_id: String,
    /// End of its life.
    #[schemars(with = "String")]
    expires_at: Timestamp,
}

impl fmt::Debug for TokenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReport")
            .field("tenant_id", &self.tenant_id)
            .finish_non_exhaustive()
    }
}

impl Report for TokenReport {
    const KIND: &'static str = "Token";

    fn human(&self, out: &mut View) -> fmt::Result {
        out.plain(&self.token).line();
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some(self.token.clone())
    }
}
