//! The size of the program that ships.

use std::path::PathBuf;

use anyhow::Context;

use crate::bench::Places;
use crate::measure::{Line, Measure, Taken, Target};

pub(crate) fn bare() -> Measure {
    measure("binary-size", 8.0, "without a backend", |places| places.dist_bare.as_ref())
}

pub(crate) fn with_tract() -> Measure {
    measure("binary-size-tract", 28.0, "with tract", |places| places.dist_tract.as_ref())
}

fn measure(name: &str, most: f64, what: &'static str, path: fn(&Places) -> Option<&PathBuf>) -> Measure {
    Measure::new(vec![Line::new(name, "MB", Target::AtMost(most))], move |bench| {
        let path = path(&bench.places).context("the shipping build was not asked for (`--dist`)")?;
        let bytes = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.len();
        let how = format!("`martello` {what}, profile dist: fat link-time optimisation, stripped");
        Ok(vec![Taken::Value { value: super::narrow(bytes) / 1e6, how }])
    })
}
