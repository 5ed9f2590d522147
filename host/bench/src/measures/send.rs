//! Objects sent on by C-STORE on loopback, out of a durable queue: to a peer of this module, which answers and does nothing else,
//! so that the sender is what is measured; and to dcmtk's storescp, which writes each object, where that is installed.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use martello_ingest::dicom::{DicomPeer, SendingPatience};
use martello_ingest::{Queue, QueueLimits, Retry, Sender};
use martello_vocab::Digest;

use super::narrow;
use crate::bench::Bench;
use crate::dicom::ct_slice;
use crate::measure::{Line, Measure, Taken, Target};

const OBJECTS: usize = 400;
/// How long it may take in all.
const DEADLINE: Duration = Duration::from_secs(120);
/// Connections to storescp that are tried until it listens.
const TRIES: u32 = 200;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("c-store-sent", "objects/s", Target::AtLeast(200.0)),
        Line::new("c-store-sent-to-storescp", "objects/s", Target::Shown),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let objects = bench.rounds(OBJECTS).counted;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sink = std::thread::spawn(move || listener.accept().map(|(peer, _)| sink(peer)));
    let elapsed = sent(bench, "to-sink", address, objects)?;
    // It ends with the association.
    let taken = sink.join().map_err(|_panic| anyhow::anyhow!("the peer ended in disorder"))??;
    ensure!(taken? == objects, "the peer did not get every object");
    let how = format!(
        "{objects} CT slices of 0.5 MB out of the queue, on one association, to a peer that only answers"
    );
    let alone = Taken::Value { value: narrow(objects as u64) / elapsed.as_secs_f64(), how };
    let storescp = to_storescp(bench, objects).unwrap_or_else(|error| Taken::Not(format!("{error:#}")));
    Ok(vec![alone, storescp])
}

/// Delivers so many objects, and returns how long it took from the first to the last.
fn sent(bench: &Bench, name: &str, address: SocketAddr, objects: usize) -> anyhow::Result<Duration> {
    let folder = bench.folder(name)?;
    let queue = Queue::open(&folder.join("queue"), QueueLimits::default())?;
    let file = folder.join("file");
    for number in 0..objects {
        let bytes = ct_slice(512, u32::try_from(number)?);
        fs::write(&file, &bytes)?;
        queue.put(&fs::File::open(&file)?, Digest::of(&bytes), bytes.len() as u64)?;
        fs::remove_file(&file)?;
    }
    let peer = DicomPeer {
        address: format!("ARCHIVE@127.0.0.1:{}", address.port()).parse()?,
        calling: "BENCH".parse()?,
        tls: None,
        patience: SendingPatience { linger: Duration::ZERO, ..SendingPatience::default() },
    };
    let sender = Sender { queue: Arc::clone(&queue), peer, retry: Retry::default() };
    let stop = Arc::<AtomicBool>::default();
    let begun = Instant::now();
    let elapsed = std::thread::scope(|scope| {
        scope.spawn(|| sender.deliver(&stop));
        let mut state = queue.state_now();
        while state.waiting > 0 && begun.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(1));
            state = queue.state_now();
        }
        let elapsed = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        queue.close();
        ensure!(state.delivered == objects as u64, "{state:?} in {elapsed:?}");
        Ok(elapsed)
    })?;
    Ok(elapsed)
}

fn to_storescp(bench: &Bench, objects: usize) -> anyhow::Result<Taken> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut storescp = Command::new("storescp")
        .args(["+xa", "-pm", "+B", "-od"])
        .arg(bench.folder("storescp")?)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting storescp (dcmtk)")?;
    let listens = (0..TRIES).any(|_| {
        let connected = TcpStream::connect(address).is_ok();
        if !connected {
            std::thread::sleep(Duration::from_millis(25));
        }
        connected
    });
    let elapsed = if listens {
        sent(bench, "to-storescp", address, objects)
    } else {
        Err(anyhow::anyhow!("storescp does not listen"))
    };
    storescp.kill()?;
    storescp.wait()?;
    let how = format!("{objects} of them to dcmtk's storescp, which writes each without making it durable");
    Ok(Taken::Value { value: narrow(objects as u64) / elapsed?.as_secs_f64(), how })
}

/// Accepts one association and says to every object that it is stored. How many there were.
fn sink(mut peer: TcpStream) -> anyhow::Result<usize> {
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(DEADLINE))?;
    let (mut objects, mut message) = (0, [0; 2]);
    loop {
        let mut header = [0; 6];
        peer.read_exact(&mut header).context("waiting for a PDU")?;
        let [kind, _, length @ ..] = header;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length).min(1 << 20))?];
        peer.read_exact(&mut body)?;
        match (kind, body.get(5)) {
            (1, _) => peer.write_all(&accept(&body)?)?,
            (4, Some(3)) => {
                let at = body.windows(8).position(|window| window == [0, 0, 0x10, 1, 2, 0, 0, 0]);
                let number =
                    at.and_then(|at| body.get(at + 8..at + 10)).context("a command without a number")?;
                message = number.try_into()?;
            }
            (4, Some(2)) => {
                objects += 1;
                peer.write_all(&stored(message))?;
            }
            (5, _) => {
                peer.write_all(&pdu(6, &[0; 4]))?;
                return Ok(objects);
            }
            _ => {}
        }
    }
}

/// Accepts the first context that is proposed, in its first encoding.
fn accept(request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let titles = request.get(4..68).context("a request without titles")?;
    let mut body = [&[0, 1, 0, 0], titles].concat();
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    let syntax = item(0x40, b"1.2.840.10008.1.2.1");
    body.extend(item(0x21, &[&[1, 0, 0, 0], syntax.as_slice()].concat()));
    body.extend(item(0x50, &item(0x51, &(128_u32 << 10).to_be_bytes())));
    Ok(pdu(2, &body))
}

fn stored([low, high]: [u8; 2]) -> Vec<u8> {
    let elements: [(u8, u8, [u8; 2]); 4] =
        [(0, 1, [1, 0x80]), (0x20, 1, [low, high]), (0, 8, [1, 1]), (0, 9, [0, 0])];
    let set: Vec<u8> = elements
        .iter()
        .flat_map(|(low, high, value)| [0, 0, *low, *high, 2, 0, 0, 0, value[0], value[1]])
        .collect();
    let length = u32::try_from(set.len() + 2).unwrap_or_default().to_be_bytes();
    pdu(4, &[&length[..], &[1, 3], &set].concat())
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &u32::try_from(body.len()).unwrap_or_default().to_be_bytes()[..], body].concat()
}

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 0], &u16::try_from(value.len()).unwrap_or_default().to_be_bytes()[..], value].concat()
}
