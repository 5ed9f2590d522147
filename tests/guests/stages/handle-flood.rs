//! Opens outputs and holds on to every one of them.

use guests::{Fault, Outcome, Payload, Stage, host};

struct Hoards;

impl Stage for Hoards {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let mut held = Vec::new();
        loop {
            held.push(host::open_output("copy", "text/plain", &[])?);
        }
    }
}

guests::export!(Hoards);
