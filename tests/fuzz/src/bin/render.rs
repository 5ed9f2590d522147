//! DICOM: rendered or refused, under small limits.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::let_foreign_panics_pass();
        fuzz::cap_mebibytes(192);
    },
    |data: &[u8]| dicom_render::fuzz_render(data)
);
