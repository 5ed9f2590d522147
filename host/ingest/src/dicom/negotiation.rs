//! Whether a peer gets an association, and what may be sent on it.

use std::collections::BTreeMap;

use super::names::{AeTitle, Uid};
use super::pdu::{self, AssociateRequest, Rejection, Verdict};
use super::settings::{Callers, DicomSettings, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use super::syntaxes::{self, Service};

/// The one application context there is (PS3.7 annex A.2.1).
pub(crate) const APPLICATION_CONTEXT: &[u8] = b"1.2.840.10008.3.1.1.1";

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) contexts: BTreeMap<u8, Context>,
    /// The longest PDU body that the peer takes; 0 is any.
    pub(crate) longest_pdu: u32,
    /// The acceptance to send.
    pub(crate) acceptance: Vec<u8>,
}

/// A presentation context that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) service: Service,
    pub(crate) abstract_syntax: Uid,
    pub(crate) transfer_syntax: Uid,
}

/// Decides on a request.
///
/// # Errors
/// The reason for which it is refused.
pub(crate) fn negotiate(
    request: &AssociateRequest,
    settings: &DicomSettings,
) -> Result<Association, Rejection> {
    if request.protocol_version & 1 == 0 {
        return Err(Rejection::ProtocolVersion);
    }
    if request.application_context != APPLICATION_CONTEXT {
        return Err(Rejection::ApplicationContext);
    }
    let (called, calling) = request.titles.split_at(16);
    if AeTitle::from_wire(called).as_ref() != Some(&settings.title) {
        return Err(Rejection::CalledTitle);
    }
    let is_known = match (&settings.callers, AeTitle::from_wire(calling)) {
        (_, None) => false,
        (Callers::Any, Some(_)) => true,
        (Callers::Listed(titles), Some(title)) => titles.contains(&title),
    };
    if !is_known {
        return Err(Rejection::CallingTitle);
    }
    let mut contexts = BTreeMap::new();
    let mut verdicts = Vec::with_capacity(request.contexts.len());
    for proposed in &request.contexts {
        let asked = proposed.abstract_syntax.as_ref().and_then(|uid| Some((syntaxes::service(uid)?, uid)));
        // An id that is even, or comes twice, is against the standard; what is sent on it could not be told apart.
        let is_usable = proposed.id % 2 == 1 && !contexts.contains_key(&proposed.id);
        let Some((service, abstract_syntax)) = asked.filter(|_| is_usable) else {
            verdicts.push((proposed.id, Verdict::AbstractSyntax));
            continue;
        };
        let Some(syntax) = syntaxes::choose(&proposed.transfer_syntaxes) else {
            verdicts.push((proposed.id, Verdict::TransferSyntaxes));
            continue;
        };
        verdicts.push((proposed.id, Verdict::Accepted(syntax.clone())));
        let context =
            Context { service, abstract_syntax: abstract_syntax.clone(), transfer_syntax: syntax.clone() };
        contexts.insert(proposed.id, context);
    }
    let acceptance = pdu::associate_accept(
        &request.titles,
        APPLICATION_CONTEXT,
        &verdicts,
        settings.longest_pdu.get(),
        (IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION),
    );
    Ok(Association { contexts, longest_pdu: request.longest_pdu, acceptance })
}
