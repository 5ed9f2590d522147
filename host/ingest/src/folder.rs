//! Listing a folder of inputs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

/// How deep folders may nest. Deeper ones are reported and left alone.
const DEEPEST: usize = 32;

/// A folder of inputs.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// An input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its path under the folder, as text (characters that are not Unicode are replaced).
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub changed: i64,
}

/// What can go wrong with inputs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IngestError {
    #[error("reading the input folder `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("watching the input folder `{path}`")]
    Unwatchable { path: PathBuf, source: io::Error },
}

impl Folder {
    /// A folder that exists.
    ///
    /// # Errors
    /// The path is no folder or cannot be read.
    pub fn open(root: &Path) -> Result<Self, IngestError> {
        let unreadable = |source| IngestError::Unreadable { path: root.to_owned(), source };
        let root = root.canonicalize().map_err(unreadable)?;
        fs::read_dir(&root).map_err(unreadable)?;
        Ok(Self { root })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Every input in the folder, in the order of their names. Sub-folders that cannot be read are logged and left
    /// out: one bad folder does not stop its neighbours.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn scan(&self) -> Result<Vec<Found>, IngestError> {
        fs::read_dir(&self.root)
            .map_err(|source| IngestError::Unreadable { path: self.root.clone(), source })?;
        let mut found = Vec::new();
        self.descend(&self.root, 0, &mut found, &mut |_| ());
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Collects inputs in and under `folder` into `found`, and tells `entered` of each folder before it is listed.
    pub(crate) fn descend(
        &self,
        folder: &Path,
        depth: usize,
        found: &mut Vec<Found>,
        entered: &mut dyn FnMut(&Path),
    ) {
        if depth > DEEPEST {
            tracing::warn!(depth, "a folder nests too deep and is left alone");
            return;
        }
        entered(folder);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "a folder of inputs cannot be read");
                return;
            }
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            if kind.is_dir() {
                self.descend(&path, depth + 1, found, entered);
            } else if kind.is_file()
                && let Some(input) = self.look_at(&path)
            {
                found.push(input);
            }
        }
    }

    /// The input at `path` as it is now, where it is a regular file that is not hidden.
    pub fn look_at(&self, path: &Path) -> Option<Found> {
        if is_hidden(path) {
            return None;
        }
        let metadata = fs::symlink_metadata(path).ok()?;
        if !metadata.is_file() {
            return None;
        }
        let name = path.strip_prefix(&self.root).ok()?.to_string_lossy().into_owned();
        let changed = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Some(Found { path: path.to_owned(), name, length: metadata.len(), changed })
    }
}

impl Found {
    /// Opens the file for reading; a link put in its place meanwhile is refused, and so is a pipe.
    ///
    /// # Errors
    /// It is gone, unreadable or no regular file any more.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Whether nothing was written for `quiet`, as far as the file's time of change tells.
    pub fn is_settled(&self, now: SystemTime, quiet: Duration) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return true };
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let quiet = i64::try_from(quiet.as_nanos()).unwrap_or(i64::MAX);
        // A time of change in the future is a wrong clock, and no reason to wait for ever.
        self.changed > now || now.saturating_sub(self.changed) >= quiet
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_finds_files_at_any_depth_and_leaves_links_and_hidden_files_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        fs::write(root.path().join("b/c/deep.dcm"), "1").unwrap();
        fs::write(root.path().join("a.dcm"), "22").unwrap();
        fs::write(root.path().join(".hidden"), "3").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.dcm")).unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("folder")).unwrap();
        let found = Folder::open(root.path()).unwrap().scan().unwrap();
        let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.length)).collect();
        assert_eq!(names, [("a.dcm", 2), ("b/c/deep.dcm", 1)]);
    }

    #[test]
    fn a_file_swapped_for_a_link_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.dcm");
        fs::write(&path, "1").unwrap();
        let found = Folder::open(root.path()).unwrap().scan().unwrap().remove(0);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(found.open().is_err());
    }

    #[test]
    fn a_fresh_file_is_not_settled_and_one_from_the_future_is() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "1").unwrap();
        let found = Folder::open(root.path()).unwrap().scan().unwrap().remove(0);
        let second = Duration::from_secs(1);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(found.changed.unsigned_abs());
        assert!(!found.is_settled(changed + second / 2, second));
        assert!(found.is_settled(changed + second, second));
        assert!(found.is_settled(changed - second, second));
    }
}
