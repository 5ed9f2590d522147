//! An association that we ask for, to send objects on (C-STORE as a service class user).
//!
//! Each object is proposed in the encoding in which it stands: one presentation context for each class and transfer syntax,
//! and nothing is converted. Objects go one after the other, each when the one before was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use martello_vocab::Digest;
use rustls::pki_types::ServerName;

use super::address::{DicomAddress, Encryption};
use super::bytes::Bytes;
use super::command::{self, LONGEST_COMMAND, Response};
use super::line::{Line, LineError, Waiting};
use super::names::{AeTitle, Uid};
use super::negotiation::APPLICATION_CONTEXT;
use super::part10::{Stored, Unsendable};
use super::pdu::{self, Abort, Acceptance, HEADER_BYTES, Header, Kind, LONGEST_REQUEST, Part, Rejected};
use super::settings::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use crate::tls::TlsClient;
use crate::transport::Transport;

/// The longest body of a data PDU that we take: answers are short.
const LONGEST_ANSWER: u32 = 64 << 10;
/// The longest body of a data PDU that we send to a peer that takes more.
const LONGEST_SENT: u32 = 128 << 10;
/// Contexts of an association (PS3.8: the odd numbers of one byte).
pub(crate) const MOST_CONTEXTS: usize = 128;

/// A DICOM peer to which objects are sent.
#[derive(Debug, Clone)]
pub struct DicomPeer {
    /// Where it is.
    pub address: DicomAddress,
    /// What we call ourselves.
    pub calling: AeTitle,
    /// How it is spoken to where its address says TLS. Without it, nothing is sent there.
    pub tls: Option<TlsClient>,
    /// How long it may take.
    pub patience: SendingPatience,
}

/// How long a peer may take that is sent to.
#[derive(Debug, Clone, Copy)]
pub struct SendingPatience {
    /// For the connection to each of its addresses.
    pub connecting: Duration,
    /// For the agreement on keys and on the association (the timer ARTIM of PS3.8 9.1.5).
    pub associating: Duration,
    /// For taking a data PDU.
    pub pdu: Duration,
    /// For the answer to an object: archives store it first.
    pub answer: Duration,
    /// How long an association is kept open for more objects.
    pub linger: Duration,
    /// For what is at work when we stop.
    pub stopping: Duration,
}

impl Default for SendingPatience {
    fn default() -> Self {
        Self {
            connecting: Duration::from_secs(10),
            associating: Duration::from_secs(30),
            pdu: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            linger: Duration::from_secs(1),
            stopping: Duration::from_secs(5),
        }
    }
}

/// The peer could not be spoken to. What was not answered was perhaps stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the peer's address cannot be found")]
    Unknown(#[source] io::Error),
    #[error("no connection to the peer")]
    Unreachable(#[source] io::Error),
    #[error("the peer is to be spoken to under TLS, and no authority for it was given")]
    NoTls,
    #[error("the peer refuses the association: {0}")]
    Rejected(Rejected),
    #[error("the peer has no room now (status {0:04X})")]
    NoRoom(u16),
    #[error("the peer aborted the association")]
    Aborted,
    #[error("the peer said what it may not say here")]
    Disorder,
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    /// The association has ended with it.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The association has ended with it, because half of it was sent.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
}

/// What was agreed on for objects of a class and an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// They are sent on this context.
    On(u8),
    /// The peer does not take them.
    Refused,
    /// Nothing was proposed.
    NotProposed,
}

/// A class and a transfer syntax.
pub(crate) type Kinds = BTreeSet<(Uid, Uid)>;

/// An association.
pub(crate) struct Requestor<'a> {
    peer: &'a DicomPeer,
    line: Line,
    proposed: BTreeMap<(Uid, Uid), Option<u8>>,
    /// The longest PDU body that the peer takes and we send.
    longest_pdu: u32,
    message: u16,
    bytes: Vec<u8>,
}

impl<'a> Requestor<'a> {
    /// Asks for an association on which objects of these kinds can be sent, at most [`MOST_CONTEXTS`].
    pub(crate) fn associate(
        peer: &'a DicomPeer,
        kinds: &Kinds,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Trouble> {
        let mut line = connect(peer, stop)?;
        let deadline = after(peer.patience.associating);
        line.secure(deadline)?;
        let ids = (1..=u8::MAX).step_by(2);
        let contexts: Vec<_> = ids.zip(kinds).map(|(id, (class, syntax))| (id, class, syntax)).collect();
        let request = pdu::associate_request(
            &peer.address.title,
            &peer.calling,
            APPLICATION_CONTEXT,
            &contexts,
            LONGEST_ANSWER,
            (IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION),
        );
        line.write(&request, deadline)?;
        let (kind, body) = read(&mut line, deadline, LONGEST_REQUEST)?;
        let acceptance = match kind {
            Kind::AssociateAccept => Acceptance::read(&body).ok_or(Trouble::Disorder)?,
            Kind::AssociateReject => {
                let rejected = Rejected::read(&body).ok_or(Trouble::Disorder)?;
                line.end(after(peer.patience.pdu.min(CLOSING)));
                return Err(Trouble::Rejected(rejected));
            }
            Kind::Abort => return Err(Trouble::Aborted),
            _ => return Err(Trouble::Disorder),
        };
        let accepted = |id: u8, syntax: &Uid| {
            // Only one syntax was proposed: a peer that names another one is not understood.
            let mut chosen = acceptance.contexts.iter().filter(|(accepted, _)| *accepted == id);
            chosen.next().is_some_and(|(_, chosen)| chosen == syntax).then_some(id)
        };
        let proposed = contexts
            .iter()
            .map(|(id, class, syntax)| (((*class).clone(), (*syntax).clone()), accepted(*id, syntax)))
            .collect();
        let longest_pdu = match acceptance.longest_pdu {
            0 => LONGEST_SENT,
            longest => longest.clamp(SHORTEST_PDU, LONGEST_SENT),
        };
        Ok(Self { peer, line, proposed, longest_pdu, message: 0, bytes: Vec::new() })
    }

    /// What was agreed on for objects of this kind.
    pub(crate) fn agreed(&self, kind: &(Uid, Uid)) -> Agreed {
        match self.proposed.get(kind) {
            None => Agreed::NotProposed,
            Some(None) => Agreed::Refused,
            Some(Some(context)) => Agreed::On(*context),
        }
    }

    /// Sends an object and returns the status of the answer. After an error there is no association any more.
    pub(crate) fn store(
        &mut self,
        context: u8,
        object: &mut Stored,
        digest: &Digest,
    ) -> Result<u16, NotStored> {
        self.message = self.message.wrapping_add(1);
        let set = command::store_request(self.message, &object.class, &object.instance);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.extend(pdu::command(context, &set, self.longest_pdu));
        // The length and the header of the value count towards the PDU's body. Pieces are of even length (PS3.8 annex E).
        let piece = usize::try_from(self.longest_pdu.saturating_sub(6) & !1).unwrap_or(0);
        let mut buffer = vec![0; piece];
        while object.left() > 0 {
            let count = match object.next(&mut buffer, digest) {
                Ok(count) => count,
                Err(unsendable) => {
                    self.abort();
                    return Err(unsendable.into());
                }
            };
            pdu::put_piece(&mut bytes, context, object.left() == 0, buffer.get(..count).unwrap_or_default());
            // Many short PDUs go together; so do the command and its first piece.
            if bytes.len() >= WRITTEN_TOGETHER || object.left() == 0 {
                let written = self.line.write(&bytes, after(self.peer.patience.pdu));
                bytes.clear();
                written.map_err(Trouble::from)?;
            }
        }
        self.bytes = bytes;
        Ok(self.answer(context)?)
    }

    /// The status of the answer to the last message.
    fn answer(&mut self, context: u8) -> Result<u16, Trouble> {
        let deadline = after(self.peer.patience.answer);
        let mut set = Vec::new();
        loop {
            let (kind, body) = read(&mut self.line, deadline, LONGEST_ANSWER)?;
            match kind {
                Kind::Data => {}
                Kind::Abort => return Err(Trouble::Aborted),
                _ => return Err(self.disorder()),
            }
            let mut values = Bytes(&body);
            while !values.is_empty() {
                let Some(value) = pdu::data_value(&mut values) else { return Err(self.disorder()) };
                let is_ours = value.context == context && value.part == Part::Command;
                if !is_ours || set.len().saturating_add(value.bytes.len()) > LONGEST_COMMAND {
                    return Err(self.disorder());
                }
                set.extend(value.bytes);
                if value.is_last {
                    let response = Response::read(&set).filter(|response| response.message == self.message);
                    return match response {
                        Some(response) if values.is_empty() => Ok(response.status),
                        _ => Err(self.disorder()),
                    };
                }
            }
        }
    }

    /// Ends the association in good order. Everything that was sent has been answered.
    pub(crate) fn release(mut self) {
        let deadline = after(CLOSING);
        if self.line.write(&pdu::release_request(), deadline).is_ok() {
            // A peer that does not answer is left all the same.
            let _ = read(&mut self.line, deadline, LONGEST_ANSWER);
            self.line.end(deadline);
        }
    }

    /// Ends the association in the middle of something. A peer that has left does not mind.
    pub(crate) fn abandon(mut self) {
        self.abort();
    }

    fn disorder(&mut self) -> Trouble {
        self.abort();
        Trouble::Disorder
    }

    fn abort(&mut self) {
        let _ = self.line.write(&Abort::Unspecified.pdu(), after(CLOSING));
    }
}

/// The shortest PDU body that a peer can mean that takes commands at all.
const SHORTEST_PDU: u32 = 64;
/// How long a peer may take for our last word.
const CLOSING: Duration = Duration::from_secs(5);
/// Bytes that are handed over to the system together.
const WRITTEN_TOGETHER: usize = 64 << 10;

fn connect(peer: &DicomPeer, stop: &Arc<AtomicBool>) -> Result<Line, Trouble> {
    let DicomAddress { host, port, encryption, .. } = &peer.address;
    let tls = match encryption {
        Encryption::Plain => None,
        Encryption::Tls => {
            let name = ServerName::try_from(host.clone()).map_err(|_| Trouble::NoTls)?;
            Some((peer.tls.as_ref().ok_or(Trouble::NoTls)?, name))
        }
    };
    let addresses = (host.as_str(), *port).to_socket_addrs().map_err(Trouble::Unknown)?;
    let mut failed = io::ErrorKind::NotFound.into();
    for address in addresses {
        match TcpStream::connect_timeout(&address, peer.patience.connecting) {
            Ok(stream) => {
                let line = Transport::connected(stream, tls)
                    .and_then(|transport| Line::new(transport, Arc::clone(stop), peer.patience.stopping));
                return line.map_err(Trouble::Unreachable);
            }
            Err(error) => failed = error,
        }
    }
    Err(Trouble::Unreachable(failed))
}

/// The next PDU, if it is not longer than this.
fn read(line: &mut Line, deadline: Instant, longest: u32) -> Result<(Kind, Vec<u8>), Trouble> {
    let mut header = [0; HEADER_BYTES];
    line.read(&mut header, deadline, Waiting::ForTheEnd)?;
    let header = Header::of(header);
    if header.length > longest {
        return Err(Trouble::Disorder);
    }
    let mut body = vec![0; usize::try_from(header.length).unwrap_or(0)];
    line.read(&mut body, deadline, Waiting::ForTheEnd)?;
    Ok((header.kind, body))
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}
