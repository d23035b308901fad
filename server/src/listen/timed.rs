//! A socket with a deadline for whatever the connection is doing.

use super::Deadlines;
use super::connections::Slot;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

const HEAD: u64 = 0;
const BUSY: u64 = 1;
const IDLE: u64 = 2;
const UPGRADED: u64 = 3;
const PHASES: u64 = 4;

/// What a connection is doing, shared by its socket and its requests. The number counts up by [`PHASES`] and more, so
/// that each phase is told from the one of the same kind before; its remainder is the kind.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicU64);

impl Phase {
    fn enter(&self, kind: u64) {
        let advance = |now: u64| Some((now / PHASES + 1) * PHASES + kind);
        // The closure always returns a value, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance);
    }

    fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The connection is another protocol's from now on, which watches its client itself.
    pub(super) fn hand_over(&self) {
        self.enter(UPGRADED);
    }

    /// A request's head has come; the phase lasts until the returned value is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Finishing {
        self.enter(BUSY);
        Finishing(Arc::clone(self))
    }
}

/// Ends the busy phase when dropped: the answer has been written or given up.
#[derive(Debug)]
pub(super) struct Finishing(Arc<Phase>);

impl Drop for Finishing {
    fn drop(&mut self) {
        if self.0.current() % PHASES != UPGRADED {
            self.0.enter(IDLE);
        }
    }
}

/// A TCP stream that fails with `TimedOut` when the peer is too slow for the current phase.
#[derive(Debug)]
pub(super) struct TimedStream {
    stream: TcpStream,
    phase: Arc<Phase>,
    deadlines: Deadlines,
    /// The phase that `read_deadline` was set for.
    timed_phase: u64,
    read_deadline: Pin<Box<Sleep>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    /// Counts the connection, also after another protocol has taken it over.
    _slot: Slot,
}

impl TimedStream {
    /// A fresh connection, from which a head is expected.
    pub(super) fn new(stream: TcpStream, phase: Arc<Phase>, deadlines: Deadlines, slot: Slot) -> Self {
        Self {
            stream,
            timed_phase: phase.current(),
            phase,
            deadlines,
            read_deadline: Box::pin(sleep(deadlines.head)),
            write_deadline: None,
            _slot: slot,
        }
    }

    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.current();
        let allowed: Duration = match phase % PHASES {
            BUSY | UPGRADED => return Poll::Pending,
            IDLE => self.deadlines.idle,
            _ => self.deadlines.head,
        };
        if phase != self.timed_phase {
            self.timed_phase = phase;
            self.read_deadline.as_mut().reset(Instant::now() + allowed);
        }
        self.read_deadline.as_mut().poll(cx)
    }

    /// Turns a write that makes no progress for too long into an error.
    fn guard_write<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_deadline = None;
            return outcome;
        }
        let allowed = self.deadlines.write;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(allowed)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the client does not read its answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before && self.phase.current() % PHASES == IDLE {
                    self.phase.enter(HEAD);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => match self.poll_read_deadline(cx) {
                Poll::Ready(()) => Poll::Ready(Err(timed_out("no request came in time"))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.guard_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.guard_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.guard_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.guard_write(cx, outcome)
    }
}
