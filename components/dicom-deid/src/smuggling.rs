//! Identity planted in every place and every form that a file has, and asserted to be nowhere in what comes out.
//!
//! The patient is called what the markers say, so that also what the profile keeps has no excuse. The one place that
//! may hold a marker afterwards is the image itself: no pixel is decoded here.

use dicom_stream::{Encoding, SliceSource, Tag, Vr, Writer};
use martello_guest_sdk::mock;
use proptest::prelude::*;

use crate::dictionary::DICTIONARY;
use crate::tests::{EXPLICIT, TABLE, elements, explicit, file, holds, put, run, value};
use crate::{
    Deidentifier, Host, Kind, Options, PatientCharacteristics, PixelRisk, Refusal, StructuredContent, Table,
    deidentify,
};

const DICTIONARY_TEXT: &str = include_str!("../table/dictionary.txt");

const VRS: [&[u8; 2]; 35] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF",
    b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SS", b"ST", b"SV", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR",
    b"US", b"UT", b"UV", b"ZZ", b"SQ",
];

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

/// Every attribute of the standard, patterns with a number put in, ascending; with the standard's representation.
fn attributes() -> Vec<(u32, [u8; 2])> {
    let rows = DICTIONARY_TEXT.lines().skip(1).filter_map(|row| {
        let (tag, vr) = row.split_once(' ')?;
        Some((u32::from_str_radix(&tag.replace('x', "2"), 16).unwrap(), vr.as_bytes().try_into().unwrap()))
    });
    let mut all: Vec<_> = rows.filter(|(tag, _)| !is_apart(*tag)).collect();
    all.sort_unstable();
    all.dedup_by_key(|(tag, _)| *tag);
    all
}

#[test]
fn no_attribute_of_the_standard_lets_an_identity_through_in_any_representation() {
    let attributes = attributes();
    assert!(attributes.len() > 5000);
    let others = [b"LO", b"UN", b"OB", b"PN", b"DA", b"DS", b"US", b"UI"];
    let written = std::iter::once(None).chain(others.into_iter().map(Some));
    let syntaxes =
        [("1.2.840.10008.1.2", Encoding::ImplicitLittle), ("1.2.840.10008.1.2.2", Encoding::ExplicitBig)];
    let forms = syntaxes.map(|(syntax, encoding)| (syntax, encoding, None));
    let forms = forms.into_iter().chain(written.map(|vr| (EXPLICIT, Encoding::ExplicitLittle, vr)));
    for (form, (syntax, encoding, vr)) in forms.enumerate() {
        for (number, planted) in VALUES.iter().enumerate() {
            let all = |w: &mut Writer<Vec<u8>>, outermost: bool| {
                for (tag, standard) in &attributes {
                    let of_identity = IDENTITY.iter().find(|(identity, ..)| identity == tag);
                    if let Some((tag, vr, value)) = of_identity.filter(|_| outermost) {
                        put(w, *tag, *vr, value);
                        continue;
                    }
                    // Behind the file meta group these would belong to it.
                    if outermost && *tag < 0x0008_0000 {
                        continue;
                    }
                    let own = match standard {
                        // Such bytes are no items, and in implicit encoding the standard says that they should be.
                        b"SQ" if encoding == Encoding::ImplicitLittle => continue,
                        b"SQ" => b"LO",
                        [b'a'..=b'z', _] => b"OW",
                        standard => standard,
                    };
                    put(w, *tag, Vr(*vr.unwrap_or(own)), planted);
                }
            };
            let bytes = file(syntax, encoding, &|w| {
                // Every other one inside of an item.
                if (form + number) % 2 == 0 {
                    return all(w, true);
                }
                identity_before(w, 0x0008_1140, 0);
                w.sequence(Tag(0x0008_1140));
                w.item();
                all(w, false);
                w.item_end().unwrap();
                w.sequence_end().unwrap();
                identity_before(w, u32::MAX, 0x0008_1140);
            });
            let (host, _) = run(&bytes, ACCEPT).unwrap();
            let found = leaks(&host.written);
            assert!(found.is_empty(), "{syntax} {number} {vr:?}: {found:?} in {:?}", places(&host.written));
            assert!(!host.attributes.iter().any(|(_, value)| value.contains("ZZM")), "{:?}", host.attributes);
        }
    }
}

/// Where an identity is left, for whom the test above fails.
fn places(bytes: &[u8]) -> Vec<String> {
    let left = elements(bytes).into_iter().filter(|(_, _, value)| !leaks(value).is_empty());
    left.map(|(path, vr, value)| format!("{path:08X?} {vr:?} {:?}", String::from_utf8_lossy(&value)))
        .take(8)
        .collect()
}

/// Some element or sequence of a made-up file.
#[derive(Clone, Debug)]
enum Node {
    Element(u32, [u8; 2], &'static [u8]),
    Sequence(u32, Form, Vec<Vec<Node>>),
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// SQ without a length.
    Open,
    /// SQ with a length.
    Closed,
    /// UN without a length: implicit.
    OpenUnknown,
    /// UN with a length, its items implicit or explicit.
    Unknown(Encoding),
    /// OB with a length.
    Bytes,
}

fn node() -> impl Strategy<Value = Node> {
    let tags = prop_oneof![
        // Kept text, numbers, bytes; removed, emptied, replaced, mapped, shifted, pseudonymised.
        proptest::sample::select(vec![
            0x0018_1160_u32,
            0x0018_1020,
            0x0008_0008,
            0x0008_0060,
            0x0018_0050,
            0x0020_0013,
            0x0028_2000,
            0x0018_1160,
            0x0028_3006,
            0x0008_1030,
            0x0008_0050,
            0x0008_0080,
            0x0020_000D,
            0x0008_0016,
            0x0008_0020,
            0x0008_002A,
            0x0008_0030,
            0x0010_0010,
            0x0010_0020,
            0x0010_1010,
            0x0018_A003,
            0x0040_A160,
            0x0040_A123,
            0x0008_0005,
        ]),
        // Private, overlays, curves, padding, signatures, retired pixels and tables, group lengths, nobody's.
        proptest::sample::select(vec![
            0x0009_0010_u32,
            0x0009_1001,
            0x0029_1010,
            0x6000_3000,
            0x60FE_0022,
            0x5000_3000,
            0x501E_2500,
            0x0018_0000,
            0xFFFC_FFFC,
            0xFFFA_FFFA,
            0x7F02_0010,
            0x7FE0_0020,
            0x1000_0010,
            0x1010_0001,
            0x0008_9999,
            0x0002_0016,
            0x0000_0002,
            0x4008_4000,
        ]),
        any::<u32>().prop_map(|tag| if tag >> 16 == 0xFFFE || is_apart(tag) { 0x0011_0001 } else { tag }),
    ];
    let vrs = proptest::sample::select(VRS[..VRS.len() - 1].to_vec());
    let leaf = (tags, vrs, proptest::sample::select(VALUES.to_vec()))
        .prop_map(|(tag, vr, value)| Node::Element(tag, *vr, value));
    leaf.prop_recursive(4, 48, 4, |inner| {
        let sequences = proptest::sample::select(vec![
            0x0008_1140_u32,
            0x0008_2112,
            0x0040_A730,
            0x0040_0275,
            0x0010_1002,
            0x0400_0561,
            0x5200_9230,
            0x0029_1001,
            0x0088_0200,
            0x0008_9999,
        ]);
        let forms = proptest::sample::select(vec![
            Form::Open,
            Form::Closed,
            Form::OpenUnknown,
            Form::Unknown(Encoding::ImplicitLittle),
            Form::Unknown(Encoding::ExplicitLittle),
            Form::Bytes,
        ]);
        let items = prop::collection::vec(prop::collection::vec(inner, 1..4), 1..3);
        (sequences, forms, items).prop_map(|(tag, form, items)| Node::Sequence(tag, form, items))
    })
}

impl Node {
    fn tag(&self) -> u32 {
        match self {
            Self::Element(tag, ..) | Self::Sequence(tag, ..) => *tag,
        }
    }
}

/// Writes nodes as a file has to have them: tags ascend, each once.
fn write(w: &mut Writer<Vec<u8>>, nodes: &[Node]) {
    let mut nodes: Vec<&Node> = nodes.iter().collect();
    nodes.sort_by_key(|node| node.tag());
    nodes.dedup_by_key(|node| node.tag());
    for node in nodes {
        match node {
            // In implicit encoding the standard says what is a sequence: such bytes would be no file.
            Node::Element(tag, ..)
                if w.encoding() == Encoding::ImplicitLittle && DICTIONARY.vr(Tag(*tag)) == Some(Vr::SQ) => {}
            Node::Element(tag, vr, value) => put(w, *tag, Vr(*vr), value),
            Node::Sequence(tag, Form::Open, items) => {
                w.sequence(Tag(*tag));
                write_items(w, items);
                w.sequence_end().unwrap();
            }
            Node::Sequence(tag, form, items) => {
                let (vr, inner) = match form {
                    Form::OpenUnknown => (Vr::UN, Encoding::ImplicitLittle),
                    Form::Unknown(inner) => (Vr::UN, *inner),
                    Form::Bytes => (Vr::OB, w.encoding()),
                    _ => (Vr::SQ, w.encoding()),
                };
                let inner =
                    if w.encoding() == Encoding::ImplicitLittle { Encoding::ImplicitLittle } else { inner };
                let mut apart = Writer::new(Vec::new(), 64);
                apart.begin(&[], inner, false).unwrap();
                write_items(&mut apart, items);
                let bytes = apart.finish().unwrap().split_off(128 + 4 + 12);
                if let Form::OpenUnknown = form {
                    w.header(Tag(*tag), vr, u32::MAX);
                    w.raw(&bytes).unwrap();
                    w.sequence_end().unwrap();
                } else {
                    put(w, *tag, vr, &bytes);
                }
            }
        }
    }
}

fn write_items(w: &mut Writer<Vec<u8>>, items: &[Vec<Node>]) {
    for item in items {
        w.item();
        // Content items that stay, so that what is in them is seen.
        let mut nodes = vec![Node::Element(0x0040_A040, *b"CS", b"CONTAINER")];
        nodes.extend_from_slice(item);
        write(w, &nodes);
        w.item_end().unwrap();
    }
}

proptest! {
    #[test]
    fn no_tree_of_elements_lets_an_identity_through(
        nodes in prop::collection::vec(node(), 1..12),
        syntax in proptest::sample::select(vec![
            (EXPLICIT, Encoding::ExplicitLittle), ("1.2.840.10008.1.2", Encoding::ImplicitLittle),
            ("1.2.840.10008.1.2.1.99", Encoding::ExplicitLittle), ("1.2.840.10008.1.2.2", Encoding::ExplicitBig),
        ]),
        keeps in any::<bool>(),
    ) {
        let mut bytes = file(syntax.0, syntax.1, &|w| {
            let mut all = vec![Node::Element(0x0008_0000, *b"UL", &[0; 4])];
            all.extend(IDENTITY.map(|(tag, vr, value)| Node::Element(tag, vr.0, value)));
            all.extend(nodes.iter().filter(|node| node.tag() > 0x0008_0000).cloned());
            write(w, &all);
        });
        if syntax.0 != "1.2.840.10008.1.2.1.99" {
            bytes.extend_from_slice(&[0; 8]);
        }
        bytes.extend_from_slice(b"ZZMARK behind the data set");
        let options = if keeps { ACCEPT } else { Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() } };
        match run(&bytes, options) {
            Err(refusal) => prop_assert!(!refusal.to_string().contains("ZZM"), "{refusal}"),
            Ok((host, summary)) => {
                // A deflated stream hides what it holds.
                let inflated = if syntax.0.ends_with("99") { elements(&host.written).into_iter().flat_map(|(.., value)| value).collect() } else { host.written.clone() };
                let found = leaks(&inflated);
                prop_assert!(found.is_empty(), "{found:?} in {:?}", places(&host.written));
                prop_assert!(host.written.starts_with(&[0; 128]) && leaks(summary.paths.as_bytes()).is_empty());
            }
        }
    }
}

#[test]
fn a_kept_value_that_repeats_what_goes_is_emptied_and_the_others_stay() {
    let (out, _, summary) = explicit(&|w| {
        identity_before(w, 0x0008_0070, 0);
        put(w, 0x0008_0070, Vr::LO, b"Acme");
        put(w, 0x0008_0080, Vr::LO, b"Acme Laboratory");
        put(w, 0x0008_1090, Vr::LO, b"Acme Laboratory 3000");
        identity_before(w, u32::MAX, 0x0008_0070);
        w.sequence(Tag(0x0010_1002));
        w.item();
        put(w, 0x0010_0020, Vr::LO, b"OTHER-4");
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0018_0050, Vr::DS, b"5.0");
        put(w, 0x0018_1020, Vr::LO, b"1.0\\for other-4.");
        put(w, 0x0018_1160, Vr::SH, b"von Acme");
        put(w, 0x0018_1210, Vr::SH, b"STD\\SOFT");
        put(w, 0x0018_7050, Vr::CS, b"AT ACME LABORATORY");
        put(w, 0x0020_0013, Vr::IS, b"47114711");
        put(w, 0x0028_2000, Vr::OB, b"icc\0ZZMARKPID5\0");
    });
    for (tag, expected) in [
        (0x0008_0070, "Acme"),
        (0x0008_1090, "Acme Laboratory 3000"),
        (0x0018_0050, "5.0"),
        (0x0018_1020, ""),
        (0x0018_1160, ""),
        (0x0018_1210, "STD\\SOFT"),
        (0x0018_7050, ""),
        (0x0020_0013, ""),
        (0x0028_2000, ""),
    ] {
        assert_eq!(value(&out, &[tag]).as_deref(), Some(expected), "{tag:08x}");
    }
    assert!(summary.notes.contains(&"residual-identity-emptied"));
}

#[test]
fn large_values_are_searched_to_their_end_and_what_is_too_large_to_search_is_text_that_goes() {
    let padded = |length: usize| [vec![b' '; length - 10], b"ZZMARKPID5".to_vec()].concat();
    for (tag, vr, length, stays) in [
        (0x0028_2000, Vr::OB, 64 * 1024 + 2, Some("")),
        (0x0028_2000, Vr::OB, 1 << 20, Some("")),
        (0x0018_1020, Vr::UT, 1 << 20, Some("")),
        (0x0018_1020, Vr::UT, (1 << 20) + 2, None),
    ] {
        let (out, _, _) = explicit(&|w| {
            identity(w);
            put(w, tag, vr, &padded(length));
        });
        assert_eq!(value(&out, &[tag]).as_deref(), stays, "{tag:08x} {length}");
    }
}

#[test]
fn a_name_that_only_a_removed_sequence_gives_is_looked_for_too() {
    for form in [Form::Open, Form::Closed, Form::OpenUnknown, Form::Unknown(Encoding::ImplicitLittle)] {
        let person = vec![vec![
            Node::Element(0x0010_0020, *b"LO", b"OTHER-4"),
            Node::Sequence(
                0x0040_1101,
                Form::Open,
                vec![vec![Node::Element(0x0040_A123, *b"PN", b"Earlier^Name")]],
            ),
        ]];
        let (out, _, _) = explicit(&|w| {
            write(w, &[Node::Sequence(0x0010_1002, form, person.clone())]);
            put(w, 0x0018_1160, Vr::SH, b"for EARLIER");
            put(w, 0x0018_1210, Vr::SH, b"Other-4");
            put(w, 0x0018_7050, Vr::CS, b"MOLYBDENUM");
        });
        assert_eq!(value(&out, &[0x0018_1160]).as_deref(), Some(""), "{form:?}");
        assert_eq!(value(&out, &[0x0018_1210]).as_deref(), Some(""), "{form:?}");
        assert_eq!(value(&out, &[0x0018_7050]).as_deref(), Some("MOLYBDENUM"), "{form:?}");
    }
}

#[test]
fn a_name_or_a_date_in_another_representation_is_looked_for_too() {
    for vr in [Vr::OB, Vr::UT, Vr::UN, Vr::LO, Vr::PN] {
        let (out, _, _) = explicit(&|w| {
            put(w, 0x0010_0010, vr, b"Earlier^Name");
            put(w, 0x0010_0030, vr, b"19310317");
            put(w, 0x0018_1160, Vr::SH, b"for EARLIER");
            put(w, 0x0018_7050, Vr::CS, b"17.03.1931");
        });
        assert_eq!(value(&out, &[0x0018_1160]).as_deref(), Some(""), "{vr:?}");
        assert_eq!(value(&out, &[0x0018_7050]).as_deref(), Some(""), "{vr:?}");
    }
}

#[test]
fn what_the_next_stage_is_told_names_nobody() {
    for (modality, expected) in [(b"CT".as_slice(), Some("CT")), (b"ZZMARKFAM", None), (b"C T", None)] {
        let (_, host, _) = explicit(&|w| {
            put(w, 0x0008_0060, Vr::CS, modality);
            put(w, 0x0010_0010, Vr::PN, b"ZZMARKFAM^G");
        });
        let told =
            host.attributes.iter().find(|(name, _)| name == "modality").map(|(_, value)| value.as_str());
        assert_eq!(told, expected);
    }
}

#[test]
fn names_in_other_scripts_go_and_so_do_their_repetitions() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0005, Vr::CS, b"ISO_IR 192");
        put(w, 0x0010_0010, Vr::PN, "Yamada^Tarou=山田^太郎=やまだ^たろう".as_bytes());
        put(w, 0x0018_1160, Vr::SH, "山田".as_bytes());
        put(w, 0x0018_1210, Vr::SH, "柔らかい".as_bytes());
    });
    assert!(!holds(&out, "山田") && !holds(&out, "Yamada") && !holds(&out, "たろう"));
    assert_eq!(value(&out, &[0x0018_1210]).as_deref(), Some("柔らかい"), "other text keeps its characters");
    assert_eq!(value(&out, &[0x0008_0005]).as_deref(), Some("ISO_IR 192"));
    let name = value(&out, &[0x0010_0010]).unwrap();
    assert!(name.starts_with("PSEUDONYM") && name.is_ascii(), "{name}");
}

#[test]
fn a_class_that_is_also_the_name_of_a_thing_is_none() {
    let (out, _, _) = explicit(&|w| {
        put(w, 0x0008_0016, Vr::UI, b"2.999.4711.1");
        put(w, 0x0008_0018, Vr::UI, b"2.999.4711.1");
        put(w, 0x0008_010C, Vr::UI, b"1.3.6.1.4.1.5962.98.1");
    });
    assert!(!holds(&out, "2.999."), "in the file meta group neither");
    assert_eq!(value(&out, &[0x0008_0016]).as_deref(), Some(""));
    assert_eq!(value(&out, &[0x0008_010C]).as_deref(), Some("1.3.6.1.4.1.5962.98.1"));
}

#[test]
fn what_a_private_block_holds_goes_whole_and_what_follows_stays() {
    let mut hidden = Writer::new(Vec::new(), 64);
    hidden.begin(&[], Encoding::ImplicitLittle, false).unwrap();
    hidden.item();
    put(&mut hidden, 0x0010_0010, Vr::PN, b"ZZMARKHIDDEN");
    hidden.item_end().unwrap();
    let hidden = hidden.finish().unwrap().split_off(128 + 4 + 12);
    let (out, _, summary) = explicit(&|w| {
        put(w, 0x0019_0010, Vr::LO, b"ZZMARK CREATOR");
        w.sequence(Tag(0x0019_1001));
        w.item();
        put(w, 0x0008_0060, Vr::CS, b"ZZMARKCS");
        w.sequence(Tag(0x0019_1002));
        w.item();
        put(w, 0x0010_0010, Vr::PN, b"ZZMARKDEEP");
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        w.item_end().unwrap();
        w.sequence_end().unwrap();
        put(w, 0x0019_1003, Vr::UN, &hidden);
        w.header(Tag(0x0019_1004), Vr::UN, u32::MAX);
        w.raw(&hidden).unwrap();
        w.sequence_end().unwrap();
        put(
            w,
            0x0019_1005,
            Vr::SQ,
            b"\xFE\xFF\x00\xE0\xFF\x00\x00\x00 damaged, and it does not matter: ZZMARK",
        );
        put(w, 0x0020_0013, Vr::IS, b"7");
    });
    assert!(!holds(&out, "ZZM"));
    assert_eq!(value(&out, &[0x0020_0013]).as_deref(), Some("7"));
    let odd =
        elements(&out).into_iter().filter(|(path, ..)| path.iter().any(|tag| tag & 0x1_0000 != 0)).count();
    assert_eq!(odd, 0, "no odd group");
    assert!(summary.paths.contains("(0019,1001) removed") && summary.paths.contains("(0019,1004) removed"));
}

#[test]
fn files_of_every_shape_are_read_and_come_out_in_one() {
    let plain = |syntax: &str, encoding| {
        file(syntax, encoding, &|w| {
            identity_before(w, 0x0008_0060, 0);
            put(w, 0x0008_0060, Vr::CS, b"CT");
            identity_before(w, u32::MAX, 0x0008_0060);
            put(w, 0x0020_0013, Vr::IS, b"7");
        })
    };
    let explicit = plain(EXPLICIT, Encoding::ExplicitLittle);
    let implicit = plain("1.2.840.10008.1.2", Encoding::ImplicitLittle);
    let big = plain("1.2.840.10008.1.2.2", Encoding::ExplicitBig);
    let set_of = |bytes: &[u8]| {
        let at = bytes.windows(6).position(|window| {
            window == b"\x08\0\x18\0UI" || window == b"\0\x08\0\x18UI" || window == b"\x08\0\x18\0\x0C\0"
        });
        bytes[at.unwrap()..].to_vec()
    };
    for (name, bytes) in [
        ("no preamble, no meta group", set_of(&explicit)),
        ("the same, implicit", set_of(&implicit)),
        ("the same, big endian", set_of(&big)),
        ("a prefix alone", [b"DICM".as_slice(), &explicit[132..]].concat()),
        ("no meta group behind the prefix", [&explicit[..132], &set_of(&implicit)].concat()),
        ("trailing zeros", [explicit.as_slice(), &[0; 64], b"ZZMARK"].concat()),
        ("a few bytes too many", [explicit.as_slice(), b"ZZMARK"].concat()),
        ("trailing padding", [explicit.as_slice(), b"\xFC\xFF\xFC\xFFOB\0\0\x06\0\0\0ZZMARK"].concat()),
    ] {
        let (host, _) = run(&bytes, Options::default()).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let out = host.written;
        assert!(leaks(&out).is_empty(), "{name}");
        assert_eq!(value(&out, &[0x0020_0013]).as_deref(), Some("7"), "{name}");
        assert!(out[..128] == [0; 128] && &out[128..132] == b"DICM", "{name}");
        let meta: Vec<u16> = group_2(&out);
        assert_eq!(meta, [0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013], "{name}");
    }
    for (bytes, code) in [
        (b"hello".to_vec(), "not-dicom"),
        (vec![0; 4096], "empty-data-set"),
        (explicit[..explicit.len() - 1].to_vec(), "truncated"),
        (explicit[..132].to_vec(), "empty-data-set"),
    ] {
        assert_eq!(run(&bytes, Options::default()).err().map(|refusal| refusal.code), Some(code));
    }
}

/// The element numbers of the file meta group, in order.
fn group_2(bytes: &[u8]) -> Vec<u16> {
    let (mut at, mut all) = (132, Vec::new());
    while bytes.get(at..at + 2) == Some(&[2, 0]) {
        all.push(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
        let long = &bytes[at + 4..at + 6] == b"OB";
        let length = if long { usize::from(bytes[at + 8]) + 4 } else { usize::from(bytes[at + 6]) };
        at += 8 + length;
    }
    all
}

#[test]
fn offset_tables_stay_where_they_say_what_is_so() {
    let image = |basic: &[u8], begins: &[u8], lengths: &[u8]| {
        let bytes = file("1.2.840.10008.1.2.4.50", Encoding::ExplicitLittle, &|w| {
            identity(w);
            put(w, 0x0028_0008, Vr::IS, b"2");
            if !begins.is_empty() {
                put(w, 0x7FE0_0001, Vr::OV, begins);
                put(w, 0x7FE0_0002, Vr::OV, lengths);
            }
            w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
            w.fragment(u32::try_from(basic.len()).unwrap());
            w.raw(basic).unwrap();
            for pixels in ["one", "two."] {
                let fragment = jpeg(b"", pixels.as_bytes());
                w.fragment(18);
                w.raw(&[fragment.as_slice(), &[0]].concat()[..18]).unwrap();
            }
            w.sequence_end().unwrap();
        });
        let (host, _) = run(&bytes, ACCEPT).unwrap();
        assert!(holds(&host.written, "one") && holds(&host.written, "two."));
        host.written
    };
    let basic = [0_u32, 26].map(u32::to_le_bytes).concat();
    let begins = [0_u64, 26].map(u64::to_le_bytes).concat();
    let lengths = [17_u64, 18].map(u64::to_le_bytes).concat();
    let item = |bytes: &[u8]| {
        [b"\xFE\xFF\x00\xE0".as_slice(), &[u8::try_from(bytes.len()).unwrap(), 0, 0, 0], bytes].concat()
    };
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);

    let whole = image(&basic, &begins, &lengths);
    assert!(has(&whole, &item(&basic)) && has(&whole, &begins) && has(&whole, &lengths));
    assert!(has(&image(&basic[..4], &[], &[]), &item(&basic[..4])), "a table that is cut");
    assert!(has(&image(&[], &[], &[]), &item(&[])));
    for wrong in [b"\0\0\0\0ZZMA".as_slice(), b"ZZMARK.."] {
        let out = image(wrong, &[], &[]);
        assert!(leaks(&out).is_empty() && has(&out, &[&b"OB\0\0\xFF\xFF\xFF\xFF"[..], &item(&[])].concat()));
    }
    for (begins, lengths) in [
        (begins.as_slice(), b"ZZMARK..ZZMARK..".as_slice()),
        (b"ZZMARK..ZZMARK..", &lengths),
        (&begins, b"ZZMARK"),
        (&begins[..8], &lengths[..8]),
    ] {
        let out = image(&[], begins, lengths);
        assert!(
            leaks(&out).is_empty()
                && value(&out, &[0x7FE0_0001]).is_none()
                && value(&out, &[0x7FE0_0002]).is_none()
        );
    }
}

/// A whole image of JPEG: fourteen bytes around `pixels`, and what is put ahead of its scan.
fn jpeg(ahead: &[u8], pixels: &[u8]) -> Vec<u8> {
    [b"\xFF\xD8", ahead, b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0", pixels, b"\xFF\xD9"].concat()
}

/// An object of four pixels with these fragments, de-identified.
fn fragmented(
    syntax: &str,
    frames: &[u8],
    fragments: &[&[u8]],
) -> Result<(Vec<u8>, Vec<&'static str>), Refusal> {
    let bytes = file(syntax, Encoding::ExplicitLittle, &|w| {
        identity(w);
        put(w, 0x0028_0008, Vr::IS, frames);
        for (tag, value) in [(0x0028_0010, 2), (0x0028_0011, 2), (0x0028_0100, 8)] {
            put(w, tag, Vr::US, &[value, 0]);
        }
        w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
        w.fragment(0);
        for fragment in fragments {
            let padded = [fragment, &[0][..fragment.len() % 2]].concat();
            w.fragment(u32::try_from(padded.len()).unwrap());
            w.raw(&padded).unwrap();
        }
        w.sequence_end().unwrap();
    });
    run(&bytes, ACCEPT).map(|(host, summary)| (host.written, summary.notes))
}

const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";
const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";
const DEFLATED_FRAMES: &str = "1.2.840.10008.1.2.8.1";

/// Four pixels with run-lengths, and what stands behind them.
fn run_length(behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    (frame[0], frame[4]) = (1, 64);
    [frame.as_slice(), &[3], b"abcd", behind].concat()
}

/// Deflated bytes (stored), and what stands behind them.
fn deflated_frame(pixels: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    dicom_stream::Deflater::default().write(pixels, true, &mut out);
    [out.as_slice(), behind].concat()
}

#[test]
fn comments_in_the_headers_of_frames_are_blanked() {
    let (out, notes) = fragmented(JPEG, b"1", &[&jpeg(b"\xFF\xFE\x00\x10for ZZMARKFAM5", b"ok")]).unwrap();
    assert!(leaks(&out).is_empty() && holds(&out, "ok"));
    assert!(notes.contains(&"frame-comments-blanked"));
}

#[test]
fn fragments_are_as_many_frames_as_the_object_says_and_hold_nothing_else() {
    let image = jpeg(b"", b"pixel");
    let (front, back) = image.split_at(16);
    let (text, tailed) = (b"ZZMARK", [&image, b"ZZMARK".as_slice()].concat());
    let blanked: [(&[u8], &[&[u8]]); 6] = [
        (b"", &[&image, text]),
        (b"1", &[&tailed, text]),
        (b"1", &[&image, &jpeg(b"", text)]),
        (b"1", &[front, back, text]),
        (b"2", &[&tailed, &tailed]),
        (b"2", &[front, &[back, text].concat(), &tailed]),
    ];
    for (frames, fragments) in blanked {
        let (out, _) = fragmented(JPEG, frames, fragments).unwrap();
        assert!(leaks(&out).is_empty(), "{frames:?} {fragments:?}");
    }
    let refused: [(&[u8], &[&[u8]]); 6] = [
        (b"2", &[&image, &image, text]),
        (b"2", &[&image, &image, &image]),
        (b"2", &[&image]),
        (b"2", &[front, back, b"\0\0"]),
        (b"1", &[text]),
        (b"1", &[]),
    ];
    for (frames, fragments) in refused {
        let refusal = fragmented(JPEG, frames, fragments).err().unwrap();
        assert_eq!(
            (refusal.kind, refusal.code),
            (Kind::NeedsReview, "frame-data"),
            "{frames:?} {fragments:?}"
        );
    }
    for (syntax, frame) in [
        (RLE, run_length(b"")),
        (JPEG_XL, b"\xFF\x0Aabcd".to_vec()),
        (DEFLATED_FRAMES, deflated_frame(b"abcd", b"")),
    ] {
        assert!(fragmented(syntax, b"2", &[&frame, &frame]).is_ok(), "{syntax}");
        for (frames, fragments) in [(b"1", [frame.as_slice(), text]), (b"1", [&frame, &frame])] {
            let refusal = fragmented(syntax, frames, &fragments).err().unwrap();
            assert_eq!((refusal.kind, refusal.code), (Kind::NeedsReview, "frame-data"), "{syntax}");
        }
    }
}

#[test]
fn what_stands_behind_the_pixels_of_a_frame_in_its_fragment_is_blanked() {
    for (syntax, frame) in
        [(RLE, run_length(b"ZZMARK")), (DEFLATED_FRAMES, deflated_frame(b"abcd", b"ZZMARK"))]
    {
        let (out, notes) = fragmented(syntax, b"1", &[&frame]).unwrap();
        assert!(leaks(&out).is_empty() && notes.contains(&"frame-comments-blanked"), "{syntax}");
    }
    for pixels in [b"abc".as_slice(), b"abcdef", b"abcdefghijklm"] {
        assert_eq!(
            fragmented(DEFLATED_FRAMES, b"1", &[&deflated_frame(pixels, b"")]).err().unwrap().code,
            "frame-data"
        );
    }
    assert_eq!(fragmented(DEFLATED_FRAMES, b"1", &[b"ZZMARK"]).err().unwrap().code, "frame-data");
}

#[test]
fn what_goes_is_looked_for_in_compressed_frames_also_across_their_fragments() {
    let name = b"\x01ZZMARKFAM5\x02";
    let whole = jpeg(b"", name);
    let (front, back) = whole.split_at(18);
    let literal = {
        let mut frame = run_length(b"");
        frame.truncate(65);
        [frame.as_slice(), b"1931"].concat()
    };
    for (syntax, fragments) in [
        (JPEG, vec![whole.as_slice()]),
        (JPEG, vec![front, back]),
        (JPEG_XL, vec![b"\xFF\x0A47114711".as_slice()]),
        (JPEG_XL, vec![b"\xFF\x0A\x0119310317\x02"]),
    ] {
        let refusal = fragmented(syntax, b"1", &fragments).err().unwrap();
        assert_eq!((refusal.kind, refusal.code), (Kind::NeedsReview, "frame-data"), "{syntax} {fragments:?}");
    }
    assert!(fragmented(RLE, b"1", &[&literal]).is_ok(), "a year alone is no date");
}

#[test]
fn every_row_of_the_table_is_carried_out_and_leaves_a_legal_value() {
    let table = Table::parse(TABLE).unwrap();
    let rows = std::str::from_utf8(TABLE).unwrap().lines().skip(1);
    let mut carried_out = 0;
    for (tag, action) in rows.filter_map(|row| row.split_once(' ')) {
        let tag = u32::from_str_radix(&tag.replace('x', "2"), 16).unwrap();
        let Some(standard) = DICTIONARY.vr(Tag(tag)) else { continue };
        if tag >> 16 < 8 || is_apart(tag) {
            continue;
        }
        let original = original_of(standard);
        let (out, _, _) = explicit(&|w| {
            put(w, 0x0008_0005, Vr::CS, b"ISO_IR 100");
            if standard == Vr::SQ {
                w.sequence(Tag(tag));
                w.item();
                put(w, 0x0008_0100, Vr::SH, b"T-1");
                w.item_end().unwrap();
                w.sequence_end().unwrap();
            } else {
                put(w, tag, if standard.0[0].is_ascii_lowercase() { Vr::OW } else { standard }, original);
            }
        });
        carried_out += 1;
        let all = elements(&out);
        let now = all.iter().find(|(path, ..)| path == &[tag]).map(|(_, vr, value)| (*vr, value.as_slice()));
        let text =
            now.map(|(_, value)| String::from_utf8_lossy(value).trim_end_matches([' ', '\0']).to_owned());
        let shifted = matches!(standard, Vr::DA | Vr::DT);
        let here = format!("{tag:08X} {standard:?} {action:?} became {now:?}");
        match action.trim() {
            "X" => assert!(now.is_none(), "{here}"),
            _ if tag == 0x0010_0010 || tag == 0x0010_0020 => {
                assert!(text.unwrap().starts_with("PSEUDONYM"), "{here}");
            }
            _ if tag == 0x0010_0030 => assert_eq!(text.as_deref(), Some(""), "{here}"),
            _ if shifted => assert!(text.unwrap().starts_with("20190624"), "{here}"),
            _ if standard == Vr::TM => assert_eq!(text.as_deref(), Some("101112"), "{here}"),
            "U" => assert!(text.unwrap().starts_with("2.25."), "{here}"),
            "XZU" if standard == Vr::SQ => {
                assert!(all.iter().any(|(path, ..)| path == &[tag, 0x0008_0100]), "{here}");
            }
            "Z" | "X/Z" => assert_eq!(text.as_deref(), Some(""), "{here}"),
            "D" | "Z/D" | "X/D" | "XZD" if standard == Vr::SQ => {
                assert!(now.is_some() && !all.iter().any(|(path, ..)| path == &[tag, 0x0008_0100]), "{here}");
            }
            "D" | "Z/D" | "X/D" | "XZD" => {
                let (vr, value) = now.unwrap_or_else(|| panic!("{here}"));
                assert!(value != original && !value.is_empty() && is_legal(vr, value), "{here}");
            }
            _ => panic!("{here}"),
        }
    }
    assert!(carried_out > 600 && table.edition() == "2026c", "{carried_out}");
}

/// A value that the representation allows.
fn original_of(vr: Vr) -> &'static [u8] {
    match &vr.0 {
        b"AS" => b"042Y",
        b"DA" => b"20190704",
        b"DT" => b"20190704101112",
        b"TM" => b"101112",
        b"UI" => b"2.999.4711.1",
        b"DS" | b"IS" => b"42",
        _ => b"ORIGINAL",
    }
}

/// Whether a value can be what PS3.5 section 6.2 asks of its representation.
fn is_legal(vr: Vr, value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).trim_end().to_owned();
    let digits = |count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let even = value.len().is_multiple_of(2);
    even && match &vr.0 {
        b"AE" | b"SH" => text.len() <= 16,
        b"CS" => {
            text.len() <= 16
                && text
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'_'))
        }
        b"AS" => {
            text.len() == 4
                && text.ends_with(['D', 'W', 'M', 'Y'])
                && text[..3].bytes().all(|b| b.is_ascii_digit())
        }
        b"DA" => digits(8),
        b"DT" => digits(14),
        b"TM" => digits(6),
        b"DS" | b"IS" => text.parse::<f64>().is_ok(),
        b"LO" | b"PN" => text.len() <= 64,
        b"AT" | b"FL" | b"OF" | b"OL" | b"SL" | b"UL" => value.len().is_multiple_of(4),
        b"FD" | b"OD" | b"OV" | b"SV" | b"UV" => value.len().is_multiple_of(8),
        b"UR" => !text.contains(' '),
        _ => true,
    }
}

/// The identity of a file under the mock host's key: instance, study, patient, study date.
fn pseudonyms(key: &[u8], patient: &[u8], date: &[u8]) -> [String; 4] {
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
        put(w, 0x0008_0018, Vr::UI, b"2.999.4711.1");
        put(w, 0x0008_0020, Vr::DA, date);
        put(w, 0x0010_0010, Vr::PN, date);
        put(w, 0x0010_0020, Vr::LO, patient);
        put(w, 0x0020_000D, Vr::UI, b"2.999.4711.2");
    });
    let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE).port("image");
    let (outcome, outputs) = host.pseudonym_key(key).run::<Deidentifier>().unwrap();
    let notes = outcome.evidence.unwrap().notes;
    assert!(notes.iter().any(|note| note.starts_with("pseudonym-key-mock-")), "{notes:?}");
    [0x0008_0018, 0x0020_000D, 0x0010_0020, 0x0008_0020].map(|tag| value(&outputs[0].bytes, &[tag]).unwrap())
}

#[test]
fn requirement_4_and_5_pseudonyms_are_alike_in_all_files_of_a_site_and_in_those_of_no_other() {
    let one = pseudonyms(b"site", b"4711", b"20190704");
    assert_eq!(pseudonyms(b"site", b"4711 ", b"20190704"), one, "padding is none of the number");
    let next = pseudonyms(b"site", b"4711", b"20190705");
    assert_eq!(next[..3], one[..3]);
    assert_ne!(next[3], one[3]);
    let other = pseudonyms(b"elsewhere", b"4711", b"20190704");
    assert!((0..4).all(|at| other[at] != one[at]), "{other:?}");
    assert_ne!(pseudonyms(b"site", b"4712", b"20190704")[3], one[3], "another patient moves by other days");
    for uid in &one[..2] {
        let number: u128 = uid.strip_prefix("2.25.").unwrap().parse().unwrap();
        assert_eq!(((number >> 76) & 0xF, (number >> 62) & 0b11), (8, 0b10), "a UUID of version 8");
        assert!(uid.len() <= 64 && !uid.contains(".0"));
    }
    assert!(
        one[2].len() == 16 && one[2].bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
    );
    assert!(one[3].as_str() < "20190704", "dates move back");
}

#[test]
fn requirement_4_a_host_whose_uids_have_leading_zeros_or_too_many_characters_is_refused() {
    struct Odd(&'static str);
    impl Host for Odd {
        fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
            Ok(values.iter().map(|_| self.0.to_owned()).collect())
        }
        fn subject(&mut self, _: &str) -> Result<String, Refusal> {
            Ok("PSEUDONYM".to_owned())
        }
        fn shift_days(&mut self, _: &str) -> Result<u32, Refusal> {
            Ok(1)
        }
        fn open(&mut self, _: &[(&str, String)]) -> Result<(), Refusal> {
            Ok(())
        }
        fn write(&mut self, _: &[u8]) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &identity);
    let table = Table::parse(TABLE).unwrap();
    let long = "2.25.12345678901234567890123456789012345678901234567890123456789012";
    for (uid, code) in [
        ("2.25.012", Some("pseudonyms")),
        ("2.25.", Some("pseudonyms")),
        (long, Some("pseudonyms")),
        ("2.25.0", None),
    ] {
        let done = deidentify(SliceSource::new(&bytes), &table, Options::default(), &mut Odd(uid));
        assert_eq!(done.err().map(|refusal| refusal.code), code, "{uid}");
    }
}

#[test]
fn requirement_5_ages_stay_up_to_89_years() {
    for (age, expected) in [
        ("089Y", "089Y"),
        ("090Y", "090Y"),
        ("091Y", "090Y"),
        ("120Y", "090Y"),
        ("999M", "999M"),
        ("12 Y", ""),
    ] {
        let bytes =
            file(EXPLICIT, Encoding::ExplicitLittle, &|w| put(w, 0x0010_1010, Vr::AS, age.as_bytes()));
        let (host, _) = run(&bytes, ACCEPT).unwrap();
        assert_eq!(value(&host.written, &[0x0010_1010]).as_deref(), Some(expected), "{age}");
    }
}

#[test]
fn requirement_9_each_option_in_use_is_named_by_its_code() {
    let codes = |options: Options| {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &identity);
        let (host, _) = run(&bytes, options).unwrap();
        let path = [0x0012_0064, 0x0008_0100];
        let all = elements(&host.written).into_iter().filter(|(here, ..)| *here == path);
        all.map(|(.., value)| String::from_utf8(value).unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(codes(Options::default()), ["113100", "113107"]);
    assert_eq!(codes(ACCEPT), ["113100", "113104", "113107", "113108"]);
    assert_eq!(codes(Options { dates: crate::Dates::Keep, ..Options::default() }), ["113100", "113106"]);
}
