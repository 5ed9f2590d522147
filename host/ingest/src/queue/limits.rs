//! How much a queue takes, how full it is, and why something does not go in.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use martello_vocab::ByteCount;

/// How much a queue takes, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Objects that wait, and as many again that are kept.
    pub objects: u64,
    /// Bytes of those that wait, and as many again of those that are kept. A single object may have more.
    pub bytes: ByteCount,
    /// How old an object may become that waits; then it is kept and not tried any more. Without it, objects are tried for
    /// ever.
    pub expiry: Option<Duration>,
}

impl Default for QueueLimits {
    /// As much as a spool takes by default, so that a destination that is down for a day holds up nobody.
    fn default() -> Self {
        Self { objects: 100_000, bytes: ByteCount::mebibytes(16 << 10), expiry: None }
    }
}

impl QueueLimits {
    /// Whether one more object of this length goes in where these are.
    pub(super) fn hold(&self, objects: u64, bytes: u64, length: u64) -> bool {
        objects == 0 || (objects < self.objects && bytes.saturating_add(length) <= self.bytes.0)
    }
}

/// A queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum QueueError {
    #[error("another process delivers from the queue `{path}`")]
    Busy { path: PathBuf },
    #[error("a link stands in the place of the queue `{path}`")]
    Link { path: PathBuf },
    #[error("preparing the queue `{path}`")]
    Unusable { path: PathBuf, source: io::Error },
}

/// An object is not taken into a queue.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PutError {
    #[error("the queue is full")]
    Full,
    #[error("the queue is closed")]
    Closed,
    #[error("the disk fails")]
    Disk(#[source] io::Error),
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Objects that wait to be delivered.
    pub waiting: u64,
    /// Objects that were not delivered and are not tried any more.
    pub kept: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Objects that were delivered since the queue was opened.
    pub delivered: u64,
}
