//! De-identifies one DICOM object by the Basic Profile of PS3.15 annex E, from the first byte to the last.
//!
//! [`deidentify`] goes over the file twice. The [survey](survey) reads what decisions need (which kind of image,
//! whose, which UIDs) and asks the host for all pseudonyms in a few calls; the [rewrite](rewrite) then writes each
//! element as [`rules`] say. Whatever no rule keeps is removed, and whatever cannot be read, or might carry
//! text in its pixels, is refused with a code: nothing is passed through. A value that would be kept but [repeats](residual)
//! what is taken away elsewhere in the file is emptied.
//!
//! What it deliberately does not know: keys (they stay in the host), pixels (it never decodes them), and whether the
//! result is clean, which an independent verifier has to say. Memory does not grow with the file: values that have
//! to be understood are at most 1 MiB, all others stream.
//!
//! The action table is data, signed with the bundle (asset `deid-table`); the dictionary is compiled in.

mod boxes;
mod charset;
mod codestream;
mod component;
mod dates;
mod deflated;
mod dictionary;
mod frames;
mod host;
mod marks;
mod offsets;
mod pixels;
mod refusal;
mod residual;
mod rewrite;
mod risk;
mod rules;
mod runlength;
mod segments;
mod survey;
mod table;
mod trail;

pub use component::Deidentifier;
pub use host::{Host, Pseudonymized};
pub use refusal::{CODES, Kind, Refusal};
pub use rules::{Dates, Options, Paths, PatientCharacteristics, PixelRisk, StructuredContent};
pub use table::Table;
pub use trail::{Action, Summary};

use dicom_stream::{Source, open};

/// De-identifies the file in `source` under `table` and `options`; the result goes to `host`, which also makes the
/// pseudonyms. On an error whatever was written has to be thrown away.
///
/// # Errors
/// A [`Refusal`], whose code is one of [`CODES`].
pub fn deidentify<S: Source, H: Host>(
    source: S,
    table: &Table<'_>,
    options: Options,
    host: &mut H,
) -> Result<Summary, Refusal> {
    let (header, mut reader) = open(source, dictionary::DICTIONARY)?;
    risk::check_syntax(&header.transfer_syntax)?;
    let rules = rules::Rules::new(table, options, header.encoding);
    let facts = survey::survey(&mut reader, &rules)?;
    risk::check_object(&header, &facts, options.pixel_risk)?;
    let names = Pseudonymized::of(&facts, host)?;
    reader.rewind()?;
    rewrite::rewrite(&header, &mut reader, &rules, &facts, &names, host)
}

/// Runs any bytes through the de-identifier: the entry of the fuzz target. Whatever comes out must read again.
pub fn fuzz_deidentify(data: &[u8]) {
    const TABLE: &[u8] = include_bytes!("../table/table.txt");
    let Ok(table) = Table::parse(TABLE) else { return };
    let options = Options { pixel_risk: PixelRisk::DangerouslyAccept, ..Options::default() };
    let mut host = host::Plain::default();
    if deidentify(dicom_stream::SliceSource::new(data), &table, options, &mut host).is_ok() {
        let source = dicom_stream::SliceSource::new(&host.written);
        let read = open(source, dictionary::DICTIONARY).and_then(|(_, mut reader)| {
            while reader.next_event()? != dicom_stream::Event::End {}
            Ok(())
        });
        assert!(read.is_ok(), "the output does not read again");
    }
}

martello_guest_sdk::export!(Deidentifier);

#[cfg(test)]
mod smuggling;

#[cfg(test)]
mod tests;
