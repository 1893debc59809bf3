//! Behaviour tests, one file per behaviour that a user sees; real servers, one binary.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

mod cache_flush;
mod cache_keyspace;
mod cache_topology;
mod devstack_servers;
mod event_listen;
mod event_publish;
mod tidy;
