//! Writes far more log lines than anybody reads, by all ways there are.

use guests::{Fault, Outcome, Payload, Stage, log, nothing};

struct Talks;

impl Stage for Talks {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let line = "x".repeat(100_000);
        for _ in 0..50 {
            log::write(log::Level::Error, &line);
            println!("{line}");
            eprintln!("{line}");
        }
        Ok(nothing())
    }
}

guests::export!(Talks);
