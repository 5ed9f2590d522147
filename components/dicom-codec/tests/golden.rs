//! The decoders against what other people's decoders give, by the streams that `codec_check.py golden` committed, and
//! against damage.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail: the helpers of an integration test are no test functions to clippy"
)]

use dicom_codec::{Codec, CodecError, Pixels, Shape, decode, fuzz_decode, fuzz_input};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const STREAMS: &str = include_str!("golden/streams.txt");
const OURS: [Codec; 3] = [Codec::Rle, Codec::Jpeg, Codec::JpegLs];

struct Golden {
    codec: Codec,
    shape: Shape,
    digest: &'static str,
    name: &'static str,
    stream: Vec<u8>,
}

fn golden() -> Vec<Golden> {
    let read = |line: &'static str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [codec, rows, columns, samples, bits_allocated, digest, name, stream] = words[..] else {
            panic!("{line}")
        };
        let codec = match codec {
            "rle" => Codec::Rle,
            "jpeg" => Codec::Jpeg,
            "jpeg-ls" => Codec::JpegLs,
            other => panic!("{other}"),
        };
        let number = |text: &str| text.parse::<usize>().unwrap();
        let (rows, columns, samples) = (number(rows), number(columns), number(samples));
        let bits_allocated = bits_allocated.parse().unwrap();
        let byte = |at: usize| u8::from_str_radix(&stream[at..at + 2], 16).unwrap();
        let bytes = (0..stream.len()).step_by(2).map(byte).collect();
        Golden { codec, shape: Shape { rows, columns, samples, bits_allocated }, digest, name, stream: bytes }
    };
    let found: Vec<_> = STREAMS.lines().filter(|line| !line.starts_with('#')).map(read).collect();
    for codec in OURS {
        assert!(found.iter().filter(|it| it.codec == codec).count() >= 9, "{codec:?}");
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decoded(it: &Golden) -> Pixels {
    decode(it.codec, &it.stream, &it.shape).unwrap_or_else(|error| panic!("{}: {error}", it.name))
}

#[test]
fn samples_are_those_of_the_reference_decoders() {
    for it in golden() {
        assert_eq!(hex(&decoded(&it).bytes), it.digest, "{}", it.name);
    }
}

/// ISO/IEC 14495-1 H.3: an image of four by four, and its coding in the order of the standard.
#[test]
fn the_standards_example_of_jpeg_ls_decodes_as_printed() {
    let head =
        [0xFF, 0xD8, 0xFF, 0xF7, 0, 11, 8, 0, 4, 0, 4, 1, 1, 0x11, 0, 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0];
    let scan = [
        0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00, 0x6E, 0xE6,
        0x00, 0x00, 0x01, 0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60,
    ];
    let stream = [&head[..], &scan, &[0xFF, 0xD9]].concat();
    let shape = Shape { rows: 4, columns: 4, samples: 1, bits_allocated: 8 };
    let expected = [0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145];
    assert_eq!(decode(Codec::JpegLs, &stream, &shape).unwrap().bytes, expected);
}

#[test]
fn a_stream_of_another_shape_is_refused() {
    for it in golden() {
        let shape = it.shape;
        let mut others = vec![
            Shape { rows: shape.rows + 1, ..shape },
            Shape { columns: shape.columns + 1, ..shape },
            Shape { samples: shape.samples + 1, ..shape },
        ];
        // RLE says nothing of its shape: fewer rows are as good.
        if it.codec != Codec::Rle {
            others.push(Shape { rows: shape.rows - 1, ..shape });
            others.push(Shape { bits_allocated: 1, ..shape });
        }
        for other in others {
            assert!(decode(it.codec, &it.stream, &other).is_err(), "{} {other:?}", it.name);
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused_or_was_whole_already() {
    for it in golden() {
        let whole = decoded(&it);
        let same = |end: &usize| match decode(it.codec, &it.stream[..*end], &it.shape) {
            Ok(pixels) => {
                assert_eq!(pixels.bytes, whole.bytes, "{} cut at {end}", it.name);
                true
            }
            Err(_) => false,
        };
        // An end of image of two bytes, the padding of the last byte, an even length.
        let kept = (0..it.stream.len()).filter(same).count();
        let most = if it.name.contains("lines_behind") { 1 } else { 5 };
        assert!(kept <= most, "{}: {kept}", it.name);
    }
}

#[test]
fn components_that_come_twice_or_never_are_refused() {
    let it = golden()
        .into_iter()
        .find(|it| it.name.contains("near0-interleave0") && it.shape.samples == 3)
        .unwrap();
    let scans: Vec<usize> =
        (0..it.stream.len() - 1).filter(|at| it.stream[*at..*at + 2] == [0xFF, 0xDA]).collect();
    let [first, second, _] = scans[..] else { panic!("{scans:?}") };
    let one_missing = [&it.stream[..first], &it.stream[second..]].concat();
    let one_twice = [&it.stream[..second], &it.stream[first..]].concat();
    for stream in [one_missing, one_twice] {
        let refused = decode(it.codec, &stream, &it.shape);
        assert!(matches!(refused, Err(CodecError::Malformed { code: "jpeg-ls", .. })), "{refused:?}");
    }
}

#[test]
fn kinds_that_are_not_decoded_are_unsupported() {
    let changed = |name: &str, from: &[u8], to: &[u8]| {
        let it = golden().into_iter().find(|it| it.name.starts_with(name)).unwrap();
        let at = it.stream.windows(from.len()).position(|part| part == from).unwrap();
        let stream = [&it.stream[..at], to, &it.stream[at + from.len()..]].concat();
        decode(it.codec, &stream, &it.shape)
    };
    let segment = |marker: u8, body: &[u8]| {
        [&[0xFF, 0xD8, 0xFF, marker, 0, u8::try_from(body.len() + 2).unwrap()], body].concat()
    };
    let soi = [0xFF, 0xD8];
    for (name, from, to) in [
        // Progressive; arithmetic coding.
        ("dct", &[0xFF, 0xC0][..], vec![0xFF, 0xC2]),
        ("dct", &[0xFF, 0xC0], vec![0xFF, 0xC9]),
        // A mapping table; more rows than 65,535; a colour transform; another largest sample.
        ("charls-smooth-8", &soi, segment(0xF8, &[2, 1, 1, 0])),
        ("charls-smooth-8", &soi, segment(0xF8, &[4, 2, 0, 1, 0, 1])),
        ("charls-smooth-8", &soi, segment(0xE8, b"mrfx\x01")),
        ("charls-smooth-8", &soi, segment(0xF8, &[1, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0])),
    ] {
        let refused = changed(name, from, &to);
        assert!(matches!(refused, Err(CodecError::Unsupported { .. })), "{name} {to:?}: {refused:?}");
    }
    // Without a transform, and with the largest sample that there is, nothing is changed.
    for harmless in [segment(0xE8, b"mrfx\0"), segment(0xF8, &[1, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0])] {
        assert!(changed("charls-smooth-8", &soi, &harmless).is_ok());
    }
}

proptest! {
    #[test]
    fn damaged_streams_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all = golden();
        let it = &all[which.index(all.len())];
        let mut stream = it.stream.clone();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        fuzz_decode(it.codec, &fuzz_input(&it.shape, &stream));
    }

    #[test]
    fn any_bytes_never_panic(codec in prop::sample::select(OURS.to_vec()), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_decode(codec, &bytes);
    }
}
