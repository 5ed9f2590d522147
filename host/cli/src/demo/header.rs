//! What a viewer shows beside an image: a few values of the header, for the demo's picture alone.

use dicom_stream::{Dictionary, Event, Rows, SliceSource, Tag};

const TEXT: &[u8] = include_bytes!("../../../../components/dicom-deid/table/dictionary.txt");
static ROWS: Rows<{ Rows::<0, 0>::count(TEXT, b"rows=") }, { Rows::<0, 0>::count(TEXT, b"patterns=") }> =
    Rows::parse(TEXT);
const DICTIONARY: Dictionary = ROWS.dictionary();

/// Values that are shown, in this order.
const SHOWN: [(Tag, &str); 5] = [
    (Tag(0x0010_0010), "name"),
    (Tag(0x0010_0020), "id"),
    (Tag(0x0010_0030), "born"),
    (Tag(0x0008_0020), "study"),
    (Tag(0x0008_0080), "place"),
];
/// Longest value that is shown.
const LONGEST: usize = 64;

/// A line for each value shown; `(none)` where it is empty or missing.
pub(crate) fn lines(file: &[u8]) -> Vec<String> {
    let mut values = SHOWN.map(|_| String::new());
    // What cannot be read is not shown; the pipeline has judged the file already.
    let _ = collect(file, &mut values);
    let line = |((_, word), value): (&(Tag, &str), &String)| match value.as_str() {
        "" => format!("{word}: (none)"),
        value => format!("{word}: {value}"),
    };
    SHOWN.iter().zip(&values).map(line).collect()
}

fn collect(file: &[u8], values: &mut [String; SHOWN.len()]) -> Result<(), dicom_stream::ReadError> {
    let (_, mut reader) = dicom_stream::open(SliceSource::new(file), DICTIONARY)?;
    loop {
        match reader.next_event()? {
            Event::Element(header) if header.tag > Tag(0x0010_0030) && reader.depth() == 0 => return Ok(()),
            Event::Element(header) if reader.depth() == 0 => {
                let Some(index) = SHOWN.iter().position(|(tag, _)| *tag == header.tag) else { continue };
                if let (Some(bytes), Some(slot)) = (reader.value()?, values.get_mut(index)) {
                    let text = String::from_utf8_lossy(bytes);
                    *slot = text
                        .trim_matches([' ', '\0'])
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(LONGEST)
                        .collect();
                }
            }
            Event::End => return Ok(()),
            _ => {}
        }
    }
}
