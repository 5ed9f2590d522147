//! `martello serve` against `wasmtime serve`: the same component, a fresh instance for each request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{percentile, shown};

/// The component: answers every request with a short text.
const COMPONENT: &str = "http-hello";
const CONNECTIONS: usize = 8;
/// How long one side is loaded before the other takes its turn.
const SLICE: Duration = Duration::from_secs(1);
const SLICES: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
/// An answer larger than this is none of ours.
const LARGEST_ANSWER: usize = 16 << 10;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("serve-requests", "1/s", Target::Shown),
        Line::new("serve-against-wasmtime", "1", Target::AtLeast(1.0)),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let component = bench.component_path(COMPONENT)?;
    let state = bench.state();
    let ours = Server::start("martello serve", |address| {
        let mut command = Command::new(bench.program("martello")?);
        command.args(["--quiet", "serve"]).arg(&component).arg("--addr").arg(address.to_string());
        command.arg("--state").arg(&state);
        Ok(command)
    })?;
    let theirs = match &bench.places.wasmtime {
        None => None,
        Some(wasmtime) => Some(wasmtime_serve(wasmtime, &component)?),
    };
    let slices = bench.rounds(SLICES).counted;
    ours.load(SLICE)?;
    theirs.as_ref().map(|theirs| theirs.load(SLICE)).transpose()?;
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..slices {
        us.push(ours.load(SLICE)?);
        if let Some(theirs) = &theirs {
            them.push(theirs.load(SLICE)?);
        }
    }
    let load = format!("{CONNECTIONS} kept connections from the same cores, {slices} slices of {SLICE:?}");
    let (rate, latency) = middle(&us);
    let first = Taken::Value {
        value: rate,
        how: format!("{load}; p50 {}, p99 {}", shown(latency.0), shown(latency.1)),
    };
    let (their_rate, latency) = middle(&them);
    let second = if them.is_empty() {
        Taken::Not("no `wasmtime` to serve against (`--peers` installs it)".to_owned())
    } else {
        let how = format!(
            "ours by theirs, {load} in turn; theirs {their_rate:.0} 1/s, p50 {}, p99 {}",
            shown(latency.0),
            shown(latency.1)
        );
        Taken::Value { value: rate / their_rate, how }
    };
    Ok(vec![first, second])
}

fn wasmtime_serve(wasmtime: &Path, component: &Path) -> anyhow::Result<Server> {
    Server::start("wasmtime serve", |address| {
        let mut command = Command::new(wasmtime);
        command.args(["serve", "-S", "cli", "--addr"]).arg(address.to_string()).arg(component);
        Ok(command)
    })
}

/// Requests a second and the latencies of a slice.
struct Slice {
    rate: f64,
    latencies: Vec<Duration>,
}

/// The median rate, and median and 99th percentile of all latencies.
fn middle(slices: &[Slice]) -> (f64, (Duration, Duration)) {
    let mut rates: Vec<f64> = slices.iter().map(|slice| slice.rate).collect();
    rates.sort_by(f64::total_cmp);
    let latencies: Vec<Duration> = slices.iter().flat_map(|slice| slice.latencies.iter().copied()).collect();
    let rate = rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN);
    (rate, (percentile(&latencies, 50), percentile(&latencies, 99)))
}

/// A server as a child process, ended when this is dropped.
struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(
        name: &'static str,
        command: impl FnOnce(SocketAddr) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        // Whoever takes the port in between makes the server fail to start, which is told.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = command(address)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut server = Self { name, child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{name} does not listen after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Sends requests over all connections for so long.
    fn load(&self, time: Duration) -> anyhow::Result<Slice> {
        let stop = AtomicBool::new(false);
        let connections: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| connect(self.address)).collect::<anyhow::Result<_>>()?;
        let begun = Instant::now();
        let latencies: anyhow::Result<Vec<Vec<Duration>>> = std::thread::scope(|scope| {
            let workers: Vec<_> = connections
                .into_iter()
                .map(|connection| scope.spawn(|| requests(connection, &stop)))
                .collect();
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            let joined = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a connection's thread panicked")))
            });
            joined.collect()
        });
        let elapsed = begun.elapsed();
        let latencies = latencies.with_context(|| format!("loading {}", self.name))?.concat();
        let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
        Ok(Slice { rate: f64::from(count) / elapsed.as_secs_f64(), latencies })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn requests(mut connection: TcpStream, stop: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(LARGEST_ANSWER);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        connection.write_all(REQUEST)?;
        answer.clear();
        while !is_whole(&answer)? {
            let mut piece = [0; 2048];
            let length = connection.read(&mut piece)?;
            answer.extend_from_slice(piece.get(..length).unwrap_or_default());
            if length == 0 || answer.len() > LARGEST_ANSWER {
                bail!("the answer is not whole after {} bytes", answer.len());
            }
        }
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

/// Whether an answer to `GET` is complete (RFC 9112, section 6.3), as far as our servers answer.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(BLANK.len()).position(|window| window == BLANK) else { return Ok(false) };
    let (head, body) = answer.split_at(end);
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        bail!("the answer is {:?}", head.lines().next().unwrap_or_default());
    }
    let body_length = body.len() - BLANK.len();
    if head.contains("\r\ntransfer-encoding: chunked") {
        return Ok(body.ends_with(b"\r\n0\r\n\r\n"));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
    Ok(body_length >= length.trim().parse::<usize>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let counted = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for answer in [chunked.as_slice(), counted] {
            assert!(is_whole(answer).unwrap());
            for cut in 0..answer.len() {
                assert!(!is_whole(&answer[..cut]).unwrap_or(false), "{cut}");
            }
        }
        assert!(is_whole(b"HTTP/1.1 500 Internal Server Error\r\n\r\n").is_err());
    }

    #[test]
    fn the_rate_is_the_middle_one() {
        let slice = |rate| Slice { rate, latencies: vec![Duration::from_millis(1)] };
        assert_eq!(middle(&[slice(1.0), slice(9.0), slice(4.0)]).0, 4.0);
    }
}
