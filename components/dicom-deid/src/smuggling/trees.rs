//! Trees of elements in every encoding of sequences.

use super::*;

const VRS: [&[u8; 2]; 35] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF",
    b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SS", b"ST", b"SV", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR",
    b"US", b"UT", b"UV", b"ZZ", b"SQ",
];

/// Some element or sequence of a made-up file.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Element(u32, [u8; 2], &'static [u8]),
    Sequence(u32, Form, Vec<Vec<Node>>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
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
pub(super) fn write(w: &mut Writer<Vec<u8>>, nodes: &[Node]) {
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

pub(super) fn write_items(w: &mut Writer<Vec<u8>>, items: &[Vec<Node>]) {
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
