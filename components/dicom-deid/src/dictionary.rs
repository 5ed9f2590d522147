//! The standard's dictionary, made by the compiler from `table/dictionary.txt`.

use dicom_stream::{Dictionary, Rows};

const TEXT: &[u8] = include_bytes!("../table/dictionary.txt");
const EXACT: usize = Rows::<0, 0>::count(TEXT, b"rows=");
const PATTERNS: usize = Rows::<0, 0>::count(TEXT, b"patterns=");

static ROWS: Rows<EXACT, PATTERNS> = Rows::parse(TEXT);

/// Every attribute of PS3.6 and PS3.7 that is not private.
pub(crate) const DICTIONARY: Dictionary = ROWS.dictionary();
