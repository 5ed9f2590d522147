//! Every row of the table, pseudonyms and what the file says of itself.

use super::*;

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
