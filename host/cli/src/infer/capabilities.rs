//! `martello infer --capabilities`: which ONNX operators each backend gets right, measured here and now.

use std::collections::BTreeMap;
use std::process::ExitCode;

use comfy_table::{Table, presets};
use martello_inference::{BackendKind, Capability, Inference, InferenceConfig, Verdict};
use serde::Serialize;

use crate::Output;

/// The object of `--format json`.
#[derive(Debug, Serialize)]
struct Measured {
    backend: BackendKind,
    /// Why the backend is not there; none where it is.
    missing: Option<String>,
    cases: Vec<Capability>,
}

pub(super) fn run(config: &InferenceConfig, out: &Output) -> anyhow::Result<ExitCode> {
    let inference = match Inference::new(config) {
        Ok(inference) => inference,
        Err(error) => {
            return Ok(out.failure(
                super::REFUSED,
                &error.to_string(),
                "--allow-library with the library's digest",
            ));
        }
    };
    let measured: Vec<Measured> = [BackendKind::Tract, BackendKind::Onnxruntime]
        .into_iter()
        .map(|backend| match inference.capabilities(backend) {
            Ok(cases) => Measured { backend, missing: None, cases },
            Err(missing) => Measured { backend, missing: Some(missing), cases: Vec::new() },
        })
        .collect();
    out.result(|| table(&measured), &measured)?;
    Ok(ExitCode::SUCCESS)
}

fn table(measured: &[Measured]) -> String {
    let mut rows: BTreeMap<&str, Vec<[usize; 3]>> = BTreeMap::new();
    for (column, Measured { cases, .. }) in measured.iter().enumerate() {
        for case in cases {
            let row = rows.entry(&case.operator).or_insert_with(|| vec![[0; 3]; measured.len()]);
            let index = match case.verdict {
                Verdict::Right => 0,
                Verdict::Wrong => 1,
                Verdict::Unsupported => 2,
            };
            if let Some(count) = row.get_mut(column).and_then(|counts| counts.get_mut(index)) {
                *count = count.saturating_add(1);
            }
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let heads = measured.iter().map(|it| it.backend.to_string());
    table.set_header(std::iter::once("operator".to_owned()).chain(heads));
    for (operator, counts) in rows {
        table.add_row(std::iter::once(operator.to_owned()).chain(counts.iter().map(cell)));
    }
    let mut text = format!("{table}\n\n");
    for Measured { backend, missing, cases } in measured {
        let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        let (right, wrong, unsupported) =
            (count(Verdict::Right), count(Verdict::Wrong), count(Verdict::Unsupported));
        match missing {
            Some(missing) => text.push_str(&format!("{backend}: not there: {missing}\n")),
            None => text.push_str(&format!(
                "{backend}: of {} cases {right} right, {wrong} wrong, {unsupported} unsupported\n",
                cases.len()
            )),
        }
    }
    text
}

/// How many cases of an operator were right; what was not stands beside.
fn cell([right, wrong, unsupported]: &[usize; 3]) -> String {
    if right + wrong + unsupported == 0 {
        return "-".to_owned();
    }
    let mut words = Vec::new();
    for (count, word) in [(right, "right"), (wrong, "WRONG"), (unsupported, "unsupported")] {
        if *count > 0 {
            words.push(format!("{count} {word}"));
        }
    }
    words.join(", ")
}
