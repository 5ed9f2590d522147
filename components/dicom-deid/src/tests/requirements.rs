//! What is removed, replaced, mapped and moved, one requirement after another.

use super::*;

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
        put(w, 0x0008_1190, Vr::UR, b"https://pacs.zzmark.org/studies/2.999");
        put(w, 0x0010_0033, Vr::LO, b"ZZMARK5784-12-01");
        put(w, 0x0010_2292, Vr::LO, b"ZZMARKBREED");
        put(w, 0x0040_0400, Vr::LT, b"ZZMARKCOMMENT");
        put(w, 0x0040_2007, Vr::SH, b"ZZMARKORDER");
    });
    assert!(!holds(&out, "ZZMARK") && !holds(&out, "zzmark"));
    assert_eq!(summary.actions[Action::Removed as usize], 5, "{}", summary.paths);
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
