//! Receiving inputs over the network while a bundle runs: the arguments, and the thread that does it.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use martello_engine::{Input, Stop};
use martello_ingest::dicom::{AeTitle, Callers, DicomListener, DicomSettings};
use martello_ingest::{Queue, Spool, SpoolError, SpoolLimits, TlsIdentity, TlsServer};
use martello_vocab::ByteCount;

use crate::deliver::unusable;
use crate::output::{Advice, Output};

/// The folder under the state folder in which objects wait.
const SPOOL: &str = "received";

/// How objects are received.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReceiveArgs {
    /// Receive DICOM objects (C-STORE, C-ECHO) at this address in place of --input, and go on until stopped.
    #[arg(long, value_name = "ADDRESS")]
    dicom_listen: Option<SocketAddr>,
    /// The application entity title that peers must call, and that this device calls itself where it sends.
    #[arg(long, value_name = "TITLE", default_value = "MARTELLO")]
    ae_title: AeTitle,
    /// Titles of peers that may send (may be given more than once). Without it, any peer may on an address that only this
    /// machine can reach, and any with a certificate that --dicom-client-ca vouches for.
    #[arg(
        long,
        value_name = "TITLE",
        value_delimiter = ',',
        requires = "dicom_listen",
        conflicts_with = "input"
    )]
    ae_allow: Vec<AeTitle>,
    /// Let peers of any title send from other machines.
    #[arg(long, conflicts_with_all = ["ae_allow", "input"], requires = "dicom_listen")]
    dangerously_allow_any_ae: bool,
    /// Speak TLS on the DICOM port, and show this certificate (PEM, this device's own first). A peer without TLS is hung up
    /// on. Peers to which objects are sent under TLS are shown it too.
    #[arg(long, value_name = "FILE", requires = "dicom_tls_key")]
    dicom_tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM), readable by its owner alone.
    #[arg(long, value_name = "FILE", requires = "dicom_tls_cert")]
    dicom_tls_key: Option<PathBuf>,
    /// Authorities (PEM) that certificates of peers must come from. Without it, peers show none.
    #[arg(long, value_name = "FILE", requires = "dicom_tls_cert")]
    dicom_client_ca: Option<PathBuf>,
    /// Associations that are open at once. Beside them, 64 connections may be held that have not asked for one yet.
    #[arg(long, value_name = "N", default_value = "16", requires = "dicom_listen")]
    associations: NonZero<usize>,
    /// Bytes of objects that may wait for their turn, in MiB; beyond, senders are told that there is no room.
    #[arg(long, value_name = "MIB", default_value = "16384", requires = "dicom_listen")]
    spool_size: NonZero<u64>,
    /// Objects that may wait for their turn.
    #[arg(long, value_name = "N", default_value = "100000", requires = "dicom_listen")]
    spool_objects: NonZero<u64>,
}

/// A port that is taken and a spool that is open. Nobody is served yet.
pub(crate) struct Receiver {
    listener: DicomListener,
    spool: Arc<Spool>,
}

impl ReceiveArgs {
    /// What this device is called.
    pub(crate) fn title(&self) -> &AeTitle {
        &self.ae_title
    }

    /// What this device shows to peers under TLS.
    pub(crate) fn identity(&self) -> Option<TlsIdentity> {
        let (certificate, key) = self.dicom_tls_cert.clone().zip(self.dicom_tls_key.clone())?;
        Some(TlsIdentity { certificate, key })
    }

    /// Opens the spool and takes the port, where objects are to be received.
    pub(crate) fn open(&self, state: &Path, bypass: Vec<Arc<Queue>>) -> anyhow::Result<Option<Receiver>> {
        let Some(address) = self.dicom_listen else { return Ok(None) };
        let tls = self.identity().map(|identity| TlsServer::load(&identity, self.dicom_client_ca.as_deref()));
        let tls = tls.transpose().map_err(unusable)?;
        let is_mutual = self.dicom_client_ca.is_some();
        let callers = match self.ae_allow.is_empty() {
            false => Callers::Listed(self.ae_allow.iter().cloned().collect()),
            // A certificate says more than a title.
            true if self.dangerously_allow_any_ae || address.ip().is_loopback() || is_mutual => Callers::Any,
            true => {
                let happened = format!("listening for DICOM on {address} without a list of peers");
                let next = "name the peers that may send with --ae-allow".to_owned();
                return Err(Advice { happened, next }.into());
            }
        };
        let settings = DicomSettings {
            callers,
            associations: self.associations,
            tls,
            ..DicomSettings::new(self.ae_title.clone())
        };
        let limits = SpoolLimits {
            objects: self.spool_objects.get(),
            bytes: ByteCount(self.spool_size.get().saturating_mul(1 << 20)),
            ..SpoolLimits::default()
        };
        let spool = Spool::open_with_bypass(&state.join(SPOOL), limits, bypass).map_err(|error| {
            let next = match &error {
                SpoolError::Busy { .. } => "end the other process, or give this one another --state",
                SpoolError::Link { .. } => {
                    "see who put the link there and remove it, or give another --state"
                }
                SpoolError::Unusable { .. } => "see free space and permissions of the state folder",
            };
            let happened = "opening the spool of received objects".to_owned();
            anyhow::Error::from(error).context(Advice { happened, next: next.to_owned() })
        })?;
        let listener = DicomListener::bind(address, settings, Arc::clone(&spool)).map_err(|error| {
            let next = "choose an address of this machine and a port that is free".to_owned();
            anyhow::Error::from(error.source)
                .context(Advice { happened: format!("listening for DICOM on {address}"), next })
        })?;
        Ok(Some(Receiver { listener, spool }))
    }
}

impl Receiver {
    /// Where the run finds what was received.
    pub(crate) fn input(&self) -> Input {
        Input::Spool(Arc::clone(&self.spool))
    }

    /// Begins to serve peers, until the door is closed. When it is closed, the run ends, and `close` ends what waits for room
    /// in a queue.
    pub(crate) fn start(
        self,
        door: Door,
        run: Stop,
        close: impl Fn() + Send + 'static,
        output: &Output,
    ) -> anyhow::Result<Receiving> {
        let address = self.listener.address();
        let spool = Arc::clone(&self.spool);
        let work = {
            let door = door.clone();
            move || {
                // Whatever ends this thread ends the run too: else objects would stay away and nobody would know.
                let _ends = Ends(run, door.clone(), close);
                self.listener.serve(&door.0);
            }
        };
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(work);
        let thread = thread.context("starting the thread that receives")?;
        output.note(&format!("receiving DICOM objects on {address}"));
        Ok(Receiving { door, spool, thread })
    }
}

/// Peers are being served.
pub(crate) struct Receiving {
    door: Door,
    spool: Arc<Spool>,
    thread: JoinHandle<()>,
}

impl Receiving {
    /// Closes the door, and waits until it is closed. How many objects went to the bypass alone.
    pub(crate) fn end(self) -> anyhow::Result<u64> {
        self.door.close();
        self.thread.join().map_err(|_panic| anyhow::anyhow!("the thread that receives ended in disorder"))?;
        Ok(self.spool.passed_by())
    }
}

struct Ends<F: Fn()>(Stop, Door, F);

impl<F: Fn()> Drop for Ends<F> {
    fn drop(&mut self) {
        self.1.close();
        (self.2)();
        self.0.complete();
    }
}

/// Open until somebody closes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door(Arc<AtomicBool>);

impl Door {
    /// No peer is served any more.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ends_the_receiver_ends_waiting_for_room_and_the_run() {
        let (door, closed) = (Door::default(), Arc::<AtomicBool>::default());
        let (of_thread, close) = (door.clone(), Arc::clone(&closed));
        let ended = std::thread::spawn(move || {
            let _ends = Ends(Stop::default(), of_thread, move || close.store(true, Ordering::Relaxed));
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert!(door.is_closed() && closed.load(Ordering::Relaxed));
    }
}
