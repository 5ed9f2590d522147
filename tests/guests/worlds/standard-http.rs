//! Answers every request with its settings and writes its log, by the standard interfaces.

use std::io::Write as _;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

#[path = "../src/standard.rs"]
mod standard;

wasip2::http::proxy::export!(Standard);

struct Standard;

impl Guest for Standard {
    fn handle(_: IncomingRequest, response_out: ResponseOutparam) {
        standard::speak();
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(response_out, Ok(response));
        let mut out = body.write().unwrap();
        out.write_all(standard::settings().as_bytes()).unwrap();
        out.flush().unwrap();
        drop(out);
        OutgoingBody::finish(body, None).unwrap();
    }
}
