//! What the fuzz target calls: everything that reads bytes of a peer, without a network.

use super::bytes::Bytes;
use super::command::Status;
use super::exchange::{Exchange, Step};
use super::negotiation;
use super::pdu::{self, AssociateRequest};
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
}
