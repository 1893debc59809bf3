//! Behaviour tests, one file per behaviour that a user sees; real servers, one binary.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

mod cache_servers;
mod cli_completion;
mod cli_conventions;
mod client_calls;
mod client_faults;
mod client_resolver;
mod client_watch;
mod config_explain;
mod config_init;
mod config_validate;
mod devstack_recovery;
mod devstack_servers;
mod devstack_stack;
mod event_publish;
mod explain_pages;
mod generated;
mod provision_fixture;
mod provision_isolation;
mod readme;
mod schema_output;
mod server_crash;
mod server_openapi;
mod tenant_lifecycle;
mod tidy;
mod token_inspect;
mod token_mint;
mod token_resolve;
