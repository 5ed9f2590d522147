//! Guests that misuse `wasi:nn`, in a real run: what the operator sees, and that it stays with the input that did it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use martello_tests::bundle::{Signed, guest, shared_state, signed};
use martello_tests::{finish, martello, root};
use serde_json::{Value, json};

/// All tensors of an instance together: ONNX files that are loaded from a guest's bytes count while they are read.
const TENSOR_BYTES: u64 = 1 << 20;

fn model(name: &str) -> PathBuf {
    root().join("host/inference/tests/models").join(format!("{name}.onnx"))
}

/// A bundle of one stage, the guest, with these grants, settings and models.
fn bundle(folder: &Path, name: &str, stage: &Value, models: &Value) -> Signed {
    let codes = [
        "tensor-mismatch",
        "model-timeout",
        "model-too-large",
        "model-missing",
        "model-forbidden",
        "model-failed",
    ];
    let mut stage = stage.clone();
    for (key, value) in [
        ("name", json!("misuse")),
        ("component", json!(name)),
        ("from", json!("input")),
        ("ports", json!(["copy"])),
    ] {
        stage[key] = value;
    }
    let source = json!({
        "name": name, "version": "0.1.0", "security_version": 1,
        "components": [{ "name": name, "file": guest(name).unwrap(),
                         "codes": codes,
                         "limits": { "tensor_bytes": TENSOR_BYTES, "memory_bytes": 128 << 20 } }],
        "models": models,
        // What a guest writes is looked at here: no such bundle is for a device.
        "capabilities": ["dangerously-export-identified"],
        "pipeline": { "accepts": ["application/octet-stream"], "stages": [stage],
                      "exports": [{ "from": "misuse.copy", "folder": "copies", "extension": "bin" }] },
    });
    signed(folder, &source).unwrap()
}

/// What became of each input: `done`, or the code of its quarantine, which stands beside the file too.
fn outcomes<'a>(lines: &'a [Value], output: &Path) -> BTreeMap<&'a str, &'a str> {
    let outcome = |line: &'a Value| {
        let input = line["input"].as_str().unwrap();
        if line["outcome"] == "done" {
            return (input, "done");
        }
        assert_eq!(
            (&line["outcome"], &line["refused_by"]),
            (&json!("quarantine"), &json!("misuse")),
            "{line}"
        );
        let paths = line["outputs"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
        let note = paths.clone().find(|path| path.ends_with(".json")).unwrap();
        let note: Value = serde_json::from_slice(&fs::read(output.join(note)).unwrap()).unwrap();
        assert_eq!(note["code"], line["code"], "{line}");
        assert!(paths.clone().all(|path| path.starts_with("quarantine/")), "{line}");
        (input, line["code"].as_str().unwrap())
    };
    lines.iter().map(outcome).collect()
}

/// The elements of an input's only exported file.
fn copied(lines: &[Value], output: &Path, input: &str) -> Vec<f32> {
    let line = lines.iter().find(|line| line["input"] == input).unwrap();
    let files = line["outputs"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str());
    let file = files.clone().find(|path| path.starts_with("copies/")).unwrap();
    let bytes = fs::read(output.join(file)).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn tensors_that_a_model_does_not_take_harm_their_own_input_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |name: &str, shape: &[u32]| json!([{ "name": name, "dtype": "f32", "shape": shape }]);
    let models = json!([
        { "name": "model", "file": model("affine"), "format": "onnx", "inputs": tensor("x", &[2, 3]),
          "outputs": tensor("y", &[2, 3]) },
        { "name": "grows", "file": model("grows"), "format": "onnx", "inputs": tensor("x", &[1]),
          "outputs": tensor("y", &[1 << 22]) },
    ]);
    let signed = bundle(folder.path(), "wrong-tensors", &json!({ "models": ["model", "grows"] }), &models);
    let expected = BTreeMap::from([
        ("fine", "done"),
        ("shape", "tensor-mismatch"),
        ("rank", "tensor-mismatch"),
        ("type", "tensor-mismatch"),
        ("length", "tensor-mismatch"),
        ("no-bytes", "tensor-mismatch"),
        ("overflowing-shape", "tensor-mismatch"),
        ("endless-shape", "tensor-mismatch"),
        ("endless-shapes", "tensor-mismatch"),
        ("empty-shape", "tensor-mismatch"),
        ("name", "tensor-mismatch"),
        ("twice", "tensor-mismatch"),
        ("none", "tensor-mismatch"),
        ("giant", "model-too-large"),
        ("hoard", "model-too-large"),
        ("growing", "model-too-large"),
        ("thousands", "guest-handles"),
        // Ended by the host, or by itself.
        ("monster", "guest-trap"),
        ("output-that-is-not-there", "guest-trap"),
        ("fine-too", "done"),
    ]);
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for what in expected.keys() {
        fs::write(input.join(what), what).unwrap();
    }
    let output = folder.path().join("out");
    let lines = signed.run(&input, &output).unwrap();
    assert_eq!(outcomes(&lines, &output), expected);
    // Zeros through `2 x + 1`: the neighbours got their model's answer, whatever ran beside them.
    for neighbour in ["fine", "fine-too"] {
        assert_eq!(copied(&lines, &output, neighbour), [1.0; 6]);
    }
    assert_eq!(fs::read_dir(output.join("copies")).unwrap().count(), 2);
}

#[test]
fn a_model_out_of_a_guests_own_bytes_is_refused_unless_the_manifest_grants_it() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let affine = fs::read(model("affine")).unwrap();
    fs::write(input.join("affine"), &affine).unwrap();
    fs::write(input.join("torn"), &affine[..affine.len() / 2]).unwrap();
    fs::copy(model("unsupported"), input.join("unsupported")).unwrap();
    // A giant beside what the instance may hold.
    let giant = usize::try_from(2 * TENSOR_BYTES).unwrap();
    fs::write(input.join("giant"), [affine, vec![0; giant]].concat()).unwrap();
    // What would take all memory, or end the host, where it is loaded.
    for name in ["pads", "constant"] {
        fs::copy(model(name), input.join(name)).unwrap();
    }
    fs::write(input.join("nothing-brought"), "").unwrap();

    let run = |name: &str, stage: &Value| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let signed = bundle(&folder, "own-model", stage, &json!([]));
        let output = folder.join("out");
        (signed.run(&input, &output).unwrap(), output)
    };
    let (lines, output) = run("refused", &json!({}));
    let brought = ["affine", "torn", "unsupported", "giant", "pads", "constant"];
    let mut expected: BTreeMap<&str, &str> = brought.map(|input| (input, "model-forbidden")).into();
    expected.insert("nothing-brought", "done");
    assert_eq!(outcomes(&lines, &output), expected);

    // A guest that keeps its refusal to itself gains nothing by it.
    let (lines, output) = run("sly", &json!({ "settings": { "sly": "yes" } }));
    assert!(outcomes(&lines, &output).values().all(|outcome| *outcome == "done"));
    assert!(
        lines.iter().all(|line| line["models"] == json!([]) && line["outputs"] == json!([])),
        "{lines:?}"
    );

    let (lines, output) = run("granted", &json!({ "grants": ["dangerously-load-guest-models"] }));
    let expected = BTreeMap::from([
        ("affine", "done"),
        ("torn", "model-failed"),
        ("unsupported", "model-failed"),
        ("giant", "model-too-large"),
        ("pads", "model-too-large"),
        ("constant", "model-too-large"),
        ("nothing-brought", "done"),
    ]);
    assert_eq!(outcomes(&lines, &output), expected);
    assert_eq!(copied(&lines, &output, "affine"), [1.0; 6]);
    // The report tells that this model is nobody's.
    let line = lines.iter().find(|line| line["input"] == "affine").unwrap();
    assert_eq!(
        (&line["models"][0]["model"], &line["models"][0]["runs"]),
        (&Value::Null, &json!(1)),
        "{line}"
    );
}

#[test]
fn a_bundle_whose_model_takes_all_memory_does_not_run_and_says_which_limit() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |name: &str, shape: &[u32]| json!([{ "name": name, "dtype": "f32", "shape": shape }]);
    for (name, shape) in [("pads", &[1, 1, 8, 8][..]), ("constant", &[2, 3])] {
        let folder = folder.path().join(name);
        let input = folder.join("in");
        fs::create_dir_all(&input).unwrap();
        let outputs = if name == "pads" { tensor("y", &[]) } else { tensor("y", &[2, 3]) };
        let models = json!([{ "name": "hostile", "file": model(name), "format": "onnx", "inputs": tensor("x", shape),
                              "outputs": outputs, "placement": { "backend": "builtin", "device": "cpu", "strictness": "require" } }]);
        let signed = bundle(&folder, "wrong-tensors", &json!({ "models": ["hostile"] }), &models);
        let mut run = martello(&shared_state());
        run.arg("run").arg(&signed.bundle).arg("--trust").arg(&signed.trust).args(["--model-memory", "768"]);
        let ended = finish(run.arg("--input").arg(&input).arg("--output").arg(folder.join("out"))).unwrap();
        let words = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(4), "{words}");
        let told = ["model-limit: ", "`hostile`", "backend tract", "768 MiB of memory", "--model-memory"];
        assert!(told.iter().all(|told| words.contains(told)), "{words}");
    }
}
