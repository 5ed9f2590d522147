//! Reads its settings and writes its log by the standard interfaces alone.

use guests::{Fault, Outcome, Payload, Stage, nothing};

#[path = "../src/standard.rs"]
mod standard;

struct Standard;

impl Stage for Standard {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        standard::log(standard::Level::Info, "", &standard::settings());
        assert_eq!(standard::store::get("Not A Name").unwrap(), None);
        standard::speak();
        Ok(nothing())
    }
}

guests::export!(Standard);
