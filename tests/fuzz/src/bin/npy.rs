//! The `.npy` files of `martello infer`.
#![no_main]

use std::io::Read;

// The reader is taken in alone, since the engine and the command line around it are large. What it calls
// `martello_engine` is this program.
extern crate self as martello_engine;

#[path = "../../../../host/cli/src/infer/npy.rs"]
#[allow(dead_code, reason = "`infer` uses the rest")]
mod infer;

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
        if let Ok(tensor) = infer::parse(data) {
            let header = npy::header(tensor.element_type(), tensor.shape());
            let again = infer::parse(header.chain(tensor.bytes().as_ref()));
            assert!(again.is_ok_and(|again| again == tensor), "{:?}", tensor.shape());
        }
    }
);

/// Stands in for `martello`'s own: what is in a file is fuzzed here, not how it is opened.
pub mod read {
    pub fn open(path: &std::path::Path) -> std::io::Result<std::fs::File> {
        std::fs::File::open(path)
    }
}

/// Another writer than the engine's, so that the reader is not compared with its own kin.
pub mod npy {
    use martello_bundle::manifest::ElementType;

    pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

    pub fn header(element_type: ElementType, shape: &[u32]) -> Vec<u8> {
        let descr = match element_type {
            ElementType::F16 => "<f2",
            ElementType::F32 => "<f4",
            ElementType::F64 => "<f8",
            ElementType::U8 => "|u1",
            ElementType::I32 => "<i4",
            ElementType::I64 => "<i8",
            ElementType::Bf16 => "|V2",
        };
        let shape: String = shape.iter().map(|dimension| format!("{dimension},")).collect();
        let text = format!("{{'shape': ({shape}), 'descr': '{descr}', 'fortran_order': False}}\n");
        [&MAGIC[..], &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    }
}
