//! Serves no request: spins, sleeps, or takes memory, as the path says.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wasip2::http::proxy::export!(Runaway);

struct Runaway;

impl Guest for Runaway {
    fn handle(request: IncomingRequest, _response_out: ResponseOutparam) {
        match request.path_with_query().as_deref() {
            Some(path) if path.starts_with("/sleep") => {
                println!("sleeps for {path}");
                std::thread::sleep(std::time::Duration::from_secs(3600));
            }
            Some("/memory") => {
                let mut held = Vec::new();
                loop {
                    held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Some("/silent") => {}
            _ => loop {
                std::hint::black_box(0);
            },
        }
    }
}
