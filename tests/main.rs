//! tests

mod cache_servers;
mod event_publish;
