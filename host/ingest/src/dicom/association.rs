//! One association from its request to its end: reads what comes, asks the machines beside this file what it means, and
//! does it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::bytes::Bytes;
use super::command::{Operation, Request, Status};
use super::data_set::{self, HEAD};
use super::exchange::{Disorder, Exchange, Step};
use super::line::{Line, LineError, Waiting};
use super::names::AeTitle;
use super::negotiation::{self, Association, Context};
use super::part10;
use super::pdu::{self, Abort, AssociateRequest, HEADER_BYTES, Header, Kind, LONGEST_REQUEST, Rejection};
use super::room::Newcomer;
use super::settings::DicomSettings;
use super::syntaxes::{self, Service};
use crate::chain::Chain;
use crate::spool::{Incoming, Refused, Spool};

/// How an association ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("refused: {}", .0.word())]
    Refused(Rejection),
    #[error("it was closed in favour of newer connections before it asked for an association")]
    GaveWay,
    #[error("the peer aborted")]
    Aborted,
    #[error("a PDU that is not known")]
    UnknownPdu,
    #[error("a PDU where it does not belong")]
    UnexpectedPdu,
    #[error("a PDU of {0} bytes")]
    TooLong(u32),
    #[error("a PDU that cannot be read")]
    Malformed,
    #[error("a message on a context that was not accepted")]
    NoContext,
    #[error(transparent)]
    Disorder(#[from] Disorder),
    #[error(transparent)]
    Line(#[from] LineError),
}

impl Ended {
    /// The last word to the peer, if any.
    fn last_word(&self) -> Option<Vec<u8>> {
        let abort = match self {
            Self::Refused(rejection) => return Some(rejection.pdu()),
            Self::GaveWay | Self::Aborted | Self::Line(LineError::Closed | LineError::Failed(_)) => {
                return None;
            }
            Self::UnknownPdu => Abort::UnknownPdu,
            Self::UnexpectedPdu => Abort::UnexpectedPdu,
            Self::TooLong(_) | Self::Malformed | Self::NoContext | Self::Disorder(_) => {
                Abort::InvalidParameter
            }
            Self::Line(LineError::Late | LineError::Stopped) => Abort::Unspecified,
        };
        Some(abort.pdu())
    }
}

/// What an association came to.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    stored: u64,
    refused: u64,
}

/// The places that associations have: so many at once.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Places {
    pub(crate) fn of(most: NonZero<usize>) -> Self {
        Self { taken: Arc::default(), most: most.get() }
    }

    fn take(&self) -> Option<Place> {
        let one_more = |count: usize| (count < self.most).then(|| count.saturating_add(1));
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(Arc::clone(&self.taken)))
    }
}

/// One of so many.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection to its end.
pub(crate) fn serve(
    mut line: Line,
    newcomer: Newcomer,
    places: &Places,
    settings: &DicomSettings,
    spool: &Arc<Spool>,
) {
    let mut count = Count::default();
    // Both are held until the connection has ended.
    let (mut newcomer, mut place) = (Some(newcomer), None);
    let ended = associate(&mut line, places, settings).and_then(|(association, taken)| {
        place = Some(taken);
        // Whoever was closed a moment ago sees it at the next read.
        newcomer = None;
        line.write(&association.acceptance, after(settings.patience.pdu))?;
        let mut served = Served { line: &mut line, settings, spool, association, count: &mut count };
        served.messages()
    });
    let ended = ended.map_err(|error| match &newcomer {
        Some(newcomer) if newcomer.has_given_way() => Ended::GaveWay,
        _ => error,
    });
    let patience = &settings.patience;
    let last_word = match &ended {
        Ok(()) => Some(pdu::release_reply()),
        Err(ended) => ended.last_word(),
    };
    let Count { stored, refused } = count;
    match &ended {
        Ok(()) => tracing::info!(stored, refused, "an association was released"),
        // They end here when the door closes, and that is no trouble of theirs.
        Err(Ended::Line(LineError::Stopped)) => tracing::info!(stored, refused, "an association was ended"),
        Err(error) => tracing::warn!(stored, refused, why = %Chain(error), "an association ended badly"),
    }
    if let Some(last_word) = last_word
        && line.write(&last_word, after(patience.pdu)).is_ok()
    {
        line.end(after(patience.artim));
    }
    drop((newcomer, place));
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

fn request(line: &mut Line, deadline: Instant) -> Result<AssociateRequest, Ended> {
    let mut header = [0; HEADER_BYTES];
    line.read(&mut header, deadline, Waiting::ForMore)?;
    let header = Header::of(header);
    match header.kind {
        Kind::AssociateRequest if header.length > LONGEST_REQUEST => {
            return Err(Ended::TooLong(header.length));
        }
        Kind::AssociateRequest => {}
        Kind::Unknown => return Err(Ended::UnknownPdu),
        Kind::Abort => return Err(Ended::Aborted),
        _ => return Err(Ended::UnexpectedPdu),
    }
    let mut body = vec![0; usize::try_from(header.length).unwrap_or(0)];
    line.read(&mut body, deadline, Waiting::ForMore)?;
    AssociateRequest::read(&body).ok_or(Ended::Malformed)
}

/// Agrees on an association. The place is taken when nothing else stands against it.
fn associate(
    line: &mut Line,
    places: &Places,
    settings: &DicomSettings,
) -> Result<(Association, Place), Ended> {
    let deadline = after(settings.patience.artim);
    line.secure(deadline)?;
    let request = request(line, deadline)?;
    let association = negotiation::negotiate(&request, settings).map_err(|rejection| {
        // What a stranger sends as a title may be anything: not at a level that is kept.
        let [called, calling] = titles(&request);
        tracing::debug!(called, calling, "these were the titles of the association that is refused");
        Ended::Refused(rejection)
    })?;
    let place = places.take().ok_or(Ended::Refused(Rejection::TooManyAssociations))?;
    Ok((association, place))
}

fn titles(request: &AssociateRequest) -> [String; 2] {
    let (called, calling) = request.titles.split_at(16);
    let shown = |field| AeTitle::from_wire(field).map_or("?".to_owned(), |title| title.to_string());
    [shown(called), shown(calling)]
}

/// An association that was accepted.
struct Served<'a> {
    line: &'a mut Line,
    settings: &'a DicomSettings,
    spool: &'a Arc<Spool>,
    association: Association,
    count: &'a mut Count,
}

/// A request whose data set is coming.
struct Receiving {
    context: u8,
    request: Request,
    /// The object, or why it is not taken. The rest of a data set that is not taken is read and forgotten: the answer
    /// belongs behind it.
    object: Result<Incoming, Status>,
    /// The first bytes of the data set.
    head: Vec<u8>,
}

impl Served<'_> {
    /// Serves messages until the peer asks for release.
    fn messages(&mut self) -> Result<(), Ended> {
        let patience = self.settings.patience;
        let mut exchange = Exchange::default();
        let mut receiving = None;
        let mut deadline_of_message = None;
        let mut body = Vec::new();
        loop {
            let (deadline, waiting) = match deadline_of_message {
                None => (after(patience.idle), Waiting::ForMore),
                Some(deadline) => (after(patience.pdu).min(deadline), Waiting::ForTheEnd),
            };
            let mut header = [0; HEADER_BYTES];
            self.line.read(&mut header, deadline, waiting)?;
            let header = Header::of(header);
            match header.kind {
                Kind::Data => {}
                Kind::ReleaseRequest if deadline_of_message.is_none() => return Ok(()),
                Kind::Abort => return Err(Ended::Aborted),
                Kind::Unknown => return Err(Ended::UnknownPdu),
                _ => return Err(Ended::UnexpectedPdu),
            }
            if header.length > self.settings.longest_pdu.get() {
                return Err(Ended::TooLong(header.length));
            }
            let deadline = *deadline_of_message.get_or_insert(after(patience.message));
            body.resize(usize::try_from(header.length).unwrap_or(0), 0);
            self.line.read(&mut body, after(patience.pdu).min(deadline), Waiting::ForTheEnd)?;
            let mut values = Bytes(&body);
            while !values.is_empty() {
                let value = pdu::data_value(&mut values).ok_or(Ended::Malformed)?;
                match exchange.take(&value)? {
                    Step::Nothing => {}
                    Step::Request(context, request) => receiving = self.begin(context, request)?,
                    Step::Piece(bytes) => take(&mut receiving, bytes),
                    Step::LastPiece(bytes) => {
                        take(&mut receiving, bytes);
                        if let Some(received) = receiving.take() {
                            self.finish(received)?;
                        }
                    }
                }
            }
            if !exchange.is_open() {
                deadline_of_message = None;
            }
        }
    }

    /// Answers a request, or begins to receive its data set.
    fn begin(&mut self, context: u8, request: Request) -> Result<Option<Receiving>, Ended> {
        let negotiated = self.association.contexts.get(&context).ok_or(Ended::NoContext)?;
        let refused = judge(&request, negotiated);
        if request.has_data_set {
            let object = match refused {
                Some(status) => Err(status),
                None => open(self.spool, &request, negotiated),
            };
            return Ok(Some(Receiving { context, request, object, head: Vec::new() }));
        }
        match (refused, request.operation) {
            (_, Operation::Cancel) => {}
            (Some(status), _) => self.answer(context, &request, status)?,
            (None, Operation::Echo) => self.answer(context, &request, Status::Success)?,
            // A store without a data set.
            (None, _) => self.answer(context, &request, Status::CannotUnderstand)?,
        }
        Ok(None)
    }

    /// A data set is whole: makes the object durable, then says so.
    fn finish(&mut self, received: Receiving) -> Result<(), Ended> {
        let Receiving { context, request, object, head } = received;
        let negotiated = self.association.contexts.get(&context).ok_or(Ended::NoContext)?;
        let status = match object {
            Err(status) => status,
            Ok(incoming) => match identify(&request, negotiated, &head) {
                Some(status) => status,
                None => incoming.keep().map_or_else(|refused| status_of(&refused), |()| Status::Success),
            },
        };
        if request.operation == Operation::Store {
            match status {
                Status::Success => self.count.stored += 1,
                _ => {
                    self.count.refused += 1;
                    tracing::warn!(why = status.words(), "an object was refused");
                }
            }
        }
        self.answer(context, &request, status)
    }

    fn answer(&mut self, context: u8, request: &Request, status: Status) -> Result<(), Ended> {
        let answer = pdu::command(context, &request.response(status), self.association.longest_pdu);
        Ok(self.line.write(&answer, after(self.settings.patience.pdu))?)
    }
}

/// Why a request is refused before its data set is looked at.
fn judge(request: &Request, negotiated: &Context) -> Option<Status> {
    match (request.operation, negotiated.service) {
        (Operation::Echo, Service::Verification) | (Operation::Cancel, _) => None,
        (Operation::Store, Service::Storage) => match (request.class(), request.instance()) {
            (Some(class), _) if *class != negotiated.abstract_syntax => Some(Status::ClassNotSupported),
            (None, _) => Some(Status::ClassNotSupported),
            (_, None) => Some(Status::InvalidInstance),
            _ => None,
        },
        _ => Some(Status::UnrecognizedOperation),
    }
}

/// Begins the file of an object.
fn open(spool: &Arc<Spool>, request: &Request, negotiated: &Context) -> Result<Incoming, Status> {
    let (Operation::Store, Some(instance)) = (request.operation, request.instance()) else {
        return Err(Status::UnrecognizedOperation);
    };
    let begun = spool.receive().and_then(|mut incoming| {
        let head = part10::head(&negotiated.abstract_syntax, instance, &negotiated.transfer_syntax);
        incoming.write(&head).map(|()| incoming)
    });
    begun.map_err(|refused| status_of(&refused))
}

/// Takes a piece of a data set in.
fn take(receiving: &mut Option<Receiving>, bytes: &[u8]) {
    let Some(Receiving { object, head, .. }) = receiving else { return };
    let Ok(incoming) = object else { return };
    let wanted = HEAD.saturating_sub(head.len()).min(bytes.len());
    head.extend(bytes.get(..wanted).unwrap_or_default());
    if let Err(refused) = incoming.write(bytes) {
        *object = Err(status_of(&refused));
    }
}

/// Why the data set is not the object that the command announced.
fn identify(request: &Request, negotiated: &Context, head: &[u8]) -> Option<Status> {
    let Some(found) = data_set::identity(head, syntaxes::encoding(&negotiated.transfer_syntax)) else {
        return Some(Status::CannotUnderstand);
    };
    let is_announced = request.class() == Some(&found.class) && request.instance() == Some(&found.instance);
    (!is_announced).then_some(Status::DoesNotMatch)
}

fn status_of(refused: &Refused) -> Status {
    if let Refused::Disk(error) = refused {
        tracing::error!(%error, "the spool cannot be written");
    }
    if refused.is_lack_of_room() { Status::OutOfResources } else { Status::ProcessingFailure }
}
