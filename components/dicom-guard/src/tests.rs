//! What is refused, and that no bytes make the guard panic or go on for ever.

use std::path::PathBuf;

use dicom_stream::{Deflater, Encoding, SliceSource, Tag, Vr, Writer};
use martello_guest_sdk::mock::Host;
use proptest::prelude::*;

use crate::{CODES, Guard, check};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const PIXELS: Tag = Tag::PIXEL_DATA;

type Elements<'a> = Vec<(u32, Vr, &'a [u8])>;

/// A 2×2 image of 16 bits, or what a test makes of it.
fn image() -> Elements<'static> {
    vec![
        (0x0008_0060, Vr::CS, b"CT"),
        (0x0028_0002, Vr::US, &[1, 0]),
        (0x0028_0010, Vr::US, &[2, 0]),
        (0x0028_0011, Vr::US, &[2, 0]),
        (0x0028_0100, Vr::US, &[16, 0]),
        (0x0028_0101, Vr::US, &[12, 0]),
        (0x0028_0102, Vr::US, &[11, 0]),
    ]
}

fn writer(syntax: &str, elements: &[(u32, Vr, &[u8])]) -> Writer<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), 0);
    let meta = [(Tag(0x0002_0010), Vr::UI, syntax.as_bytes())];
    writer.begin(&meta, Encoding::ExplicitLittle, syntax == DEFLATED).unwrap();
    for (tag, vr, value) in elements {
        writer.element(Tag(*tag), *vr, value).unwrap();
    }
    writer
}

fn native(elements: &[(u32, Vr, &[u8])], pixels: &[u8]) -> Vec<u8> {
    let mut writer = writer(EXPLICIT, elements);
    writer.element(PIXELS, Vr::OW, pixels).unwrap();
    writer.finish().unwrap()
}

fn encapsulated(syntax: &str, elements: &[(u32, Vr, &[u8])], fragments: &[&[u8]]) -> Vec<u8> {
    let mut writer = writer(syntax, elements);
    writer.header(PIXELS, Vr::OB, u32::MAX);
    for fragment in fragments {
        writer.fragment(u32::try_from(fragment.len()).unwrap());
        writer.raw(fragment).unwrap();
    }
    writer.sequence_end().unwrap();
    writer.finish().unwrap()
}

/// The code of the refusal, or nothing.
fn code(file: &[u8]) -> &'static str {
    match check(SliceSource::new(file)) {
        Ok(_) => "",
        Err(refusal) => refusal.code,
    }
}

fn with(tag: u32, value: &'static [u8]) -> Elements<'static> {
    let mut elements = image();
    for (known, _, old) in &mut elements {
        if *known == tag {
            *old = value;
        }
    }
    elements
}

#[test]
fn an_honest_image_passes_unwritten_and_is_counted() {
    let host = Host::new()
        .payload(native(&image(), &[0; 8]), "application/dicom")
        .evidence("profiles", &["structure"])
        .evidence("actions", &["element", "item", "fragment"]);
    let (outcome, outputs) = host.run::<Guard>().unwrap();
    assert!(outputs.is_empty() && outcome.findings.is_empty());
    let counts = outcome.evidence.unwrap().actions;
    assert_eq!(counts.iter().map(|it| (it.action.as_str(), it.count)).collect::<Vec<_>>(), [("element", 8)]);
    assert_eq!(code(&encapsulated(JPEG, &image(), &[b"", b"\xFF\xD8"])), "");
}

#[test]
fn a_program_an_archive_or_a_document_in_the_preamble_is_refused() {
    let heads: [&[u8]; 8] = [
        b"MZ\x90\0",
        b"\x7FELF",
        b"PK\x03\x04",
        b"%PDF-1.4",
        b"#!/bin/sh",
        b"\0asm",
        b"\xCA\xFE\xBA\xBE",
        b"<HTML>",
    ];
    for head in heads {
        let mut file = native(&image(), &[0; 8]);
        file[..head.len()].copy_from_slice(head);
        assert_eq!(code(&file), "polyglot", "{head:?}");
    }
    // A PDF reader looks further in, a loader does not.
    let mut file = native(&image(), &[0; 8]);
    file[64..68].copy_from_slice(b"%PDF");
    assert_eq!(code(&file), "polyglot");
    file[64..68].copy_from_slice(b"MZ\x90\0");
    assert_eq!(code(&file), "");
}

#[test]
fn a_tiff_head_in_the_preamble_passes_as_the_standard_allows() {
    for head in [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"] {
        let mut file = native(&image(), &[0; 8]);
        file[..8].copy_from_slice(head);
        assert_eq!(code(&file), "");
    }
}

#[test]
fn elements_out_of_order_or_twice_are_refused_at_any_depth() {
    let mut swapped = image();
    swapped.swap(2, 3);
    assert_eq!(code(&native(&swapped, &[0; 8])), "element-order");
    let mut twice = image();
    twice.insert(1, (0x0008_0060, Vr::CS, b"MR"));
    assert_eq!(code(&native(&twice, &[0; 8])), "element-order");
    for (second, expected) in [(0x0008_0102, ""), (0x0008_0100, "element-order")] {
        let mut writer = writer(EXPLICIT, &[]);
        writer.sequence(Tag(0x0008_1140));
        for _ in 0..2 {
            writer.item();
            writer.element(Tag(0x0008_0100), Vr::SH, b"A").unwrap();
            writer.element(Tag(second), Vr::SH, b"B").unwrap();
            writer.item_end().unwrap();
        }
        writer.sequence_end().unwrap();
        assert_eq!(code(&writer.finish().unwrap()), expected);
    }
}

#[test]
fn lengths_beyond_the_file_or_their_parent_are_refused() {
    let mut file = native(&image(), &[0; 8]);
    file.truncate(file.len() - 1);
    assert_eq!(code(&file), "truncated");
    let mut writer = writer(EXPLICIT, &[]);
    writer.header(Tag(0x0008_1140), Vr::SQ, 16);
    writer.fragment(64);
    writer.element(Tag(0x0008_0100), Vr::LO, &[b'A'; 56]).unwrap();
    writer.element(Tag(0x0010_0010), Vr::PN, &[b'A'; 56]).unwrap();
    assert_eq!(code(&writer.finish().unwrap()), "structure");
}

#[test]
fn sequences_deeper_than_64_levels_are_refused_and_hidden_ones_stay_bytes() {
    let mut nested = writer(EXPLICIT, &[]);
    for _ in 0..70 {
        nested.sequence(Tag(0x0008_1140));
        nested.item();
    }
    assert_eq!(code(&nested.finish().unwrap()), "depth");
    // Implicit items inside of `UN`, the deepest one first.
    let mut items = Vec::new();
    for _ in 0..70 {
        let mut outer = vec![0xFE, 0xFF, 0, 0xE0];
        outer.extend(u32::try_from(items.len() + 8 * usize::from(!items.is_empty())).unwrap().to_le_bytes());
        if !items.is_empty() {
            outer.extend([0x08, 0, 0x40, 0x11]);
            outer.extend(u32::try_from(items.len()).unwrap().to_le_bytes());
        }
        outer.extend(&items);
        items = outer;
    }
    let hidden = |items: &[u8]| {
        let mut writer = writer(EXPLICIT, &[]);
        writer.element(Tag(0x0009_1001), Vr::UN, items).unwrap();
        writer.finish().unwrap()
    };
    // Too deep to be read as items, so nobody reads it as such: it stays what it is, bytes.
    assert!(items.len() > 1000);
    assert_eq!(code(&hidden(&items)), "");
    // Items that do read are walked through: here with an attribute twice.
    let twice: &[u8] = b"\xFE\xFF\0\xE0\x14\0\0\0\x08\0\0\x01\x02\0\0\0AB\x08\0\0\x01\x02\0\0\0AB";
    assert_eq!(code(&hidden(twice)), "element-order");
}

#[test]
fn pixels_that_cannot_be_are_refused() {
    let impossible: [(u32, &'static [u8]); 7] = [
        (0x0028_0010, &[0, 0]),
        (0x0028_0011, &[]),
        (0x0028_0002, &[9, 0]),
        (0x0028_0100, &[12, 0]),
        (0x0028_0100, &[72, 0]),
        (0x0028_0101, &[17, 0]),
        (0x0028_0102, &[16, 0]),
    ];
    for (tag, value) in impossible {
        assert_eq!(code(&native(&with(tag, value), &[0; 8])), "pixel-geometry", "{tag:08X}");
        let compressed = encapsulated(JPEG, &with(tag, value), &[b"", b"\xFF\xD8"]);
        assert_eq!(code(&compressed), "pixel-geometry", "{tag:08X}");
    }
    let mut frames = image();
    frames.insert(2, (0x0028_0008, Vr::IS, b"-1"));
    assert_eq!(code(&native(&frames, &[0; 8])), "pixel-geometry");
}

#[test]
fn native_pixels_are_as_long_as_rows_columns_frames_and_bits_need() {
    assert_eq!(code(&native(&image(), &[0; 6])), "pixel-length");
    assert_eq!(code(&native(&image(), &[0; 16])), "pixel-length");
    assert_eq!(code(&native(&image(), &[0; 14])), "", "filled up, but by less than a frame");
    let mut frames = image();
    frames.insert(2, (0x0028_0008, Vr::IS, b"3"));
    assert_eq!(code(&native(&frames, &[0; 24])), "");
    assert_eq!(code(&native(&frames, &[0; 22])), "pixel-length");
    let mut huge = with(0x0028_0010, &[0xFF, 0xFF]);
    huge.insert(2, (0x0028_0008, Vr::IS, b"2147483647"));
    assert_eq!(code(&native(&huge, &[0; 8])), "pixel-size");
}

#[test]
fn fragments_stand_only_in_compressed_syntaxes_and_one_a_frame_at_least() {
    let fragments: [&[u8]; 2] = [b"", b"\xFF\xD8"];
    assert_eq!(code(&encapsulated(EXPLICIT, &image(), &fragments)), "fragments");
    assert_eq!(code(&encapsulated(JPEG, &image(), &[])), "fragments");
    assert_eq!(code(&encapsulated(JPEG, &image(), &[b""])), "fragments");
    assert_eq!(code(&encapsulated(JPEG, &image(), &[b"\0\0", b"\xFF\xD8"])), "fragments");
    let mut frames = image();
    frames.insert(2, (0x0028_0008, Vr::IS, b"2"));
    assert_eq!(code(&encapsulated(JPEG, &frames, &fragments)), "fragments");
    let mut bare = writer(JPEG, &image());
    bare.element(PIXELS, Vr::OB, &[0; 8]).unwrap();
    assert_eq!(code(&bare.finish().unwrap()), "fragments");
}

#[test]
fn a_transfer_syntax_that_is_no_uid_is_refused() {
    for syntax in ["1.2.840.10008.1.2.4.50; rm", "1..2", "1.02", "ABC"] {
        assert_eq!(code(&writer(syntax, &image()).finish().unwrap()), "file-meta", "{syntax}");
    }
}

#[test]
fn bytes_behind_the_data_set_are_refused_but_for_padding() {
    let behind = |bytes: &[u8]| {
        let mut file = native(&image(), &[0; 8]);
        file.extend(bytes);
        code(&file)
    };
    assert_eq!(behind(&[0; 200]), "");
    assert_eq!(behind(b"PK"), "trailing-bytes");
    let mut archive = vec![0; 8];
    archive.extend(b"PK\x05\x06");
    assert_eq!(behind(&archive), "trailing-bytes");
    let deflated = writer(DEFLATED, &image()).finish().unwrap();
    assert_eq!(code(&deflated), "");
    assert_eq!(code(&[&deflated[..], b"PK\x05\x06"].concat()), "trailing-bytes");
    // Two elements of 8 + 2 bytes and five more of the same: gzip's trailer says how long they are.
    let inflated = u32::try_from(image().len() * 10).unwrap();
    let trailer = |length: u32| [&deflated[..], b"\x01\x02\x03\x04", &length.to_le_bytes()].concat();
    assert_eq!((code(&trailer(inflated)), code(&trailer(inflated + 1))), ("", "trailing-bytes"));
}

#[test]
fn a_deflate_bomb_is_refused() {
    // The meta group says deflated; what follows is deflated here, an element of 4 MiB of nothing.
    let mut writer = Writer::new(Vec::new(), 0);
    let meta = [(Tag(0x0002_0010), Vr::UI, DEFLATED.as_bytes())];
    writer.begin(&meta, Encoding::ExplicitLittle, false).unwrap();
    let mut file = writer.finish().unwrap();
    let mut deflater = Deflater::default();
    deflater.write(b"\x09\x00\x01\x10OB\0\0\0\0\x40\0", false, &mut file);
    deflater.write(&vec![0; 4 << 20], true, &mut file);
    assert_eq!(code(&file), "deflate-bomb");
}

/// The samples of the repository, and what the guard says of each that it refuses.
fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/dicom");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
        .iter()
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn of_the_samples_only_those_that_are_broken_are_refused() {
    let refused: Vec<String> = samples()
        .iter()
        .filter(|(_, file)| !code(file).is_empty())
        .map(|(name, file)| format!("{name} {}", code(file)))
        .collect();
    let expected = [
        "ATTRIBUTION.md not-dicom",
        "MR_truncated.dcm truncated",
        // Its number of frames is "1A".
        "badVR.dcm pixel-geometry",
        // Two bytes of pixels without rows or columns.
        "meta_missing_tsyntax.dcm pixel-geometry",
        "nested_priv_SQ.dcm pixel-geometry",
        "no_meta.dcm not-dicom",
        "not_dicom.gz not-dicom",
        "not_dicom.json not-dicom",
        "rtplan_truncated.dcm truncated",
    ];
    assert_eq!(refused, expected);
}

#[test]
fn every_code_is_listed_once_and_in_order() {
    assert!(CODES.is_sorted());
    assert!(CODES.windows(2).all(|pair| pair[0] != pair[1]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn mutated_samples_end_in_a_summary_or_a_listed_code(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        grown in prop::collection::vec(any::<u8>(), 0..16),
    ) {
        thread_local!(static SMALL: Vec<Vec<u8>> =
            samples().into_iter().map(|(_, file)| file).filter(|file| file.len() < 50_000).collect());
        let mut file = SMALL.with(|small| which.get(small).clone());
        // Half of the changes hit the headers, where they matter.
        for (number, (at, byte)) in changes.iter().enumerate() {
            let reach = if number % 2 == 0 { file.len() } else { file.len().min(1200) };
            let at = at.index(reach);
            file[at] = *byte;
        }
        if let Some(cut) = cut {
            let end = cut.index(file.len());
            file.truncate(end);
        }
        file.extend(grown);
        if let Err(refusal) = check(SliceSource::new(&file)) {
            prop_assert!(CODES.contains(&refusal.code));
        }
    }

    #[test]
    fn any_bytes_end_in_a_summary_or_a_listed_code(bytes in prop::collection::vec(any::<u8>(), 0..600), headed: bool) {
        let mut file = if headed { writer(EXPLICIT, &[]).finish().unwrap() } else { Vec::new() };
        file.extend(bytes);
        if let Err(refusal) = check(SliceSource::new(&file)) {
            prop_assert!(CODES.contains(&refusal.code));
        }
    }
}
