//! Instances that answer requests are shared among peers, and clients that are slow do not hold them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use martello_runtime::{HttpConfig, ImportGrants, Patience};
use martello_vocab::Limits;

use crate::harness::{sandbox, trusted};
use crate::worlds::Server;

/// Longer than any test takes: what happens before is not its work.
const NEVER: Duration = Duration::from_secs(600);

/// Instances of the sandbox that the tests share, and what one peer has of them.
const ALL: usize = 16;
const SHARE: usize = ALL / 2;

fn server(config: HttpConfig) -> Server {
    let limits = Limits { wall_ms: 600_000, ..Limits::default() };
    let component = trusted(crate::harness::built("http-hello"));
    let component = sandbox().load_http(&component, &limits, ImportGrants::default()).unwrap();
    Server::of(component, config)
}

/// Nobody is cut off for being slow while nobody waits.
fn patient() -> HttpConfig {
    let patience = Patience { grace: NEVER, rate: 1 };
    HttpConfig { patience, shutdown: Duration::ZERO, ..HttpConfig::default() }
}

/// A connection of 127.0.0.`peer`, which takes little before it is read.
fn connect(server: &Server, peer: u8) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.bind(([127, 0, 0, peer], 0).into()).unwrap();
        socket.connect(server.address).await.unwrap()
    });
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn until(stream: &mut TcpStream, mark: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(mark) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&byte);
    }
    String::from_utf8(seen).unwrap()
}

/// A request whose guest waits for its body.
fn slow_body(server: &Server, peer: u8) -> TcpStream {
    let mut stream = connect(server, peer);
    stream
        .write_all(
            b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    // The guest's asking for the body is what makes the server say so.
    until(&mut stream, "100 Continue\r\n\r\n");
    // It may be cut off by now.
    let _ = stream.write_all(b"x");
    stream
}

fn get(server: &Server, peer: u8) -> String {
    let mut stream = connect(server, peer);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn one_peer_holds_half_of_the_instances_and_no_more() {
    let server = server(HttpConfig { instance_wait: Duration::ZERO, ..patient() });
    let held: Vec<TcpStream> = (0..SHARE).map(|_| slow_body(&server, 2)).collect();
    assert!(get(&server, 2).starts_with("HTTP/1.1 503 "));
    assert!(get(&server, 3).contains("Hello, WASI!"));
    drop(held);
}

#[test]
fn bodies_that_never_come_whole_give_their_instances_to_whoever_waits() {
    let server = server(HttpConfig { instance_wait: NEVER, ..patient() });
    let held: Vec<TcpStream> = [2, 3]
        .iter()
        .flat_map(|&peer| (0..SHARE).map(move |_| peer))
        .map(|peer| slow_body(&server, peer))
        .collect();
    assert_eq!(held.len(), ALL);
    assert!(get(&server, 4).contains("Hello, WASI!"));
    // Whoever gave its instance up is told so.
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody is answered 408");
        let given_up = held.iter().any(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut answer = [0; 12];
            stream.peek(&mut answer).is_ok_and(|read| read == answer.len()) && &answer == b"HTTP/1.1 408"
        });
        if given_up {
            break;
        }
        std::thread::yield_now();
    }
}

#[test]
fn answers_that_nobody_takes_give_their_instances_to_whoever_waits() {
    let server = server(HttpConfig { instance_wait: NEVER, response_grace: NEVER, ..patient() });
    let mut held = Vec::new();
    for peer in [2, 3] {
        for _ in 0..SHARE {
            let mut stream = connect(&server, peer);
            stream.write_all(b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            until(&mut stream, "\r\n\r\n");
            held.push(stream);
        }
    }
    assert!(get(&server, 4).contains("Hello, WASI!"));
}

#[test]
fn a_body_that_comes_too_slowly_is_answered_408_though_nobody_waits() {
    let patience = Patience { grace: Duration::from_millis(100), rate: 1 << 10 };
    let server = server(HttpConfig { patience, ..HttpConfig::default() });
    let mut stream = slow_body(&server, 2);
    let answer = until(&mut stream, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
}
