//! The attributes that say what was done (PS3.15 E.2, PS3.16 CID 7050), and those of the file meta group.

use dicom_stream::{Tag, Vr, Writer};

use crate::rules::{Dates, Options, PatientCharacteristics, StructuredContent, tags};

/// Implementation Class UID of this de-identifier: `2.25.` and a random UUID of ours.
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.265316463459792663325809976605212786917";

/// Implementation Version Name, at most 16 characters.
pub(crate) const IMPLEMENTATION_VERSION: &str = "MARTELLO_DEID_1";

/// The attributes that are written, ascending.
pub(crate) const MARKS: [Tag; 4] =
    [tags::IDENTITY_REMOVED, tags::METHOD, tags::METHOD_CODES, tags::DATES_MODIFIED];

/// Writes one of [`MARKS`].
pub(crate) fn write<O: dicom_stream::Output>(
    mark: Tag,
    options: Options,
    edition: &str,
    writer: &mut Writer<O>,
) -> Result<(), O::Error> {
    match mark {
        tags::IDENTITY_REMOVED => writer.element(mark, Vr::CS, b"YES"),
        tags::METHOD => {
            let method =
                format!("Martello dicom-deid {}\\PS3.15 Basic Profile\\{edition}", env!("CARGO_PKG_VERSION"));
            writer.element(mark, Vr::LO, method.as_bytes())
        }
        tags::METHOD_CODES => {
            writer.sequence(mark);
            for (code, meaning) in codes(options) {
                writer.item();
                writer.element(Tag(0x0008_0100), Vr::SH, code.as_bytes())?;
                writer.element(Tag(0x0008_0102), Vr::SH, b"DCM")?;
                writer.element(Tag(0x0008_0104), Vr::LO, meaning.as_bytes())?;
                writer.item_end()?;
            }
            writer.sequence_end()
        }
        _ => {
            let dates: &[u8] = if options.dates == Dates::Keep { b"UNMODIFIED" } else { b"MODIFIED" };
            writer.element(mark, Vr::CS, dates)
        }
    }
}

/// Code and meaning of the profile and of each option in use.
fn codes(options: Options) -> impl Iterator<Item = (&'static str, &'static str)> {
    let dates = match options.dates {
        Dates::Shift => ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
        Dates::Keep => ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    };
    let content = (options.structured_content == StructuredContent::Clean)
        .then_some(("113104", "Clean Structured Content Option"));
    let patient = (options.patient_characteristics == PatientCharacteristics::Keep)
        .then_some(("113108", "Retain Patient Characteristics Option"));
    [("113100", "Basic Application Confidentiality Profile")]
        .into_iter()
        .chain(content)
        .chain([dates])
        .chain(patient)
}
