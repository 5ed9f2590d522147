//! What DICOM peers send: requests for associations, messages, the head of a data set.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_ingest::dicom::fuzz::fuzz_dimse(data)
);
