//! The stage: settings and assets in, a de-identified object and evidence out.

use dicom_stream::RangeSource;
use martello_guest_sdk::{ActionCount, Context, Evidence, Fault, Level, Outcome, Payload, Stage};

use crate::host::Host;
use crate::refusal::{Kind, Refusal};
use crate::rules::{Dates, Options, Paths, PatientCharacteristics, PixelRisk, StructuredContent};
use crate::table::Table;
use crate::trail::{Action, Summary};

/// The de-identifying stage.
pub struct Deidentifier;

/// The action table has about 10 KB. One that is cut here does not read.
const TABLE_MAXIMUM: usize = 1 << 20;

/// What the log takes in a line.
const LOG_LINE: usize = 4096;

impl Stage for Deidentifier {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let options = options(context)?;
        let table = context.asset("deid-table")?.read_range(0, TABLE_MAXIMUM)?;
        let table = Table::parse(&table)?;
        let mut host = Stages { context, sink: None };
        let range = |at, most| input.read_range(at, most).map_err(|fault| fault.to_string());
        let source = RangeSource::new(input.len(), range);
        let summary = crate::deidentify(source, &table, options, &mut host)?;
        if let Some(sink) = host.sink {
            sink.finish()?;
        }
        log_paths(context, &summary.paths);
        let mut evidence = evidence(summary, options);
        evidence.notes.extend(key_note(&context.pseudonyms().key_id()));
        Ok(Outcome::empty().with_evidence(evidence))
    }
}

fn options(context: &Context) -> Result<Options, Fault> {
    let mut options = Options::default();
    let one_of = |name: &str, usual: &str, other: &str| match context.setting(name).as_deref() {
        None => Ok(false),
        Some(value) if value == usual => Ok(false),
        Some(value) if value == other => Ok(true),
        Some(_) => Err(Fault::internal(format!("bad-setting: {name} is neither {usual} nor {other}"))),
    };
    if one_of("log-paths", "no", "yes")? {
        options.paths = Paths::Record;
    }
    if one_of("dates", "shift", "keep")? {
        options.dates = Dates::Keep;
    }
    if one_of("structured-content", "empty", "clean")? {
        options.structured_content = StructuredContent::Clean;
    }
    if one_of("patient-characteristics", "remove", "keep")? {
        options.patient_characteristics = PatientCharacteristics::Keep;
    }
    if one_of("pixel-risk", "refuse", "dangerously-accept")? {
        options.pixel_risk = PixelRisk::DangerouslyAccept;
    }
    Ok(options)
}

fn evidence(summary: Summary, options: Options) -> Evidence {
    let actions = Action::ALL
        .iter()
        .zip(summary.actions)
        .filter(|(_, count)| *count > 0)
        .map(|(action, count)| ActionCount { action: action.word().to_owned(), count })
        .collect();
    let mut notes: Vec<String> = summary.notes.into_iter().map(str::to_owned).collect();
    let in_use = [
        (options.dates == Dates::Keep, "dates-kept"),
        (options.dates == Dates::Shift, "dates-shifted"),
        (options.structured_content == StructuredContent::Clean, "structured-content-cleaned"),
        (options.patient_characteristics == PatientCharacteristics::Keep, "patient-characteristics-kept"),
        (options.pixel_risk == PixelRisk::DangerouslyAccept, "pixel-risk-dangerously-accepted"),
    ];
    notes.extend(in_use.into_iter().filter(|(used, _)| *used).map(|(_, note)| note.to_owned()));
    Evidence { profile: "ps3.15-basic".to_owned(), edition: summary.edition, actions, notes }
}

/// Which key made the pseudonyms, so that a report says which files can be joined. The key itself is never here.
fn key_note(id: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ((1..=32).contains(&id.len()) && id.bytes().all(plain)).then(|| format!("pseudonym-key-{id}"))
}

/// Paths and actions, never values.
fn log_paths(context: &Context, paths: &str) {
    let mut block = String::new();
    for line in paths.lines() {
        if block.len() + line.len() >= LOG_LINE {
            context.log(Level::Debug, &block);
            block.clear();
        }
        block.push_str(line);
        block.push(';');
    }
    if !block.is_empty() {
        context.log(Level::Debug, &block);
    }
}

/// The stage's host, seen through the seam.
struct Stages<'a> {
    context: &'a Context,
    sink: Option<martello_guest_sdk::Sink>,
}

fn of_pseudonyms(fault: &Fault) -> Refusal {
    Refusal::new(Kind::Policy, "pseudonyms", fault.to_string())
}

fn of_output(fault: &Fault) -> Refusal {
    Refusal::new(
        if matches!(fault, Fault::Limit(_)) { Kind::Limit } else { Kind::Internal },
        "output",
        fault.to_string(),
    )
}

impl Host for Stages<'_> {
    fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
        self.context.pseudonyms().uids(values).map_err(|fault| of_pseudonyms(&fault))
    }

    fn subject(&mut self, value: &str) -> Result<String, Refusal> {
        self.context.pseudonyms().subject(value).map_err(|fault| of_pseudonyms(&fault))
    }

    fn shift_days(&mut self, pseudonym: &str) -> Result<u32, Refusal> {
        self.context.pseudonyms().shift_days(pseudonym).map_err(|fault| of_pseudonyms(&fault))
    }

    fn open(&mut self, attributes: &[(&str, String)]) -> Result<(), Refusal> {
        let attributes: Vec<(&str, &str)> =
            attributes.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let sink = self.context.open_output("image", "application/dicom", &attributes);
        self.sink = Some(sink.map_err(|fault| of_output(&fault))?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match &mut self.sink {
            // The writer has gathered already.
            Some(sink) => sink.write_through(bytes).map_err(|fault| of_output(&fault)),
            None => Err(Refusal::new(Kind::Internal, "output", "written before it was opened")),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal.kind {
            Kind::Malformed => Self::malformed(text),
            Kind::Unsupported => Self::unsupported(text),
            Kind::Limit => Self::limit(text),
            Kind::Policy => Self::policy(text),
            Kind::NeedsReview => Self::needs_review(text),
            Kind::Internal => Self::internal(text),
        }
    }
}
