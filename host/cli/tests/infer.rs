//! `martello infer` as a process: files in, files out, and a sandboxed guest in between.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail wherever something is not as it should be"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

/// `martello`, with `martello-compile` beside it.
fn martello() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_martello"));
        let folder = program.parent().unwrap();
        if !folder.join("martello-compile").exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "martello-compile", "--target-dir"]);
            assert!(cargo.arg(folder.parent().unwrap()).status().unwrap().success());
        }
        program
    })
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/tests/models").join(format!("{name}.onnx"))
}

/// A `.npy` file in version 1.
fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(elements);
    file
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn input(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.path(&format!("{name}-in.npy"));
        std::fs::write(&file, bytes).unwrap();
        format!("{name}={}", file.display())
    }

    /// Runs `martello --format json infer`. State is shared, so that the guest is compiled once; one process at a
    /// time, so that figures of time mean something.
    fn infer(&self, model_name: &str, arguments: &[&str]) -> Output {
        static STATE: OnceLock<tempfile::TempDir> = OnceLock::new();
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let state = STATE.get_or_init(|| tempfile::tempdir().unwrap());
        let mut command = Command::new(martello());
        command.args(["--format", "json", "infer", "--state"]).arg(state.path());
        command.arg("--out").arg(self.path("out")).arg(model(model_name)).args(arguments);
        command.env_remove("MARTELLO_ONNXRUNTIME").env_remove("MARTELLO_ALLOW_LIBRARIES");
        command.output().unwrap()
    }

    /// The elements of an output in version 1.
    fn output(&self, name: &str) -> Vec<f32> {
        let file = std::fs::read(self.path("out").join(format!("{name}.npy"))).unwrap();
        let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        file[start..].chunks_exact(4).map(|it| f32::from_le_bytes(it.try_into().unwrap())).collect()
    }
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words}");
    words
}

#[test]
fn a_model_runs_in_the_sandbox_and_its_outputs_are_written() {
    let bench = Bench::new();
    let input = bench.input("x", &npy("<f4", "2, 3", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    let output = bench.infer("affine", &["--backend", "builtin", "--input", &input, "--repeat", "5"]);
    ended(&output, 0);
    assert_eq!(bench.output("y"), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["execution"]["backend"], "tract");
    assert_eq!(summary["runs"], 5);
    assert_eq!(summary["outputs"][0]["shape"], serde_json::json!([2, 3]));
    assert!(summary["least_ms"].as_f64().unwrap() <= summary["median_ms"].as_f64().unwrap());
}

#[test]
fn a_tensor_of_64_mib_goes_through() {
    let bench = Bench::new();
    let elements: Vec<u8> = floats(&[0.25, 0.75]).repeat(4096 * 2048);
    let input = bench.input("x", &npy("<f4", "1, 1, 4096, 4096", &elements));
    ended(&bench.infer("mean_4096", &["--backend", "builtin", "--input", &input]), 0);
    let mean = bench.output("y");
    assert!((mean[0] - 0.5).abs() < 1e-3, "{mean:?}");
}

#[test]
fn onnx_runtime_is_loaded_where_its_digest_is_allowed() {
    let Ok(library) = std::env::var("MARTELLO_ONNXRUNTIME") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must set MARTELLO_ONNXRUNTIME");
        eprintln!("ignored: MARTELLO_ONNXRUNTIME does not name a library of ONNX Runtime");
        return;
    };
    let bench = Bench::new();
    let input = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    let asked = ["--backend", "onnxruntime", "--onnxruntime", &library, "--input", &input];
    let refused = ended(&bench.infer("affine", &asked), 4);
    let digest =
        refused.split_whitespace().find(|word| word.starts_with("sha256:")).expect("the digest is told");
    let output = bench.infer("affine", &[&asked[..], &["--allow-library", digest]].concat());
    ended(&output, 0);
    assert_eq!(bench.output("y"), [1.0; 6]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["execution"]["backend"], "onnxruntime");
}

#[test]
fn what_cannot_run_ends_with_its_documented_code() {
    let bench = Bench::new();
    let pair = bench.input("x", &npy("<f4", "2,", &floats(&[0.0; 2])));
    let words = ended(&bench.infer("unsupported", &["--backend", "builtin", "--input", &pair]), 3);
    assert!(words.contains("Nonesuch"), "{words}");
    let six = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    let on_gpu = ["--backend", "builtin", "--device", "gpu", "--input", &six];
    let words = ended(&bench.infer("affine", &on_gpu), 3);
    assert!(words.contains("gpu"), "{words}");
    ended(&bench.infer("affine", &[&on_gpu[..], &["--prefer-device"]].concat()), 0);
    let booleans = bench.input("x", &npy("|b1", "2, 3", &[0; 6]));
    let words = ended(&bench.infer("affine", &["--input", &booleans]), 2);
    assert!(words.contains("wasi:nn cannot name"), "{words}");
    ended(&bench.infer("affine", &[]), 2);
    ended(&bench.infer("affine", &["--input", &pair]), 2);
    let extra = bench.input("z", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    let six = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    ended(&bench.infer("affine", &["--input", &six, "--input", &extra]), 2);
    let words = ended(&bench.infer("affine", &["--backend", "onnxruntime", "--input", &six]), 3);
    assert!(words.contains("onnxruntime"), "{words}");
}
