//! DICOM: refused by a listed code, or walked over to its end.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(48);
    },
    |data: &[u8]| dicom_guard::fuzz_check(data)
);
