//! Wants to talk to the network.

use std::io::Write;
use std::net::TcpStream;

use guests::{Fault, Outcome, Payload, Stage, nothing};

struct Leaks;

impl Stage for Leaks {
    fn process(_: &Payload) -> Result<Outcome, Fault> {
        if let Ok(mut stream) = TcpStream::connect("127.0.0.1:9") {
            let _ = stream.write_all(b"everything");
        }
        Ok(nothing())
    }
}

guests::export!(Leaks);
