//! What can be wrong with a signed document, a trust root or a blob.

use martello_vocab::{ByteCount, Digest};

use crate::canonical::JsonError;
use crate::{KeyId, Role, Timestamp};

/// A document, a trust root or a blob that cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is larger than documents of its kind may be. Nothing of it was parsed.
    #[error("reading a signed document of {found}: at most {most} are allowed")]
    TooLarge {
        /// Its size.
        found: ByteCount,
        /// The most allowed.
        most: ByteCount,
    },
    /// It is not JSON as signed documents write it.
    #[error("reading a signed document")]
    Json(#[from] JsonError),
    /// It is JSON, but not an envelope of one statement and its signatures.
    #[error("reading a signed document: {0}")]
    Envelope(&'static str),
    /// The statement is of another kind than the one asked for.
    #[error("reading a signed document: it is a `{found}`, wanted is a `{expected}`")]
    WrongKind {
        /// The kind asked for.
        expected: &'static str,
        /// The kind it says it is, at most 64 bytes of it.
        found: String,
    },
    /// The trust root names no keys for the role.
    #[error("verifying signatures: the trust root names no keys for role `{0}`")]
    UnknownRole(Role),
    /// Fewer keys of the role signed than its threshold asks for.
    #[error("verifying signatures: {found} of the keys of role `{role}` signed, needed are {threshold}")]
    BelowThreshold {
        /// The role.
        role: Role,
        /// Distinct keys of the role whose signature held.
        found: u32,
        /// Distinct keys needed.
        threshold: u32,
    },
    /// The signatures hold, but the statement does not say what documents of its kind say.
    #[error("reading the signed statement: {0}")]
    Statement(String),
    /// The trust root has expired.
    #[error("opening a trust root: it expired at {expires}")]
    Expired {
        /// When.
        expires: Timestamp,
    },
    /// The trust root does not hold together.
    #[error("opening a trust root: {0}")]
    Root(String),
    /// The next trust root does not follow the present one.
    #[error("following a trust root: its version is {found}, the next one is {expected}")]
    RootVersion {
        /// The present version and one.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// A signing key has another id than the one named.
    #[error("verifying signatures: key {0} is not what its id says")]
    KeyIdMismatch(KeyId),
    /// The document does not pin the blob.
    #[error("admitting blob {digest}: the signed document does not name it")]
    NotPinned {
        /// The blob's digest.
        digest: Digest,
    },
    /// The blob has another length than the document pins.
    #[error("admitting blob {digest}: it has {found}, signed are {expected}")]
    WrongSize {
        /// The blob's digest.
        digest: Digest,
        /// The length signed.
        expected: ByteCount,
        /// The length found.
        found: ByteCount,
    },
    /// The blob's bytes are not those that were signed.
    #[error("admitting blob {expected}: its bytes have digest {found}")]
    WrongDigest {
        /// The digest signed.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
}
