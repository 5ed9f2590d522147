//! A connection whose client must take each response in time, and not too slowly while an instance makes it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::instances::Instance;
use super::pace::Pace;

/// When the response that is under way must be with the client.
#[derive(Debug, Clone)]
pub(super) struct ResponseDeadline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deadline: Mutex<Instant>,
    /// Instances that live for responses of this connection.
    instances: AtomicUsize,
}

/// An instance that lives for a response.
pub(super) struct Held {
    _instance: Instance,
    response: ResponseDeadline,
}

impl ResponseDeadline {
    pub(super) fn at(deadline: Instant) -> Self {
        Self(Arc::new(Inner { deadline: Mutex::new(deadline), instances: AtomicUsize::new(0) }))
    }

    /// Another response begins.
    pub(super) fn move_to(&self, deadline: Instant) {
        *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn get(&self) -> Instant {
        *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance makes the response; its client is hurried until this is dropped.
    pub(super) fn held(&self, instance: Instance) -> Held {
        self.0.instances.fetch_add(1, Ordering::Relaxed);
        Held { _instance: instance, response: self.clone() }
    }

    fn is_held_up(&self) -> bool {
        self.0.instances.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.response.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream on which writing fails once the client holds it up beyond the deadline. A client that takes a byte now and
/// then is held to it as one that takes none: the deadline is the response's, not that of one write.
pub(super) struct Timely<S> {
    stream: S,
    deadline: ResponseDeadline,
    /// Wakes a write that waits; it stands at the deadline as of then.
    alarm: Pin<Box<Sleep>>,
    pace: Pace,
}

impl<S> Timely<S> {
    pub(super) fn new(stream: S, deadline: ResponseDeadline, pace: Pace) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(deadline.get()));
        Self { stream, deadline, alarm, pace }
    }

    /// What comes of a write: whoever has to wait waits until the deadline, and no longer than a slow client may hold an
    /// instance where one makes the response.
    fn timely<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let deadline = self.deadline.get();
            if self.alarm.deadline() != deadline {
                self.alarm.as_mut().reset(deadline);
                self.pace.restart();
            }
            if self.deadline.is_held_up() && self.pace.poll_over(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            ready!(self.alarm.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Poll::Ready(Ok(written)) = &written {
            self.pace.moved(bytes(written));
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
        self.timely(context, written, |&bytes| bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timely(context, written, |&bytes| bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timely(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timely(context, shut, |()| 0)
    }
}
