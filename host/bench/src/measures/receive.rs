//! Objects received by C-STORE on loopback, each durable before its sender hears success. The sender is of this module: it
//! has its objects in memory and does nothing but send, so that the door is what is measured.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use martello_ingest::dicom::{Callers, DicomListener, DicomSettings};
use martello_ingest::{Spool, SpoolLimits};

use super::narrow;
use crate::bench::Bench;
use crate::dicom::ct_slice;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, percentile, shown, wall};

const OBJECTS: usize = 400;
const SENDERS: usize = 4;
const CLASS: &str = "1.2.840.10008.5.1.4.1.1.2";
/// The longest PDU that the door takes.
const PDU: usize = 128 << 10;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("c-store", "objects/s", Target::AtLeast(200.0)),
        Line::new("c-store-four-senders", "objects/s", Target::Shown),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let spool = Spool::open(&bench.folder("spool")?, SpoolLimits::default())?;
    let settings = DicomSettings { callers: Callers::Any, ..DicomSettings::new("MARTELLO".parse()?) };
    let listener = DicomListener::bind("127.0.0.1:0".parse()?, settings, spool)?;
    let address = listener.address();
    let stop = Arc::<AtomicBool>::default();
    let door = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || listener.serve(&stop))
    };
    let objects = bench.rounds(OBJECTS).counted;
    let measured = disk_alone(&bench.folder("disk")?, objects.div_ceil(4))
        .and_then(|disk_alone| measured(address, objects, disk_alone));
    stop.store(true, Ordering::Relaxed);
    door.join().map_err(|_panic| anyhow::anyhow!("the door ended in disorder"))?;
    measured
}

/// What the disk takes for such an object by itself: most of the time goes there.
fn disk_alone(folder: &Path, objects: usize) -> anyhow::Result<Duration> {
    let handle = File::open(folder)?;
    let bytes = vec![7; 512 * 512 * 2];
    let keep = |number: usize| -> io::Result<()> {
        let temporary = folder.join(format!(".{number}"));
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(temporary, folder.join(number.to_string()))?;
        handle.sync_all()
    };
    let mut times = Vec::with_capacity(objects);
    for number in 0..objects {
        let (kept, time) = wall(|| keep(number));
        kept.context("writing what the door would")?;
        times.push(time);
    }
    Ok(median(&times))
}

fn measured(address: SocketAddr, objects: usize, disk_alone: Duration) -> anyhow::Result<Vec<Taken>> {
    let mut first = 0;
    let mut numbers = |count: usize| {
        let numbers = first..first + count;
        first += count;
        slices(numbers)
    };
    // Warms up what there is to warm up.
    send(address, &numbers(objects.div_ceil(10))?)?;
    let alone = numbers(objects)?;
    let bytes = alone.first().map_or(0, |(_, bytes)| bytes.len());
    let (times, elapsed) = wall(|| send(address, &alone));
    let times = times?;
    drop(alone);
    let one = Taken::Value {
        value: rate(objects, elapsed),
        how: format!(
            "{objects} CT slices of {bytes} bytes on one association, the next one after the answer; an answer took {}, \
             at worst {}; the disk alone takes {} for two syncs and a rename",
            shown(median(&times)),
            shown(percentile(&times, 100)),
            shown(disk_alone),
        ),
    };
    let shares =
        (0..SENDERS).map(|_| numbers(objects.div_ceil(SENDERS))).collect::<anyhow::Result<Vec<_>>>()?;
    let (sent, elapsed) = wall(|| {
        std::thread::scope(|scope| {
            let senders: Vec<_> =
                shares.iter().map(|share| scope.spawn(move || send(address, share))).collect();
            senders
                .into_iter()
                .map(|sender| sender.join().ok().and_then(Result::ok))
                .collect::<Option<Vec<_>>>()
        })
    });
    let sent: usize = sent.context("a sender failed")?.iter().map(Vec::len).sum();
    let how = format!("{sent} of them on {SENDERS} associations at once");
    Ok(vec![one, Taken::Value { value: rate(sent, elapsed), how }])
}

fn rate(objects: usize, elapsed: Duration) -> f64 {
    narrow(objects as u64) / elapsed.as_secs_f64()
}

/// Data sets with their instances.
fn slices(numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let slice = |number: usize| {
        let number = u32::try_from(number)?;
        let file = ct_slice(512, number);
        let meta = file.get(140..144).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
        let begin = 144 + usize::try_from(meta.context("the slice has no head")?)?;
        let data_set = file.get(begin..).context("the slice has no data set")?.to_vec();
        Ok((format!("2.999.4711.77.{number}"), data_set))
    };
    numbers.map(slice).collect()
}

/// Sends objects one after the other, and returns how long each answer took from the first byte sent.
fn send(address: SocketAddr, objects: &[(String, Vec<u8>)]) -> anyhow::Result<Vec<Duration>> {
    let mut peer = TcpStream::connect(address).context("connecting")?;
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(Duration::from_secs(30)))?;
    peer.write_all(&request())?;
    ensure!(answer(&mut peer)?.0 == 2, "the door refused the association");
    let mut times = Vec::with_capacity(objects.len());
    for (instance, data_set) in objects {
        let (status, time) = wall(|| -> anyhow::Result<[u8; 2]> {
            peer.write_all(&data(3, &store(instance)))?;
            let mut rest = data_set.as_slice();
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(PDU - 6));
                peer.write_all(&data(if left.is_empty() { 2 } else { 0 }, piece))?;
                rest = left;
            }
            let body = answer(&mut peer)?.1;
            let at = body.windows(8).position(|window| window == [0, 0, 0, 9, 2, 0, 0, 0]);
            let status = at.and_then(|at| body.get(at + 8..at + 10)).context("an answer without a status")?;
            Ok(status.try_into()?)
        });
        ensure!(status? == [0, 0], "an object was refused");
        times.push(time);
    }
    peer.write_all(&pdu(5, &[0; 4]))?;
    ensure!(answer(&mut peer)?.0 == 6, "the association was not released");
    Ok(times)
}

fn answer(peer: &mut TcpStream) -> anyhow::Result<(u8, Vec<u8>)> {
    let mut header = [0; 6];
    peer.read_exact(&mut header).context("waiting for an answer")?;
    let [kind, _, length @ ..] = header;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length).min(1 << 20))?];
    peer.read_exact(&mut body)?;
    Ok((kind, body))
}

fn request() -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{:16}{:16}", "MARTELLO", "BENCH").bytes());
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    let syntaxes = [item(0x30, CLASS.as_bytes()), item(0x40, b"1.2.840.10008.1.2.1")].concat();
    body.extend(item(0x20, &[&[1, 0, 0, 0], syntaxes.as_slice()].concat()));
    body.extend(item(0x50, &item(0x51, &16384_u32.to_be_bytes())));
    pdu(1, &body)
}

fn store(instance: &str) -> Vec<u8> {
    let mut set = Vec::new();
    let values: [(u16, &[u8]); 6] = [
        (0x0002, CLASS.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &[1, 0]),
        (0x0700, &[0, 0]),
        (0x0800, &[0, 0]),
        (0x1000, instance.as_bytes()),
    ];
    for (element, value) in values {
        let padding = value.len() % 2;
        set.extend([0, 0]);
        set.extend(element.to_le_bytes());
        set.extend(length(value.len() + padding).to_le_bytes());
        set.extend(value);
        set.extend(std::iter::repeat_n(0, padding));
    }
    set
}

fn data(header: u8, bytes: &[u8]) -> Vec<u8> {
    pdu(4, &[&length(bytes.len() + 2).to_be_bytes()[..], &[1, header], bytes].concat())
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &length(body.len()).to_be_bytes()[..], body].concat()
}

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or_default();
    [&[kind, 0], &length.to_be_bytes()[..], value].concat()
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or_default()
}
