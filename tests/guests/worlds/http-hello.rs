//! An ordinary HTTP component, written against the upstream `wasip2` crate alone.

use std::io::{Read as _, Write as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let text = match request.path_with_query().as_deref() {
            Some("/echo") => {
                let body = request.consume().unwrap();
                let mut bytes = Vec::new();
                match body.stream().unwrap().read_to_end(&mut bytes) {
                    Ok(_) => bytes,
                    Err(error) => format!("stopped after {} bytes: {error}", bytes.len()).into_bytes(),
                }
            }
            Some("/outward") => outward().into_bytes(),
            Some("/big") => vec![b'x'; 8 << 20],
            _ => b"Hello, WASI!".to_vec(),
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        ResponseOutparam::set(response_out, Ok(response));
        let mut out = body.write().unwrap();
        out.write_all(&text).unwrap();
        out.flush().unwrap();
        drop(out);
        OutgoingBody::finish(body, None).unwrap();
    }
}

fn outward() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some("127.0.0.1:9")).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    match outgoing_handler::handle(request, None) {
        Err(error) => format!("refused: {error:?}"),
        Ok(response) => {
            response.subscribe().block();
            match response.get() {
                Some(Ok(Err(error))) => format!("refused: {error:?}"),
                _ => "it got out".to_owned(),
            }
        }
    }
}
