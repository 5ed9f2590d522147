//! The stage: a de-identified object in, nothing out but the word that nothing was found.

use martello_guest_sdk::{ActionCount, Context, Evidence, Fault, Outcome, Payload, Stage};

use crate::bytes::Bytes;
use crate::judge::{Dates, Options, PatientCharacteristics, PixelRisk, StructuredContent};
use crate::rules::Rules;
use crate::walk::verify;

/// The verifier.
#[derive(Debug)]
pub struct Verifier;

/// The rules have about 90 KB. Some that are cut here do not read.
const RULES_MAXIMUM: u64 = 1 << 20;

impl Stage for Verifier {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let options = options(context)?;
        let rules = context.asset("verify-rules")?.read_all(RULES_MAXIMUM)?;
        let rules = Rules::parse(&rules)?;
        let summary = verify(input, &rules, options)?;
        let counts =
            [("attribute", summary.attributes), ("item", summary.items), ("fragment", summary.fragments)];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let note = |applies: bool, note: &str| applies.then(|| note.to_owned());
        let risky = options.pixel_risk == PixelRisk::DangerouslyAccept;
        Ok(Outcome::empty().with_evidence(Evidence {
            profile: "verified".to_owned(),
            edition: rules.edition().to_owned(),
            actions: counts.map(|(what, count)| ActionCount { action: what.to_owned(), count }).collect(),
            notes: note(risky, "pixel-risk-dangerously-accepted").into_iter().collect(),
        }))
    }
}

fn options(context: &Context) -> Result<Options, Fault> {
    let one_of = |name: &str, usual: &str, other: &str| match context.setting(name).as_deref() {
        None => Ok(false),
        Some(value) if value == usual => Ok(false),
        Some(value) if value == other => Ok(true),
        Some(_) => Err(Fault::internal(format!("bad-setting: {name} is neither {usual} nor {other}"))),
    };
    let mut options = Options::default();
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

impl Bytes for Payload {
    fn length(&self) -> u64 {
        self.len()
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        self.read_range(offset, length).map_err(|fault| fault.to_string())
    }
}
