//! What verification leaves behind: values and bytes that may be acted upon.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use martello_vocab::{ByteCount, Digest};

use crate::{KeyId, Role, TrustError};

/// A value that came out of verification.
///
/// INVARIANT: only [`verify`](crate::verify) and [`Trusted::admit`] make one, so whoever takes a `Trusted<T>` needs
/// no check of its own. There is no public constructor and no `map`:
///
/// ```compile_fail,E0423
/// let forged = martello_trust::Trusted(42);
/// ```
///
/// ```compile_fail,E0451
/// fn forge<T: Clone>(template: &martello_trust::Trusted<u32>, value: u32) -> martello_trust::Trusted<u32> {
///     martello_trust::Trusted { value, ..template.clone() }
/// }
/// ```
///
/// What it holds cannot be exchanged either, because it is only lent for reading:
///
/// ```compile_fail,E0594
/// fn exchange(trusted: &mut martello_trust::Trusted<u32>) {
///     **trusted = 42;
/// }
/// ```
#[derive(Clone)]
pub struct Trusted<T> {
    value: T,
    verification: Arc<Verification>,
}

/// How a value came to be trusted, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The role whose threshold of signatures was met.
    pub role: Role,
    /// SHA-256 of the canonical signed bytes. It stays the same when another signature is added.
    pub statement: Digest,
    /// The keys whose signatures held, each key once, in the order of their ids.
    pub signers: Vec<KeyId>,
    /// The version of the trust root that named those keys.
    pub root_version: u64,
}

impl<T> Trusted<T> {
    pub(crate) fn new(value: T, verification: Arc<Verification>) -> Self {
        Self { value, verification }
    }

    /// Whose signatures made this value trusted, and over which statement.
    pub fn verification(&self) -> &Verification {
        &self.verification
    }

    /// Gives up the trust and keeps the value.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Trusted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Trusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trusted").field(&self.value).finish()
    }
}

/// A document that pins blobs by digest and length. Signing it signs them.
pub trait Pins {
    /// The length of the blob with this digest, or none where the document does not name it.
    fn pinned_size(&self, digest: &Digest) -> Option<ByteCount>;
}

impl<M: Pins> Trusted<M> {
    /// Takes bytes in as the blob `expected`, which this document must pin. The bytes are hashed here, whatever
    /// their source says about them.
    ///
    /// # Errors
    /// [`TrustError::NotPinned`] where the document does not name `expected`, [`TrustError::WrongSize`] and
    /// [`TrustError::WrongDigest`] where the bytes are others.
    pub fn admit(&self, expected: &Digest, bytes: Bytes) -> Result<Trusted<Blob>, TrustError> {
        let Some(size) = self.value.pinned_size(expected) else {
            return Err(TrustError::NotPinned { digest: *expected });
        };
        let found = ByteCount(bytes.len() as u64);
        if found != size {
            return Err(TrustError::WrongSize { digest: *expected, expected: size, found });
        }
        let digest = Digest::of(&bytes);
        if digest != *expected {
            return Err(TrustError::WrongDigest { expected: *expected, found: digest });
        }
        Ok(Trusted::new(Blob { digest, bytes }, Arc::clone(&self.verification)))
    }
}

/// Bytes under the name of their digest.
///
/// INVARIANT: the digest is that of the bytes; only [`Trusted::admit`] and [`Blob::of`] make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    digest: Digest,
    bytes: Bytes,
}

impl Blob {
    /// Hashes bytes. A blob alone says nothing about trust: the loaders take `Trusted<Blob>`.
    pub fn of(bytes: Bytes) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }

    /// SHA-256 of the bytes.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes. Cloning them is cheap.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of bytes.
    pub fn size(&self) -> ByteCount {
        ByteCount(self.bytes.len() as u64)
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {})", self.digest, self.size())
    }
}
