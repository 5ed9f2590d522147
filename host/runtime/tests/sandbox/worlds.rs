//! Unmodified components of the upstream worlds: `wasi:cli/command` and `wasi:http/proxy`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use martello_runtime::{
    CommandCall, CommandFailure, CommandReport, FolderAccess, FolderGrant, HttpComponent, HttpConfig,
    ImportGrants, NoExtension, serve,
};
use martello_vocab::{ByteCount, Limits, code};

use crate::harness::{built, process_log, sandbox, trusted};

fn execute(
    limits: &Limits,
    arguments: &[&str],
    folders: Vec<FolderGrant>,
) -> Result<CommandReport, CommandFailure> {
    let command =
        sandbox().load_command(&trusted(built("command")), limits, ImportGrants::default()).unwrap();
    let arguments = ["command"].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let settings = BTreeMap::new();
    let call = CommandCall { arguments, environment: Vec::new(), settings, folders, state: () };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(command.run(call))
}

#[test]
fn a_program_gives_its_exit_code() {
    // WASI 0.2 knows success and failure alone (`wasi:cli/exit.exit`); Rust's standard library calls nothing else.
    for (code, seen) in [("0", 0), ("1", 1), ("42", 1)] {
        assert_eq!(execute(&Limits::default(), &["exit", code], Vec::new()).unwrap().exit, seen);
    }
    assert_eq!(execute(&Limits::default(), &[], Vec::new()).unwrap().exit, 0);
}

#[test]
fn a_program_reaches_only_the_folders_granted_and_only_as_granted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "before").unwrap();
    let grant =
        |access| vec![FolderGrant { host: folder.path().to_owned(), guest: "/data".to_owned(), access }];
    let write = |folders| execute(&Limits::default(), &["write", "/data/file"], folders).unwrap().exit == 0;
    assert!(!write(Vec::new()));
    assert!(!write(grant(FolderAccess::Read)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert!(write(grant(FolderAccess::ReadWrite)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "written");
    let outside = execute(&Limits::default(), &["write", "/data/../escaped"], grant(FolderAccess::ReadWrite));
    assert_eq!(outside.unwrap().exit, 1);
    assert!(!folder.path().with_file_name("escaped").exists());
}

#[test]
fn a_program_that_runs_away_is_stopped() {
    let limits = Limits { compute_ms: 50, wall_ms: 300, ..Limits::default() };
    for (what, expected) in [("spin", code::GUEST_COMPUTE), ("sleep", code::GUEST_DEADLINE)] {
        match execute(&limits, &[what], Vec::new()) {
            Err(CommandFailure::Stopped { code, .. }) => assert_eq!(code.as_str(), expected),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(guest: &str, limits: &Limits, config: HttpConfig) -> Self {
        let component = sandbox().load_http(&trusted(built(guest)), limits, ImportGrants::default()).unwrap();
        Self::of(component, config)
    }

    pub(crate) fn of(component: HttpComponent<NoExtension>, config: HttpConfig) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, component, config, || (), async { drop(stopped.await) }).await;
            });
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    fn send(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A connection cut off in the middle of an answer still shows what came of it.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[test]
fn an_http_component_answers_on_a_real_connection() {
    let server = Server::start("http-hello", &Limits::default(), HttpConfig::default());
    let answer = server.get("/");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Hello, WASI!"), "{answer}");
    let body = "x".repeat(100_000);
    let length = body.len();
    let answer = server.send(&format!(
        "POST /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(answer.matches('x').count(), length);
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start("http-hello", &Limits::default(), HttpConfig::default());
    let mut stream = server.connect();
    for _ in 0..50 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            let mut piece = [0; 512];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "closed after {answer:?}");
            answer.extend_from_slice(&piece[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

#[test]
fn an_http_guest_sends_nothing_outward() {
    let server = Server::start("http-hello", &Limits::default(), HttpConfig::default());
    let answer = server.get("/outward");
    assert!(answer.contains("refused: ") && answer.contains("HttpRequestDenied"), "{answer}");
}

#[test]
fn bodies_are_bounded_both_ways() {
    let limits = Limits { output_bytes: ByteCount::mebibytes(1), ..Limits::default() };
    let config = HttpConfig { request_bytes: ByteCount(1000), ..HttpConfig::default() };
    let server = Server::start("http-hello", &limits, config);
    let head = "POST /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
    let declared = server.send(&format!("{head}Content-Length: 1001\r\n\r\n"));
    assert!(declared.starts_with("HTTP/1.1 413 "), "{declared}");
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n1000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1000));
    let answer = server.send(&chunked);
    assert!(answer.contains("stopped after"), "{answer}");
    let big = server.get("/big");
    assert!(big.matches('x').count() <= 1 << 20);
    assert!(!big.ends_with("0\r\n\r\n"), "a cut answer must not look whole");
}

#[test]
fn an_http_guest_that_runs_away_is_stopped_and_others_are_served() {
    let limits = Limits { compute_ms: 200, wall_ms: 500, ..Limits::default() };
    let runaway = Server::start("http-runaway", &limits, HttpConfig::default());
    for (path, expected) in [
        ("/spin", code::GUEST_COMPUTE),
        ("/sleep", code::GUEST_DEADLINE),
        ("/memory", code::GUEST_MEMORY),
        ("/silent", code::GUEST_CONTRACT),
    ] {
        let answer = runaway.get(path);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(expected), "{path}: {answer}");
    }
    // More spinning guests than workers: a quick request still comes through while they spin.
    let limits = Limits { compute_ms: 3_000, wall_ms: 20_000, ..Limits::default() };
    let runaway = Server::start("http-runaway", &limits, HttpConfig::default());
    let mut spinning: Vec<TcpStream> = (0..6).map(|_| runaway.connect()).collect();
    for stream in &mut spinning {
        stream.write_all(b"GET /spin HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    assert!(runaway.get("/silent").contains(code::GUEST_CONTRACT));
    for stream in &mut spinning {
        stream.set_nonblocking(true).unwrap();
        let answered = stream.read(&mut [0; 1]);
        assert!(answered.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

#[test]
fn a_client_that_sends_no_head_is_disconnected() {
    let config = HttpConfig { header_timeout: Duration::from_millis(100), ..HttpConfig::default() };
    let server = Server::start("http-hello", &Limits::default(), config);
    let start = Instant::now();
    server.send("GET / HTTP/1.1\r\nHost: te");
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// Longer than any test takes: what happens before is not the timeout's work.
const NEVER: Duration = Duration::from_secs(600);

#[test]
fn connections_that_rest_or_never_end_their_head_keep_nobody_out() {
    let config =
        HttpConfig { connections: 4, connections_of_peer: 4, header_timeout: NEVER, ..HttpConfig::default() };
    let server = Server::start("http-hello", &Limits::default(), config);
    let idle: Vec<TcpStream> = (0..10)
        .map(|number| {
            let mut stream = server.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: te").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        let answer = server.get("/");
        assert!(answer.contains("Hello, WASI!"), "{answer}");
    }
    // The first to come was the first to go.
    let mut first = &idle[0];
    assert!(!matches!(first.read(&mut [0; 1]), Ok(1..)));
}

#[test]
fn a_body_that_never_comes_keeps_nobody_out_and_work_is_not_broken_off_for_a_newcomer() {
    let limits = Limits { wall_ms: 60_000, ..Limits::default() };
    let shutdown = Duration::from_millis(100);
    let config = HttpConfig { connections: 2, connections_of_peer: 2, shutdown, ..HttpConfig::default() };
    let server = Server::start("http-hello", &limits, config);
    let mut slow: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nx").unwrap();
    }
    // Whoever comes while all are at work on behalf of one peer is sent away, and comes again.
    let start = Instant::now();
    let answer = loop {
        let answer = server.get("/");
        if !answer.is_empty() || start.elapsed() > Duration::from_secs(15) {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(answer.contains("Hello, WASI!"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_peer_that_takes_all_its_places_takes_no_others() {
    let limits = Limits { wall_ms: 20_000, ..Limits::default() };
    let shutdown = Duration::from_millis(100);
    let config = HttpConfig { connections: 8, connections_of_peer: 2, shutdown, ..HttpConfig::default() };
    let server = Server::start("http-runaway", &limits, config);
    process_log();
    let mut at_work: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for (number, stream) in at_work.iter_mut().enumerate() {
        write!(stream, "GET /sleep?of-peer-{number} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    let begun = Instant::now();
    while !(0..2).all(|number| process_log().contains(&format!("sleeps for /sleep?of-peer-{number}"))) {
        assert!(begun.elapsed() < Duration::from_secs(15), "the guests never began");
        std::thread::yield_now();
    }
    // Answers are made on both: a third connection of the peer is closed, and one of another peer is answered.
    assert_eq!(server.get("/silent"), "");
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = other.block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(b"GET /silent HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    });
    assert!(answer.contains(code::GUEST_CONTRACT), "{answer}");
}

#[test]
fn a_request_within_a_request_is_refused() {
    let server = Server::start("http-hello", &Limits::default(), HttpConfig::default());
    let within = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    for lengths in [
        format!("Content-Length: {}\r\nContent-Length: 5", within.len()),
        format!("Content-Length: {}\r\nTransfer-Encoding: xchunked", within.len()),
        format!("Content-Length : {}", within.len()),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Content-Length: +5".to_owned(),
    ] {
        let answer = server.send(&format!("POST /echo HTTP/1.1\r\nHost: test\r\n{lengths}\r\n\r\n{within}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{lengths}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lengths}: {answer}");
    }
}

#[test]
fn a_client_that_does_not_read_its_answer_gives_its_place_up() {
    let limits = Limits { wall_ms: 1000, ..Limits::default() };
    let grace = Duration::from_millis(100);
    let config = HttpConfig { connections: 1, response_grace: grace, ..HttpConfig::default() };
    let server = Server::start("http-hello", &limits, config);
    let mut idle = server.connect();
    idle.write_all(b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    // The only place is its own until it is cut off; reading gives up after 20 seconds.
    let answer = server.get("/");
    assert!(answer.contains("Hello, WASI!"), "{answer}");
    drop(idle);
}

#[test]
fn a_request_under_way_ends_in_peace_at_shutdown() {
    let limits = Limits { wall_ms: 1000, ..Limits::default() };
    let mut server = Server::start("http-runaway", &limits, HttpConfig::default());
    let mut stream = server.connect();
    process_log();
    stream.write_all(b"GET /sleep?until-shutdown HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let begun = Instant::now();
    while !process_log().contains("sleeps for /sleep?until-shutdown") {
        assert!(begun.elapsed() < Duration::from_secs(20), "the guest never began");
        std::thread::yield_now();
    }
    drop(server.stop.take());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(code::GUEST_DEADLINE), "{answer}");
}
