//! A door on loopback, and a peer that says what it likes. Peers that others wrote are in `tests/e2e/receiving.rs`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use martello_vocab::ByteCount;
use proptest::prelude::*;

use super::command::tests::{set, store};
use super::pdu::{AssociateRequest, Header, Kind, Verdict};
use super::*;
use crate::{Spool, SpoolLimits};

pub(super) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) struct Door {
    folder: tempfile::TempDir,
    spool: Arc<Spool>,
    pub(super) address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn settings() -> DicomSettings {
    DicomSettings { callers: Callers::Any, ..DicomSettings::new("MARTELLO".parse().unwrap()) }
}

impl Door {
    pub(super) fn open(settings: DicomSettings, limits: SpoolLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), limits).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = DicomListener::bind(any, settings, Arc::clone(&spool)).unwrap();
        let (address, stop) = (listener.address(), Arc::<AtomicBool>::default());
        let stopped = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || listener.serve(&stopped)));
        Self { folder, spool, address, stop, thread }
    }

    pub(super) fn usual() -> Self {
        Self::open(settings(), SpoolLimits::default())
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// The objects that were kept, by what is in them.
    pub(super) fn objects(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let objects = entries.filter(|path| path.extension().is_some_and(|extension| extension == "dcm"));
        objects.map(|path| fs::read(path).unwrap()).collect()
    }

    /// Waits until no half object is left.
    fn settled(&self) {
        let begun = Instant::now();
        let is_half = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".incoming-");
        while fs::read_dir(self.folder.path()).unwrap().any(|entry| is_half(&entry.unwrap().file_name())) {
            assert!(begun.elapsed() < LONG, "half an object is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn peer(&self) -> Peer {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Peer(stream)
    }

    /// A peer with an association for CT objects on context 1 and C-ECHO on context 3.
    fn associated(&self) -> Peer {
        let mut peer = self.peer();
        peer.send(&request(
            "MARTELLO",
            "TESTER",
            &[(1, CT, &[EXPLICIT]), (3, "1.2.840.10008.1.1", &[EXPLICIT])],
        ));
        assert_eq!(peer.pdu().unwrap().0, Kind::AssociateAccept);
        peer
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next PDU; none where the connection has ended.
    pub(super) fn pdu(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut header = [0; 6];
        self.0.read_exact(&mut header).ok()?;
        let header = Header::of(header);
        let mut body = vec![0; header.length as usize];
        self.0.read_exact(&mut body).unwrap();
        Some((header.kind, body))
    }

    /// The status of the next response.
    fn status(&mut self) -> u16 {
        let (kind, body) = self.pdu().expect("the connection has ended");
        assert_eq!(kind, Kind::Data, "{body:?}");
        let at = body.windows(8).position(|window| window == [0, 0, 0, 9, 2, 0, 0, 0]).unwrap() + 8;
        u16::from_le_bytes([body[at], body[at + 1]])
    }

    /// Sends an object in pieces and returns the status of the answer.
    fn store(&mut self, command: &[u8], data_set: &[u8], piece: usize) -> u16 {
        self.send(&data(1, 3, command));
        let pieces = data_set.chunks(piece);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            self.send(&data(1, if index == last { 2 } else { 0 }, piece));
        }
        self.status()
    }

    /// How the other side ended: source and reason of its abort.
    fn aborted(&mut self) -> [u8; 2] {
        let (kind, body) = self.pdu().expect("the connection has ended without a word");
        assert_eq!(kind, Kind::Abort);
        assert_eq!(self.pdu(), None);
        [body[2], body[3]]
    }
}

pub(super) fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &(body.len() as u32).to_be_bytes()[..], body].concat()
}

fn data(context: u8, header: u8, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32 + 2).to_be_bytes();
    pdu(4, &[&length[..], &[context, header], bytes].concat())
}

pub(super) fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 0], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

pub(super) fn request(called: &str, calling: &str, contexts: &[(u8, &str, &[&str])]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{called:16}{calling:16}").bytes());
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, class, syntaxes) in contexts {
        let mut value = vec![*id, 0, 0, 0];
        value.extend(item(0x30, class.as_bytes()));
        syntaxes.iter().for_each(|syntax| value.extend(item(0x40, syntax.as_bytes())));
        body.extend(item(0x20, &value));
    }
    body.extend(item(0x50, &item(0x51, &16384_u32.to_be_bytes())));
    pdu(1, &body)
}

/// The beginning of a data set, and so many bytes behind it.
pub(super) fn object(class: &str, instance: &str, rest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (element, value) in [(0x16_u8, class), (0x18, instance)] {
        let padded = if value.len() % 2 == 1 { format!("{value}\0") } else { value.to_owned() };
        bytes.extend([8, 0, element, 0, b'U', b'I', padded.len() as u8, 0]);
        bytes.extend(padded.bytes());
    }
    bytes.extend([0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0]);
    bytes.extend((rest as u32).to_le_bytes());
    bytes.extend((0..rest).map(|index| index as u8));
    bytes
}

fn echo() -> Vec<u8> {
    let command =
        set(&[(2, b"1.2.840.10008.1.1\0"), (0x100, &[0x30, 0]), (0x110, &[1, 0]), (0x800, &[1, 1])]);
    data(3, 3, &command)
}

#[test]
fn an_object_is_a_file_with_its_data_set_as_it_came_and_a_head_of_ours() {
    let door = Door::usual();
    let mut peer = door.associated();
    let data_set = object(CT, "1.2.3", 300_001);
    assert_eq!(peer.store(&store(CT, "1.2.3"), &data_set, 16_000), 0);
    peer.send(&echo());
    assert_eq!(peer.status(), 0);
    peer.send(&pdu(5, &[0; 4]));
    assert_eq!(peer.pdu(), Some((Kind::ReleaseReply, vec![0; 4])));
    assert_eq!(peer.pdu(), None);
    let objects = door.objects();
    let file = objects.first().unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!(file[128..132], *b"DICM");
    let meta = u32::from_le_bytes(file[140..144].try_into().unwrap()) as usize;
    assert_eq!(file[144 + meta..], data_set);
    for uid in [CT, "1.2.3", EXPLICIT, settings::IMPLEMENTATION_CLASS] {
        assert!(file[144..144 + meta].windows(uid.len()).any(|window| window == uid.as_bytes()), "{uid}");
    }
    assert!(!file[..144 + meta].windows(6).any(|window| window == b"TESTER"), "it says who sent it");
}

#[test]
fn an_object_that_is_another_than_was_announced_is_refused_and_gone() {
    let door = Door::usual();
    let mut peer = door.associated();
    for (command, data_set, status) in [
        (store(CT, "1.2.3"), object(CT, "1.2.4", 10), 0xA900),
        (store(CT, "1.2.3"), object("1.2.840.10008.5.1.4.1.1.4", "1.2.3", 10), 0xA900),
        (store(CT, "1.2.3"), b"no data set".to_vec(), 0xC000),
        (store("1.2.840.10008.5.1.4.1.1.4", "1.2.3"), object(CT, "1.2.3", 10), 0x0122),
        (store(CT, "DOE^JOHN"), object(CT, "1.2.3", 10), 0x0117),
        (store(CT, "1.2.3"), object(CT, "1.2.3", 10), 0),
    ] {
        assert_eq!(peer.store(&command, &data_set, 20), status);
    }
    door.settled();
    assert_eq!(door.objects().len(), 1);
}

#[test]
fn an_operation_that_is_not_served_is_answered_and_the_next_one_is_served() {
    let door = Door::usual();
    let mut peer = door.associated();
    // C-FIND with an identifier behind it, and N-GET without.
    let find = set(&[(2, CT.as_bytes()), (0x100, &[0x20, 0]), (0x110, &[9, 0]), (0x800, &[0, 0])]);
    assert_eq!(peer.store(&find, b"identifier", 4), 0x0211);
    let get = set(&[(3, CT.as_bytes()), (0x100, &[0x10, 1]), (0x110, &[9, 0]), (0x800, &[1, 1])]);
    peer.send(&data(1, 3, &get));
    assert_eq!(peer.status(), 0x0211);
    assert_eq!(peer.store(&store(CT, "1.2.3"), &object(CT, "1.2.3", 10), 99), 0);
}

#[test]
fn a_full_spool_is_answered_behind_the_whole_object_and_nothing_is_left_of_it() {
    let limits = SpoolLimits { bytes: ByteCount(10_000), ..SpoolLimits::default() };
    let door = Door::open(settings(), limits);
    let mut peer = door.associated();
    assert_eq!(peer.store(&store(CT, "1.2.3"), &object(CT, "1.2.3", 20_000), 1_000), 0xA700);
    door.settled();
    assert_eq!(peer.store(&store(CT, "1.2.4"), &object(CT, "1.2.4", 5_000), 1_000), 0);
    assert_eq!(peer.store(&store(CT, "1.2.5"), &object(CT, "1.2.5", 5_000), 1_000), 0xA700);
    // Room again.
    let found = crate::Folder::open(door.spool.path()).unwrap().scan().unwrap();
    door.spool.release(&found[0]);
    assert_eq!(peer.store(&store(CT, "1.2.5"), &object(CT, "1.2.5", 5_000), 1_000), 0);
    assert_eq!(door.objects().len(), 1);
}

#[test]
fn a_peer_that_goes_away_in_the_middle_leaves_nothing() {
    let door = Door::usual();
    for abort in [pdu(7, &[0, 0, 0, 0]), Vec::new(), b"\x04\0\0\0".to_vec()] {
        let mut peer = door.associated();
        peer.send(&data(1, 3, &store(CT, "1.2.3")));
        peer.send(&data(1, 0, &object(CT, "1.2.3", 1_000)));
        peer.send(&abort);
        peer.0.shutdown(Shutdown::Write).unwrap();
        while peer.pdu().is_some() {}
    }
    door.settled();
    assert!(door.objects().is_empty());
}

#[test]
fn associations_are_refused_with_the_reason_that_the_standard_has_for_it() {
    let listed = Callers::Listed(["KNOWN".parse().unwrap()].into());
    let door = Door::open(DicomSettings { callers: listed, ..settings() }, SpoolLimits::default());
    let contexts: &[(u8, &str, &[&str])] = &[(1, CT, &[EXPLICIT])];
    let whole = request("MARTELLO", "KNOWN", contexts);
    let mut version = whole.clone();
    version[7] = 2;
    let mut application = whole.clone();
    application[6 + 68 + 4] = b'9';
    for (bytes, reason) in [
        (request("OTHER", "KNOWN", contexts), [1, 1, 7]),
        (request("MARTELLO", "STRANGER", contexts), [1, 1, 3]),
        (request("MARTELLO", "", contexts), [1, 1, 3]),
        (version, [1, 2, 2]),
        (application, [1, 1, 2]),
    ] {
        let mut peer = door.peer();
        peer.send(&bytes);
        let (kind, body) = peer.pdu().unwrap();
        assert_eq!((kind, &body[1..]), (Kind::AssociateReject, &reason[..]));
        assert_eq!(peer.pdu(), None);
    }
    let mut peer = door.peer();
    peer.send(&whole);
    assert_eq!(peer.pdu().unwrap().0, Kind::AssociateAccept);
}

#[test]
fn one_association_more_than_there_may_be_is_refused_for_now() {
    let one = NonZero::new(1).unwrap();
    let door = Door::open(DicomSettings { associations: one, ..settings() }, SpoolLimits::default());
    let first = door.associated();
    let mut second = door.peer();
    second.send(&request("MARTELLO", "TESTER", &[]));
    let (kind, body) = second.pdu().unwrap();
    assert_eq!((kind, &body[1..]), (Kind::AssociateReject, &[2, 3, 2][..]));
    drop((first, second));
    let begun = Instant::now();
    loop {
        let mut third = door.peer();
        third.send(&request("MARTELLO", "TESTER", &[]));
        if third.pdu().is_some_and(|(kind, _)| kind == Kind::AssociateAccept) {
            break;
        }
        assert!(begun.elapsed() < LONG, "the place of the first one stays taken");
    }
}

/// A peer that connects from this address of loopback and says nothing.
fn silent(door: &Door, from: [u8; 4]) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&stream, &std::net::SocketAddr::from((from, 0))).unwrap();
    connect(&stream, &door.address).unwrap();
    stream.into()
}

#[test]
fn peers_that_connect_and_say_nothing_take_no_place_of_an_association() {
    let one = NonZero::new(1).unwrap();
    let door = Door::open(DicomSettings { associations: one, ..settings() }, SpoolLimits::default());
    let _silent: Vec<_> = (0..24).map(|_| door.peer()).collect();
    let mut peer = door.associated();
    assert_eq!(peer.store(&store(CT, "1.2.3"), &object(CT, "1.2.3", 10), 99), 0);
    // The one place is taken now, and a request that would be refused anyway is told the other reason.
    for (title, reason) in [("MARTELLO", [2, 3, 2]), ("OTHER", [1, 1, 7])] {
        let mut second = door.peer();
        second.send(&request(title, "TESTER", &[]));
        let (kind, body) = second.pdu().unwrap();
        assert_eq!((kind, &body[1..]), (Kind::AssociateReject, &reason[..]));
    }
}

#[test]
fn a_peer_that_opens_ever_more_connections_pushes_out_its_own() {
    let door = Door::usual();
    // Connected before all of them, and in no hurry.
    let mut slow = door.peer();
    let mut many: Vec<_> = (0..3 * room::NEWCOMERS).map(|_| silent(&door, [127, 0, 0, 2])).collect();
    many[0].set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(many[0].read(&mut [0]).unwrap(), 0, "the oldest was closed");
    slow.send(&request("MARTELLO", "TESTER", &[(1, CT, &[EXPLICIT])]));
    assert_eq!(slow.pdu().unwrap().0, Kind::AssociateAccept);
    let mut late = door.associated();
    assert_eq!(late.store(&store(CT, "1.2.3"), &object(CT, "1.2.3", 10), 99), 0);
    // Who has an association keeps it.
    many.extend((0..room::NEWCOMERS).map(|_| silent(&door, [127, 0, 0, 2])));
    assert_eq!(late.store(&store(CT, "1.2.4"), &object(CT, "1.2.4", 10), 99), 0);
}

#[test]
fn what_is_no_dicom_is_cut_off_and_the_door_goes_on() {
    let door = Door::usual();
    for (bytes, reason) in [
        // A browser, a longer request than there is, one that is cut, and something out of turn.
        (&b"GET / HTTP/1.1\r\n\r\n"[..], [2, 1]),
        (&[1, 0, 0x7F, 0xFF, 0xFF, 0xFF], [2, 6]),
        (&[1, 0, 0, 0, 0, 3, 0, 1, 0], [2, 6]),
        (&[4, 0, 0, 0, 0, 0], [2, 2]),
    ] {
        let mut peer = door.peer();
        peer.send(bytes);
        assert_eq!(peer.aborted(), reason, "{bytes:?}");
    }
    let too_long = (128_u32 << 10) + 1;
    let mut huge = vec![4, 0];
    huge.extend(too_long.to_be_bytes());
    for (bytes, reason) in [
        (huge, [2, 6]),
        // A request on top, values that are longer than the PDU, a context that was not agreed on, no command.
        (request("MARTELLO", "TESTER", &[]), [2, 2]),
        (pdu(4, &[0, 0, 1, 0, 1, 3]), [2, 6]),
        (data(5, 3, &store(CT, "1.2.3")), [2, 6]),
        (data(1, 3, b"nonsense"), [2, 6]),
        (data(1, 2, b"a data set without a command"), [2, 6]),
    ] {
        let mut peer = door.associated();
        peer.send(&bytes);
        assert_eq!(peer.aborted(), reason);
    }
    assert_eq!(door.associated().store(&store(CT, "1.2.3"), &object(CT, "1.2.3", 10), 99), 0);
}

#[test]
fn peers_that_are_slow_lose_their_place() {
    let short = Duration::from_millis(300);
    let with = |patience| Door::open(DicomSettings { patience, ..settings() }, SpoolLimits::default());
    let door = with(Patience { artim: short, ..Patience::default() });
    // Nothing at all, half a request, a byte now and then.
    let (silent, mut half, mut drip) = (door.peer(), door.peer(), door.peer());
    let whole = request("MARTELLO", "TESTER", &[]);
    half.send(&whole[..50]);
    let begun = Instant::now();
    for byte in &whole {
        if drip.0.write_all(&[*byte]).is_err() || begun.elapsed() > LONG {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for mut peer in [silent, half] {
        assert_eq!(peer.aborted(), [2, 0]);
    }
    assert!(begun.elapsed() < LONG / 2);
    // Whoever is to associate gets the time for it, however slow this machine is.
    let artim = 10 * short;
    let door = with(Patience { artim, idle: short, pdu: short, message: 3 * short, ..Patience::default() });
    // Associated and silent; in the middle of an object; each piece in time, and never an end.
    assert_eq!(door.associated().aborted(), [2, 0]);
    let mut stuck = door.associated();
    stuck.send(&data(1, 3, &store(CT, "1.2.3")));
    assert_eq!(stuck.aborted(), [2, 0]);
    let mut endless = door.associated();
    endless.send(&data(1, 3, &store(CT, "1.2.3")));
    let begun = Instant::now();
    while begun.elapsed() < LONG && endless.0.write_all(&data(1, 0, b"x")).is_ok() {
        std::thread::sleep(short / 10);
    }
    // After the last word its bytes are forgotten for a while, so that it can read that.
    assert!(begun.elapsed() < LONG, "an object without an end holds its place");
    door.settled();
    assert!(door.objects().is_empty());
}

#[test]
fn a_door_that_closes_lets_an_object_arrive_and_begins_no_new_one() {
    let patience = Patience { stopping: LONG, ..Patience::default() };
    let mut door = Door::open(DicomSettings { patience, ..settings() }, SpoolLimits::default());
    let mut peer = door.associated();
    let mut idle = door.associated();
    let data_set = object(CT, "1.2.3", 1_000);
    peer.send(&data(1, 3, &store(CT, "1.2.3")));
    peer.send(&data(1, 0, &data_set[..500]));
    // The association is in the middle of the object when its file is there.
    let begun = Instant::now();
    while fs::read_dir(door.folder.path()).unwrap().count() < 2 {
        assert!(begun.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(5));
    }
    door.stop.store(true, Ordering::Relaxed);
    assert_eq!(idle.aborted(), [2, 0]);
    peer.send(&data(1, 2, &data_set[500..]));
    assert_eq!(peer.status(), 0);
    assert_eq!(peer.aborted(), [2, 0]);
    door.close();
    assert_eq!(door.objects().len(), 1);
}

#[test]
fn a_context_gets_the_first_encoding_that_everything_reads() {
    let jpeg_ls = "1.2.840.10008.1.2.4.80";
    let film = "1.2.840.10008.1.2.4.102";
    let implicit = "1.2.840.10008.1.2";
    let whole = request(
        "MARTELLO",
        "TESTER",
        &[
            (1, CT, &[film, jpeg_ls, implicit, EXPLICIT]),
            (3, CT, &[jpeg_ls]),
            (5, CT, &[film]),
            (7, "1.2.840.10008.5.1.4.1.2.2.1", &[EXPLICIT]),
            (8, CT, &[EXPLICIT]),
            (9, "1.2.840.10008.5.1.4.34.7", &[EXPLICIT]),
        ],
    );
    let read = AssociateRequest::read(&whole[6..]).unwrap();
    let association = negotiation::negotiate(&read, &settings()).unwrap();
    let syntax = |id| association.contexts.get(&id).map(|context| context.transfer_syntax.as_str());
    assert_eq!(
        [1, 3, 5, 7, 8, 9].map(syntax),
        [Some(implicit), Some(jpeg_ls), None, None, None, Some(EXPLICIT)]
    );
    // Each gets a verdict, in the order in which they were proposed.
    let results: Vec<_> = association
        .acceptance
        .windows(8)
        .filter(|window| window[0] == 0x21 && window[1] == 0 && window[5] == 0 && window[7] == 0)
        .map(|window| (window[4], window[6]))
        .collect();
    assert_eq!(results, [(1, 0), (3, 0), (5, 4), (7, 3), (8, 3), (9, 0)]);
}

#[test]
fn an_answer_is_split_for_a_peer_that_takes_little_at_a_time() {
    let set = [7; 200];
    let bytes = pdu::command(1, &set, 64);
    let (mut rest, mut whole, mut count) = (&bytes[..], Vec::new(), 0);
    while !rest.is_empty() {
        let header = Header::of(rest[..6].try_into().unwrap());
        assert!(header.length <= 64);
        let mut body = bytes::Bytes(&rest[6..6 + header.length as usize]);
        let value = pdu::data_value(&mut body).unwrap();
        whole.extend(value.bytes);
        rest = &rest[6 + header.length as usize..];
        assert_eq!(value.is_last, rest.is_empty());
        count += 1;
    }
    assert_eq!((whole, count), (set.to_vec(), 4));
    assert_eq!(pdu::command(1, &set, 0).len(), 6 + 6 + 200);
}

proptest! {
    #[test]
    fn what_a_stranger_sends_never_panics_and_is_answered_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in 6_usize..170,
    ) {
        let mut changed = request("MARTELLO", "TESTER", &[(1, CT, &[EXPLICIT])]);
        changed.splice(at..at, bytes.iter().copied().take(5));
        let mut message = data(1, 3, &store(CT, "1.2.3"));
        let at = at.min(message.len());
        message.splice(at..at, bytes.iter().copied().take(5));
        for body in [&bytes[..], &changed[6..], &message[6..]] {
            fuzz::fuzz_dimse(body);
        }
    }
}

#[test]
fn a_refused_context_still_has_a_syntax_item() {
    let refused = pdu::associate_accept(&[b' '; 32], b"1.2", &[(1, Verdict::AbstractSyntax)], 1, ("1", "A"));
    assert!(refused.windows(12).any(|window| window == [0x21, 0, 0, 8, 1, 0, 3, 0, 0x40, 0, 0, 0]));
}
