//! What compressed frames carry beside their pixels.

use super::*;

#[test]
fn offset_tables_stay_where_they_say_what_is_so() {
    let image = |basic: &[u8], begins: &[u8], lengths: &[u8]| {
        let bytes = file("1.2.840.10008.1.2.4.50", Encoding::ExplicitLittle, &|w| {
            identity(w);
            put(w, 0x0028_0008, Vr::IS, b"2");
            if !begins.is_empty() {
                put(w, 0x7FE0_0001, Vr::OV, begins);
                put(w, 0x7FE0_0002, Vr::OV, lengths);
            }
            w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
            w.fragment(u32::try_from(basic.len()).unwrap());
            w.raw(basic).unwrap();
            for pixels in ["one", "two."] {
                let fragment = jpeg(b"", pixels.as_bytes());
                w.fragment(18);
                w.raw(&[fragment.as_slice(), &[0]].concat()[..18]).unwrap();
            }
            w.sequence_end().unwrap();
        });
        let (host, _) = run(&bytes, ACCEPT).unwrap();
        assert!(holds(&host.written, "one") && holds(&host.written, "two."));
        host.written
    };
    let basic = [0_u32, 26].map(u32::to_le_bytes).concat();
    let begins = [0_u64, 26].map(u64::to_le_bytes).concat();
    let lengths = [17_u64, 18].map(u64::to_le_bytes).concat();
    let item = |bytes: &[u8]| {
        [b"\xFE\xFF\x00\xE0".as_slice(), &[u8::try_from(bytes.len()).unwrap(), 0, 0, 0], bytes].concat()
    };
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);

    let whole = image(&basic, &begins, &lengths);
    assert!(has(&whole, &item(&basic)) && has(&whole, &begins) && has(&whole, &lengths));
    assert!(has(&image(&basic[..4], &[], &[]), &item(&basic[..4])), "a table that is cut");
    assert!(has(&image(&[], &[], &[]), &item(&[])));
    for wrong in [b"\0\0\0\0ZZMA".as_slice(), b"ZZMARK.."] {
        let out = image(wrong, &[], &[]);
        assert!(leaks(&out).is_empty() && has(&out, &[&b"OB\0\0\xFF\xFF\xFF\xFF"[..], &item(&[])].concat()));
    }
    for (begins, lengths) in [
        (begins.as_slice(), b"ZZMARK..ZZMARK..".as_slice()),
        (b"ZZMARK..ZZMARK..", &lengths),
        (&begins, b"ZZMARK"),
        (&begins[..8], &lengths[..8]),
    ] {
        let out = image(&[], begins, lengths);
        assert!(
            leaks(&out).is_empty()
                && value(&out, &[0x7FE0_0001]).is_none()
                && value(&out, &[0x7FE0_0002]).is_none()
        );
    }
}

/// A whole image of JPEG: fourteen bytes around `pixels`, and what is put ahead of its scan.
fn jpeg(ahead: &[u8], pixels: &[u8]) -> Vec<u8> {
    [b"\xFF\xD8", ahead, b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0", pixels, b"\xFF\xD9"].concat()
}

/// An object of four pixels with these fragments, de-identified.
fn fragmented(
    syntax: &str,
    frames: &[u8],
    fragments: &[&[u8]],
) -> Result<(Vec<u8>, Vec<&'static str>), Refusal> {
    let bytes = file(syntax, Encoding::ExplicitLittle, &|w| {
        identity(w);
        put(w, 0x0028_0008, Vr::IS, frames);
        for (tag, value) in [(0x0028_0010, 2), (0x0028_0011, 2), (0x0028_0100, 8)] {
            put(w, tag, Vr::US, &[value, 0]);
        }
        w.header(Tag::PIXEL_DATA, Vr::OB, u32::MAX);
        w.fragment(0);
        for fragment in fragments {
            let padded = [fragment, &[0][..fragment.len() % 2]].concat();
            w.fragment(u32::try_from(padded.len()).unwrap());
            w.raw(&padded).unwrap();
        }
        w.sequence_end().unwrap();
    });
    run(&bytes, ACCEPT).map(|(host, summary)| (host.written, summary.notes))
}

const JPEG: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";
const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";
const DEFLATED_FRAMES: &str = "1.2.840.10008.1.2.8.1";

/// Four pixels with run-lengths, and what stands behind them.
fn run_length(behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    (frame[0], frame[4]) = (1, 64);
    [frame.as_slice(), &[3], b"abcd", behind].concat()
}

/// Deflated bytes (stored), and what stands behind them.
fn deflated_frame(pixels: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    dicom_stream::Deflater::default().write(pixels, true, &mut out);
    [out.as_slice(), behind].concat()
}

#[test]
fn comments_in_the_headers_of_frames_are_blanked() {
    let (out, notes) = fragmented(JPEG, b"1", &[&jpeg(b"\xFF\xFE\x00\x10for ZZMARKFAM5", b"ok")]).unwrap();
    assert!(leaks(&out).is_empty() && holds(&out, "ok"));
    assert!(notes.contains(&"frame-comments-blanked"));
}

#[test]
fn fragments_are_as_many_frames_as_the_object_says_and_hold_nothing_else() {
    let image = jpeg(b"", b"pixel");
    let (front, back) = image.split_at(16);
    let (text, tailed) = (b"ZZMARK", [&image, b"ZZMARK".as_slice()].concat());
    let blanked: [(&[u8], &[&[u8]]); 6] = [
        (b"", &[&image, text]),
        (b"1", &[&tailed, text]),
        (b"1", &[&image, &jpeg(b"", text)]),
        (b"1", &[front, back, text]),
        (b"2", &[&tailed, &tailed]),
        (b"2", &[front, &[back, text].concat(), &tailed]),
    ];
    for (frames, fragments) in blanked {
        let (out, _) = fragmented(JPEG, frames, fragments).unwrap();
        assert!(leaks(&out).is_empty(), "{frames:?} {fragments:?}");
    }
    let refused: [(&[u8], &[&[u8]]); 6] = [
        (b"2", &[&image, &image, text]),
        (b"2", &[&image, &image, &image]),
        (b"2", &[&image]),
        (b"2", &[front, back, b"\0\0"]),
        (b"1", &[text]),
        (b"1", &[]),
    ];
    for (frames, fragments) in refused {
        let refusal = fragmented(JPEG, frames, fragments).err().unwrap();
        assert_eq!(
            (refusal.kind, refusal.code),
            (Kind::NeedsReview, "frame-data"),
            "{frames:?} {fragments:?}"
        );
    }
    for (syntax, frame) in [
        (RLE, run_length(b"")),
        (JPEG_XL, b"\xFF\x0Aabcd".to_vec()),
        (DEFLATED_FRAMES, deflated_frame(b"abcd", b"")),
    ] {
        assert!(fragmented(syntax, b"2", &[&frame, &frame]).is_ok(), "{syntax}");
        for (frames, fragments) in [(b"1", [frame.as_slice(), text]), (b"1", [&frame, &frame])] {
            let refusal = fragmented(syntax, frames, &fragments).err().unwrap();
            assert_eq!((refusal.kind, refusal.code), (Kind::NeedsReview, "frame-data"), "{syntax}");
        }
    }
}

#[test]
fn what_stands_behind_the_pixels_of_a_frame_in_its_fragment_is_blanked() {
    for (syntax, frame) in
        [(RLE, run_length(b"ZZMARK")), (DEFLATED_FRAMES, deflated_frame(b"abcd", b"ZZMARK"))]
    {
        let (out, notes) = fragmented(syntax, b"1", &[&frame]).unwrap();
        assert!(leaks(&out).is_empty() && notes.contains(&"frame-comments-blanked"), "{syntax}");
    }
    for pixels in [b"abc".as_slice(), b"abcdef", b"abcdefghijklm"] {
        assert_eq!(
            fragmented(DEFLATED_FRAMES, b"1", &[&deflated_frame(pixels, b"")]).err().unwrap().code,
            "frame-data"
        );
    }
    assert_eq!(fragmented(DEFLATED_FRAMES, b"1", &[b"ZZMARK"]).err().unwrap().code, "frame-data");
}

#[test]
fn what_goes_is_looked_for_in_compressed_frames_also_across_their_fragments() {
    let name = b"\x01ZZMARKFAM5\x02";
    let whole = jpeg(b"", name);
    let (front, back) = whole.split_at(18);
    let literal = {
        let mut frame = run_length(b"");
        frame.truncate(65);
        [frame.as_slice(), b"1931"].concat()
    };
    for (syntax, fragments) in [
        (JPEG, vec![whole.as_slice()]),
        (JPEG, vec![front, back]),
        (JPEG_XL, vec![b"\xFF\x0A47114711".as_slice()]),
        (JPEG_XL, vec![b"\xFF\x0A\x0119310317\x02"]),
    ] {
        let refusal = fragmented(syntax, b"1", &fragments).err().unwrap();
        assert_eq!((refusal.kind, refusal.code), (Kind::NeedsReview, "frame-data"), "{syntax} {fragments:?}");
    }
    assert!(fragmented(RLE, b"1", &[&literal]).is_ok(), "a year alone is no date");
}
