//! A stage that classifies: a normalised tensor in, a finding with calibrated scores out.
//!
//! It works for any classifier: model, labels, calibration and threshold come from the signed manifest through the
//! stage's settings ([`Config`]). It knows nothing of images and computes nothing but the last step: scores become
//! probabilities in f64 ([`scores`]), the likeliest label is chosen where it reaches the threshold, and otherwise the
//! stage abstains.

mod config;
pub mod scores;

use std::borrow::Cow;

pub use config::Config;
use martello_guest_sdk::{Context, Fault, Finding, Outcome, Payload, Stage, Tensor, export, info};

/// The largest input: the host's own default for tensors.
const LARGEST_INPUT: u64 = 64 << 20;

/// The stage.
#[derive(Debug)]
pub struct Classify;

impl Stage for Classify {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let config = Config::read(context)?;
        let tensor = Tensor::read(input, LARGEST_INPUT)?;
        config.check_input(&tensor)?;
        let outputs = context.graph(&config.model)?.run(&[(&config.input, tensor.view())])?;
        let output = match &config.output {
            Some(name) => outputs.tensor(name)?,
            None => outputs.only()?,
        };
        let raw = raw_scores(&output, config.labels.len())?;
        let probabilities = scores::probabilities(&raw, config.activation, config.temperature)?;
        let finding = finding(&config, &probabilities);
        info!(context, "{} of {} labels chosen", usize::from(finding.label.is_some()), config.labels.len());
        Ok(Outcome::empty().with_finding(finding))
    }
}

export!(Classify);

/// The scores of one payload: f32 or f64, one for each label, in a tensor whose other dimensions are 1.
fn raw_scores(output: &Tensor, labels: usize) -> Result<Vec<f64>, Fault> {
    let scores: Cow<'_, [f64]> = match output.values::<f32>() {
        Ok(scores) => scores.iter().map(|&score| f64::from(score)).collect(),
        Err(_) => output.values::<f64>()?,
    };
    let one_row = output.shape().iter().filter(|&&dimension| dimension != 1).count() <= 1;
    if scores.len() != labels || !one_row {
        let shape = martello_guest_sdk::shape_text(output.shape());
        return Err(Fault::unsupported(format!("tensor-mismatch: scores [{shape}] for {labels} labels")));
    }
    Ok(scores.into_owned())
}

#[expect(clippy::cast_possible_truncation, reason = "findings carry probabilities as f32")]
fn finding(config: &Config, probabilities: &[f64]) -> Finding {
    let choice = scores::choose(probabilities, config.threshold);
    let label = choice.chosen.and_then(|index| config.labels.get(index));
    Finding {
        kind: config.finding.clone(),
        label: label.cloned(),
        confidence: label.map(|_| choice.likeliest as f32),
        scores: config.labels.iter().cloned().zip(probabilities.iter().map(|&it| it as f32)).collect(),
        measurements: Vec::new(),
    }
    .with_measurement("margin", choice.margin, "1")
}

#[cfg(test)]
mod tests;
