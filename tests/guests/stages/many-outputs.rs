//! Completes small outputs without end: empty ones, or, where the setting `what` is `described`, empty ones with all
//! the attributes that one may have.

use guests::{Fault, Outcome, Payload, Stage, host};

struct Completes;

impl Stage for Completes {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let described = host::setting("what").as_deref() == Some("described");
        let attribute = || ("x".repeat(4 << 10), "y".repeat(4 << 10));
        let attributes: Vec<_> = (0..if described { 64 } else { 0 }).map(|_| attribute()).collect();
        loop {
            host::open_output("copy", "text/plain", &attributes)?.finish()?;
        }
    }
}

guests::export!(Completes);
