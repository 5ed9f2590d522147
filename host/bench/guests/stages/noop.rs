//! Does nothing, so that what is measured is the life of an instance.

use martello_guest_sdk::{Context, Fault, Outcome, Payload, Stage, export};

struct Noop;

impl Stage for Noop {
    fn process(_: &Payload, _: &Context) -> Result<Outcome, Fault> {
        Ok(Outcome::empty())
    }
}

export!(Noop);
