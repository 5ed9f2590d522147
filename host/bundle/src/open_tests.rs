use std::sync::Arc;

use martello_trust::TrustError;

use super::*;
use crate::fixtures::{COMPONENT, bundle, files, key, layout, packed, root};
use crate::{Folder, MemorySource, Packed, SourceError, write_folder};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn open_layout(layout: MemorySource) -> Result<VerifiedBundle, BundleError> {
    open(Arc::new(layout), &root(2))
}

#[test]
fn components_models_assets_and_golden_tensors_come_out_as_they_went_in() {
    let bundle = bundle();
    assert_eq!(bundle.component(&name("classify")).unwrap().bytes(), COMPONENT);
    assert_eq!(bundle.model(&name("quality")).unwrap().bytes(), &files()["m.onnx"]);
    assert_eq!(bundle.asset(&name("table")).unwrap().bytes(), &files()["t.txt"]);
    let tensors = bundle.golden(&bundle.manifest().models[0].golden[0]).unwrap();
    assert_eq!(tensors.outputs["y"].bytes(), &files()["out.bin"]);
    assert!(matches!(bundle.asset(&name("quality")), Err(BundleError::Unknown { what: "asset", .. })));
}

#[test]
fn a_bundle_signed_by_too_few_is_refused() {
    for by in [[].as_slice(), &[1], &[3], &[1, 3]] {
        let error = open_layout(layout(by)).unwrap_err();
        assert!(matches!(error, BundleError::Trust(TrustError::BelowThreshold { .. })), "{by:?} {error}");
        assert!(error.is_verification());
    }
}

#[test]
fn signatures_may_come_one_after_the_other_and_change_nothing_else() {
    let mut second = Packed::read(&layout(&[1])).unwrap();
    second.sign(&key(2));
    assert_eq!(second.layout().unwrap(), layout(&[1, 2]));
}

/// An exchanged, missing or longer blob is found, at the latest when it is read.
#[test]
fn no_blob_can_be_exchanged() {
    let pins = bundle().manifest().pins();
    for digest in pins.keys() {
        let tampered = |bytes: Option<Vec<u8>>| {
            let mut layout = layout(&[1, 2]);
            match bytes {
                Some(bytes) => layout.blobs.insert(*digest, bytes.into()),
                None => layout.blobs.remove(digest),
            };
            open_layout(layout).and_then(|bundle| bundle.verify_blobs())
        };
        let mut bytes = layout(&[1, 2]).blobs[digest].to_vec();
        assert!(tampered(Some(bytes.clone())).is_ok());
        assert!(matches!(tampered(None), Err(BundleError::MissingBlob { .. })));
        bytes[0] ^= 1;
        assert!(tampered(Some(bytes.clone())).unwrap_err().is_verification());
        bytes.push(0);
        assert!(matches!(tampered(Some(bytes)), Err(BundleError::Corrupt { .. })));
    }
}

#[test]
fn documents_of_the_layout_are_hashed_too() {
    let mut layout = layout(&[1, 2]);
    let mut texts =
        layout.blobs.iter().filter_map(|(digest, it)| Some((*digest, String::from_utf8(it.to_vec()).ok()?)));
    let (digest, image) = texts.find(|(_, text)| text.contains("assets/table")).unwrap();
    layout.blobs.insert(digest, image.replace("assets/table", "assets/cable").into_bytes().into());
    assert!(matches!(open_layout(layout), Err(BundleError::Corrupt { .. })));
}

#[test]
fn an_index_that_leads_to_no_bundle_or_to_two_is_refused() {
    for (from, to) in [
        (r#""application/vnd.martello.bundle.v1+json""#, r#""application/x""#),
        (r#""schemaVersion":2"#, r#""schemaVersion":2,"schemaVersion":2"#),
        (r#""manifests":["#, r#""manifests":[{},"#),
    ] {
        let mut layout = layout(&[1, 2]);
        let index = String::from_utf8(layout.index.to_vec()).unwrap();
        assert!(index.contains(from), "{index}");
        layout.index = index.replace(from, to).into_bytes().into();
        assert!(matches!(open_layout(layout), Err(BundleError::Layout { .. })), "{from}");
    }
    let mut twice = layout(&[1, 2]);
    let mut index: serde_json::Value = serde_json::from_slice(&twice.index).unwrap();
    let first = index["manifests"][0].clone();
    index["manifests"].as_array_mut().unwrap().push(first);
    twice.index = serde_json::to_vec(&index).unwrap().into();
    assert!(matches!(open_layout(twice), Err(BundleError::Layout { .. })));
}

#[test]
fn an_index_without_artifact_types_still_leads_to_the_bundle() {
    let mut layout = layout(&[1, 2]);
    let mut index: serde_json::Value = serde_json::from_slice(&layout.index).unwrap();
    for manifest in index["manifests"].as_array_mut().unwrap() {
        manifest.as_object_mut().unwrap().remove("artifactType");
    }
    layout.index = serde_json::to_vec(&index).unwrap().into();
    assert!(open_layout(layout).is_ok());
}

#[test]
fn a_folder_opens_like_an_archive_and_forgets_the_envelope_before() {
    let folder = tempfile::tempdir().unwrap();
    for by in [[1].as_slice(), &[1, 2]] {
        write_folder(&layout(by), folder.path()).unwrap();
    }
    let opened = open(Arc::new(Folder::at(folder.path())), &root(2)).unwrap();
    opened.verify_blobs().unwrap();
    assert_eq!(opened.digest(), packed(&[]).envelope().statement_digest());
    let blobs = std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, layout(&[1, 2]).blobs.len());
}

#[test]
fn an_ephemeral_bundle_is_verified_like_any_other() {
    let bundle = crate::ephemeral(name("try"), COMPONENT.into(), Default::default(), Vec::new()).unwrap();
    assert_eq!(bundle.component(&name("try")).unwrap().bytes(), COMPONENT);
    assert_eq!(bundle.manifest().components[0].imports, ["martello:test/a@0.1.0"]);
    // Nobody else trusts it.
    let error = open(Arc::clone(&bundle.source), &root(1)).unwrap_err();
    assert!(matches!(error, BundleError::Trust(TrustError::BelowThreshold { .. })), "{error}");
}

#[test]
fn core_modules_and_rubbish_are_no_components() {
    for bytes in [b"\0asm\x01\0\0\0".as_slice(), b"", b"\0asm", &COMPONENT[..COMPONENT.len() - 1]] {
        assert!(crate::Interfaces::of(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_folder_with_links_pipes_or_devices_in_it_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = tempfile::tempdir().unwrap();
    write_folder(&layout(&[1, 2]), place.path()).unwrap();
    let digest = *bundle().manifest().pins().keys().next().unwrap();
    let opened = || open(Arc::new(Folder::at(place.path())), &root(2));
    assert!(opened().is_ok());
    for name in ["index.json".to_owned(), format!("blobs/sha256/{}", digest.hex())] {
        let path = place.path().join(&name);
        let aside = place.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        for kind in ["link", "pipe", "folder", "device"] {
            match kind {
                "link" => std::os::unix::fs::symlink(&aside, &path).unwrap(),
                "device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                "pipe" => mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
                _ => std::fs::create_dir(&path).unwrap(),
            }
            let error = opened().unwrap_err();
            assert!(matches!(error, BundleError::Source(SourceError::Io { .. })), "{name} {kind} {error}");
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    for path in ["/dev/zero", "/dev/null"] {
        assert!(matches!(crate::source_at(std::path::Path::new(path)), Err(SourceError::Io { .. })));
    }
}
