use martello_bundle::Draft;
use martello_trust::Timestamp;

use super::*;
use crate::output::Format;

fn quiet() -> crate::Output {
    crate::Output { format: Format::Json, quiet: true }
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the checkout").to_owned()
}

fn scaffold(name: &str) -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = temporary.path().join("deeper").join(name);
    let args = NewArgs {
        name: name.parse().expect("a name"),
        path: Some(folder.clone()),
        sdk: Some(checkout().join("guest-sdk")),
    };
    run(args, &quiet()).expect("scaffolds");
    (temporary, folder)
}

/// Packs the source with `component` in the place of every component, built or not.
fn pack(folder: &Path, component: &'static [u8]) -> Draft {
    let text = std::fs::read_to_string(folder.join("bundle.toml")).expect("the source is there");
    let source = toml::from_str(&text).expect("the source is TOML");
    let read = |file: &str| match file.ends_with(".wasm") {
        true => Ok(component.into()),
        false => std::fs::read(folder.join(file)).map(Into::into),
    };
    let created = || Timestamp::from_unix(1_700_000_000).expect("a time");
    Draft::resolve(source, created, read).expect("the source packs")
}

#[test]
fn a_new_component_leaves_no_placeholder_and_its_source_packs() {
    let (_temporary, folder) = scaffold("count-2-lines");
    for (file, _) in FILES {
        let text = std::fs::read_to_string(folder.join(file)).expect("every file is written");
        assert!(!text.contains('@'), "{file}: {text}");
    }
    let manifest: toml::Value =
        toml::from_str(&std::fs::read_to_string(folder.join("Cargo.toml")).expect("reads")).expect("is TOML");
    assert_eq!(manifest["package"]["name"].as_str(), Some("count-2-lines"));
    assert!(
        std::fs::read_to_string(folder.join("src/lib.rs"))
            .expect("reads")
            .contains("struct Count2LinesStage;")
    );
    // The smallest component there is.
    let draft = pack(&folder, b"\0asm\x0d\0\x01\0");
    let stages: Vec<&str> = draft.manifest().pipeline.stages.iter().map(|it| it.component.as_str()).collect();
    assert_eq!(stages, ["dicom-guard", "dicom-deid", "deid-verify", "count-2-lines"]);
}

#[test]
fn a_folder_that_exists_is_not_touched() {
    let (_temporary, folder) = scaffold("twice");
    std::fs::write(folder.join("src/lib.rs"), "mine").expect("writes");
    let sdk = Some(checkout().join("guest-sdk"));
    let again = NewArgs { name: "twice".parse().expect("a name"), path: Some(folder.clone()), sdk };
    assert!(run(again, &quiet()).is_err());
    assert_eq!(std::fs::read_to_string(folder.join("src/lib.rs")).expect("reads"), "mine");
}

#[test]
fn a_name_that_does_for_no_crate_is_refused_before_a_folder_is_made() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    for name in ["match", "a.b", "martello-guest-sdk"] {
        let path = temporary.path().join("made");
        let sdk = Some(checkout().join("guest-sdk"));
        let args = NewArgs { name: name.parse().expect("a name"), path: Some(path.clone()), sdk };
        assert!(run(args, &quiet()).is_err(), "{name}");
        assert!(!path.exists(), "{name}");
    }
}

#[test]
fn the_sdk_is_found_upward_of_the_new_folder_and_a_wrong_one_is_refused() {
    let inside = checkout().join("components").join("not-there-yet");
    let expected = checkout().join("guest-sdk").canonicalize().expect("is there");
    assert_eq!(sdk_folder(None, &inside).expect("found"), expected);
    let refused = sdk_folder(Some(&checkout().join("host")), &inside).expect_err("is no SDK");
    let next = crate::output::next_step(&refused);
    assert!(format!("{refused:#}").contains("host/guest-sdk"), "{refused:#}");
    assert!(next.contains("checkout"), "{next}");
}

#[test]
fn the_sdk_may_be_named_by_its_checkout() {
    let elsewhere = Path::new("/nowhere/new");
    let expected = checkout().join("guest-sdk").canonicalize().expect("is there");
    for named in [checkout(), checkout().join("guest-sdk")] {
        assert_eq!(sdk_folder(Some(&named), elsewhere).expect("found"), expected);
    }
}
