//! What a stage may return: the signed manifest's word against the guest's.

use martello_pipeline::{ActionCount, Evidence, Finding, Measurement, Score};
use martello_vocab::{Code, Name, code};

use super::bindings::martello::pipeline::types as wit;

/// Bounds of what may stand in a report, whatever the manifest says.
const MOST_SCORES: usize = 4096;
const MOST_MEASUREMENTS: usize = 256;
const MOST_ACTIONS: usize = 256;
const MOST_NOTES: usize = 256;
/// What is shown of a word that is not listed.
const LONGEST_SHOWN: usize = 64;
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
    /// Reason codes that it may give with a fault, beside those of the SDK. Any other becomes the fault's general code.
    pub codes: Vec<String>,
    /// Findings that it may return.
    pub findings: Vec<FindingRule>,
    /// Words of which its evidence may consist.
    pub evidence: EvidenceRule,
}

/// The words of which a stage's evidence may consist: those that the manifest lists and those that the host itself
/// knows. Any other could be a name or a number out of a payload, on its way into the report.
#[derive(Debug, Clone, Default)]
pub struct EvidenceRule {
    /// Profiles. No profile may always be said.
    pub profiles: Vec<String>,
    /// Editions. No edition may always be said.
    pub editions: Vec<String>,
    /// Actions.
    pub actions: Vec<String>,
    /// Notes.
    pub notes: Vec<String>,
}

/// Why an outcome is refused. The text is for the local log alone: it may hold words of the guest's.
#[derive(Debug)]
pub(super) enum Undeclared {
    /// A finding, or more than there may be.
    Outcome(String),
    /// A word of the evidence.
    Evidence(String),
}

impl Undeclared {
    pub(super) fn into_parts(self) -> (Code, String) {
        match self {
            Self::Outcome(detail) => (Code::of(code::GUEST_CONTRACT), detail),
            Self::Evidence(detail) => (Code::of(code::GUEST_EVIDENCE), detail),
        }
    }
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
    ) -> Result<(Vec<Finding>, Option<Evidence>), Undeclared> {
        let count = outcome.findings.len();
        if count as u64 > u64::from(most_findings) {
            return Err(Undeclared::Outcome(format!("{count} findings, {most_findings} are allowed")));
        }
        let findings = outcome.findings.into_iter().map(|finding| self.finding(finding));
        let findings = findings.collect::<Result<_, _>>().map_err(Undeclared::Outcome)?;
        let evidence = outcome.evidence.map(|evidence| self.evidence.admit(evidence)).transpose();
        Ok((findings, evidence.map_err(Undeclared::Evidence)?))
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

impl EvidenceRule {
    fn admit(&self, evidence: wit::Evidence) -> Result<Evidence, String> {
        let wit::Evidence { profile, edition, actions, notes } = evidence;
        if actions.len() > MOST_ACTIONS || notes.len() > MOST_NOTES {
            return Err(format!(
                "{} actions and {} notes in evidence are too many",
                actions.len(),
                notes.len()
            ));
        }
        let silence = |word: &&String| !word.is_empty();
        let said = [
            ("profiles", &self.profiles, Some(&profile).filter(silence).into_iter().collect::<Vec<_>>()),
            ("editions", &self.editions, Some(&edition).filter(silence).into_iter().collect()),
            ("actions", &self.actions, actions.iter().map(|action| &action.action).collect()),
            ("notes", &self.notes, notes.iter().collect()),
        ];
        for (list, declared, words) in said {
            if let Some(word) = words.into_iter().find(|word| !declared.contains(word)) {
                let word = word.get(..word.floor_char_boundary(LONGEST_SHOWN)).unwrap_or_default();
                return Err(format!("{word:?} in evidence is not listed: see `components.evidence.{list}`"));
            }
        }
        Ok(Evidence {
            profile,
            edition,
            actions: actions
                .into_iter()
                .map(|wit::ActionCount { action, count }| ActionCount { action, count })
                .collect(),
            // Each once and in the order of the list: how often and in which order they come would tell something too.
            notes: self.notes.iter().filter(|note| notes.contains(note)).cloned().collect(),
        })
    }
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
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let evidence = EvidenceRule {
            profiles: words(&["ps3.15-basic"]),
            editions: words(&["2026c"]),
            actions: words(&["removed", "kept"]),
            notes: words(&["dates-kept", "large-value-removed"]),
        };
        Contract { codes: Vec::new(), findings: vec![rule], evidence }
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

    fn admit(change: impl FnOnce(&mut wit::Finding)) -> Result<(), Undeclared> {
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
    fn only_units_of_the_list_are_taken() {
        for value in ["Doe^John", "19600101", "pid-123456", "o\u{308}", "a b", "{Doe}"] {
            assert!(admit(|finding| finding.measurements[0].unit = value.to_owned()).is_err(), "{value}");
        }
        for unit in UNITS {
            assert!(admit(|finding| finding.measurements[0].unit = (*unit).to_owned()).is_ok(), "{unit}");
        }
    }

    fn words(profile: &str, edition: &str, actions: &[&str], notes: &[&str]) -> wit::Evidence {
        wit::Evidence {
            profile: profile.to_owned(),
            edition: edition.to_owned(),
            actions: actions
                .iter()
                .map(|action| wit::ActionCount { action: (*action).to_owned(), count: 3 })
                .collect(),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        }
    }

    fn admit_evidence(evidence: wit::Evidence) -> Result<Evidence, (String, String)> {
        let outcome = wit::Outcome { findings: Vec::new(), evidence: Some(evidence) };
        let admitted = contract().admit(outcome, 1).map_err(Undeclared::into_parts);
        admitted.map(|it| it.1.unwrap()).map_err(|(code, detail)| (code.to_string(), detail))
    }

    #[test]
    fn evidence_of_listed_words_passes_whole() {
        let passed =
            admit_evidence(words("ps3.15-basic", "2026c", &["removed", "kept"], &["dates-kept"])).unwrap();
        assert_eq!((passed.profile.as_str(), passed.edition.as_str()), ("ps3.15-basic", "2026c"));
        assert_eq!(passed.actions[1], ActionCount { action: "kept".to_owned(), count: 3 });
        assert_eq!(passed.notes, ["dates-kept"]);
        assert!(admit_evidence(words("", "", &[], &[])).is_ok());
    }

    #[test]
    fn a_word_that_is_not_listed_is_refused_with_the_field_that_it_belongs_to() {
        for (evidence, field) in [
            (words("doe-john", "2026c", &[], &[]), "profiles"),
            (words("ps3.15-basic", "1960", &[], &[]), "editions"),
            (words("ps3.15-basic", "ps3.15-basic", &[], &[]), "editions"),
            (words("", "2026c", &["removed", "dates-kept"], &[]), "actions"),
            (words("", "2026c", &[""], &[]), "actions"),
            (words("", "2026c", &["removed"], &["dates-kept", "doe-john"]), "notes"),
            (words("", "2026c", &["removed"], &["removed"]), "notes"),
        ] {
            let (code, detail) = admit_evidence(evidence).unwrap_err();
            assert_eq!(code, code::GUEST_EVIDENCE);
            assert!(detail.ends_with(&format!("`components.evidence.{field}`")), "{detail}");
        }
    }

    #[test]
    fn a_giant_word_is_cut_before_it_is_told_of() {
        let (_, detail) = admit_evidence(words("", "", &[], &[&"\u{e9}".repeat(1 << 20)])).unwrap_err();
        assert!(detail.len() < 256, "{}", detail.len());
    }

    #[test]
    fn neither_order_nor_repetition_of_notes_gets_through() {
        let noted = |notes: &[&str]| admit_evidence(words("", "", &[], notes)).unwrap().notes;
        let plain = noted(&["dates-kept", "large-value-removed"]);
        assert_eq!(plain, ["dates-kept", "large-value-removed"]);
        assert_eq!(noted(&["large-value-removed", "dates-kept", "large-value-removed"]), plain);
        assert!(admit_evidence(words("", "", &[], &["dates-kept"; MOST_NOTES + 1])).is_err());
        assert!(admit_evidence(words("", "", &["removed"; MOST_ACTIONS + 1], &[])).is_err());
    }
}
