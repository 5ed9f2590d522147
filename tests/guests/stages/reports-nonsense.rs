//! Returns findings and evidence that its manifest does not allow; the setting `what` says which.

use guests::{Fault, Outcome, Payload, Stage, host, types};

struct Reports;

impl Stage for Reports {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let what = host::setting("what").unwrap_or_default();
        if what == "port" {
            // The refusal is ignored, as a guest in search of a way out would.
            let _ = host::open_output("elsewhere", "text/plain", &[]);
            return Ok(guests::nothing());
        }
        if let Some(field) = what.strip_prefix("evidence-") {
            let word = |own: &str, usual: &str| if field == own { "doe-john" } else { usual }.to_owned();
            let evidence = types::Evidence {
                profile: word("profiles", "echo"),
                edition: word("editions", "1"),
                actions: vec![types::ActionCount { action: word("actions", "copied"), count: 1 }],
                notes: if field == "notes" { vec![word("notes", "")] } else { Vec::new() },
            };
            return Ok(Outcome { findings: Vec::new(), evidence: Some(evidence) });
        }
        let finding = || types::Finding {
            kind: if what == "kind" { "surprise" } else { "size" }.to_owned(),
            label: Some(if what == "label" { "Doe^John" } else { "full" }.to_owned()),
            confidence: Some(match what.as_str() {
                "nan" => f32::NAN,
                "range" => 1.5,
                _ => 1.0,
            }),
            scores: Vec::new(),
            measurements: Vec::new(),
        };
        let count = if what == "many" { 1000 } else { 1 };
        Ok(Outcome { findings: (0..count).map(|_| finding()).collect(), evidence: None })
    }
}

guests::export!(Reports);
