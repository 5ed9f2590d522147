//! The OCI image layout (image-spec 1.1): how a bundle's blobs are found, and how other tools see them.
//!
//! Nothing here is trusted: the layout leads to the envelope, and the signed manifest inside it pins the rest.

use std::collections::BTreeMap;

use martello_trust::canonical::{Numbers, Value};
use martello_vocab::{ByteCount, Digest};
use serde::{Deserialize, Serialize};

use crate::manifest::MANIFEST_MEDIA_TYPE;
use crate::{BlobSource, BundleError};

/// The file that says which version of the layout it is.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The file in which reading starts.
pub const INDEX_FILE: &str = "index.json";
/// The folder of the blobs, each under the 64 digits of its digest.
pub const BLOB_FOLDER: &str = "blobs/sha256/";
/// The media type of a component (CNCF Wasm OCI artifact layout).
pub const WASM_MEDIA_TYPE: &str = "application/wasm";
/// The media type of a Wasm artifact's configuration.
pub const WASM_CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The media type of an ONNX model.
pub const ONNX_MEDIA_TYPE: &str = "application/vnd.onnx";
/// The media type of raw bytes: golden tensors.
pub const RAW_MEDIA_TYPE: &str = "application/octet-stream";

pub(crate) const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const IMAGE_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The annotation under which tools name a layer's file.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// The annotation under which tools name an image.
pub(crate) const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The largest index or image manifest.
pub const LARGEST_DOCUMENT: ByteCount = ByteCount::mebibytes(1);

/// The content of [`LAYOUT_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutVersion {
    pub(crate) image_layout_version: String,
}

impl Default for LayoutVersion {
    fn default() -> Self {
        Self { image_layout_version: "1.0.0".to_owned() }
    }
}

/// A descriptor: what a blob is, its digest and its length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: ByteCount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn of(media_type: &str, digest: Digest, size: ByteCount) -> Self {
        let annotations = BTreeMap::new();
        Self { media_type: media_type.to_owned(), digest, size, artifact_type: None, annotations }
    }

    pub(crate) fn titled(mut self, title: String) -> Self {
        self.annotations.insert(TITLE.to_owned(), title);
        self
    }
}

/// The content of [`INDEX_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Reads a document of the layout: bounded, without duplicate keys; unknown members are other tools' business.
fn read_document<T: for<'de> Deserialize<'de>>(what: &'static str, bytes: &[u8]) -> Result<T, BundleError> {
    let layout = |reason: String| BundleError::Layout { what, reason };
    if bytes.len() > LARGEST_DOCUMENT.as_usize() {
        return Err(layout(format!("it is larger than {LARGEST_DOCUMENT}")));
    }
    let value = Value::parse(bytes, Numbers::Fractions).map_err(|error| layout(error.to_string()))?;
    serde_json::from_slice(&value.to_canonical()).map_err(|error| layout(error.to_string()))
}

/// Follows a layout from its index to the envelope of the one bundle in it.
pub(crate) fn find_envelope(source: &dyn BlobSource) -> Result<Vec<u8>, BundleError> {
    let layout = |what, reason: String| BundleError::Layout { what, reason };
    let version: LayoutVersion = read_document(LAYOUT_FILE, &source.file(LAYOUT_FILE, LARGEST_DOCUMENT)?)?;
    if !version.image_layout_version.starts_with("1.") {
        return Err(layout(LAYOUT_FILE, "its version is not 1.x".to_owned()));
    }
    let index: Index = read_document(INDEX_FILE, &source.file(INDEX_FILE, LARGEST_DOCUMENT)?)?;
    // Tools that rewrite an index may drop `artifactType`, which the image manifest repeats.
    let mut images = Vec::new();
    for descriptor in index.manifests.iter().filter(|it| it.media_type == IMAGE_MEDIA_TYPE).take(MOST_IMAGES)
    {
        match descriptor.artifact_type.as_deref() {
            Some(MANIFEST_MEDIA_TYPE) | None => {
                let bytes = read_blob(source, descriptor, LARGEST_DOCUMENT)?;
                let image: Image = read_document("image manifest", &bytes)?;
                if image.artifact_type.as_deref() == Some(MANIFEST_MEDIA_TYPE) {
                    images.push(image);
                }
            }
            Some(_) => {}
        }
    }
    let [image] = images.as_slice() else {
        return Err(layout(INDEX_FILE, format!("it leads to {} bundles instead of one", images.len())));
    };
    let mut envelopes = image.layers.iter().filter(|layer| layer.media_type == MANIFEST_MEDIA_TYPE);
    let (Some(envelope), None) = (envelopes.next(), envelopes.next()) else {
        return Err(layout("image manifest", "it does not have exactly one signed manifest".to_owned()));
    };
    read_blob(source, envelope, <crate::manifest::Manifest as martello_trust::SignedDocument>::LARGEST)
}

/// The most images of an index that are looked at.
const MOST_IMAGES: usize = 256;

fn read_blob(source: &dyn BlobSource, at: &Descriptor, most: ByteCount) -> Result<Vec<u8>, BundleError> {
    if at.size > most {
        let reason = format!("{} is larger than {most}", at.digest);
        return Err(BundleError::Layout { what: "descriptor", reason });
    }
    let bytes = source.blob(&at.digest, at.size)?;
    let found = Digest::of(&bytes);
    if found != at.digest || bytes.len() as u64 != at.size.0 {
        return Err(BundleError::Corrupt { digest: at.digest });
    }
    Ok(bytes.into())
}
