//! Protocol data units of the DICOM upper layer (PS3.8 section 9.3): those of a peer read, ours written.
//!
//! Everything here is a function of bytes. Whoever reads from the network looks at [`Header`] first and decides by it
//! whether to take the rest at all: nothing is made room for because a peer says so.

use std::fmt;

use super::bytes::Bytes;
use super::names::{AeTitle, Uid};

/// Bytes ahead of a PDU's body.
pub(crate) const HEADER_BYTES: usize = 6;
/// Bytes of an association's request at most. 128 contexts with 40 transfer syntaxes each come to some 150 KB.
pub(crate) const LONGEST_REQUEST: u32 = 256 << 10;
/// Presentation contexts of a request at most: their ids are the odd numbers of one byte.
const MOST_CONTEXTS: usize = 128;
/// Transfer syntaxes of a context at most; there are some sixty.
const MOST_SYNTAXES: usize = 256;

/// What a PDU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    AssociateRequest,
    AssociateAccept,
    AssociateReject,
    Data,
    ReleaseRequest,
    ReleaseReply,
    Abort,
    Unknown,
}

/// What stands ahead of a PDU's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) length: u32,
}

impl Header {
    pub(crate) fn of([kind, _reserved, length @ ..]: [u8; HEADER_BYTES]) -> Self {
        let kind = match kind {
            1 => Kind::AssociateRequest,
            2 => Kind::AssociateAccept,
            3 => Kind::AssociateReject,
            4 => Kind::Data,
            5 => Kind::ReleaseRequest,
            6 => Kind::ReleaseReply,
            7 => Kind::Abort,
            _ => Kind::Unknown,
        };
        Self { kind, length: u32::from_be_bytes(length) }
    }
}

/// A peer asks for an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssociateRequest {
    pub(crate) protocol_version: u16,
    /// Called and calling title, 16 bytes each. They go back as they came.
    pub(crate) titles: [u8; 32],
    pub(crate) application_context: Vec<u8>,
    pub(crate) contexts: Vec<Proposed>,
    /// The longest PDU body that the peer takes; 0 is any.
    pub(crate) longest_pdu: u32,
}

/// A presentation context that a peer proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) id: u8,
    /// None where it is no UID.
    pub(crate) abstract_syntax: Option<Uid>,
    /// Those that are UIDs.
    pub(crate) transfer_syntaxes: Vec<Uid>,
}

impl AssociateRequest {
    /// Reads the body of a request. None where it is malformed.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut body = Bytes(body);
        let protocol_version = body.big_u16()?;
        body.big_u16()?;
        let titles = body.array()?;
        body.take(32)?;
        let mut request = Self {
            protocol_version,
            titles,
            application_context: Vec::new(),
            contexts: Vec::new(),
            longest_pdu: 0,
        };
        while !body.is_empty() {
            let (kind, item) = item(&mut body)?;
            match kind {
                0x10 => request.application_context = item.0.to_vec(),
                0x20 if request.contexts.len() < MOST_CONTEXTS => request.contexts.push(proposed(item)?),
                0x20 => return None,
                0x50 => request.longest_pdu = longest_pdu(item)?,
                // PS3.8 9.3.1: items that are not known are passed over.
                _ => {}
            }
        }
        Some(request)
    }
}

fn item<'a>(bytes: &mut Bytes<'a>) -> Option<(u8, Bytes<'a>)> {
    let kind = bytes.byte()?;
    bytes.byte()?;
    let length = bytes.big_u16()?;
    Some((kind, Bytes(bytes.take(length.into())?)))
}

fn proposed(mut item: Bytes<'_>) -> Option<Proposed> {
    let id = item.byte()?;
    item.take(3)?;
    let mut proposed = Proposed { id, abstract_syntax: None, transfer_syntaxes: Vec::new() };
    while !item.is_empty() {
        let (kind, value) = self::item(&mut item)?;
        match kind {
            0x30 => proposed.abstract_syntax = Uid::from_wire(value.0),
            0x40 if proposed.transfer_syntaxes.len() < MOST_SYNTAXES => {
                proposed.transfer_syntaxes.extend(Uid::from_wire(value.0));
            }
            _ => {}
        }
    }
    Some(proposed)
}

/// Of the user information only the length counts: the roles and the single operation at a time that go without
/// saying are what is served here, and whoever asks for more is told nothing, which means no.
fn longest_pdu(mut item: Bytes<'_>) -> Option<u32> {
    let mut longest = 0;
    while !item.is_empty() {
        let (kind, mut value) = self::item(&mut item)?;
        if kind == 0x51 {
            longest = value.big_u32()?;
        }
    }
    Some(longest)
}

/// A presentation data value: a piece of a command or of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataValue<'a> {
    pub(crate) context: u8,
    pub(crate) part: Part,
    pub(crate) is_last: bool,
    pub(crate) bytes: &'a [u8],
}

/// What a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Command,
    DataSet,
}

/// Takes the next value off a data PDU's body. None where it is malformed.
pub(crate) fn data_value<'a>(body: &mut Bytes<'a>) -> Option<DataValue<'a>> {
    let length = usize::try_from(body.big_u32()?).ok()?;
    let mut value = Bytes(body.take(length)?);
    let context = value.byte()?;
    let header = value.byte()?;
    let part = if header & 1 == 1 { Part::Command } else { Part::DataSet };
    Some(DataValue { context, part, is_last: header & 2 == 2, bytes: value.0 })
}

/// Why an association is refused (PS3.8 table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    ProtocolVersion,
    ApplicationContext,
    CalledTitle,
    CallingTitle,
    TooManyAssociations,
}

impl Rejection {
    /// Result, source and reason.
    const fn bytes(self) -> [u8; 3] {
        match self {
            Self::ProtocolVersion => [1, 2, 2],
            Self::ApplicationContext => [1, 1, 2],
            Self::CalledTitle => [1, 1, 7],
            Self::CallingTitle => [1, 1, 3],
            Self::TooManyAssociations => [2, 3, 2],
        }
    }

    /// A word for the log.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::ProtocolVersion => "protocol version",
            Self::ApplicationContext => "application context",
            Self::CalledTitle => "called AE title",
            Self::CallingTitle => "calling AE title",
            Self::TooManyAssociations => "too many associations",
        }
    }

    pub(crate) fn pdu(self) -> Vec<u8> {
        let [result, source, reason] = self.bytes();
        pdu(3, &[0, result, source, reason])
    }
}

/// Why an association is broken off by us (PS3.8 table 9-26, source: service provider).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    Unspecified,
    UnknownPdu,
    UnexpectedPdu,
    InvalidParameter,
}

impl Abort {
    pub(crate) fn pdu(self) -> Vec<u8> {
        let reason = match self {
            Self::Unspecified => 0,
            Self::UnknownPdu => 1,
            Self::UnexpectedPdu => 2,
            Self::InvalidParameter => 6,
        };
        pdu(7, &[0, 0, 2, reason])
    }
}

/// The answer to a request for release.
pub(crate) fn release_reply() -> Vec<u8> {
    pdu(6, &[0; 4])
}

/// What becomes of a proposed context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted(Uid),
    AbstractSyntax,
    TransferSyntaxes,
}

/// The acceptance of an association.
pub(crate) fn associate_accept(
    titles: &[u8; 32],
    application_context: &[u8],
    verdicts: &[(u8, Verdict)],
    longest_pdu: u32,
    implementation: (&str, &str),
) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(titles);
    body.extend([0; 32]);
    put_item(&mut body, 0x10, application_context);
    for (id, verdict) in verdicts {
        let (result, syntax) = match verdict {
            Verdict::Accepted(syntax) => (0, syntax.as_str()),
            Verdict::AbstractSyntax => (3, ""),
            Verdict::TransferSyntaxes => (4, ""),
        };
        let mut item = vec![*id, 0, result, 0];
        // It has to be there and is not looked at where the context is refused (PS3.8 table 9-18).
        put_item(&mut item, 0x40, syntax.as_bytes());
        put_item(&mut body, 0x21, &item);
    }
    put_user_information(&mut body, longest_pdu, implementation);
    pdu(2, &body)
}

fn put_user_information(body: &mut Vec<u8>, longest_pdu: u32, implementation: (&str, &str)) {
    let mut user = Vec::new();
    put_item(&mut user, 0x51, &longest_pdu.to_be_bytes());
    put_item(&mut user, 0x52, implementation.0.as_bytes());
    put_item(&mut user, 0x55, implementation.1.as_bytes());
    put_item(body, 0x50, &user);
}

/// A request of ours for an association: each context is an id, a class and one transfer syntax.
pub(crate) fn associate_request(
    called: &AeTitle,
    calling: &AeTitle,
    application_context: &[u8],
    contexts: &[(u8, &Uid, &Uid)],
    longest_pdu: u32,
    implementation: (&str, &str),
) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{called:16}{calling:16}").bytes());
    body.extend([0; 32]);
    put_item(&mut body, 0x10, application_context);
    for (id, class, syntax) in contexts {
        let mut item = vec![*id, 0, 0, 0];
        put_item(&mut item, 0x30, class.as_str().as_bytes());
        put_item(&mut item, 0x40, syntax.as_str().as_bytes());
        put_item(&mut body, 0x20, &item);
    }
    put_user_information(&mut body, longest_pdu, implementation);
    pdu(1, &body)
}

/// A peer has accepted an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acceptance {
    /// The ids of the contexts that were accepted, each with the transfer syntax that the peer has chosen.
    pub(crate) contexts: Vec<(u8, Uid)>,
    /// The longest PDU body that the peer takes; 0 is any.
    pub(crate) longest_pdu: u32,
}

impl Acceptance {
    /// Reads the body of an acceptance. None where it is malformed.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut body = Bytes(body);
        // Version and titles, which are not looked at (PS3.8 table 9-17).
        body.take(2 + 2 + 32 + 32)?;
        let mut acceptance = Self { contexts: Vec::new(), longest_pdu: 0 };
        while !body.is_empty() {
            let (kind, mut item) = item(&mut body)?;
            match kind {
                0x21 if acceptance.contexts.len() < MOST_CONTEXTS => {
                    let [id, _, result, _] = item.array()?;
                    if result != 0 {
                        continue;
                    }
                    let (kind, syntax) = self::item(&mut item)?;
                    let syntax = (kind == 0x40).then(|| Uid::from_wire(syntax.0)).flatten()?;
                    acceptance.contexts.push((id, syntax));
                }
                0x21 => return None,
                0x50 => acceptance.longest_pdu = longest_pdu(item)?,
                _ => {}
            }
        }
        Some(acceptance)
    }
}

/// Why a peer refuses an association: result, source and reason (PS3.8 table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejected(pub(crate) [u8; 3]);

impl Rejected {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut body = Bytes(body);
        body.byte()?;
        body.array().map(Self)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [result, source, reason] = self.0;
        let words = match (source, reason) {
            (1, 2) => "application context not supported",
            (1, 3) => "calling AE title not recognized",
            (1, 7) => "called AE title not recognized",
            (2, 2) => "protocol version not supported",
            (3, 1) => "temporary congestion",
            (3, 2) => "local limit exceeded",
            _ => "no reason given",
        };
        let lasting = if result == 2 { "for now" } else { "for good" };
        write!(f, "{words}, {lasting} ({result}, {source}, {reason})")
    }
}

/// Asks for the end of an association.
pub(crate) fn release_request() -> Vec<u8> {
    pdu(5, &[0; 4])
}

/// Appends a piece of a data set in a data PDU of its own.
pub(crate) fn put_piece(bytes: &mut Vec<u8>, context: u8, is_last: bool, piece: &[u8]) {
    let value = u32::try_from(piece.len()).unwrap_or(u32::MAX).saturating_add(2);
    bytes.extend([4, 0]);
    bytes.extend(value.saturating_add(4).to_be_bytes());
    bytes.extend(value.to_be_bytes());
    bytes.extend([context, if is_last { 2 } else { 0 }]);
    bytes.extend(piece);
}

/// A command set in data PDUs that the peer takes.
pub(crate) fn command(context: u8, set: &[u8], longest_pdu: u32) -> Vec<u8> {
    // A peer that takes less than this takes no command at all.
    let longest = if longest_pdu == 0 { u32::MAX } else { longest_pdu.max(64) };
    let piece = usize::try_from(longest).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES);
    let pieces = set.chunks(piece);
    let last = pieces.len().saturating_sub(1);
    let mut bytes = Vec::new();
    for (index, piece) in pieces.enumerate() {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).saturating_add(2);
        let mut body = length.to_be_bytes().to_vec();
        body.extend([context, if index == last { 3 } else { 1 }]);
        body.extend(piece);
        bytes.extend(pdu(4, &body));
    }
    bytes
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0];
    // What we write is far below: an acceptance has at most 128 contexts.
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn put_item(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    bytes.extend([kind, 0]);
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(value);
}
