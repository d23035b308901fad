//! Bodies with deadlines: a request's that must come in time, an answer's that tells when it is done.

use super::Deadlines;
use super::timed::Finishing;
use crate::limits::{BODY_RATE_BYTES_PER_SECOND_MIN, UNWANTED_BODY_BYTES_MAX};
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
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
///
/// When the request is answered before its body was read, the rest is read and thrown away if it is not too long: a
/// client that is still sending when the connection closes sees a broken connection in the place of its answer.
#[derive(Debug)]
pub(super) struct DeadlineBody(Option<Timed>);

/// The body and its deadlines.
#[derive(Debug)]
struct Timed {
    inner: Incoming,
    deadlines: Deadlines,
    /// Whether the client sends nothing before it is told to, and must not be told by mistake.
    waits: bool,
    bytes: u64,
    clock: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl DeadlineBody {
    pub(super) fn new(inner: Incoming, headers: &HeaderMap, deadlines: Deadlines) -> Self {
        Self(Some(Timed {
            inner,
            deadlines,
            waits: headers.contains_key(EXPECT),
            bytes: 0,
            clock: None,
        }))
    }
}

impl Timed {
    /// When the bytes seen so far are too few: the grace, and a second for each second's worth of bytes.
    fn due(&self, started: Instant) -> Instant {
        let worth = std::time::Duration::from_secs(self.bytes / BODY_RATE_BYTES_PER_SECOND_MIN);
        started + (self.deadlines.body_grace + worth).min(self.deadlines.body)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let started = self.clock.as_ref().map_or_else(Instant::now, |(started, _)| *started);
                let due = self.due(started);
                let (_, timer) = self.clock.get_or_insert_with(|| (started, Box::pin(sleep_until(due))));
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

    /// Reads what is left, up to [`UNWANTED_BODY_BYTES_MAX`], and keeps nothing.
    async fn throw_away(mut self) {
        self.bytes = 0;
        self.clock = None;
        while let Some(Ok(_)) = poll_fn(|cx| self.poll(cx)).await {
            if self.bytes > UNWANTED_BODY_BYTES_MAX {
                return;
            }
        }
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let polled = body.poll(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), |body| body.inner.size_hint())
    }
}

impl Drop for DeadlineBody {
    fn drop(&mut self) {
        let Some(body) = self.0.take() else { return };
        let is_long = body.inner.size_hint().lower() > UNWANTED_BODY_BYTES_MAX;
        if body.waits || is_long || body.inner.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(body.throw_away());
        }
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
