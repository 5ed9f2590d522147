//! Bodies of the fuzz targets, and the seeds that are made instead of kept. The tests of this crate call them too.

use std::io::Cursor;
use std::sync::LazyLock;

use bytes::Bytes;
use martello_trust::{SignedDocument, TrustRoot};
use martello_vocab::{ByteCount, Digest};

use crate::fixtures;
use crate::manifest::Manifest;
use crate::onnx::ModelTensors;
use crate::{Archive, BlobSource, Interfaces, MemorySource, UnverifiedBundle};

/// Any bytes are refused or make a valid manifest, which reads back the same.
///
/// # Panics
/// Where that does not hold; so do all targets.
pub fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::read(data) {
        let again = serde_json::to_vec(&manifest).map_err(|error| error.to_string());
        assert_eq!(again.and_then(|json| Manifest::read(&json)), Ok(manifest));
    }
}

/// Any bytes are refused, or are a manifest that says what was signed.
pub fn fuzz_signature(data: &[u8]) {
    static ROOT: LazyLock<TrustRoot> = LazyLock::new(|| fixtures::root(2));
    if let Ok(manifest) = martello_trust::verify::<Manifest>(data, &ROOT) {
        assert_eq!(*manifest, *fixtures::packed(&[1, 2]).manifest());
    }
}

/// Any bytes are refused or indexed as an archive, and no more is read than the archive has. Then the same with right
/// checksums, and with right digests, which random changes would hardly hit.
pub fn fuzz_oci_layout(data: &[u8]) {
    fuzz_archive(data);
    fuzz_archive(&with_checksums(data));
    let mut documents = data.splitn(3, |byte| *byte == 0);
    let [index, image, envelope] = [(); 3].map(|()| documents.next().unwrap_or_default());
    fuzz_bundle(&layout(index, image, envelope));
}

fn fuzz_archive(data: &[u8]) {
    if let Ok(archive) = Archive::index(Cursor::new(data)) {
        if let Ok(index) = archive.file(crate::INDEX_FILE, ByteCount(u64::MAX)) {
            assert!(index.len() <= data.len());
        }
        fuzz_bundle(&archive);
    }
}

fn fuzz_bundle(source: &dyn BlobSource) {
    if let Ok(bundle) = UnverifiedBundle::read(source) {
        assert!(bundle.manifest().clone().validate().is_ok());
    }
}

/// Any bytes are refused or read as a component, and as a model.
pub fn fuzz_component_and_model(data: &[u8]) {
    drop(Interfaces::of(data));
    drop(ModelTensors::read(data));
    drop(crate::onnx::operators(data, &["Loop", "Resize"]));
}

/// An archive whose headers have the checksums that belong to them, as far as they can be followed.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0_usize;
    while let Some(block) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<512>()) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        let digits = std::str::from_utf8(&block[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(digits, 8).unwrap_or_default();
        at = at.saturating_add(512).saturating_add(size).div_ceil(512).saturating_mul(512);
    }
    bytes
}

/// A layout of three documents that lead to each other.
fn layout(index: &[u8], image: &[u8], envelope: &[u8]) -> MemorySource {
    let mut source = MemorySource { layout: Bytes::from_static(LAYOUT), ..MemorySource::default() };
    let image = with_digest(image, "ENVELOPE", envelope, &mut source);
    source.index = with_digest(index, "IMAGE", &image, &mut source).into();
    source
}

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Stores `blob`, and puts its digest and length where `mark` stands in a document.
fn with_digest(document: &[u8], mark: &str, blob: &[u8], source: &mut MemorySource) -> Vec<u8> {
    let digest = Digest::of(blob);
    source.blobs.insert(digest, blob.to_vec().into());
    let text = String::from_utf8_lossy(document);
    text.replace(mark, &digest.to_string()).replace("\"SIZE\"", &blob.len().to_string()).into_bytes()
}

/// A bundle as an archive.
#[must_use]
pub fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(crate::write_archive(&fixtures::layout(&[1, 2]), &mut bytes).is_ok());
    bytes
}

/// An index, an image manifest and an envelope, as [`fuzz_oci_layout`] splits them.
#[must_use]
pub fn documents() -> Vec<u8> {
    let source = fixtures::layout(&[1, 2]);
    let envelope = fixtures::packed(&[1, 2]).envelope().to_bytes();
    let marked = |document: &[u8], blob: &[u8], mark: &str| {
        let size = format!("\"size\":{}", blob.len());
        let text = String::from_utf8_lossy(document);
        text.replace(&Digest::of(blob).to_string(), mark).replace(&size, "\"size\":\"SIZE\"").into_bytes()
    };
    let is_image = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        String::from_utf8_lossy(&source.index).contains(&digest)
    };
    let image = source.blobs.values().find(|bytes| is_image(bytes)).cloned().unwrap_or_default();
    let index = marked(&source.index, &image, "IMAGE");
    [index, marked(&image, &envelope, "ENVELOPE"), envelope].join(&0)
}

/// A manifest.
#[must_use]
pub fn manifest() -> Vec<u8> {
    serde_json::to_vec(fixtures::packed(&[]).manifest()).unwrap_or_default()
}

/// A signed manifest.
#[must_use]
pub fn signed_manifest() -> Vec<u8> {
    fixtures::packed(&[1, 2]).envelope().to_bytes()
}

/// A component.
#[must_use]
pub fn component() -> Vec<u8> {
    fixtures::COMPONENT.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_seeds_are_what_the_targets_take() {
        assert!(Manifest::read(&manifest()).is_ok());
        assert!(martello_trust::verify::<Manifest>(&signed_manifest(), &fixtures::root(2)).is_ok());
        assert!(Interfaces::of(&component()).is_ok());
        let archive = archive();
        assert!(with_checksums(&archive) == archive, "an archive with right checksums was changed");
        let archive = Archive::index(Cursor::new(archive)).unwrap();
        assert!(UnverifiedBundle::read(&archive).is_ok());
        for body in [fuzz_manifest, fuzz_signature, fuzz_oci_layout, fuzz_component_and_model] {
            for seed in seeds() {
                body(&seed);
            }
        }
    }

    #[test]
    fn documents_lead_to_a_bundle_once_their_digests_are_right() {
        let documents = documents();
        let mut parts = documents.splitn(3, |byte| *byte == 0);
        let [index, image, envelope] = [(); 3].map(|()| parts.next().unwrap());
        UnverifiedBundle::read(&layout(index, image, envelope)).unwrap();
    }

    fn seeds() -> [Vec<u8>; 5] {
        [manifest(), signed_manifest(), archive(), documents(), component()]
    }

    /// Every place in a JSON document.
    fn places(value: &Value, here: &str, found: &mut Vec<String>) {
        found.push(here.to_owned());
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(key, member)| places(member, &format!("{here}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, item)| places(item, &format!("{here}/{at}"), found));
            }
            _ => {}
        }
    }

    fn unwanted() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(1 << 53)].prop_map(Value::from),
            prop_oneof![Just(""), Just(".."), Just("input"), Just("any"), Just("a/b"), Just("classify")]
                .prop_map(Value::from),
            "[a-z0-9.:/-]{0,200}".prop_map(Value::from),
            Just(serde_json::json!([])),
            Just(serde_json::json!({})),
            Just(serde_json::json!([[], {}, null])),
        ]
    }

    proptest! {
        #[test]
        fn any_change_of_any_seed_is_refused_or_consistent(
            seed in 0_usize..5, from in any::<Index>(), cut in 0_usize..40, with in vec(any::<u8>(), 0..40)
        ) {
            let mut bytes = seeds().into_iter().nth(seed).unwrap();
            let from = from.index(bytes.len());
            bytes.splice(from..(from + cut).min(bytes.len()), with);
            for body in [fuzz_manifest, fuzz_signature, fuzz_oci_layout, fuzz_component_and_model] {
                body(&bytes);
            }
        }

        #[test]
        fn a_manifest_with_anything_anywhere_is_refused_or_valid(
            place in any::<Index>(), value in unwanted(), remove in any::<bool>()
        ) {
            let mut manifest: Value = serde_json::from_slice(&manifest()).unwrap();
            let mut found = Vec::new();
            places(&manifest, "", &mut found);
            let place = place.get(&found);
            let (parent, last) = place.rsplit_once('/').unwrap_or_default();
            match manifest.pointer_mut(parent).unwrap() {
                Value::Object(members) if remove => _ = members.remove(last),
                _ => *manifest.pointer_mut(place).unwrap() = value,
            }
            fuzz_manifest(&serde_json::to_vec(&manifest).unwrap());
        }

        #[test]
        fn any_bytes_are_refused_or_consistent(bytes in vec(any::<u8>(), 0..600)) {
            for body in [fuzz_manifest, fuzz_signature, fuzz_oci_layout, fuzz_component_and_model] {
                body(&bytes);
            }
        }
    }
}
