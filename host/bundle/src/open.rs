//! Opening a bundle: from a layout to things that may be run.

use std::collections::BTreeMap;
use std::sync::Arc;

use martello_trust::{Blob, Envelope, KeyId, Pins, TrustRoot, Trusted, verify};
use martello_vocab::{ByteCount, Digest, Name};

use crate::layout::find_envelope;
use crate::manifest::{Golden, GoldenTensor, Manifest};
use crate::{BlobSource, BundleError};

/// A bundle whose manifest was verified. Its blobs are verified one by one when they are read.
#[derive(Clone)]
pub struct VerifiedBundle {
    source: Arc<dyn BlobSource>,
    manifest: Trusted<Manifest>,
}

/// Opens a bundle: finds its envelope, verifies it against the release keys of `root`, checks the manifest, and
/// makes sure that every blob it pins is there with the right length.
///
/// # Errors
/// [`BundleError`]; [`BundleError::is_verification`] tells tampering from trouble with reading.
pub fn open(source: Arc<dyn BlobSource>, root: &TrustRoot) -> Result<VerifiedBundle, BundleError> {
    let envelope = find_envelope(source.as_ref())?;
    let manifest: Trusted<Manifest> = verify(&envelope, root)?;
    for (digest, size) in manifest.pins() {
        match source.blob_size(&digest)? {
            None => return Err(BundleError::MissingBlob { digest }),
            Some(found) if found != size => return Err(BundleError::Corrupt { digest }),
            Some(_) => {}
        }
    }
    Ok(VerifiedBundle { source, manifest })
}

impl VerifiedBundle {
    /// The manifest. It was validated too.
    pub const fn manifest(&self) -> &Trusted<Manifest> {
        &self.manifest
    }

    /// What the bundle is: SHA-256 of the canonical signed manifest. Further signatures do not change it.
    pub fn digest(&self) -> Digest {
        self.manifest.verification().statement
    }

    /// The component of this name.
    ///
    /// # Errors
    /// Where there is none, or its bytes are not those that were signed.
    pub fn component(&self, name: &Name) -> Result<Trusted<Blob>, BundleError> {
        let found = self.manifest.component(name).map(|it| it.digest);
        self.blob(&found.ok_or_else(|| unknown("component", name))?)
    }

    /// The file of the model of this name.
    ///
    /// # Errors
    /// As [`VerifiedBundle::component`].
    pub fn model(&self, name: &Name) -> Result<Trusted<Blob>, BundleError> {
        let found = self.manifest.model(name).map(|it| it.digest);
        self.blob(&found.ok_or_else(|| unknown("model", name))?)
    }

    /// The asset of this name.
    ///
    /// # Errors
    /// As [`VerifiedBundle::component`].
    pub fn asset(&self, name: &Name) -> Result<Trusted<Blob>, BundleError> {
        let found = self.manifest.assets.iter().find(|it| it.name == *name).map(|it| it.digest);
        self.blob(&found.ok_or_else(|| unknown("asset", name))?)
    }

    /// The tensors of a golden case of this bundle's manifest: inputs and outputs, each by tensor name.
    ///
    /// # Errors
    /// As [`VerifiedBundle::component`].
    pub fn golden(&self, golden: &Golden) -> Result<GoldenTensors, BundleError> {
        let read = |tensors: &BTreeMap<String, GoldenTensor>| {
            tensors.iter().map(|(name, it)| Ok((name.clone(), self.blob(&it.digest)?))).collect()
        };
        let inputs: Result<_, BundleError> = read(&golden.inputs);
        let outputs: Result<_, BundleError> = read(&golden.outputs);
        Ok(GoldenTensors { inputs: inputs?, outputs: outputs? })
    }

    /// A blob that the manifest pins, by digest. It is read, hashed and compared at each call.
    ///
    /// # Errors
    /// Where the manifest does not pin it, or its bytes are not those that were signed.
    pub fn blob(&self, digest: &Digest) -> Result<Trusted<Blob>, BundleError> {
        let size = Pins::pinned_size(&*self.manifest, digest);
        let most = size.unwrap_or(ByteCount(0));
        Ok(self.manifest.admit(digest, self.source.blob(digest, most)?)?)
    }

    /// Reads and hashes every blob.
    ///
    /// # Errors
    /// The first blob whose bytes are not those that were signed.
    pub fn verify_blobs(&self) -> Result<(), BundleError> {
        self.manifest.pins().keys().try_for_each(|digest| self.blob(digest).map(drop))
    }
}

impl std::fmt::Debug for VerifiedBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedBundle({} {}, {})", self.manifest.name, self.manifest.version, self.digest())
    }
}

/// The tensors of a golden case: raw little-endian elements by tensor name.
#[derive(Debug, Clone)]
pub struct GoldenTensors {
    /// What goes in.
    pub inputs: BTreeMap<String, Trusted<Blob>>,
    /// What must come out.
    pub outputs: BTreeMap<String, Trusted<Blob>>,
}

fn unknown(what: &'static str, name: &Name) -> BundleError {
    BundleError::Unknown { what, name: name.clone() }
}

/// What a bundle says of itself, which nobody has verified: to look at it and to add signatures.
#[derive(Debug, Clone)]
pub struct UnverifiedBundle {
    pub(crate) envelope: Envelope,
    pub(crate) manifest: Manifest,
}

impl UnverifiedBundle {
    /// Reads the envelope of a bundle without believing it.
    ///
    /// # Errors
    /// Where the layout, the envelope or the manifest is malformed.
    pub fn read(source: &dyn BlobSource) -> Result<Self, BundleError> {
        let envelope = Envelope::read::<Manifest>(&find_envelope(source)?)?;
        let manifest = envelope.document()?;
        Ok(Self { envelope, manifest })
    }

    /// What the manifest says.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The keys that claim to have signed.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &KeyId> {
        self.envelope.claimed_signers()
    }

    /// SHA-256 of the canonical manifest: what the bundle is.
    pub fn digest(&self) -> Digest {
        self.envelope.statement_digest()
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
