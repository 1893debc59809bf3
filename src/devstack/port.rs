//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use crate::secret::random_bytes;

/// Ports to choose from: above the registered services that people run by hand, below the ranges
/// that systems take outgoing connections' ports from, so that a stopped server's port stays free.
const FIRST: u16 = 15_000;
const LAST: u16 = 29_999;

/// Returns true when nothing listens on `port` of the loopback address.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns a port that is free now.
///
/// Another process may take it before the caller's server does: a server that then cannot bind
/// is started again with another port.
pub fn pick() -> u16 {
    pick_where(|_| true)
}

/// As [`pick`], for a port that fulfils `accept` as well.
pub fn pick_where(accept: impl Fn(u16) -> bool) -> u16 {
    let random = || FIRST + u16::from_le_bytes(random_bytes()) % (LAST - FIRST + 1);
    for _ in 0..10_000 {
        let port = random();
        if is_free(port) && accept(port) {
            return port;
        }
    }
    random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
        assert!((FIRST..=LAST).contains(&pick()));
    }
}
