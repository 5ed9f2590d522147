//! Brings a model of its own: its payload is taken for an ONNX model, loaded from these bytes and run on six zeros.
//!
//! An empty payload is left alone. With the setting `sly`, a refusal is passed over in silence.

use guests::nn::{self, ExecutionTarget, GraphEncoding, Tensor, TensorType};
use guests::{Fault, Outcome, Payload, Stage, host, nothing};

struct Brings;

impl Stage for Brings {
    fn process(input: &Payload) -> Result<Outcome, Fault> {
        let mut model = Vec::new();
        while (model.len() as u64) < input.length() {
            model.extend(input.read(model.len() as u64, 1 << 20)?);
        }
        if model.is_empty() {
            return Ok(nothing());
        }
        match run(model) {
            Ok(output) => {
                let sink = host::open_output("copy", "application/octet-stream", &[])?;
                sink.write(&output)?;
                sink.finish()?;
                Ok(nothing())
            }
            Err(_) if host::setting("sly").is_some() => Ok(nothing()),
            Err(fault) => Err(fault),
        }
    }
}

fn run(model: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let graph = nn::load(&[model], GraphEncoding::Onnx, ExecutionTarget::Cpu).map_err(nn::refused)?;
    let zeros = Tensor::new(&[2, 3], TensorType::Fp32, &[0; 24]);
    let outputs = nn::run(&graph, vec![("x".to_owned(), zeros)])?;
    Ok(outputs[0].1.data())
}

guests::export!(Brings);
