//! DICOM: read, write, read again.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(48);
    },
    |data: &[u8]| dicom_stream::fuzz::fuzz_round_trip(data)
);
