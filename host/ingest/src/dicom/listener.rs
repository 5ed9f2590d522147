//! The open port: a thread for each connection, so many at once, and all of them awaited at the end.
//!
//! A connection waits in the [`Room`] until its request is accepted, and takes the place of an association only then: so
//! that peers which connect and say nothing keep nobody out.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::association::{self, Places};
use super::line::Line;
use super::room::{NEWCOMERS, Room};
use super::settings::DicomSettings;
use crate::spool::Spool;
use crate::transport::Transport;

/// How often the listener looks at whether to stop.
const TURN: Duration = Duration::from_millis(100);
/// How long it waits after the device had no descriptor or thread for a connection.
const RECOVERY: Duration = Duration::from_millis(500);
/// Threads of connections that have given way and end at this moment, beyond which nobody is let in.
const ENDING: usize = 16;
/// How long the listener then waits before it looks again.
const MOMENT: Duration = Duration::from_millis(5);

/// A port on which DICOM objects are received.
#[derive(Debug)]
pub struct DicomListener {
    listener: TcpListener,
    address: SocketAddr,
    settings: Arc<DicomSettings>,
    spool: Arc<Spool>,
    ids: Ids,
}

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listening for DICOM on {address}")]
pub struct ListenError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

impl DicomListener {
    /// Takes the port. Nobody is served before [`serve`](Self::serve).
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn bind(
        address: SocketAddr,
        settings: DicomSettings,
        spool: Arc<Spool>,
    ) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|source| ListenError { address, source })?;
        Ok(Self { listener, address, settings: Arc::new(settings), spool, ids: Ids::new() })
    }

    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves peers until `stop` is set. Objects that are being received are then given some time to arrive
    /// ([`Patience::stopping`](super::Patience::stopping)); no association outlives this call.
    pub fn serve(&self, stop: &Arc<AtomicBool>) {
        let (places, room) = (Places::of(self.settings.associations), Arc::<Room>::default());
        let most = self.settings.associations.get().saturating_add(NEWCOMERS).saturating_add(ENDING);
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for ended in threads.extract_if(.., |thread| thread.is_finished()) {
                ended_well(ended);
            }
            if threads.len() >= most {
                std::thread::sleep(MOMENT);
                continue;
            }
            if let Some((stream, peer)) = self.next() {
                match self.attend(stream, peer.ip(), stop, &places, &room) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        tracing::error!(%error, "a connection cannot be served");
                        std::thread::sleep(RECOVERY);
                    }
                }
            }
        }
        threads.into_iter().for_each(ended_well);
    }

    /// The next connection, if one comes within a turn.
    fn next(&self) -> Option<(TcpStream, SocketAddr)> {
        let mut poll_fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let turn = Timespec { tv_sec: 0, tv_nsec: i64::from(TURN.subsec_nanos()) };
        // Whatever goes wrong here shows at the call below.
        let _ = poll(&mut poll_fds, Some(&turn));
        match self.listener.accept() {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                // A peer that is gone again is no trouble; a device without descriptors is.
                let is_ordinary = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                );
                if !is_ordinary {
                    tracing::error!(%error, "no connection can be accepted");
                    std::thread::sleep(RECOVERY);
                }
                None
            }
        }
    }

    fn attend(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        stop: &Arc<AtomicBool>,
        places: &Places,
        room: &Arc<Room>,
    ) -> io::Result<JoinHandle<()>> {
        let newcomer = room.enter(peer, stream.try_clone()?);
        let transport = Transport::accepted(stream, self.settings.tls.as_ref())?;
        let line = Line::new(transport, Arc::clone(stop), self.settings.patience.stopping)?;
        let (settings, spool, places) = (Arc::clone(&self.settings), Arc::clone(&self.spool), places.clone());
        let id = self.ids.next();
        let work = move || {
            let _span = span(&id).entered();
            association::serve(line, newcomer, &places, &settings, &spool);
        };
        std::thread::Builder::new().name("association".to_owned()).spawn(work)
    }
}

fn ended_well(thread: JoinHandle<()>) {
    // The panic itself was told where it happened; what was being received is gone, and its sender not answered.
    if thread.join().is_err() {
        tracing::error!("an association ended in a panic");
    }
}

/// Every line about an association carries its id, and nothing of its peer. At the level of the worst of them, so that no
/// filter of lines leaves the id out.
fn span(id: &str) -> tracing::Span {
    tracing::error_span!("association", %id)
}

/// The ids of a listener's associations: when the port was opened, in hexadecimal seconds since 1970, and which one it is.
#[derive(Debug)]
struct Ids {
    opened: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let opened = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { opened: opened.as_secs(), next: AtomicU64::new(1) }
    }

    fn next(&self) -> String {
        format!("{:x}-{}", self.opened, self.next.fetch_add(1, Ordering::Relaxed))
    }
}
