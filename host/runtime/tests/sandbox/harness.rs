//! One sandbox for all tests, the guests built once, and a log that remembers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use martello_runtime::{
    GuestLog, ImportGrants, LogLevel, NoExtension, Payload, Runtime, RuntimeConfig, StageCall,
    StageComponent, StageFailure, StageReport,
};
use martello_trust::{Blob, Trusted};
use martello_vocab::{ByteCount, Limits};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) type Sandbox = Runtime<NoExtension>;
pub(crate) type Stage = StageComponent<NoExtension>;

/// The folder of the guests' sources.
pub(crate) fn guests_folder() -> PathBuf {
    repository().join("tests/guests")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The target folder that this test was built into, wherever it is.
fn target() -> PathBuf {
    let ours = std::env::current_exe().unwrap();
    ours.ancestors().nth(3).unwrap().to_owned()
}

/// `martello-compile`, built for this test run.
pub(crate) fn compiler() -> &'static Path {
    static COMPILER: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = target();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(repository()).args([
            "build",
            "--quiet",
            "--package",
            "martello-compile",
            "--target-dir",
        ]);
        assert!(cargo.arg(&target).status().unwrap().success(), "martello-compile does not build");
        target.join("debug/martello-compile")
    });
    &COMPILER
}

/// A guest out of `stages/` or `worlds/`, built for this test run.
pub(crate) fn built(name: &str) -> Bytes {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = target().join("guests-build");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(guests_folder()).args([
            "build",
            "--quiet",
            "--release",
            "--target",
            "wasm32-wasip2",
        ]);
        cargo.args(["--examples", "--target-dir"]).arg(&target);
        assert!(cargo.status().unwrap().success(), "the guests do not build");
        target.join("wasm32-wasip2/release/examples")
    });
    // Libraries are named with underscores, programs as they are.
    let library = BUILT.join(format!("{}.wasm", name.replace('-', "_")));
    let path = if library.exists() { library } else { BUILT.join(format!("{name}.wasm")) };
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// A guest out of `wat/`, made into a component of the stage world.
pub(crate) fn assembled(name: &str) -> Bytes {
    let text = std::fs::read_to_string(guests_folder().join(format!("wat/{name}.wat"))).unwrap();
    stage_of_core(&text)
}

/// A stage out of a core module in WebAssembly text.
pub(crate) fn stage_of_core(text: &str) -> Bytes {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    for package in ["wit/deps/wasi-nn", "wit/pipeline"] {
        resolve.push_path(repository().join(package)).unwrap();
    }
    let (package, _) = resolve.packages.iter().find(|(_, package)| package.name.name == "pipeline").unwrap();
    let world = resolve.select_world(&[package], Some("stage-component")).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(false).module(&module).unwrap().encode().unwrap().into()
}

/// Signed with a throw-away key and verified, as `martello exec` does it.
pub(crate) fn trusted(component: Bytes) -> Trusted<Blob> {
    let name: martello_vocab::Name = "guest".parse().unwrap();
    let bundle = martello_bundle::ephemeral(name.clone(), component, Limits::default(), Vec::new()).unwrap();
    bundle.component(&name).unwrap()
}

pub(crate) fn config(state: &Path) -> RuntimeConfig {
    RuntimeConfig {
        compiler: Some(compiler().to_owned()),
        guest_threads: 4,
        shared_instances: 16,
        memory_ceiling: ByteCount::mebibytes(1024),
        ..RuntimeConfig::new(state)
    }
}

/// The sandbox that the tests share. Its state outlives the run, so that guests are compiled once.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
        let state = target().join("guests-state");
        Runtime::start(&config(&state), NoExtension).unwrap()
    });
    &SANDBOX
}

pub(crate) fn load(component: Bytes, limits: &Limits) -> Stage {
    sandbox().load(&trusted(component), limits, &ImportGrants::default()).unwrap()
}

pub(crate) fn stage(name: &str) -> Stage {
    load(built(name), &Limits::default())
}

pub(crate) fn call(input: Payload) -> StageCall<()> {
    let mut call = StageCall::new(input, (), "test");
    call.ports = vec!["copy".parse().unwrap()];
    call.log = Arc::new(Lines::default());
    call
}

pub(crate) fn with_settings(mut call: StageCall<()>, settings: &[(&str, &str)]) -> StageCall<()> {
    for (name, value) in settings {
        call.settings.insert(name.parse().unwrap(), (*value).to_owned());
    }
    call
}

pub(crate) fn run(stage: &Stage, call: StageCall<()>) -> Result<StageReport, Box<StageFailure>> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stage.process(call))
}

pub(crate) fn fails(stage: &Stage, call: StageCall<()>) -> Box<StageFailure> {
    run(stage, call).map(|report| panic!("the stage came through: {report:?}")).unwrap_err()
}

/// A log that remembers its lines.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<(LogLevel, String)>>);

impl GuestLog for Lines {
    fn line(&self, level: LogLevel, line: &str) {
        self.0.lock().unwrap().push((level, line.to_owned()));
    }
}

/// The lines of guests whose world takes no log of its own: what the log of this process holds of them so far.
pub(crate) fn process_log() -> String {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
        let written = Written::default();
        let log = written.clone();
        let guests_alone = Targets::new().with_target("guest", Level::TRACE);
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
        tracing_subscriber::registry().with(lines.with_filter(guests_alone)).init();
        written
    });
    String::from_utf8(WRITTEN.0.lock().unwrap().clone()).unwrap()
}
