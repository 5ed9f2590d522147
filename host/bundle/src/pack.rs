//! Packing: from a source document and files to a layout whose bytes depend on nothing else.
//!
//! A source is a manifest in which a `file` stands where the manifest has `digest` and `size`; `schema`, a
//! component's `imports` and `created` are filled in. So whoever can read a manifest can write a source.

use std::collections::BTreeMap;

use bytes::Bytes;
use martello_trust::{Envelope, SigningKey, Timestamp, TrustError};
use martello_vocab::{ByteCount, Digest};
use serde_json::{Map, Value, json};

use crate::layout::{
    Descriptor, EMPTY_MEDIA_TYPE, IMAGE_MEDIA_TYPE, INDEX_MEDIA_TYPE, Image, Index, LayoutVersion,
    ONNX_MEDIA_TYPE, RAW_MEDIA_TYPE, REFERENCE, WASM_CONFIG_MEDIA_TYPE, WASM_MEDIA_TYPE,
};
use crate::manifest::{MANIFEST_MEDIA_TYPE, Manifest, ModelFormat};
use crate::{BlobSource, BundleError, ComponentError, Interfaces, ManifestError, MemorySource, SCHEMA};
use crate::{SourceError, UnverifiedBundle, ValidManifest};

/// A dimension that the caller chooses, as a source may write it.
const ANY: &str = "any";

/// A valid manifest with the bytes of everything that it pins.
#[derive(Debug, Clone)]
pub struct Draft {
    manifest: ValidManifest,
    blobs: BTreeMap<Digest, Bytes>,
}

/// A source that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A file that it names cannot be read.
    #[error("packing: reading `{file}`")]
    File {
        /// The path, as the source writes it.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A component is none.
    #[error("packing component `{file}`")]
    Component {
        /// The path, as the source writes it.
        file: String,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// The source is not a manifest with files in place of digests.
    #[error("packing: {0}")]
    Source(String),
    /// The manifest breaks a rule.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be put into an envelope.
    #[error("packing")]
    Trust(#[from] TrustError),
}

impl Draft {
    /// Resolves a source. `read` reads the files that it names; `created` is asked after that, and only where the
    /// source does not say when it was made.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn resolve(
        mut source: Value,
        created: impl FnOnce() -> Timestamp,
        mut read: impl FnMut(&str) -> std::io::Result<Bytes>,
    ) -> Result<Self, DraftError> {
        let Value::Object(top) = &mut source else {
            return Err(DraftError::Source("the source is not an object".to_owned()));
        };
        top.entry("schema").or_insert_with(|| json!(SCHEMA));
        let mut blobs = BTreeMap::new();
        let mut pin = |entry: &mut Map<String, Value>| -> Result<Option<(String, Bytes)>, DraftError> {
            let file = match entry.remove("file") {
                Some(Value::String(file)) => file,
                Some(_) => return Err(DraftError::Source("a `file` is not text".to_owned())),
                None => return Ok(None),
            };
            if entry.contains_key("digest") || entry.contains_key("size") {
                return Err(DraftError::Source(format!("`{file}` stands beside a digest or size")));
            }
            let bytes = read(&file).map_err(|source| DraftError::File { file: file.clone(), source })?;
            let digest = Digest::of(&bytes);
            entry.insert("digest".to_owned(), json!(digest));
            entry.insert("size".to_owned(), json!(bytes.len()));
            blobs.insert(digest, bytes.clone());
            Ok(Some((file, bytes)))
        };
        for component in objects(top.get_mut("components")) {
            if let Some((file, bytes)) = pin(component)? {
                let found =
                    Interfaces::of(&bytes).map_err(|source| DraftError::Component { file, source })?;
                component.insert("imports".to_owned(), json!(found.imports));
            }
        }
        for asset in objects(top.get_mut("assets")) {
            pin(asset)?;
        }
        for document in ["sbom", "provenance"] {
            if let Some(Value::Object(document)) = top.get_mut(document) {
                pin(document)?;
            }
        }
        for model in objects(top.get_mut("models")) {
            pin(model)?;
            for side in ["inputs", "outputs"] {
                objects(model.get_mut(side)).for_each(free_dimensions);
            }
            for golden in objects(model.get_mut("golden")) {
                for side in ["inputs", "outputs"] {
                    if let Some(Value::Object(tensors)) = golden.get_mut(side) {
                        for tensor in tensors.values_mut().filter_map(Value::as_object_mut) {
                            pin(tensor)?;
                        }
                    }
                }
            }
        }
        top.entry("created").or_insert_with(|| json!(created().to_string()));
        let manifest: Manifest =
            serde_json::from_value(source).map_err(|error| DraftError::Source(error.to_string()))?;
        Self::new(manifest.validate()?, blobs)
    }

    /// A manifest with its blobs.
    ///
    /// # Errors
    /// Where a blob that the manifest pins is not among `blobs`. Blobs that it does not pin are left out.
    pub fn new(manifest: ValidManifest, mut blobs: BTreeMap<Digest, Bytes>) -> Result<Self, DraftError> {
        let pins = manifest.pins();
        blobs.retain(|digest, bytes| pins.contains_key(digest) && Digest::of(bytes) == *digest);
        for (digest, size) in &pins {
            if blobs.get(digest).map(|bytes| bytes.len() as u64) != Some(size.0) {
                return Err(DraftError::Source(format!("the bytes of {digest} are missing")));
            }
        }
        Ok(Self { manifest, blobs })
    }

    /// The manifest.
    pub const fn manifest(&self) -> &ValidManifest {
        &self.manifest
    }

    /// Puts the manifest into an envelope, to be signed.
    ///
    /// # Errors
    /// Where the manifest has texts that signed documents may not hold (control characters), or is too large.
    pub fn pack(self) -> Result<Packed, DraftError> {
        let json =
            serde_json::to_vec(&*self.manifest).map_err(|error| DraftError::Source(error.to_string()))?;
        Ok(Packed {
            envelope: Envelope::of::<Manifest>(&json)?,
            manifest: self.manifest.into(),
            blobs: self.blobs,
        })
    }
}

/// TOML has no `null`, so a source may write a dimension that the caller chooses as `"any"` too.
fn free_dimensions(tensor: &mut Map<String, Value>) {
    for dimension in tensor.get_mut("shape").and_then(Value::as_array_mut).into_iter().flatten() {
        if dimension == ANY {
            *dimension = Value::Null;
        }
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// A bundle in memory, to be signed and written.
#[derive(Debug, Clone)]
pub struct Packed {
    envelope: Envelope,
    manifest: Manifest,
    blobs: BTreeMap<Digest, Bytes>,
}

impl Packed {
    /// Reads a bundle that others have packed, to add a signature. Every blob is hashed.
    ///
    /// # Errors
    /// Where the bundle is malformed or a blob is missing or corrupt: nobody should sign that.
    pub fn read(source: &dyn BlobSource) -> Result<Self, BundleError> {
        let UnverifiedBundle { envelope, manifest } = UnverifiedBundle::read(source)?;
        let mut blobs = BTreeMap::new();
        for (digest, size) in manifest.pins() {
            let bytes = match source.blob(&digest, size) {
                Err(SourceError::Missing { .. }) => return Err(BundleError::MissingBlob { digest }),
                other => other?,
            };
            if bytes.len() as u64 != size.0 || Digest::of(&bytes) != digest {
                return Err(BundleError::Corrupt { digest });
            }
            blobs.insert(digest, bytes);
        }
        Ok(Self { envelope, manifest, blobs })
    }

    /// Adds the signature of a key, or renews it.
    pub fn sign(&mut self, key: &SigningKey) {
        self.envelope.sign(key);
    }

    /// The envelope.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a blob that the manifest pins.
    pub fn blob(&self, digest: &Digest) -> Option<&Bytes> {
        self.blobs.get(digest)
    }

    /// Lays the bundle out: one image that holds everything, and each component as a Wasm artifact of its own
    /// (CNCF Wasm OCI artifact layout), so that tools which know only those can fetch it.
    ///
    /// # Errors
    /// Where a component among the blobs is none.
    pub fn layout(&self) -> Result<MemorySource, DraftError> {
        let mut writer = LayoutWriter { blobs: self.blobs.clone(), images: Vec::new() };
        let manifest = &self.manifest;
        let pinned = |kind: &str, digest: &Digest, size: ByteCount, title: String| {
            Descriptor::of(kind, *digest, size).titled(title)
        };
        let envelope = writer.add(MANIFEST_MEDIA_TYPE, self.envelope.to_bytes());
        let mut layers = vec![envelope.titled("manifest.json".to_owned())];
        for it in &manifest.components {
            layers.push(pinned(WASM_MEDIA_TYPE, &it.digest, it.size, format!("components/{}.wasm", it.name)));
        }
        for it in &manifest.models {
            let kind = match it.format {
                ModelFormat::Onnx => ONNX_MEDIA_TYPE,
            };
            layers.push(pinned(kind, &it.digest, it.size, format!("models/{}.onnx", it.name)));
            for (case, golden) in it.golden.iter().enumerate() {
                for (side, tensors) in [("in", &golden.inputs), ("out", &golden.outputs)] {
                    for (index, tensor) in tensors.values().enumerate() {
                        let title = format!("golden/{}/{case}-{side}-{index}.bin", it.name);
                        layers.push(pinned(RAW_MEDIA_TYPE, &tensor.digest, tensor.size, title));
                    }
                }
            }
        }
        for it in &manifest.assets {
            layers.push(pinned(&it.media_type, &it.digest, it.size, format!("assets/{}", it.name)));
        }
        for (name, document) in [("sbom", &manifest.sbom), ("provenance", &manifest.provenance)] {
            if let Some(it) = document {
                layers.push(pinned(&it.media_type, &it.digest, it.size, name.to_owned()));
            }
        }
        let config = writer.add(EMPTY_MEDIA_TYPE, b"{}".to_vec());
        writer.image(MANIFEST_MEDIA_TYPE, config, layers, manifest.version.clone())?;
        for it in &manifest.components {
            let bytes = self.blobs.get(&it.digest).map(Bytes::as_ref).unwrap_or_default();
            let found = Interfaces::of(bytes)
                .map_err(|source| DraftError::Component { file: it.name.to_string(), source })?;
            let config = json!({
                "created": manifest.created,
                "architecture": "wasm",
                "os": "wasip2",
                "layerDigests": [it.digest],
                "component": { "exports": found.exports, "imports": found.imports, "target": null },
            });
            let config = writer.add(WASM_CONFIG_MEDIA_TYPE, json_bytes(&config)?);
            let layer = Descriptor::of(WASM_MEDIA_TYPE, it.digest, it.size);
            writer.image(WASM_CONFIG_MEDIA_TYPE, config, vec![layer], it.name.to_string())?;
        }
        writer.finish()
    }
}

struct LayoutWriter {
    blobs: BTreeMap<Digest, Bytes>,
    images: Vec<Descriptor>,
}

impl LayoutWriter {
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let (digest, size) = (Digest::of(&bytes), ByteCount(bytes.len() as u64));
        self.blobs.insert(digest, bytes.into());
        Descriptor::of(media_type, digest, size)
    }

    fn image(
        &mut self,
        artifact_type: &str,
        config: Descriptor,
        layers: Vec<Descriptor>,
        reference: String,
    ) -> Result<(), DraftError> {
        let artifact_type = Some(artifact_type.to_owned());
        let media_type = IMAGE_MEDIA_TYPE.to_owned();
        let image =
            Image { schema_version: 2, media_type, artifact_type: artifact_type.clone(), config, layers };
        let mut descriptor = self.add(IMAGE_MEDIA_TYPE, json_bytes(&image)?);
        descriptor.artifact_type = artifact_type;
        descriptor.annotations.insert(REFERENCE.to_owned(), reference);
        self.images.push(descriptor);
        Ok(())
    }

    fn finish(self) -> Result<MemorySource, DraftError> {
        let media_type = INDEX_MEDIA_TYPE.to_owned();
        let index = Index { schema_version: 2, media_type, manifests: self.images };
        Ok(MemorySource {
            layout: json_bytes(&LayoutVersion::default())?.into(),
            index: json_bytes(&index)?.into(),
            blobs: self.blobs,
        })
    }
}

fn json_bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, DraftError> {
    serde_json::to_vec(value).map_err(|error| DraftError::Source(error.to_string()))
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
