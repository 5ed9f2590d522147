//! Nothing is found in what the de-identifier makes, and each planted fault is.

use std::path::{Path, PathBuf};

use dicom_deid::Deidentifier;
use dicom_stream::{Encoding, Tag, Vr, Writer};
use martello_guest_sdk::mock::Host;
use proptest::prelude::*;

use crate::{
    CODES, Dates, Options, PatientCharacteristics, PixelRisk, Rules, StructuredContent, Verifier, verify,
};

const RULES: &[u8] = include_bytes!("../rules/rules.txt");
const TABLE: &[u8] = include_bytes!("../../dicom-deid/table/table.txt");
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";
const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";
const CT: &[u8] = b"1.2.840.10008.5.1.4.1.1.2";
/// A UUID that is of no version 8, as scanners make them.
const STRANGE: &[u8] = b"2.25.170141183460469231731687303715884105728";

/// Tag, representation, value.
type Element = (u32, Vr, Vec<u8>);

/// An object in the making.
#[derive(Clone)]
struct Object {
    preamble: u8,
    meta: Vec<Element>,
    elements: Vec<Element>,
    /// A sequence of one item: its tag, the item's elements.
    sequence: Option<(u32, Vec<Element>)>,
    fragments: Vec<Vec<u8>>,
    syntax: &'static str,
    behind: Vec<u8>,
    /// The code of the method.
    method: &'static [u8],
}

fn ours() -> Vec<u8> {
    // Version 8, variant 2.
    let uuid = 0x1234_5678_9ABC_8DEF_8123_4567_89AB_CDEF_u128;
    format!("2.25.{uuid}").into_bytes()
}

impl Object {
    fn clean() -> Self {
        let element = |tag: u32, vr: Vr, value: &[u8]| (tag, vr, value.to_vec());
        Self {
            preamble: 0,
            meta: vec![
                element(0x0002_0001, Vr::OB, &[0, 1]),
                element(0x0002_0002, Vr::UI, CT),
                element(0x0002_0003, Vr::UI, &ours()),
                element(0x0002_0010, Vr::UI, EXPLICIT.as_bytes()),
                element(0x0002_0012, Vr::UI, b"2.25.1234"),
                element(0x0002_0013, Vr::SH, b"MARTELLO_DEID_1"),
            ],
            elements: vec![
                element(0x0008_0008, Vr::CS, b"ORIGINAL\\PRIMARY"),
                element(0x0008_0016, Vr::UI, CT),
                element(0x0008_0018, Vr::UI, &ours()),
                element(0x0008_0020, Vr::DA, b"20170314"),
                element(0x0008_0030, Vr::TM, b"101112.5"),
                element(0x0008_0050, Vr::SH, b""),
                element(0x0008_0060, Vr::CS, b"CT"),
                element(0x0008_0070, Vr::LO, b"ACME"),
                element(0x0010_0010, Vr::PN, b"ABCDEFGHIJKLMN23"),
                element(0x0010_0020, Vr::LO, b"ABCDEFGHIJKLMN23"),
                element(0x0010_0030, Vr::DA, b""),
                element(0x0012_0062, Vr::CS, b"YES"),
                element(0x0012_0063, Vr::LO, b"Martello"),
                element(0x0018_0050, Vr::DS, b"1.5"),
                element(0x0028_0002, Vr::US, &[1, 0]),
                element(0x0028_0010, Vr::US, &[2, 0]),
                element(0x0028_0011, Vr::US, &[2, 0]),
                element(0x0028_0100, Vr::US, &[8, 0]),
                element(0x0028_0303, Vr::CS, b"MODIFIED"),
                element(0x7FE0_0010, Vr::OW, &[1, 2, 3, 4]),
            ],
            sequence: None,
            fragments: Vec::new(),
            syntax: EXPLICIT,
            behind: Vec::new(),
            method: b"113100",
        }
    }

    /// The same with this element, in its place.
    fn with(mut self, tag: u32, vr: Vr, value: &[u8]) -> Self {
        self.elements.retain(|(known, _, _)| *known != tag);
        self.elements.push((tag, vr, value.to_vec()));
        self.elements.sort_by_key(|(tag, _, _)| *tag);
        self
    }

    fn without(mut self, tag: u32) -> Self {
        self.elements.retain(|(known, _, _)| *known != tag);
        self
    }

    fn meta(mut self, tag: u32, vr: Vr, value: &[u8]) -> Self {
        self.meta.retain(|(known, _, _)| *known != tag);
        self.meta.push((tag, vr, value.to_vec()));
        self.meta.sort_by_key(|(tag, _, _)| *tag);
        self
    }

    fn nested(mut self, sequence: u32, tag: u32, vr: Vr, value: &[u8]) -> Self {
        self.sequence = Some((sequence, vec![(tag, vr, value.to_vec())]));
        self
    }

    fn frames(self, frames: &[u8]) -> Self {
        self.with(0x0028_0008, Vr::IS, frames)
    }

    fn of(self, syntax: &'static str) -> Self {
        Self { syntax, ..self }
    }

    fn compressed(mut self, fragments: &[&[u8]]) -> Self {
        self.syntax = JPEG;
        self.fragments = fragments.iter().map(|it| it.to_vec()).collect();
        self.without(0x7FE0_0010)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 0);
        let object = self.clone().meta(0x0002_0010, Vr::UI, self.syntax.as_bytes());
        let meta: Vec<_> =
            object.meta.iter().map(|(tag, vr, value)| (Tag(*tag), *vr, value.as_slice())).collect();
        writer.begin(&meta, Encoding::ExplicitLittle, self.syntax == DEFLATED).unwrap();
        let mut codes = false;
        let mut sequence = self.sequence.clone();
        for (tag, vr, value) in &self.elements {
            if *tag > 0x0012_0064 && !codes {
                codes = true;
                write_item(&mut writer, 0x0012_0064, &[(0x0008_0100, Vr::SH, self.method.to_vec())]);
            }
            if let Some((begin, item)) = sequence.take_if(|(begin, _)| *begin < *tag) {
                write_item(&mut writer, begin, &item);
            }
            writer.element(Tag(*tag), *vr, value).unwrap();
        }
        if let Some((begin, item)) = sequence {
            write_item(&mut writer, begin, &item);
        }
        if !self.fragments.is_empty() {
            writer.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
            for fragment in &self.fragments {
                writer.fragment(u32::try_from(fragment.len()).unwrap());
                writer.raw(fragment).unwrap();
            }
            writer.sequence_end().unwrap();
        }
        let mut bytes = writer.finish().unwrap();
        bytes[0] = self.preamble;
        bytes.extend(&self.behind);
        bytes
    }
}

/// An image of JPEG with more in its header and in its data.
fn jpeg(header: &[u8], data: &[u8]) -> Vec<u8> {
    [b"\xFF\xD8", header, b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0\x01", data, b"\xFF\xD9"].concat()
}

/// An image of JPEG 2000 with one component and no levels, and more in its main header, its tile-part's and its data.
fn jpeg2000(main: &[u8], tile: &[u8], data: &[u8]) -> Vec<u8> {
    let size = [b"\xFF\x51\0\x29".as_slice(), &[0; 35], &[1, 7, 1, 1]].concat();
    let coding = b"\xFF\x52\0\x0C\0\0\0\x01\0\0\x04\x04\0\x01\xFF\x5C\0\x04\x40\x08";
    let length = u32::try_from(14 + tile.len() + data.len()).unwrap().to_be_bytes();
    let start = [b"\xFF\x90\0\x0A\0\0".as_slice(), &length, &[0, 1]].concat();
    [b"\xFF\x4F", size.as_slice(), coding, main, &start, tile, b"\xFF\x93", data, b"\xFF\xD9"].concat()
}

/// A frame of four pixels with a byte each.
fn run_length(unused: &[u8], segment: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 64];
    (header[0], header[4]) = (1, 64);
    header[60 - unused.len()..60].copy_from_slice(unused);
    [header.as_slice(), segment, behind].concat()
}

fn deflated(pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    dicom_stream::Deflater::default().write(pixels, true, &mut out);
    out
}

fn write_item(writer: &mut Writer<Vec<u8>>, sequence: u32, elements: &[Element]) {
    writer.sequence(Tag(sequence));
    writer.item();
    for (tag, vr, value) in elements {
        writer.element(Tag(*tag), *vr, value).unwrap();
    }
    writer.item_end().unwrap();
    writer.sequence_end().unwrap();
}

/// The code of the finding, or nothing.
fn code_with(bytes: &[u8], options: Options) -> String {
    match verify(bytes, &Rules::parse(RULES).unwrap(), options) {
        Ok(_) => String::new(),
        Err(finding) => finding.code.to_owned(),
    }
}

fn code(object: &Object) -> String {
    code_with(&object.bytes(), Options::default())
}

/// Each planted fault is a test of its own: without the fault nothing is found, with it this code.
macro_rules! planted {
    ($($name:ident: $code:literal, $change:expr;)*) => { $(
        #[test]
        fn $name() {
            let change: fn(Object) -> Object = $change;
            assert_eq!(code(&Object::clean()), "");
            assert_eq!(code(&change(Object::clean())), $code);
        }
    )* };
}

planted! {
    a_preamble_that_holds_something_is_found: "preamble-not-empty", |it| Object { preamble: b'M', ..it };
    bytes_behind_the_data_set_are_found: "trailing-bytes", |it| Object { behind: b"Doe".to_vec(), ..it };
    null_bytes_behind_the_data_set_are_found: "trailing-bytes", |it| Object { behind: vec![0; 16], ..it };
    an_application_title_in_the_meta_group_is_found: "file-meta", |it| it.meta(0x0002_0016, Vr::AE, b"CT_WARD_7");
    private_information_in_the_meta_group_is_found: "file-meta", |it| it.meta(0x0002_0102, Vr::OB, b"Doe^Jane");
    anothers_instance_in_the_meta_group_is_found: "file-meta", |it| it.meta(0x0002_0003, Vr::UI, b"1.3.12.2.1107");
    another_instance_in_the_meta_group_than_in_the_data_set_is_found: "file-meta", |it| it.meta(0x0002_0003, Vr::UI, b"2.25.0");
    a_missing_word_that_identity_was_removed_is_found: "identity-not-said", |it| it.without(0x0012_0062);
    a_no_to_identity_removed_is_found: "identity-not-said", |it| it.with(0x0012_0062, Vr::CS, b"NO");
    a_missing_method_is_found: "method-not-said", |it| it.without(0x0012_0063);
    a_method_without_the_profiles_code_is_found: "method-not-said", |it| Object { method: b"113101", ..it };
    dates_that_are_not_said_to_be_modified_are_found: "dates-not-said", |it| it.with(0x0028_0303, Vr::CS, b"UNMODIFIED");
    a_private_attribute_is_found: "private-attribute", |it| it.with(0x0009_0010, Vr::LO, b"ACME");
    a_private_attribute_in_an_item_is_found: "private-attribute", |it| it.nested(0x0008_1140, 0x0009_0010, Vr::LO, b"ACME");
    an_attribute_that_no_edition_knows_is_found: "attribute-unknown", |it| it.with(0x0008_7777, Vr::LO, b"ACME");
    a_group_length_is_found: "attribute-not-removed", |it| it.with(0x0008_0000, Vr::UL, &[0; 4]);
    an_overlay_is_found: "attribute-not-removed", |it| it.with(0x6000_3000, Vr::OW, &[0; 4]);
    padding_behind_the_pixels_is_found: "attribute-not-removed", |it| it.with(0xFFFC_FFFC, Vr::OB, &[0; 4]);
    an_address_that_the_table_removes_is_found: "attribute-not-removed", |it| it.with(0x0010_1040, Vr::LO, b"");
    an_attribute_that_the_table_removes_is_found_in_an_item: "attribute-not-removed",
        |it| it.nested(0x0008_1140, 0x0010_1040, Vr::LO, b"Elm Street");
    an_address_of_where_the_object_lies_is_found: "attribute-not-removed",
        |it| it.with(0x0008_1190, Vr::UR, b"https://pacs.example/2.25.1");
    an_attribute_of_the_newest_edition_is_found: "attribute-not-removed", |it| it.with(0x3004_007F, Vr::LO, b"A");
    a_birth_date_in_another_calendar_is_found: "attribute-not-removed", |it| it.with(0x0010_0033, Vr::LO, b"1");
    an_accession_number_is_found: "attribute-not-emptied", |it| it.with(0x0008_0050, Vr::SH, b"4711");
    a_birth_date_is_found: "attribute-not-emptied", |it| it.with(0x0010_0030, Vr::DA, b"19620314");
    an_institution_is_found: "attribute-not-replaced", |it| it.with(0x0008_0080, Vr::LO, b"Acme Hospital");
    a_name_outside_of_the_table_is_found: "attribute-not-replaced", |it| it.nested(0x0008_1140, 0x0040_A067, Vr::PN, b"Doe");
    a_patients_name_is_found: "patient-not-replaced", |it| it.with(0x0010_0010, Vr::PN, b"Doe^Jane");
    a_patients_number_is_found: "patient-not-replaced", |it| it.with(0x0010_0020, Vr::LO, b"0815081");
    a_uid_of_somebody_else_is_found: "uid-not-replaced", |it| it.with(0x0020_000D, Vr::UI, b"1.3.12.2.1107.5.1");
    a_uid_of_a_uuid_that_is_not_ours_is_found: "uid-not-replaced", |it| it.with(0x0020_000D, Vr::UI, STRANGE);
    a_uid_of_somebody_else_in_an_item_is_found: "uid-not-replaced",
        |it| it.nested(0x0008_1140, 0x0008_1155, Vr::UI, b"1.3.12.2.1107.5.1");
    the_second_of_two_uids_is_found: "uid-not-replaced",
        |it| { let two = [&ours()[..], b"\\1.3.12"].concat(); it.with(0x0020_000D, Vr::UI, &two) };
    a_uid_that_only_begins_like_the_standards_is_found: "uid-not-replaced",
        |it| it.with(0x0020_000D, Vr::UI, b"1.2.840.10008.77341902.19430527");
    a_name_that_begins_like_a_standard_uid_is_found: "uid-not-replaced",
        |it| it.with(0x0008_0016, Vr::UI, b"1.2.840.10008.DOE");
    a_report_with_content_is_found: "sequence-not-emptied", |it| it.nested(0x0040_A730, 0x0040_A040, Vr::CS, b"TEXT");
    a_word_that_is_no_date_is_found: "value-form", |it| it.with(0x0008_0020, Vr::DA, b"Doe");
    a_word_that_is_no_time_is_found: "value-form", |it| it.with(0x0008_0030, Vr::TM, b"Doe");
    a_word_that_is_no_number_is_found: "value-form", |it| it.with(0x0018_0050, Vr::DS, b"Doe");
    a_date_in_a_text_that_stays_is_found: "date-in-value", |it| it.with(0x0008_0070, Vr::LO, b"ACME 1962-03-14");
    a_name_in_a_text_that_stays_is_found: "name-in-value", |it| it.with(0x0008_0070, Vr::LO, b"for DOE^JANE");
    a_telephone_number_in_a_text_that_stays_is_found: "telephone-in-value",
        |it| it.with(0x0008_0070, Vr::LO, b"call +49 89 1234567");
    an_address_in_a_text_that_stays_is_found: "address-in-value", |it| it.with(0x0008_0070, Vr::LO, b"jane@clinic.org");
    a_medical_record_number_in_a_text_that_stays_is_found: "identifier-in-value",
        |it| it.with(0x0008_0070, Vr::LO, b"MRN 0815081");
    a_text_in_bytes_that_stay_is_found: "address-in-value",
        |it| it.with(0x0028_1201, Vr::OW, b"\0\x01jane@clinic.org\0");
    a_text_in_more_bytes_than_are_held_is_found_on_the_edge_of_a_part: "address-in-value", |it| {
        let mut bytes = vec![0; 3 << 20];
        bytes[(1 << 20) - 7..][..16].copy_from_slice(b"janet@clinic.org");
        it.with(0x0028_1201, Vr::OW, &bytes)
    };
    text_that_is_burned_in_is_found: "burned-in-annotation", |it| it.with(0x0028_0301, Vr::CS, b"YES");
    a_face_is_found: "recognizable-features", |it| it.with(0x0028_0302, Vr::CS, b"YES");
    a_comment_in_a_frame_is_found: "frame-comment", |it| it.compressed(&[b"", &jpeg(b"\xFF\xFE\x00\x06DOE\0", b"")]);
    a_comment_in_a_later_frame_is_found: "frame-comment",
        |it| it.frames(b"2").compressed(&[b"", &jpeg(b"", b""), &jpeg(b"\xFF\xE1\0\x06Exif", b"")]);
    a_comment_between_scans_is_found: "frame-comment", |it| it.compressed(&[b"", &jpeg(b"", b"\xFF\xFE\x00\x06DOE\0")]);
    a_comment_in_a_tile_part_is_found: "frame-comment",
        |it| it.compressed(&[b"", &jpeg2000(b"", b"\xFF\x64\0\x07\0\x01DOE", b"")]);
    a_marker_of_no_standard_is_found: "frame-data", |it| it.compressed(&[b"", &jpeg(b"\xFF\xF4\0\x05DOE", b"")]);
    a_segment_with_more_than_its_table_is_found: "frame-data", |it| it.compressed(&[b"", &jpeg(b"\xFF\xDD\0\x07\0\x01DOE", b"")]);
    words_for_arithmetic_coding_are_found: "frame-data", |it| it.compressed(&[b"", &jpeg(b"\xFF\xCC\0\x06DOEJ", b"")]);
    a_mapping_table_of_words_is_found: "frame-data", |it| it.compressed(&[b"", &jpeg(b"\xFF\xF8\0\x08\x02\x01\x01DOE", b"")]);
    progressions_that_read_like_a_line_are_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg2000(b"\xFF\x5F\0\x1EDoeJohnSpringfieldRoadTwelve", b"", b"")]);
    a_marker_of_no_standard_in_jpeg_2000_is_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg2000(b"\xFF\x66\0\x05DOE", b"", b"")]);
    packet_lengths_that_no_decoder_needs_are_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg2000(b"", b"\xFF\x58\0\x06\0DOE", b"")]);
    steps_for_subbands_that_are_not_there_are_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg2000(b"\xFF\x5C\0\x0A\x40JOHNDOE", b"", b"")]);
    bytes_between_tile_parts_are_found: "frame-data",
        |it| { let mut image = jpeg2000(b"", b"", b""); let end = image.len() - 2; image.splice(end..end, *b"DOE"); it.compressed(&[b"", &image]) };
    announced_tile_parts_that_do_not_come_are_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg2000(b"\xFF\x55\0\x0A\0\x60\0\0JOHN", b"", b"")]);
    a_box_around_a_codestream_is_found: "frame-data", |it| it.compressed(&[b"", b"\0\0\0\x0CjP  \r\n\x87\n"]);
    a_line_of_text_in_compressed_data_is_found: "frame-data",
        |it| it.compressed(&[b"", &jpeg(b"", b"seen by Doctor Jane Doe ")]);
    a_pattern_in_compressed_data_is_found: "address-in-value",
        |it| it.compressed(&[b"", &jpeg(b"", b"\x01jane@clinic.org\x01")]);
    a_text_behind_the_end_of_a_frame_is_found: "padding-not-empty",
        |it| it.compressed(&[b"", &[&jpeg(b"", b"")[..], b"DOE"].concat()]);
    a_fragment_behind_the_last_frame_is_found: "padding-not-empty",
        |it| it.compressed(&[b"", &jpeg(b"", b""), &jpeg(b"", b"")]);
    a_fragment_behind_several_frames_is_found: "frame-data",
        |it| it.frames(b"2").compressed(&[b"", &jpeg(b"", b""), &jpeg(b"", b""), b"\0\0"]);
    fewer_frames_than_the_object_says_are_found: "frame-data", |it| it.frames(b"3").compressed(&[b"", &jpeg(b"", b"")]);
    a_number_of_frames_that_is_none_is_found: "frame-data", |it| it.frames(b"0").compressed(&[b"", &jpeg(b"", b"")]);
    bytes_behind_the_pixels_of_run_lengths_are_found: "padding-not-empty",
        |it| it.compressed(&[b"", &run_length(b"", b"\x03abcd", b"DOE")]).of(RLE);
    numbers_of_segments_that_are_not_there_are_found: "frame-data",
        |it| it.compressed(&[b"", &run_length(b"JOHN", b"\x03abcd", b"")]).of(RLE);
    more_run_lengths_than_pixels_are_found: "frame-data",
        |it| it.compressed(&[b"", &run_length(b"", b"\x06JOHNDOE", b"")]).of(RLE);
    a_second_fragment_of_run_lengths_is_found: "frame-data",
        |it| it.compressed(&[b"", &run_length(b"", b"\x03abcd", b""), b"DOE"]).of(RLE);
    a_deflated_frame_of_other_bytes_is_found: "frame-data",
        |it| it.compressed(&[b"", &deflated(b"abcdefgh")]).of("1.2.840.10008.1.2.8.1");
    bytes_behind_a_deflated_frame_are_found: "padding-not-empty",
        |it| it.compressed(&[b"", &[&deflated(b"abcd")[..], b"DOE"].concat()]).of("1.2.840.10008.1.2.8.1");
    a_box_with_a_text_beside_jpeg_xl_is_found: "frame-data",
        |it| it.compressed(&[b"", b"\0\0\0\x0CJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl \0\0\0\x0Bxml DOE\0\0\0\0jxlc\xFF\x0A"]).of(JPEG_XL);
    a_line_of_text_in_jpeg_xl_is_found: "frame-data",
        |it| it.compressed(&[b"", b"\xFF\x0Aseen by Doctor Jane Doe in May"]).of(JPEG_XL);
    a_text_behind_the_pixels_is_found: "padding-not-empty",
        |it| it.with(0x7FE0_0010, Vr::OW, b"\x01\x02\x03\x04Jane");
    an_odd_representation_is_found: "unreadable", |it| it.with(0x0008_0070, Vr(*b"ZZ"), b"ACME");
}

#[test]
fn frames_of_nothing_but_pixels_pass() {
    let (image, two) = (jpeg(b"", b"pixels"), Object::clean().frames(b"2"));
    let (front, back) = image.split_at(9);
    let packets = b"\xFF\x91\0\x04\xFF\x90\xFF\x92data\xFF\x7F";
    let tabled = jpeg(b"\xFF\xE0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xFF\xEE\x00\x0EAdobe\0\x64\0\0\0\0\x01\xFF\xFE\x00\x06\0\0\0\0\xFF\xDD\0\x04\0\0", b"\xFF\0\xFF\xD0");
    let near =
        [b"\xFF\xD8\xFF\xF7\0\x0B\x08\0\x02\0\x02\x01\x01\x11\0", &jpeg(b"", b"\xFF\x7F\xFF\x01")[2..]]
            .concat();
    for (object, why) in [
        (Object::clean().compressed(&[b"", &tabled]), "tables that decoders need and blanked comments"),
        (Object::clean().compressed(&[b"", &near]), "stuffed bits"),
        (Object::clean().compressed(&[b"", &jpeg2000(b"", b"\xFF\x64\0\x05\0\0\0", packets)]), "packets"),
        (
            Object::clean().compressed(&[b"", &jpeg2000(b"\xFF\x55\0\x0A\0\x60\0\0\0\0\0\x0E", b"", b"")]),
            "an announced part",
        ),
        (Object::clean().compressed(&[b"", front, back, b"\0\0"]), "a frame in fragments"),
        (two.clone().compressed(&[b"", &image, &[&image[..], &[0]].concat()]), "two frames"),
        (two.compressed(&[b"", front, back, &image]), "two frames in fragments"),
        (Object::clean().compressed(&[b"", front]), "a frame that is cut off in its header"),
        (Object::clean().compressed(&[b"", &image[..18]]), "a frame that is cut off"),
        (Object::clean().compressed(&[b"", &run_length(b"", b"\xFEa\x80\0b", b"\0")]).of(RLE), "run-lengths"),
        (
            Object::clean().compressed(&[b"", &deflated(b"abcd")]).of("1.2.840.10008.1.2.8.1"),
            "a deflated frame",
        ),
        (Object::clean().compressed(&[b"", b"\xFF\x0A\x01\x02"]).of(JPEG_XL), "a codestream"),
        (
            Object::clean()
                .compressed(&[
                    b"",
                    b"\0\0\0\x0CJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl \0\0\0\x0Ajxlc\xFF\x0A\0",
                ])
                .of(JPEG_XL),
            "a codestream in boxes",
        ),
    ] {
        let expected = if why.ends_with("its header") { "frame-data" } else { "" };
        assert_eq!(code(&object), expected, "{why}");
    }
}

#[test]
fn a_patient_older_than_ninety_is_found_where_ages_stay() {
    let options = Options { patient_characteristics: PatientCharacteristics::Keep, ..Options::default() };
    let aged = |age: &[u8]| code_with(&Object::clean().with(0x0010_1010, Vr::AS, age).bytes(), options);
    assert_eq!((aged(b"090Y"), aged(b"045Y")), (String::new(), String::new()));
    assert_eq!(aged(b"094Y"), "age-over-89");
    assert_eq!(code(&Object::clean().with(0x0010_1010, Vr::AS, b"045Y")), "attribute-not-removed");
}

#[test]
fn dates_that_stay_have_to_be_said_to_stay() {
    let kept = Options { dates: Dates::Keep, ..Options::default() };
    let object = Object::clean().with(0x0028_0303, Vr::CS, b"UNMODIFIED");
    assert_eq!(code_with(&object.bytes(), kept), "");
    assert_eq!(code_with(&Object::clean().bytes(), kept), "dates-not-said");
}

#[test]
fn content_that_was_cleaned_is_judged_item_by_item() {
    let cleaned = Options { structured_content: StructuredContent::Clean, ..Options::default() };
    let report = |tag, vr, value: &[u8]| {
        code_with(&Object::clean().nested(0x0040_A730, tag, vr, value).bytes(), cleaned)
    };
    assert_eq!(report(0x0040_A040, Vr::CS, b"NUM"), "");
    assert_eq!(report(0x0040_A123, Vr::PN, b"Doe^Jane"), "attribute-not-replaced");
}

#[test]
fn risks_of_pixels_pass_only_where_they_are_dangerously_accepted() {
    let accepted = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    let object = Object::clean().with(0x0028_0301, Vr::CS, b"YES");
    assert_eq!(code_with(&object.bytes(), accepted), "");
}

#[test]
fn a_deflated_object_is_looked_into() {
    let clean = Object { syntax: DEFLATED, ..Object::clean() };
    assert_eq!(code(&clean), "");
    assert_eq!(code(&clean.clone().with(0x0008_0050, Vr::SH, b"4711")), "attribute-not-emptied");
    assert_eq!(code(&Object { behind: b"Doe".to_vec(), ..clean }), "trailing-bytes");
}

#[test]
fn the_date_of_a_software_version_is_no_date_of_a_patient() {
    let dated = |tag| code(&Object::clean().with(tag, Vr::LO, b"rev 2004-01-23"));
    assert_eq!((dated(0x0018_1020), dated(0x0008_1090)), (String::new(), "date-in-value".to_owned()));
}

#[test]
fn rules_that_are_cut_or_out_of_order_are_refused() {
    for bytes in [&b""[..], &RULES[..RULES.len() - 1], &RULES[..RULES.len() - 17], &RULES[1..]] {
        assert_eq!(Rules::parse(bytes).unwrap_err().code, "bad-rules");
    }
    let mut swapped = RULES.to_vec();
    let first = RULES.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let (one, other) = (RULES[first..first + 17].to_vec(), RULES[first + 17..first + 34].to_vec());
    swapped[first..first + 17].copy_from_slice(&other);
    swapped[first + 17..first + 34].copy_from_slice(&one);
    assert_eq!(Rules::parse(&swapped).unwrap_err().code, "bad-rules");
    assert_eq!(Rules::parse(RULES).unwrap().edition(), "2026d");
}

#[test]
fn the_verifier_shares_no_code_with_what_it_judges() {
    let manifest = include_str!("../Cargo.toml");
    let (shipped, tests) = manifest.split_once("[dev-dependencies]").unwrap();
    assert!(!shipped.contains("dicom-deid") && !shipped.contains("dicom-stream"));
    assert!(tests.contains("dicom-deid"));
}

#[test]
fn a_finding_names_the_rule_and_the_tag_and_never_the_value() {
    let host = Host::new()
        .payload(Object::clean().with(0x0010_0020, Vr::LO, b"4711471").bytes(), "application/dicom")
        .asset("verify-rules", RULES);
    let fault = host.run::<Verifier>().unwrap_err();
    assert_eq!(fault.code(), Some("patient-not-replaced"));
    assert!(fault.text().contains("(0010,0020)") && !fault.text().contains("4711471"), "{fault}");
    assert!(host.record().log.is_empty());
}

#[test]
fn codes_are_listed_in_order() {
    assert!(CODES.is_sorted());
}

/// What the de-identifier makes of a file, where it makes something.
fn deidentified(file: &[u8], settings: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut host = Host::new()
        .payload(file, "application/dicom")
        .asset("deid-table", TABLE)
        .port("image")
        .setting("pixel-risk", "dangerously-accept")
        .pseudonym_key(b"a key for tests, 32 bytes long!!");
    for (name, value) in settings {
        host = host.setting(name, value);
    }
    let (_, outputs) = host.run::<Deidentifier>().ok()?;
    Some(outputs.first()?.bytes.clone())
}

fn verified(object: Vec<u8>, settings: &[(&str, &str)]) -> Result<(), String> {
    let mut host = Host::new()
        .payload(object, "application/dicom")
        .asset("verify-rules", RULES)
        .setting("pixel-risk", "dangerously-accept")
        .evidence("profiles", &["verified"])
        .evidence("editions", &["2026d"])
        .evidence("actions", &["attribute", "item", "fragment"])
        .evidence("notes", &["pixel-risk-dangerously-accepted"]);
    for (name, value) in settings {
        host = host.setting(name, value);
    }
    let (outcome, outputs) = host.run::<Verifier>().map_err(|fault| fault.text().to_owned())?;
    assert!(outputs.is_empty() && outcome.evidence.is_some());
    Ok(())
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            ));
        }
    }
    files
}

/// The samples of the repository; where they were fetched, all of pydicom's too.
fn samples() -> Vec<(String, Vec<u8>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = files(&root.join("tests/fixtures/dicom"));
    files.extend(self::files(&root.join("target/corpus")));
    files
}

#[test]
fn nothing_is_found_in_what_the_deidentifier_makes_under_any_options() {
    let options: [&[(&str, &str)]; 3] =
        [&[], &[("dates", "keep"), ("patient-characteristics", "keep")], &[("structured-content", "clean")]];
    let (mut judged, mut found) = (0, Vec::new());
    for settings in options {
        for (name, file) in samples() {
            let Some(object) = deidentified(&file, settings) else { continue };
            judged += 1;
            if let Some(finding) = verified(object, settings).err() {
                found.push(format!("{name} {settings:?} {finding}"));
            }
        }
    }
    assert!(found.is_empty(), "{} of {judged}: {found:#?}", found.len());
    assert!(judged >= 150, "{judged}");
}

#[test]
fn originals_are_not_taken_for_deidentified() {
    let rules = Rules::parse(RULES).unwrap();
    for (name, file) in samples() {
        assert!(verify(file.as_slice(), &rules, Options::default()).is_err(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn mutated_objects_end_in_a_summary_or_a_listed_code(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        kind in 0..6,
    ) {
        let object = match kind {
            0 => Object::clean().nested(0x0008_1140, 0x0008_1155, Vr::UI, &ours()),
            1 => Object::clean().compressed(&[b"", &jpeg(b"", b"pixels")]),
            2 => Object::clean().compressed(&[b"", &jpeg2000(b"", b"", b"data")]),
            3 => Object::clean().compressed(&[b"", &run_length(b"", b"\x03abcd", b"")]).of(RLE),
            4 => Object::clean().compressed(&[b"", b"\xFF\x0A\x01\x02"]).of(JPEG_XL),
            _ => Object { syntax: DEFLATED, ..Object::clean() },
        };
        let mut bytes = object.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            let end = cut.index(bytes.len());
            bytes.truncate(end);
        }
        if let Err(finding) = verify(bytes.as_slice(), &Rules::parse(RULES).unwrap(), Options::default()) {
            prop_assert!(CODES.contains(&finding.code));
        }
    }
}
