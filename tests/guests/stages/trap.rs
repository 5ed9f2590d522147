//! Panics, with a text that must not become a code.

use guests::{Fault, Outcome, Payload, Stage};

struct Panics;

#[inline(never)]
fn reads_the_secret_header() -> ! {
    panic!("guest-memory: Doe^John")
}

impl Stage for Panics {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        reads_the_secret_header()
    }
}

guests::export!(Panics);
