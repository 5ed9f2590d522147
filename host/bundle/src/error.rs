//! What can be wrong with a bundle.

use martello_trust::TrustError;
use martello_vocab::{Digest, Name};

use crate::SourceError;

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Its files cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is not an OCI image layout of one bundle.
    #[error("reading the {what} of a bundle: {reason}")]
    Layout {
        /// Which document.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A blob does not have the bytes that its digest names.
    #[error("reading blob {digest} of a bundle: its bytes are others")]
    Corrupt {
        /// The digest.
        digest: Digest,
    },
    /// Its signatures do not hold, or its blobs are not those that were signed.
    #[error("verifying a bundle")]
    Trust(#[from] TrustError),
    /// A blob that the manifest pins is not there.
    #[error("verifying a bundle: blob {digest} is missing")]
    MissingBlob {
        /// The digest.
        digest: Digest,
    },
    /// The manifest has nothing of this name.
    #[error("looking into a bundle: it has no {what} `{name}`")]
    Unknown {
        /// The kind of thing.
        what: &'static str,
        /// The name asked for.
        name: Name,
    },
}

impl BundleError {
    /// Whether what was read is not what was signed, as against what could not be read at all.
    pub const fn is_verification(&self) -> bool {
        match self {
            Self::Source(SourceError::Archive { .. } | SourceError::TooLarge { .. }) => true,
            Self::Source(_) | Self::Unknown { .. } => false,
            Self::Layout { .. } | Self::Corrupt { .. } | Self::Trust(_) | Self::MissingBlob { .. } => true,
        }
    }
}
