//! The requirements, one by one, on crafted files; then what must hold for any bytes.

use dicom_stream::{DEPTH_MAXIMUM, Encoding, Event, SliceSource, Tag, Vr, Writer, open};
use martello_guest_sdk::{Fault, mock};
use proptest::prelude::*;

use crate::dictionary::DICTIONARY;
use crate::{
    Action, CODES, Dates, Deidentifier, Host, Kind, Options, Paths, PatientCharacteristics, PixelRisk,
    Refusal, StructuredContent, Summary, Table, deidentify,
};

pub(crate) const TABLE: &[u8] = include_bytes!("../table/table.txt");
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

#[test]
fn requirement_1_what_no_rule_knows_is_removed() {
    let (out, _, summary) = explicit(&|w| {
        put(w, 0x0008_0001, Vr::UL, b"ZZMK");
        put(w, 0x0009_0010, Vr::LO, b"ZZMARKPRIVATE");
        put(w, 0x0009_1001, Vr::UN, b"ZZMARKPRIVATE");
        put(w, 0x0018_0000, Vr::UL, b"ZZMK");
        put(w, 0x0018_0001, Vr::LO, b"ZZMARKUNKNOWN");
        put(w, 0x0018_0015, Vr::SQ, b"");
        put(w, 0x0018_0060, Vr(*b"ZZ"), b"ZZMARKVR");
        put(w, 0x0018_1310, Vr::LT, b"ZZMARKCLASH");
        put(w, 0x1000_0010, Vr::US, b"ZZMK");
        put(w, 0x1010_0001, Vr::US, b"ZZMK");
        put(w, 0x5000_0030, Vr::SH, b"ZZMARKCURVE");
        put(w, 0x6000_0022, Vr::LO, b"ZZMARKOVERLAY");
        put(w, 0x7F02_0010, Vr::OW, b"ZZMARKPIXELS");
        put(w, 0x7FE0_0020, Vr::OW, b"ZZMARKCOEFFICIENTS");
        put(w, 0xFFFC_FFFC, Vr::OB, b"ZZMARKPADDING");
    });
    assert!(!holds(&out, "ZZM"));
    let removed = summary.actions[Action::Removed as usize];
    assert_eq!(removed, 15, "{}", summary.paths);
    assert!(summary.paths.contains("(0018,1310) removed\n") && !summary.paths.contains("ZZMARK"));
}

#[test]
fn what_the_table_forgot_goes_too() {
    let (out, _, summary) = explicit(&|w| {
        put(w, 0x0010_0033, Vr::LO, b"ZZMARK5784-12-01");
        put(w, 0x0010_2292, Vr::LO, b"ZZMARKBREED");
        put(w, 0x0040_0400, Vr::LT, b"ZZMARKCOMMENT");
        put(w, 0x0040_2007, Vr::SH, b"ZZMARKORDER");
    });
    assert!(!holds(&out, "ZZMARK"));
    assert_eq!(summary.actions[Action::Removed as usize], 4, "{}", summary.paths);
}

#[test]
fn requirement_2_sequences_of_every_encoding_are_entered() {
    let mut hidden = Writer::new(Vec::new(), 64);
    hidden.begin(&[], Encoding::ImplicitLittle, false).unwrap();
    hidden.item();
    put(&mut hidden, 0x0008_0100, Vr::SH, b"T-1");
    put(&mut hidden, 0x0008_1155, Vr::UI, b"2.999.4711");
    put(&mut hidden, 0x0010_0010, Vr::PN, b"ZZMARKUN");
    hidden.item_end().unwrap();
    let hidden = hidden.finish().unwrap().split_off(128 + 4 + 12);
    let mut defined = vec![0xFE, 0xFF, 0x00, 0xE0, 20, 0, 0, 0];
    defined.extend_from_slice(b"\x10\x00\x10\x00PN\x0C\x00ZZMARKDEFINE");
    let (out, _, summary) = explicit(&|w| {
        w.sequence(Tag(0x0008_1140));
        w.item();
        w.sequence(Tag(0x0040_A170));
        w.item();
        put(w, 0x0010_0010, Vr::PN, b"ZZMARKDEEP");
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0008_2112, Vr::SQ, &defined);
        put(w, 0x0008_2218, Vr::UN, &hidden);
        w.header(Tag(0x0008_2228), Vr::UN, u32::MAX);
        w.raw(&hidden).unwrap();
        w.raw(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]).unwrap();
        put(w, 0x0008_2229, Vr::UN, b"\xFE\xFF\x00\xE0ZZMARKBROKEN");
    });
    assert!(!holds(&out, "ZZM"), "{}", summary.paths);
    for path in [[0x0008_2112, 0x0010_0010].as_slice(), &[0x0008_1140, 0x0040_A170, 0x0010_0010]] {
        assert!(value(&out, path).unwrap().starts_with("PSEUDONYM"), "{path:x?}");
    }
    for sequence in [0x0008_2218, 0x0008_2228] {
        assert_eq!(value(&out, &[sequence, 0x0008_0100]).as_deref(), Some("T-1"));
        assert_eq!(value(&out, &[sequence, 0x0008_1155]), Some(mapped("2.999.4711")), "mapped, not dropped");
    }
    let (alone, ..) = explicit(&|w| put(w, 0x0008_2218, Vr::UN, &hidden));
    assert_eq!(value(&alone, &[0x0008_2218, 0x0008_1155]), Some(mapped("2.999.4711")), "not by another's");
    assert!(
        summary.paths.contains("(0008,1140)[1](0040,A170)[1](0010,0010) replaced\n"),
        "{}",
        summary.paths
    );
}

#[test]
fn requirement_2_nesting_stops_at_the_cap_without_recursion() {
    let nested = |levels: usize| {
        file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            for _ in 0..levels {
                w.sequence(Tag(0x0008_1140));
                w.item();
            }
            for _ in 0..levels {
                w.item_end().unwrap();
                w.sequence_end().unwrap();
            }
        })
    };
    run(&nested(DEPTH_MAXIMUM), Options::default()).unwrap();
    for levels in [DEPTH_MAXIMUM + 1, 100_000] {
        let refusal = run(&nested(levels), Options::default()).err().unwrap();
        assert_eq!((refusal.kind, refusal.code), (Kind::Limit, "depth"));
    }
}

#[test]
fn requirement_3_compound_codes_take_the_strongest_legal_action() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0050, Vr::SH, b"ZZMARK"); // Z
        put(w, 0x0008_0080, Vr::LO, b"ZZMARK"); // X/Z/D
        put(w, 0x0008_1030, Vr::LO, b"ZZMARK"); // X
        put(w, 0x0010_2203, Vr::CS, b"ZZMARK"); // X/Z
        put(w, 0x0018_0010, Vr::LO, b"ZZMARK"); // Z/D
        put(w, 0x0018_1030, Vr::LO, b"ZZMARK"); // X/D
        put(w, 0x0040_A123, Vr::PN, b"ZZMARK"); // D
        put(w, 0x0072_0065, Vr::OB, b"ZZMARK"); // D
    });
    assert!(!holds(&out, "ZZM"));
    for (tag, expected) in [
        (0x0008_0050, Some("")),
        (0x0008_0080, Some("ANONYMIZED")),
        (0x0008_1030, None),
        (0x0010_2203, Some("")),
        (0x0018_1030, Some("ANONYMIZED")),
        (0x0018_0010, Some("ANONYMIZED")),
        (0x0040_A123, Some("ANONYMIZED")),
        (0x0072_0065, Some("")),
    ] {
        assert_eq!(value(&out, &[tag]).as_deref(), expected, "{tag:08x}");
    }
}

#[test]
fn requirement_4_uids_are_mapped_everywhere_and_well_known_ones_never() {
    let (out, host, _) = explicit(&|w| {
        put(w, 0x0008_0016, Vr::UI, CT_CLASS.as_bytes());
        put(w, 0x0008_0018, Vr::UI, b"2.999.1");
        w.sequence(Tag(0x0008_1140));
        w.item();
        put(w, 0x0008_1150, Vr::UI, CT_CLASS.as_bytes());
        put(w, 0x0008_1155, Vr::UI, b"2.999.1");
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0020_000D, Vr::UI, b"1.2.840.10008.5.NAME");
        put(w, 0x0020_0052, Vr::UI, b"1.2.840.10008.1.4.1.1");
        put(w, 0x0040_A171, Vr::UI, b"2.999.1\\2.999.2");
    });
    let one = mapped("2.999.1");
    assert_eq!(value(&out, &[0x0008_0016]).as_deref(), Some(CT_CLASS));
    assert_eq!(value(&out, &[0x0008_0018]), Some(one.clone()));
    assert_eq!(value(&out, &[0x0008_1140, 0x0008_1155]), Some(one.clone()));
    assert_eq!(value(&out, &[0x0020_0052]).as_deref(), Some("1.2.840.10008.1.4.1.1"));
    assert_eq!(value(&out, &[0x0020_000D]), Some(mapped("1.2.840.10008.5.NAME")));
    assert_eq!(value(&out, &[0x0040_A171]), Some(format!("{one}\\{}", mapped("2.999.2"))));
    assert!(!holds(&out, "2.999."), "also in the file meta group");
    assert_eq!(out.windows(one.len()).filter(|w| *w == one.as_bytes()).count(), 4, "(0002,0003) too");
    assert_eq!(host.uid_calls, 1, "one crossing of the boundary");
}

#[test]
fn requirement_4_a_uid_that_only_begins_like_the_standards_is_mapped() {
    let (own, frame) = ("1.2.840.10008.77341902.19430527", "1.2.840.10008.77341902.2");
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0018, Vr::UI, own.as_bytes());
        w.sequence(Tag(0x0008_1140));
        w.item();
        put(w, 0x0008_1155, Vr::UI, CT_CLASS.as_bytes());
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0020_000D, Vr::UI, CT_CLASS.as_bytes());
        put(w, 0x0020_000E, Vr::UI, b"1.2.840.10008.1.1");
        put(w, 0x0020_0052, Vr::UI, frame.as_bytes());
        put(w, 0x0020_0200, Vr::UI, b"1.2.840.10008.1.4.1.1");
    });
    assert!(!holds(&out, "77341902"), "in the file meta group neither");
    assert_eq!(value(&out, &[0x0020_0052]), Some(mapped(frame)));
    assert_eq!(value(&out, &[0x0020_000D]), Some(mapped(CT_CLASS)));
    assert_eq!(value(&out, &[0x0020_000E]), Some(mapped("1.2.840.10008.1.1")));
    assert_eq!(value(&out, &[0x0008_1140, 0x0008_1155]), Some(mapped(CT_CLASS)), "as it is called elsewhere");
    assert_eq!(value(&out, &[0x0020_0200]).as_deref(), Some("1.2.840.10008.1.4.1.1"));
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

#[test]
fn requirement_4_the_file_meta_group_takes_no_text_for_a_uid() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0016, Vr::UI, b"ZZMARKCLASS");
        put(w, 0x0008_0018, Vr::OB, b"ZZMARKINSTANCE");
        put(w, 0x0008_010C, Vr::UI, b"1.2.3\\ZZMARK");
    });
    assert!(!holds(&out, "ZZM"));
}

#[test]
fn requirement_5_dates_move_back_and_the_patient_gets_a_pseudonym() {
    let (out, host, summary) = explicit(&dated);
    assert!(!holds(&out, "ZZM") && !holds(&out, "19310317"));
    for (tag, expected) in [
        (0x0008_0020, Some("20190624")),
        (0x0008_0022, Some("")),
        (0x0008_002A, Some("20190624101112.5+0100")),
        (0x0008_0030, Some("101112.5")),
        (0x0008_0031, Some("")),
        (0x0010_0010, Some("PSEUDONYM0000008")),
        (0x0010_0020, Some("PSEUDONYM0000008")),
        (0x0010_0030, Some("")),
        (0x0010_1010, None),
        (0x0014_1020, Some("20190624-20190626")),
        (0x0028_0303, Some("MODIFIED")),
    ] {
        assert_eq!(value(&out, &[tag]).as_deref(), expected, "{tag:08x}");
    }
    assert_eq!(
        host.subjects.first().map(String::as_str),
        Some("ZZMARKID"),
        "asked by the trimmed Patient ID"
    );
    assert_eq!(summary.actions[Action::DateShifted as usize], 3);
}

#[test]
fn requirement_5_kept_dates_and_ages_are_said_to_be_kept() {
    let options = Options {
        dates: Dates::Keep,
        patient_characteristics: PatientCharacteristics::Keep,
        ..Options::default()
    };
    let (host, _) = run(&file(EXPLICIT, Encoding::ExplicitLittle, &dated), options).unwrap();
    for (tag, expected) in [
        (0x0008_0020, "20190704"),
        (0x0008_0022, ""),
        (0x0010_0030, ""),
        (0x0010_1010, "090Y"),
        (0x0028_0303, "UNMODIFIED"),
    ] {
        assert_eq!(value(&host.written, &[tag]).as_deref(), Some(expected), "{tag:08x}");
    }
    assert!(
        holds(&host.written, "113106") && holds(&host.written, "113108") && !holds(&host.written, "113107")
    );
}

#[test]
fn requirement_6_without_the_hosts_pseudonyms_nothing_is_written() {
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &dated);
    let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE).port("image");
    let fault = host.without_pseudonyms().run::<Deidentifier>().unwrap_err();
    assert_eq!((fault.code(), matches!(fault, Fault::Policy(_))), (Some("pseudonyms"), true));
}

#[test]
fn an_identifier_longer_than_any_pseudonym_is_made_of_is_malformed() {
    for (tag, vr) in [(0x0008_0018, Vr::UI), (0x0010_0020, Vr::LO), (0x0010_0010, Vr::PN)] {
        for (length, code) in [(4096, None), (4097, Some("identifier-length"))] {
            let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| put(w, tag, vr, &vec![b'7'; length]));
            let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE);
            let host = host.port("image");
            let fault = host.run::<Deidentifier>().err();
            assert_eq!(fault.as_ref().and_then(Fault::code), code, "{tag:08x} {length}");
            assert!(fault.is_none_or(|fault| matches!(fault, Fault::Malformed(_))));
        }
    }
}

#[test]
fn requirement_6_a_host_that_gives_the_value_back_is_refused() {
    /// Gives back what it is asked for, of one kind.
    struct Echo(&'static str);
    impl Host for Echo {
        fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
            Ok(values
                .iter()
                .map(|value| if self.0 == "uid" { value.clone() } else { mapped(value) })
                .collect())
        }
        fn subject(&mut self, value: &str) -> Result<String, Refusal> {
            Ok(if self.0 == "subject" { value.to_owned() } else { "PSEUDONYM".to_owned() })
        }
        fn shift_days(&mut self, _: &str) -> Result<u32, Refusal> {
            Ok(u32::from(self.0 != "shift"))
        }
        fn open(&mut self, _: &[(&str, String)]) -> Result<(), Refusal> {
            Ok(())
        }
        fn write(&mut self, _: &[u8]) -> Result<(), Refusal> {
            assert_eq!(self.0, "nothing", "written with the value that it should replace");
            Ok(())
        }
    }
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
        put(w, 0x0008_0018, Vr::UI, b"2.999.1");
        put(w, 0x0010_0020, Vr::LO, b"ZZMARKID");
    });
    for (kind, code) in [
        ("uid", Some("pseudonyms")),
        ("subject", Some("pseudonyms")),
        ("shift", Some("pseudonyms")),
        ("nothing", None),
    ] {
        let table = Table::parse(TABLE).unwrap();
        let done = deidentify(SliceSource::new(&bytes), &table, Options::default(), &mut Echo(kind));
        assert_eq!(done.err().map(|refusal| refusal.code), code, "{kind}");
    }
}

#[test]
fn requirement_9_the_file_says_what_was_done_and_its_envelope_is_new() {
    let (out, host, _) = explicit(&|w| {
        put(w, 0x0008_0018, Vr::UI, b"2.999.1");
        put(w, 0x0012_0062, Vr::CS, b"NO");
        put(w, 0x0012_0063, Vr::LO, b"ZZMARKMETHOD");
        put(w, 0x0028_0301, Vr::CS, b"YES");
        put(w, 0x0028_0303, Vr::CS, b"REMOVED");
    });
    assert!(!holds(&out, "ZZM"), "preamble, private information, method of another");
    assert_eq!(&out[..132], [[0; 128].as_slice(), b"DICM"].concat());
    assert_eq!(value(&out, &[0x0012_0062]).as_deref(), Some("YES"));
    let method = value(&out, &[0x0012_0063]).unwrap();
    assert!(
        method.starts_with("Martello dicom-deid ") && method.ends_with("\\PS3.15 Basic Profile\\2026c"),
        "{method}"
    );
    assert_eq!(value(&out, &[0x0012_0064, 0x0008_0100]).as_deref(), Some("113100"));
    assert!(holds(&out, "113107") && holds(&out, "MARTELLO_DEID_1"));
    assert_eq!(value(&out, &[0x0028_0301]).as_deref(), Some("YES"), "no pixel was cleaned");
    let tags: Vec<u32> =
        elements(&out).iter().filter(|(path, ..)| path.len() == 1).map(|(path, ..)| path[0]).collect();
    assert!(tags.is_sorted_by(|a, b| a < b), "{tags:08x?}");
    assert_eq!(host.writes, 1, "a small file is written by one call");
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

#[test]
fn requirement_11_the_content_of_reports_is_emptied_or_cleaned() {
    let (out, _, summary) = explicit(&report);
    assert!(!holds(&out, "ZZM") && !holds(&out, "42"));
    assert_eq!(value(&out, &[0x0040_A730]).as_deref(), Some(""));
    assert_eq!(summary.notes, ["structured-content-emptied"]);

    let options = Options { structured_content: StructuredContent::Clean, ..Options::default() };
    let (host, _) = run(&file(EXPLICIT, Encoding::ExplicitLittle, &report), options).unwrap();
    let out = host.written;
    assert!(!holds(&out, "ZZM") && !holds(&out, "2.999.5"));
    let kinds: Vec<String> = elements(&out)
        .iter()
        .filter(|(path, ..)| path.len() > 1 && path.last() == Some(&0x0040_A040))
        .map(|(_, _, value)| String::from_utf8_lossy(value).trim().to_owned())
        .collect();
    assert_eq!(kinds, ["NUM", "CONTAINER", "UIDREF"]);
    assert!(holds(&out, &mapped("2.999.5")) && holds(&out, "113104"));
}

#[test]
fn requirement_12_images_that_may_hold_text_wait_for_a_person() {
    let (sc, axial) = ("1.2.840.10008.5.1.4.1.1.7", b"ORIGINAL\\PRIMARY\\AXIAL".as_slice());
    let dose = "1.2.840.10008.5.1.4.1.1.481.2";
    for (kind, class, modality, burned_in) in [
        (axial, CT_CLASS, b"US".as_slice(), b"NO".as_slice()),
        (axial, CT_CLASS, b"", b"NO"),
        (axial, sc, b"CT", b"NO"),
        (axial, CT_CLASS, b"CT", b"YES"),
        (b"DERIVED\\PRIMARY", CT_CLASS, b"CT", b"NO"),
        (b"ORIGINAL\\SECONDARY", CT_CLASS, b"CT", b"NO"),
        (b"ORIGINAL\\PRIMARY\\SCREEN SAVE", CT_CLASS, b"CT", b"NO"),
        (b"ORIGINAL\\PRIMARY\\SCREEN", CT_CLASS, b"CT", b"NO"),
        (b"ORIGINAL\\PRIMARY\\AXIAL\\Screen_Capture", CT_CLASS, b"CT", b"NO"),
        (b"SCREEN SAVE", dose, b"RTDOSE", b""),
        (b"", CT_CLASS, b"CT", b"NO"),
        (axial, CT_CLASS, b"XA", b"NO"),
        (axial, CT_CLASS, b"RF", b"NO"),
        (axial, CT_CLASS, b"SC", b"NO"),
        (axial, CT_CLASS, b"OT", b"NO"),
        (axial, CT_CLASS, b"ES", b"NO"),
        (axial, CT_CLASS, b"XC", b"NO"),
        (axial, CT_CLASS, b"ZZ", b"NO"),
        (axial, CT_CLASS, b"CT", b"MAYBE"),
        (b"", CT_CLASS, b"RTDOSE", b"NO"),
        (b"", dose, b"CT", b"NO"),
        (b"", dose, b"RTDOSE", b"YES"),
        (b"DERIVED\\SECONDARY", dose, b"RTDOSE", b""),
    ] {
        let refusal = refusal(&|w| image(w, kind, class, modality, burned_in));
        assert_eq!((refusal.kind, refusal.code), (Kind::NeedsReview, "burned-in-risk"));
    }
    for burned_in in [b"".as_slice(), b"NO"] {
        explicit(&|w| image(w, b"", dose, b"RTDOSE", burned_in));
    }
    let (_, host, _) = explicit(&|w| image(w, axial, CT_CLASS, b"CT", b""));
    assert!(host.attributes.contains(&("modality".to_owned(), "CT".to_owned())));
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| image(w, axial, sc, b"OT", b"YES"));
    run(&bytes, Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() }).unwrap();
}

#[test]
fn an_element_that_stands_twice_or_behind_a_later_one_is_refused() {
    let twice = |tag: u32, vr: Vr, one: &[u8], other: &[u8]| {
        let refusal = refusal(&|w| {
            put(w, tag, vr, one);
            put(w, tag, vr, other);
        });
        assert_eq!((refusal.kind, refusal.code), (Kind::Malformed, "structure"), "{tag:08x}");
    };
    twice(0x0028_0301, Vr::CS, b"NO", b"YES");
    twice(0x0008_0060, Vr::CS, b"CT", b"US");
    twice(0x0028_0008, Vr::IS, b"9", b"1");
    twice(0x7FE0_0010, Vr::OW, &[0; 4], b"ZZMK");
    twice(0x0008_1140, Vr::SQ, b"", b"");
    let behind = refusal(&|w| {
        put(w, 0x0008_0070, Vr::LO, b"Acme");
        put(w, 0x0008_0060, Vr::CS, b"CT");
    });
    assert_eq!(behind.code, "structure");
    let nested = |sequence: u32, vr: Vr| {
        file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            w.header(Tag(sequence), vr, u32::MAX);
            for _ in 0..2 {
                w.item();
                w.raw(b"\x08\0\0\x01\x02\0\0\0T1\x08\0\0\x01\x02\0\0\0T2").unwrap();
                w.item_end().unwrap();
            }
            w.sequence_end().unwrap();
        })
    };
    assert_eq!(run(&nested(0x0008_2218, Vr::UN), Options::default()).err().unwrap().code, "structure");
    run(&nested(0x0009_1001, Vr::UN), Options::default()).unwrap();
}

#[test]
fn requirement_12_faces_and_pictures_of_screens_wait_for_a_person() {
    let scan = |class: &str, samples: u8, photometric: &[u8], recognizable: &[u8]| {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0008, Vr::CS, b"ORIGINAL\\PRIMARY");
            put(w, 0x0008_0016, Vr::UI, class.as_bytes());
            put(w, 0x0008_0060, Vr::CS, b"MR");
            put(w, 0x0028_0002, Vr::US, &[samples, 0]);
            put(w, 0x0028_0004, Vr::CS, photometric);
            for (tag, value) in [(0x0028_0010, 1), (0x0028_0011, 2), (0x0028_0100, 8)] {
                put(w, tag, Vr::US, &[value, 0]);
            }
            put(w, 0x0028_0302, Vr::CS, recognizable);
            put(w, 0x7FE0_0010, Vr::OW, &[1; 6]);
        });
        run(&bytes, Options::default()).err().map(|refusal| (refusal.kind, refusal.code))
    };
    let risk = Some((Kind::NeedsReview, "burned-in-risk"));
    let (mr, colour) = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.3");
    for recognizable in [b"NO".as_slice(), b""] {
        assert_eq!(scan(mr, 1, b"MONOCHROME2", recognizable), None);
    }
    for recognizable in [b"YES".as_slice(), b"MAYBE"] {
        assert_eq!(scan(mr, 1, b"MONOCHROME2", recognizable), risk);
    }
    assert_eq!(scan(mr, 1, b"MONOCHROME1", b""), None);
    assert_eq!(scan(mr, 1, b"", b""), None);
    assert_eq!(scan(mr, 3, b"RGB", b""), risk);
    assert_eq!(scan(mr, 3, b"", b""), risk, "three samples are colours");
    assert_eq!(scan(mr, 1, b"PALETTE COLOR", b""), risk);
    assert_eq!(scan(colour, 3, b"RGB", b""), None, "a class of coloured images");
    assert_eq!(scan(colour, 3, b"RGB", b"YES"), risk);
}

#[test]
fn requirement_12_a_frame_or_a_part_of_a_screen_waits_for_a_person_at_any_depth() {
    let scan = |sequence: u32, tag: u32, kind: &[u8]| {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0008, Vr::CS, b"ORIGINAL\\PRIMARY\\VOLUME");
            put(w, 0x0008_0016, Vr::UI, CT_CLASS.as_bytes());
            put(w, 0x0008_0060, Vr::CS, b"CT");
            for (tag, value) in [(0x0028_0010, 1), (0x0028_0011, 2), (0x0028_0100, 8)] {
                put(w, tag, Vr::US, &[value, 0]);
            }
            w.sequence(Tag(sequence));
            w.item();
            w.sequence(Tag(0x0018_9329));
            w.item();
            put(w, tag, Vr::CS, kind);
            w.item_end().unwrap();
            w.sequence_end().unwrap();
            w.item_end().unwrap();
            w.sequence_end().unwrap();
            put(w, 0x7FE0_0010, Vr::OW, &[1; 2]);
        });
        run(&bytes, Options::default()).err().map(|refusal| (refusal.kind, refusal.code))
    };
    for tag in [0x0008_0008, 0x0008_9007] {
        let screen = scan(0x5200_9230, tag, b"ORIGINAL\\PRIMARY\\SCREEN SAVE");
        assert_eq!(screen, Some((Kind::NeedsReview, "burned-in-risk")), "{tag:08x}");
        assert_eq!(scan(0x5200_9230, tag, b"ORIGINAL\\PRIMARY\\VOLUME"), None, "{tag:08x}");
    }
}

#[test]
fn requirement_12_documents_films_and_unknown_syntaxes_are_refused() {
    let document = refusal(&|w| put(w, 0x0042_0011, Vr::OB, b"%PDF"));
    assert_eq!((document.kind, document.code), (Kind::Policy, "encapsulated-document"));
    for sequence in [0x0008_1140, 0x0008_2112] {
        let nested = refusal(&|w| {
            w.sequence(Tag(sequence));
            w.item();
            put(w, 0x0042_0011, Vr::OB, b"%PDF");
            w.item_end().unwrap();
            w.sequence_end().unwrap();
        });
        assert_eq!((nested.kind, nested.code), (Kind::Policy, "encapsulated-document"), "{sequence:08x}");
    }
    for (syntax, code) in [
        ("1.2.840.10008.1.2.4.100", "video"),
        ("1.2.840.10008.1.2.4.109", "video"),
        ("1.2.840.10008.1.2.4.95", "unsupported-syntax"),
        ("1.2.840.113619.5.2", "unsupported-syntax"),
        ("1.2.840.10008.1.2.4.100.1", "video"),
        ("1.2.840.10008.1.2.4.50.1", "unsupported-syntax"),
        ("1.2.840.10008.1.2.4.50.ZZMARK", "unsupported-syntax"),
        ("1.2.840.10008.1.2.4.+50", "unsupported-syntax"),
        ("1.2.840.10008.1.2.4.0050", "unsupported-syntax"),
    ] {
        let bytes = file(syntax, Encoding::ExplicitLittle, &dated);
        assert_eq!(run(&bytes, Options::default()).err().unwrap().code, code, "{syntax}");
    }
}

#[test]
fn what_may_be_a_recorded_voice_is_refused_and_a_heart_is_not() {
    let recorded = |class: &str, sequence: Option<Vr>| {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0016, Vr::UI, class.as_bytes());
            if let Some(vr) = sequence {
                w.header(Tag(0x5400_0100), vr, u32::MAX);
                w.sequence_end().unwrap();
            }
        });
        run(&bytes, Options::default()).err().map(|refusal| (refusal.kind, refusal.code))
    };
    let refused = Some((Kind::Policy, "video"));
    for audio in ["1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"] {
        assert_eq!(recorded(audio, Some(Vr::SQ)), refused);
        assert_eq!(recorded(audio, None), refused);
    }
    for class in [CT_CLASS, "", "1.2.840.10008.5.1.4.1.1.9.77", "2.999.9"] {
        assert_eq!(recorded(class, Some(Vr::SQ)), refused, "{class}");
        assert_eq!(recorded(class, Some(Vr::UN)), refused, "{class}");
        assert_eq!(recorded(class, None), None, "{class}");
    }
    assert_eq!(recorded("1.2.840.10008.5.1.4.1.1.9.1.1", Some(Vr::SQ)), None, "an electrocardiogram");
    let alone = refusal(&|w| {
        put(w, 0x0008_0016, Vr::UI, CT_CLASS.as_bytes());
        put(w, 0x5400_1010, Vr::OW, b"voice.");
    });
    assert_eq!(alone.code, "video", "data without its sequence");
}

#[test]
fn every_transfer_syntax_comes_out_as_it_went_in() {
    for (syntax, encoding) in [
        ("1.2.840.10008.1.2", Encoding::ImplicitLittle),
        (EXPLICIT, Encoding::ExplicitLittle),
        ("1.2.840.10008.1.2.1.99", Encoding::ExplicitLittle),
        ("1.2.840.10008.1.2.2", Encoding::ExplicitBig),
    ] {
        let (host, _) = run(&file(syntax, encoding, &dated), Options::default()).unwrap();
        let (header, _) = open(SliceSource::new(&host.written), DICTIONARY).unwrap();
        assert_eq!((header.transfer_syntax.as_str(), header.encoding), (syntax, encoding));
        assert_eq!(value(&host.written, &[0x0008_0020]).as_deref(), Some("20190624"), "{syntax}");
    }
}

#[test]
fn fragments_are_copied_with_their_offset_table() {
    let image = b"\xFF\xD8\xFF\xDA\0\x08\x01\x01\0\0\x3F\0frag\xFF\xD9";
    let bytes = file("1.2.840.10008.1.2.4.50", Encoding::ExplicitLittle, &|w| {
        put(w, 0x0008_0018, Vr::UI, b"2.999.1");
        w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
        w.fragment(4);
        w.raw(&[0; 4]).unwrap();
        w.fragment(18);
        w.raw(image).unwrap();
        w.sequence_end().unwrap();
        w.raw(b"ZZMARKTRAIL").unwrap();
    });
    let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    // What follows is a header that promises more than there is.
    assert_eq!(run(&bytes, accept).err().unwrap().code, "truncated");
    let (host, _) = run(&bytes[..bytes.len() - 5], accept).unwrap();
    let expected =
        [b"\0\0\0\0\xFE\xFF\x00\xE0\x12\0\0\0".as_slice(), image, b"\xFE\xFF\xDD\xE0\0\0\0\0"].concat();
    assert!(host.written.ends_with(&expected));
}

#[test]
fn bits_that_no_decoder_shows_are_cleared_where_there_is_an_overlay() {
    let cells = |signed: u16, overlay: bool, encoding: Encoding| {
        let number = |value: u16| encoding.u16_bytes(value);
        let big = encoding == Encoding::ExplicitBig;
        let bytes = file(if big { "1.2.840.10008.1.2.2" } else { EXPLICIT }, encoding, &|w| {
            for (tag, value) in
                [(2, 1), (0x10, 1), (0x11, 2), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, signed)]
            {
                put(w, 0x0028_0000 + tag, Vr::US, &number(value));
            }
            if overlay {
                put(w, 0x6000_0102, Vr::US, &number(12));
            }
            put(w, 0x7FE0_0010, Vr::OW, &[number(0xF123), number(0x1ABC), number(0x5A5A)].concat());
        });
        let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
        let (host, _) = run(&bytes, accept).unwrap();
        let (.., pixels) = elements(&host.written).pop().unwrap();
        let (pairs, _) = pixels.as_chunks::<2>();
        pairs
            .iter()
            .map(|pair| if big { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) })
            .collect::<Vec<_>>()
    };
    for encoding in [Encoding::ExplicitLittle, Encoding::ExplicitBig] {
        assert_eq!(cells(0, true, encoding), [0x0123, 0x0ABC, 0], "and bytes behind the image are zeroed");
        assert_eq!(cells(1, true, encoding), [0x0123, 0xFABC, 0], "the sign stays");
        assert_eq!(cells(0, false, encoding), [0xF123, 0x1ABC, 0]);
    }
}

/// An image of two pixels in one row and one frame, eight bits each, with something behind it, and one attribute that is other.
fn tailed(tag: u32, vr: Vr, value: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut all: std::collections::BTreeMap<u32, (Vr, &[u8])> = std::collections::BTreeMap::new();
    for (tag, value) in [(0x0028_0002, &[1, 0]), (0x0028_0010, &[1, 0]), (0x0028_0011, &[2, 0])] {
        all.insert(tag, (Vr::US, value));
    }
    all.insert(0x0028_0100, (Vr::US, &[8, 0]));
    all.insert(0x0028_0101, (Vr::US, &[8, 0]));
    all.insert(0x0028_0102, (Vr::US, &[7, 0]));
    all.insert(0x0028_0103, (Vr::US, &[0, 0]));
    all.insert(0x7FE0_0010, (Vr::OW, b"abZZMARKER"));
    all.insert(tag, (vr, value));
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
        for (tag, (vr, value)) in &all {
            put(w, *tag, *vr, value);
        }
    });
    let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    run(&bytes, accept).map(|(host, _)| host.written)
}

#[test]
fn spare_bits_of_cells_of_every_width_are_cleared_where_there_is_an_overlay() {
    let cells = |allocated: u8, stored: u8, signed: u8, pixels: &[u8]| {
        let out = explicit_accepted(&|w| {
            let columns = u8::try_from(pixels.len()).unwrap() / (allocated / 8);
            for (tag, value) in [(0x10, 1), (0x11, columns), (0x100, allocated), (0x101, stored)] {
                put(w, 0x0028_0000 + tag, Vr::US, &[value, 0]);
            }
            put(w, 0x0028_0103, Vr::US, &[signed, 0]);
            put(w, 0x6000_0102, Vr::US, &[stored, 0]);
            put(w, 0x7FE0_0010, Vr::OW, pixels);
        });
        let (.., pixels) = elements(&out).pop().unwrap();
        pixels
    };
    assert_eq!(cells(8, 7, 0, &[0xFF, 0x81]), [0x7F, 0x01]);
    assert_eq!(cells(8, 7, 1, &[0x3F, 0x41]), [0x3F, 0xC1], "the sign stays");
    assert_eq!(cells(32, 31, 0, &[1, 2, 3, 0x84, 5, 6, 7, 0xFF]), [1, 2, 3, 4, 5, 6, 7, 0x7F]);
    assert_eq!(cells(32, 12, 0, &[1, 0xF2, 3, 4]), [1, 2, 0, 0]);
    assert_eq!(cells(32, 12, 1, &[1, 0xF8, 3, 4, 1, 0xF7, 3, 4]), [1, 0xF8, 0xFF, 0xFF, 1, 7, 0, 0]);
    assert_eq!(cells(16, 8, 1, &[0x80, 0x5A, 0x7F, 0x5A]), [0x80, 0xFF, 0x7F, 0]);
    assert_eq!(cells(64, 63, 0, &[0xFF; 8]), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
}

#[test]
fn an_overlay_in_cells_that_cannot_be_cleared_waits_for_a_person() {
    let scan = |stored: u8, native: bool, overlay: &[(u32, u8)]| {
        let rle = "1.2.840.10008.1.2.5";
        let bytes = file(if native { EXPLICIT } else { rle }, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0008, Vr::CS, b"ORIGINAL\\PRIMARY");
            put(w, 0x0008_0016, Vr::UI, CT_CLASS.as_bytes());
            put(w, 0x0008_0060, Vr::CS, b"CT");
            for (tag, value) in [(0x10, 1), (0x11, 2), (0x100, 16), (0x101, stored)] {
                put(w, 0x0028_0000 + tag, Vr::US, &[value, 0]);
            }
            for (tag, value) in overlay {
                put(w, 0x6000_0000 + tag, Vr::US, &[*value, 0]);
            }
            if native {
                return put(w, 0x7FE0_0010, Vr::OW, &[0; 4]);
            }
            w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
            w.fragment(0);
            // Two pixels of two bytes each.
            let mut frame = [0; 72];
            (frame[0], frame[4], frame[8]) = (2, 64, 68);
            (frame[64], frame[68]) = (255, 255);
            w.fragment(72);
            w.raw(&frame).unwrap();
            w.sequence_end().unwrap();
        });
        run(&bytes, Options::default()).err().map(|refusal| (refusal.kind, refusal.code))
    };
    let risk = Some((Kind::NeedsReview, "burned-in-risk"));
    let (embedded, apart) = ([(0x100, 16), (0x102, 15)], [(0x100, 1), (0x102, 0), (0x3000, 0)]);
    assert_eq!(scan(12, true, &embedded), None, "cleared");
    assert_eq!(scan(12, false, &embedded), risk);
    assert_eq!(scan(16, true, &embedded), risk, "no bit to spare");
    assert_eq!(scan(12, true, &[(0x100, 16), (0x102, 3)]), risk, "a bit of the image itself");
    assert_eq!(scan(12, false, &[(0x10, 1), (0x11, 2)]), risk, "an overlay without data of its own");
    for native in [true, false] {
        assert_eq!(scan(12, native, &apart), None);
        assert_eq!(scan(16, native, &[(0x22, 0)]), None);
    }
}

#[test]
fn an_image_whose_size_is_not_certain_is_refused_and_nothing_stays_behind_one() {
    for (tag, vr, value) in [
        (0x0028_0010, Vr::US, [1, 0, 1, 0].as_slice()),
        (0x0028_0010, Vr::UL, &[1, 0, 0, 0]),
        (0x0028_0010, Vr::SS, &[1, 0]),
        (0x0028_0010, Vr::US, &[]),
        (0x0028_0010, Vr::US, &[0, 0]),
        (0x0028_0011, Vr::US, &[]),
        (0x0028_0002, Vr::US, &[1, 0, 1, 0]),
        (0x0028_0100, Vr::OB, &[8, 0]),
        (0x0028_0101, Vr::US, &[8, 0, 8, 0]),
        (0x0028_0102, Vr::UL, &[7, 0, 0, 0]),
        (0x0028_0103, Vr::US, &[0, 0, 0, 0]),
        (0x0028_0008, Vr::IS, b"1\\2"),
        (0x0028_0008, Vr::IS, b"one"),
        (0x0028_0008, Vr::IS, b"0"),
        (0x0028_0008, Vr::US, &[1, 0]),
    ] {
        let refusal = tailed(tag, vr, value).err().unwrap_or_else(|| panic!("{tag:08x} {value:?}"));
        assert_eq!((refusal.kind, refusal.code), (Kind::Malformed, "structure"), "{tag:08x} {value:?}");
    }
    // Fragments too are counted by the number of frames.
    for frames in [b"one".as_slice(), b"0", b"-1", b"1\\2", b"1.5", b"4294967296", b"18446744073709551617"] {
        let bytes = file("1.2.840.10008.1.2.4.50", Encoding::ExplicitLittle, &|w| {
            put(w, 0x0028_0008, Vr::IS, frames);
            w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
            w.fragment(0);
            w.sequence_end().unwrap();
        });
        let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
        let refusal = run(&bytes, accept).err().unwrap();
        assert_eq!((refusal.kind, refusal.code), (Kind::Malformed, "structure"), "{frames:?}");
    }
    for (tag, vr, value) in [
        (0x0028_0008, Vr::IS, b"1".as_slice()),
        (0x0028_0008, Vr::IS, b"+1"),
        (0x0028_0008, Vr::IS, b""),
        (0x0028_0010, Vr::UN, &[1, 0]),
        (0x0028_0002, Vr::US, &[]),
    ] {
        let out = tailed(tag, vr, value).unwrap();
        assert!(out.ends_with(b"ab\0\0\0\0\0\0\0\0"), "{tag:08x} {value:?}");
    }
    // Two pixels of which each has its brightness and one of two colours.
    for photometric in [b"YBR_FULL_422".as_slice(), b"YBR_PARTIAL_422"] {
        let out = explicit_accepted(&|w| {
            put(w, 0x0028_0002, Vr::US, &[3, 0]);
            put(w, 0x0028_0004, Vr::CS, photometric);
            put(w, 0x0028_0010, Vr::US, &[1, 0]);
            put(w, 0x0028_0011, Vr::US, &[2, 0]);
            put(w, 0x0028_0100, Vr::US, &[8, 0]);
            put(w, 0x7FE0_0010, Vr::OB, b"abcdZZ");
        });
        assert!(out.ends_with(b"abcd\0\0"));
    }
    // Bits Allocated are not those of floating-point pixels.
    let out = explicit_accepted(&|w| {
        put(w, 0x0028_0010, Vr::US, &[1, 0]);
        put(w, 0x0028_0011, Vr::US, &[1, 0]);
        put(w, 0x0028_0100, Vr::US, &[64, 0]);
        put(w, 0x7FE0_0008, Vr::OF, b"abcdZZMA");
    });
    assert!(out.ends_with(b"abcd\0\0\0\0"));
}

/// De-identifies explicit little endian whatever its pixels may show.
fn explicit_accepted(build: Build<'_>) -> Vec<u8> {
    let accept = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    run(&file(EXPLICIT, Encoding::ExplicitLittle, build), accept).unwrap().0.written
}

#[test]
fn a_value_longer_than_the_file_allocates_nothing() {
    let mut bytes = file(EXPLICIT, Encoding::ExplicitLittle, &dated);
    bytes.extend_from_slice(b"\xE0\x7F\x10\x00OW\0\0\xF0\xFF\xFF\xFF");
    assert_eq!(run(&bytes, Options::default()).err().unwrap().code, "truncated");
}

#[test]
fn a_deflate_bomb_is_refused() {
    let bomb = file("1.2.840.10008.1.2.1.99", Encoding::ExplicitLittle, &|w| {
        w.header(Tag::PIXEL_DATA, Vr::OW, 64 << 20);
        for _ in 0..64 {
            w.raw(&[0; 1 << 20]).unwrap();
        }
    });
    assert_eq!(run(&bomb, Options::default()).err().unwrap().code, "deflate-bomb");
}

#[test]
fn the_stage_gives_evidence_in_counts_and_refuses_unknown_settings() {
    let host = || {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0018, Vr::UI, b"2.999.1");
            dated(w);
        });
        let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE);
        host.port("image").pseudonym_key(b"a key for tests")
    };
    let (outcome, outputs) = host().run::<Deidentifier>().unwrap();
    let evidence = outcome.evidence.unwrap();
    assert_eq!((evidence.profile.as_str(), evidence.edition.as_str()), ("ps3.15-basic", "2026c"));
    assert!(evidence.actions.iter().any(|count| count.action == "date-shifted" && count.count == 3));
    assert!(outcome.findings.is_empty());
    assert!(outputs.len() == 1 && !holds(&outputs[0].bytes, "ZZMARK"));
    assert!(
        !holds(&outputs[0].bytes, "2.999.")
            && value(&outputs[0].bytes, &[0x0008_0018]).unwrap().starts_with("2.25.")
    );
    let fault = host().setting("dates", "remove").run::<Deidentifier>().unwrap_err();
    assert_eq!(fault.code(), Some("bad-setting"));
}

#[test]
fn a_table_that_is_not_whole_is_refused() {
    Table::parse(TABLE).unwrap();
    let header = TABLE.iter().position(|byte| *byte == b'\n').unwrap();
    let rows = &TABLE[header + 1..];
    let swapped = [&TABLE[..=header], &rows[14..28], &rows[..14], &rows[28..]].concat();
    for bytes in [
        &TABLE[..TABLE.len() - 14],
        &TABLE[..=header],
        &swapped,
        b"",
        b"martello-deid-table 1 edition=x rows=0\n",
    ] {
        assert_eq!(Table::parse(bytes).err().map(|refusal| refusal.code), Some("bad-table"));
    }
}

/// The table that ships with this text in the place of another of the same length.
fn table_with(what: &str, instead: &str) -> Vec<u8> {
    let text = String::from_utf8(TABLE.to_vec()).unwrap();
    assert!(text.contains(what) && what.len() == instead.len());
    text.replacen(what, instead, 1).into_bytes()
}

#[test]
fn a_table_that_the_compiler_has_not_prepared_says_what_it_says() {
    let shipped = Table::parse(TABLE).unwrap();
    let other = table_with("edition=2026c", "edition=2026x");
    let other = Table::parse(&other).unwrap();
    assert_eq!((shipped.edition(), other.edition()), ("2026c", "2026x"));
    let rows = TABLE.split(|byte| *byte == b'\n').skip(1);
    let digits = rows.filter_map(|row| std::str::from_utf8(row.get(..8)?).ok());
    let tags: Vec<u32> =
        digits.map(|digits| u32::from_str_radix(&digits.replace('x', "4"), 16).unwrap()).collect();
    assert_eq!(tags.len(), 655);
    for tag in tags.into_iter().flat_map(|tag| [tag, tag ^ 2, tag.wrapping_sub(1)]) {
        assert_eq!(shipped.action(Tag(tag)), other.action(Tag(tag)), "{tag:08x}");
    }
    // The accession number.
    let stricter = table_with("00080050 Z   \n", "00080050 X   \n");
    let found = |table: &Table<'_>| format!("{:?}", table.action(Tag(0x0008_0050)));
    assert_eq!(found(&shipped), "Some(Empty)");
    assert_eq!(found(&Table::parse(&stricter).unwrap()), "Some(Remove)");
}

#[test]
fn every_attribute_of_the_dictionary_has_its_representation_and_no_other_has_one() {
    let text = include_str!("../table/dictionary.txt");
    let mut rows = std::collections::BTreeMap::new();
    for row in text.lines().skip(1).filter(|row| !row[..8].contains('x')) {
        let tag = u32::from_str_radix(&row[..8], 16).unwrap();
        rows.insert(tag, Vr([row.as_bytes()[9], row.as_bytes()[10]]));
    }
    assert_eq!(rows.len(), 5088);
    for (tag, vr) in &rows {
        assert_eq!(DICTIONARY.vr(Tag(*tag)), (tag & 0x1_0000 == 0).then_some(*vr), "{tag:08x}");
        let next = tag + 1;
        if !rows.contains_key(&next) && next >> 16 < 0x1000 {
            assert_eq!(DICTIONARY.vr(Tag(next)), None, "{next:08x}");
        }
    }
}

#[test]
fn a_small_file_costs_one_read_one_write_and_three_calls_for_pseudonyms() {
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
        image(w, b"ORIGINAL\\PRIMARY", CT_CLASS, b"CT", b"NO");
    });
    let length = bytes.len() as u64;
    let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE).port("image");
    let (_, outputs) = host.run::<Deidentifier>().unwrap();
    let record = host.record();
    assert_eq!((record.reads.len(), record.reads.first()), (1, Some(&(0..length))));
    assert_eq!(record.writes, [outputs[0].bytes.len()]);
    assert_eq!(record.pseudonym_calls, 3);
}

#[test]
fn the_codes_are_listed_in_order_and_once() {
    assert!(CODES.is_sorted_by(|one, next| one < next));
}

fn arbitrary_element() -> impl Strategy<Value = (u32, [u8; 2], Vec<u8>)> {
    let tags = prop_oneof![
        Just(0x0008_0018_u32),
        Just(0x0008_0050),
        Just(0x0008_0080),
        Just(0x0008_1140),
        Just(0x0010_0010),
        Just(0x0010_0020),
        Just(0x0010_2203),
        Just(0x0020_000D),
        Just(0x0040_A075),
        Just(0x0040_A730),
        Just(0x0009_1001),
        Just(0x6000_3000),
        Just(0x0018_A003),
        any::<u32>().prop_map(|tag| tag | 0x0001_0000)
    ];
    let vrs = prop_oneof![
        Just(*b"LO"),
        Just(*b"PN"),
        Just(*b"UI"),
        Just(*b"UN"),
        Just(*b"DA"),
        Just(*b"OB"),
        Just(*b"ZZ")
    ];
    (
        tags,
        vrs,
        prop_oneof![Just(b"ZZMARKER".to_vec()), Just(b"2.999.7".to_vec()), Just(b"\\ZZMARK^X".to_vec())],
    )
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_come_out_readable(data in proptest::collection::vec(any::<u8>(), 0..512)) {
        crate::fuzz_deidentify(&data);
    }

    #[test]
    fn a_broken_file_is_refused_or_comes_out_readable_and_clean(
        at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = file(EXPLICIT, Encoding::ExplicitLittle, &report);
        let at = at.index(bytes.len());
        bytes[at] = with;
        bytes.truncate(cut.index(bytes.len()).max(200));
        crate::fuzz_deidentify(&bytes);
    }

    #[test]
    fn no_marker_survives(all in proptest::collection::vec(arbitrary_element(), 1..24), implicit in any::<bool>()) {
        // Tags ascend, else the file is refused.
        let all: std::collections::BTreeMap<_, _> =
            all.into_iter().map(|(tag, vr, value)| (tag, (vr, value))).collect();
        let (syntax, encoding) =
            if implicit { ("1.2.840.10008.1.2", Encoding::ImplicitLittle) } else { (EXPLICIT, Encoding::ExplicitLittle) };
        let bytes = file(syntax, encoding, &|w| {
            put(w, 0x0008_0005, Vr::CS, b"ISO_IR 100");
            for (tag, (vr, value)) in all.range(0x0008_0006..0x0008_2112) {
                put(w, *tag, Vr(*vr), value);
            }
            w.sequence(Tag(0x0008_2112));
            w.item();
            for (tag, (vr, value)) in &all {
                put(w, *tag, Vr(*vr), value);
            }
            w.item_end().unwrap();
            w.sequence_end().unwrap();
            for (tag, (vr, value)) in all.range(0x0008_2113..) {
                put(w, *tag, Vr(*vr), value);
            }
        });
        if let Ok((host, _)) = run(&bytes, Options::default()) {
            prop_assert!(!holds(&host.written, "ZZM") && !holds(&host.written, "2.999."));
        }
    }
}
