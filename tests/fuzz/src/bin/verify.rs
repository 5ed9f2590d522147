//! What may be a de-identified object: judged, or found at fault by a listed code. The seeds are such objects.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        for file in std::fs::read_dir("tests/fixtures/dicom").into_iter().flatten().flatten() {
            let made = std::fs::read(file.path()).ok().and_then(|original| dicom_deid::fuzz_made(&original));
            if let Some(object) = made {
                fuzz::seed(&file.file_name().to_string_lossy(), &object);
            }
        }
        fuzz::cap_mebibytes(64);
    },
    |data: &[u8]| deid_verify::fuzz_verify(data)
);
