//! `martello run` over the sample files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use martello_tests::{finish, imaging_bundle, json_lines, martello, samples, until, wait};
use serde_json::Value;

fn run(state: &Path, input: &Path, output: &Path) -> Command {
    run_as("json", state, input, output)
}

fn run_as(format: &str, state: &Path, input: &Path, output: &Path) -> Command {
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(state);
    command.args(["--format", format, "run"]).arg(bundle).arg("--trust").arg(trust);
    command.arg("--input").arg(input).arg("--output").arg(output);
    command
}

/// A run that watches, ready for files.
fn watching(state: &Path, input: &Path, output: &Path) -> Child {
    let mut command = run(state, input, output);
    let child = command.arg("--watch").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the run is ready", || output.join("report.jsonl").exists().then_some(())).unwrap();
    child
}

/// Ends a run that watches, in good order.
fn end(mut child: Child) {
    terminate(&child);
    let status = wait(&mut child, martello_tests::DEADLINE).unwrap();
    assert!(status.success(), "{status}");
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

fn sample_files() -> Vec<std::path::PathBuf> {
    fn descend(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { descend(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    descend(&samples(), &mut found);
    found
}

fn summary(output: &std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn every_sample_ends_in_done_or_quarantine_and_its_files_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let ended = finish(&mut run(&folder.path().join("state"), &samples(), &output)).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = json_lines(&output.join("report.jsonl")).unwrap();
    assert_eq!(lines.len(), sample_files().len());
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for line in &lines {
        let outcome = line["outcome"].as_str().unwrap();
        *outcomes.entry(outcome).or_default() += 1;
        assert_eq!(outcome == "quarantine", line["code"].is_string(), "{line}");
        let outputs = line["outputs"].as_array().unwrap();
        assert!(!outputs.is_empty(), "{line}");
        for file in outputs {
            assert!(output.join(file["path"].as_str().unwrap()).is_file(), "{line}");
        }
    }
    assert!(outcomes["done"] >= 10, "{outcomes:?}");
    assert!(outcomes["quarantine"] >= 10, "{outcomes:?}");
    let summary = summary(&ended);
    assert_eq!(summary["done"], outcomes["done"]);
    assert_eq!(summary["quarantined"], outcomes["quarantine"]);
}

#[test]
fn tensors_leave_as_files_that_numpy_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    assert!(finish(&mut run(&folder.path().join("state"), &input, &output)).unwrap().status.success());
    let lines = json_lines(&output.join("report.jsonl")).unwrap();
    let outputs = lines[0]["outputs"].as_array().unwrap();
    let file = outputs.iter().find(|file| file["path"].as_str().unwrap().starts_with("tensors/")).unwrap();
    let path = output.join(file["path"].as_str().unwrap());
    assert!(fs::read(&path).unwrap().starts_with(b"\x93NUMPY"));
    let Some(python) = martello_tests::python().unwrap() else { return };
    let script = "import hashlib, numpy, sys\na = numpy.load(sys.argv[1])\n\
                  print(a.dtype, a.shape, 0 <= a.min() < a.max() <= 1)\n\
                  print('sha256:' + hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
    let ended = finish(Command::new(python).args(["-c", script]).arg(path)).unwrap();
    let expected = format!("float32 (1, 1, 64, 64) True\n{}\n", file["digest"].as_str().unwrap());
    assert_eq!(String::from_utf8_lossy(&ended.stdout), expected);
}

#[test]
fn a_second_run_does_nothing_again_and_the_report_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for name in ["CT_small.dcm", "MR_small.dcm"] {
        fs::copy(samples().join(name), input.join(name)).unwrap();
    }
    assert!(finish(&mut run(&state, &input, &output)).unwrap().status.success());
    let before = fs::read_to_string(output.join("report.jsonl")).unwrap();
    // A report that lost its end is made whole again from the journal.
    fs::write(output.join("report.jsonl"), &before[..before.len() / 2]).unwrap();
    let again = finish(&mut run(&state, &input, &output)).unwrap();
    assert_eq!(summary(&again)["skipped"], 2, "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(fs::read_to_string(output.join("report.jsonl")).unwrap(), before);
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let image = fs::read(samples().join("CT_small.dcm")).unwrap();
    for number in 0..60 {
        fs::write(input.join(format!("{number:03}.dcm")), &image).unwrap();
    }
    let report = output.join("report.jsonl");
    let lines = || fs::read_to_string(&report).map_or(0, |text| text.lines().count());
    let mut first = run(&state, &input, &output).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("some inputs are complete", || (lines() >= 5).then_some(())).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let before = lines();
    assert!(before < 60, "the run ended before it could be killed");
    let ended = finish(&mut run(&state, &input, &output)).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = json_lines(&report).unwrap();
    let names: std::collections::BTreeSet<_> = lines.iter().map(|line| line["input"].to_string()).collect();
    assert_eq!((lines.len(), names.len()), (60, 60));
    for folder in ["images", "previews", "findings", "quarantine"] {
        for entry in fs::read_dir(output.join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with('.'), "left over in {folder}: {name:?}");
        }
    }
}

/// Every file in a folder of outputs, with its bytes.
fn contents(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn outputs_that_were_deleted_or_cut_are_made_again_and_are_the_same() {
    const FOLDERS: [&str; 4] = ["images", "previews", "tensors", "findings"];
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for name in ["one.dcm", "two.dcm"] {
        fs::copy(samples().join("CT_small.dcm"), input.join(name)).unwrap();
    }
    fs::write(input.join("broken.dcm"), b"not DICOM at all").unwrap();
    assert!(finish(&mut run(&state, &input, &output)).unwrap().status.success());
    let report = fs::read_to_string(output.join("report.jsonl")).unwrap();
    let before = FOLDERS.map(|folder| contents(&output.join(folder)));
    let lines = json_lines(&output.join("report.jsonl")).unwrap();
    for file in lines.iter().flat_map(|line| line["outputs"].as_array().unwrap()) {
        let length = fs::metadata(output.join(file["path"].as_str().unwrap())).unwrap().len();
        assert_eq!(file["bytes"], length, "{file}");
    }
    // One input loses an image and its findings, the other a part of a preview; the quarantine is a person's.
    let [first, second] = ["one.dcm", "two.dcm"].map(|name| {
        lines.iter().find(|line| line["input"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    });
    fs::remove_file(output.join(format!("images/{first}.dcm"))).unwrap();
    fs::remove_file(output.join(format!("findings/{first}.json"))).unwrap();
    fs::write(output.join(format!("previews/{second}.png")), "cut").unwrap();
    fs::remove_dir_all(output.join("quarantine")).unwrap();
    let ended = finish(&mut run(&state, &input, &output)).unwrap();
    let said = summary(&ended);
    let counts =
        ["done", "quarantined", "skipped", "restored", "missing"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 2, 0], "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(FOLDERS.map(|folder| contents(&output.join(folder))), before);
    assert_eq!(fs::read_to_string(output.join("report.jsonl")).unwrap(), report);
    // Where the input is gone too, it is said.
    fs::remove_file(input.join("one.dcm")).unwrap();
    fs::remove_file(output.join(format!("images/{first}.dcm"))).unwrap();
    let ended = finish(&mut run_as("text", &state, &input, &output)).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("1 have lost outputs") && !said.contains("had lost"), "{said}");
    let ended = finish(run(&state, &input, &output).arg("--leave-missing")).unwrap();
    assert_eq!((&summary(&ended)["missing"], &summary(&ended)["skipped"]), (&0.into(), &2.into()));
}

#[test]
fn a_run_that_is_killed_while_it_makes_outputs_again_goes_on_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let image = fs::read(samples().join("CT_small.dcm")).unwrap();
    for number in 0..40 {
        fs::write(input.join(format!("{number:03}.dcm")), &image).unwrap();
    }
    assert!(finish(&mut run(&state, &input, &output)).unwrap().status.success());
    let images = output.join("images");
    let (before, report) = (contents(&images), fs::read_to_string(output.join("report.jsonl")).unwrap());
    before.keys().for_each(|path| fs::remove_file(path).unwrap());
    let there = || {
        fs::read_dir(&images).unwrap().flatten().filter(|entry| before.contains_key(&entry.path())).count()
    };
    let mut first = run(&state, &input, &output).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("some images are back", || (there() >= 3).then_some(())).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let back = there();
    assert!(back < 40, "the run ended before it could be killed");
    let ended = finish(&mut run(&state, &input, &output)).unwrap();
    let said = summary(&ended);
    // Those that were back are as they were, also where the journal had not heard of it, and are not made again.
    let restored = said["restored"].as_u64().unwrap();
    assert_eq!(restored, 40 - back as u64, "{said}");
    assert_eq!((&said["done"], &said["missing"]), (&40.into(), &0.into()), "{said}");
    assert_eq!(restored + said["skipped"].as_u64().unwrap(), 40, "{said}");
    assert_eq!(contents(&images), before);
    assert_eq!(fs::read_to_string(output.join("report.jsonl")).unwrap(), report);
    let ended = finish(&mut run(&state, &input, &output)).unwrap();
    assert_eq!(summary(&ended)["skipped"], 40);
}

#[test]
fn an_output_folder_is_refused_under_another_key_and_without_its_journal_with_a_code_and_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    assert!(finish(&mut run(&state, &input, &output)).unwrap().status.success());
    let before = fs::read_to_string(output.join("report.jsonl")).unwrap();
    let refused = |code: &str| {
        let ended = finish(&mut run(&state, &input, &output)).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        let explained = finish(martello(&state).args(["explain", code])).unwrap();
        let next = String::from_utf8_lossy(&explained.stdout).lines().last().unwrap().to_owned();
        assert!(said.contains(code) && said.contains(&next), "{said}");
        assert_eq!(fs::read_to_string(output.join("report.jsonl")).unwrap(), before);
        assert_eq!(fs::read_dir(output.join("images")).unwrap().count(), 1);
    };
    let (key, aside) = (state.join("pseudonym.key"), state.join("aside"));
    fs::rename(&key, &aside).unwrap();
    refused("other-key");
    fs::rename(&aside, &key).unwrap();
    let journal = output.join(".martello");
    fs::rename(&journal, folder.path().join("aside")).unwrap();
    refused("journal-missing");
    fs::remove_dir_all(&journal).unwrap();
    fs::rename(folder.path().join("aside"), &journal).unwrap();
    let database = journal.join("journal.sqlite");
    let whole = fs::read(&database).unwrap();
    fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    refused("journal-damaged");
    let mut later = whole.clone();
    // Where SQLite keeps the version that a program gives its tables.
    later[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&database, later).unwrap();
    refused("journal-format");
    fs::write(&database, whole).unwrap();
    assert_eq!(summary(&finish(&mut run(&state, &input, &output)).unwrap())["skipped"], 1);
}

#[test]
fn a_watched_folder_is_worked_on_as_files_arrive_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let child = watching(&state, &input, &output);
    let lines = || json_lines(&output.join("report.jsonl")).unwrap_or_default();
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    until("the first file is complete", || (lines().len() == 1).then_some(())).unwrap();
    fs::write(input.join("two.dcm"), b"not DICOM at all").unwrap();
    until("the second file is complete", || (lines().len() == 2).then_some(())).unwrap();
    assert_eq!(lines()[0]["outcome"], "done");
    assert_eq!(lines()[1]["outcome"], "quarantine");
    // The folder is taken away and made anew, as when a share is mounted again.
    let aside = folder.path().join("aside");
    fs::create_dir(&aside).unwrap();
    fs::copy(samples().join("MR_small.dcm"), aside.join("three.dcm")).unwrap();
    fs::remove_dir_all(&input).unwrap();
    fs::rename(&aside, &input).unwrap();
    until("the file of the new folder is complete", || (lines().len() == 3).then_some(())).unwrap();
    fs::hard_link(input.join("three.dcm"), input.join("linked.dcm")).unwrap();
    until("the linked file is complete", || (lines().len() == 4).then_some(())).unwrap();
    end(child);
}

/// From now on, no file of this process grows beyond so many bytes; without a number, there is no such bound.
fn files_grow_to(child: &Child, most: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: most.or(maximum), maximum };
    prlimit(Pid::from_raw(child.id().try_into().unwrap()), Resource::Fsize, limit).unwrap();
}

#[test]
fn a_run_that_watches_waits_for_a_disk_that_takes_nothing_and_goes_on_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    // The shell sees to it that a file that would grow too large is an error and no signal.
    let program = run(&state, &input, &output);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(program.get_program())
        .args(program.get_args());
    command.arg("--watch").env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = std::sync::Arc::<std::sync::Mutex<String>>::default();
    let (mut lines, to) = (child.stderr.take().unwrap(), std::sync::Arc::clone(&said));
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = std::io::Read::read(&mut lines, &mut bytes)
            && count > 0
        {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    until("the run is ready", || output.join("report.jsonl").exists().then_some(())).unwrap();
    let lines = || json_lines(&output.join("report.jsonl")).unwrap_or_default();
    // One first, so that everything is compiled.
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    until("the first file is complete", || (lines().len() == 1).then_some(())).unwrap();
    files_grow_to(&child, Some(1));
    fs::copy(samples().join("rtdose_rle.dcm"), input.join("two.dcm")).unwrap();
    until("the run says that it waits", || said.lock().unwrap().contains("disk-full").then_some(())).unwrap();
    assert!(fs::read_dir(output.join("quarantine")).unwrap().next().is_none());
    files_grow_to(&child, None);
    until("the second file is complete", || (lines().len() == 2).then_some(())).unwrap();
    assert!(lines().iter().all(|line| line["outcome"] == "done"), "{:?}", lines());
    terminate(&child);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", said.lock().unwrap());
    assert!(summary(&ended)["waits"].as_u64().unwrap() > 0);
}

#[test]
fn a_file_that_was_judged_while_it_was_being_written_has_one_line_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let child = watching(&state, &input, &output);
    let image = fs::read(samples().join("CT_small.dcm")).unwrap();
    let (begin, end_of_file) = image.split_at(image.len() / 2);
    let path = input.join("slow.dcm");
    fs::write(&path, begin).unwrap();
    let outcomes = || {
        let lines = json_lines(&output.join("report.jsonl")).unwrap_or_default();
        lines.iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("the half is refused", || (outcomes() == ["quarantine"]).then_some(())).unwrap();
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, end_of_file).unwrap();
    drop(file);
    // While the run goes on, not only at its end.
    until("the whole stands alone", || (outcomes() == ["done"]).then_some(())).unwrap();
    let line = &json_lines(&output.join("report.jsonl")).unwrap()[0];
    assert!(line["instead_of"][0]["code"].is_string(), "{line}");
    assert_eq!(fs::read_dir(output.join("quarantine")).unwrap().count(), 0);
    end(child);
}

#[test]
fn what_is_left_alone_in_the_input_folder_is_counted_and_told_of_once_without_names() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir_all(input.join(".zzmark")).unwrap();
    fs::write(input.join(".zzmark.part"), "1").unwrap();
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    std::os::unix::fs::symlink(input.join("one.dcm"), input.join("zzmark.dcm")).unwrap();
    let ended = finish(run(&state, &input, &output).args(["--log", "info"])).unwrap();
    let (said, told) = (String::from_utf8_lossy(&ended.stderr), summary(&ended));
    let ignored = serde_json::json!({ "hidden": 2, "links": 1, "special": 0, "folders": 0 });
    assert_eq!((&told["ignored"], &told["done"]), (&ignored, &1.into()), "{said}");
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("left alone")).collect();
    assert!(
        matches!(warnings[..], [line] if line.contains("hidden=2") && line.contains("links=1")),
        "{said}"
    );
    assert!(!said.contains("zzmark"), "{said}");
}

#[test]
fn a_link_in_the_place_of_an_output_folder_ends_a_run_with_its_code_and_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output, elsewhere) =
        (folder.path().join("in"), folder.path().join("out"), folder.path().join("elsewhere"));
    for made in [&input, &output, &elsewhere] {
        fs::create_dir(made).unwrap();
    }
    fs::write(input.join("zzmark.dcm"), "no DICOM, and kept as it is").unwrap();
    for name in [".martello", "quarantine", "images", "findings"] {
        std::os::unix::fs::symlink(&elsewhere, output.join(name)).unwrap();
        let ended = finish(&mut run(&folder.path().join("state"), &input, &output)).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("output-link") && said.contains("try: see who put the link there"), "{said}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{name}");
        fs::remove_file(output.join(name)).unwrap();
    }
}

#[test]
fn a_run_that_is_stopped_early_says_so_ends_with_130_and_goes_on_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let image = fs::read(samples().join("CT_small.dcm")).unwrap();
    for number in 0..60 {
        fs::write(input.join(format!("{number:03}.dcm")), &image).unwrap();
    }
    let report = output.join("report.jsonl");
    let mut first =
        run(&state, &input, &output).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let some = || (json_lines(&report).unwrap_or_default().len() >= 3).then_some(());
    until("some inputs are complete", some).unwrap();
    terminate(&first);
    let status = wait(&mut first, martello_tests::DEADLINE).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut first.stdout.take().unwrap(), &mut said).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    let [done, left] = ["done", "left"].map(|name| said[name].as_u64().unwrap());
    assert!(left > 0 && done + left == 60, "{said}");
    let ended = finish(&mut run(&state, &input, &output)).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!((&summary(&ended)["done"], &summary(&ended)["left"]), (&60.into(), &0.into()));
}

#[test]
fn a_second_signal_ends_a_run_whose_guest_would_go_on_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    fs::write(input.join("one"), "content").unwrap();
    let source = serde_json::json!({
        "name": "sleeper", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "sleeper", "file": martello_tests::bundle::guest("sleeper").unwrap(),
                         "limits": { "wall_ms": 1_800_000 } }],
        "pipeline": {
            "accepts": ["application/octet-stream"],
            "stages": [{ "name": "sleeps", "component": "sleeper", "from": "input" }], "exports": [] },
    });
    let signed = martello_tests::bundle::signed(folder.path(), &source).unwrap();
    let mut command = martello(&martello_tests::bundle::shared_state());
    command.arg("run").arg(&signed.bundle).arg("--trust").arg(&signed.trust);
    command.arg("--input").arg(&input).arg("--output").arg(&output);
    let told = folder.path().join("told");
    let mut child = command.stdout(Stdio::null()).stderr(fs::File::create(&told).unwrap()).spawn().unwrap();
    // The journal has counted its start: SHA-256 of the content stands there.
    let digest = b"ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    let journal = output.join(".martello/journal.sqlite-wal");
    let started = || {
        let written = fs::read(&journal).unwrap_or_default();
        written.windows(digest.len()).any(|window| window == digest).then_some(())
    };
    until("the file is at work", started).unwrap();
    for words in ["a second signal", "breaking off"] {
        terminate(&child);
        let said = || fs::read_to_string(&told).unwrap_or_default().contains(words).then_some(());
        until(words, said).unwrap();
    }
    assert_eq!(wait(&mut child, martello_tests::DEADLINE).unwrap().code(), Some(130));
    assert_eq!(fs::read_to_string(output.join("report.jsonl")).unwrap(), "");
}

#[test]
fn a_private_report_holds_no_file_name() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    fs::copy(samples().join("CT_small.dcm"), input.join("ZZMARK-doe-john.dcm")).unwrap();
    let ended = finish(run(&state, &input, &output).arg("--private-report")).unwrap();
    assert!(ended.status.success());
    let mut waiting = vec![output];
    while let Some(path) = waiting.pop() {
        assert!(!path.to_string_lossy().contains("ZZMARK"), "{path:?}");
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"ZZMARK"), "{path:?} holds the file name");
        }
    }
}

#[test]
fn a_bundle_with_one_byte_changed_is_refused_with_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut bytes = fs::read(bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let tampered = folder.path().join("tampered.tar");
    fs::write(&tampered, bytes).unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.args(["run"]).arg(tampered).arg("--trust").arg(trust);
    command.arg("--input").arg(samples()).arg("--output").arg(folder.path().join("out"));
    let ended = finish(&mut command).unwrap();
    assert_eq!(ended.status.code(), Some(8), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!folder.path().join("out/report.jsonl").exists());
}

#[test]
fn what_a_rule_refuses_and_a_wrong_command_line_have_their_own_exit_codes_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("pseudonym.key"), [7; 32]).unwrap();
    fs::set_permissions(state.join("pseudonym.key"), PermissionsExt::from_mode(0o644)).unwrap();
    for (rest, code, words) in
        [(None, 4, "chmod 600"), (Some("martello_runtime=loud"), 2, "levels and targets")]
    {
        let mut command = run(&state, &input, &output);
        command.args(rest.iter().flat_map(|filter| ["--log", filter]));
        let ended = finish(&mut command).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && !said.contains("--log debug"), "{said}");
    }
}

#[test]
fn an_export_of_identified_files_is_refused_as_a_matter_of_policy() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    let source = serde_json::json!({
        "name": "leaks", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "echo", "file": martello_tests::bundle::guest("echo").unwrap() }],
        "pipeline": {
            "accepts": ["application/octet-stream"],
            "stages": [{ "name": "copies", "component": "echo", "from": "input", "ports": ["copy"] }],
            "exports": [{ "from": "copies.copy", "folder": "copies", "extension": "bin" }] },
    });
    let signed = martello_tests::bundle::signed(folder.path(), &source).unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(&signed.bundle).arg("--trust").arg(&signed.trust);
    let ended = finish(command.arg("--input").arg(&input).arg("--output").arg(&output)).unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("`deidentify`") && !output.exists(), "{said}");
}

#[test]
fn a_path_that_is_mistyped_is_no_verification_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, trust) = imaging_bundle().unwrap();
    let missing = folder.path().join("missing");
    for (bundle, trust) in [(&bundle, &missing), (&missing, &trust)] {
        let mut command = martello(&folder.path().join("state"));
        command.arg("run").arg(bundle).arg("--trust").arg(trust);
        command.arg("--input").arg(samples()).arg("--output").arg(folder.path().join("out"));
        let ended = finish(&mut command).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("missing`") && !said.contains("--log debug"), "{said}");
    }
}

#[test]
fn a_second_process_on_one_output_folder_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (state, output) = (folder.path().join("state"), folder.path().join("out"));
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let first = watching(&state, &input, &output);
    // As a file that the first process is about to put under its name.
    let staged = output.join("images/.incoming-0-x.dcm");
    fs::write(&staged, "half").unwrap();
    let refused = finish(&mut run(&state, &input, &output)).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another process") && said.contains("try: wait until"), "{said}");
    assert!(staged.exists(), "the second process took away what the first one had staged");
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    let report = output.join("report.jsonl");
    until("the file is complete", || (json_lines(&report).unwrap_or_default().len() == 1).then_some(()))
        .unwrap();
    end(first);
    assert_eq!(json_lines(&report).unwrap()[0]["outcome"], "done");
    // Left over now; the next run sweeps it.
    assert!(finish(&mut run(&state, &input, &output)).unwrap().status.success());
    assert!(!staged.exists());
}

#[test]
fn an_output_folder_inside_the_input_folder_is_refused_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let refused = finish(&mut run(&folder.path().join("state"), &input, &input.join("out"))).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("try: choose an --output"), "{said}");
    assert_eq!(fs::read_dir(&input).unwrap().count(), 0);
}

#[test]
fn an_export_for_numpy_that_is_no_tensor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    let model = martello_tests::root().join("host/inference/tests/models/affine.onnx");
    fs::copy(model, input.join("affine")).unwrap();
    // The guest writes its model's answer as plain bytes.
    let source = serde_json::json!({
        "name": "own-model", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "own-model", "file": martello_tests::bundle::guest("own-model").unwrap(),
                         "limits": { "tensor_bytes": 1 << 20, "memory_bytes": 128 << 20 } }],
        "capabilities": ["dangerously-export-identified"],
        "pipeline": {
            "accepts": ["application/octet-stream"],
            "stages": [{ "name": "brings", "component": "own-model", "from": "input", "ports": ["copy"],
                         "grants": ["dangerously-load-guest-models"] }],
            "exports": [{ "from": "brings.copy", "folder": "tensors", "extension": "npy" }] },
    });
    let signed = martello_tests::bundle::signed(folder.path(), &source).unwrap();
    let lines = signed.run(&input, &output).unwrap();
    assert_eq!((&lines[0]["code"], &lines[0]["refused_by"]), (&"guest-contract".into(), &"brings".into()));
    assert_eq!(fs::read_dir(output.join("tensors")).unwrap().count(), 0);
}

#[test]
fn two_processes_that_share_a_fresh_state_folder_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    fs::copy(samples().join("CT_small.dcm"), input.join("one.dcm")).unwrap();
    let outputs = ["a", "b", "c"].map(|name| folder.path().join(name));
    let children = outputs.clone().map(|output| {
        run(&state, &input, &output).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for mut child in children {
        let status = wait(&mut child, martello_tests::DEADLINE).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        assert!(status.success(), "{said}");
    }
    // One site key: the same input has the same pseudonymous id everywhere.
    let ids = outputs.map(|output| json_lines(&output.join("report.jsonl")).unwrap()[0]["id"].to_string());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
