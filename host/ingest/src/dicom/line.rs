//! A connection on which every wait has an end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::transport::Transport;

/// How often a wait looks at its deadline and at whether the door closes.
const TURN: Duration = Duration::from_millis(100);
/// Bytes of a peer that are read and forgotten at the end at most.
const FORGOTTEN: usize = 1 << 20;

/// A connection.
pub(crate) struct Line {
    transport: Transport,
    stop: Arc<AtomicBool>,
    stopping: Duration,
    /// When the door was first seen to close.
    closing: Option<Instant>,
}

/// A connection that gives nothing any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer took too long")]
    Late,
    #[error("the door closes")]
    Stopped,
    #[error("the connection failed")]
    Failed(#[source] io::Error),
}

/// What is waited for while the door closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Something new, which is not begun any more.
    ForMore,
    /// The end of something, which gets its time.
    ForTheEnd,
}

impl Line {
    pub(crate) fn new(transport: Transport, stop: Arc<AtomicBool>, stopping: Duration) -> io::Result<Self> {
        let stream = transport.stream();
        // Answers are short and waited for: Nagle's algorithm would hold them back until the peer's delayed
        // acknowledgement comes, some 40 ms an object.
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TURN))?;
        stream.set_write_timeout(Some(TURN))?;
        Ok(Self { transport, stop, stopping, closing: None })
    }

    /// Agrees on keys, where the line is encrypted.
    pub(crate) fn secure(&mut self, deadline: Instant) -> Result<(), LineError> {
        loop {
            let step = self.transport.handshake();
            if self.step(step, deadline, Waiting::ForMore)? {
                return Ok(());
            }
        }
    }

    /// Fills the buffer.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Instant,
        waiting: Waiting,
    ) -> Result<(), LineError> {
        // A peer with Nagle's algorithm sends a PDU in two pieces and holds the second back until the first is acknowledged,
        // which the system would put off by some 40 ms. The wish is forgotten when data come, so it is said again each
        // time; where it is not heard, all goes on more slowly.
        let _ = rustix::net::sockopt::set_tcp_quickack(self.transport.stream(), true);
        let mut rest = buffer;
        while !rest.is_empty() {
            let read = self.transport.read(rest);
            let count = self.progress(read, deadline, waiting)?;
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LineError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.transport.write(rest);
            let count = self.progress(written, deadline, Waiting::ForTheEnd)?;
            rest = rest.get(count..).unwrap_or_default();
        }
        loop {
            let step = self.transport.flush();
            if self.step(step, deadline, Waiting::ForTheEnd)? {
                return Ok(());
            }
        }
    }

    /// Lets the peer read our last word: a connection that is closed with bytes unread is reset, and the peer may lose
    /// what we said.
    pub(crate) fn end(mut self, deadline: Instant) {
        if self.transport.finish().is_err() {
            return;
        }
        let mut buffer = [0; 4 << 10];
        let mut forgotten = 0;
        while forgotten < FORGOTTEN {
            let read = self.transport.read(&mut buffer);
            match self.progress(read, deadline, Waiting::ForMore) {
                Ok(count) => forgotten += count,
                Err(_) => return,
            }
        }
    }

    /// Judges a step that is the last one or not.
    fn step(
        &mut self,
        done: io::Result<bool>,
        deadline: Instant,
        waiting: Waiting,
    ) -> Result<bool, LineError> {
        let is_last = matches!(done, Ok(true));
        self.progress(done.map(|_| 1), deadline, waiting)?;
        Ok(is_last)
    }

    /// Judges what a read or write came to. 0 bytes where it should be tried again.
    fn progress(
        &mut self,
        done: io::Result<usize>,
        deadline: Instant,
        waiting: Waiting,
    ) -> Result<usize, LineError> {
        let now = Instant::now();
        if self.stop.load(Ordering::Relaxed) {
            let closing = *self.closing.get_or_insert(now);
            if waiting == Waiting::ForMore || now.saturating_duration_since(closing) > self.stopping {
                return Err(LineError::Stopped);
            }
        }
        match done {
            Ok(0) => Err(LineError::Closed),
            // A peer that sends byte by byte is late as well.
            Ok(_) if now > deadline => Err(LineError::Late),
            Ok(count) => Ok(count),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if now > deadline => Err(LineError::Late),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(0),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(LineError::Closed),
                _ => Err(LineError::Failed(error)),
            },
        }
    }
}
