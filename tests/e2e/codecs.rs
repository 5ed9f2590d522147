//! The decoders of `dicom-codec` against those of other people, on thousands of streams of theirs.

use std::fs;
use std::path::Path;
use std::process::Command;

use dicom_codec::{Codec, Shape, decode};
use martello_tests::bundle::succeeded;
use martello_tests::{python, root};
use martello_vocab::Digest;

#[test]
fn every_stream_decodes_as_its_reference_decoder_has_it() {
    let Some(python) = python().unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(python);
    make.arg(root().join("tests/oracle/codec_check.py")).arg("make").arg(folder.path());
    succeeded(&mut make).unwrap();
    let cases = fs::read_to_string(folder.path().join("cases.txt")).unwrap();
    let differing: Vec<_> = cases.lines().filter_map(|line| differs(line, folder.path())).collect();
    assert!(differing.is_empty(), "{} of {}: {:#?}", differing.len(), cases.lines().count(), &differing);
    // So many there were when this was written: none drops out unseen.
    let count = |codec: &str| cases.lines().filter(|line| line.starts_with(codec)).count();
    assert_eq!([count("jpeg-ls "), count("jpeg "), count("rle ")], [2226, 4104, 36]);
}

/// What is wrong with a case, if anything is.
fn differs(line: &str, folder: &Path) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [codec, rows, columns, samples, bits_allocated, digest, name, file] = words[..] else {
        panic!("{line}")
    };
    let codec = match codec {
        "rle" => Codec::Rle,
        "jpeg" => Codec::Jpeg,
        "jpeg-ls" => Codec::JpegLs,
        other => panic!("{other}"),
    };
    let number = |text: &str| text.parse::<usize>().unwrap();
    let (rows, columns, samples) = (number(rows), number(columns), number(samples));
    let shape = Shape { rows, columns, samples, bits_allocated: bits_allocated.parse().unwrap() };
    match decode(codec, &fs::read(folder.join(file)).unwrap(), &shape) {
        Ok(pixels) if Digest::of(&pixels.bytes).hex() == digest => None,
        Ok(_) => Some(format!("{name}, {rows}×{columns}×{samples}: other samples")),
        Err(error) => Some(format!("{name}, {rows}×{columns}×{samples}: {error}")),
    }
}
