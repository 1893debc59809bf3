//! lerianctl: operate multi-tenant Lerian deployments.
//!
//! Map of the crate (an arrow means "may use"):
//! `main → cli → {output, config, core} → {contract, secret}`, where core is
//! `client`, `server`, `provision`, `token`, `cache`, `events`, `isolation`, `boot` and `devstack`;
//! `link` (PostgreSQL, Redis, TLS) is below core, and `fuzzing` may use everything;
//! `middleware` stands on `client`, `events` and `token`, and the sample service of `devstack` on it.
//! `tests/tidy.rs` fails on any other edge between folders.

pub mod access;
pub mod audit;
pub mod boot;
pub mod cache;
#[doc(hidden)]
pub mod cli;
pub mod client;
pub mod config;
pub mod contract;
pub mod devstack;
pub mod events;
#[doc(hidden)]
pub mod fuzzing;
pub mod isolation;
pub mod link;
pub mod middleware;
pub mod output;
pub mod provision;
pub mod secret;
pub mod server;
pub mod token;
