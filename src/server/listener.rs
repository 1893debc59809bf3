//! Accepted connections: bounded in number, closed when idle, and closed for good when the
//! server has waited long enough for its clients.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

/// Connections that are open at once.
const CONNECTIONS: usize = 8192;
/// A connection on which nothing moves for so long is closed. Longer than the 90 s that the
/// official client keeps idle connections, so that it is never the server who closes first.
const IDLE: Duration = Duration::from_mins(2);
/// Pause after a failed accept, which happens when files run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener whose connections can be cut.
#[derive(Debug)]
pub(crate) struct BoundedListener {
    inner: TcpListener,
    places: Arc<Semaphore>,
    cut: watch::Receiver<bool>,
}

impl BoundedListener {
    /// Takes a bound listener; connections are cut once `cut` turns true.
    pub(crate) fn new(inner: TcpListener, cut: watch::Receiver<bool>) -> Self {
        Self {
            inner,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            cut,
        }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.inner.accept().await {
                Ok((stream, address)) => {
                    // Answers are small: waiting to fill a packet only costs time.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place, self.cut.clone()), address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// An accepted connection.
pub(crate) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    /// Resolves when the connection is to be cut; gone once it has.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    idle: Pin<Box<Sleep>>,
    moved: Instant,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, mut cut: watch::Receiver<bool>) -> Self {
        Self {
            stream,
            _place: place,
            cut: Some(Box::pin(async move {
                // An error says that the server was dropped, which cuts as well.
                let _ = cut.wait_for(|cut| *cut).await;
            })),
            idle: Box::pin(tokio::time::sleep(IDLE)),
            moved: Instant::now(),
        }
    }

    /// Fails once the connection is to be closed.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(cut) = &mut self.cut
            && cut.as_mut().poll(context).is_ready()
        {
            self.cut = None;
        }
        if self.cut.is_none() {
            return Poll::Ready(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the server stops",
            ));
        }
        while self.idle.as_mut().poll(context).is_ready() {
            let end = self.moved + IDLE;
            if end <= Instant::now() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "idle too long"));
            }
            self.idle.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.moved = Instant::now();
            return Poll::Ready(result);
        }
        Poll::Ready(Err(ready!(self.poll_closed(context))))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write(context, data) {
            self.moved = Instant::now();
            return Poll::Ready(result);
        }
        Poll::Ready(Err(ready!(self.poll_closed(context))))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write_vectored(context, data) {
            self.moved = Instant::now();
            return Poll::Ready(result);
        }
        Poll::Ready(Err(ready!(self.poll_closed(context))))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
