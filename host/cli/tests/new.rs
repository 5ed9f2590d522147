//! `martello new`, to the end: what it prints is run as it was printed.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever something is not as it should be")]

use std::path::Path;
use std::process::Command;

use martello_bundle::Interfaces;

#[test]
#[ignore = "slow: builds, tests and runs a component; `cargo xtask test` runs it"]
fn every_command_that_new_prints_works_up_to_findings_over_the_sample_files() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("fresh");
    let made = Command::new(env!("CARGO_BIN_EXE_martello"))
        .args(["--format", "json", "new", "fresh", "--sdk"])
        .arg(checkout)
        .current_dir(temporary.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    // The SDK's crates are those of the checkout, so its lock file saves the registry.
    std::fs::copy(checkout.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for command in made["next"].as_array().unwrap() {
        let command = command.as_str().unwrap();
        assert!(page.contains(command), "{command}");
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&folder);
        shell.env("MARTELLO_STATE", temporary.path().join("state")).env("CARGO_NET_OFFLINE", "true");
        // What cargo sets for this test must not reach the build inside it.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "MARTELLO_FORMAT"] {
            shell.env_remove(name);
        }
        // That of the new folder; the checkout's own build keeps its place.
        if command.starts_with("cargo test") || command.starts_with("cargo build") {
            shell.env_remove("CARGO_TARGET_DIR");
        }
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let wasm = std::fs::read(folder.join("target/wasm32-wasip2/component/fresh.wasm")).unwrap();
    let imports = Interfaces::of(&wasm).unwrap().imports;
    let foreign = |import: &&String| import.contains("wasi:nn") || import.contains("pseudonyms");
    assert_eq!(imports.iter().find(foreign), None, "{imports:?}");
    assert!(wasm.len() < 200_000, "{} bytes", wasm.len());
    let count = |name: &str| std::fs::read_dir(folder.join("out").join(name)).unwrap().count();
    let images = count("images");
    assert!(images > 10, "{images}");
    assert_eq!(count("findings"), images, "each object that came through was measured");
}
