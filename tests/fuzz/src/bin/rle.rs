//! Code streams of RLE: refused, or decoded to as many samples as the shape has.
#![no_main]

use dicom_codec::Codec;

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::cap_mebibytes(16);
        fuzz::seed_code_streams("rle");
    },
    |data: &[u8]| dicom_codec::fuzz_decode(Codec::Rle, data)
);
