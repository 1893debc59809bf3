//! A bound on sessions that the server keeps to, and not only we.
//!
//! A backend outlives its client's good-bye by a moment, also one that refuses a login. PostgreSQL
//! leaves the socket open until the process is gone, so that its end of the stream is the proof: a
//! place is given back only then. What holds the place is a task of its own, so that a future that
//! is dropped anywhere keeps to the bound as well.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::startup::{self, Greeting};
use super::{ConnectError, PostgresEndpoint, Session};
use crate::link::LinkError;

/// Longest time to wait for a place.
const PATIENCE: Duration = Duration::from_mins(3);

/// Longest time to wait for the last sessions to be closed.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// At most so many sessions at the same time, as the server counts them.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    bound: usize,
    open: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Places that were taken and are not used yet.
#[derive(Debug)]
pub struct Places(OwnedSemaphorePermit, Arc<Count>);

/// What one session holds from before it is opened until its backend is gone.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: Arc<Count>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Makes one with so many places; with one at least.
    pub fn new(bound: usize) -> Self {
        let bound = bound.max(1);
        Self {
            places: Arc::new(Semaphore::new(bound)),
            bound,
            open: Arc::default(),
        }
    }

    /// Returns how many places there are.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// Returns the most that were taken at the same time; the server never had more.
    pub fn most(&self) -> usize {
        self.open.most.load(Ordering::Relaxed)
    }

    /// Takes `places` at once, as whoever needs several must: one by one, two could wait for each
    /// other. Never more than there are.
    pub async fn places(&self, places: usize) -> Result<Places, ConnectError> {
        let wanted = u32::try_from(places.min(self.bound)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.places).acquire_many_owned(wanted);
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(Ok(permit)) => Ok(Places(permit, Arc::clone(&self.open))),
            _ => Err(LinkError::Unreachable {
                target: "PostgreSQL".into(),
                reason: format!(
                    "{} sessions are still open after {} s, and no more are allowed",
                    self.bound,
                    PATIENCE.as_secs()
                ),
            }
            .into()),
        }
    }

    /// Waits until the server has closed every session, for a while.
    pub async fn closed(&self) {
        let all = u32::try_from(self.bound).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(LAST_WORDS, self.places.acquire_many(all)).await;
    }

    /// Waits for a place and connects, with more start-up options.
    pub async fn connect(
        &self,
        endpoint: &PostgresEndpoint,
        options: &str,
    ) -> Result<Session, ConnectError> {
        self.places(1).await?.connect(endpoint, options).await
    }
}

impl Places {
    /// Connects in one of the places.
    pub async fn connect(
        &mut self,
        endpoint: &PostgresEndpoint,
        options: &str,
    ) -> Result<Session, ConnectError> {
        let place = self.one()?;
        Box::pin(Session::open(endpoint, options, None, Some(place))).await
    }

    /// As [`Self::connect`], and passes on the payload of every notification.
    pub async fn connect_listening(
        &mut self,
        endpoint: &PostgresEndpoint,
        options: &str,
        notifications: UnboundedSender<String>,
    ) -> Result<Session, ConnectError> {
        let place = self.one()?;
        Box::pin(Session::open(
            endpoint,
            options,
            Some(notifications),
            Some(place),
        ))
        .await
    }

    /// Logs in with more start-up parameters, leaves, and returns what the server said.
    pub async fn greet(
        &mut self,
        endpoint: &PostgresEndpoint,
        more: &[(&str, &str)],
    ) -> Result<Greeting, ConnectError> {
        let place = self.one()?;
        startup::greet(endpoint, more, place).await
    }

    /// Returns how many are left.
    pub fn left(&self) -> usize {
        self.0.num_permits()
    }

    fn one(&mut self) -> Result<Place, ConnectError> {
        let permit = self.0.split(1).ok_or_else(|| LinkError::Unreachable {
            target: "PostgreSQL".into(),
            reason: "more sessions at the same time are needed than are allowed".into(),
        })?;
        let now = self.1.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.1.most.fetch_max(now, Ordering::Relaxed);
        Ok(Place {
            _permit: permit,
            open: Arc::clone(&self.1),
        })
    }
}

/// A socket that is watched until the server has closed it.
pub(super) struct Line {
    socket: Arc<Wire>,
    _in_use: oneshot::Sender<()>,
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! on {
    ($wire:expr, $socket:ident => $body:expr) => {
        match $wire {
            Wire::Tcp($socket) => $body,
            Wire::Unix($socket) => $body,
        }
    };
}

impl Wire {
    async fn open(endpoint: &PostgresEndpoint) -> io::Result<Self> {
        if endpoint.is_socket() {
            let path = format!("{}/.s.PGSQL.{}", endpoint.host, endpoint.port);
            return Ok(Self::Unix(UnixStream::connect(path).await?));
        }
        let socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(30))
                .with_interval(Duration::from_secs(10))
                .with_retries(3),
        )?;
        Ok(Self::Tcp(socket))
    }

    fn shut(&self) -> io::Result<()> {
        on!(self, socket => SockRef::from(socket).shutdown(Shutdown::Write))
    }

    /// Reads until the other side has closed; an error is an end as well.
    async fn ended(&self) {
        let mut rest = [0; 1024];
        loop {
            let read = on!(self, socket => {
                // Whether it is readable or broken shows in the reading.
                let _ = socket.readable().await;
                socket.try_read(&mut rest)
            });
            match read {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

impl Line {
    /// Connects in a task, which goes on to hold the place when the caller has gone.
    pub(super) async fn open(endpoint: &PostgresEndpoint, place: Place) -> io::Result<Self> {
        let (sender, opened) = oneshot::channel();
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            let socket = match Wire::open(&endpoint).await {
                Ok(socket) => Arc::new(socket),
                Err(error) => {
                    drop(place);
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            let (in_use, left) = oneshot::channel::<()>();
            let line = Self {
                socket: Arc::clone(&socket),
                _in_use: in_use,
            };
            let _ = sender.send(Ok(line));
            let _ = left.await;
            // Whoever was dropped in the middle has not said good-bye.
            let _ = socket.shut();
            socket.ended().await;
            drop(place);
        });
        opened
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(&*self.socket, socket => loop {
            ready!(socket.poll_read_ready(context))?;
            match socket.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        })
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(&*self.socket, socket => loop {
            ready!(socket.poll_write_ready(context))?;
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return Poll::Ready(answer),
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shut())
    }
}
