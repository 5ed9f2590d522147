//! Files that are none, and limits on files: a sentence and an exit code, no hanging and no signal.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever something is not as it should be")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs `martello` through a shell that bounds its time: what hangs, or reads a device to no end, ends with another
/// code.
fn martello(folder: &Path, arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_martello");
    let script = format!("exec timeout 20 '{program}' {arguments}");
    Command::new("sh").args(["-c", &script]).current_dir(folder).output().unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32, words: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(told.contains(words), "{told}");
    assert!(told.contains("try: ") && !told.contains("--log debug"), "{told}");
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(Command::new("mkfifo").arg(here.join("pipe")).status().unwrap().success());
    for file in ["/dev/zero", "pipe"] {
        for arguments in [
            format!("bundle verify bundle.tar --trust {file}"),
            format!("bundle inspect {file}"),
            format!("bundle init --model {file} --out made"),
            format!("bundle pack {file} --out made.tar"),
            format!("exec --state state {file}"),
            format!("keys show {file}"),
            format!("infer --state state {file} --out out"),
        ] {
            ended(&martello(here, &arguments), 1, "no regular file");
        }
    }
}

#[test]
fn a_bundle_that_is_not_there_ends_with_1_and_says_to_check_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(martello(here, "keys generate --out key.pem").status.success());
    let made = "keys trust --root-key key.pem --release-key key.pem --threshold 1 --out trust.json";
    assert!(martello(here, made).status.success());
    ended(&martello(here, "bundle verify nowhere.tar --trust trust.json"), 1, "check the path");
    ended(&martello(here, "exec --state state nowhere.wasm"), 1, "check the path");
}

#[test]
fn a_write_beyond_the_limit_on_files_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("ulimit -f 0; exec '{}' keys generate --out key.pem", env!("CARGO_BIN_EXE_martello"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    ended(&output, 1, "ulimit -f");
}
