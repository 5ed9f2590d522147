//! Calls itself until the stack is used up.

use guests::{Fault, Outcome, Payload, Stage, nothing};

struct Descends;

#[expect(unconditional_recursion, reason = "it is what this guest is for")]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    // The result is used after the call, so that the call is no jump.
    std::hint::black_box(descend(std::hint::black_box(depth + 1))) ^ depth
}

impl Stage for Descends {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        std::hint::black_box(descend(0));
        Ok(nothing())
    }
}

guests::export!(Descends);
