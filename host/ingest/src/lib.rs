//! How inputs come in, and how objects go out again. In: from a folder, once or for as long as it is watched, and over the
//! network into a folder of our own. Out: from a queue for each destination, until it has them.
//!
//! [`Folder::survey`] lists what is there; [`Watch`] tells of what comes. A file that is still being written is told of
//! when its writer closes it, or renames or links it into place. Links are not followed and hidden files are left alone.
//! [`dicom`] receives objects from DICOM peers into a [`Spool`], which is such a folder: whoever works on inputs need not
//! know how they came. This crate looks into an object only as far as its class and instance, to see that it is the one
//! that was announced. A [`Sender`] delivers what waits in a [`Queue`]; a spool may have queues that get every original
//! before it, so that nothing behind it is in their way.

mod chain;
pub mod dicom;
mod durable;
mod folder;
mod queue;
mod send;
mod spool;
mod tls;
mod transport;
mod watch;

pub use folder::{Folder, Found, Ignored, IngestError, Scanned};
pub use queue::{HandingOver, PutError, Queue, QueueError, QueueLimits, QueueState};
pub use send::{Retry, Sender};
pub use spool::{Spool, SpoolError, SpoolLimits};
pub use tls::{TlsClient, TlsError, TlsIdentity, TlsServer};
pub use watch::{Event, Watch};
