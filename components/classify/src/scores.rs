//! Scores become probabilities, and probabilities a choice.

use std::str::FromStr;

use martello_guest_sdk::Fault;

/// What stands between the model's scores and probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// The scores are logits of labels that exclude each other.
    #[default]
    Softmax,
    /// The scores are logits of labels that are independent.
    Sigmoid,
    /// The scores are probabilities already.
    None,
}

impl FromStr for Activation {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "softmax" => Ok(Self::Softmax),
            "sigmoid" => Ok(Self::Sigmoid),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

/// Probabilities from 0 to 1 of raw scores. Logits are divided by the temperature first (Guo et al. 2017, "On
/// Calibration of Modern Neural Networks").
///
/// # Errors
/// `bad-scores` where a score is not a finite number, or where scores said to be probabilities are none.
pub fn probabilities(scores: &[f64], activation: Activation, temperature: f64) -> Result<Vec<f64>, Fault> {
    if scores.is_empty() || scores.iter().any(|score| !score.is_finite()) {
        return Err(Fault::internal("bad-scores: the model gave a score that is not a finite number"));
    }
    match activation {
        Activation::Softmax => {
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // The greatest becomes exp(0), so the sum is at least 1 and nothing overflows.
            let shares: Vec<f64> =
                scores.iter().map(|score| ((score - greatest) / temperature).exp()).collect();
            let sum: f64 = shares.iter().sum();
            Ok(shares.iter().map(|share| share / sum).collect())
        }
        Activation::Sigmoid => {
            Ok(scores.iter().map(|score| 1.0 / (1.0 + (-score / temperature).exp())).collect())
        }
        Activation::None if scores.iter().all(|score| (0.0..=1.0).contains(score)) => Ok(scores.to_vec()),
        Activation::None => Err(Fault::internal("bad-scores: the model gave a probability outside 0 to 1")),
    }
}

/// The outcome of comparing probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The index of the likeliest label; none where it does not reach the threshold. Of equals, the first.
    pub chosen: Option<usize>,
    /// The greatest probability.
    pub likeliest: f64,
    /// By how much it is greater than the second; of one label alone, its probability.
    pub margin: f64,
}

/// Chooses the likeliest label where its probability is at least `threshold`.
pub fn choose(probabilities: &[f64], threshold: f64) -> Choice {
    let (mut best, mut likeliest, mut second) = (None, 0.0, 0.0);
    for (index, &probability) in probabilities.iter().enumerate() {
        if best.is_none() || probability > likeliest {
            (best, second, likeliest) = (Some(index), likeliest, probability);
        } else if probability > second {
            second = probability;
        }
    }
    Choice { chosen: best.filter(|_| likeliest >= threshold), likeliest, margin: likeliest - second }
}
