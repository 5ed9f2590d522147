//! Reading inputs: what is hashed is what is worked on.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use martello_ingest::Found;
use martello_runtime::Payload;
use martello_vocab::{Code, Digest, Hasher, code};

/// Inputs up to this many bytes are held in memory while they are worked on; larger ones in an unnamed file.
const HELD_IN_MEMORY: u64 = 32 << 20;
/// The largest input that a device takes: a long multi-frame acquisition.
pub(super) const LARGEST_INPUT: u64 = 4 << 30;

#[derive(Debug)]
pub(super) enum ReadError {
    Gone,
    TooLarge,
    /// The input itself.
    Unreadable(io::Error),
    /// The device's own copy of it.
    Spool(io::Error),
}

impl ReadError {
    /// The reason code of an input that could not be read.
    pub(super) fn code(&self) -> Code {
        Code::of(match self {
            Self::Gone | Self::Unreadable(_) => code::INPUT_UNREADABLE,
            Self::TooLarge => code::INPUT_TOO_LARGE,
            // An operator who reads of the input would look after the wrong folder.
            Self::Spool(_) => code::OUTPUT_UNWRITABLE,
        })
    }
}

/// Reads and hashes an input; a large one is copied into a file that `unnamed` makes, on the device's own disk: the copy
/// is identified data. What is worked on is what was hashed: the bytes are held, or copied into an unnamed
/// file, so that a file that changes meanwhile cannot be one thing to the digest and another to the pipeline.
pub(super) fn read_input(
    found: &Found,
    unnamed: impl FnOnce() -> io::Result<File>,
) -> Result<(Payload, Digest), ReadError> {
    let mut file = found.open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Gone,
        _ => ReadError::Unreadable(error),
    })?;
    let length = file.metadata().map_err(ReadError::Unreadable)?.len();
    if length > LARGEST_INPUT {
        return Err(ReadError::TooLarge);
    }
    if length <= HELD_IN_MEMORY {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
        file.take(HELD_IN_MEMORY + 1).read_to_end(&mut bytes).map_err(ReadError::Unreadable)?;
        if bytes.len() as u64 > HELD_IN_MEMORY {
            return Err(ReadError::Unreadable(io::Error::other("the file grew while it was read")));
        }
        let digest = Digest::of(&bytes);
        return Ok((Payload::memory(MEDIA_TYPE, Bytes::from(bytes)), digest));
    }
    let mut copy = unnamed().map_err(ReadError::Spool)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0_u8; 1 << 20];
    let mut copied = 0_u64;
    loop {
        let count = file.read(&mut buffer).map_err(ReadError::Unreadable)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        copied += count as u64;
        if copied > LARGEST_INPUT {
            return Err(ReadError::TooLarge);
        }
        hasher.update(bytes);
        copy.write_all(bytes).map_err(ReadError::Spool)?;
    }
    let payload = Payload::file(MEDIA_TYPE, copy).map_err(ReadError::Spool)?;
    Ok((payload, hasher.finish()))
}

/// Inputs of a folder are taken as DICOM; a stage refuses what is not.
const MEDIA_TYPE: &str = "application/dicom";
