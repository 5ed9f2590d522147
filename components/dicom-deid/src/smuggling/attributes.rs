//! Every attribute of the standard, in every representation.

use super::*;

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
