//! Runs of a pipeline without stages, over folders that misbehave.

mod disk;
mod failing;
mod output_folder;
mod receiving;
mod restoring;
mod stopping;
mod working;

use std::fs::{self, File};
use std::path::Path;

use martello_ingest::{Found, Spool, SpoolLimits};
use martello_pipeline::Plan;
use martello_store::place::Tree;
use martello_store::{Remains, Started};
use martello_vocab::code;
use serde_json::Value;

use super::dispatch::Worked;
use super::scribe::ForScribe;
use super::*;
use crate::activation::{Device, DeviceConfig, bundle_of_nothing};
use crate::outputs::OutputFolder;

const PATIENCE: DiskPatience = DiskPatience {
    first: std::time::Duration::from_millis(1),
    longest: std::time::Duration::from_millis(4),
    once: std::time::Duration::from_secs(30),
};

struct Silent;

impl Observer for Silent {
    fn found(&self, _total: u64) {}
    fn completed(&self, _line: Option<&ReportLine>) {}
}

struct Bench {
    folder: tempfile::TempDir,
    active: Arc<Active>,
    missing: MissingOutputs,
    report: ReportMode,
    stop: Stop,
}

/// A bundle that is active under the key of this state folder.
fn active(state: &Path) -> Arc<Active> {
    let device = Device::start(&DeviceConfig::new(state.to_owned())).unwrap();
    let bundle = bundle_of_nothing();
    let plan = Plan::of(bundle.manifest()).unwrap();
    Arc::new(device.without_stages(plan, &bundle))
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let active = active(&folder.path().join("state"));
        let (missing, report) = (MissingOutputs::Restore, ReportMode::Named);
        Self { folder, active, missing, report, stop: Stop::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The output folder of this name, made.
    fn output(&self, name: &str) -> OutputFolder {
        Destination::at(&self.path(name)).unwrap().make().unwrap()
    }

    fn input(&self, name: &str, content: &str) -> Found {
        let path = self.path("in").join(name);
        fs::write(&path, content).unwrap();
        let folder = Folder::open(&self.path("in")).unwrap();
        folder.look_at(&folder.path().join(name)).unwrap()
    }

    fn run_to(&self, output: &Path) -> Result<Summary, RunError> {
        self.run_over(Input::Folder(self.path("in")), output)
    }

    fn run_over(&self, input: Input, output: &Path) -> Result<Summary, RunError> {
        let run = FolderRun {
            input,
            output: output.to_owned(),
            watch: WatchMode::Once,
            report: self.report,
            concurrency: NonZero::new(2).unwrap(),
            missing: self.missing,
            disk: PATIENCE,
        };
        on_threads(run.run(Arc::clone(&self.active), Arc::new(Silent), self.stop.clone()))
    }

    fn run(&self) -> Result<Summary, RunError> {
        self.run_to(&self.path("out"))
    }

    fn journal(&self) -> Journal {
        let key_id = self.active.site_key.key_id();
        let binding =
            Binding { bundle: self.active.bundle_digest, pseudonym_key: &key_id, key_of: &|_, _| None };
        let memory = Tree::open(&self.path("out/.martello")).unwrap();
        Journal::open(&memory, &binding, Remains::Nothing).unwrap()
    }

    /// Starts an input as a process does that is ended then.
    fn start(&self, found: &Found, digest: Option<martello_vocab::Digest>) -> String {
        let key = &self.active.site_key;
        let (name, fingerprint) = (key.name_id(&found.name), (found.length, found.changed));
        let id = match &digest {
            Some(digest) => key.input_id(&found.name, digest),
            None => key.unread_id(&found.name, fingerprint),
        };
        let started = Started { id: &id, name: &name, digest, fingerprint };
        self.journal().start(&started).unwrap();
        id
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("out/report.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn scribe(
        &self,
        disk: &Arc<Disk>,
        journal: &Arc<Journal>,
        output: &OutputFolder,
        input: &Input,
        observer: Arc<dyn Observer>,
    ) -> Scribe {
        let (disk, journal) = (Arc::clone(disk), Arc::clone(journal));
        Scribe::open(disk, journal, output.clone(), input.clone(), observer, self.report).unwrap()
    }

    /// A worker of its own over these findings, as a feeder would send them.
    fn dispatch(&self, found: Vec<Found>, scribe_fails: bool) -> (Result<Worked, RunError>, Arc<Journal>) {
        let output = self.output("out");
        self.dispatch_to(output, Input::Folder(self.path("in")), found, scribe_fails)
    }

    fn dispatch_to(
        &self,
        output: OutputFolder,
        input: Input,
        found: Vec<Found>,
        scribe_fails: bool,
    ) -> (Result<Worked, RunError>, Arc<Journal>) {
        self.dispatch_on(&self.disk(WatchMode::Once), output, input, found, scribe_fails)
    }

    fn disk(&self, watch: WatchMode) -> Arc<Disk> {
        Arc::new(Disk::new(PATIENCE, watch, self.stop.clone()))
    }

    fn dispatch_on(
        &self,
        disk: &Arc<Disk>,
        output: OutputFolder,
        input: Input,
        found: Vec<Found>,
        scribe_fails: bool,
    ) -> (Result<Worked, RunError>, Arc<Journal>) {
        output.prepare(std::iter::empty()).unwrap();
        let journal = Arc::new(self.journal());
        let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
        let scribe = self.scribe(disk, &journal, &output, &input, Arc::new(Silent));
        let worker = Worker {
            active: Arc::clone(&self.active),
            journal: Arc::clone(&journal),
            input,
            output,
            report: ReportMode::Named,
            to_scribe,
            observer: Arc::new(Silent),
            stop: Stop::default(),
            turns: Arc::default(),
            disk: Arc::clone(disk),
        };
        let scribe = std::thread::spawn(move || {
            let mut from_workers = from_workers;
            if scribe_fails {
                return drop(from_workers.blocking_recv());
            }
            scribe.work(from_workers).unwrap();
        });
        let (send, receive) = mpsc::channel(found.len());
        found.into_iter().for_each(|found| send.try_send(found).unwrap());
        drop(send);
        let two = NonZero::new(2).unwrap();
        let worked = on_threads(dispatch(Arc::new(worker), receive, two, &AtomicUsize::new(0)));
        scribe.join().unwrap();
        (worked, journal)
    }
}

fn on_threads<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}
