//! Files that are none or others than those that are wanted, and limits on files: a sentence and an exit code, no hanging and no
//! signal.

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

#[test]
fn a_file_of_another_kind_is_named_with_what_is_wanted_and_the_command_that_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(martello(here, "keys generate --out key.pem").status.success());
    std::fs::write(here.join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(here.join("note.txt"), "no wasm").unwrap();
    std::fs::write(here.join("bundle.toml"), "name = \"a\"\n[pipeline]\naccepts = []\n").unwrap();
    let made = "keys trust --root-key key.pem --release-key key.pem --threshold 1 --out trust.json";
    assert!(martello(here, made).status.success());
    let run = "run --state state --input . --output out";
    for (arguments, code, given, next) in [
        (
            "keys trust --root-key key.pub.json --release-key key.pem --threshold 1 --out t.json".to_owned(),
            1,
            "`key.pub.json` is the public part of a key, wanted is the private part of a key",
            "wrote beside it: key.pem",
        ),
        (
            format!("{run} bundle.tar --trust key.pem"),
            8,
            "`key.pem` is the private part of a key, wanted is a trust root",
            "keys trust --root-key ROOT.pem --release-key key.pem --threshold 1 --out trust.json",
        ),
        (
            format!("{run} bundle.toml --trust trust.json"),
            8,
            "`bundle.toml` is the source of a bundle, not packed, wanted is a packed bundle",
            "bundle pack bundle.toml --out bundle.tar",
        ),
        (
            "exec --state state core.wasm".to_owned(),
            1,
            "`core.wasm` is a WebAssembly core module, wanted is a WebAssembly component",
            "cargo build --target wasm32-wasip2",
        ),
        (
            "exec --state state note.txt".to_owned(),
            1,
            "`note.txt` is no WebAssembly component",
            "cargo build --target wasm32-wasip2",
        ),
        (
            "serve --state state note.txt".to_owned(),
            1,
            "`note.txt` is no WebAssembly component",
            "cargo build --target wasm32-wasip2",
        ),
    ] {
        let output = martello(here, &arguments);
        ended(&output, code, given);
        ended(&output, code, next);
    }
}

#[test]
fn a_source_whose_component_is_not_built_says_how_to_build_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (file, next) in [
        (
            "target/wasm32-wasip2/component/mine.wasm",
            "cargo build --target wasm32-wasip2 --profile component",
        ),
        ("../target/components/classify.wasm", "cargo xtask components"),
        ("mine.wasm", "mend its path, which is relative to `bundle.toml`"),
    ] {
        let source = format!("name = \"a\"\n[[components]]\nname = \"mine\"\nfile = \"{file}\"\n");
        std::fs::write(here.join("bundle.toml"), source).unwrap();
        let output = martello(here, "bundle pack bundle.toml --out bundle.tar");
        ended(&output, 1, file);
        ended(&output, 1, next);
    }
}

#[test]
fn an_input_of_infer_that_is_not_there_is_not_told_to_be_saved_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("model.onnx"), b"").unwrap();
    let output = martello(here, "infer --state state model.onnx --input x=gone.npy --out out");
    ended(&output, 2, "gone.npy");
    ended(&output, 2, "nothing is there");
}

#[test]
fn a_reader_that_is_gone_ends_nothing_in_an_error() {
    for format in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_martello"))
            .args(["--format", format, "explain"])
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}
