//! DICOM: de-identified or refused, and the result reads again.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(64);
    },
    |data: &[u8]| dicom_deid::fuzz_deidentify(data)
);
