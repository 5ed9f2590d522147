//! `martello-bench`: measures Martello against native code and its peers.
//!
//! `cargo xtask bench` builds what is needed and starts this program. Each measure prints one JSON line, or a row of a
//! table; one that cannot be taken on this machine says why and counts as missed. Nothing here asserts a time: a
//! figure is told, and people judge.
//!
//! To add a measure: a function in its module under `measures/` that returns a [`measure::Measure`], and one line in
//! [`measures::all`].

mod bench;
mod dicom;
mod measure;
mod measures;
mod onnx;
mod sampling;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use bench::{Bench, Effort, Places};

/// Measures Martello against native code and its peers.
#[derive(Debug, Parser)]
#[command(name = "martello-bench", max_term_width = 110)]
struct Cli {
    /// The form of the result.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Only measures whose names begin with one of these.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// A tenth of the rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let bench = Bench::new(cli.places, if cli.quick { Effort::Quick } else { Effort::Full })?;
    let chosen =
        |name: &str| cli.only.is_empty() || cli.only.iter().any(|only| name.starts_with(only.as_str()));
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut rows = Vec::new();
    for measure in measures::all() {
        if !measure.lines.iter().any(|line| chosen(&line.name)) {
            continue;
        }
        for line in &measure.lines {
            writeln!(err, "bench: {}", line.name)?;
        }
        let taken = measure.rows(&bench);
        if cli.format == Format::Json {
            taken.iter().try_for_each(|row| row.write_json(&mut out))?;
        }
        rows.extend(taken);
    }
    anyhow::ensure!(!rows.is_empty(), "no measure begins with {}", cli.only.join(" or "));
    if cli.format == Format::Text {
        out.write_all(measure::table(&rows).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
