//! Sleeps through its deadline, inside the host.

use std::time::Duration;

use guests::{Fault, Outcome, Payload, Stage, host, nothing};

struct Sleeps;

impl Stage for Sleeps {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let ms = host::setting("ms").map_or(3_600_000, |text| text.parse().unwrap());
        std::thread::sleep(Duration::from_millis(ms));
        Ok(nothing())
    }
}

guests::export!(Sleeps);
