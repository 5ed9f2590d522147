//! Takes memory until there is no more.

use guests::{Fault, Outcome, Payload, Stage};

struct Takes;

impl Stage for Takes {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let mut held = Vec::new();
        loop {
            held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

guests::export!(Takes);
