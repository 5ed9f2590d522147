//! What is made of each end of a child. The children are scripts: real models are tried out by `martello` in its own tests.

use std::os::unix::fs::PermissionsExt;

use martello_bundle::manifest::Backend;

use super::*;
use crate::InferenceConfig;
use crate::testing::{config, entry, file};

/// Inference whose children are this script.
fn scripted(folder: &std::path::Path, script: &str) -> Inference {
    let program = folder.join("child");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let check = ModelCheck::Child { program: Some(program) };
    let config = InferenceConfig {
        check,
        check_deadline: Duration::from_millis(1500),
        largest_memory: ByteCount::mebibytes(768),
        ..config()
    };
    Inference::new(&config).unwrap()
}

fn tried(inference: &Inference) -> Result<Verdict, ModelError> {
    let bytes = Bytes::from(file("affine"));
    let model = entry(&bytes, Backend::Builtin);
    inference.clear(&bytes, &model, &[], &[], Duration::MAX, Keep::OnDevice)
}

fn ending(script: &str) -> Result<Verdict, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    tried(&scripted(folder.path(), script))
}

#[test]
fn each_end_of_a_child_is_told_as_what_it_was() {
    let backend = BackendKind::Tract;
    let limit = |limit| Err(ModelError::Limit { backend, limit });
    let memory = || limit(ModelLimit::Memory(ByteCount::mebibytes(768)));
    assert_eq!(ending(r#"echo '"passed"'"#), Ok(Verdict::default()));
    assert_eq!(ending("exec sleep 60"), limit(ModelLimit::Wall(Duration::from_millis(1500))));
    assert_eq!(ending("kill -XCPU $$"), limit(ModelLimit::Compute(Duration::from_secs(1))));
    // As the kernel does where the machine has no memory left.
    assert_eq!(ending("kill -KILL $$"), memory());
    assert_eq!(ending("echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$"), memory());
    let crash = ending("kill -SEGV $$").unwrap_err();
    assert!(matches!(&crash, ModelError::Crash { how, .. } if how.contains("signal: 11")), "{crash}");
    // What is no answer is no verdict on the model.
    for script in ["exit 3", "exit 0", "echo passed", "echo '{\"refused\":5}'"] {
        let error = ending(script).unwrap_err();
        assert!(matches!(error, ModelError::Check { .. }), "{script}: {error}");
    }
    let refused = ModelError::Schema("another".to_owned());
    let line = serde_json::to_string(&Answer::Refused(refused.clone())).unwrap();
    assert_eq!(ending(&format!("echo '{line}'")), Err(refused));
    let endless = ModelError::Disagreement {
        index: 0,
        backend,
        output: "y".to_owned(),
        absolute: f64::INFINITY,
        relative: f64::INFINITY,
    };
    let line = serde_json::to_string(&Answer::Refused(endless.clone())).unwrap();
    assert_eq!(ending(&format!("echo '{line}'")), Err(endless));
}

#[test]
fn the_second_opinion_is_done_without_where_asking_for_it_ends_the_child() {
    let verdict = ending("echo '\"chosen\"'; kill -SEGV $$").unwrap();
    let reason = verdict.without_builtin.unwrap();
    assert!(reason.contains("tract"), "{reason}");
    let late = ending("echo '\"chosen\"'; exec sleep 60").unwrap();
    assert!(late.without_builtin.is_some());
}

#[test]
fn a_child_gets_the_model_behind_one_line_and_nothing_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!("{{ echo \"$1\"; env; cat; }} >{}; echo '\"passed\"'", seen.display());
    tried(&scripted(folder.path(), &script)).unwrap();
    let seen = std::fs::read(seen).unwrap();
    assert!(seen.starts_with(CHECK_COMMAND.as_bytes()));
    assert!(seen.ends_with(&file("affine")));
    let text = String::from_utf8_lossy(&seen);
    assert!(!text.contains("CARGO") && !text.contains("HOME="), "{text}");
    let line = text.lines().find(|line| line.starts_with('{')).unwrap();
    let request: Request = serde_json::from_str(line).unwrap();
    assert_eq!(request.model.digest, Digest::of(&file("affine")));
    assert_eq!(request.library, None);
}

/// Keeps everything in memory.
#[derive(Debug, Default)]
struct Recorded(std::sync::Mutex<Vec<(Digest, String)>>);

impl Verdicts for Recorded {
    fn kept(&self, name: &Digest) -> Option<String> {
        let kept = self.0.lock().unwrap();
        kept.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    }

    fn keep(&self, name: &Digest, text: &str) {
        self.0.lock().unwrap().push((*name, text.to_owned()));
    }
}

#[test]
fn what_went_through_is_kept_for_just_what_was_tried_and_what_did_not_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let count = || std::fs::read_to_string(&calls).unwrap_or_default().lines().count();
    let script = format!("echo call >>{}; echo '\"passed\"'", calls.display());
    let kept = std::sync::Arc::new(Recorded::default());
    let with = |change: &dyn Fn(&mut InferenceConfig)| {
        let mut config = scripted(folder.path(), &script).config.clone();
        config.verdicts = Some(std::sync::Arc::<Recorded>::clone(&kept) as std::sync::Arc<dyn Verdicts>);
        change(&mut config);
        Inference::new(&config).unwrap()
    };
    let first = with(&|_| ());
    tried(&first).unwrap();
    tried(&first).unwrap();
    tried(&with(&|_| ())).unwrap();
    assert_eq!(count(), 1);
    for (tries, change) in [
        (
            2,
            &(|config: &mut InferenceConfig| config.largest_memory = ByteCount::mebibytes(700))
                as &dyn Fn(&mut InferenceConfig),
        ),
        (3, &|config| config.threads = NonZero::new(2).unwrap()),
        (4, &|config| config.check_deadline = Duration::from_secs(9)),
    ] {
        tried(&with(change)).unwrap();
        assert_eq!(count(), tries);
    }
    // A guest's own models are remembered, and not kept.
    let bytes = Bytes::from(file("two_inputs"));
    let model = entry(&bytes, Backend::Builtin);
    let before = kept.0.lock().unwrap().len();
    for _ in 0..2 {
        first.clear(&bytes, &model, &[], &[], Duration::MAX, Keep::Here).unwrap();
    }
    assert_eq!((count(), kept.0.lock().unwrap().len()), (5, before));
    // What was refused is tried again.
    let script = format!("echo call >>{}; kill -SEGV $$", calls.display());
    let refusing = scripted(folder.path(), &script);
    for tries in [6, 7] {
        tried(&refusing).unwrap_err();
        assert_eq!(count(), tries);
    }
}

#[test]
fn a_guest_waits_for_its_turn_no_longer_than_it_has_time() {
    let folder = tempfile::tempdir().unwrap();
    let (begun, ends) = (folder.path().join("begun"), folder.path().join("ends"));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.01; done; echo '\"passed\"'",
        begun.display(),
        ends.display()
    );
    let mut config = scripted(folder.path(), &script).config.clone();
    config.check_deadline = Duration::from_secs(600);
    let inference = std::sync::Arc::new(Inference::new(&config).unwrap());
    let other = std::sync::Arc::clone(&inference);
    let first = std::thread::spawn(move || tried(&other));
    let start = Instant::now();
    while !begun.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the first trial never began");
        std::thread::yield_now();
    }
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let bytes = Bytes::from(file("two_inputs"));
        let model = entry(&bytes, Backend::Builtin);
        sender
            .send(inference.load_guest_model(&bytes, &model, &[], Duration::from_millis(20)).map(|_| ()))
            .unwrap();
    });
    let answer = answer.recv_timeout(Duration::from_secs(60));
    std::fs::write(&ends, "").unwrap();
    let limit = ModelLimit::Wall(Duration::from_millis(20));
    assert_eq!(answer.unwrap(), Err(ModelError::Limit { backend: BackendKind::Tract, limit }));
    first.join().unwrap().unwrap();
}
