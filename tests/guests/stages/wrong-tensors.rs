//! Gives a model tensors that it does not take, too large ones and too many; the payload says which. The model `model`
//! takes the tensor `x`, f32 of [2, 3], and gives `y`; `grows` makes a large tensor of a small one.

use guests::nn::{self, Named, Tensor, TensorType};
use guests::{Fault, Outcome, Payload, Stage, host, nothing};

struct Misfits;

impl Stage for Misfits {
    fn process(input: &Payload) -> Result<Outcome, Fault> {
        let what = String::from_utf8(input.read(0, 100)?).unwrap();
        let graph =
            nn::load_by_name(if what == "growing" { "grows" } else { "model" }).map_err(nn::refused)?;
        let mut outputs = nn::run(&graph, inputs(&what))?;
        let wanted = if what == "output-that-is-not-there" { "nonesuch" } else { "y" };
        let place = outputs.iter().position(|(name, _)| name == wanted).expect("the model gives the output");
        let sink = host::open_output("copy", "application/octet-stream", &[])?;
        sink.write(&outputs.swap_remove(place).1.data())?;
        sink.finish()?;
        Ok(nothing())
    }
}

fn inputs(what: &str) -> Named {
    let x = |tensor| vec![("x".to_owned(), tensor)];
    let floats = |shape: &[u32], bytes| Tensor::new(shape, TensorType::Fp32, &vec![0; bytes]);
    let fine = || floats(&[2, 3], 24);
    match what {
        "shape" => x(floats(&[3, 2], 24)),
        "rank" => x(floats(&[6], 24)),
        "type" => x(Tensor::new(&[2, 3], TensorType::I32, &[0; 24])),
        "length" => x(floats(&[2, 3], 23)),
        "no-bytes" => x(floats(&[2, 3], 0)),
        "overflowing-shape" => x(Tensor::new(&[u32::MAX; 8], TensorType::Fp64, &[0; 8])),
        "endless-shape" => x(floats(&[1; 100_000], 4)),
        // 4 GiB of shapes, of which a host must keep next to nothing.
        "endless-shapes" => {
            let endless = vec![1; 1 << 20];
            (0..1000).map(|_| ("x".to_owned(), floats(&endless, 4))).collect()
        }
        "empty-shape" => x(floats(&[0, u32::MAX], 0)),
        "name" => vec![("z".to_owned(), fine())],
        "twice" => vec![("x".to_owned(), fine()), ("x".to_owned(), fine())],
        "none" => Vec::new(),
        // Each would fit alone: the budget is that of all tensors together.
        "hoard" => (0..64).map(|_| ("x".to_owned(), floats(&[1 << 16], 1 << 18))).collect(),
        "giant" => x(floats(&[1 << 20], 1 << 22)),
        // Beyond what a call may carry at all.
        "monster" => x(floats(&[1 << 23], 1 << 25)),
        "thousands" => (0..5_000).map(|_| ("x".to_owned(), fine())).collect(),
        "growing" => x(floats(&[1], 4)),
        // "fine", and "output-that-is-not-there".
        _ => x(fine()),
    }
}

guests::export!(Misfits);
