//! What a stage may return: the signed manifest's word against the guest's.

use martello_pipeline::{ActionCount, Evidence, Finding, Measurement, Score};
use martello_vocab::Name;

use super::bindings::martello::pipeline::types as wit;

/// Bounds of what may stand in a report, whatever the manifest says.
const MOST_SCORES: usize = 4096;
const MOST_MEASUREMENTS: usize = 256;
const MOST_ACTIONS: usize = 256;
const MOST_NOTES: usize = 256;
const LONGEST_WORD: usize = 64;
/// Room for a digest as OCI writes it, which is how a recipe is named: 71 bytes.
const LONGEST_PLAIN: usize = 80;

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
            if !measurement.value.is_finite() || !is_plain(&measurement.unit) {
                return Err(format!(
                    "measurement {} of finding {} is no number with a unit",
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
    let plain = [&evidence.profile, &evidence.edition].into_iter().all(|text| is_plain(text));
    let words = evidence.actions.iter().map(|action| &action.action).chain(&evidence.notes);
    if !plain || words.into_iter().any(|word| !is_word(word)) {
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

/// Visible ASCII without spaces, as units, profiles and editions are written. May be empty.
fn is_plain(text: &str) -> bool {
    text.len() <= LONGEST_PLAIN && text.bytes().all(|byte| byte.is_ascii_graphic())
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
