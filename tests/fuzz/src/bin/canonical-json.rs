//! JSON that is signed: refused, or written in one form that reads back the same.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_trust::fuzz::fuzz_canonical(data)
);
