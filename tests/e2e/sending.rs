//! Objects that are sent to other people's programs: what leaves the pipeline, and originals past it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use martello_tests::bundle::{guest, shared_state, signed};
use martello_tests::{finish, imaging_bundle, martello, program, python, root, until};
use martello_vocab::Digest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::receiving::{Receiver, dcmtk, sample};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Somebody else's archive.
struct Archive {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Archive {
    /// dcmtk's storescp, which keeps objects bit by bit.
    fn storescp(folder: &Path, port: u16, arguments: &[&str]) -> Option<Self> {
        let program = program("storescp").unwrap()?;
        let folder = folder.join("archive");
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(program);
        command.args(["-v", "+xa", "-pm", "+B", "-od"]).arg(&folder).args(arguments).arg(port.to_string());
        Some(Self::spawn(&mut command, folder, port))
    }

    fn spawn(command: &mut Command, folder: PathBuf, port: u16) -> Self {
        let log = File::create(folder.with_extension("log")).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let archive = Self { child, folder, port };
        until("the archive listens", || TcpStream::connect(("127.0.0.1", port)).ok()).unwrap();
        archive
    }

    fn address(&self) -> String {
        format!("ARCHIVE@127.0.0.1:{}", self.port)
    }

    /// The objects that it holds or is writing.
    fn objects(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until its log has these words.
    fn says(&self, words: &str) {
        let log = || fs::read_to_string(self.folder.with_extension("log")).unwrap();
        until("the archive says what it does", || log().contains(words).then_some(())).unwrap();
    }

    /// Waits until it holds so many, and has said of everything that it was sent from this state folder that it is whole.
    fn holds(&self, state: &Path, count: usize) -> Vec<PathBuf> {
        let is_there = || self.objects().len() >= count && queued(state) == [0, 0];
        until("objects arrive at the archive", || is_there().then_some(())).unwrap();
        self.objects()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The digests of what stands behind the file meta information. Of the objects that storescu sends: it does not send
/// every byte of its files.
fn data_sets(files: &[PathBuf]) -> BTreeSet<Digest> {
    let data_set = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let meta = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
        Digest::of(&bytes[144 + meta..])
    };
    files.iter().map(data_set).collect()
}

/// The instance UIDs of files.
fn instances(files: &[PathBuf]) -> BTreeSet<String> {
    let instance = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        let at = bytes.windows(6).position(|window| window == [2, 0, 3, 0, b'U', b'I']).unwrap() + 8;
        let length = usize::from(bytes[at - 2]);
        String::from_utf8(bytes[at..at + length].to_vec()).unwrap().trim_end_matches('\0').to_owned()
    };
    files.iter().map(instance).collect()
}

/// Files in a folder of the run's output.
fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

/// What waits in the queues for all destinations, and what is kept.
fn queued(state: &Path) -> [usize; 2] {
    let queues = files(&state.join("outgoing"));
    let objects = |folder: PathBuf| {
        files(&folder).into_iter().filter(|file| file.extension().is_some_and(|it| it == "dcm")).count()
    };
    let count = |of: &dyn Fn(&PathBuf) -> PathBuf| queues.iter().map(|queue| objects(of(queue))).sum();
    [count(&|queue| queue.clone()), count(&|queue| queue.join("kept"))]
}

/// An authority, and what it has issued.
struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { folder: folder.to_owned(), issuer }
    }

    fn file(&self) -> String {
        self.folder.join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Files of a certificate for this machine and its key.
    fn issue(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [cert, private] = ["pem", "key"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        [cert, private].map(|path| path.to_str().unwrap().to_owned())
    }
}

#[test]
fn what_leaves_the_pipeline_arrives_at_storescp_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &[]) else { return };
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    // The last two end in quarantine.
    for name in [
        "CT_small.dcm",
        "CT_17106.dcm",
        "rtdose_rle.dcm",
        "reportsi.dcm",
        "MR_small.dcm",
        "examples_overlay.dcm",
    ] {
        fs::copy(sample(name), input.join(name)).unwrap();
    }
    let (bundle, trust) = imaging_bundle().unwrap();
    let run = || {
        let mut command = martello(&folder.path().join("state"));
        command.arg("run").arg(&bundle).arg("--trust").arg(&trust).arg("--input").arg(&input);
        command.arg("--output").arg(folder.path().join("out")).args(["--format", "json"]);
        let ended = finish(command.args(["--send-dicom", &archive.address()])).unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_slice::<serde_json::Value>(&ended.stdout).unwrap()
    };
    let summary = run();
    let report = martello_tests::json_lines(&folder.path().join("out/report.jsonl")).unwrap();
    let exported: Vec<_> = report
        .iter()
        .filter(|line| line["outcome"] == "done")
        .flat_map(|line| line["outputs"].as_array().unwrap())
        .map(|file| folder.path().join("out").join(file["path"].as_str().unwrap()))
        .filter(|path| path.extension().is_some_and(|it| it == "dcm"))
        .collect();
    assert_eq!(exported.len(), 4, "{report:?}");
    let arrived = archive.objects();
    assert_eq!(data_sets(&arrived), data_sets(&exported));
    assert_eq!(arrived.len(), exported.len());
    let deliveries = &summary["deliveries"][0];
    assert_eq!(
        (&deliveries["delivered"], &deliveries["waiting"]),
        (&exported.len().into(), &0.into()),
        "{summary}"
    );
    assert_eq!(queued(&folder.path().join("state")), [0, 0]);
    // Once more: nothing new leaves.
    assert_eq!(run()["deliveries"][0]["delivered"], 0);
}

#[test]
fn originals_reach_the_archive_although_the_bundle_is_refused() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &[]) else { return };
    let (bundle, trust) = imaging_bundle().unwrap();
    let tampered = folder.path().join("tampered.tar");
    let mut bytes = fs::read(bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tampered, bytes).unwrap();
    let receiver = Receiver::start_with(folder.path(), &(tampered, trust), &["--bypass", &archive.address()]);
    let sent = [sample("CT_small.dcm"), sample("MR_small.dcm")];
    let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO"], &sent);
    assert!(stored, "{said}");
    assert_eq!(instances(&archive.holds(&receiver.state, 2)), instances(&sent));
    assert!(receiver.lines().is_empty());
    // They wait for a bundle that is not refused, and are what the archive has.
    let spooled: Vec<_> =
        receiver.spooled().iter().map(|name| receiver.state.join("received").join(name)).collect();
    assert_eq!(data_sets(&spooled), data_sets(&archive.objects()));
    assert_eq!(receiver.end().code(), Some(8));
    let receiver = Receiver::start(folder.path(), &["--bypass", &archive.address()]);
    assert_eq!(receiver.complete(2).len(), 2);
    receiver.stop();
}

#[test]
fn originals_reach_the_archive_although_nothing_works_the_spool_off_and_it_is_full() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &[]) else { return };
    let (bundle, _) = imaging_bundle().unwrap();
    let nowhere = folder.path().join("no-trust.json");
    let arguments = ["--bypass", &archive.address(), "--spool-objects", "1"];
    let receiver = Receiver::start_with(folder.path(), &(bundle, nowhere), &arguments);
    let sent = ["CT_small.dcm", "MR_small.dcm", "CT_17106.dcm"].map(sample);
    let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO"], &sent);
    assert!(stored, "{said}");
    assert_eq!(instances(&archive.holds(&receiver.state, 3)), instances(&sent));
    assert_eq!(receiver.spooled().len(), 1);
    assert_eq!(receiver.end().code(), Some(1));
}

#[test]
fn components_that_did_not_run_come_back_without_a_restart_while_originals_are_forwarded() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &[]) else { return };
    let (bundle, trust) = imaging_bundle().unwrap();
    let missing = folder.path().join("trust.json");
    let arguments = ["--bypass", &archive.address()];
    let receiver = Receiver::start_with(folder.path(), &(bundle, missing.clone()), &arguments);
    let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO"], &[sample("CT_small.dcm")]);
    assert!(stored, "{said}");
    archive.holds(&receiver.state, 1);
    assert!(receiver.lines().is_empty());
    fs::copy(trust, missing).unwrap();
    assert_eq!(receiver.complete(1).len(), 1);
    receiver.stop();
}

#[test]
fn a_signal_while_the_queue_is_full_is_an_orderly_end_and_the_next_run_sends_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let (input, state) = (folder.path().join("in"), folder.path().join("state"));
    fs::create_dir(&input).unwrap();
    for name in ["CT_small.dcm", "rtdose_rle.dcm"] {
        fs::copy(sample(name), input.join(name)).unwrap();
    }
    let (bundle, trust) = imaging_bundle().unwrap();
    let address = format!("ARCHIVE@127.0.0.1:{port}");
    let run = |log: &str| {
        let mut command = martello(&state);
        command
            .args(["--log", log, "run"])
            .arg(&bundle)
            .arg("--trust")
            .arg(&trust)
            .arg("--input")
            .arg(&input);
        command.arg("--output").arg(folder.path().join("out"));
        command.args(["--send-dicom", &address, "--queue-objects", "1", "--concurrency", "1"]);
        command
    };
    let told = folder.path().join("told");
    let mut command = run("warn");
    let mut child = command.stdout(Stdio::null()).stderr(File::create(&told).unwrap()).spawn().unwrap();
    let says = |words: &str| fs::read_to_string(&told).unwrap().contains(words).then_some(());
    until("the second object waits for room", || says("waits for room in the queue")).unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = martello_tests::wait(&mut child, martello_tests::DEADLINE).unwrap();
    assert_eq!(status.code(), Some(130), "{}", fs::read_to_string(&told).unwrap());
    assert_eq!(queued(&state), [1, 0]);
    let Some(archive) = Archive::storescp(folder.path(), port, &[]) else { return };
    let ended = finish(&mut run("warn")).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!((archive.objects().len(), queued(&state)), (2, [0, 0]));
}

#[test]
fn an_original_for_which_the_queue_of_the_archive_has_no_room_is_not_acknowledged() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let address = format!("ARCHIVE@127.0.0.1:{}", free_port());
    let receiver = Receiver::start(folder.path(), &["--bypass", &address, "--queue-objects", "1"]);
    let send = |name: &str| dcmtk(&storescu, &receiver, &["-v", "-aec", "MARTELLO"], &[sample(name)]);
    let (stored, said) = send("CT_small.dcm");
    assert!(stored, "{said}");
    let (stored, said) = send("MR_small.dcm");
    assert!(!stored && said.contains("OutOfResources"), "{said}");
    // The first one is worked on and waits for the archive; of the second one nothing is left.
    assert_eq!(receiver.complete(1).len(), 1);
    assert_eq!(queued(&receiver.state), [1, 0]);
    receiver.stop();
}

#[test]
fn originals_reach_the_archive_although_the_output_folder_cannot_be_used() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &[]) else { return };
    fs::write(folder.path().join("out"), "a file where the folder should be").unwrap();
    let receiver = Receiver::start(folder.path(), &["--bypass", &archive.address()]);
    let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO"], &[sample("CT_small.dcm")]);
    assert!(stored, "{said}");
    archive.holds(&receiver.state, 1);
    assert_eq!(receiver.end().code(), Some(1));
}

#[test]
fn an_archive_that_is_down_or_breaks_off_gets_every_original_when_it_is_well_again() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let address = format!("ARCHIVE@127.0.0.1:{port}");
    let receiver = Receiver::start(folder.path(), &["--bypass", &address]);
    let sent = ["CT_small.dcm", "MR_small.dcm", "CT_17106.dcm"].map(sample);
    let send = |option: &str, files: &[PathBuf]| {
        let (stored, said) = dcmtk(&storescu, &receiver, &["-aec", "MARTELLO", option], files);
        assert!(stored, "{said}");
    };
    send("-xe", &sent[..2]);
    send("-xe", &sent[2..]);
    // The outcome is there, and the bypass still has all of them.
    receiver.complete(3);
    assert_eq!(queued(&receiver.state), [3, 0]);
    let Some(aborting) = Archive::storescp(folder.path(), port, &["--abort-after"]) else { return };
    aborting.says("Store Request");
    drop(aborting);
    assert_eq!(queued(&receiver.state), [3, 0]);
    fs::remove_dir_all(folder.path().join("archive")).unwrap();
    let archive = Archive::storescp(folder.path(), port, &[]).unwrap();
    assert_eq!(instances(&archive.holds(&receiver.state, 3)), instances(&sent));
    until("the queue is empty", || (queued(&receiver.state) == [0, 0]).then_some(())).unwrap();
    receiver.stop();
}

#[test]
fn every_original_reaches_the_archive_after_the_process_was_killed_in_the_middle_of_sending() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(python), port) = (python().unwrap(), free_port()) else { return };
    let [notes, acknowledged] = ["notes", "acknowledged"].map(|name| folder.path().join(name));
    let mut command = Command::new(&python);
    command.arg(root().join("tests/oracle/archive.py")).args([
        &port.to_string(),
        notes.to_str().unwrap(),
        "150",
    ]);
    let archive = Archive::spawn(&mut command, folder.path().to_owned(), port);
    let mut receiver = Receiver::start(folder.path(), &["--bypass", &archive.address()]);
    let mut sender = Command::new(&python)
        .arg(root().join("tests/oracle/send.py"))
        .args(["many", &receiver.port()])
        .args([sample("CT_small.dcm"), acknowledged.clone()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let count = |file: &Path| fs::read_to_string(file).map_or(0, |text| text.lines().count());
    until("some originals are at the archive, and some are on their way", || {
        (count(&notes) >= 10 && count(&acknowledged) >= count(&notes) + 5).then_some(())
    })
    .unwrap();
    receiver.child.kill().unwrap();
    receiver.child.wait().unwrap();
    martello_tests::wait(&mut sender, martello_tests::DEADLINE).unwrap();
    let sent = count(&acknowledged);
    assert!(queued(&receiver.state)[0] > 0, "nothing waited when the process was killed");
    let again = Receiver::start(folder.path(), &["--bypass", &archive.address()]);
    until("the queue is empty", || (queued(&again.state) == [0, 0]).then_some(())).unwrap();
    // The sender numbers its instances; at most one was durable without being acknowledged.
    let text = fs::read_to_string(&notes).unwrap();
    let arrived: BTreeSet<&str> = text.lines().collect();
    let wanted: Vec<_> = (1..=sent).map(|number| format!("1.2.826.0.1.3680043.8.498.{number}")).collect();
    for instance in &wanted {
        assert!(arrived.contains(instance.as_str()), "{instance} was acknowledged and did not arrive");
    }
    assert!(arrived.len() <= sent + 1, "{} instead of {sent}", arrived.len());
    // At least once, and not everything once more.
    assert!(text.lines().count() <= arrived.len() + 1, "objects were sent more often than a kill explains");
    again.stop();
}

#[test]
fn dcmtk_and_the_receiver_speak_tls_where_both_show_a_certificate() {
    let Some(storescu) = program("storescu").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let ([door, door_key], [scanner, scanner_key]) = (authority.issue("door"), authority.issue("scanner"));
    let [store, store_key] = authority.issue("archive");
    let ca = authority.file();
    let tls = ["+tls", &store_key, &store, "+cf", &ca];
    let Some(archive) = Archive::storescp(folder.path(), free_port(), &tls) else { return };
    let address = format!("ARCHIVE@tls://localhost:{}", archive.port);
    let receiver = Receiver::start(
        folder.path(),
        &["--dicom-tls-cert", &door, "--dicom-tls-key", &door_key, "--dicom-client-ca", &ca]
            .into_iter()
            .chain(["--bypass", &address, "--send-ca", &ca])
            .collect::<Vec<_>>(),
    );
    let sent = [sample("CT_small.dcm")];
    let send = |tls: &[&str]| {
        let arguments: Vec<&str> = ["-v", "-aec", "MARTELLO"].iter().chain(tls).copied().collect();
        dcmtk(&storescu, &receiver, &arguments, &sent)
    };
    // Without TLS, without a certificate of its own, and with one.
    assert!(!send(&[]).0);
    assert!(!send(&["+tla", "+cf", &ca]).0);
    assert!(receiver.spooled().is_empty() && receiver.lines().is_empty());
    let (stored, said) = send(&["+tls", &scanner_key, &scanner, "+cf", &ca]);
    assert!(stored, "{said}");
    assert_eq!(instances(&archive.holds(&receiver.state, 1)), instances(&sent));
    receiver.complete(1);
    receiver.stop();
}

#[test]
fn a_key_that_others_can_read_is_refused_and_what_to_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let [door, door_key] = authority.issue("door");
    fs::set_permissions(&door_key, fs::Permissions::from_mode(0o644)).unwrap();
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(bundle).arg("--trust").arg(trust).arg("--output").arg(folder.path().join("out"));
    command.args(["--dicom-listen", "127.0.0.1:0", "--dicom-tls-cert", &door, "--dicom-tls-key", &door_key]);
    let refused = finish(&mut command).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("can be read or changed by others") && said.contains("try: chmod 600"), "{said}");
}

#[test]
fn what_may_identify_a_person_is_not_sent_on_and_no_peer_gets_both_lanes() {
    let folder = tempfile::tempdir().unwrap();
    let source = serde_json::json!({
        "name": "own-model", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "own-model", "file": guest("own-model").unwrap() }],
        "capabilities": ["dangerously-export-identified"],
        "pipeline": { "accepts": ["application/octet-stream"],
                      "stages": [{ "name": "copies", "component": "own-model", "from": "input", "ports": ["copy"] }],
                      "exports": [{ "from": "copies.copy", "folder": "copies", "extension": "dcm" }] },
    });
    let signed = signed(folder.path(), &source).unwrap();
    let run = |rest: &[&str]| {
        let mut command = martello(&shared_state());
        command.arg("run").arg(&signed.bundle).arg("--trust").arg(&signed.trust);
        let ended = finish(command.arg("--output").arg(folder.path().join("out")).args(rest)).unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let peer = format!("ARCHIVE@127.0.0.1:{}", free_port());
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    let (code, said) = run(&["--input", input.to_str().unwrap(), "--send-dicom", &peer]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("try: leave --send-dicom out"), "{said}");
    let (code, said) = run(&["--dicom-listen", "127.0.0.1:0", "--send-dicom", &peer, "--bypass", &peer]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("try: name different peers"), "{said}");
}

/// What Orthanc answers to a question.
fn ask(port: u16, path: &str) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(martello_tests::DEADLINE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

#[test]
fn orthanc_takes_what_leaves_the_pipeline() {
    let Some(orthanc) = program("Orthanc").unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (dicom, http) = (free_port(), free_port());
    let configuration = folder.path().join("orthanc.json");
    let settings = serde_json::json!({
        "Name": "archive", "StorageDirectory": folder.path().join("storage"), "DicomAet": "ARCHIVE",
        "DicomPort": dicom, "HttpPort": http, "DicomAlwaysAllowStore": true, "AuthenticationEnabled": false,
        "RemoteAccessAllowed": false, "Plugins": [],
    });
    fs::write(&configuration, settings.to_string()).unwrap();
    let archive = Archive::spawn(Command::new(orthanc).arg(&configuration), folder.path().to_owned(), dicom);
    until("Orthanc answers", || ask(http, "/instances")).unwrap();
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for name in ["CT_small.dcm", "rtdose_rle.dcm", "J2K_pixelrep_mismatch.dcm"] {
        fs::copy(sample(name), input.join(name)).unwrap();
    }
    let (bundle, trust) = imaging_bundle().unwrap();
    let mut command = martello(&folder.path().join("state"));
    command.arg("run").arg(&bundle).arg("--trust").arg(&trust).arg("--input").arg(&input);
    command.arg("--output").arg(folder.path().join("out")).args(["--send-dicom", &archive.address()]);
    let ended = finish(&mut command).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(queued(&folder.path().join("state")), [0, 0]);
    let instances = ask(http, "/instances").unwrap();
    let instances = instances.as_array().unwrap();
    assert_eq!(instances.len(), 3);
    for instance in instances {
        let tags = ask(http, &format!("/instances/{}/simplified-tags", instance.as_str().unwrap())).unwrap();
        assert_eq!(tags["PatientIdentityRemoved"], "YES");
    }
}
