//! A stage that runs any model on any tensors: the guest of `martello infer`.
//!
//! Tensors come as the assets `input-0`, `input-1`, … with the attributes `name`, `dtype` and `shape`; each output
//! goes out on the port `output` with the same attributes. The settings say which model is run (`model`), on how many
//! tensors (`inputs`), and how often (`repeat`, default 1); the outputs are those of the last run. The payload itself
//! is not looked at.

use martello_guest_sdk::{Context, Fault, Outcome, Payload, Stage, Tensor, TensorView, export};

/// The largest tensor that fits into the memory of a guest beside another one.
const LARGEST_TENSOR: u64 = 512 << 20;

/// The stage.
#[derive(Debug)]
pub struct TensorProbe;

impl Stage for TensorProbe {
    fn process(_: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let model = context.required_setting("model")?;
        let count: u32 = context.parsed_setting("inputs")?.unwrap_or(0);
        let repeat: u32 = context.parsed_setting("repeat")?.unwrap_or(1);
        let inputs = (0..count).map(|index| read(context, index)).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<(&str, TensorView<'_>)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
        let graph = context.graph(&model)?;
        for _ in 1..repeat {
            graph.run(&views)?;
        }
        let outputs = graph.run(&views)?;
        drop(views);
        // Room for the outputs, one at a time.
        drop(inputs);
        for name in outputs.names() {
            outputs.tensor(name)?.view().write_output(context, "output", &[("name", name)])?;
        }
        Ok(Outcome::empty())
    }
}

export!(TensorProbe);

fn read(context: &Context, index: u32) -> Result<(String, Tensor), Fault> {
    let asset = context.asset(&format!("input-{index}"))?;
    let name = asset.attribute("name").ok_or_else(|| Fault::malformed("bad-tensor: it has no name"))?;
    Ok((name, Tensor::read(&asset, LARGEST_TENSOR)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use martello_guest_sdk::mock::Host;

    #[test]
    fn a_model_that_is_not_named_is_a_fault() {
        let refused =
            Host::new().payload(&b""[..], "application/octet-stream").run::<TensorProbe>().unwrap_err();
        assert!(format!("{refused:?}").contains("missing-setting"), "{refused:?}");
    }
}
