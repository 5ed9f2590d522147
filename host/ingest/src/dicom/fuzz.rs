//! What the fuzz target calls: everything that reads bytes of a peer, without a network.

use super::bytes::Bytes;
use super::command::{Response, Status};
use super::exchange::{Exchange, Step};
use super::negotiation;
use super::pdu::{self, Acceptance, AssociateRequest, Rejected};
use super::settings::{Callers, DicomSettings};
use super::syntaxes::Encoding;
use super::{AeTitle, data_set};

/// Reads the bytes as a request for an association, as data PDUs, and as the head of a data set. What is agreed on can be
/// told apart, and every request has an answer that a peer can read.
///
/// # Panics
/// Where that does not hold.
pub fn fuzz_dimse(bytes: &[u8]) {
    if let Some(request) = AssociateRequest::read(bytes)
        && let Some(title) = request.titles.get(..16).and_then(AeTitle::from_wire)
    {
        let settings = DicomSettings { callers: Callers::Any, ..DicomSettings::new(title) };
        if let Ok(association) = negotiation::negotiate(&request, &settings) {
            assert!(association.contexts.keys().all(|id| id % 2 == 1));
        }
    }
    let mut exchange = Exchange::default();
    let mut values = Bytes(bytes);
    while let Some(value) = pdu::data_value(&mut values) {
        match exchange.take(&value) {
            Err(_) => break,
            Ok(Step::Request(context, request)) => {
                let response = request.response(Status::OutOfResources);
                assert!(response.len() < 512 && response.len() % 2 == 0);
                let sent = pdu::command(context, &response, 64);
                assert!(sent.len() > response.len());
            }
            Ok(_) => {}
        }
    }
    for encoding in
        [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig, Encoding::Deflated]
    {
        let _ = data_set::identity(bytes, encoding);
    }
    // What a peer says to whom we send.
    let _ = Acceptance::read(bytes).map(|acceptance| assert!(acceptance.contexts.len() <= 128));
    let _ = Rejected::read(bytes).map(|rejected| rejected.to_string());
    let _ = Response::read(bytes);
}

/// What a peer that keeps to the standard sends, to begin with: a request for an association, a command, a data set's head.
pub fn seeds() -> [(&'static str, Vec<u8>); 3] {
    let item = |kind: u8, value: &[u8]| [&[kind, 0], &short(value).to_be_bytes()[..], value].concat();
    let element = |[group, element]: [u8; 2], value: &[u8]| {
        [&[group, 0, element, 0], &u32::from(short(value)).to_le_bytes()[..], value].concat()
    };
    let (class, instance) = (b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.3\0");
    let context = [&[1, 0, 0, 0], &item(0x30, class)[..], &item(0x40, b"1.2.840.10008.1.2")].concat();
    let request = [
        &[0, 1, 0, 0],
        &b"MARTELLO        FUZZ            "[..],
        &[0; 32],
        &item(0x10, b"1.2.840.10008.3.1.1.1"),
        &item(0x20, &context),
        &item(0x50, &item(0x51, &[0, 0, 64, 0])),
    ];
    // The command field and those after it have an element number of two bytes, the low one of which is 0.
    let numbers = |high: u8, value: [u8; 2]| [&[0, 0, 0, high, 2, 0, 0, 0], &value[..]].concat();
    let set = [
        element([0, 0x02], class),
        numbers(0x01, [1, 0]),
        [&[0, 0, 0x10, 0x01, 2, 0, 0, 0], &[7, 0][..]].concat(),
        numbers(0x08, [0, 0]),
        [&[0, 0, 0, 0x10, 6, 0, 0, 0], &instance[..]].concat(),
    ];
    let command = pdu::command(1, &set.concat(), 0).split_off(pdu::HEADER_BYTES);
    let head = [element([8, 0x16], class), element([8, 0x18], instance)];
    [("request", request.concat()), ("command", command), ("head", head.concat())]
}

fn short(value: &[u8]) -> u16 {
    u16::try_from(value.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::command::Operation;
    use super::*;

    #[test]
    fn seeds_get_as_far_as_a_peer_does() {
        let [(_, request), (_, command), (_, head)] = seeds();
        let settings =
            DicomSettings { callers: Callers::Any, ..DicomSettings::new("MARTELLO".parse().unwrap()) };
        let request = AssociateRequest::read(&request).unwrap();
        assert_eq!(negotiation::negotiate(&request, &settings).unwrap().contexts.len(), 1);
        let value = pdu::data_value(&mut Bytes(&command)).unwrap();
        let step = Exchange::default().take(&value).unwrap();
        assert!(matches!(step, Step::Request(1, request) if request.operation == Operation::Store));
        assert!(data_set::identity(&head, Encoding::ImplicitLittle).is_some());
    }
}
