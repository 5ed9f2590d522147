//! The head of the file that an object becomes (PS3.10 section 7.1).

use super::names::Uid;
use super::settings::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};

/// Preamble, prefix and file meta information of an object.
///
/// Nothing in it says who sent the object: the same object sent twice, by whomever, is the same file.
pub(crate) fn head(class: &Uid, instance: &Uid, transfer_syntax: &Uid) -> Vec<u8> {
    let mut meta = Vec::new();
    // Version 1. The value's length is written in four bytes after two reserved ones, as for all OB.
    put(&mut meta, 0x0001, b"OB", &[0, 1]);
    put(&mut meta, 0x0002, b"UI", class.as_str().as_bytes());
    put(&mut meta, 0x0003, b"UI", instance.as_str().as_bytes());
    put(&mut meta, 0x0010, b"UI", transfer_syntax.as_str().as_bytes());
    put(&mut meta, 0x0012, b"UI", IMPLEMENTATION_CLASS.as_bytes());
    put(&mut meta, 0x0013, b"SH", IMPLEMENTATION_VERSION.as_bytes());
    let mut head = vec![0; 128];
    head.extend(b"DICM");
    put(&mut head, 0x0000, b"UL", &u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend(meta);
    head
}

fn put(bytes: &mut Vec<u8>, element: u16, representation: &[u8; 2], value: &[u8]) {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if representation == b"UI" { 0 } else { b' ' });
    }
    bytes.extend([2, 0]);
    bytes.extend(element.to_le_bytes());
    bytes.extend(representation);
    // All values are short.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    match representation {
        b"OB" => {
            bytes.extend([0, 0]);
            bytes.extend(u32::from(length).to_le_bytes());
        }
        _ => bytes.extend(length.to_le_bytes()),
    }
    bytes.extend(value);
}
