//! Where inputs come from, and what becomes of them afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use martello_ingest::{Found, Spool};

use super::reading::LARGEST_INPUT;

/// Where inputs come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// A folder of somebody else's: its files are left as they are.
    Folder(PathBuf),
    /// What was received. An object is removed when its outcome is durable; one at which the device failed stays, and is
    /// tried again at the next run.
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
