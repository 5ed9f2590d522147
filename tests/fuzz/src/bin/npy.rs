//! The `.npy` files of `martello infer`.
#![no_main]

use std::io::Read;

#[path = "../../../../host/cli/src/infer/npy.rs"]
#[allow(dead_code, reason = "`infer` uses the rest")]
mod npy;

libfuzzer_sys::fuzz_target!(
    init: {
        let texts = [
            ("<f4", "(2, 1)", 8),
            ("|u1", "()", 1),
            ("<V2", "(3,)", 6),
            ("<i8", "(0, 5)", 0),
        ];
        for (number, (descr, shape, length)) in texts.into_iter().enumerate() {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut file = b"\x93NUMPY\x01\0".to_vec();
            file.extend([text.len() as u8, 0]);
            file.extend(text.bytes());
            file.resize(file.len() + length, 7);
            fuzz::seed(&format!("{number}.npy"), &file);
        }
        fuzz::cap_mebibytes(32);
    },
    |data: &[u8]| {
        if let Ok(tensor) = npy::parse(data) {
            let header = npy::header(tensor.element_type(), tensor.shape());
            let again = npy::parse(header.chain(tensor.bytes().as_ref()));
            assert!(again.is_ok_and(|again| again == tensor), "{:?}", tensor.shape());
        }
    }
);
