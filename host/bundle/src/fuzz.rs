//! Bodies of the fuzz targets.

use std::io::Cursor;

use martello_trust::SignedDocument;
use martello_vocab::ByteCount;

use crate::manifest::Manifest;
use crate::onnx::ModelTensors;
use crate::{Archive, BlobSource, Interfaces, UnverifiedBundle};

/// Any bytes are refused or make a valid manifest, which reads back the same.
pub fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::read(data) {
        let again = serde_json::to_vec(&manifest).map_err(|error| error.to_string());
        assert_eq!(again.and_then(|json| Manifest::read(&json)), Ok(manifest));
    }
}

/// Any bytes are refused or indexed as an archive, and no more is read than the archive has.
pub fn fuzz_oci_layout(data: &[u8]) {
    if let Ok(archive) = Archive::index(Cursor::new(data)) {
        if let Ok(index) = archive.file(crate::INDEX_FILE, ByteCount(u64::MAX)) {
            assert!(index.len() <= data.len());
        }
        if let Ok(bundle) = UnverifiedBundle::read(&archive) {
            assert!(bundle.manifest().clone().validate().is_ok());
        }
    }
}

/// Any bytes are refused or read as a component, and as a model.
pub fn fuzz_component_and_model(data: &[u8]) {
    let _ = Interfaces::of(data);
    let _ = ModelTensors::read(data);
}
