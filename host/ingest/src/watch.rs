//! Watching a folder for as long as wanted, whatever happens to it.

mod tree;

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::folder::{Folder, Found, IngestError};
use tree::Tree;

/// A watched folder. Drop it to stop watching.
///
/// The folder may be taken away, renamed, or made anew while it is watched, as when a share is mounted again: it is
/// waited for at its path, and what stands in it then is told of as [`Event::Lost`]. A link that is put there in its
/// place is not followed.
pub struct Watch {
    folder: Folder,
    /// None while the folder is gone.
    tree: Option<Tree>,
}

/// The folders in it may be named after patients.
impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folders = self.tree.as_ref().map_or(0, Tree::folders);
        f.debug_struct("Watch").field("folders", &folders).finish_non_exhaustive()
    }
}

/// What happened in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was closed after writing, or renamed into place.
    Arrived(Found),
    /// A file stands in a folder that has just come, or was linked into place, and its writer may still be at work: look
    /// at it again until it is settled.
    Unsettled(Found),
    /// Events were lost, or the folder was gone for a while: scan it again. Folders that came meanwhile are watched by
    /// now.
    Lost,
}

/// By what a folder is known again that stands at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// None where no folder is.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(Self { device: found.dev(), inode: found.ino() })
    }
}

impl Watch {
    /// Begins to watch the folder and all folders in it.
    ///
    /// # Errors
    /// The kernel refuses, for example because too many folders are watched already.
    pub fn begin(folder: &Folder) -> Result<Self, IngestError> {
        let tree = Tree::watch(folder).map_err(|source| unwatchable(folder, source))?;
        Ok(Self { folder: folder.clone(), tree: Some(tree) })
    }

    /// Waits for at most `timeout` and returns what happened; nothing where nothing did. From time to time the tree is
    /// gone through for folders that are not watched yet, and their files are told of.
    ///
    /// # Errors
    /// The kernel fails, or has no room for more watches.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Event>, IngestError> {
        // The kernel tells of the end of the folder itself, and of nothing where one above it is renamed.
        let here = Identity::of(self.folder.path());
        match &mut self.tree {
            Some(tree) if here == Some(tree.root()) && !tree.is_gone() => {
                return tree.wait(timeout).map_err(|source| unwatchable(&self.folder, source));
            }
            Some(_) => {
                tracing::warn!("the input folder is gone; it is waited for, and nothing comes in meanwhile");
                self.tree = None;
            }
            None => {}
        }
        if here.is_none() {
            std::thread::sleep(timeout);
            return Ok(Vec::new());
        }
        match Tree::watch(&self.folder) {
            Ok(tree) => {
                tracing::warn!("the input folder is back and is watched again; it is scanned");
                self.tree = Some(tree);
                Ok(vec![Event::Lost])
            }
            Err(error) if tree::is_of_the_device(&error) => Err(unwatchable(&self.folder, error)),
            // It is gone again, or cannot be read yet.
            Err(error) => {
                tracing::debug!(%error, "the input folder cannot be watched yet");
                std::thread::sleep(timeout);
                Ok(Vec::new())
            }
        }
    }
}

fn unwatchable(folder: &Folder, source: std::io::Error) -> IngestError {
    IngestError::Unwatchable { path: folder.path().to_owned(), source }
}

#[cfg(test)]
mod tests;
