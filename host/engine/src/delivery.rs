//! What goes out while a bundle runs: a queue and a thread for each destination, and what leaves the pipeline on its way
//! into the queues.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use martello_ingest::dicom::{DicomAddress, is_part10};
use martello_ingest::{PutError, Queue, Sender};
use serde::Serialize;

use crate::folder_run::{Export, NotTaken, Stop};

/// How long a run that is done waits for deliveries without one being made, before it leaves the rest to the next run.
pub const UNMOVED: Duration = Duration::from_secs(10);
/// How often it looks.
const TURN: Duration = Duration::from_millis(100);

/// What objects are sent to a destination for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// They left the pipeline.
    Send,
    /// They are originals.
    Bypass,
}

impl Purpose {
    /// The word for it in names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Bypass => "bypass",
        }
    }
}

/// Queues that are open. Nothing is delivered yet.
#[derive(Debug, Default)]
pub struct Outgoing {
    destinations: Vec<(Purpose, Sender)>,
}

impl Outgoing {
    /// One more destination.
    pub fn add(&mut self, purpose: Purpose, sender: Sender) {
        self.destinations.push((purpose, sender));
    }

    fn queues(&self, purpose: Purpose) -> Vec<Arc<Queue>> {
        let of_purpose = self.destinations.iter().filter(|(of, _)| *of == purpose);
        of_purpose.map(|(_, sender)| Arc::clone(&sender.queue)).collect()
    }

    /// The queues into which originals go.
    pub fn bypass(&self) -> Vec<Arc<Queue>> {
        self.queues(Purpose::Bypass)
    }

    /// The queues into which what leaves the pipeline goes.
    pub fn exports(&self) -> Exports {
        Exports(self.queues(Purpose::Send))
    }

    /// Whatever waits for room in a queue or for something to come, or would, waits no longer once this is called.
    pub fn closer(&self) -> impl Fn() + Send + 'static {
        let queues: Vec<_> = self.destinations.iter().map(|(_, sender)| Arc::clone(&sender.queue)).collect();
        move || queues.iter().for_each(|queue| queue.close())
    }

    /// Begins to deliver.
    ///
    /// # Errors
    /// The device has no thread for it.
    pub fn start(self) -> io::Result<Delivering> {
        let stop = Arc::<AtomicBool>::default();
        let mut started = Vec::new();
        for (purpose, sender) in self.destinations {
            let destination = Destination {
                purpose,
                address: sender.peer.address.clone(),
                queue: Arc::clone(&sender.queue),
            };
            let stop = Arc::clone(&stop);
            let thread =
                std::thread::Builder::new().name("sender".to_owned()).spawn(move || sender.deliver(&stop))?;
            started.push((destination, thread));
        }
        Ok(Delivering { stop, started })
    }
}

/// Where what leaves the pipeline is handed over, before it counts as done.
#[derive(Debug, Clone, Default)]
pub struct Exports(Vec<Arc<Queue>>);

impl Exports {
    /// Puts the DICOM objects among these files into every queue, durably. Waits where a queue is full.
    ///
    /// # Errors
    /// A queue was closed, or the disk refuses.
    pub fn take(&self, exports: &[Export<'_>]) -> Result<(), NotTaken> {
        if self.0.is_empty() {
            return Ok(());
        }
        let handing_over: Vec<_> = self.0.iter().map(|queue| queue.hand_over()).collect();
        for export in exports {
            let Some(object) = object(export)? else { continue };
            for queue in &handing_over {
                queue.put_when_there_is_room(&object, export.file.digest, export.file.bytes)?;
            }
        }
        handing_over.into_iter().try_for_each(|queue| Ok(queue.settle()?))
    }
}

/// The file, opened once: what is looked at is what is handed over.
fn object(export: &Export<'_>) -> io::Result<Option<File>> {
    let file = export.open()?;
    Ok(is_part10(&file)?.then_some(file))
}

impl From<PutError> for NotTaken {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Closed => Self::Ending,
            PutError::Disk(error) => Self::Failed(error),
            full @ PutError::Full => Self::Failed(io::Error::other(full)),
        }
    }
}

struct Destination {
    purpose: Purpose,
    address: DicomAddress,
    queue: Arc<Queue>,
}

/// Objects are being delivered.
pub struct Delivering {
    stop: Arc<AtomicBool>,
    started: Vec<(Destination, JoinHandle<()>)>,
}

/// What came of a destination, for the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// What for.
    pub purpose: Purpose,
    /// Its address.
    pub to: String,
    /// In this run.
    pub delivered: u64,
    /// They wait, and the next run goes on with them.
    pub waiting: u64,
    /// They were set aside; the folder `kept` of the queue holds them, with a code.
    pub kept: u64,
}

impl Delivering {
    /// Waits until everything is delivered, for [`UNMOVED`] nothing was, or the queues are closed.
    pub fn drain(&self) {
        let look = || {
            let states = self.started.iter().map(|(destination, _)| destination.queue.state_now());
            states.fold((0, 0), |(waiting, gone), state| {
                (waiting + state.waiting, gone + state.delivered + state.kept)
            })
        };
        let is_closed = || self.started.iter().any(|(destination, _)| destination.queue.is_closed());
        let (mut waiting, mut gone) = look();
        let mut moved = Instant::now();
        while waiting > 0 && moved.elapsed() < UNMOVED && !is_closed() {
            std::thread::sleep(TURN);
            let now = look();
            if now.1 != gone {
                moved = Instant::now();
            }
            (waiting, gone) = now;
        }
    }

    /// Ends all deliveries, and waits until they have ended: what is being sent is given some time to be answered. Where the
    /// run is abandoned it does not wait; what was not answered is sent again by the next run.
    pub fn end(self, run: &Stop) -> Vec<Deliveries> {
        self.stop.store(true, Ordering::Relaxed);
        self.started.iter().for_each(|(destination, _)| destination.queue.close());
        let mut all = Vec::new();
        for (Destination { purpose, address, queue }, thread) in self.started {
            while !thread.is_finished() && !run.is_abandoned() {
                std::thread::sleep(MOMENT);
            }
            // Its panics are failures of a turn, and were told; this is one outside of a turn.
            let has_ended = thread.is_finished();
            if has_ended && thread.join().is_err() {
                tracing::error!(to = %address, "a thread that sends ended in disorder");
            }
            let state = queue.state_now();
            all.push(Deliveries {
                purpose,
                to: address.to_string(),
                delivered: state.delivered,
                waiting: state.waiting,
                kept: state.kept,
            });
        }
        all
    }
}

/// How often the end of a thread is looked for.
const MOMENT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use martello_ingest::dicom::{DicomPeer, Encryption, SendingPatience};
    use martello_ingest::{QueueLimits, Retry};

    use super::*;

    const LONG: Duration = Duration::from_secs(300);

    /// An object that waits for a peer which takes connections and says nothing.
    fn waiting(folder: &std::path::Path) -> (Outgoing, TcpListener) {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let queue = Queue::open(&folder.join("queue"), QueueLimits::default()).unwrap();
        let file = folder.join("file");
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/dicom/CT_small.dcm");
        let part10 = std::fs::read(sample).unwrap();
        std::fs::write(&file, &part10).unwrap();
        let digest = martello_vocab::Digest::of(&part10);
        queue.put(&File::open(&file).unwrap(), digest, part10.len() as u64).unwrap();
        let address = silent.local_addr().unwrap();
        let peer = DicomPeer {
            address: DicomAddress {
                title: "ARCHIVE".parse().unwrap(),
                host: address.ip().to_string(),
                port: address.port(),
                encryption: Encryption::Plain,
            },
            calling: "SENDER".parse().unwrap(),
            tls: None,
            patience: SendingPatience { stopping: LONG, associating: LONG, ..SendingPatience::default() },
        };
        let mut outgoing = Outgoing::default();
        outgoing.add(Purpose::Send, Sender { queue, peer, retry: Retry::default() });
        (outgoing, silent)
    }

    #[test]
    fn a_signal_ends_the_wait_for_deliveries() {
        let folder = tempfile::tempdir().unwrap();
        let (outgoing, _silent) = waiting(folder.path());
        let (close, delivering) = (outgoing.closer(), outgoing.start().unwrap());
        let begun = Instant::now();
        close();
        delivering.drain();
        assert!(begun.elapsed() < UNMOVED, "it waited for nothing");
    }

    #[test]
    fn a_second_signal_leaves_what_is_being_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (outgoing, silent) = waiting(folder.path());
        let delivering = outgoing.start().unwrap();
        // It is at it.
        let _connection = silent.accept().unwrap();
        let run = Stop::default();
        run.abandon();
        let begun = Instant::now();
        let [deliveries] = &delivering.end(&run)[..] else { panic!("one destination") };
        assert!(begun.elapsed() < LONG / 2, "it waited for the peer");
        assert_eq!((deliveries.waiting, deliveries.delivered), (1, 0));
    }
}
