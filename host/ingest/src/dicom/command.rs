//! Command sets (PS3.7 annex E): requests of a peer read and answered, our own written and their answers read.

use super::bytes::Bytes;
use super::names::Uid;

/// Bytes of a command set at most; one of C-STORE has some 250.
pub(crate) const LONGEST_COMMAND: usize = 16 << 10;

const STORE: u16 = 0x0001;
const ECHO: u16 = 0x0030;
const CANCEL: u16 = 0x0FFF;
/// Set in the command field of responses.
const RESPONSE: u16 = 0x8000;
/// The value of Command Data Set Type that says that no data set follows.
const NO_DATA_SET: u16 = 0x0101;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Command field as it came.
    field: u16,
    message: u16,
    pub(crate) operation: Operation,
    pub(crate) has_data_set: bool,
    class: Option<Uid>,
    instance: Option<Uid>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Store,
    Echo,
    /// Cancels what is not served here, so there is nothing to do and to answer.
    Cancel,
    /// An operation that is not served.
    Other,
}

/// How a request ended (PS3.7 annex C, PS3.4 B.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    /// The spool is full, or the object larger than any that is taken.
    OutOfResources,
    /// The data set is of another class or instance than the command says.
    DoesNotMatch,
    /// The data set cannot be read as far as class and instance.
    CannotUnderstand,
    /// This device failed.
    ProcessingFailure,
    /// The class is not that of the presentation context.
    ClassNotSupported,
    /// The instance's UID is none.
    InvalidInstance,
    UnrecognizedOperation,
}

impl Status {
    const fn number(self) -> u16 {
        match self {
            Self::Success => 0x0000,
            Self::OutOfResources => 0xA700,
            Self::DoesNotMatch => 0xA900,
            Self::CannotUnderstand => 0xC000,
            Self::ProcessingFailure => 0x0110,
            Self::ClassNotSupported => 0x0122,
            Self::InvalidInstance => 0x0117,
            Self::UnrecognizedOperation => 0x0211,
        }
    }

    /// What the sender's log will show, at most 64 characters.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Success => "",
            Self::OutOfResources => "no room for this object now",
            Self::DoesNotMatch => "the data set is of another class or instance than the command",
            Self::CannotUnderstand => "the data set cannot be read",
            Self::ProcessingFailure => "the object could not be stored",
            Self::ClassNotSupported => "the class is not that of the context",
            Self::InvalidInstance => "the instance UID is none",
            Self::UnrecognizedOperation => "only C-ECHO and C-STORE are served",
        }
    }
}

impl Request {
    /// Reads a command set. None where it is malformed or no request.
    pub(crate) fn read(set: &[u8]) -> Option<Self> {
        let (mut field, mut message, mut data_set) = (None, None, None);
        let (mut class, mut instance) = (None, None);
        let mut set = Bytes(set);
        while !set.is_empty() {
            let (group, element) = (set.little_u16()?, set.little_u16()?);
            let length = usize::try_from(set.little_u32()?).ok()?;
            let mut value = Bytes(set.take(length)?);
            if group != 0 {
                return None;
            }
            match element {
                0x0002 => class = Uid::from_wire(value.0),
                0x0100 => field = Some(value.little_u16()?),
                0x0110 => message = Some(value.little_u16()?),
                0x0800 => data_set = Some(value.little_u16()?),
                0x1000 => instance = Uid::from_wire(value.0),
                _ => {}
            }
        }
        let (field, has_data_set) = (field?, data_set? != NO_DATA_SET);
        if field & RESPONSE != 0 {
            return None;
        }
        let operation = match field {
            STORE => Operation::Store,
            ECHO => Operation::Echo,
            CANCEL => Operation::Cancel,
            _ => Operation::Other,
        };
        // A cancellation names the message that it cancels elsewhere.
        let message = if operation == Operation::Cancel { 0 } else { message? };
        Some(Self { field, message, operation, has_data_set, class, instance })
    }

    /// The class that is asked about.
    pub(crate) fn class(&self) -> Option<&Uid> {
        self.class.as_ref()
    }

    /// The instance that is sent.
    pub(crate) fn instance(&self) -> Option<&Uid> {
        self.instance.as_ref()
    }

    /// The command set of the response.
    pub(crate) fn response(&self, status: Status) -> Vec<u8> {
        let mut elements = Vec::new();
        if let Some(class) = &self.class {
            put_text(&mut elements, 0x0002, class.as_str(), 0);
        }
        put(&mut elements, 0x0100, &(self.field | RESPONSE).to_le_bytes());
        put(&mut elements, 0x0120, &self.message.to_le_bytes());
        put(&mut elements, 0x0800, &NO_DATA_SET.to_le_bytes());
        put(&mut elements, 0x0900, &status.number().to_le_bytes());
        if !status.words().is_empty() {
            put_text(&mut elements, 0x0902, status.words(), b' ');
        }
        if let Some(instance) = self.instance.as_ref().filter(|_| self.operation == Operation::Store) {
            put_text(&mut elements, 0x1000, instance.as_str(), 0);
        }
        with_length(&elements)
    }
}

/// The command set that announces an object (PS3.7 9.3.1.1), of medium priority.
pub(crate) fn store_request(message: u16, class: &Uid, instance: &Uid) -> Vec<u8> {
    let mut elements = Vec::new();
    put_text(&mut elements, 0x0002, class.as_str(), 0);
    put(&mut elements, 0x0100, &STORE.to_le_bytes());
    put(&mut elements, 0x0110, &message.to_le_bytes());
    put(&mut elements, 0x0700, &[0, 0]);
    put(&mut elements, 0x0800, &[0, 0]);
    put_text(&mut elements, 0x1000, instance.as_str(), 0);
    with_length(&elements)
}

/// A response to C-STORE. Of its words nothing is kept: a peer may put anything there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) message: u16,
    pub(crate) status: u16,
}

impl Response {
    /// Reads a command set. None where it is malformed, no response to C-STORE, or says that a data set follows.
    pub(crate) fn read(set: &[u8]) -> Option<Self> {
        let (mut field, mut message, mut data_set, mut status) = (None, None, None, None);
        let mut set = Bytes(set);
        while !set.is_empty() {
            let (group, element) = (set.little_u16()?, set.little_u16()?);
            let length = usize::try_from(set.little_u32()?).ok()?;
            let mut value = Bytes(set.take(length)?);
            if group != 0 {
                return None;
            }
            match element {
                0x0100 => field = Some(value.little_u16()?),
                0x0120 => message = Some(value.little_u16()?),
                0x0800 => data_set = Some(value.little_u16()?),
                0x0900 => status = Some(value.little_u16()?),
                _ => {}
            }
        }
        let is_response = field? == STORE | RESPONSE && data_set? == NO_DATA_SET;
        is_response.then_some(Self { message: message?, status: status? })
    }
}

fn with_length(elements: &[u8]) -> Vec<u8> {
    let mut set = Vec::new();
    put(&mut set, 0x0000, &u32::try_from(elements.len()).unwrap_or(u32::MAX).to_le_bytes());
    set.extend(elements);
    set
}

fn put_text(set: &mut Vec<u8>, element: u16, text: &str, padding: u8) {
    let mut value = text.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(padding);
    }
    put(set, element, &value);
}

fn put(set: &mut Vec<u8>, element: u16, value: &[u8]) {
    set.extend([0, 0]);
    set.extend(element.to_le_bytes());
    set.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    set.extend(value);
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "tests write short values")]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn set(elements: &[(u16, &[u8])]) -> Vec<u8> {
        let mut set = Vec::new();
        elements.iter().for_each(|(element, value)| put(&mut set, *element, value));
        set
    }

    pub(crate) fn store(class: &str, instance: &str) -> Vec<u8> {
        set(&[
            (0x0002, class.as_bytes()),
            (0x0100, &[1, 0]),
            (0x0110, &[7, 0]),
            (0x0700, &[0, 0]),
            (0x0800, &[0, 0]),
            (0x1000, instance.as_bytes()),
        ])
    }

    #[test]
    fn a_request_of_ours_is_read_as_it_was_meant_and_answered_as_it_is_understood() {
        let uid = |text: &str| Uid::from_wire(text.as_bytes()).unwrap();
        let sent = store_request(7, &uid("1.2.840.10008.5.1.4.1.1.2"), &uid("1.2.3"));
        let request = Request::read(&sent).unwrap();
        assert_eq!((request.operation, request.has_data_set), (Operation::Store, true));
        assert_eq!(request.instance().unwrap().as_str(), "1.2.3");
        for status in [Status::Success, Status::OutOfResources] {
            let response = Response::read(&request.response(status));
            assert_eq!(response, Some(Response { message: 7, status: status.number() }));
        }
        // A request, an answer to something else, one with a data set, one without a status.
        let elements: [(u16, &[u8]); 4] =
            [(0x0100, &[1, 0x80]), (0x0120, &[7, 0]), (0x0800, &[1, 1]), (0x0900, &[0, 0xA7])];
        assert_eq!(Response::read(&set(&elements)), Some(Response { message: 7, status: 0xA700 }));
        for (at, value) in [(0, &[1, 0]), (0, &[0x30, 0x80]), (2, &[0, 0])] {
            let mut changed = elements;
            changed.get_mut(at).unwrap().1 = value;
            assert_eq!(Response::read(&set(&changed)), None);
        }
        assert_eq!(Response::read(&set(elements.get(..3).unwrap())), None);
        assert_eq!(Response::read(&sent), None);
    }

    #[test]
    fn a_store_request_is_read_and_its_response_names_what_it_answers() {
        let request = Request::read(&store("1.2.840.10008.5.1.4.1.1.2\0", "1.2.3")).unwrap();
        assert_eq!((request.operation, request.has_data_set), (Operation::Store, true));
        assert_eq!(request.instance().unwrap().as_str(), "1.2.3");
        let response = request.response(Status::OutOfResources);
        let words = "no room for this object now ";
        let expected = set(&[
            (0x0002, b"1.2.840.10008.5.1.4.1.1.2\0"),
            (0x0100, &[1, 0x80]),
            (0x0120, &[7, 0]),
            (0x0800, &[1, 1]),
            (0x0900, &[0, 0xA7]),
            (0x0902, words.as_bytes()),
            (0x1000, b"1.2.3\0"),
        ]);
        assert_eq!(response.get(..12).unwrap(), set(&[(0, &(expected.len() as u32).to_le_bytes())]));
        assert_eq!(response.get(12..).unwrap(), expected);
    }

    #[test]
    fn command_sets_that_lack_something_or_contradict_themselves_are_refused() {
        let whole = store("1.2", "1.2.3");
        assert!(Request::read(&whole).is_some());
        for cut in 0..whole.len() {
            // Whole but for elements at the end: the instance may be missing, and is answered with a status.
            let read = Request::read(whole.get(..cut).unwrap());
            assert!(read.is_none_or(|request| request.instance().is_none()), "cut at {cut}");
        }
        // A response, another group, no message id.
        assert!(Request::read(&set(&[(0x0100, &[1, 0x80]), (0x0110, &[1, 0]), (0x0800, &[1, 1])])).is_none());
        assert!(Request::read(&[8, 0, 0x16, 0, 0, 0, 0, 0]).is_none());
        assert!(Request::read(&set(&[(0x0100, &[0x30, 0]), (0x0800, &[1, 1])])).is_none());
    }

    #[test]
    fn comments_fit_their_element() {
        for status in [
            Status::OutOfResources,
            Status::DoesNotMatch,
            Status::CannotUnderstand,
            Status::ProcessingFailure,
            Status::ClassNotSupported,
            Status::InvalidInstance,
            Status::UnrecognizedOperation,
        ] {
            assert!((1..=64).contains(&status.words().len()), "{status:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_peer_sends_as_a_command_never_panics_and_its_answer_is_well_formed(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0_usize..80,
        ) {
            let mut changed = store("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4");
            changed.splice(at..at, bytes.iter().copied().take(4));
            for set in [bytes, changed] {
                let _ = Response::read(&set);
                if let Some(request) = Request::read(&set) {
                    let response = request.response(Status::Success);
                    prop_assert!(response.len() < 512 && response.len() % 2 == 0);
                }
            }
        }
    }
}
