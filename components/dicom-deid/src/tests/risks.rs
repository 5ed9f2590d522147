//! What waits for a person or is refused outright.

use super::*;

#[test]
fn requirement_12_images_that_may_hold_text_wait_for_a_person() {
    let (sc, axial) = ("1.2.840.10008.5.1.4.1.1.7", b"ORIGINAL\\PRIMARY\\AXIAL".as_slice());
    let dose = "1.2.840.10008.5.1.4.1.1.481.2";
    for (kind, class, modality, burned_in, rule) in [
        (axial, CT_CLASS, b"US".as_slice(), b"NO".as_slice(), "modality"),
        (axial, CT_CLASS, b"", b"NO", "modality"),
        (axial, sc, b"CT", b"NO", "class"),
        (axial, CT_CLASS, b"CT", b"YES", "said"),
        (b"DERIVED\\PRIMARY", CT_CLASS, b"CT", b"NO", "not-original"),
        (b"ORIGINAL\\SECONDARY", CT_CLASS, b"CT", b"NO", "not-original"),
        (b"ORIGINAL\\PRIMARY\\SCREEN SAVE", CT_CLASS, b"CT", b"NO", "screen"),
        (b"ORIGINAL\\PRIMARY\\SCREEN", CT_CLASS, b"CT", b"NO", "screen"),
        (b"ORIGINAL\\PRIMARY\\AXIAL\\Screen_Capture", CT_CLASS, b"CT", b"NO", "screen"),
        (b"SCREEN SAVE", dose, b"RTDOSE", b"", "screen"),
        (b"", CT_CLASS, b"CT", b"NO", "not-original"),
        (b"ORIGINAL\\PRIMARY\\DERIVED", CT_CLASS, b"CT", b"NO", "derived"),
        (b"ORIGINAL\\PRIMARY\\AXIAL\\SECONDARY", CT_CLASS, b"CT", b"NO", "derived"),
        (axial, CT_CLASS, b"XA", b"NO", "modality"),
        (axial, CT_CLASS, b"RF", b"NO", "modality"),
        (axial, CT_CLASS, b"SC", b"NO", "modality"),
        (axial, CT_CLASS, b"OT", b"NO", "modality"),
        (axial, CT_CLASS, b"ES", b"NO", "modality"),
        (axial, CT_CLASS, b"XC", b"NO", "modality"),
        (axial, CT_CLASS, b"ZZ", b"NO", "modality"),
        (axial, CT_CLASS, b"CT", b"MAYBE", "said"),
        (b"", CT_CLASS, b"RTDOSE", b"NO", "class"),
        (b"", dose, b"CT", b"NO", "class"),
        (b"", dose, b"RTDOSE", b"YES", "said"),
        (b"DERIVED\\SECONDARY", dose, b"RTDOSE", b"", "not-original"),
    ] {
        let refusal = refusal(&|w| image(w, kind, class, modality, burned_in));
        assert_eq!(
            (refusal.kind, refusal.code),
            (Kind::NeedsReview, format!("burned-in-risk-{rule}").as_str())
        );
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
    let recognizable_risk = Some((Kind::NeedsReview, "burned-in-risk-recognizable"));
    let colour_risk = Some((Kind::NeedsReview, "burned-in-risk-colour"));
    let (mr, colour) = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.3");
    for recognizable in [b"NO".as_slice(), b""] {
        assert_eq!(scan(mr, 1, b"MONOCHROME2", recognizable), None);
    }
    for recognizable in [b"YES".as_slice(), b"MAYBE"] {
        assert_eq!(scan(mr, 1, b"MONOCHROME2", recognizable), recognizable_risk);
    }
    assert_eq!(scan(mr, 1, b"MONOCHROME1", b""), None);
    assert_eq!(scan(mr, 1, b"", b""), None);
    assert_eq!(scan(mr, 3, b"RGB", b""), colour_risk);
    assert_eq!(scan(mr, 3, b"", b""), colour_risk, "three samples are colours");
    assert_eq!(scan(mr, 1, b"PALETTE COLOR", b""), colour_risk);
    assert_eq!(scan(colour, 3, b"RGB", b""), None, "a class of coloured images");
    assert_eq!(scan(colour, 3, b"RGB", b"YES"), recognizable_risk);
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
        assert_eq!(screen, Some((Kind::NeedsReview, "burned-in-risk-screen")), "{tag:08x}");
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
