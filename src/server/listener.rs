//! Accepts connections and serves them: bounded in number, in all and per peer, in time, and
//! closed for good when the server has waited long enough for its clients.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use super::connection::{Answer, Pulse, Watched};
use super::limits::Limits;
use super::service::Tenancy;
use super::tls::{Tls, speaks_http2};

/// Pause after a failed accept, which happens when files run out.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests that one HTTP/2 connection may have open.
const STREAMS: u32 = 64;
/// Smallest buffer that hyper works with.
const SMALLEST_BUFFER: usize = 8192;

/// Address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How far the end of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Connections and requests are taken.
    Serving,
    /// No connection is taken; requests under way may end.
    Draining,
    /// Everything ends now.
    Cut,
}

/// What serves connections.
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: Limits,
    pub(super) tenancy: Arc<Tenancy>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// Serves until the phase is no longer [`Phase::Serving`] and the last connection has ended.
pub(super) async fn serve(listener: TcpListener, front: Front) -> io::Result<()> {
    let front = Arc::new(front);
    let all = front.limits.connections.clamp(1, Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(all));
    let peers = Arc::new(Peers::default());
    let mut phase = front.phase.clone();
    let accepting = async {
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let (stream, address) = accept(&listener).await;
            let metrics = &front.tenancy.metrics;
            let Some(seat) = peers.seat(address.ip(), front.limits.connections_per_peer) else {
                metrics.connection_refused("peer_limit");
                continue;
            };
            metrics.connection_opened();
            let front = Arc::clone(&front);
            tokio::spawn(async move {
                let mut phase = front.phase.clone();
                tokio::select! {
                    reason = connection(&front, stream, address) => {
                        if let Some(reason) = reason {
                            tracing::debug!(%address, reason, "a connection was ended");
                            front.tenancy.metrics.connection_cut(reason);
                        }
                    }
                    _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
                }
                front.tenancy.metrics.connection_closed();
                drop((seat, place));
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = phase.wait_for(|phase| *phase > Phase::Serving) => {}
    }
    drop(listener);
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    let _: Option<OwnedSemaphorePermit> = places.acquire_many_owned(all).await.ok();
    Ok(())
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are small: waiting to fill a packet only costs time.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection; returns why it was ended, unless it ended by itself.
async fn connection(front: &Front, stream: TcpStream, address: SocketAddr) -> Option<&'static str> {
    let Some(tls) = &front.tls else {
        return http_1(front, stream, address).await;
    };
    let handshake = tokio::time::timeout(front.limits.head_time, tls.acceptor().accept(stream));
    match handshake.await {
        Err(_) => Some("slow_handshake"),
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a TLS handshake failed");
            Some("failed_handshake")
        }
        Ok(Ok(stream)) if speaks_http2(&stream) => http_2(front, stream, address).await,
        Ok(Ok(stream)) => http_1(front, stream, address).await,
    }
}

/// Answers a request of the connection.
async fn answer(
    router: Router,
    pulse: Arc<Pulse>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Answer>, std::convert::Infallible> {
    let ongoing = pulse.request();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(Peer(address)));
    let response = router.oneshot(request).await?;
    Ok(response.map(|body| Answer {
        body,
        _ongoing: ongoing,
    }))
}

/// Drives a connection until it ends, is overdue, or drains.
macro_rules! drive {
    ($front:expr, $connection:expr, $pulse:expr) => {{
        let mut connection = std::pin::pin!($connection);
        let mut phase = $front.phase.clone();
        let mut draining = std::pin::pin!(async move {
            phase
                .wait_for(|phase| *phase > Phase::Serving)
                .await
                .is_ok()
        });
        let mut drained = false;
        let period = Pulse::period(&$front.limits);
        let mut clock = std::pin::pin!(tokio::time::sleep(period));
        loop {
            tokio::select! {
                _ = connection.as_mut() => break None,
                _ = &mut draining, if !drained => {
                    drained = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut clock => {
                    if let Some(reason) = $pulse.overdue(&$front.limits) {
                        break Some(reason);
                    }
                    clock.as_mut().reset(tokio::time::Instant::now() + period);
                }
            }
        }
    }};
}

async fn http_1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    front: &Front,
    stream: S,
    address: SocketAddr,
) -> Option<&'static str> {
    let pulse = Arc::new(Pulse::new(false));
    let io = TokioIo::new(Watched {
        stream,
        pulse: Arc::clone(&pulse),
    });
    let (router, own) = (front.router.clone(), Arc::clone(&pulse));
    let service =
        service_fn(move |request| answer(router.clone(), Arc::clone(&own), address, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Kept by the pulse: hyper's own also ends connections that wait for their next request.
        .header_read_timeout(None)
        .max_buf_size(front.limits.head_bytes.max(SMALLEST_BUFFER))
        .serve_connection(io, service);
    drive!(front, connection, pulse)
}

async fn http_2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    front: &Front,
    stream: S,
    address: SocketAddr,
) -> Option<&'static str> {
    let pulse = Arc::new(Pulse::new(true));
    let io = TokioIo::new(Watched {
        stream,
        pulse: Arc::clone(&pulse),
    });
    let (router, own) = (front.router.clone(), Arc::clone(&pulse));
    let service =
        service_fn(move |request| answer(router.clone(), Arc::clone(&own), address, request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(front.limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(front.limits.send_time)
        .keep_alive_timeout(front.limits.send_time)
        .serve_connection(io, service);
    drive!(front, connection, pulse)
}

/// Connections by peer.
#[derive(Debug, Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

impl Peers {
    /// Returns a place for a connection of `address`, unless it has `limit` already.
    fn seat(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Seat> {
        let peer = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= limit.max(1) {
            return None;
        }
        *count += 1;
        Some(Seat {
            peers: Arc::clone(self),
            peer,
        })
    }
}

/// Returns what counts as one peer: an address, or the /64 network that one machine has in IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        four @ IpAddr::V4(_) => four,
    }
}

/// A place of a peer's connection.
struct Seat {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_connections_and_one_that_ends_makes_room() {
        let peers = Arc::new(Peers::default());
        let one: IpAddr = "192.0.2.1".parse().expect("an address");
        let mut seats: Vec<_> = (0..3).filter_map(|_| peers.seat(one, 3)).collect();
        assert_eq!(seats.len(), 3);
        assert!(peers.seat(one, 3).is_none());
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        assert!(peers.seat(mapped, 3).is_none());
        let six = |text: &str| text.parse::<IpAddr>().expect("an address");
        let other = peers.seat(six("2001:db8::1"), 1);
        assert!(other.is_some());
        assert!(peers.seat(six("2001:db8::ffff:2"), 1).is_none());
        assert!(peers.seat(six("2001:db8:0:1::1"), 1).is_some());
        seats.pop();
        assert!(peers.seat(one, 3).is_some());
        drop((seats, other));
        assert!(peers.0.lock().expect("not poisoned").is_empty());
    }
}
