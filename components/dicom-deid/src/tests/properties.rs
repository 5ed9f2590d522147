//! What must hold for any bytes.

use super::*;

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
