//! The 128 bytes ahead of the prefix, in which another kind of file may begin (CVE-2019-11687).

use dicom_stream::Source;

use crate::refusal::{Kind, Refusal};

/// Bytes ahead of the prefix.
const LENGTH: usize = 128;

/// What a program, a script or a viewer goes by at the begin of a file.
const HEADS: [&[u8]; 18] = [
    b"MZ",                     // PE and DOS programs
    b"\x7FELF",                // ELF programs
    b"\xFE\xED\xFA",           // Mach-O programs
    b"\xCE\xFA\xED\xFE",       // Mach-O, the other way round
    b"\xCF\xFA\xED\xFE",       // Mach-O, 64 bits
    b"\xCA\xFE\xBA\xBE",       // Java classes, universal programs
    b"\0asm",                  // WebAssembly
    b"#!",                     // scripts
    b"dex\n",                  // Android programs
    b"\x1F\x8B",               // gzip
    b"7z\xBC\xAF",             // 7-zip
    b"Rar!",                   // RAR
    b"\xD0\xCF\x11\xE0",       // OLE documents
    b"{\\rtf",                 // RTF
    b"MSCF",                   // cabinets
    b"\x4C\0\0\0\x01\x14\x02", // shortcuts
    b"BZh",                    // bzip2
    b"\xFD7zXZ",               // xz
];

/// What readers look for further in: PDF within the first kilobyte, archives and markup anywhere.
const ANYWHERE: [&[u8]; 7] =
    [b"%PDF", b"PK\x03\x04", b"PK\x05\x06", b"<script", b"<html", b"<?php", b"<!doctype"];

/// Refuses a preamble in which a program, an archive or a document begins, and leaves the source at its begin.
///
/// TIFF heads stay: PS3.10 section 7.1 names them as what the preamble is for, whole-slide scanners write them, and a
/// TIFF reader runs nothing. The de-identifier nulls the preamble, so none leaves.
pub(crate) fn check<S: Source>(source: &mut S) -> Result<(), Refusal> {
    let mut front = [0; LENGTH + 4];
    let mut filled = 0;
    while let Some(rest) = front.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    source.rewind()?;
    // Without a prefix here the first bytes are the data set's own, and the reader judges them.
    let Some((preamble, b"DICM")) = front.split_at_checked(LENGTH) else { return Ok(()) };
    let stands_in =
        |part: &[u8]| preamble.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    if HEADS.iter().any(|head| preamble.starts_with(head)) || ANYWHERE.iter().any(|part| stands_in(part)) {
        return Err(Refusal::new(Kind::Policy, "polyglot", "another kind of file begins in the preamble"));
    }
    Ok(())
}
