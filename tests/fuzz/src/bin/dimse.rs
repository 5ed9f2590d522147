//! What DICOM peers send: requests for associations, messages, the head of a data set.
#![no_main]

use martello_ingest::dicom::fuzz::{fuzz_dimse, seeds};

libfuzzer_sys::fuzz_target!(
    init: {
        for (name, bytes) in seeds() {
            fuzz::seed(name, &bytes);
        }
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| fuzz_dimse(data)
);
