//! The requirements on crafted files, then what must hold for any bytes.

mod pixels;
mod properties;
mod requirements;
mod risks;
mod stage;

use crate::dictionary::DICTIONARY;
use crate::{
    Action, CODES, Dates, Deidentifier, Host, Kind, Options, Paths, PatientCharacteristics, PixelRisk,
    Refusal, StructuredContent, Summary, Table, deidentify,
};
use dicom_stream::{DEPTH_MAXIMUM, Encoding, Event, SliceSource, Tag, Vr, Writer, open};
use martello_guest_sdk::{Fault, mock};
use proptest::prelude::*;

pub(crate) const TABLE: &[u8] = include_bytes!("../../table/table.txt");
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const CT_CLASS: &str = "1.2.840.10008.5.1.4.1.1.2";

/// Says what it was asked and answers with what can be recognised.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) written: Vec<u8>,
    writes: usize,
    uid_calls: usize,
    subjects: Vec<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

pub(crate) fn mapped(uid: &str) -> String {
    let sum = uid.bytes().fold(7_u128, |sum, byte| sum.wrapping_mul(257).wrapping_add(u128::from(byte)));
    format!("2.25.{sum}")
}

impl Host for Recorder {
    fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
        self.uid_calls += 1;
        Ok(values.iter().map(|value| mapped(value)).collect())
    }

    fn subject(&mut self, value: &str) -> Result<String, Refusal> {
        self.subjects.push(value.to_owned());
        Ok(format!("PSEUDONYM{:07}", value.len()))
    }

    fn shift_days(&mut self, pseudonym: &str) -> Result<u32, Refusal> {
        assert!(pseudonym.starts_with("PSEUDONYM"), "the shift is asked by pseudonym");
        Ok(10)
    }

    fn open(&mut self, attributes: &[(&str, String)]) -> Result<(), Refusal> {
        self.attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.writes += 1;
        self.written.extend_from_slice(bytes);
        Ok(())
    }
}

pub(crate) type Build<'a> = &'a dyn Fn(&mut Writer<Vec<u8>>);

pub(crate) fn put(writer: &mut Writer<Vec<u8>>, tag: u32, vr: Vr, value: &[u8]) {
    writer.element(Tag(tag), vr, value).unwrap();
}

/// A file of this syntax whose data set is what `build` writes.
pub(crate) fn file(syntax: &str, encoding: Encoding, build: Build<'_>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 1024);
    let meta: [(Tag, Vr, &[u8]); 3] = [
        (Tag(0x0002_0003), Vr::UI, b"2.999.1"),
        (Tag(0x0002_0010), Vr::UI, syntax.as_bytes()),
        (Tag(0x0002_0016), Vr::AE, b"ZZMARKAET"),
    ];
    writer.begin(&meta, encoding, syntax == "1.2.840.10008.1.2.1.99").unwrap();
    build(&mut writer);
    let mut bytes = writer.finish().unwrap();
    bytes[..6].copy_from_slice(b"ZZMARK");
    bytes
}

pub(crate) fn run(bytes: &[u8], options: Options) -> Result<(Recorder, Summary), Refusal> {
    let mut host = Recorder::default();
    let options = Options { paths: Paths::Record, ..options };
    let summary = deidentify(SliceSource::new(bytes), &Table::parse(TABLE)?, options, &mut host)?;
    Ok((host, summary))
}

/// Every element of a file: path of sequence tags, value, empty for sequences.
pub(crate) fn elements(bytes: &[u8]) -> Vec<(Vec<u32>, Vr, Vec<u8>)> {
    let (_, mut reader) = open(SliceSource::new(bytes), DICTIONARY).unwrap();
    let (mut path, mut all) = (Vec::new(), Vec::new());
    loop {
        match reader.next_event().unwrap() {
            Event::Element(header) => {
                let mut here = path.clone();
                here.push(header.tag.0);
                all.push((here, header.vr, reader.value().unwrap().unwrap().to_vec()));
            }
            Event::Sequence(header) | Event::Fragments(header) => {
                path.push(header.tag.0);
                all.push((path.clone(), header.vr, Vec::new()));
            }
            Event::SequenceEnd | Event::FragmentsEnd => {
                path.pop();
            }
            Event::End => return all,
            Event::Item | Event::ItemEnd | Event::Fragment(_) => {}
        }
    }
}

pub(crate) fn value(bytes: &[u8], path: &[u32]) -> Option<String> {
    elements(bytes)
        .into_iter()
        .find(|(here, _, _)| here == path)
        .map(|(_, _, value)| String::from_utf8_lossy(&value).trim_end_matches([' ', '\0']).to_owned())
}

pub(crate) fn holds(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

/// De-identifies explicit little endian under the default options.
pub(crate) fn explicit(build: Build<'_>) -> (Vec<u8>, Recorder, Summary) {
    let (host, summary) = run(&file(EXPLICIT, Encoding::ExplicitLittle, build), Options::default()).unwrap();
    (host.written.clone(), host, summary)
}

pub(crate) fn refusal(build: Build<'_>) -> Refusal {
    match run(&file(EXPLICIT, Encoding::ExplicitLittle, build), Options::default()) {
        Ok(_) => panic!("passed"),
        Err(refusal) => refusal,
    }
}

pub(crate) fn image(
    writer: &mut Writer<Vec<u8>>,
    kind: &[u8],
    class: &str,
    modality: &[u8],
    burned_in: &[u8],
) {
    put(writer, 0x0008_0008, Vr::CS, kind);
    put(writer, 0x0008_0016, Vr::UI, class.as_bytes());
    put(writer, 0x0008_0018, Vr::UI, b"2.999.1");
    put(writer, 0x0008_0060, Vr::CS, modality);
    for (tag, value) in [(0x0028_0010, 1), (0x0028_0011, 2), (0x0028_0100, 16)] {
        put(writer, tag, Vr::US, &[value, 0]);
    }
    put(writer, 0x0028_0301, Vr::CS, burned_in);
    put(writer, 0x7FE0_0010, Vr::OW, &[1, 2, 3, 4]);
}

fn dated(w: &mut Writer<Vec<u8>>) {
    put(w, 0x0008_0020, Vr::DA, b"20190704");
    put(w, 0x0008_0022, Vr::DA, b"ZZMARKDATE");
    put(w, 0x0008_002A, Vr::DT, b"20190704101112.5+0100");
    put(w, 0x0008_0030, Vr::TM, b"101112.5");
    put(w, 0x0008_0031, Vr::TM, b"ZZMARKTIME");
    put(w, 0x0010_0010, Vr::PN, b"ZZMARK^NAME");
    put(w, 0x0010_0020, Vr::LO, b" ZZMARKID ");
    put(w, 0x0010_0030, Vr::DA, b"19310317");
    put(w, 0x0010_1010, Vr::AS, b"093Y");
    put(w, 0x0014_1020, Vr::DA, b"20190704-20190706");
}

fn report(w: &mut Writer<Vec<u8>>) {
    put(w, 0x0040_A040, Vr::CS, b"CONTAINER");
    w.sequence(Tag(0x0040_A730));
    for (kind, nested) in [("TEXT", true), ("NUM", false), ("PNAME", false), ("CONTAINER", true), ("", false)]
    {
        w.item();
        if !kind.is_empty() {
            put(w, 0x0040_A040, Vr::CS, kind.as_bytes());
        }
        put(w, 0x0040_A123, Vr::PN, b"ZZMARKNAME");
        put(w, 0x0040_A160, Vr::UT, b"ZZMARKTEXT");
        put(w, 0x0040_A30A, Vr::DS, b"42");
        if nested {
            w.sequence(Tag(0x0040_A730));
            w.item();
            put(w, 0x0040_A040, Vr::CS, b"UIDREF");
            put(w, 0x0040_A124, Vr::UI, b"2.999.5");
            w.item_end().unwrap();
            w.item();
            put(w, 0x0040_A040, Vr::CS, b"DATE");
            put(w, 0x0040_A160, Vr::UT, b"ZZMARKINNER");
            w.item_end().unwrap();
            w.sequence_end().unwrap();
        }
        w.item_end().unwrap();
    }
    w.sequence_end().unwrap();
}

/// De-identifies explicit little endian whatever its pixels may show.
fn explicit_accepted(build: Build<'_>) -> Vec<u8> {
    let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    run(&file(EXPLICIT, Encoding::ExplicitLittle, build), accept).unwrap().0.written
}
