//! Signed manifests: no bytes but those that were signed say anything else.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::seed("signed.json", &martello_bundle::fuzz::signed_manifest());
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_bundle::fuzz::fuzz_signature(data)
);
