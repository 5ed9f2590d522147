//! Says whether a de-identified DICOM object is clean, by code of its own.
//!
//! [`verify`] reads the object that would leave as strictly as a de-identifier has to write it, and stops at the first
//! thing that should not be there: an attribute that the profile takes away, a UID of somebody else, a private block,
//! a comment in a frame, a date, a telephone number or an address in a text that stays. A [`Finding`] says which rule
//! and which tag, never a value.
//!
//! INVARIANT: nothing here comes from the de-identifier or its reader. The parser ([`walk`]) is this crate's, strict
//! where the other is lenient, and the rules ([`Rules`]) are made from another source of the standard's table; the
//! two crates stand in the tests alone (`the_verifier_shares_no_code_with_what_it_judges`). A parser of a library was
//! turned down: the common one takes memory by lengths that a file declares, and reads what it can where this one
//! has to refuse what it cannot.
//!
//! What it deliberately does not know: the original. A stage sees one payload, so whether a date has moved or a
//! replaced UID is the right one cannot be seen here.

mod bytes;
mod finding;
mod frames;
mod judge;
mod residual;
mod rules;
mod segments;
mod stage;
mod value;
mod walk;

pub use bytes::Bytes;
pub use finding::{CODES, Finding, Kind};
pub use judge::{Dates, Options, PatientCharacteristics, PixelRisk, StructuredContent};
pub use rules::Rules;
pub use stage::Verifier;
pub use walk::{Summary, verify};

martello_guest_sdk::export!(Verifier);

#[cfg(test)]
mod tests;
