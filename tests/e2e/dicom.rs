//! What other people's DICOM tools say of the de-identified files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use martello_tests::{finish, imaging_bundle, json_lines, martello, program, python, root, samples};
use serde_json::{Value, json};

use crate::rendering::shipped;

struct Run {
    _folder: tempfile::TempDir,
    output: PathBuf,
    lines: Vec<Value>,
}

fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let (bundle, trust) = imaging_bundle().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    // Always the same key: under one in a few hundred, a date moves onto another date of the same file, and the checker
    // takes the one for the other.
    let key: Vec<u8> = (0..32).collect();
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(state.join("pseudonym.key"));
    file.unwrap().write_all(&key).unwrap();
    let mut command = martello(&state);
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
        let said = verdict(&dciodvfy, &image);
        for bad in ["Error - Dataset read failed", "Error - Unrecognized", "Couldn't"] {
            assert!(!said.contains(bad), "dciodvfy on {original}: {said}");
        }
    }
}

fn verdict(dciodvfy: &Path, image: &Path) -> String {
    let ended = finish(Command::new(dciodvfy).arg("-new").arg(image)).unwrap();
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

/// The errors of a verdict, without the values and item numbers that are in them.
fn errors(verdict: &str) -> BTreeSet<String> {
    let line = |line: &str| {
        let kind = line.split(" = <").next().unwrap_or(line);
        let mut pieces = kind.split('[');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |text, piece| text + piece.split_once(']').map_or(piece, |(_, behind)| behind))
    };
    verdict.lines().filter(|line| line.starts_with("Error")).map(line).collect()
}

/// Errors that de-identification may bring up: the file, what the error holds, and why it is right.
const BROUGHT_UP: [(&str, &str, &str); 6] = [
    ("made/sr_identity.dcm", "ContentSequence(0040,a730)> - Empty", "content of reports is emptied"),
    ("reportsi.dcm", "ContentSequence(0040,a730)> - Empty", "content of reports is emptied"),
    ("test-SR.dcm", "Sequence(0040,a", "content and observers of reports are emptied"),
    (
        "made/sr_identity.dcm",
        "VerifyingObserverSequence(0040,a073)> - Empty",
        "it names who verified the report",
    ),
    ("waveform_ecg.dcm", "WaveformAnnotationSequence(0040,b020)> - Empty", "annotations are free text"),
    ("empty_charset_LEI.dcm", "but missing SOP", "a file without meta information gets it"),
];

#[test]
fn deidentification_brings_up_no_error_that_dciodvfy_did_not_see_before() {
    let Some(dciodvfy) = program("dciodvfy").unwrap() else { return };
    let run = run();
    let (mut compared, mut left, mut excepted) = (0, 0, BTreeSet::new());
    for (original, image) in run.pairs() {
        let before = errors(&verdict(&dciodvfy, &samples().join(&original)));
        // It inflates nothing: whatever it says of such a file is chance.
        if before.iter().any(|error| error.contains("read failed")) {
            continue;
        }
        let after = errors(&verdict(&dciodvfy, &run.output.join(image)));
        for error in after.difference(&before) {
            let exception =
                BROUGHT_UP.iter().position(|(file, part, _)| *file == original && error.contains(part));
            assert!(exception.is_some(), "{original}: {error}");
            excepted.extend(exception);
        }
        compared += 1;
        left += after.len();
    }
    // Files and errors that were compared: not none, and no exception outlives its reason.
    assert!(compared >= 40 && left >= 100, "{compared} files, {left} errors");
    assert_eq!(excepted.len(), BROUGHT_UP.len(), "{excepted:?}");
}

#[test]
fn the_checker_finds_every_planted_fault_and_blames_nothing_else() {
    let Some(python) = python().unwrap() else { return };
    let script = root().join("tests/oracle/deid_check.py");
    let ended = finish(Command::new(python).arg(script).arg("--self-test")).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && said.contains(" passed, 0 failed"), "{said}");
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
    let mut searched = 0;
    for folder in ["images", "previews", "tensors", "findings"] {
        for entry in fs::read_dir(run.output.join(folder)).unwrap() {
            let path = entry.unwrap().path();
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

/// The words that stand in quotes behind one of `before` in a source of a component.
fn words_in(source: &str, before: &[&str]) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("components").join(source)).unwrap();
    // On one line, wherever it was broken.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( \"", "(\"");
    let behind =
        before.iter().flat_map(|before| text.split(&format!("{before}\"")).skip(1).collect::<Vec<_>>());
    behind.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn the_bundle_that_ships_lists_every_word_that_its_components_put_into_evidence() {
    let listed = |component: &str, list: &str| -> BTreeSet<String> {
        serde_json::from_value(shipped(component, "evidence")[list].clone()).unwrap()
    };
    let mut notes = words_in("dicom-deid/src/rewrite.rs", &["note("]);
    let options = ["::Keep, ", "::Shift, ", "::Clean, ", "::DangerouslyAccept, "];
    notes.extend(words_in("dicom-deid/src/component.rs", &options));
    assert_eq!(notes, listed("dicom-deid", "notes"));
    assert_eq!(words_in("dicom-deid/src/trail.rs", &["=> "]), listed("dicom-deid", "actions"));
    let mut notes = words_in("dicom-render/src/render.rs", &["notes.insert(", "NO_PIXELS: &str = "]);
    notes.extend(words_in("dicom-render/src/preview.rs", &["), ", "(voi, "]));
    assert_eq!(notes, listed("dicom-render", "notes"));
}

/// All sources of a component but its tests.
fn sources(component: &str) -> Vec<String> {
    let mut waiting = vec![format!("{component}/src")];
    let mut sources = Vec::new();
    while let Some(source) = waiting.pop() {
        let path = root().join("components").join(&source);
        if path.is_dir() {
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            waiting.extend(names.map(|name| format!("{source}/{}", name.to_str().unwrap())));
        } else if !source.ends_with("/tests.rs") {
            sources.push(source);
        }
    }
    sources
}

#[test]
fn the_bundle_that_ships_declares_every_code_that_its_components_give() {
    let declared = |component: &str| -> BTreeSet<String> {
        serde_json::from_value(shipped(component, "codes")).unwrap()
    };
    let faults = ["malformed(", "unsupported(", "limit("];
    let mut given: BTreeSet<String> =
        sources("dicom-render").iter().flat_map(|source| words_in(source, &faults)).collect();
    // What its decoders give is passed on.
    given.extend(sources("dicom-codec").iter().flat_map(|source| words_in(source, &["malformed("])));
    given.insert("bad-setting".to_owned());
    assert_eq!(given, declared("dicom-render"));
    let listed = fs::read_to_string(root().join("components/dicom-deid/src/refusal.rs")).unwrap();
    let listed = listed.split("CODES: &[&str] = &[").nth(1).unwrap().split("];").next().unwrap();
    let listed: BTreeSet<String> = listed.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(listed, declared("dicom-deid"));
    let texts = sources("classify").into_iter().flat_map(|source| words_in(&source, &["(", " "]));
    let is_code = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let given: BTreeSet<String> = texts
        .filter_map(|text| Some(text.split_once(": ")?.0.to_owned()))
        .filter(|word| is_code(word))
        .collect();
    assert!(given.len() >= 4 && given.is_subset(&declared("classify")), "{given:?}");
}
