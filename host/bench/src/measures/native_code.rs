//! Loading a component whose native code is kept: the check of its MAC included.

use anyhow::Context;
use martello_runtime::ImportGrants;
use martello_vocab::{Limits, Name};
use wasmparser::{Parser, Payload};

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, shown, wall};

const LOADS: usize = 100;
const COMPONENT: &str = "dicom-render";
/// Bytes of wasm that the component has at least.
const SIZE: usize = 3_000_000;

pub(crate) fn measure() -> Measure {
    Measure::new(vec![Line::new("native-code-load", "ms", Target::AtMost(1.0))], take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let limits = Limits::default();
    let name: Name = COMPONENT.parse()?;
    let bytes = grown(bench.component(COMPONENT)?)?;
    let bundle = martello_bundle::ephemeral(name.clone(), bytes.into(), limits.clone(), Vec::new())?;
    let blob = bundle.component(&name)?;
    let grants = ImportGrants::default();
    let runtime = bench.runtime()?;
    let (compiled, compiling) = wall(|| runtime.load(&blob, &limits, &grants));
    drop(compiled?);
    let rounds = bench.rounds(LOADS);
    let mut times = Vec::new();
    for round in 0..rounds.warm_up.saturating_add(rounds.counted) {
        let (loaded, time) = wall(|| runtime.load(&blob, &limits, &grants));
        drop(loaded?);
        if round >= rounds.warm_up {
            times.push(time);
        }
    }
    let how = format!(
        "{COMPONENT} with more of its own code, {:.1} MB of wasm: MAC, mapping, imports, linking; median of {}; making \
         it anew took {}",
        crate::measures::narrow(blob.bytes().len() as u64) / 1e6,
        times.len(),
        shown(compiling),
    );
    Ok(vec![Taken::Value { value: median(&times).as_secs_f64() * 1e3, how }])
}

/// The component with its largest core module defined again, under no name, until it is large enough: as much code as in
/// a large component, and code that compilers make.
fn grown(mut component: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut largest = 0..0;
    for payload in Parser::new(0).parse_all(&component) {
        if let Payload::ModuleSection { unchecked_range, .. } = payload?
            && unchecked_range.len() > largest.len()
        {
            largest = unchecked_range;
        }
    }
    let module =
        component.get(largest).filter(|it| !it.is_empty()).context("there is no core module")?.to_vec();
    while component.len() < SIZE {
        // Section 1 of a component, a core module: identifier, length as LEB128, bytes.
        component.push(1);
        let mut length = module.len();
        while length >= 0x80 {
            component.push(u8::try_from(length & 0x7F)? | 0x80);
            length >>= 7;
        }
        component.push(u8::try_from(length)?);
        component.extend_from_slice(&module);
    }
    Ok(component)
}
