//! Which object a data set says that it is: the class and the instance at its beginning.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};

use super::bytes::Bytes;
use super::names::Uid;
use super::syntaxes::Encoding;

/// Bytes of a data set in which both must stand. Only a few short elements may come before them.
pub(crate) const HEAD: usize = 64 << 10;
/// Sequences that are in one another before them, at most.
const DEEPEST: usize = 16;
/// The length of what ends with a delimiter.
const UNDEFINED: u32 = 0xFFFF_FFFF;

const CLASS: u32 = 0x0008_0016;
const INSTANCE: u32 = 0x0008_0018;
const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;

/// The class and the instance of a data set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) class: Uid,
    pub(crate) instance: Uid,
}

/// Reads class and instance from the first bytes of a data set. None where they are not there, are no UIDs, or what
/// comes before them cannot be read.
pub(crate) fn identity(head: &[u8], encoding: Encoding) -> Option<Identity> {
    if encoding == Encoding::Deflated {
        return identity(&inflated(head), Encoding::ExplicitLittle);
    }
    let mut reader = Reader { bytes: Bytes(head), encoding };
    let mut class = None;
    loop {
        let element = reader.element()?;
        match element.tag {
            CLASS => class = Some(Uid::from_wire(reader.value(element.length)?)?),
            INSTANCE => {
                return Some(Identity {
                    class: class?,
                    instance: Uid::from_wire(reader.value(element.length)?)?,
                });
            }
            tag if tag > INSTANCE => return None,
            _ => reader.skip(element.length, 0)?,
        }
    }
}

/// What the first bytes of a deflated data set are, as far as they reach and [`HEAD`] does.
fn inflated(head: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let result = inflate(&mut state, head, &mut out, MZFlush::None);
    out.truncate(result.bytes_written);
    out
}

struct Element {
    tag: u32,
    length: u32,
}

struct Reader<'a> {
    bytes: Bytes<'a>,
    encoding: Encoding,
}

impl<'a> Reader<'a> {
    fn element(&mut self) -> Option<Element> {
        let tag = u32::from(self.short()?) << 16 | u32::from(self.short()?);
        let is_delimiter = matches!(tag, ITEM | ITEM_END | SEQUENCE_END);
        if is_delimiter || self.encoding == Encoding::ImplicitLittle {
            return Some(Element { tag, length: self.long()? });
        }
        let representation = self.bytes.array::<2>()?;
        let length = match &representation {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
            | b"UV" => {
                self.bytes.take(2)?;
                self.long()?
            }
            _ => self.short()?.into(),
        };
        Some(Element { tag, length })
    }

    fn value(&mut self, length: u32) -> Option<&'a [u8]> {
        self.bytes.take(usize::try_from(length).ok()?)
    }

    /// Goes over a value; one of undefined length to its delimiter.
    fn skip(&mut self, length: u32, depth: usize) -> Option<()> {
        if length != UNDEFINED {
            self.value(length)?;
            return Some(());
        }
        if depth == DEEPEST {
            return None;
        }
        loop {
            let element = self.element()?;
            if matches!(element.tag, ITEM_END | SEQUENCE_END) {
                return Some(());
            }
            self.skip(element.length, depth + 1)?;
        }
    }

    fn short(&mut self) -> Option<u16> {
        match self.encoding {
            Encoding::ExplicitBig => self.bytes.big_u16(),
            _ => self.bytes.little_u16(),
        }
    }

    fn long(&mut self) -> Option<u32> {
        match self.encoding {
            Encoding::ExplicitBig => self.bytes.big_u32(),
            _ => self.bytes.little_u32(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "tests write short values")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2\0";

    fn head(encoding: Encoding, elements: &[(u32, &[u8; 2], &[u8])]) -> Vec<u8> {
        let is_big = encoding == Encoding::ExplicitBig;
        let short = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let long = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let mut bytes = Vec::new();
        for (tag, representation, value) in elements {
            bytes.extend(short((tag >> 16) as u16));
            bytes.extend(short(*tag as u16));
            // `--` stands for a sequence of undefined length, whose value is given with its delimiters.
            let length = if *representation == b"--" { UNDEFINED } else { value.len() as u32 };
            match (encoding, *representation) {
                (Encoding::ImplicitLittle, _) => bytes.extend(long(length)),
                (_, b"--") => {
                    bytes.extend(b"SQ\0\0");
                    bytes.extend(long(length));
                }
                _ => {
                    bytes.extend(*representation);
                    bytes.extend(short(length as u16));
                }
            }
            bytes.extend(*value);
        }
        bytes
    }

    #[test]
    fn class_and_instance_are_found_in_every_encoding_behind_whatever_comes_first() {
        for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
            let delimiter = |tag: u32| match encoding {
                Encoding::ExplicitBig => [&tag.to_be_bytes()[..], &[0; 4]].concat(),
                _ => [&((tag >> 16) as u16).to_le_bytes()[..], &(tag as u16).to_le_bytes(), &[0; 4]].concat(),
            };
            let open_item = match encoding {
                Encoding::ExplicitBig => [&ITEM.to_be_bytes()[..], &[0xFF; 4]].concat(),
                _ => vec![0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF],
            };
            let inner = head(encoding, &[(0x0008_0100, b"SH", b"en"), (CLASS, b"UI", b"9.9\0")]);
            let sequence = [open_item, inner, delimiter(ITEM_END), delimiter(SEQUENCE_END)].concat();
            let bytes = head(
                encoding,
                &[
                    (0x0008_0005, b"CS", b"ISO_IR 100"),
                    (0x0008_0006, b"--", &sequence),
                    (0x0008_0012, b"DA", b"20040119"),
                    (CLASS, b"UI", CT.as_bytes()),
                    (INSTANCE, b"UI", b"1.2.3\0"),
                    (0x0008_0020, b"DA", b"20040119"),
                ],
            );
            let found = identity(&bytes, encoding).unwrap();
            assert_eq!((found.class.as_str(), found.instance.as_str()), (CT.trim_end_matches('\0'), "1.2.3"));
            let deflated = miniz_oxide::deflate::compress_to_vec(&bytes, 6);
            if encoding == Encoding::ExplicitLittle {
                // As much of the stream as reached us before it was cut.
                let cut = deflated.get(..deflated.len() - 4).unwrap();
                assert_eq!(identity(cut, Encoding::Deflated), Some(found));
            }
        }
    }

    #[test]
    fn a_data_set_without_them_is_told() {
        let explicit = Encoding::ExplicitLittle;
        let uid = (INSTANCE, b"UI", &b"1.2.3\0"[..]);
        for elements in [
            &[][..],
            &[uid],
            &[(CLASS, b"UI", CT.as_bytes())],
            &[(CLASS, b"UI", b"DOE^JOHN"), uid],
            &[(0x0008_0020, b"DA", b"20040119"), (CLASS, b"UI", CT.as_bytes()), uid],
        ] {
            assert_eq!(identity(&head(explicit, elements), explicit), None, "{elements:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_does_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            at in 0_usize..48,
        ) {
            let explicit = Encoding::ExplicitLittle;
            let mut changed = head(explicit, &[(CLASS, b"UI", CT.as_bytes()), (INSTANCE, b"UI", b"1.2.3\0")]);
            changed.splice(at..at, bytes.iter().copied().take(6));
            for encoding in [explicit, Encoding::ImplicitLittle, Encoding::ExplicitBig, Encoding::Deflated] {
                let _ = identity(&bytes, encoding);
                let _ = identity(&changed, encoding);
            }
        }
    }
}
