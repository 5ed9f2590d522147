//! What other people's DICOM tools say of the de-identified files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use martello_tests::{finish, imaging_bundle, json_lines, martello, program, python, root, samples};
use serde_json::{Value, json};

/// Identity in attributes that the basic profile keeps: only a residual search finds it, and the pipeline has none
/// yet. The component's README says so.
const NEEDS_RESIDUAL_SEARCH: &str = "made/ct_residual_in_kept.dcm";

struct Run {
    _folder: tempfile::TempDir,
    output: PathBuf,
    lines: Vec<Value>,
}

fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(bundle).arg("--trust").arg(trust);
    command.arg("--input").arg(samples()).arg("--output").arg(&output);
    let ended = finish(&mut command).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = json_lines(&output.join("report.jsonl")).unwrap();
    Run { _folder: folder, output, lines }
}

impl Run {
    /// Originals with their de-identified files, both relative to their folders.
    fn pairs(&self) -> Vec<(String, String)> {
        let images = self.lines.iter().filter_map(|line| {
            let outputs = line["outputs"].as_array()?;
            let image = outputs
                .iter()
                .find_map(|file| file["path"].as_str().filter(|path| path.starts_with("images/")))?;
            Some((line["input"].as_str()?.to_owned(), image.to_owned()))
        });
        images.collect()
    }
}

#[test]
fn dcmdump_and_dciodvfy_open_every_deidentified_file() {
    let (Some(dcmdump), Some(dciodvfy)) = (program("dcmdump").unwrap(), program("dciodvfy").unwrap()) else {
        return;
    };
    let run = run();
    let pairs = run.pairs();
    assert!(pairs.len() >= 10, "{}", pairs.len());
    for (original, image) in &pairs {
        let image = run.output.join(image);
        let dump = finish(Command::new(&dcmdump).arg("-q").arg(&image)).unwrap();
        assert!(dump.status.success(), "dcmdump on {original}: {}", String::from_utf8_lossy(&dump.stderr));
        // dciodvfy also judges what the modality left out, which de-identification cannot mend: what must not come up
        // is anything that it could not read.
        let verdict = finish(Command::new(&dciodvfy).arg("-new").arg(&image)).unwrap();
        let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
        for bad in ["Error - Dataset read failed", "Error - Unrecognized", "Couldn't"] {
            assert!(!said.contains(bad), "dciodvfy on {original}: {said}");
        }
    }
}

#[test]
fn an_independent_checker_finds_no_identifying_value_left() {
    let Some(python) = python().unwrap() else { return };
    let run = run();
    let pairs = run.pairs();
    let verdicts = check(&python, &run.output, &pairs);
    let mut judged = 0;
    for verdict in verdicts.iter().filter(|verdict| verdict.get("summary").is_none()) {
        let original = verdict["original"].as_str().unwrap();
        judged += 1;
        if original == NEEDS_RESIDUAL_SEARCH {
            continue;
        }
        assert!(is_empty(&verdict["survivors"]), "{original}: {verdict}");
        assert!(is_empty(&verdict["left"]), "{original}: {verdict}");
        assert!(is_empty(&verdict["faults"]), "{original}: {verdict}");
    }
    assert_eq!(judged, pairs.len());
}

fn is_empty(list: &Value) -> bool {
    list.is_null() || list.as_array().is_some_and(Vec::is_empty)
}

fn check(python: &Path, output: &Path, pairs: &[(String, String)]) -> Vec<Value> {
    let mut child = Command::new(python)
        .arg(root().join("tests/oracle/deid_check.py"))
        .arg(samples())
        .arg(output)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for (original, deidentified) in pairs {
        writeln!(stdin, "{}", json!({ "original": original, "deidentified": deidentified })).unwrap();
    }
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn no_marker_of_an_identity_stands_in_anything_that_may_leave() {
    let run = run();
    let allowed = run
        .pairs()
        .into_iter()
        .find(|(original, _)| original == NEEDS_RESIDUAL_SEARCH)
        .map(|(_, image)| image);
    let mut searched = 0;
    for folder in ["images", "previews", "findings"] {
        for entry in fs::read_dir(run.output.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if allowed.as_ref().is_some_and(|allowed| path.ends_with(allowed)) {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for marker in [b"ZZMARK".as_slice(), b"2.999.4711"] {
                assert!(!bytes.windows(marker.len()).any(|window| window == marker), "{path:?}");
            }
            searched += 1;
        }
    }
    assert!(searched >= 20, "{searched}");
    let report = fs::read_to_string(run.output.join("report.jsonl")).unwrap();
    assert!(!report.contains("ZZMARK") && !report.contains("2.999.4711"));
}
