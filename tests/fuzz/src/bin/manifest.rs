//! The manifest of a bundle, as the JSON in its envelope.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::seed("manifest.json", &martello_bundle::fuzz::manifest());
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_bundle::fuzz::fuzz_manifest(data)
);
