//! A layout in one tar archive (POSIX ustar), read in place: nothing is unpacked.
//!
//! The reader takes exactly what [`write_archive`] and OCI tools write for a layout: plain files and folders with
//! the names of a layout. Links, devices, sparse files, extended headers (so: long names), other names and
//! duplicates are refused, because each of them has been a way out of somebody's unpacking.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use martello_vocab::{ByteCount, Digest};

use crate::layout::{BLOB_FOLDER, INDEX_FILE, LAYOUT_FILE};
use crate::source::{blob_path, bounded};
use crate::{BlobSource, MemorySource, SourceError};

const BLOCK_BYTES: usize = 512;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// The most entries: a manifest pins fewer than 5,000 blobs.
const MOST_ENTRIES: usize = 8192;

/// A layout in a tar archive.
pub struct Archive<R> {
    reader: Mutex<R>,
    /// Offset and length of each file's bytes.
    files: BTreeMap<String, (u64, u64)>,
}

impl<R: Read + Seek + Send> Archive<R> {
    /// Indexes an archive. Only headers are read.
    ///
    /// # Errors
    /// [`SourceError::Archive`] at the first entry that a layout does not have, [`SourceError::Io`].
    pub fn index(mut reader: R) -> Result<Self, SourceError> {
        let length = reader.seek(SeekFrom::End(0)).map_err(io_error("archive"))?;
        let mut files = BTreeMap::new();
        let mut offset = 0;
        let mut entries = 0;
        loop {
            let refuse = |reason| SourceError::Archive { offset, reason };
            if length - offset < BLOCK {
                return Err(refuse("it ends without an end marker"));
            }
            let mut block = [0_u8; BLOCK_BYTES];
            reader.seek(SeekFrom::Start(offset)).map_err(io_error("archive"))?;
            reader.read_exact(&mut block).map_err(io_error("archive"))?;
            if block.iter().all(|&byte| byte == 0) {
                return Ok(Self { reader: Mutex::new(reader), files });
            }
            entries += 1;
            if entries > MOST_ENTRIES {
                return Err(refuse("it has too many entries"));
            }
            let header = Header(&block);
            if header.checksum() != Some(header.sum()) {
                return Err(refuse("a header's checksum does not hold"));
            }
            let name = header.name().ok_or_else(|| refuse("a name is not plain text"))?;
            let size = header.size().ok_or_else(|| refuse("a length is not octal"))?;
            let start = offset + BLOCK;
            match header.kind() {
                b'0' | 0 if is_layout_file(&name) => {
                    if size > length - start {
                        return Err(refuse("a file goes beyond the end"));
                    }
                    if files.insert(name, (start, size)).is_some() {
                        return Err(refuse("a name stands there twice"));
                    }
                    let padded = size.div_ceil(BLOCK) * BLOCK;
                    if padded > length - start {
                        return Err(refuse("a file goes beyond the end"));
                    }
                    offset = start + padded;
                }
                b'5' if size == 0 && matches!(name.as_str(), "" | "." | "blobs" | "blobs/sha256") => {
                    offset = start;
                }
                b'0' | 0 | b'5' => return Err(refuse("a name is not one of an OCI image layout")),
                _ => return Err(refuse("an entry is neither a plain file nor a folder")),
            }
        }
    }

    fn read(&self, name: &str, most: ByteCount) -> Result<Bytes, SourceError> {
        let &(offset, length) =
            self.files.get(name).ok_or_else(|| SourceError::Missing { name: name.to_owned() })?;
        bounded(name, ByteCount(length), most)?;
        let mut bytes = vec![0; ByteCount(length).as_usize()];
        // A reader that failed half way is sought anew by the next call, so its state does not matter.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.seek(SeekFrom::Start(offset)).map_err(io_error(name))?;
        reader.read_exact(&mut bytes).map_err(io_error(name))?;
        Ok(bytes.into())
    }
}

impl<R: Read + Seek + Send> BlobSource for Archive<R> {
    fn file(&self, name: &'static str, most: ByteCount) -> Result<Bytes, SourceError> {
        self.read(name, most)
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<ByteCount>, SourceError> {
        Ok(self.files.get(&blob_path(digest)).map(|&(_, length)| ByteCount(length)))
    }

    fn blob(&self, digest: &Digest, most: ByteCount) -> Result<Bytes, SourceError> {
        self.read(&blob_path(digest), most)
    }
}

impl<R> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({} files)", self.files.len())
    }
}

fn io_error(name: &str) -> impl Fn(io::Error) -> SourceError {
    move |source| SourceError::Io { name: name.to_owned(), source }
}

fn is_layout_file(name: &str) -> bool {
    let is_digest = |hex: &str| format!("sha256:{hex}").parse::<Digest>().is_ok();
    name == LAYOUT_FILE || name == INDEX_FILE || name.strip_prefix(BLOB_FOLDER).is_some_and(is_digest)
}

/// A header block (POSIX.1-2017, pax, "ustar Interchange Format").
struct Header<'a>(&'a [u8; BLOCK_BYTES]);

impl Header<'_> {
    fn field(&self, from: usize, length: usize) -> &[u8] {
        let field = self.0.get(from..from + length).unwrap_or_default();
        field.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn octal(&self, from: usize, length: usize) -> Option<u64> {
        let text = std::str::from_utf8(self.field(from, length)).ok()?.trim_matches(' ');
        if text.starts_with('+') { None } else { u64::from_str_radix(text, 8).ok() }
    }

    /// The name without a leading `./` or trailing `/`; none where it is not ASCII or has a prefix field.
    fn name(&self) -> Option<String> {
        let ustar = self.0.get(257..262) == Some(b"ustar".as_slice());
        if ustar && self.0.get(262) == Some(&0) && !self.field(345, 155).is_empty() {
            return None;
        }
        let name = self.field(0, 100);
        let name = if name.is_ascii() { std::str::from_utf8(name).ok()? } else { return None };
        Some(name.strip_prefix("./").unwrap_or(name).trim_end_matches('/').to_owned())
    }

    fn size(&self) -> Option<u64> {
        self.octal(124, 12)
    }

    fn kind(&self) -> u8 {
        self.0.get(156).copied().unwrap_or(b'?')
    }

    fn checksum(&self) -> Option<u64> {
        self.octal(148, 8)
    }

    /// The sum of all bytes, those of the checksum itself taken as spaces.
    fn sum(&self) -> u64 {
        let byte =
            |(index, &byte): (usize, &u8)| if (148..156).contains(&index) { 32 } else { u64::from(byte) };
        self.0.iter().enumerate().map(byte).sum()
    }
}

/// Writes a layout as an archive. The bytes depend on the layout alone: no times, no owners, a fixed order.
///
/// # Errors
/// Those of `out`.
pub fn write_archive(layout: &MemorySource, out: impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    for (name, bytes) in layout.files() {
        let mut header = tar::Header::new_ustar();
        header.set_path(&name)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        builder.append(&header, bytes.as_ref())?;
    }
    builder.into_inner()?.flush()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
