//! A connection whose client must take each response in time.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// When the response that is under way must be with the client.
#[derive(Debug, Clone)]
pub(super) struct ResponseDeadline(Arc<Mutex<Instant>>);

impl ResponseDeadline {
    pub(super) fn at(deadline: Instant) -> Self {
        Self(Arc::new(Mutex::new(deadline)))
    }

    /// Another response begins.
    pub(super) fn move_to(&self, deadline: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream on which writing fails once the client holds it up beyond the deadline. A client that takes a byte now and
/// then is held to it as one that takes none: the deadline is the response's, not that of one write.
pub(super) struct Timely<S> {
    stream: S,
    deadline: ResponseDeadline,
    /// Wakes a write that waits; it stands at the deadline as of then.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Timely<S> {
    pub(super) fn new(stream: S, deadline: ResponseDeadline) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(deadline.get()));
        Self { stream, deadline, alarm }
    }

    /// What comes of a write: whoever has to wait waits until the deadline.
    fn timely<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let deadline = self.deadline.get();
            if self.alarm.deadline() != deadline {
                self.alarm.as_mut().reset(deadline);
            }
            ready!(self.alarm.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timely<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timely<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timely(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timely(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timely(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timely(context, shut)
    }
}
