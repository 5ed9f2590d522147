//! classify
use martello_guest_sdk::{Context, Fault, Outcome, Payload, Stage, export};
struct Classify;
impl Stage for Classify {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let tensor = martello_guest_sdk::Tensor::read(input, 1 << 20)?;
        let _ = context.graph("m")?.run(&[("input", tensor.view())])?.only()?;
        Ok(Outcome::empty())
    }
}
export!(Classify);
