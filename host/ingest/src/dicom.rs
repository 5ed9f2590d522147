//! DICOM objects over the network: C-ECHO and C-STORE as a service class provider, C-STORE as a service class user (PS3.4
//! annexes A and B, PS3.7, PS3.8).
//!
//! The protocol is decided in machines that know bytes alone, and carried out by threads that wait:
//!
//! | module | knows |
//! |---|---|
//! | `listener` | the port, and a thread for each connection |
//! | `room` | connections that have no association yet, and which of them gives way |
//! | `association` | one association: reads, asks the machines, writes, answers |
//! | `line` | a connection on which every wait has an end |
//! | `requestor`, `deliver` | an association that we ask for, and the objects of a queue on it |
//! | `address` | where a peer is found |
//! | `pdu`, `negotiation` | the upper layer: PDUs, and who may send what |
//! | `exchange`, `command` | messages put together from pieces, and what they ask for |
//! | `data_set`, `part10` | which object a data set is; the head of its file, written and read |
//! | `syntaxes`, `names`, `settings` | what is taken, from whom, how much of it |
//!
//! An object goes from the network to the disk PDU by PDU and is never whole in memory. It is answered with success when
//! it stands in the [`Spool`](crate::Spool) durably, and not before. Nothing that a peer says is made room for ahead of
//! its bytes; every wait has a deadline. Why `dicom-ul` is not used is told in `host/decisions/0007`.

mod address;
mod association;
mod bytes;
mod command;
mod data_set;
mod deliver;
mod exchange;
mod line;
mod listener;
mod names;
mod negotiation;
mod part10;
mod pdu;
mod requestor;
mod room;
mod settings;
mod syntaxes;

pub use address::{DicomAddress, DicomAddressError, Encryption};
pub use listener::{DicomListener, ListenError};
pub use names::{AeTitle, AeTitleError};
pub use part10::is_part10;
pub use requestor::{DicomPeer, SendingPatience};
pub use settings::{Callers, DicomSettings, Patience};

pub(crate) use deliver::deliver;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "tests write short values")]
mod tests;

#[cfg(test)]
mod sending_tests;
