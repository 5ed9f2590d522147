//! Identity planted in every place and every form that a file has, and asserted to be nowhere in what comes out.
//!
//! The patient is called what the markers say, so that also what the profile keeps has no excuse. The one place that
//! may hold a marker afterwards is the image itself: no pixel is decoded here.

mod attributes;
mod frames;
mod repeated;
mod rows;
mod shapes;
mod trees;

use crate::dictionary::DICTIONARY;
use crate::tests::{EXPLICIT, TABLE, elements, explicit, file, holds, put, run, value};
use crate::{
    Deidentifier, Host, Kind, Options, PatientCharacteristics, PixelRisk, Refusal, StructuredContent, Table,
    deidentify,
};
use dicom_stream::{Encoding, SliceSource, Tag, Vr, Writer};
use martello_guest_sdk::mock;
use proptest::prelude::*;

const DICTIONARY_TEXT: &str = include_str!("../../table/dictionary.txt");

/// What must be nowhere in the output: words, numbers, UIDs, the birth date in six spellings, the date of the study.
const SECRETS: [&str; 12] = [
    "ZZM",
    "zzm",
    "47114711",
    "2.999.4711",
    "19310317",
    "1931-03-17",
    "1931/03/17",
    "17.03.1931",
    "17/03/1931",
    "03/17/1931",
    "20190704",
    "2019-07-04",
];

const ACCEPT: Options = Options {
    pixel_risk: PixelRisk::DangerouslyAccept,
    structured_content: StructuredContent::Clean,
    patient_characteristics: PatientCharacteristics::Keep,
    dates: crate::Dates::Shift,
    paths: crate::Paths::Forget,
};

const IDENTITY: [(u32, Vr, &[u8]); 6] = [
    (0x0008_0018, Vr::UI, b"2.999.4711.1"),
    (0x0008_0020, Vr::DA, b"20190704"),
    (0x0010_0010, Vr::PN, b"ZZMARKFAM5^ZZMARKGIV5^von^^=\x1B$B;3ED\x1B(B"),
    (0x0010_0020, Vr::LO, b"ZZMARKPID5"),
    (0x0010_0030, Vr::DA, b"19310317"),
    (0x0010_1000, Vr::LO, b"other\\47114711"),
];

fn identity(w: &mut Writer<Vec<u8>>) {
    identity_before(w, u32::MAX, 0);
}

/// The part of the identity whose tags are lower than `before` and not lower than `from`.
fn identity_before(w: &mut Writer<Vec<u8>>, before: u32, from: u32) {
    for (tag, vr, value) in IDENTITY.into_iter().filter(|(tag, ..)| (from..before).contains(tag)) {
        put(w, tag, vr, value);
    }
}

/// Values of each form: text around a word, the number, the UID, the dates, and what a representation may be taken for.
const VALUES: [&[u8]; 10] = [
    b"for ZZMARKFAM5 ",
    b"STD\\zzmarkgiv5",
    b"47114711",
    b"2.999.4711.1",
    b"19310317",
    b"20190704101112",
    b"born 17.03.1931 ",
    b"on 2019-07-04, 03/17/1931",
    b"1.5\\47114711",
    b"\0\0ZZMARKPID5\0\0\xFF\xFE",
];

fn leaks(bytes: &[u8]) -> Vec<&'static str> {
    SECRETS.into_iter().filter(|secret| holds(bytes, secret)).collect()
}

/// Elements that refuse a file or end its data set, whatever they hold; and the image.
fn is_apart(tag: u32) -> bool {
    matches!(tag, 0 | 0x0004_1220 | 0x0042_0011 | 0x5400_0100 | 0x5400_1010 | 0x7FE0_0008..=0x7FE0_0010)
}

/// Where an identity is left, for whom the test above fails.
fn places(bytes: &[u8]) -> Vec<String> {
    let left = elements(bytes).into_iter().filter(|(_, _, value)| !leaks(value).is_empty());
    left.map(|(path, vr, value)| format!("{path:08X?} {vr:?} {:?}", String::from_utf8_lossy(&value)))
        .take(8)
        .collect()
}
