//! Comments and application data in the headers of compressed frames.

/// What is looked at of a fragment: headers are shorter.
pub(crate) const LOOKED_AT: usize = 64 << 10;

/// Whether the header that begins this fragment holds a comment, or application data that no decoder asks for. What
/// begins with no marker is no header.
pub(crate) fn has_comment(fragment: &[u8]) -> bool {
    let (0xFF, Some(0xD8 | 0x4F)) = (fragment.first().copied().unwrap_or_default(), fragment.get(1)) else {
        return false;
    };
    let mut at = 2;
    loop {
        let Some(&[mark, kind]) = fragment.get(at..).and_then(<[u8]>::first_chunk::<2>) else { return false };
        if mark != 0xFF {
            return false;
        }
        // Fill bytes and markers without a segment.
        if kind == 0xFF {
            at += 1;
            continue;
        }
        if matches!(kind, 0x01 | 0x30..=0x3F | 0xD0..=0xD8) {
            at += 2;
            continue;
        }
        // Compressed data follow.
        if matches!(kind, 0xDA | 0x93 | 0xD9 | 0x00) {
            return false;
        }
        let length =
            fragment.get(at + 2..).and_then(<[u8]>::first_chunk::<2>).map(|bytes| u16::from_be_bytes(*bytes));
        let Some(length) = length.map(usize::from).filter(|length| *length >= 2) else { return false };
        let end = fragment.len().min(at + 2 + length);
        if says_something(kind, fragment.get(at + 4..end).unwrap_or_default()) {
            return true;
        }
        at += 2 + length;
    }
}

/// Whether a segment holds more than null bytes and what decoders choose colours by.
fn says_something(kind: u8, content: &[u8]) -> bool {
    let (word, known): (&[u8], usize) = match kind {
        // Version, units, densities, and the size of a thumbnail, which is null.
        0xE0 => (b"JFIF\0", 12),
        // The last of twelve bytes is the transformation; flags are null.
        0xEE => (b"Adobe", 12),
        0xE8 => (b"mrfx", 5),
        // Comments of JPEG and JPEG 2000, all other application data.
        0xE1..=0xEF | 0xFE | 0x64 => (b"", 0),
        _ => return false,
    };
    let rest =
        if !word.is_empty() && content.starts_with(word) { content.get(known..) } else { Some(content) };
    rest.unwrap_or_default().iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_application_data_are_seen_ahead_of_the_image_data() {
        for segment in [
            &b"\xFF\xFE\x00\x06DOE\0"[..],
            b"\xFF\xE1\x00\x06Exif",
            b"\xFF\xE0\x00\x06JOHN",
            b"\xFF\x64\x00\x06\0\x01HI",
        ] {
            let frame = [b"\xFF\xD8", segment, b"\xFF\xDA\x00\x02data"].concat();
            assert!(has_comment(&frame), "{segment:?}");
        }
    }

    #[test]
    fn what_decoders_need_and_blanked_segments_are_no_comments() {
        let frame = b"\xFF\xD8\xFF\xE0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xFF\xEE\x00\x0EAdobe\0\x64\0\0\0\0\x01\xFF\xFE\x00\x06\0\0\0\0\xFF\xDA\x00\x02\xFF\xFE\x00\x06DOE\0";
        assert!(!has_comment(frame));
        assert!(!has_comment(b"") && !has_comment(b"\xFF\xD8\xFF") && !has_comment(b"\x01\0\0\0"));
    }
}
