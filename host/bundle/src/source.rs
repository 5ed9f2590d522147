//! Where a layout's files come from.

use std::collections::BTreeMap;

use bytes::Bytes;
use martello_vocab::{ByteCount, Digest};

use crate::layout::{BLOB_FOLDER, INDEX_FILE, LAYOUT_FILE};

/// A place that holds an OCI image layout. What it returns is not trusted: callers bound, hash and verify it.
pub trait BlobSource: Send + Sync {
    /// Reads `oci-layout` or `index.json`.
    ///
    /// # Errors
    /// [`SourceError`]; also where the file is longer than `most`.
    fn file(&self, name: &'static str, most: ByteCount) -> Result<Bytes, SourceError>;

    /// The length of a blob, or none where it is not there.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    fn blob_size(&self, digest: &Digest) -> Result<Option<ByteCount>, SourceError>;

    /// Reads a blob.
    ///
    /// # Errors
    /// [`SourceError`]; also where the blob is longer than `most`.
    fn blob(&self, digest: &Digest, most: ByteCount) -> Result<Bytes, SourceError>;
}

/// A layout could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is not there.
    #[error("reading `{name}` of a bundle: there is none")]
    Missing {
        /// Its path in the layout.
        name: String,
    },
    /// The file is longer than it may be.
    #[error("reading `{name}` of a bundle: it has {found}, allowed are {most}")]
    TooLarge {
        /// Its path in the layout.
        name: String,
        /// Its length.
        found: ByteCount,
        /// The most allowed.
        most: ByteCount,
    },
    /// The system could not read it.
    #[error("reading `{name}` of a bundle")]
    Io {
        /// Its path in the layout.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The archive is not one that we read.
    #[error("reading a bundle's archive at byte {offset}: {reason}")]
    Archive {
        /// Where in the archive.
        offset: u64,
        /// Why.
        reason: &'static str,
    },
}

/// The path of a blob in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("{BLOB_FOLDER}{}", digest.hex())
}

pub(crate) fn bounded(name: &str, found: ByteCount, most: ByteCount) -> Result<(), SourceError> {
    if found <= most { Ok(()) } else { Err(SourceError::TooLarge { name: name.to_owned(), found, most }) }
}

/// A layout in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemorySource {
    pub(crate) layout: Bytes,
    pub(crate) index: Bytes,
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
}

impl MemorySource {
    /// Every file of the layout with its path, in the order in which an archive holds them.
    pub fn files(&self) -> impl Iterator<Item = (String, &Bytes)> {
        let head = [(LAYOUT_FILE.to_owned(), &self.layout), (INDEX_FILE.to_owned(), &self.index)];
        head.into_iter().chain(self.blobs.iter().map(|(digest, bytes)| (blob_path(digest), bytes)))
    }
}

impl BlobSource for MemorySource {
    fn file(&self, name: &'static str, most: ByteCount) -> Result<Bytes, SourceError> {
        let bytes = match name {
            LAYOUT_FILE => &self.layout,
            INDEX_FILE => &self.index,
            _ => return Err(SourceError::Missing { name: name.to_owned() }),
        };
        bounded(name, ByteCount(bytes.len() as u64), most)?;
        Ok(bytes.clone())
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<ByteCount>, SourceError> {
        Ok(self.blobs.get(digest).map(|bytes| ByteCount(bytes.len() as u64)))
    }

    fn blob(&self, digest: &Digest, most: ByteCount) -> Result<Bytes, SourceError> {
        let name = blob_path(digest);
        let Some(bytes) = self.blobs.get(digest) else { return Err(SourceError::Missing { name }) };
        bounded(&name, ByteCount(bytes.len() as u64), most)?;
        Ok(bytes.clone())
    }
}
