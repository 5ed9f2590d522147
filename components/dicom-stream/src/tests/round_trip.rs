//! What is written reads the same, and any bytes are refused or make the round trip.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A data set as a tree.
#[derive(Clone, Debug)]
enum Node {
    Element(Tag, Vr, Vec<u8>),
    Sequence(Tag, Vec<Vec<Node>>),
}

/// Bytes that look random and are the same each time.
fn noise(count: u32) -> Vec<u8> {
    (0..count).map(|number| number.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]).collect()
}

fn node() -> impl Strategy<Value = Node> {
    let text = vec(prop_oneof![Just(b'A'), Just(b'^'), Just(b' ')], 0..9);
    let leaf = prop_oneof![
        text.prop_map(|value| Node::Element(NAME, Vr::PN, value)),
        any::<[u8; 2]>().prop_map(|value| Node::Element(ROWS, Vr::US, value.to_vec())),
        vec(any::<u8>(), 0..40).prop_map(|value| Node::Element(DOCUMENT, Vr::OB, value)),
        Just(Node::Element(Tag(0x0008_0016), Vr::UI, b"1.2.3".to_vec())),
        // Too long for a 16-bit length; not so even that many of them, deflated, are taken for a bomb.
        Just(Node::Element(DOCUMENT, Vr::OB, noise(70_000))),
        // Even lengths: an odd one is filled up, and the filler may make items of it.
        vec(any::<u16>(), 0..12).prop_map(|value| Node::Element(
            UNKNOWN,
            Vr::UN,
            value.into_iter().flat_map(u16::to_le_bytes).collect()
        )),
    ];
    leaf.prop_recursive(6, 64, 4, |inner| {
        let tag = prop_oneof![Just(SEQUENCE), Just(CONTENT)];
        (tag, vec(vec(inner, 0..4), 0..4)).prop_map(|(tag, items)| Node::Sequence(tag, items))
    })
}

fn write(nodes: &[Node], writer: &mut Writer<Vec<u8>>, steps: &mut Vec<Step>) {
    for node in nodes {
        match node {
            Node::Element(tag, vr, value) => {
                writer.element(*tag, *vr, value).unwrap();
                let mut value = value.clone();
                if value.len() % 2 == 1 {
                    value.push(vr.padding());
                }
                steps.push(Step::Element(*tag, value));
            }
            Node::Sequence(tag, items) => {
                writer.sequence(*tag);
                steps.push(Step::Begin(*tag));
                for item in items {
                    writer.item();
                    steps.push(Step::Item);
                    write(item, writer, steps);
                    writer.item_end().unwrap();
                    steps.push(Step::End);
                }
                writer.sequence_end().unwrap();
                steps.push(Step::End);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same_in_every_encoding(nodes in vec(node(), 0..6), syntax in 0_usize..4) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        let mut steps = Vec::new();
        // The first element shows the encoding; an empty data set shows none.
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        steps.push(Step::Element(Tag(0x0008_0005), b"ISO_IR 100".to_vec()));
        write(&nodes, &mut writer, &mut steps);
        let file = writer.finish().unwrap();
        prop_assert_eq!(copy(&file).unwrap().unwrap().steps, steps);
        fuzz_round_trip(&file);
    }

    #[test]
    fn however_few_bytes_a_source_gives_the_events_are_the_same(
        nodes in vec(node(), 0..4), syntax in 0_usize..4, most in 1_usize..100, known in any::<bool>()
    ) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        write(&nodes, &mut writer, &mut Vec::new());
        let file = writer.finish().unwrap();
        let asked = std::cell::Cell::new(0);
        let length = known.then_some(file.len() as u64);
        let slow = Slow { source: SliceSource::new(&file), most, asked: &asked, length };
        prop_assert_eq!(events_of(slow), events(&file));
    }

    #[test]
    fn a_file_with_bytes_changed_is_refused_or_makes_the_round_trip(
        nodes in vec(node(), 0..4), syntax in 0_usize..4,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()
    ) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        write(&nodes, &mut writer, &mut Vec::new());
        let mut file = writer.finish().unwrap();
        for (at, with) in changes {
            let at = at.index(file.len());
            file[at] = with;
        }
        file.truncate(cut.index(file.len() * 2).max(160));
        fuzz_round_trip(&file);
    }

    #[test]
    fn any_data_set_is_refused_or_makes_the_round_trip(
        bytes in vec(any::<u8>(), 0..200), syntax in 0_usize..4, bare in any::<bool>()
    ) {
        fuzz_round_trip(&if bare { bytes } else { with_meta(SYNTAXES[syntax].0, &bytes) });
    }
}
