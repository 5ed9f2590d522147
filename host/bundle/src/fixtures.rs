//! What the tests of this crate share: a small bundle.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use martello_trust::{PublicKey, Role, RootDocument, SigningKey, Timestamp, TrustRoot};
use serde_json::{Value, json};

use crate::{Draft, DraftError, MemorySource, Packed, VerifiedBundle, open};

/// A component that imports one function and exports nothing, as bytes: `(component (import "martello:test/a@0.1.0"
/// (instance (export "f" (func)))))`.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\x07\x0e\x01\x42\x02\x01\x40\0\x01\0\x04\0\x01f\x01\0\
\x0a\x1a\x01\0\x15martello:test/a@0.1.0\x05\0";

pub(crate) fn key(number: u8) -> SigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&[number; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

pub(crate) fn root(threshold: u32) -> TrustRoot {
    let publics: Vec<PublicKey> = [1, 2].map(|number| key(number).public()).to_vec();
    let expires: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let document = RootDocument::new(1, expires).with_role(Role::ROOT, &publics, 1).with_role(
        Role::RELEASE,
        &publics,
        threshold,
    );
    let mut envelope = document.into_envelope().unwrap();
    envelope.sign(&key(1));
    TrustRoot::open(&envelope.to_bytes(), None).unwrap()
}

pub(crate) fn files() -> BTreeMap<&'static str, Bytes> {
    BTreeMap::from([
        ("a.wasm", Bytes::from_static(COMPONENT)),
        ("m.onnx", Bytes::from_static(b"not really a model")),
        ("t.txt", Bytes::from_static(b"a table\n")),
        ("in.bin", Bytes::from_static(&[0; 16])),
        ("out.bin", Bytes::from_static(&[0; 12])),
        ("sbom.json", Bytes::from_static(b"{}")),
    ])
}

/// A source with one of everything.
pub(crate) fn source() -> Value {
    json!({
        "name": "imaging", "version": "1.2.3-rc.1+b5", "security_version": 4, "min_rollback_to": 3,
        "components": [{
            "name": "classify", "file": "a.wasm", "limits": { "memory_bytes": 1048576 },
            "codes": ["too-dark"],
            "findings": [{ "kind": "quality", "labels": ["good", "bad"], "measurements": ["sharpness"] }],
        }],
        "models": [{
            "name": "quality", "file": "m.onnx", "format": "onnx",
            "inputs": [{ "name": "x", "dtype": "f32", "shape": ["any", 1, 2, 2] }],
            "outputs": [{ "name": "y", "dtype": "f32", "shape": [null, 3] }],
            "labels": ["a", "b", "c"], "recipe": { "scale": { "mean": 0.5, "deviation": 1e-3 } },
            "calibration": { "temperature": 1.3 }, "threshold": 0.6, "licence": "Apache-2.0",
            "golden": [{
                "inputs": { "x": { "file": "in.bin", "shape": [1, 1, 2, 2] } },
                "outputs": { "y": { "file": "out.bin", "shape": [1, 3] } },
                "absolute_tolerance": 1e-5, "relative_tolerance": 0.0001,
            }],
        }],
        "assets": [{ "name": "table", "file": "t.txt", "media_type": "text/plain" }],
        "pipeline": {
            "accepts": ["application/dicom"],
            "stages": [
                { "name": "deid", "component": "classify", "from": "input", "ports": ["image"],
                  "grants": ["deidentify", "pseudonyms"], "assets": ["table"], "settings": { "mode": "strict" } },
                { "name": "score", "component": "classify", "from": "deid.image", "models": ["quality"] },
            ],
            "exports": [{ "from": "deid.image", "folder": "images", "extension": "dcm" }],
        },
        "compat": { "host_semver": ">=0.1, <0.3", "arch": ["x86_64"], "data_schema": 1 },
        "health": { "probes": 20, "window_s": 600, "max_trap_rate": 0.01, "p95_ms": 500 },
        "sbom": { "file": "sbom.json", "media_type": "application/spdx+json" },
    })
}

pub(crate) fn draft(source: Value) -> Result<Draft, DraftError> {
    let files = files();
    let created = || "2026-11-23T12:00:00Z".parse().unwrap();
    Draft::resolve(source, created, |name| {
        files.get(name).cloned().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
    })
}

pub(crate) fn packed(by: &[u8]) -> Packed {
    let mut packed = draft(source()).unwrap().pack().unwrap();
    by.iter().for_each(|&number| packed.sign(&key(number)));
    packed
}

pub(crate) fn layout(by: &[u8]) -> MemorySource {
    packed(by).layout().unwrap()
}

pub(crate) fn bundle() -> VerifiedBundle {
    open(Arc::new(layout(&[1, 2])), &root(2)).unwrap()
}
