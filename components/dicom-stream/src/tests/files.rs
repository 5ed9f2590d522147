//! How a file begins, is encoded and ends.

use super::*;

#[test]
fn one_of_everything_comes_back_in_every_transfer_syntax() {
    let expected = |pixels: &[Step]| {
        let mut steps = vec![
            Step::Element(Tag(0x0008_0005), b"ISO_IR 100".to_vec()),
            Step::Begin(SEQUENCE),
            Step::Item,
            Step::Element(NAME, b"A^B ".to_vec()),
            Step::Begin(Tag(0x0008_1140)),
            Step::End,
            Step::End,
            Step::Item,
            Step::End,
            Step::End,
            Step::Element(UNKNOWN, b"private!".to_vec()),
        ];
        steps.extend_from_slice(pixels);
        steps
    };
    for (syntax, encoding) in SYNTAXES {
        let file = everything(syntax, encoding);
        let (header, _) = open(SliceSource::new(&file), DICTIONARY).unwrap();
        assert_eq!((header.transfer_syntax.as_str(), header.encoding), (syntax, encoding));
        let rows = Step::Element(ROWS, encoding.u16_bytes(3).to_vec());
        let copied = copy(&file).unwrap().unwrap();
        assert_eq!(copied.steps, expected(&[rows, Step::Element(Tag::PIXEL_DATA, vec![7; 32])]), "{syntax}");
        fuzz_round_trip(&file);
    }
    let file = everything(JPEG, Encoding::ExplicitLittle);
    let fragment = Step::Fragment(vec![0xFF, 0xD8, 0xFF, 0xD9]);
    let pixels = [
        Step::Element(ROWS, vec![3, 0]),
        Step::Begin(Tag::PIXEL_DATA),
        Step::Fragment(Vec::new()),
        fragment,
        Step::End,
    ];
    assert_eq!(copy(&file).unwrap().unwrap().steps, expected(&pixels));
}

#[test]
fn a_missing_preamble_prefix_group_length_or_meta_group_is_made_up_for() {
    let data_set = Bytes::default().explicit(Tag(0x0008_0005), Vr::CS, 2, b"A ").0;
    let expected = vec![element(Tag(0x0008_0005), Vr::CS, 2)];
    let whole = with_meta(EXPLICIT, &data_set);
    let no_group_length = [&whole[..132], &whole[144..]].concat();
    for file in [&whole[..], &whole[128..], &whole[132..], &no_group_length, &data_set] {
        assert_eq!(events(file).unwrap(), expected);
    }
    let (header, _) = open(SliceSource::new(&data_set), DICTIONARY).unwrap();
    assert_eq!((header.transfer_syntax.as_str(), header.sop_class.as_str()), (EXPLICIT, ""));
    // The length of group 2 is not believed.
    let mut lying = whole;
    lying[140..144].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(events(&lying).unwrap(), expected);
}

#[test]
fn the_first_element_wins_over_what_the_file_says_of_its_encoding() {
    for (said, _) in &SYNTAXES[..3] {
        for (shown, encoding) in &SYNTAXES[..3] {
            let data_set = begun(said, *encoding, false).and_then(|mut writer| {
                writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100")?;
                writer.finish()
            });
            let (header, mut reader) =
                open(SliceSource::new(data_set.as_ref().unwrap()), DICTIONARY).unwrap();
            assert_eq!((header.transfer_syntax.as_str(), header.encoding), (*shown, *encoding), "{said}");
            assert_eq!(rest(&mut reader).unwrap(), [element(Tag(0x0008_0005), Vr::CS, 10)]);
        }
    }
}

#[test]
fn what_is_no_dicom_file_is_refused_as_such() {
    for bytes in [&b""[..], b"D", b"GIF89a", &[0; 200], b"{\"00080005\": {\"vr\": \"CS\"}}", &[0xFF; 512]] {
        assert_eq!(events(bytes), Err(ReadError::NotDicom), "{bytes:?}");
    }
}

#[test]
fn odd_lengths_are_read_as_they_stand_and_written_even() {
    let data_set = Bytes::default()
        .explicit(NAME, Vr::PN, 3, b"A^B")
        .explicit(DOCUMENT, Vr::OB, 1, &[9])
        .explicit(Tag(0x0008_0016), Vr::UI, 3, b"1.2");
    let copied = copy(&explicit_file(data_set)).unwrap().unwrap();
    let expected = [
        Step::Element(NAME, b"A^B ".to_vec()),
        Step::Element(DOCUMENT, vec![9, 0]),
        Step::Element(Tag(0x0008_0016), b"1.2\0".to_vec()),
    ];
    assert_eq!(copied.steps, expected);
}

#[test]
fn what_stands_behind_the_data_set_is_not_looked_at() {
    let expected = [element(ROWS, Vr::US, 2)];
    for behind in [&[][..], &[0; 7], &[0; 4096], &[0xFF; 7]] {
        let data_set = Bytes::default().explicit(ROWS, Vr::US, 2, &[1, 0]);
        assert_eq!(events(&explicit_file(Bytes([&data_set.0, behind].concat()))).unwrap(), expected);
    }
}

#[test]
fn text_too_long_for_its_representation_is_written_as_un() {
    let mut writer = begun(EXPLICIT, Encoding::ExplicitLittle, false).unwrap();
    writer.element(NAME, Vr::PN, &[b'A'; 65_535]).unwrap();
    writer.element(ROWS, Vr::US, &[1; 65_534]).unwrap();
    let file = writer.finish().unwrap();
    assert_eq!(events(&file).unwrap(), [element(NAME, Vr::UN, 65_536), element(ROWS, Vr::US, 65_534)]);
}

#[test]
fn private_attributes_have_no_representation_and_patterns_have_theirs() {
    for (tag, vr) in [
        (0x0008_0005, Some(Vr::CS)),
        (0x6002_3000, Some(Vr(*b"ox"))),
        (0x60FE_3000, Some(Vr(*b"ox"))),
        (0x6001_3000, None),
        (0x0009_1001, None),
        (0x0008_0000, None),
        (0x0008_0006, None),
    ] {
        assert_eq!(DICTIONARY.vr(Tag(tag)), vr, "{tag:08X}");
        assert_eq!(Dictionary::EMPTY.vr(Tag(tag)), None);
    }
}
