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
        self.infer_through(&[], model_name, arguments)
    }

    /// The same, started by another program.
    fn infer_through(&self, program: &[&str], model_name: &str, arguments: &[&str]) -> Output {
        self.infer_in(program, "json", model_name, arguments)
    }

    /// The same with another form of the result.
    fn infer_as(&self, format: &str, model_name: &str, arguments: &[&str]) -> Output {
        self.infer_in(&[], format, model_name, arguments)
    }

    fn infer_in(&self, program: &[&str], format: &str, model_name: &str, arguments: &[&str]) -> Output {
        static STATE: OnceLock<tempfile::TempDir> = OnceLock::new();
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line: Vec<std::ffi::OsString> = program.iter().map(Into::into).collect();
        line.push(martello().into());
        line.extend(["--format", format, "infer"].map(Into::into));
        if !arguments.contains(&"--state") {
            let state = STATE.get_or_init(|| tempfile::tempdir().unwrap());
            line.extend(["--state".into(), state.path().into()]);
        }
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        command.arg("--out").arg(self.path("out")).arg(model(model_name)).args(arguments);
        command.env_remove("MARTELLO_ONNXRUNTIME").env_remove("MARTELLO_ALLOW_LIBRARIES");
        // Not more than on the smallest device.
        command.env("MARTELLO_MODEL_MEMORY", "768");
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

/// ONNX Runtime's library with its digest; none where there is none, which CI does not take.
fn onnxruntime() -> Option<[String; 4]> {
    let bench = Bench::new();
    let Ok(library) = std::env::var("MARTELLO_ONNXRUNTIME") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must set MARTELLO_ONNXRUNTIME");
        return None;
    };
    let six = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    let refused = bench.infer("affine", &["--onnxruntime", &library, "--input", &six]);
    let words = ended(&refused, 4);
    let digest = words.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    Some(["--onnxruntime".to_owned(), library, "--allow-library".to_owned(), digest.to_owned()])
}

/// Memory of the process and of its children at their highest, in MiB (`getrusage(2)`).
fn with_peak(bench: &Bench, model_name: &str, arguments: &[&str]) -> (Output, u64) {
    let file = bench.path("peak");
    let output = bench.infer_through(
        &["/usr/bin/env", "python3", "-c", PEAK, file.to_str().unwrap()],
        model_name,
        arguments,
    );
    let peak = std::fs::read_to_string(file).unwrap().trim().parse::<u64>().unwrap();
    (output, peak >> 10)
}

const PEAK: &str = "import resource, subprocess, sys\n\
    ended = subprocess.run(sys.argv[2:])\n\
    open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n\
    sys.exit(ended.returncode if ended.returncode >= 0 else 99)\n";

#[test]
fn a_model_that_takes_all_memory_is_refused_by_name_and_takes_none() {
    let bench = Bench::new();
    for (name, shape, count) in
        [("pads", "1, 1, 8, 8", 64), ("constant", "2, 3", 6), ("enlarges", "1, 1, 512, 512", 512 * 512)]
    {
        let input = bench.input("x", &npy("<f4", shape, &floats(&vec![1.0; count])));
        let (output, peak) = with_peak(&bench, name, &["--backend", "builtin", "--input", &input]);
        let words = ended(&output, 4);
        assert!(words.contains("model-limit: ") && words.contains(&format!("{name}.onnx")), "{words}");
        assert!(words.contains("backend tract takes more than 768 MiB of memory"), "{words}");
        assert!(words.contains("--model-memory"), "{words}");
        assert!(peak < 1100, "{name}: {peak} MiB");
    }
    // What the operator gives decides: this one makes 16 MiB out of one number.
    let one = bench.input("x", &npy("<f4", "1,", &floats(&[1.0])));
    let given = ["--backend", "builtin", "--input", &one, "--model-memory"];
    ended(&bench.infer("grows", &[&given[..], &["64"]].concat()), 0);
    let words = ended(&bench.infer("grows", &[&given[..], &["8"]].concat()), 4);
    assert!(words.contains("more than 8 MiB of memory"), "{words}");
}

#[test]
fn a_file_that_is_no_model_is_told_so_with_what_to_do() {
    let bench = Bench::new();
    let path = bench.path("weights");
    std::fs::write(path.with_extension("onnx"), "PK\u{3}\u{4} a checkpoint of something else").unwrap();
    let x = bench.input("x", &npy("<f4", "1,", &floats(&[1.0])));
    let words = ended(&bench.infer(path.to_str().unwrap(), &["--input", &x]), 3);
    assert!(words.contains("this is not an ONNX model: ") && words.contains("exported to ONNX"), "{words}");
}

#[test]
fn a_model_runs_whose_file_says_no_shape_of_its_output() {
    let bench = Bench::new();
    let x = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])));
    ended(&bench.infer("shapeless", &["--backend", "builtin", "--input", &x]), 0);
    assert_eq!(bench.output("y"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn a_model_whose_memory_depends_on_values_runs_where_that_is_bounded_alone() {
    let bench = Bench::new();
    let x = bench.input("x", &npy("<f4", "1,", &floats(&[1.0])));
    let run = |count: i64, rest: &[String]| {
        let shape = bench.input("shape", &npy("<i8", "1,", &count.to_le_bytes()));
        let mut arguments = vec!["--input", x.as_str(), "--input", shape.as_str()];
        arguments.extend(rest.iter().map(String::as_str));
        with_peak(&bench, "expands", &arguments)
    };
    let words = ended(&bench.infer("ranges", &["--backend", "builtin", "--input", &x]), 4);
    assert!(words.contains("model-unbounded: ") && words.contains("operator Range"), "{words}");
    let Some(library) = onnxruntime() else {
        eprintln!("ignored: MARTELLO_ONNXRUNTIME does not name a library of ONNX Runtime");
        return;
    };
    ended(&run(4, &library).0, 0);
    assert_eq!(bench.output("y"), [4.0]);
    let (output, peak) =
        run(1 << 40, &[&library[..], &["--model-memory".to_owned(), "512".to_owned()]].concat());
    let words = ended(&output, 4);
    assert!(words.contains("model-too-large"), "{words}");
    assert!(peak < 700, "{peak} MiB");
}

#[test]
fn a_loop_without_end_is_stopped_at_the_wall_and_texts_that_grow_are_refused() {
    let bench = Bench::new();
    let Some(library) = onnxruntime() else {
        eprintln!("ignored: MARTELLO_ONNXRUNTIME does not name a library of ONNX Runtime");
        return;
    };
    let library = library.each_ref().map(String::as_str);
    let six = bench.input("x", &npy("<f4", "2, 3", &floats(&[0.0; 6])));
    let begun = std::time::Instant::now();
    let words =
        ended(&bench.infer("endless", &[&library[..], &["--input", &six, "--wall", "1000"]].concat()), 4);
    assert!(words.contains("--wall"), "{words}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let words = ended(&bench.infer("strings", &[&library[..], &["--input", &six]].concat()), 4);
    assert!(words.contains("model-unbounded: ") && words.contains("texts"), "{words}");
}

#[test]
fn a_model_is_tried_out_once_and_again_where_what_was_kept_does_not_hold() {
    let bench = Bench::new();
    let state = tempfile::tempdir().unwrap();
    let x = bench.input("left", &npy("<f4", "2,", &floats(&[5.0, 7.0])));
    let y = bench.input("right", &npy("<f4", "2,", &floats(&[1.0, 2.0])));
    let tried = |rest: &[&str]| {
        let inputs = ["--input", &x, "--input", &y, "--backend", "builtin", "--log", "info"];
        let state = ["--state", state.path().to_str().unwrap()];
        let output = bench.infer("two_inputs", &[&state[..], &inputs[..], rest].concat());
        ended(&output, 0).contains("model went through in a process of its own")
    };
    assert!(tried(&[]));
    assert!(!tried(&[]));
    // Other limits are another question.
    assert!(tried(&["--model-memory", "600"]));
    assert!(!tried(&["--model-memory", "600"]));
    for file in std::fs::read_dir(state.path().join("models")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(tried(&[]));
    assert!(!tried(&[]));
}

#[test]
fn names_that_steer_a_terminal_are_shown_as_escapes() {
    let bench = Bench::new();
    let six = npy("<f4", "2, 3", &floats(&[0.0; 6]));
    let input = bench.input("x", &six).replacen('x', "x\u{1b}[2J", 1);
    let output = bench.infer_as("text", "steers", &["--backend", "builtin", "--input", &input]);
    assert!(!output.status.success());
    assert!(![output.stdout, output.stderr].concat().iter().any(|byte| matches!(byte, 0x1b | 7)));
    // What is refused is told on one line.
    let output =
        bench.infer_as("text", "steers", &["--backend", "builtin", "--input", &bench.input("x", &six)]);
    let words = ended(&output, 2);
    assert!(words.contains(r"`x\u{1b}[2J`") && !words.contains('\u{1b}'), "{words:?}");
    assert_eq!(words.lines().count(), 2, "{words}");
}
