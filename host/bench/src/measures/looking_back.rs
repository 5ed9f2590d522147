//! Starting `martello run` over an output folder in which much is done already: the journal is gone through, each output
//! is looked at, and the report is made new.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::imaging_bundle::{ImagingBundle, ct_slices};
use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};

/// Inputs that are done, and what starting over them is held to.
const DONE: [(usize, Target); 2] = [(10_000, Target::AtMost(2_000.0)), (100_000, Target::Shown)];

pub(crate) fn measure() -> Measure {
    let lines = DONE.map(|(done, target)| Line::new(format!("start-with-{done}-done"), "ms", target));
    Measure::new(lines.into(), take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let imaging = ImagingBundle::make(bench)?;
    let (input, output) = (bench.folder("one-slice")?, bench.folder("much-output")?);
    ct_slices(&input, 1)?;
    imaging.run_to_end(&input, &output, &[])?;
    let nothing = bench.folder("no-input")?;
    let mut before = 1;
    let mut taken = Vec::new();
    for (done, _) in DONE {
        let files = multiply(&output, before..done)?;
        before = done;
        let begun = Instant::now();
        imaging.run_to_end(&nothing, &output, &[])?;
        let value = begun.elapsed().as_secs_f64() * 1e3;
        let how = format!(
            "process start to end of `martello run` over an empty input folder and an output folder of {done} inputs \
             that are done, with {files} outputs each, native code kept; once"
        );
        taken.push(Taken::Value { value, how });
    }
    Ok(taken)
}

/// Puts more inputs that are done into an output folder, as the one that is there: their outputs are holes of the right
/// length. Returns how many outputs each has.
fn multiply(output: &Path, numbers: std::ops::Range<usize>) -> anyhow::Result<usize> {
    let mut journal =
        Connection::open(output.join(".martello/journal.sqlite")).context("opening the journal")?;
    let (id, line): (String, String) = journal
        .query_row("SELECT id, line FROM input ORDER BY completed LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .context("reading the line of the input that is done")?;
    let parsed: Value = serde_json::from_str(&line)?;
    let outputs = parsed["outputs"].as_array().context("the line has no outputs")?;
    let transaction = journal.transaction()?;
    for number in numbers {
        let other = format!("{number:020x}");
        transaction
            .prepare_cached(
                "INSERT INTO input (id, name, digest, length, changed, starts, outcome, line, completed)
                 SELECT ?2, ?2, digest, length, changed, 1, outcome, replace(line, ?1, ?2), ?3
                 FROM input WHERE id = ?1",
            )?
            .execute(params![id, other, i64::try_from(number)? + 1])?;
        for file in outputs {
            let (path, bytes) = file["path"].as_str().zip(file["bytes"].as_u64()).context("an odd output")?;
            File::create(output.join(path.replace(&id, &other)))?.set_len(bytes)?;
        }
    }
    transaction.commit()?;
    Ok(outputs.len())
}
