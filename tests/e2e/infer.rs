//! `martello infer` against Python's onnxruntime, on models made for the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use martello_tests::bundle::{shared_state, succeeded};
use martello_tests::{finish, martello, python, root};
use serde_json::{Value, json};

/// How far a float may be from Python's on the same library. It is the same code: nothing at all is expected.
const SAME_LIBRARY: f64 = 1e-4;

/// ONNX Runtime's library, with its digest in the form in which it is allowed.
struct Library {
    file: PathBuf,
    digest: String,
}

/// Python with onnxruntime, and that onnxruntime's library.
fn peers() -> Option<(PathBuf, Library)> {
    let python = python().unwrap()?;
    let file = std::env::var_os("MARTELLO_ONNXRUNTIME").map(PathBuf::from);
    let Some(file) = file else {
        assert!(std::env::var_os("CI").is_none(), "CI must set MARTELLO_ONNXRUNTIME");
        return None;
    };
    let said = succeeded(Command::new("sha256sum").arg(&file)).unwrap().stdout;
    let hex = String::from_utf8(said).unwrap().split(' ').next().unwrap().trim_start_matches('\\').to_owned();
    Some((python, Library { file, digest: format!("sha256:{hex}") }))
}

/// The models with their inputs and with what Python gives.
fn made(python: &Path, folder: &Path) -> Vec<Value> {
    let mut command = Command::new(python);
    let said = succeeded(command.arg(script()).arg("make").arg(folder)).unwrap().stdout;
    String::from_utf8(said).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn script() -> PathBuf {
    root().join("tests/oracle/infer_models.py")
}

/// Runs a model. The library is there and allowed, so that a choice of backend is one.
fn infer(
    library: &Library,
    model: &Path,
    inputs: &BTreeMap<String, PathBuf>,
    out: &Path,
    rest: &[&str],
) -> Output {
    let mut command = martello(&shared_state());
    command.args(["--format", "json", "infer"]).arg(model).arg("--out").arg(out);
    command.arg("--onnxruntime").arg(&library.file).args(["--allow-library", &library.digest]);
    for (name, file) in inputs {
        command.arg("--input").arg(format!("{name}={}", file.display()));
    }
    finish(command.args(rest)).unwrap()
}

fn inputs(case: &Value) -> BTreeMap<String, PathBuf> {
    serde_json::from_value(case["inputs"].clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn models_give_what_they_give_in_python_on_both_backends() {
    let Some((python, library)) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = made(&python, folder.path());
    let mut ran = Vec::new();
    let mut refused = Vec::new();
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let model = Path::new(case["model"].as_str().unwrap());
        for backend in ["onnxruntime", "builtin"] {
            let out = folder.path().join(name).join(backend);
            let output = infer(&library, model, &inputs(case), &out, &["--backend", backend]);
            match case["builtin"].as_str().filter(|_| backend == "builtin") {
                Some(word) => {
                    assert_eq!(output.status.code(), Some(3), "{name}: {}", said(&output));
                    assert!(said(&output).contains(word), "{name}: {}", said(&output));
                    assert!(!out.exists(), "{name} left something behind");
                    refused.push(name);
                }
                None => {
                    assert_eq!(output.status.code(), Some(0), "{name} on {backend}: {}", said(&output));
                    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
                    let expected = if backend == "builtin" { "tract" } else { "onnxruntime" };
                    assert_eq!(summary["execution"]["backend"], expected, "{name}");
                    let most = case["tolerance"].as_f64().filter(|_| backend == "builtin");
                    ran.push((name, backend, out, case["expected"].clone(), most.unwrap_or(SAME_LIBRARY)));
                }
            }
        }
    }
    let pairs = ran.iter().map(|(_, _, out, expected, _)| json!([expected, out]).to_string() + "\n");
    let verdicts = judged(&python, &pairs.collect::<String>());
    assert_eq!(verdicts.len(), ran.len());
    for ((name, backend, _, _, most), verdict) in ran.iter().zip(&verdicts) {
        let differences = verdict.as_object().unwrap();
        assert!(!differences.is_empty(), "{name}");
        for (output, difference) in differences {
            let near = difference.as_f64().is_some_and(|difference| difference <= *most);
            assert!(near, "{name} on {backend}: `{output}` differs by {difference}");
        }
    }
    assert_eq!((ran.len(), refused), (33, vec!["conv-f16", "brains-bf16", "pool-of-powers"]));
}

fn judged(python: &Path, pairs: &str) -> Vec<Value> {
    let mut command = Command::new(python);
    command.arg(script()).arg("judge").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(pairs.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    let text = String::from_utf8(ended.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_with_its_reason_and_nothing_else_is_taken() {
    let Some((python, library)) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = made(&python, folder.path());
    let case = cases.iter().find(|case| case["case"] == "conv-f32").unwrap();
    let model = Path::new(case["model"].as_str().unwrap());
    let out = folder.path().join("out");
    for backend in ["auto", "onnxruntime", "builtin"] {
        for device in ["gpu", "gpu:1"] {
            let asked = ["--backend", backend, "--device", device];
            let output = infer(&library, model, &inputs(case), &out, &asked);
            assert_eq!(output.status.code(), Some(3), "{asked:?}: {}", said(&output));
            let reason = format!("device `{device}` is required and not there: ");
            let (_, reason) =
                said(&output).split_once(&reason).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert!(reason.lines().next().unwrap().len() > 10, "{reason}");
            assert!(output.stdout.is_empty() && !out.exists(), "{asked:?} fell back");
        }
    }
    // Where another device may be taken, the answer says that it was.
    let output = infer(&library, model, &inputs(case), &out, &["--device", "gpu", "--prefer-device"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["execution"]["device"], "cpu");
    assert!(summary["execution"]["instead"].as_str().unwrap().contains("gpu"), "{summary}");
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let Some((python, library)) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = made(&python, folder.path());
    let find = |name: &str| cases.iter().find(|case| case["case"] == name).unwrap();
    let out = folder.path().join("out");
    let run = |case: &Value, inputs: &BTreeMap<String, PathBuf>, rest: &[&str]| {
        let output = infer(&library, Path::new(case["model"].as_str().unwrap()), inputs, &out, rest);
        (output.status.code().unwrap(), said(&output))
    };
    // 5: it fails while it runs, and only then.
    let table = find("out-of-range");
    let beyond = BTreeMap::from([("index".to_owned(), folder.path().join("beyond.npy"))]);
    for backend in ["onnxruntime", "builtin"] {
        let (code, words) = run(table, &beyond, &["--backend", backend]);
        assert_eq!(code, 5, "{backend}: {words}");
        assert_eq!(run(table, &inputs(table), &["--backend", backend]).0, 0, "{backend}");
    }
    // 2: the command line, or tensors that the model does not take.
    assert_eq!(run(table, &BTreeMap::new(), &[]).0, 2);
    assert_eq!(run(table, &inputs(find("scalar")), &[]).0, 2);
    assert_eq!(run(table, &inputs(table), &["--backend", "nonesuch"]).0, 2);
    // 3: no such model, or not on this backend.
    let (code, words) =
        run(find("pool-of-powers"), &inputs(find("pool-of-powers")), &["--backend", "builtin"]);
    assert!(code == 3 && words.contains("LpPool"), "{code} {words}");
    let torn = folder.path().join("torn.onnx");
    let whole = fs::read(table["model"].as_str().unwrap()).unwrap();
    fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(run(&json!({ "model": torn }), &inputs(table), &[]).0, 3);
    // 4: a library that nobody allowed, and a giant model, which is not even read: it takes up no room on the disk.
    let stranger = Library { digest: format!("sha256:{}", "0".repeat(64)), file: library.file.clone() };
    let model = Path::new(table["model"].as_str().unwrap());
    let refused = infer(&stranger, model, &inputs(table), &out, &[]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    let giant = folder.path().join("giant.onnx");
    fs::File::create(&giant).unwrap().set_len((2 << 30) + 1).unwrap();
    let (code, words) = run(&json!({ "model": giant }), &inputs(table), &[]);
    assert!(code == 4 && words.contains("at most 2048 MiB"), "{code} {words}");
}

#[test]
fn what_the_built_in_backend_cannot_do_is_told_in_the_table_and_not_in_the_log() {
    let ended =
        finish(martello(&shared_state()).args(["--format", "json", "infer", "--capabilities"])).unwrap();
    assert!(ended.status.success());
    let measured: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let cases = measured[0]["cases"].as_array().unwrap();
    for verdict in ["right", "unsupported"] {
        assert!(cases.iter().any(|case| case["verdict"] == verdict), "{verdict}");
    }
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}
