//! Limits, the stage and its data files.

use super::*;

#[test]
fn a_value_longer_than_the_file_allocates_nothing() {
    let mut bytes = file(EXPLICIT, Encoding::ExplicitLittle, &dated);
    bytes.extend_from_slice(b"\xE0\x7F\x10\x00OW\0\0\xF0\xFF\xFF\xFF");
    assert_eq!(run(&bytes, Options::default()).err().unwrap().code, "truncated");
}

#[test]
fn a_deflate_bomb_is_refused() {
    let bomb = file("1.2.840.10008.1.2.1.99", Encoding::ExplicitLittle, &|w| {
        w.header(Tag::PIXEL_DATA, Vr::OW, 64 << 20);
        for _ in 0..64 {
            w.raw(&[0; 1 << 20]).unwrap();
        }
    });
    assert_eq!(run(&bomb, Options::default()).err().unwrap().code, "deflate-bomb");
}

#[test]
fn the_stage_gives_evidence_in_counts_and_refuses_unknown_settings() {
    let host = || {
        let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
            put(w, 0x0008_0018, Vr::UI, b"2.999.1");
            dated(w);
        });
        let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE);
        host.port("image").pseudonym_key(b"a key for tests")
    };
    let (outcome, outputs) = host().run::<Deidentifier>().unwrap();
    let evidence = outcome.evidence.unwrap();
    assert_eq!((evidence.profile.as_str(), evidence.edition.as_str()), ("ps3.15-basic", "2026c"));
    assert!(evidence.actions.iter().any(|count| count.action == "date-shifted" && count.count == 3));
    assert!(outcome.findings.is_empty());
    assert!(outputs.len() == 1 && !holds(&outputs[0].bytes, "ZZMARK"));
    assert!(
        !holds(&outputs[0].bytes, "2.999.")
            && value(&outputs[0].bytes, &[0x0008_0018]).unwrap().starts_with("2.25.")
    );
    let fault = host().setting("dates", "remove").run::<Deidentifier>().unwrap_err();
    assert_eq!(fault.code(), Some("bad-setting"));
}

#[test]
fn a_table_that_is_not_whole_is_refused() {
    Table::parse(TABLE).unwrap();
    let header = TABLE.iter().position(|byte| *byte == b'\n').unwrap();
    let rows = &TABLE[header + 1..];
    let swapped = [&TABLE[..=header], &rows[14..28], &rows[..14], &rows[28..]].concat();
    for bytes in [
        &TABLE[..TABLE.len() - 14],
        &TABLE[..=header],
        &swapped,
        b"",
        b"martello-deid-table 1 edition=x rows=0\n",
    ] {
        assert_eq!(Table::parse(bytes).err().map(|refusal| refusal.code), Some("bad-table"));
    }
}

/// The table that ships with this text in the place of another of the same length.
fn table_with(what: &str, instead: &str) -> Vec<u8> {
    let text = String::from_utf8(TABLE.to_vec()).unwrap();
    assert!(text.contains(what) && what.len() == instead.len());
    text.replacen(what, instead, 1).into_bytes()
}

#[test]
fn a_table_that_the_compiler_has_not_prepared_says_what_it_says() {
    let shipped = Table::parse(TABLE).unwrap();
    let other = table_with("edition=2026c", "edition=2026x");
    let other = Table::parse(&other).unwrap();
    assert_eq!((shipped.edition(), other.edition()), ("2026c", "2026x"));
    let rows = TABLE.split(|byte| *byte == b'\n').skip(1);
    let digits = rows.filter_map(|row| std::str::from_utf8(row.get(..8)?).ok());
    let tags: Vec<u32> =
        digits.map(|digits| u32::from_str_radix(&digits.replace('x', "4"), 16).unwrap()).collect();
    assert_eq!(tags.len(), 655);
    for tag in tags.into_iter().flat_map(|tag| [tag, tag ^ 2, tag.wrapping_sub(1)]) {
        assert_eq!(shipped.action(Tag(tag)), other.action(Tag(tag)), "{tag:08x}");
    }
    // The accession number.
    let stricter = table_with("00080050 Z   \n", "00080050 X   \n");
    let found = |table: &Table<'_>| format!("{:?}", table.action(Tag(0x0008_0050)));
    assert_eq!(found(&shipped), "Some(Empty)");
    assert_eq!(found(&Table::parse(&stricter).unwrap()), "Some(Remove)");
}

#[test]
fn every_attribute_of_the_dictionary_has_its_representation_and_no_other_has_one() {
    let text = include_str!("../../table/dictionary.txt");
    let mut rows = std::collections::BTreeMap::new();
    for row in text.lines().skip(1).filter(|row| !row[..8].contains('x')) {
        let tag = u32::from_str_radix(&row[..8], 16).unwrap();
        rows.insert(tag, Vr([row.as_bytes()[9], row.as_bytes()[10]]));
    }
    assert_eq!(rows.len(), 5088);
    for (tag, vr) in &rows {
        assert_eq!(DICTIONARY.vr(Tag(*tag)), (tag & 0x1_0000 == 0).then_some(*vr), "{tag:08x}");
        let next = tag + 1;
        if !rows.contains_key(&next) && next >> 16 < 0x1000 {
            assert_eq!(DICTIONARY.vr(Tag(next)), None, "{next:08x}");
        }
    }
}

#[test]
fn a_small_file_costs_one_read_one_write_and_three_calls_for_pseudonyms() {
    let bytes = file(EXPLICIT, Encoding::ExplicitLittle, &|w| {
        image(w, b"ORIGINAL\\PRIMARY", CT_CLASS, b"CT", b"NO");
    });
    let length = bytes.len() as u64;
    let host = mock::Host::new().payload(bytes, "application/dicom").asset("deid-table", TABLE).port("image");
    let (_, outputs) = host.run::<Deidentifier>().unwrap();
    let record = host.record();
    assert_eq!((record.reads.len(), record.reads.first()), (1, Some(&(0..length))));
    assert_eq!(record.writes, [outputs[0].bytes.len()]);
    assert_eq!(record.pseudonym_calls, 3);
}

#[test]
fn the_codes_are_listed_in_order_and_once() {
    assert!(CODES.is_sorted_by(|one, next| one < next));
}
