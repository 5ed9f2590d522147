//! Native code: compiled once, kept under a MAC, never run when changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use martello_runtime::{
    CompileError, ImportGrants, LoadError, NativeError, NoExtension, Payload, Runtime, RuntimeConfig,
    RuntimeError,
};
use martello_vocab::{ByteCount, Limits};

use crate::harness::{Sandbox, built, config, trusted};
use crate::stage::echoed;

fn entry(state: &Path, extension: &str) -> PathBuf {
    let folder = std::fs::read_dir(state.join("native")).unwrap();
    let mut paths = folder.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
}

fn load(config: &RuntimeConfig) -> Result<(Sandbox, crate::harness::Stage), LoadError> {
    let sandbox = Runtime::start(config, NoExtension).unwrap();
    let stage = sandbox.load(&trusted(built("echo")), &Limits::default(), &ImportGrants::default())?;
    Ok((sandbox, stage))
}

fn without_compiler(state: &Path) -> RuntimeConfig {
    RuntimeConfig { compiler: Some("/nowhere/martello-compile".into()), ..config(state) }
}

#[test]
fn a_component_is_compiled_once_and_then_taken_from_the_cache() {
    let state = tempfile::tempdir().unwrap();
    load(&config(state.path())).unwrap();
    let (_sandbox, echo) = load(&without_compiler(state.path())).unwrap();
    echoed(&echo, Payload::memory("text/plain", "kept"));
}

/// A compiler that writes a line into `count` each time it is asked.
fn counting_compiler(folder: &Path) -> (PathBuf, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let (script, count) = (folder.join("compiler"), folder.join("count"));
    let text = format!(
        "#!/bin/sh\necho once >>'{}'\nexec '{}' \"$@\"\n",
        count.display(),
        crate::harness::compiler().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, count)
}

#[test]
fn those_that_start_together_over_one_state_compile_once() {
    let state = tempfile::tempdir().unwrap();
    let (compiler, count) = counting_compiler(state.path());
    let config = RuntimeConfig { compiler: Some(compiler), guest_threads: 1, ..config(state.path()) };
    // As processes of their own: each has its own locks and knows nothing of the others.
    let sandboxes: Vec<Sandbox> = (0..4).map(|_| Runtime::start(&config, NoExtension).unwrap()).collect();
    let component = trusted(built("echo"));
    let together = std::sync::Barrier::new(sandboxes.len());
    std::thread::scope(|scope| {
        for sandbox in &sandboxes {
            scope.spawn(|| {
                together.wait();
                sandbox.load(&component, &Limits::default(), &ImportGrants::default()).unwrap();
            });
        }
    });
    assert_eq!(std::fs::read_to_string(count).unwrap(), "once\n");
}

#[test]
fn native_code_is_marked_as_used_each_time() {
    let state = tempfile::tempdir().unwrap();
    load(&config(state.path())).unwrap();
    let file = std::fs::File::options().write(true).open(entry(state.path(), "cwasm")).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    file.set_modified(long_ago).unwrap();
    load(&without_compiler(state.path())).unwrap();
    assert!(file.metadata().unwrap().modified().unwrap() > long_ago);
}

#[test]
fn changed_native_code_is_compiled_anew_and_never_mapped() {
    let state = tempfile::tempdir().unwrap();
    load(&config(state.path())).unwrap();
    let path = entry(state.path(), "cwasm");
    let good = std::fs::read(&path).unwrap();
    for position in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[position] ^= 1;
        // Replaced, not written into: the file may be mapped.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bad).unwrap();
        let refused = load(&without_compiler(state.path()));
        assert!(matches!(
            refused,
            Err(LoadError::Native(NativeError::Compile(CompileError::Missing { .. })))
        ));
        let (_sandbox, echo) = load(&config(state.path())).unwrap();
        echoed(&echo, Payload::memory("text/plain", "made anew"));
        assert!(std::fs::read(&path).unwrap() != bad, "the changed file is still there");
        load(&without_compiler(state.path())).unwrap();
    }
}

#[test]
fn an_entry_of_another_device_does_not_hold() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    load(&config(ours.path())).unwrap();
    load(&config(theirs.path())).unwrap();
    for extension in ["cwasm", "mac"] {
        let to = entry(ours.path(), extension);
        std::fs::remove_file(&to).unwrap();
        std::fs::copy(entry(theirs.path(), extension), &to).unwrap();
    }
    assert!(load(&without_compiler(ours.path())).is_err());
}

#[test]
fn the_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    Runtime::start(&config(state.path()), NoExtension).unwrap();
    let key = state.path().join("native.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Runtime::start(&config(state.path()), NoExtension);
    assert!(matches!(refused, Err(RuntimeError::Native(NativeError::Cache { .. }))));
}

#[test]
fn what_a_power_cut_left_behind_is_removed() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(state.path().join("native")).unwrap();
    let left = state.path().join("native/abc.tmp");
    std::fs::write(&left, "half").unwrap();
    Runtime::start(&config(state.path()), NoExtension).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_compiler_without_enough_memory_or_time_is_an_error_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let starved = RuntimeConfig { compile_memory: ByteCount::mebibytes(20), ..config(state.path()) };
    let refused = load(&starved);
    assert!(
        matches!(refused, Err(LoadError::Native(NativeError::Compile(CompileError::Refused { .. })))),
        "{refused:?}"
    );
    let hurried = RuntimeConfig { compile_deadline: Duration::from_millis(1), ..config(state.path()) };
    assert!(matches!(load(&hurried), Err(LoadError::Native(NativeError::Compile(CompileError::Late(_))))));
    assert_eq!(std::fs::read_dir(state.path().join("native")).unwrap().count(), 0);
}

#[test]
fn the_compiler_says_why_it_refuses() {
    let state = tempfile::tempdir().unwrap();
    // Valid WebAssembly of a kind that this engine does not take.
    let core = "(module (memory (export \"memory\") 1) (memory $large i64 1)
      (func (export \"martello:pipeline/stage@0.1.0#process\") (param i32) (result i32) unreachable)
      (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable))";
    let sandbox = Runtime::start(&config(state.path()), NoExtension).unwrap();
    let component = trusted(crate::harness::stage_of_core(core));
    match sandbox.load(&component, &Limits::default(), &ImportGrants::default()) {
        Err(LoadError::Native(NativeError::Compile(CompileError::Refused { complaint, .. }))) => {
            assert!(complaint.contains("memory64"), "{complaint}");
        }
        other => panic!("{other:?}"),
    }
}
