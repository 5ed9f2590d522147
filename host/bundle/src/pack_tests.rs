use super::*;
use crate::fixtures::{COMPONENT, draft, files, layout, source};
use crate::layout::TITLE;

/// The good source with the value at a JSON pointer's parent set.
fn with(parent: &str, member: &str, value: Value) -> Result<Draft, DraftError> {
    let mut source = source();
    let members = source.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    members.insert(member.to_owned(), value);
    draft(source)
}

#[test]
fn a_source_that_is_no_object_or_whose_file_is_no_text_is_refused() {
    for refused in [draft(json!([])), with("/components/0", "file", json!(7))] {
        assert!(matches!(refused, Err(DraftError::Source(_))), "{refused:?}");
    }
}

#[test]
fn a_file_stands_in_the_place_of_digest_and_size_and_beside_neither() {
    let digest = Digest::of(COMPONENT);
    for (member, value) in [("digest", json!(digest)), ("size", json!(COMPONENT.len()))] {
        let refused = with("/components/0", member, value).unwrap_err();
        assert!(refused.to_string().contains("`a.wasm` stands beside"), "{member}: {refused}");
    }
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_no_component_are_named() {
    let gone = with("/components/0", "file", json!("gone.wasm"));
    assert!(matches!(gone, Err(DraftError::File { ref file, .. }) if file == "gone.wasm"), "{gone:?}");
    let text = with("/components/0", "file", json!("t.txt"));
    assert!(matches!(text, Err(DraftError::Component { ref file, .. }) if file == "t.txt"), "{text:?}");
}

#[test]
fn the_time_of_making_is_asked_for_only_where_the_source_does_not_say_it() {
    let mut source = source();
    source["created"] = json!("2020-01-02T03:04:05Z");
    let asked = std::cell::Cell::new(false);
    let created = || {
        asked.set(true);
        "2026-11-23T12:00:00Z".parse().unwrap()
    };
    let files = files();
    let draft = Draft::resolve(source, created, |name| Ok(files[name].clone())).unwrap();
    assert_eq!((draft.manifest().created.as_str(), asked.get()), ("2020-01-02T03:04:05Z", false));
}

#[test]
fn every_document_that_a_source_names_is_pinned_with_its_bytes() {
    let document = json!({ "file": "t.txt", "media_type": "application/json" });
    let packed = with("", "provenance", document).unwrap().pack().unwrap();
    let manifest = packed.manifest();
    let golden = &manifest.models[0].golden[0];
    for (digest, file) in [
        (manifest.components[0].digest, "a.wasm"),
        (manifest.models[0].digest, "m.onnx"),
        (golden.inputs["x"].digest, "in.bin"),
        (golden.outputs["y"].digest, "out.bin"),
        (manifest.assets[0].digest, "t.txt"),
        (manifest.sbom.as_ref().unwrap().digest, "sbom.json"),
        (manifest.provenance.as_ref().unwrap().digest, "t.txt"),
    ] {
        assert_eq!(packed.blob(&digest), Some(&files()[file]), "{file}");
    }
    assert_eq!(manifest.models[0].outputs[0].shape, [None, Some(3)], "`any` and null alike");
}

#[test]
fn a_draft_without_the_bytes_of_a_pin_or_with_fewer_is_refused() {
    let valid = || draft(source()).unwrap().manifest().clone();
    let blobs = layout(&[1]).blobs;
    for digest in valid().pins().keys() {
        let mut blobs = blobs.clone();
        blobs.remove(digest);
        let refused = Draft::new(valid(), blobs).unwrap_err();
        assert!(refused.to_string().contains(&digest.to_string()), "{refused}");
    }
}

/// What other OCI tools see: one image with everything, and one for each component.
#[test]
fn the_layout_has_an_image_of_the_bundle_and_one_of_each_component() {
    let layout = layout(&[1, 2]);
    let index: Value = serde_json::from_slice(&layout.index).unwrap();
    let image = |at: usize| -> (String, Value) {
        let descriptor = &index["manifests"][at];
        let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        let bytes = &layout.blobs[&digest];
        assert_eq!(descriptor["size"], bytes.len());
        assert_eq!(descriptor["mediaType"], IMAGE_MEDIA_TYPE);
        let reference = descriptor["annotations"][REFERENCE].as_str().unwrap().to_owned();
        (reference, serde_json::from_slice(bytes).unwrap())
    };
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let (version, bundle) = image(0);
    assert_eq!((version.as_str(), &bundle["artifactType"]), ("1.2.3-rc.1+b5", &json!(MANIFEST_MEDIA_TYPE)));
    let layers: Vec<(&str, &str)> = bundle["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| (layer["annotations"][TITLE].as_str().unwrap(), layer["mediaType"].as_str().unwrap()))
        .collect();
    assert_eq!(
        layers,
        [
            ("manifest.json", MANIFEST_MEDIA_TYPE),
            ("components/classify.wasm", WASM_MEDIA_TYPE),
            ("models/quality.onnx", ONNX_MEDIA_TYPE),
            ("golden/quality/0-in-0.bin", RAW_MEDIA_TYPE),
            ("golden/quality/0-out-0.bin", RAW_MEDIA_TYPE),
            ("assets/table", "text/plain"),
            ("sbom", "application/spdx+json"),
        ]
    );
    let (name, component) = image(1);
    assert_eq!((name.as_str(), &component["artifactType"]), ("classify", &json!(WASM_CONFIG_MEDIA_TYPE)));
    let digest = json!(Digest::of(COMPONENT));
    assert_eq!(component["layers"][0]["digest"], digest);
    let config: Digest = component["config"]["digest"].as_str().unwrap().parse().unwrap();
    let config: Value = serde_json::from_slice(&layout.blobs[&config]).unwrap();
    assert_eq!(
        config,
        json!({
            "created": "2026-11-23T12:00:00Z", "architecture": "wasm", "os": "wasip2", "layerDigests": [digest],
            "component": { "exports": [], "imports": ["martello:test/a@0.1.0"], "target": null },
        })
    );
}
