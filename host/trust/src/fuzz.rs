//! Bodies of the fuzz targets. The tests of this crate call them too.

use crate::canonical::{Numbers, Value};
use crate::{Envelope, RootDocument, TrustRoot};

/// Any bytes are refused or read; what is read is written in one form that reads back the same.
///
/// # Panics
/// Where that does not hold; so do all targets.
pub fn fuzz_canonical(data: &[u8]) {
    for numbers in [Numbers::Integers, Numbers::Fractions] {
        if let Ok(value) = Value::parse(data, numbers) {
            let canonical = value.to_canonical();
            let again = Value::parse(&canonical, numbers).map(|value| value.to_canonical());
            assert_eq!(again.as_deref(), Ok(canonical.as_slice()));
        }
    }
}

/// Any bytes are refused or read as an envelope, which reads back the same, and opens as a root or not.
pub fn fuzz_envelope(data: &[u8]) {
    if let Ok(envelope) = Envelope::read::<RootDocument>(data) {
        let bytes = envelope.to_bytes();
        assert_eq!(Envelope::read::<RootDocument>(&bytes).as_ref(), Ok(&envelope));
        assert_eq!(TrustRoot::open(data, None), TrustRoot::open(&bytes, None));
    }
}
