//! Layouts on disk. This is the only module of the crate that opens files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use martello_trust::TrustRoot;
use martello_vocab::{ByteCount, Digest};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::layout::BLOB_FOLDER;
use crate::source::{blob_path, bounded};
use crate::{Archive, BlobSource, BundleError, MemorySource, SourceError, VerifiedBundle, open};

/// A layout in a folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The layout in the folder at `path`. Nothing is read yet. Links in it are refused, and so is all that is no
    /// regular file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn read(&self, name: &str, most: ByteCount) -> Result<Bytes, SourceError> {
        let io_error = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SourceError::Missing { name: name.to_owned() },
            _ => SourceError::Io { name: name.to_owned(), source },
        };
        let file = open_regular(&self.0.join(name), OFlags::NOFOLLOW).map_err(io_error)?;
        let length = ByteCount(file.metadata().map_err(io_error)?.len());
        bounded(name, length, most)?;
        let mut bytes = Vec::with_capacity(length.as_usize());
        // The file may grow meanwhile: one byte more than allowed shows it, and no more is read.
        file.take(most.0.saturating_add(1)).read_to_end(&mut bytes).map_err(io_error)?;
        bounded(name, ByteCount(bytes.len() as u64), most)?;
        Ok(bytes.into())
    }
}

impl BlobSource for Folder {
    fn file(&self, name: &'static str, most: ByteCount) -> Result<Bytes, SourceError> {
        self.read(name, most)
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<ByteCount>, SourceError> {
        let name = blob_path(digest);
        match std::fs::symlink_metadata(self.0.join(&name)) {
            Ok(metadata) if !metadata.is_file() => Err(SourceError::Io { name, source: not_regular() }),
            Ok(metadata) => Ok(Some(ByteCount(metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SourceError::Io { name, source }),
        }
    }

    fn blob(&self, digest: &Digest, most: ByteCount) -> Result<Bytes, SourceError> {
        self.read(&blob_path(digest), most)
    }
}

/// The layout at `path`: a folder, or else a tar archive.
///
/// # Errors
/// [`SourceError`] where the file cannot be read or is not an archive of a layout.
pub fn source_at(path: &Path) -> Result<Arc<dyn BlobSource>, SourceError> {
    let io_error = |source| SourceError::Io { name: path.display().to_string(), source };
    if std::fs::metadata(path).map_err(io_error)?.is_dir() {
        return Ok(Arc::new(Folder::at(path)));
    }
    // Whoever names the archive may name a link to it; what stands inside of a layout may be none.
    Ok(Arc::new(Archive::index(open_regular(path, OFlags::empty()).map_err(io_error)?)?))
}

/// Opens a regular file for reading. Nothing is waited for, as the writer of a pipe would be, and nothing read that has
/// no end.
fn open_regular(path: &Path, links: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | links;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(not_regular()),
        Err(errno) => return Err(errno.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

/// Opens the bundle at `path`, a folder or a tar archive.
///
/// # Errors
/// As [`open`].
pub fn open_path(path: &Path, root: &TrustRoot) -> Result<VerifiedBundle, BundleError> {
    open(source_at(path)?, root)
}

/// Writes a layout into a folder, which may exist. `index.json` is written last, so that a reader never follows it
/// to a blob that is not there yet; then blobs of an earlier layout in that folder are removed.
///
/// # Errors
/// Those of the file system.
pub fn write_folder(layout: &MemorySource, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder.join(BLOB_FOLDER))?;
    let (blobs, head): (Vec<_>, Vec<_>) = layout.files().partition(|(name, _)| name.starts_with(BLOB_FOLDER));
    for (name, bytes) in blobs.into_iter().chain(head) {
        let mut file = File::create(folder.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    for entry in std::fs::read_dir(folder.join(BLOB_FOLDER))? {
        let entry = entry?;
        let digest: Option<Digest> =
            entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
        if digest.is_some_and(|digest| !layout.blobs.contains_key(&digest)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
