//! Bodies with deadlines: a request's that must come in time, an answer's that tells when it is done.

use super::Deadlines;
use super::timed::Finishing;
use crate::limits::BODY_RATE_BYTES_PER_SECOND_MIN;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of a request came too slowly; the answer is 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTooSlow;

impl fmt::Display for BodyTooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request came too slowly")
    }
}

impl std::error::Error for BodyTooSlow {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body that fails with [`BodyTooSlow`] when it takes too long, or comes slower than the least rate.
#[derive(Debug)]
pub(super) struct DeadlineBody {
    inner: Incoming,
    deadlines: Deadlines,
    bytes: u64,
    clock: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl DeadlineBody {
    pub(super) fn new(inner: Incoming, deadlines: Deadlines) -> Self {
        Self {
            inner,
            deadlines,
            bytes: 0,
            clock: None,
        }
    }

    /// When the bytes seen so far are too few: the grace, and a second for each second's worth of bytes.
    fn due(&self, started: Instant) -> Instant {
        let worth = std::time::Duration::from_secs(self.bytes / BODY_RATE_BYTES_PER_SECOND_MIN);
        started + (self.deadlines.body_grace + worth).min(self.deadlines.body)
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let started = this.clock.as_ref().map_or_else(Instant::now, |(started, _)| *started);
                let due = this.due(started);
                let (_, timer) = this.clock.get_or_insert_with(|| (started, Box::pin(sleep_until(due))));
                if timer.deadline() != due {
                    timer.as_mut().reset(due);
                }
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(BodyTooSlow.into()))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body; the connection's busy phase ends when it is dropped.
#[derive(Debug)]
pub(super) struct FinishingBody {
    inner: Body,
    _finishing: Finishing,
}

impl FinishingBody {
    pub(super) fn new(inner: Body, finishing: Finishing) -> Self {
        Self {
            inner,
            _finishing: finishing,
        }
    }
}

impl HttpBody for FinishingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
