//! Asks the host the same question for ever.

use guests::{Fault, Outcome, Payload, Stage};

struct Asks;

impl Stage for Asks {
    fn process(input: &Payload) -> Result<Outcome, Fault> {
        loop {
            std::hint::black_box(input.length());
        }
    }
}

guests::export!(Asks);
