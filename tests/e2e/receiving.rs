//! Objects that other people's programs send over the network.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use martello_tests::{
    Started, finish, imaging_bundle, json_lines, martello, program, python, root, samples, start, until,
};
use serde_json::Value;

/// A run that receives.
pub(super) struct Receiver {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    pub(super) output: PathBuf,
    pub(super) state: PathBuf,
    /// What it says on standard error since it is ready.
    said: Arc<Mutex<String>>,
}

impl Receiver {
    pub(super) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, &imaging_bundle().unwrap(), arguments)
    }

    pub(super) fn start_with(folder: &Path, bundle: &(PathBuf, PathBuf), arguments: &[&str]) -> Self {
        let (state, output) = (folder.join("state"), folder.join("out"));
        let (bundle, trust) = bundle;
        let mut command = martello(&state);
        command.arg("run").arg(bundle).arg("--trust").arg(trust).arg("--output").arg(&output);
        command.args(["--dicom-listen", "127.0.0.1:0"]).args(arguments);
        let Started { child, rest, said } = start(&mut command, "receiving DICOM objects on ").unwrap();
        Self { child, address: rest.parse().unwrap(), output, state, said }
    }

    pub(super) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(super) fn lines(&self) -> Vec<Value> {
        json_lines(&self.output.join("report.jsonl")).unwrap_or_default()
    }

    /// What waits in the spool, and what is being received.
    pub(super) fn spooled(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.join("received")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }

    /// Waits until so many objects are complete and the spool is empty.
    pub(super) fn complete(&self, count: usize) -> Vec<Value> {
        until("everything that was received is complete", || {
            (self.lines().len() >= count && self.spooled().is_empty()).then_some(())
        })
        .unwrap();
        self.lines()
    }

    /// Asks the run to end, and waits until it has.
    pub(super) fn stop(self) {
        let status = self.end();
        assert!(status.success(), "{status}");
    }

    /// The same, and how it ended.
    pub(super) fn end(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        martello_tests::wait(&mut self.child, martello_tests::DEADLINE).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Ended already where the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// dcmtk's storescu or echoscu against the receiver.
pub(super) fn dcmtk(
    program: &Path,
    receiver: &Receiver,
    arguments: &[&str],
    files: &[PathBuf],
) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).args(["127.0.0.1", &receiver.port()]).args(files);
    let ended = finish(&mut command).unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

pub(super) fn sample(name: &str) -> PathBuf {
    samples().join(name)
}

/// pynetdicom's script of this test, with what it does first.
fn pynetdicom(receiver: &Receiver, what: &str, files: &[PathBuf]) -> Option<Value> {
    let python = python().unwrap()?;
    let mut command = Command::new(python);
    command.arg(root().join("tests/oracle/send.py")).args([what, &receiver.port()]).args(files);
    let ended = finish(&mut command).unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let answer = serde_json::from_str(said.lines().last().unwrap_or_default());
    Some(answer.unwrap_or_else(|error| {
        panic!("{error}: {said}\n{}", String::from_utf8_lossy(&ended.stderr));
    }))
}

#[test]
fn what_storescu_sends_is_worked_on_and_leaves_the_spool_whatever_comes_of_it() {
    let (Some(storescu), Some(echoscu)) = (program("storescu").unwrap(), program("echoscu").unwrap()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let (echoed, said) = dcmtk(&echoscu, &receiver, &["-aec", "MARTELLO"], &[]);
    assert!(echoed, "{said}");
    // Each with the option that makes storescu propose its encoding.
    let sent = [
        ("-xe", &["CT_small.dcm", "MR_small.dcm", "CT_17106.dcm"][..]),
        ("-xi", &["MR_small_implicit.dcm"]),
        ("-xb", &["MR_small_bigendian.dcm"]),
        ("-xr", &["MR_small_RLE.dcm"]),
        ("-xv", &["MR_small_jp2klossless.dcm"]),
        ("-xw", &["JPEG2000.dcm"]),
        ("-xx", &["JPGExtended.dcm"]),
        ("-xt", &["MR_small_jpeg_ls_lossless.dcm"]),
    ];
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for (option, files) in sent {
        let files: Vec<_> = files.iter().map(|name| sample(name)).collect();
        for file in &files {
            fs::copy(file, input.join(file.file_name().unwrap())).unwrap();
        }
        let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO", option], &files);
        assert!(stored, "{option}: {said}");
    }
    let lines = receiver.complete(10);
    // The same comes of them as of the same files in a folder.
    let (bundle, trust) = imaging_bundle().unwrap();
    let output = folder.path().join("from-folder");
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(bundle).arg("--trust").arg(trust).arg("--input").arg(&input);
    assert!(finish(command.arg("--output").arg(&output)).unwrap().status.success());
    let outcomes = |lines: &[Value]| {
        let mut outcomes: Vec<_> =
            lines.iter().map(|line| (line["outcome"].to_string(), line["code"].to_string())).collect();
        outcomes.sort();
        outcomes
    };
    assert_eq!(outcomes(&lines), outcomes(&json_lines(&output.join("report.jsonl")).unwrap()));
    // What is in quarantine is the object as it came: dcmtk reads it, and it is the one that was sent.
    let copy = lines.iter().find(|line| line["outcome"] == "quarantine").unwrap();
    let copy = receiver.output.join(copy["outputs"][0]["path"].as_str().unwrap());
    let dcmdump = program("dcmdump").unwrap().unwrap();
    let dump =
        finish(Command::new(dcmdump).args(["-q", "+P", "0002,0012", "+P", "0008,0018"]).arg(copy)).unwrap();
    let said = String::from_utf8_lossy(&dump.stdout);
    assert!(dump.status.success() && said.contains("2.25.") && said.lines().count() == 2, "{said}");
    receiver.stop();
}

#[test]
fn every_sample_that_pynetdicom_sends_is_answered_and_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &["--ae-allow", "PYNETDICOM"]);
    let files: Vec<_> = fs::read_dir(samples()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> =
        files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "dcm")).collect();
    let Some(answer) = pynetdicom(&receiver, "send", &files) else { return };
    let statuses = answer["statuses"].as_object().unwrap();
    let stored: BTreeSet<&str> =
        statuses.iter().filter(|(_, status)| **status == 0).map(|(digest, _)| digest.as_str()).collect();
    assert!(stored.len() >= 50, "{answer}");
    // Only those that are no object of their own: without class or instance, cut, or with one that is none.
    assert!(
        statuses.values().all(|status| [0, 0xA900, 0xC000, 0x0117].iter().any(|it| *status == *it)),
        "{answer}"
    );
    let lines = receiver.complete(stored.len());
    assert_eq!(lines.len(), stored.len(), "an object that was acknowledged is missing, or another is there");
    // Sent once more: the same objects, and nothing more to do.
    pynetdicom(&receiver, "send", &files).unwrap();
    assert_eq!(receiver.complete(stored.len()).len(), stored.len());
    receiver.stop();
}

#[test]
fn strangers_and_those_who_call_another_are_refused_by_what_dcmtk_understands() {
    let (Some(storescu), Some(echoscu)) = (program("storescu").unwrap(), program("echoscu").unwrap()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &["--ae-title", "GATEWAY", "--ae-allow", "CT1,CT2"]);
    for (titles, reason) in [
        (["-aet", "CT3", "-aec", "GATEWAY"], "Calling AE Title Not Recognized"),
        (["-aet", "CT1", "-aec", "MARTELLO"], "Called AE Title Not Recognized"),
    ] {
        let (accepted, said) = dcmtk(&echoscu, &receiver, &titles, &[]);
        assert!(!accepted && said.contains(reason), "{said}");
    }
    let titles = ["-aet", "CT2", "-aec", "GATEWAY"];
    assert!(dcmtk(&storescu, &receiver, &titles, &[sample("CT_small.dcm")]).0);
    receiver.complete(1);
    receiver.stop();
}

#[test]
fn a_sender_that_goes_away_leaves_nothing_and_the_next_one_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let Some(answer) = pynetdicom(&receiver, "abort", &[sample("CT_small.dcm")]) else { return };
    assert_eq!(answer["aborted"], true, "{answer}");
    let mut browser = TcpStream::connect(receiver.address).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: martello\r\n\r\n").unwrap();
    browser.set_read_timeout(Some(martello_tests::DEADLINE)).unwrap();
    let mut answer = Vec::new();
    browser.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&7), "{answer:?}");
    until("half an object is gone", || receiver.spooled().is_empty().then_some(())).unwrap();
    assert!(receiver.lines().is_empty());
    pynetdicom(&receiver, "send", &[sample("CT_small.dcm")]).unwrap();
    assert_eq!(receiver.complete(1).len(), 1);
    receiver.stop();
}

#[test]
fn a_full_spool_is_a_status_that_the_sender_sees_and_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &["--spool-size", "1"]);
    let large = folder.path().join("large.dcm");
    let Some(answer) = pynetdicom(&receiver, "full", &[sample("CT_small.dcm"), large]) else { return };
    // The first and the last fit; the one between is larger than the spool.
    assert_eq!(answer["statuses"], serde_json::json!([0, 0xA700, 0]), "{answer}");
    assert_eq!(receiver.complete(2).len(), 2);
    receiver.stop();
}

#[test]
fn a_disk_that_takes_no_more_is_a_status_too_and_the_run_goes_on_when_it_does() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let process = receiver.child.id().to_string();
    let largest_file = |bytes: &str| {
        let limit = Command::new("prlimit").args([&format!("--fsize={bytes}"), "--pid", &process]).status();
        assert!(limit.unwrap().success());
    };
    let send = || {
        let files = [sample("examples_overlay.dcm")];
        dcmtk(&storescu, &receiver, &["-v", "-aec", "MARTELLO"], &files)
    };
    largest_file("65536:unlimited");
    let (stored, said) = send();
    assert!(!stored && said.contains("OutOfResources"), "{said}");
    until("nothing is left of it", || receiver.spooled().is_empty().then_some(())).unwrap();
    largest_file("unlimited:unlimited");
    assert!(send().0);
    receiver.complete(1);
    receiver.stop();
}

#[test]
fn every_object_that_was_acknowledged_is_worked_on_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    // One at a time, so that objects come faster than they are worked on.
    let mut receiver = Receiver::start(folder.path(), &["--concurrency", "1"]);
    let Some(python) = python().unwrap() else { return };
    let acknowledged = folder.path().join("acknowledged");
    let mut sender = Command::new(python)
        .arg(root().join("tests/oracle/send.py"))
        .args(["many", &receiver.port()])
        .args([sample("CT_small.dcm"), acknowledged.clone()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let instances = || fs::read_to_string(&acknowledged).map_or(0, |text| text.lines().count());
    until("some objects are acknowledged", || (instances() >= 20).then_some(())).unwrap();
    receiver.child.kill().unwrap();
    receiver.child.wait().unwrap();
    martello_tests::wait(&mut sender, martello_tests::DEADLINE).unwrap();
    let sent = fs::read_to_string(&acknowledged).unwrap();
    let sent: BTreeSet<&str> = sent.lines().collect();
    assert!(sent.len() < 2000, "everything was sent before the process was killed");
    let waiting = receiver.spooled().len();
    let done = receiver.lines().len();
    assert!(waiting > 0, "nothing waited when the process was killed");
    let again = Receiver::start(folder.path(), &[]);
    until("the spool is empty", || again.spooled().is_empty().then_some(())).unwrap();
    let lines = again.lines();
    // Those that waited may have been reported just before the end, and not yet removed.
    assert!(lines.len() >= done);
    // The sender wrote down the digest of each file as the door makes it.
    let worked_on: BTreeSet<&str> = lines.iter().map(|line| line["input"].as_str().unwrap()).collect();
    for name in &sent {
        assert!(worked_on.contains(name), "{name} was acknowledged and is lost");
    }
    assert!(worked_on.len() <= sent.len() + 1, "at most one was durable without being acknowledged");
    again.stop();
}

#[test]
fn every_line_about_an_association_carries_its_id_and_the_next_one_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    for _ in 0..2 {
        let mut peer = TcpStream::connect(receiver.address).unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // It is hung up on.
        let _ = peer.read_to_end(&mut Vec::new());
    }
    let ids = until("both are told of", || {
        let said = receiver.said.lock().unwrap().clone();
        let ended = said.lines().filter(|line| line.contains("an association ended badly"));
        let id = |line: &str| Some(line.split_once("association{id=")?.1.split_once('}')?.0.to_owned());
        let ids: Vec<_> = ended.map(|line| id(line).unwrap_or_else(|| panic!("no id: {line}"))).collect();
        (ids.len() == 2).then_some(ids)
    });
    let ids = ids.unwrap();
    assert!(ids[0] != ids[1] && !ids[0].is_empty(), "{ids:?}");
}

#[test]
fn a_door_open_to_other_machines_wants_a_list_of_peers() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(bundle).arg("--trust").arg(trust);
    command.arg("--output").arg(folder.path().join("out")).args(["--dicom-listen", "0.0.0.0:0"]);
    let refused = finish(&mut command).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("try: name the peers that may send with --ae-allow"), "{said}");
}

#[test]
fn a_second_process_does_not_receive_into_the_same_spool() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(&receiver.state);
    command.arg("run").arg(bundle).arg("--trust").arg(trust);
    command.arg("--output").arg(folder.path().join("other")).args(["--dicom-listen", "127.0.0.1:0"]);
    let refused = finish(&mut command).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another process receives into the spool"), "{said}");
    receiver.stop();
}
