//! Runs a model on its payload several times, as a component's author would write it, and tells how long each run took.
//!
//! Settings: `name` of the model, `runs`. What is timed is what natively is a call of the backend: a tensor in guest
//! memory goes in, the output is a tensor in guest memory again.

use std::time::Instant;

use martello_guest_sdk::{Context, Fault, Finding, Outcome, Payload, Stage, Tensor, export};

struct Infer;

impl Stage for Infer {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let name = context.required_setting("name")?;
        let runs: u32 = context.parsed_setting("runs")?.unwrap_or(1);
        let tensor = Tensor::read(input, 1 << 30)?;
        let graph = context.graph(&name)?;
        let mut finding = Finding::new("times");
        let mut output = None;
        for run in 0..runs {
            let begun = Instant::now();
            let outputs = graph.run(&[("input", tensor.view())])?;
            let values = outputs.only()?;
            let seconds = begun.elapsed().as_secs_f64();
            finding = finding.with_measurement(format!("run-{run}"), seconds, "s");
            output = Some(values);
        }
        if let Some(output) = output {
            output.view().write_output(context, "output", &[])?;
        }
        Ok(Outcome::empty().with_finding(finding))
    }
}

export!(Infer);
