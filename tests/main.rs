//! Behaviour tests, one file per behaviour that a user sees; real servers, one binary.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

mod cache_servers;
mod devstack_servers;
mod event_publish;
mod provision_admin;
mod provision_crash;
mod provision_fixture;
mod provision_foreign;
mod provision_isolation;
mod provision_parallel;
mod provision_quoting;
mod provision_rotation;
mod tidy;
