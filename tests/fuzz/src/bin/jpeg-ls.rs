//! Code streams of JPEG-LS: refused, or decoded to as many samples as the shape has.
#![no_main]

use dicom_codec::Codec;

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(16);
        fuzz::seed_code_streams("jpeg-ls");
    },
    |data: &[u8]| dicom_codec::fuzz_decode(Codec::JpegLs, data)
);
