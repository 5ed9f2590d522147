//! Signed envelopes and roots of trust.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_trust::fuzz::fuzz_envelope(data)
);
