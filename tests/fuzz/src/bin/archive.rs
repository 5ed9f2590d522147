//! Bundles: a tar archive with an OCI image layout, and the documents of the layout.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::seed("bundle.tar", &martello_bundle::fuzz::archive());
        fuzz::seed("documents", &martello_bundle::fuzz::documents());
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| martello_bundle::fuzz::fuzz_oci_layout(data)
);
