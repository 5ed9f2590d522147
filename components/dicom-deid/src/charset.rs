//! Text in the character sets of DICOM (PS3.3 section C.12.1.1.2, PS3.5 annexes H to K), and one form for all spellings of it.
//!
//! Only the search for repeated names reads text; what is written are the bytes of the file.

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// How the bytes of an object's texts are read where no escape says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charset(&'static Encoding);

impl Default for Charset {
    fn default() -> Self {
        Self(WINDOWS_1252)
    }
}

impl Charset {
    /// By the first value of (0008,0005); the others come with escapes.
    pub(crate) fn of(value: &[u8]) -> Self {
        let first = value.split(|byte| *byte == b'\\').next().unwrap_or_default().trim_ascii();
        let name = first.strip_prefix(b"ISO_IR ").or(first.strip_prefix(b"ISO 2022 IR ")).unwrap_or(first);
        Self(match name {
            b"101" => ISO_8859_2,
            b"109" => ISO_8859_3,
            b"110" => ISO_8859_4,
            b"144" => ISO_8859_5,
            b"127" => ISO_8859_6,
            b"126" => ISO_8859_7,
            b"138" => ISO_8859_8,
            b"148" => WINDOWS_1254,
            b"203" => ISO_8859_15,
            b"13" => SHIFT_JIS,
            b"166" => WINDOWS_874,
            b"192" => UTF_8,
            b"149" => EUC_KR,
            b"58" => GBK,
            b"GB18030" | b"GBK" => GB18030,
            _ => WINDOWS_1252,
        })
    }

    /// The text. A byte that the set does not have becomes a replacement character.
    fn decoded(self, value: &[u8]) -> String {
        let mut text = String::new();
        let mut parts = value.split(|byte| *byte == 0x1B);
        text += &self.0.decode_without_bom_handling(parts.next().unwrap_or_default()).0;
        // Behind an escape: which set is called, and how its bytes reach a decoder that knows it.
        let (mut lower, mut upper) = (Lower::Ascii, self.0);
        for part in parts {
            let (escape, rest) = part
                .split_at_checked(if part.starts_with(b"$(") || part.starts_with(b"$)") { 3 } else { 2 })
                .unwrap_or((part, b""));
            match escape {
                b"$@" | b"$B" => lower = Lower::Japanese,
                b"$(D" => lower = Lower::JapaneseSupplement,
                b"(B" | b"(J" => lower = Lower::Ascii,
                b"$)C" => upper = EUC_KR,
                b"$)A" => upper = GBK,
                b")I" => upper = SHIFT_JIS,
                b"-A" => upper = WINDOWS_1252,
                b"-B" => upper = ISO_8859_2,
                b"-C" => upper = ISO_8859_3,
                b"-D" => upper = ISO_8859_4,
                b"-L" => upper = ISO_8859_5,
                b"-G" => upper = ISO_8859_6,
                b"-F" => upper = ISO_8859_7,
                b"-H" => upper = ISO_8859_8,
                b"-M" => upper = WINDOWS_1254,
                b"-T" => upper = WINDOWS_874,
                b"-b" => upper = ISO_8859_15,
                _ => {}
            }
            let shift = |byte: &u8| if matches!(byte, 0x21..=0x7E) { byte | 0x80 } else { *byte };
            match lower {
                Lower::Ascii => text += &upper.decode_without_bom_handling(rest).0,
                Lower::Japanese => {
                    let bytes: Vec<u8> = rest.iter().map(shift).collect();
                    text += &EUC_JP.decode_without_bom_handling(&bytes).0;
                }
                Lower::JapaneseSupplement => {
                    let pairs =
                        rest.chunks(2).flat_map(|pair| std::iter::once(0x8F).chain(pair.iter().map(shift)));
                    let bytes: Vec<u8> = pairs.collect();
                    text += &EUC_JP.decode_without_bom_handling(&bytes).0;
                }
            }
        }
        text
    }

    /// The forms under which a value that is not plain ASCII is searched: as the object says that it is to be read, and as UTF-8
    /// where it is that.
    pub(crate) fn skeletons(self, value: &[u8]) -> Vec<String> {
        let mut all = vec![skeleton(&self.decoded(value))];
        if self.0 != UTF_8
            && let Ok(text) = std::str::from_utf8(value)
        {
            all.push(skeleton(text));
        }
        all
    }
}

/// Whether a value has to be read before it is searched.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii() && *byte != 0x1B)
}

/// Which set stands in the lower half of the code table.
#[derive(Clone, Copy)]
enum Lower {
    Ascii,
    /// JIS X 0208.
    Japanese,
    /// JIS X 0212.
    JapaneseSupplement,
}

/// Small letters without marks, in one form of all that Unicode takes for the same: `Ｍü` (full-width), `Mu¨`, `MÜ` are `mu`.
fn skeleton(text: &str) -> String {
    let bare = text.nfkd().filter(|letter| !is_combining_mark(*letter));
    bare.nfc().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_the_sets_that_the_standards_annexes_show() {
        for (set, value, expected) in [
            (b"\\ISO 2022 IR 87".as_slice(), b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B".as_slice(), "Yamada^Tarou=山田^太郎=やまだ"),
            (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田"),
            (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF", "Hong^Gildong=洪^吉洞=홍^길동"),
            (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB", "Zhang^XiaoDong=张^小东"),
            (b"\\ISO 2022 IR 159", b"\x1B$(D0!0\"\x1B(B", "丂丄"),
            (b"ISO_IR 144", b"\xBB\xEE", "Лю"),
            (b"ISO_IR 100", b"Buc^J\xE9r\xF4me", "Buc^Jérôme"),
            (b"ISO_IR 192", "王^小東".as_bytes(), "王^小東"),
            (b"GB18030", b"\xCD\xF5^\xD0\xA1\xB6\xAB", "王^小东"),
            (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"\xE9 \x1B-L\xBB\xEE", "é Лю"),
        ] {
            assert_eq!(Charset::of(set).decoded(value), expected);
        }
    }

    #[test]
    fn spellings_of_one_text_have_one_skeleton() {
        for text in ["Müller", "Mu\u{308}ller", "MÜLLER", "Ｍｕｌｌｅｒ", "Mu\u{308}LLER"] {
            assert_eq!(skeleton(text), "muller", "{text}");
        }
        assert_eq!(skeleton("ﾔﾏﾀﾞ"), skeleton("ヤマダ"));
        assert_eq!(skeleton("한국"), skeleton("\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"));
        assert_eq!(skeleton("Nguyễn Văn"), "nguyen van");
        assert_ne!(skeleton("山田"), skeleton("山口"));
    }
}
