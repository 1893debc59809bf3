//! Configuration: layers, origins, contexts, secret references, product variables; pure.
//!
//! Everything here takes maps and files' text, and never reads the environment. The only I/O is in
//! [`store`] (the config file), [`system`] and [`keyring`] (secrets), which callers use on purpose.
//!
//! Highest wins: flag, `LERIANCTL_*` variable, a context named explicitly, product variables,
//! `--env-file`, the current context, the built-in default.

pub mod edit;
mod env_file;
mod file;
mod guard;
mod key;
pub mod keyring;
mod origin;
mod parse;
mod problem;
mod reference;
mod resolve;
pub mod schema;
mod settings;
pub mod store;
pub mod system;
mod validate;
pub mod variables;

pub use env_file::EnvFile;
pub use file::{ConfigFile, ConfigText, Context};
pub use guard::WriteConflict;
pub use key::{Key, SETTINGS, Setting};
pub use origin::{Origin, Overridden, Value};
pub use parse::{is_loopback, server as parse_server};
pub use problem::{Problem, Warning};
pub use reference::{SecretReference, SecretSource};
pub use resolve::{ConfigInput, Entry, Resolved, config_path};
pub use settings::{Certificate, ColorChoice, ContextChoice, RedisSettings, ServerTls};
pub use validate::{Finding, Severity};
pub use variables::is_product_variable;
