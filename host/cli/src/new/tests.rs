use std::process::Command;

use martello_bundle::{Draft, Interfaces};
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

fn pack(folder: &Path, component: Option<&[u8]>) -> Draft {
    let text = std::fs::read_to_string(folder.join("bundle.toml")).expect("the source is there");
    let source = toml::from_str(&text).expect("the source is TOML");
    let read = |file: &str| match component {
        Some(bytes) => Ok(bytes.to_vec().into()),
        None => std::fs::read(folder.join(file)).map(Into::into),
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
    pack(&folder, Some(b"\0asm\x0d\0\x01\0"));
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
    assert!(sdk_folder(Some(checkout().join("host")), &inside).is_err());
}

#[test]
#[ignore = "slow: builds and tests a component; `cargo xtask test` runs it"]
fn a_new_component_tests_natively_builds_offline_and_imports_no_models_or_pseudonyms() {
    let (_temporary, folder) = scaffold("fresh");
    // The SDK's crates are those of the checkout, so its lock file saves the registry.
    std::fs::copy(checkout().join("Cargo.lock"), folder.join("Cargo.lock")).expect("copies");
    for arguments in [&["test"][..], &["build", "--target", "wasm32-wasip2", "--profile", "component"]] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(arguments)
            .arg("--offline")
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", folder.join("target"));
        // What cargo sets for this test must not reach the build inside it.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(name);
        }
        let output = command.output().expect("cargo starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    pack(&folder, None);
    let wasm = std::fs::read(folder.join("target/wasm32-wasip2/component/fresh.wasm")).expect("is built");
    let imports = Interfaces::of(&wasm).expect("is a component").imports;
    let foreign = |import: &&String| import.contains("wasi:nn") || import.contains("pseudonyms");
    assert_eq!(imports.iter().find(foreign), None, "{imports:?}");
    assert!(wasm.len() < 200_000, "{} bytes", wasm.len());
}
