//! What clients may take of a server.

use std::time::Duration;

/// Bounds on connections and requests; every one has a default that suits Lerian's products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at once; more wait to be accepted.
    pub connections: usize,
    /// Connections of one address (of one /64 network in IPv6); more are closed at once.
    pub connections_per_peer: usize,
    /// Requests that are worked on at once; more wait.
    pub requests: usize,
    /// Largest head of a request in bytes.
    pub head_bytes: usize,
    /// Longest time for a head to arrive, and for a TLS handshake.
    pub head_time: Duration,
    /// Largest body of a request in bytes.
    pub body_bytes: usize,
    /// Longest time for a body to arrive.
    pub body_time: Duration,
    /// Longest time from the head of the request to the head of the answer.
    pub request_time: Duration,
    /// A connection without a request is closed after this. Longer than the 90 s for which the
    /// official client keeps connections, so that it is never the server who closes first.
    pub idle_time: Duration,
    /// Longest time in which a client takes nothing of an answer.
    pub send_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_per_peer: 1024,
            requests: 1024,
            head_bytes: 64 * 1024,
            head_time: Duration::from_secs(10),
            body_bytes: 1024 * 1024,
            body_time: Duration::from_secs(15),
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_mins(2),
            send_time: Duration::from_secs(30),
        }
    }
}
