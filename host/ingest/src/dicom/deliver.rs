//! Objects of a queue on an association: which of them, in which order, and what becomes of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::names::Uid;
use super::part10::{Stored, Unsendable};
use super::requestor::{Agreed, DicomPeer, Kinds, MOST_CONTEXTS, NotStored, Requestor, Trouble};
use crate::chain::Chain;
use crate::queue::{Item, Kept, Queue};
use crate::send::{Retry, Turn};

/// Objects that are looked at for what to propose.
const LOOKED_AT: usize = 64;

/// What an answer to C-STORE comes to (PS3.4 table B.2-1, PS3.7 annex C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is stored; with a warning, perhaps in a changed form.
    Stored,
    /// There is no room now, or the peer failed at it: its database or disk may be back the next time.
    Later,
    /// It is not stored, and will not be the next time.
    Refused,
}

impl Verdict {
    const fn of(status: u16) -> Self {
        match status {
            // Success, and the warnings of DIMSE and of storage: coercion of elements, elements discarded, and the like.
            0x0000 | 0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => Self::Stored,
            0xA700..=0xA7FF | 0x0110 | 0x0213 => Self::Later,
            _ => Self::Refused,
        }
    }
}

/// Sends what may be tried now, on one association. Whatever is sent is settled in the queue when it is answered.
pub(crate) fn deliver(queue: &Queue, peer: &DicomPeer, retry: &Retry, stop: &Arc<AtomicBool>) -> Turn {
    let mut delivered = 0;
    let trouble = associate(queue, peer, retry, stop, &mut delivered).err();
    Turn { delivered, trouble: trouble.map(|trouble| Chain(&trouble).to_string()) }
}

fn associate(
    queue: &Queue,
    peer: &DicomPeer,
    retry: &Retry,
    stop: &Arc<AtomicBool>,
    delivered: &mut u64,
) -> Result<(), Trouble> {
    let kinds = kinds(queue);
    if kinds.is_empty() {
        return Ok(());
    }
    let mut requestor = Requestor::associate(peer, &kinds, stop)?;
    while !stop.load(Ordering::Relaxed) && !queue.is_closed() {
        let Some(item) = queue.due(1).pop() else {
            if queue.wait(peer.patience.linger) {
                continue;
            }
            break;
        };
        let Some(mut object) = opened(queue, &item) else { continue };
        let context = match requestor.agreed(&kind(&object)) {
            Agreed::On(context) => context,
            Agreed::Refused => {
                queue.keep(&item, Kept::NotAccepted);
                continue;
            }
            // Another association proposes it.
            Agreed::NotProposed => break,
        };
        let in_hand = InHand { queue, item: &item, wait: retry.wait(item.attempts.saturating_add(1)) };
        let answer = requestor.store(context, &mut object, &item.digest);
        drop(in_hand);
        match answer {
            Ok(status) => match Verdict::of(status) {
                Verdict::Stored => {
                    if status != 0 {
                        tracing::info!(object = item.number, status = %Status(status), "an object is stored with a warning");
                    }
                    queue.delivered(&item);
                    *delivered += 1;
                }
                Verdict::Later => {
                    queue.later(&item, retry.wait(item.attempts.saturating_add(1)));
                    requestor.release();
                    return Err(Trouble::NoRoom(status));
                }
                Verdict::Refused => {
                    tracing::warn!(object = item.number, status = %Status(status), "the peer refuses an object");
                    queue.keep(&item, Kept::Refused(status));
                }
            },
            Err(NotStored::Trouble(trouble)) => {
                // Should it be this object that the peer cannot stand, others get their turn before it.
                queue.later(&item, retry.wait(item.attempts.saturating_add(1)));
                requestor.abandon();
                return Err(trouble);
            }
            Err(NotStored::Unsendable(why)) => {
                set_aside(queue, &item, &why);
                return Ok(());
            }
        }
    }
    requestor.release();
    Ok(())
}

/// An object that is being sent. Should that end in a panic, others get their turn before it.
struct InHand<'a> {
    queue: &'a Queue,
    item: &'a Item,
    wait: Duration,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.later(self.item, self.wait);
        }
    }
}

/// The kinds of the objects that are sent next. What cannot be sent at all is set aside.
fn kinds(queue: &Queue) -> Kinds {
    let mut kinds = Kinds::new();
    for item in queue.due(LOOKED_AT) {
        if kinds.len() < MOST_CONTEXTS
            && let Some(object) = opened(queue, &item)
        {
            kinds.insert(kind(&object));
        }
    }
    kinds
}

fn kind(object: &Stored) -> (Uid, Uid) {
    (object.class.clone(), object.transfer_syntax.clone())
}

fn opened(queue: &Queue, item: &Item) -> Option<Stored> {
    Stored::open(&item.path, item.length).map_err(|why| set_aside(queue, item, &why)).ok()
}

fn set_aside(queue: &Queue, item: &Item, why: &Unsendable) {
    match why {
        Unsendable::NotDicom => queue.keep(item, Kept::NotSendable),
        Unsendable::Changed => queue.keep(item, Kept::Changed),
        Unsendable::Disk(_) => {
            tracing::error!(object = item.number, why = %Chain(why), "what is to be delivered cannot be read");
            queue.unreadable(item);
        }
    }
}

/// A status as the standard writes it.
pub(crate) struct Status(pub(crate) u16);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}
