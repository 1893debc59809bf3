//! lerianctl: operate multi-tenant Lerian deployments.
//!
//! Map of the crate (an arrow means "may use"):
//! `main → cli → {output, config, core} → {contract, secret}`, where core is
//! `client`, `server`, `provision`, `token`, `cache`, `events`, `isolation` and `devstack`; `link` (PostgreSQL,
//! Redis, TLS) is below core.
//! `tests/tidy.rs` fails on any other edge between folders.

pub mod access;
pub mod audit;
pub mod cache;
#[doc(hidden)]
pub mod cli;
pub mod client;
pub mod config;
pub mod contract;
pub mod devstack;
pub mod events;
pub mod isolation;
pub mod link;
pub mod output;
pub mod provision;
pub mod secret;
pub mod server;
pub mod token;
