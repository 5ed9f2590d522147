//! Writes output until it is stopped, and passes the host's refusal on as its own fault.

use guests::{Fault, Outcome, Payload, Stage, host};

struct Writes;

impl Stage for Writes {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        let sink = host::open_output("copy", "application/octet-stream", &[])?;
        let bytes = vec![7_u8; 1 << 20];
        loop {
            match sink.write(&bytes) {
                Ok(()) => {}
                // A sly guest goes on as if nothing had happened, finishes what it has and reports success.
                Err(_) if host::setting("sly").is_some() => {
                    let _ = (sink.write(&[]), sink.finish());
                    return Ok(guests::nothing());
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

guests::export!(Writes);
