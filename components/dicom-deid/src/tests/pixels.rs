//! What comes out of images: transfer syntaxes, fragments, bits, sizes.

use super::*;

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
    let risk = Some((Kind::NeedsReview, "burned-in-risk-overlay"));
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
