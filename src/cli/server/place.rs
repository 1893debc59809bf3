//! Where the registry is: flags of every verb that opens it.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::variables::SERVER_REGISTRY_URL;
use crate::link::postgres::PostgresEndpoint;
use crate::secret::Secret;
use crate::server::RegistryPlace;

/// Flags that name the registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// SQLite file of the registry, or its postgres:// URL without a password, for several
    /// servers side by side [default: a file in the data folder]
    #[arg(long, value_name = "FILE|URL")]
    registry: Option<PathBuf>,

    /// File with the postgres:// URL of the registry [variable: LERIANCTL_SERVER_REGISTRY_URL]
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    registry_url_file: Option<PathBuf>,

    /// Schema of a registry on PostgreSQL
    #[arg(long, value_name = "NAME", default_value = "lerianctl")]
    registry_schema: String,
}

impl RegistryArgs {
    /// Returns where the registry is; makes the data folder when that is where.
    pub fn place(&self, run: &Invocation) -> Result<RegistryPlace, Failure> {
        if let Some(given) = &self.registry {
            return match given.to_str().filter(|text| is_url(text)) {
                Some(url) => self.named_on_the_command_line(url),
                None => Ok(RegistryPlace::Sqlite(given.clone())),
            };
        }
        let url = match &self.registry_url_file {
            Some(path) => Some(run.read_secret(path, "the URL of the registry")?),
            None => run
                .environment
                .variable(SERVER_REGISTRY_URL)
                .map(Secret::new),
        };
        if let Some(url) = url {
            let endpoint = PostgresEndpoint::parse_url(url.expose())?;
            return Ok(self.on_postgres(endpoint));
        }
        let folder = run.environment.data_folder().ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "input.no_home",
                "there is no home folder to keep the registry in",
            )
            .hint("name a file with `--registry FILE`")
        })?;
        private_folder(&folder)?;
        Ok(RegistryPlace::Sqlite(folder.join("registry.db")))
    }

    fn named_on_the_command_line(&self, url: &str) -> Result<RegistryPlace, Failure> {
        let endpoint = PostgresEndpoint::parse_url(url)?;
        if endpoint.password.is_some() {
            return Err(Failure::new(
                Kind::Usage,
                "input.secret_in_argument",
                "a password does not belong on the command line: every process of this machine can read it there, and the shell keeps it in its history",
            )
            .hint(format!(
                "write the URL to a private file and give `--registry-url-file FILE`, or set {SERVER_REGISTRY_URL}"
            )));
        }
        Ok(self.on_postgres(endpoint))
    }

    fn on_postgres(&self, endpoint: PostgresEndpoint) -> RegistryPlace {
        RegistryPlace::Postgres {
            endpoint,
            schema: self.registry_schema.clone(),
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Makes a folder that only its owner can enter.
fn private_folder(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            Failure::new(
                Kind::Usage,
                "output.unwritable",
                format!("the folder `{}` cannot be made", folder.display()),
            )
            .cause(error)
        })
}
