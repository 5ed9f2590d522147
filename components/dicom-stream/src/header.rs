//! What stands ahead of the data set: preamble, prefix, file meta information, any of which may be missing.

use crate::dictionary::Dictionary;
use crate::error::ReadError;
use crate::inflate::Inflater;
use crate::reader::Reader;
use crate::source::Source;
use crate::value::{Encoding, Tag, Vr};
use crate::window::Window;

/// What the file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Media Storage SOP Class UID; empty where the file has none.
    pub sop_class: String,
    /// Transfer Syntax UID: as written, or the plain one that the data set's first element shows.
    pub transfer_syntax: String,
    /// How the data set is encoded, by its first element where that contradicts the transfer syntax.
    pub encoding: Encoding,
}

impl FileHeader {
    /// Whether the data set is deflated.
    #[must_use]
    pub fn is_deflated(&self) -> bool {
        self.transfer_syntax == DEFLATED
    }
}

/// Implicit VR little endian.
const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
/// Explicit VR little endian.
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
/// Deflated explicit VR little endian.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR big endian.
const EXPLICIT_BIG: &str = "1.2.840.10008.1.2.2";

/// A data set's bytes: those of the file, or inflated.
pub enum Input<S> {
    /// As they stand in the file.
    Plain(S),
    /// Inflated as they are read.
    Deflated(Box<Inflater<S>>),
}

impl<S: Source> Source for Input<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Deflated(source) => source.read(buffer),
        }
    }

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        match self {
            Self::Plain(source) => source.append(buffer, most),
            Self::Deflated(source) => source.append(buffer, most),
        }
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        match self {
            Self::Plain(source) => source.skip(count),
            Self::Deflated(source) => source.skip(count),
        }
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        match self {
            Self::Plain(source) => source.rewind(),
            Self::Deflated(source) => source.rewind(),
        }
    }

    fn length(&self) -> Option<u64> {
        match self {
            Self::Plain(source) => source.length(),
            Self::Deflated(source) => source.length(),
        }
    }
}

/// Finds the data set of a file. A missing preamble, prefix, file meta group, group length or transfer syntax is
/// made up for; the encoding is then what the first element looks like.
///
/// # Errors
/// [`ReadError::NotDicom`] where neither a prefix nor a plausible first element is there, and those of reading.
pub fn open<S: Source>(
    source: S,
    dictionary: Dictionary,
) -> Result<(FileHeader, Reader<Input<S>>), ReadError> {
    let mut window = Window::new(source);
    let prefixed = window.peek(132)?.get(128..) == Some(b"DICM");
    if prefixed {
        window.skip(132)?;
    } else if window.peek(4)? == b"DICM" {
        window.skip(4)?;
    }
    let mut header = FileHeader {
        sop_class: String::new(),
        transfer_syntax: String::new(),
        encoding: Encoding::ExplicitLittle,
    };
    let with_meta = read_meta(&mut window, &mut header)?;
    if header.transfer_syntax == DEFLATED {
        let inflated = Window::new(Input::Deflated(Box::new(Inflater::new(window))));
        return Ok((header, Reader::new(inflated, dictionary, Encoding::ExplicitLittle)));
    }
    let seen = look(window.peek(8)?, &dictionary);
    if !prefixed && !with_meta && !seen.is_some_and(|(_, known)| known) {
        return Err(ReadError::NotDicom);
    }
    settle(&mut header, seen.map(|(encoding, _)| encoding));
    let encoding = header.encoding;
    Ok((header, Reader::new(window.map(Input::Plain), dictionary, encoding)))
}

/// Reads group 2, always explicit little endian by the standard, implicit in some files; its group length is not
/// believed. Says whether there was any.
fn read_meta<S: Source>(window: &mut Window<S>, header: &mut FileHeader) -> Result<bool, ReadError> {
    let mut any = false;
    // A real one has a dozen elements.
    for _ in 0..256 {
        let offset = window.position();
        let Ok([g0, g1, e0, e1, v0, v1, l0, l1]) = <[u8; 8]>::try_from(window.peek(8)?) else { break };
        if [g0, g1] != [2, 0] {
            break;
        }
        any = true;
        let (vr, tag) = (Vr([v0, v1]), Encoding::ExplicitLittle.tag([g0, g1, e0, e1]));
        let (size, length) = if !vr.is_known() {
            (8, u32::from_le_bytes([v0, v1, l0, l1]))
        } else if vr.has_short_length() {
            (8, u32::from(u16::from_le_bytes([l0, l1])))
        } else {
            let Some(Ok(length)) = window.peek(12)?.get(8..).map(<[u8; 4]>::try_from) else { break };
            (12, u32::from_le_bytes(length))
        };
        window.skip(size)?;
        if matches!(tag.element(), 0x0002 | 0x0010) && length <= 128 {
            let value = window.peek(length as usize)?;
            let text = String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned();
            if tag.element() == 0x0002 { header.sop_class = text } else { header.transfer_syntax = text }
        }
        if window.skip(u64::from(length))? != u64::from(length) {
            return Err(ReadError::Truncated { offset });
        }
    }
    Ok(any)
}

/// What encoding eight bytes at the begin of a data set look like, and whether the dictionary knows their tag.
fn look(bytes: &[u8], dictionary: &Dictionary) -> Option<(Encoding, bool)> {
    let [a, b, c, d, v0, v1, ..] = *bytes else { return None };
    let (little, big) = (Encoding::ExplicitLittle.tag([a, b, c, d]), Encoding::ExplicitBig.tag([a, b, c, d]));
    let known = |tag: Tag| dictionary.vr(tag).is_some();
    Some(if !(v0.is_ascii_uppercase() && v1.is_ascii_uppercase()) {
        (Encoding::ImplicitLittle, known(little))
    } else if big.group() < little.group() {
        (Encoding::ExplicitBig, known(big))
    } else {
        (Encoding::ExplicitLittle, known(little))
    })
}

/// Brings transfer syntax and encoding together: what is seen wins over what is said among the plain syntaxes.
fn settle(header: &mut FileHeader, seen: Option<Encoding>) {
    let said = match header.transfer_syntax.as_str() {
        "" => None,
        IMPLICIT_LITTLE => Some(Encoding::ImplicitLittle),
        EXPLICIT_BIG => Some(Encoding::ExplicitBig),
        EXPLICIT_LITTLE => Some(Encoding::ExplicitLittle),
        // Every encapsulated syntax is explicit little endian, whatever its first element looks like.
        _ => return,
    };
    header.encoding = seen.or(said).unwrap_or(Encoding::ExplicitLittle);
    if said != Some(header.encoding) {
        header.transfer_syntax = match header.encoding {
            Encoding::ImplicitLittle => IMPLICIT_LITTLE,
            Encoding::ExplicitLittle => EXPLICIT_LITTLE,
            Encoding::ExplicitBig => EXPLICIT_BIG,
        }
        .to_owned();
    }
}
