//! What a stage may return: the signed manifest's word against the guest's.

use martello_pipeline::{ActionCount, Evidence, Finding, Measurement, Score};
use martello_vocab::{Digest, Name};

use super::bindings::martello::pipeline::types as wit;

/// Bounds of what may stand in a report, whatever the manifest says.
const MOST_SCORES: usize = 4096;
const MOST_MEASUREMENTS: usize = 256;
const MOST_ACTIONS: usize = 256;
const MOST_NOTES: usize = 256;
const LONGEST_WORD: usize = 64;
/// The longest profile or edition.
const LONGEST_TITLE: usize = 32;
/// The most digits in a row in a profile or an edition: a year, and no date of birth or number of a patient.
const MOST_DIGITS: usize = 4;
/// Units of measurements, in UCUM (sections 4 and 5). It is a list because UCUM lets any text stand in braces; a new
/// unit is added here.
const UNITS: &[&str] = &[
    "",
    "1",
    "%",
    "[ppth]",
    "[ppm]",
    "10*3",
    "10*6",
    "dB",
    "bit",
    "By",
    "ns",
    "us",
    "ms",
    "s",
    "min",
    "h",
    "d",
    "wk",
    "mo",
    "a",
    "nm",
    "um",
    "mm",
    "cm",
    "m",
    "mm2",
    "cm2",
    "m2",
    "mm3",
    "cm3",
    "mL",
    "L",
    "deg",
    "rad",
    "1/mm",
    "mm/s",
    "cm/s",
    "m/s",
    "mm2/s",
    "Hz",
    "kHz",
    "MHz",
    "T",
    "mT",
    "V",
    "kV",
    "mV",
    "A",
    "mA",
    "uA",
    "mA.s",
    "keV",
    "Bq",
    "kBq",
    "MBq",
    "Bq/mL",
    "kBq/mL",
    "Gy",
    "mGy",
    "uGy",
    "Gy.cm2",
    "dGy.cm2",
    "mGy.cm",
    "Sv",
    "mSv",
    "g",
    "mg",
    "kg",
    "g/mL",
    "g/L",
    "mg/mL",
    "kg/m2",
    "[hnsf'U]",
    "mm[Hg]",
    "kPa",
    "Cel",
    "W",
    "W/kg",
    "{SUVbw}g/mL",
    "{pixels}",
    "{frames}",
];

/// What a stage may say. What is not named here is refused.
#[derive(Debug, Clone, Default)]
pub struct Contract {
    /// Reason codes that it may give with a fault. Any other becomes the fault's general code.
    pub codes: Vec<String>,
    /// Findings that it may return.
    pub findings: Vec<FindingRule>,
}

/// A kind of finding that a stage may return.
#[derive(Debug, Clone)]
pub struct FindingRule {
    /// The kind.
    pub kind: Name,
    /// All labels that it may carry.
    pub labels: Vec<String>,
    /// All measurements that it may carry.
    pub measurements: Vec<Name>,
}

impl Contract {
    pub(super) fn admit(
        &self,
        outcome: wit::Outcome,
        most_findings: u32,
    ) -> Result<(Vec<Finding>, Option<Evidence>), String> {
        if outcome.findings.len() as u64 > u64::from(most_findings) {
            return Err(format!("{} findings, {most_findings} are allowed", outcome.findings.len()));
        }
        let findings =
            outcome.findings.into_iter().map(|finding| self.finding(finding)).collect::<Result<_, _>>()?;
        Ok((findings, outcome.evidence.map(evidence).transpose()?))
    }

    fn finding(&self, finding: wit::Finding) -> Result<Finding, String> {
        let Some(rule) = self.findings.iter().find(|rule| rule.kind.as_str() == finding.kind) else {
            return Err(format!("undeclared kind of finding {:?}", finding.kind));
        };
        let labels = finding.label.iter().chain(finding.scores.iter().map(|(label, _)| label));
        if let Some(label) = labels.into_iter().find(|label| !rule.labels.contains(label)) {
            return Err(format!("undeclared label {label:?} of finding {}", rule.kind));
        }
        let numbers = finding.confidence.iter().chain(finding.scores.iter().map(|(_, score)| score));
        if let Some(number) = numbers.into_iter().find(|number| !(0.0..=1.0).contains(*number)) {
            return Err(format!("probability {number} of finding {}", rule.kind));
        }
        if finding.scores.len() > MOST_SCORES || finding.measurements.len() > MOST_MEASUREMENTS {
            return Err(format!("too many numbers in finding {}", rule.kind));
        }
        for measurement in &finding.measurements {
            if !rule.measurements.iter().any(|declared| declared.as_str() == measurement.name) {
                return Err(format!(
                    "undeclared measurement {:?} of finding {}",
                    measurement.name, rule.kind
                ));
            }
            if !measurement.value.is_finite() || !UNITS.contains(&measurement.unit.as_str()) {
                return Err(format!(
                    "measurement {} of finding {} is no number with a unit of the list",
                    measurement.name, rule.kind
                ));
            }
        }
        Ok(Finding {
            kind: finding.kind,
            label: finding.label,
            confidence: finding.confidence,
            scores: finding
                .scores
                .into_iter()
                .map(|(label, probability)| Score { label, probability })
                .collect(),
            measurements: finding
                .measurements
                .into_iter()
                .map(|wit::Measurement { name, value, unit }| Measurement { name, value, unit })
                .collect(),
        })
    }
}

fn evidence(evidence: wit::Evidence) -> Result<Evidence, String> {
    if evidence.actions.len() > MOST_ACTIONS || evidence.notes.len() > MOST_NOTES {
        return Err("too much evidence".to_owned());
    }
    let titled = is_title(&evidence.profile) && (is_title(&evidence.edition) || is_digest(&evidence.edition));
    let words = evidence.actions.iter().map(|action| &action.action).chain(&evidence.notes);
    if !titled || words.into_iter().any(|word| !is_word(word)) {
        return Err("evidence is no words".to_owned());
    }
    Ok(Evidence {
        profile: evidence.profile,
        edition: evidence.edition,
        actions: evidence
            .actions
            .into_iter()
            .map(|wit::ActionCount { action, count }| ActionCount { action, count })
            .collect(),
        notes: evidence.notes,
    })
}

/// A stable code: lower-case words joined by hyphens.
fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= LONGEST_WORD && text.bytes().all(is_letter)
}

/// How profiles and editions are called: `ps3.15-basic`, `2026c`. May be empty.
///
/// Both stand in the report, which promises that no value out of a file is in it. The form keeps out what DICOM writes:
/// names (`Doe^John`, `DOE`), dates, and the numbers of patients and studies. A component that is bent on it can still
/// spell a name as a word here, as it can with actions and notes: the manifest does not list these words.
fn is_title(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_/".contains(&byte);
    let short = text.len() <= LONGEST_TITLE && text.bytes().all(fits);
    short && text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= MOST_DIGITS)
}

/// A digest as OCI writes it, which is how a recipe is named.
fn is_digest(text: &str) -> bool {
    text.parse::<Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        let rule = FindingRule {
            kind: "quality".parse().unwrap(),
            labels: vec!["good".to_owned(), "bad".to_owned()],
            measurements: vec!["noise".parse().unwrap()],
        };
        Contract { codes: Vec::new(), findings: vec![rule] }
    }

    fn finding() -> wit::Finding {
        wit::Finding {
            kind: "quality".to_owned(),
            label: Some("good".to_owned()),
            confidence: Some(0.75),
            scores: vec![("good".to_owned(), 0.75), ("bad".to_owned(), 0.25)],
            measurements: vec![wit::Measurement {
                name: "noise".to_owned(),
                value: 2.5,
                unit: "1".to_owned(),
            }],
        }
    }

    fn admit(change: impl FnOnce(&mut wit::Finding)) -> Result<(), String> {
        let mut finding = finding();
        change(&mut finding);
        contract().admit(wit::Outcome { findings: vec![finding], evidence: None }, 1).map(|_| ())
    }

    #[test]
    fn a_declared_finding_passes_whole() {
        let outcome = wit::Outcome { findings: vec![finding()], evidence: None };
        let (findings, _) = contract().admit(outcome, 1).unwrap();
        assert_eq!(findings[0].scores[1], Score { label: "bad".to_owned(), probability: 0.25 });
        assert_eq!(findings[0].measurements[0].value, 2.5);
    }

    #[test]
    fn what_the_manifest_does_not_declare_is_refused() {
        assert!(admit(|_| ()).is_ok());
        assert!(admit(|finding| finding.kind = "diagnosis".to_owned()).is_err());
        assert!(admit(|finding| finding.label = Some("Doe^John".to_owned())).is_err());
        assert!(admit(|finding| finding.scores[0].0 = "Doe^John".to_owned()).is_err());
        assert!(admit(|finding| finding.measurements[0].name = "age".to_owned()).is_err());
        assert!(admit(|finding| finding.measurements[0].unit = "Doe John".to_owned()).is_err());
    }

    #[test]
    fn numbers_that_are_no_probabilities_are_refused() {
        for number in [f32::NAN, f32::INFINITY, -0.01, 1.01] {
            assert!(admit(|finding| finding.confidence = Some(number)).is_err(), "{number}");
            assert!(admit(|finding| finding.scores[1].1 = number).is_err(), "{number}");
        }
        assert!(admit(|finding| finding.measurements[0].value = f64::NAN).is_err());
    }

    #[test]
    fn more_findings_than_allowed_are_refused() {
        let outcome = wit::Outcome { findings: vec![finding(), finding()], evidence: None };
        assert!(contract().admit(outcome, 1).is_err());
    }

    #[test]
    fn no_name_date_or_number_of_a_patient_passes_as_a_unit_profile_or_edition() {
        let evidence = |profile: &str, edition: &str| {
            let (profile, edition) = (profile.to_owned(), edition.to_owned());
            let evidence = wit::Evidence { profile, edition, actions: Vec::new(), notes: Vec::new() };
            contract().admit(wit::Outcome { findings: Vec::new(), evidence: Some(evidence) }, 1)
        };
        let recipe = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for (profile, edition) in [
            ("ps3.15-basic", "2026c"),
            ("render", "preview"),
            ("render", &recipe),
            ("", ""),
            ("a/b_c", "1.2.3"),
        ] {
            assert!(evidence(profile, edition).is_ok(), "{profile} {edition}");
        }
        for value in [
            "Doe^John",
            "Doe^John^19600101",
            "DOE",
            "19600101",
            "pid-123456",
            "1.2.840.10008",
            "o\u{308}",
            "a b",
            "a-word-that-goes-on-for-too-long-to-be-a-title",
            "sha256:Doe^John",
        ] {
            assert!(evidence(value, "2026c").is_err(), "{value}");
            assert!(evidence("render", value).is_err(), "{value}");
            assert!(admit(|finding| finding.measurements[0].unit = value.to_owned()).is_err(), "{value}");
        }
        assert!(evidence(&recipe, "2026c").is_err(), "a digest names a recipe, which is an edition");
        for unit in UNITS {
            assert!(admit(|finding| finding.measurements[0].unit = (*unit).to_owned()).is_ok(), "{unit}");
        }
        assert!(admit(|finding| finding.measurements[0].unit = "{Doe}".to_owned()).is_err());
    }

    #[test]
    fn evidence_carries_codes_and_no_text() {
        let with_note = |note: &str| wit::Outcome {
            findings: Vec::new(),
            evidence: Some(wit::Evidence {
                profile: "ps3.15-basic".to_owned(),
                edition: "2026c".to_owned(),
                actions: vec![wit::ActionCount { action: "removed".to_owned(), count: 3 }],
                notes: vec![note.to_owned()],
            }),
        };
        assert!(contract().admit(with_note("private-creator-removed"), 1).is_ok());
        assert!(contract().admit(with_note("Doe^John"), 1).is_err());
    }
}
