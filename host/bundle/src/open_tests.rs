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
    // Its last byte is the number of a type: the form still holds, and what it says does not.
    let mut dangling = COMPONENT.to_vec();
    *dangling.last_mut().unwrap() = 9;
    assert!(crate::Interfaces::of(&dangling).is_err());
}

#[test]
fn what_a_component_within_a_component_imports_is_no_import_of_the_outer_one() {
    let length = u8::try_from(COMPONENT.len()).unwrap();
    let outer = [b"\0asm\x0d\0\x01\0".as_slice(), &[4, length], COMPONENT].concat();
    let found = crate::Interfaces::of(&outer).unwrap();
    assert!(found.imports.is_empty() && found.exports.is_empty(), "{found:?}");
}

#[test]
fn what_the_outer_component_wants_behind_an_inner_one_is_listed_too() {
    let length = u8::try_from(COMPONENT.len()).unwrap();
    let (head, own) = COMPONENT.split_at(8);
    let name = "martello:test/b@0.1.0";
    // The imported instance, handed on under another name.
    let export = [&[1, 0, 21], name.as_bytes(), &[5, 0, 0]].concat();
    let export = [&[11, u8::try_from(export.len()).unwrap()], export.as_slice()].concat();
    let outer = [head, &[4, length], COMPONENT, own, &export].concat();
    let found = crate::Interfaces::of(&outer).unwrap();
    assert_eq!(
        (found.imports, found.exports),
        (vec!["martello:test/a@0.1.0".to_owned()], vec![name.to_owned()])
    );
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

/// The layout with another image manifest of the bundle, to which the index leads.
fn with_image(change: impl FnOnce(&mut serde_json::Value)) -> MemorySource {
    let mut layout = layout(&[1, 2]);
    let mut index: serde_json::Value = serde_json::from_slice(&layout.index).unwrap();
    let mut entries = index["manifests"].as_array_mut().unwrap().iter_mut();
    let entry = entries.find(|it| it["artifactType"] == crate::manifest::MANIFEST_MEDIA_TYPE).unwrap();
    let digest: Digest = serde_json::from_value(entry["digest"].clone()).unwrap();
    let mut image = serde_json::from_slice(&layout.blobs[&digest]).unwrap();
    change(&mut image);
    let bytes = serde_json::to_vec(&image).unwrap();
    let digest = Digest::of(&bytes);
    entry["digest"] = serde_json::json!(digest);
    entry["size"] = serde_json::json!(bytes.len());
    layout.blobs.insert(digest, bytes.into());
    layout.index = serde_json::to_vec(&index).unwrap().into();
    layout
}

#[test]
fn an_image_has_one_envelope_of_the_length_that_it_says() {
    assert!(open_layout(with_image(|_| ())).is_ok());
    let two = with_image(|image| {
        let envelope = image["layers"][0].clone();
        image["layers"].as_array_mut().unwrap().push(envelope);
    });
    assert!(matches!(open_layout(two), Err(BundleError::Layout { what: "image manifest", .. })));
    let none = with_image(|image| image["layers"][0]["mediaType"] = "text/plain".into());
    assert!(matches!(open_layout(none), Err(BundleError::Layout { what: "image manifest", .. })));
    let length = packed(&[1, 2]).envelope().to_bytes().len();
    let longer = with_image(|image| image["layers"][0]["size"] = (length + 1).into());
    assert!(matches!(open_layout(longer), Err(BundleError::Corrupt { .. })));
    let giant = with_image(|image| image["layers"][0]["size"] = (2 << 20).into());
    assert!(matches!(open_layout(giant), Err(BundleError::Layout { what: "descriptor", .. })));
}

#[test]
fn a_layout_of_another_version_is_refused() {
    for (version, is_read) in [("1.1.0", true), ("2.0.0", false), ("", false)] {
        let mut layout = layout(&[1, 2]);
        layout.layout = format!(r#"{{"imageLayoutVersion":"{version}"}}"#).into_bytes().into();
        assert_eq!(open_layout(layout).is_ok(), is_read, "{version}");
    }
}

/// A source that hands out whatever it has, however much may come.
struct Generous(MemorySource);

impl BlobSource for Generous {
    fn file(&self, name: &'static str, _: ByteCount) -> Result<bytes::Bytes, SourceError> {
        self.0.file(name, ByteCount(u64::MAX))
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<ByteCount>, SourceError> {
        self.0.blob_size(digest)
    }

    fn blob(&self, digest: &Digest, _: ByteCount) -> Result<bytes::Bytes, SourceError> {
        self.0.blob(digest, ByteCount(u64::MAX))
    }
}

#[test]
fn a_giant_document_is_refused_even_where_the_source_keeps_no_bound() {
    let mut layout = layout(&[1, 2]);
    assert!(open(Arc::new(Generous(layout.clone())), &root(2)).is_ok());
    let mut index = layout.index.to_vec();
    index.resize(crate::LARGEST_DOCUMENT.as_usize() + 1, b' ');
    layout.index = index.into();
    let refused = open(Arc::new(Generous(layout)), &root(2));
    assert!(matches!(refused, Err(BundleError::Layout { what: "index.json", .. })), "{refused:?}");
}

#[test]
fn nobody_signs_a_bundle_with_a_blob_that_is_another() {
    let pins = bundle().manifest().pins();
    for digest in pins.keys() {
        let mut layout = layout(&[1]);
        let mut bytes = layout.blobs[digest].to_vec();
        bytes[0] ^= 1;
        layout.blobs.insert(*digest, bytes.into());
        assert!(matches!(Packed::read(&layout), Err(BundleError::Corrupt { .. })));
        layout.blobs.remove(digest);
        assert!(matches!(Packed::read(&layout), Err(BundleError::MissingBlob { .. })));
    }
}

#[test]
fn a_draft_holds_what_it_pins_and_nothing_else() {
    let manifest = || crate::fixtures::draft(crate::fixtures::source()).unwrap().manifest().clone();
    let table = manifest().assets[0].digest;
    let mut blobs = layout(&[1]).blobs;
    let stray = Digest::of(b"stray");
    blobs.insert(stray, b"stray".as_slice().into());
    let packed = crate::Draft::new(manifest(), blobs.clone()).unwrap().pack().unwrap();
    assert!(packed.blob(&table).is_some() && packed.blob(&stray).is_none());
    blobs.insert(table, b"A TABLE\n".as_slice().into());
    assert!(crate::Draft::new(manifest(), blobs).is_err(), "other bytes of the same length");
}

#[test]
fn imports_are_listed_in_one_order_whatever_order_the_component_has() {
    let entry = |name: &str| [&[0, 21], name.as_bytes(), &[5, 0]].concat();
    let imports = ["martello:test/b@0.1.0", "martello:test/a@0.1.0"];
    let section = [&[2], entry(imports[0]).as_slice(), &entry(imports[1])].concat();
    let two = [&COMPONENT[..24], &[10, u8::try_from(section.len()).unwrap()], &section].concat();
    assert_eq!(crate::Interfaces::of(&two).unwrap().imports, [imports[1], imports[0]]);
}
