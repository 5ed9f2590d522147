//! Computes for ever without calling the host.

use guests::{Fault, Outcome, Payload, Stage};

struct Spins;

impl Stage for Spins {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let mut count = 0_u64;
        loop {
            count = std::hint::black_box(count.wrapping_add(1));
        }
    }
}

guests::export!(Spins);
