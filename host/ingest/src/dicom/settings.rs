//! What an operator decides about the door, with defaults that are safe and reasons for them.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

use super::names::AeTitle;
use crate::tls::TlsServer;

/// Our Implementation Class UID: `2.25.` and a random UUID of ours.
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.250388515439336144276009471693657243952";
/// Our Implementation Version Name, at most 16 characters.
pub(crate) const IMPLEMENTATION_VERSION: &str = "MARTELLO_DOOR_1";

/// How objects are received.
#[derive(Debug, Clone)]
pub struct DicomSettings {
    /// The title that peers must call.
    pub title: AeTitle,
    /// Who may call.
    pub callers: Callers,
    /// Associations that are open at once; more are refused until one ends. Connections that have none yet do not count:
    /// there are 64 of them at most, and the oldest gives way.
    pub associations: NonZero<usize>,
    /// Whether peers have to speak TLS, and how. A peer that does not is hung up on.
    pub tls: Option<TlsServer>,
    /// The longest body of a data PDU, in bytes; a longer one breaks the association off. An association holds one PDU
    /// in memory and no more of an object.
    pub longest_pdu: NonZero<u32>,
    /// How long peers may take.
    pub patience: Patience,
}

/// Who may call. A title proves nothing, for anyone can send any: it keeps misrouted objects out, not attackers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callers {
    /// Whoever gives a title that is well formed.
    Any,
    /// These.
    Listed(BTreeSet<AeTitle>),
}

/// How long peers may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the connection to the whole request for an association, with the agreement on keys, and from our last word to the end of the connection
    /// (the timer ARTIM of PS3.8 9.1.5).
    pub artim: Duration,
    /// Between two messages: modalities keep an association open while they acquire.
    pub idle: Duration,
    /// For the whole of a PDU that has begun, for the next one within a message, and for taking an answer.
    pub pdu: Duration,
    /// For the whole of a message with its data set: else a byte in each PDU would hold a place for days.
    pub message: Duration,
    /// For what is at work when the door closes.
    pub stopping: Duration,
}

impl DicomSettings {
    /// The defaults for a device of this title. Nobody may call before somebody is listed.
    pub fn new(title: AeTitle) -> Self {
        Self {
            title,
            callers: Callers::Listed(BTreeSet::new()),
            associations: NonZero::new(16).unwrap_or(NonZero::<usize>::MIN),
            tls: None,
            // What dcmtk takes at most; larger ones gain nothing that could be measured.
            longest_pdu: NonZero::new(128 << 10).unwrap_or(NonZero::<u32>::MIN),
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            artim: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            pdu: Duration::from_secs(30),
            message: Duration::from_secs(15 * 60),
            stopping: Duration::from_secs(5),
        }
    }
}
