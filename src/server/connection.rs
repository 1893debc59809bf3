//! One connection: its state as far as limits are concerned, and the stream that keeps it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::Limits;

/// When what happened on a connection, in milliseconds since it was accepted; 0 is never.
///
/// Stream, service and the connection's own clock see to it together, in one task at a time.
#[derive(Debug)]
pub(super) struct Pulse {
    accepted: Instant,
    /// Requests whose answer is not complete.
    active: AtomicU32,
    /// Last time that something arrived, left, or an answer ended.
    moved: AtomicU64,
    /// Since when a head arrives.
    head: AtomicU64,
    /// Since when the client takes nothing.
    stalled: AtomicU64,
    /// With several requests at once, what arrives between them need not be a head.
    multiplexed: bool,
}

impl Pulse {
    pub(super) fn new(multiplexed: bool) -> Self {
        Self {
            accepted: Instant::now(),
            active: AtomicU32::new(0),
            moved: AtomicU64::new(1),
            head: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            multiplexed,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn arrived(&self) {
        let now = self.now();
        if self.active.load(Relaxed) == 0 {
            if !self.multiplexed {
                self.moved.store(now, Relaxed);
                if self.head.load(Relaxed) == 0 {
                    self.head.store(now, Relaxed);
                }
            }
        } else {
            self.moved.store(now, Relaxed);
        }
    }

    fn left(&self) {
        if self.stalled.load(Relaxed) != 0 {
            self.stalled.store(0, Relaxed);
        }
    }

    fn stuck(&self) {
        if self.stalled.load(Relaxed) == 0 {
            self.stalled.store(self.now(), Relaxed);
        }
    }

    /// Notes that a head is complete; the request lasts as long as what is returned.
    pub(super) fn request(self: &Arc<Self>) -> Ongoing {
        self.active.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        Ongoing(Arc::clone(self))
    }

    /// Returns why the connection must end, if it must.
    pub(super) fn overdue(&self, limits: &Limits) -> Option<&'static str> {
        let now = self.now();
        let over = |since: u64, limit: Duration| {
            since != 0 && u128::from(now.saturating_sub(since)) >= limit.as_millis()
        };
        if over(self.stalled.load(Relaxed), limits.send_time) {
            return Some("slow_reader");
        }
        if self.active.load(Relaxed) > 0 {
            return None;
        }
        if over(self.head.load(Relaxed), limits.head_time) {
            return Some("slow_head");
        }
        over(self.moved.load(Relaxed), limits.idle_time).then_some("idle")
    }

    /// Returns how often to look whether the connection is overdue.
    pub(super) fn period(limits: &Limits) -> Duration {
        let shortest = limits.head_time.min(limits.send_time).min(limits.idle_time);
        (shortest / 2).max(Duration::from_millis(10))
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Ongoing(Arc<Pulse>);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.moved.store(self.0.now(), Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer; the request ends with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _ongoing: Ongoing,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells its pulse what moves.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Pulse>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_ready() && buffer.filled().len() > before {
            self.pulse.arrived();
        }
        result
    }
}

impl<S> Watched<S> {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.pulse.left();
        } else {
            self.pulse.stuck();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, data);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.note(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_mins(2),
            send_time: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    /// A pulse as it would be after `seconds` in which nothing happened.
    fn later(pulse: &mut Arc<Pulse>, seconds: u64) {
        let pulse = Arc::get_mut(pulse).expect("nobody else holds it");
        pulse.accepted = pulse
            .accepted
            .checked_sub(Duration::from_secs(seconds))
            .expect("the machine has run for longer");
    }

    #[test]
    fn a_head_that_trickles_in_is_overdue_however_much_moves() {
        let mut pulse = Arc::new(Pulse::new(false));
        for _ in 0..10 {
            pulse.arrived();
            assert_eq!(pulse.overdue(&limits()), None);
            later(&mut pulse, 1);
        }
        later(&mut pulse, 1);
        assert_eq!(pulse.overdue(&limits()), Some("slow_head"));
    }

    #[test]
    fn only_connections_without_a_request_are_idle() {
        let mut pulse = Arc::new(Pulse::new(false));
        pulse.arrived();
        let ongoing = pulse.request();
        drop(ongoing);
        later(&mut pulse, 119);
        assert_eq!(pulse.overdue(&limits()), None);
        later(&mut pulse, 2);
        assert_eq!(pulse.overdue(&limits()), Some("idle"));
        let ongoing = pulse.request();
        assert_eq!(pulse.overdue(&limits()), None);
        drop(ongoing);
        assert_eq!(pulse.overdue(&limits()), None);
    }

    #[test]
    fn what_moves_between_multiplexed_requests_neither_helps_nor_harms() {
        let mut pulse = Arc::new(Pulse::new(true));
        for _ in 0..12 {
            pulse.arrived();
            assert_eq!(pulse.overdue(&limits()), None);
            later(&mut pulse, 10);
        }
        later(&mut pulse, 1);
        assert_eq!(pulse.overdue(&limits()), Some("idle"));
    }

    #[test]
    fn a_reader_that_takes_nothing_is_overdue_and_one_that_takes_a_little_is_not() {
        let mut pulse = Arc::new(Pulse::new(false));
        pulse.stuck();
        later(&mut pulse, 29);
        pulse.stuck();
        assert_eq!(pulse.overdue(&limits()), None);
        pulse.left();
        pulse.stuck();
        later(&mut pulse, 29);
        assert_eq!(pulse.overdue(&limits()), None);
        later(&mut pulse, 2);
        assert_eq!(pulse.overdue(&limits()), Some("slow_reader"));
    }
}
