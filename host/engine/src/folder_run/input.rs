//! Where inputs come from, and what becomes of them afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use martello_ingest::{Found, Spool};

use super::reading::LARGEST_INPUT;

/// A device is seldom mended sooner, and each try of an object at which it fails is a line in the report.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Where inputs come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// A folder of somebody else's: its files are left as they are.
    Folder(PathBuf),
    /// What was received. An object is removed when its outcome is durable; one at which the device failed stays, and is
    /// tried again when nothing else waits, and at the next run.
    Spool(Arc<Spool>),
}

impl Input {
    /// The folder in which the files stand.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::Spool(spool) => spool.path(),
        }
    }

    /// After how long what is left is tried again while the run goes on: nobody else brings an object again that was
    /// received.
    pub(super) fn again(&self) -> Option<Duration> {
        match self {
            Self::Folder(_) => None,
            Self::Spool(_) => Some(TRY_AGAIN_AFTER),
        }
    }

    /// The outcome of an input is durable, now or since an earlier run.
    pub(super) fn release(&self, found: &Found) {
        match self {
            Self::Folder(_) => {}
            // It was not read, and quarantine holds no copy of it: this is the only one.
            Self::Spool(_) if found.length > LARGEST_INPUT => {}
            Self::Spool(spool) => spool.release(found),
        }
    }
}
