//! Loading a component whose native code is kept: the check of its MAC included.

use martello_runtime::ImportGrants;
use martello_vocab::Limits;

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, shown, wall};

const LOADS: usize = 100;
/// 1.2 MB of wasm, about 3 MB of native code.
const COMPONENT: &str = "dicom-render";

pub(crate) fn measure() -> Measure {
    Measure::new(vec![Line::new("native-code-load", "ms", Target::AtMost(1.0))], take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let limits = Limits::default();
    let (bundle, name) = bench.ephemeral(COMPONENT, limits.clone())?;
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
    let megabytes = |bytes: u64| format!("{:.1} MB", crate::measures::narrow(bytes) / 1e6);
    let how = format!(
        "{COMPONENT}, {} of wasm: MAC, mapping, imports, linking; median of {}; making it anew took {}",
        megabytes(blob.bytes().len() as u64),
        times.len(),
        shown(compiling),
    );
    Ok(vec![Taken::Value { value: median(&times).as_secs_f64() * 1e3, how }])
}
