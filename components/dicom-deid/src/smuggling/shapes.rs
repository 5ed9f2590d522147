//! Private blocks, and files of every shape.

use super::*;

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
