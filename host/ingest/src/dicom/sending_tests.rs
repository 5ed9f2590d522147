//! A queue, and a peer on loopback: our own door, or one that says what it likes. Peers that others wrote are in
//! `tests/e2e/sending.rs`.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::bytes::Bytes;
use super::command::Request;
use super::pdu::{Acceptance, AssociateRequest, Kind, Verdict};
use super::tests::{CT, Door, EXPLICIT, LONG, Peer, object, pdu, request, settings};
use super::*;
use crate::queue::{Kept, QueueLimits};
use crate::send::{Retry, Sender};
use crate::tls::tests::Authority;
use crate::{Queue, Spool, SpoolLimits, TlsClient, TlsServer};

const MPEG2: &str = "1.2.840.10008.1.2.4.100";

/// A queue that is delivered to an address.
struct Outlet {
    folder: tempfile::TempDir,
    queue: Arc<Queue>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn peer(address: std::net::SocketAddr) -> DicomPeer {
    let address = DicomAddress {
        title: "MARTELLO".parse().unwrap(),
        host: address.ip().to_string(),
        port: address.port(),
        encryption: Encryption::Plain,
    };
    let patience = SendingPatience { linger: Duration::from_millis(50), ..SendingPatience::default() };
    DicomPeer { address, calling: "SENDER".parse().unwrap(), tls: None, patience }
}

fn file(class: &str, instance: &str, syntax: &str, rest: usize) -> Vec<u8> {
    let uid = |text: &str| names::Uid::from_wire(text.as_bytes()).unwrap();
    let mut bytes = part10::head(&uid(class), &uid(instance), &uid(syntax));
    bytes.extend(object(class, instance, rest));
    bytes
}

impl Outlet {
    fn new(peer: DicomPeer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(&folder.path().join("queue"), QueueLimits::default()).unwrap();
        let stop = Arc::<AtomicBool>::default();
        let retry = Retry { first: Duration::from_millis(20), longest: Duration::from_millis(100) };
        let sender = Sender { queue: Arc::clone(&queue), peer, retry };
        let stopped = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || sender.deliver(&stopped)));
        Self { folder, queue, stop, thread }
    }

    fn put(&self, bytes: &[u8]) {
        let path = self.folder.path().join("file");
        fs::write(&path, bytes).unwrap();
        let opened = fs::File::open(&path).unwrap();
        self.queue.put(&opened, martello_vocab::Digest::of(bytes), bytes.len() as u64).unwrap();
        fs::remove_file(path).unwrap();
    }

    /// Waits until so many are delivered and so many are kept, and nothing waits.
    fn settled(&self, delivered: u64, kept: u64) {
        let begun = Instant::now();
        loop {
            let state = self.queue.state_now();
            if (state.waiting, state.delivered, state.kept) == (0, delivered, kept) {
                return;
            }
            assert!(begun.elapsed() < LONG, "{state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the peer has taken nothing this many times.
    fn failed(&self, times: u64) {
        let begun = Instant::now();
        while self.queue.failures() < times {
            assert!(begun.elapsed() < LONG, "{} failures", self.queue.failures());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("queue/kept")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut endings: Vec<_> = names.map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
        endings.sort();
        endings
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue.close();
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok());
    }
}

/// What a scripted peer does with an object.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer(u16),
    Abort,
    HangUp,
    /// Says something that is no answer.
    Nonsense,
}

/// A peer that takes every context it is offered, and does with each object what the script says, then stores.
struct Scripted {
    address: std::net::SocketAddr,
    /// The instances that it was sent whole, in order.
    sent: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn open(script: Vec<Act>) -> Self {
        let mut script = script.into_iter();
        Self::that_does(move |_| script.next().unwrap_or(Act::Answer(0)))
    }

    /// One that looks at the instance first.
    fn that_does(mut act: impl FnMut(&str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&sent);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                Self::associate(&mut Peer(stream), &mut act, &kept);
            }
        });
        Self { address, sent }
    }

    fn associate(peer: &mut Peer, act: &mut impl FnMut(&str) -> Act, sent: &Mutex<Vec<String>>) {
        let Some((Kind::AssociateRequest, body)) = peer.pdu() else { return };
        let asked = AssociateRequest::read(&body).unwrap();
        let verdicts: Vec<_> = asked
            .contexts
            .iter()
            .map(|context| (context.id, Verdict::Accepted(context.transfer_syntaxes[0].clone())))
            .collect();
        let accept = pdu::associate_accept(&asked.titles, b"1.2", &verdicts, 16384, ("1.2", "TEST"));
        peer.send(&accept);
        let mut exchange = exchange::Exchange::default();
        let mut asked = None;
        while let Some((kind, body)) = peer.pdu() {
            if kind == Kind::ReleaseRequest {
                peer.send(&pdu(6, &[0; 4]));
                return;
            }
            if kind == Kind::Abort {
                return;
            }
            assert_eq!(kind, Kind::Data);
            assert!(body.len() <= 16384, "a PDU is longer than this peer takes");
            let mut values = Bytes(&body);
            while !values.is_empty() {
                let value = pdu::data_value(&mut values).unwrap();
                match exchange.take(&value).unwrap() {
                    exchange::Step::Request(context, request) => asked = Some((context, request)),
                    exchange::Step::LastPiece(_) => {
                        let (context, request) = asked.take().unwrap();
                        let instance = request.instance().unwrap().as_str();
                        sent.lock().unwrap().push(instance.to_owned());
                        match act(instance) {
                            Act::Answer(status) => peer.send(&answer(context, &request, status)),
                            Act::Abort => return peer.send(&pdu(7, &[0; 4])),
                            Act::HangUp => return,
                            Act::Nonsense => return peer.send(b"\x04\0\0\0\0\x02ab"),
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

fn answer(context: u8, request: &Request, status: u16) -> Vec<u8> {
    let mut set = request.response(command::Status::Success);
    let at = set.windows(8).position(|window| window == [0, 0, 0, 9, 2, 0, 0, 0]).unwrap() + 8;
    set[at..at + 2].copy_from_slice(&status.to_le_bytes());
    pdu::command(context, &set, 0)
}

#[test]
fn what_is_queued_arrives_as_it_was_in_one_association_for_each_kind() {
    let door = Door::usual();
    let outlet = Outlet::new(peer(door.address));
    let files = [
        file(CT, "1.2.1", EXPLICIT, 10),
        file(CT, "1.2.2", EXPLICIT, 300_001),
        file("1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.840.10008.1.2.4.70", 65_536),
        file(CT, "1.2.4", "1.2.840.10008.1.2.4.91", 3),
    ];
    files.iter().for_each(|bytes| outlet.put(bytes));
    outlet.settled(4, 0);
    let (mut objects, mut files) = (door.objects(), files.to_vec());
    objects.sort();
    files.sort();
    assert!(objects == files, "what arrived is not what was queued");
}

#[test]
fn what_the_peer_takes_in_no_encoding_is_kept_and_the_rest_arrives() {
    let door = Door::usual();
    let outlet = Outlet::new(peer(door.address));
    outlet.put(&file(CT, "1.2.1", MPEG2, 10));
    outlet.put(&file("1.2.840.10008.5.1.4.1.2.2.1", "1.2.2", EXPLICIT, 10));
    outlet.put(&file(CT, "1.2.3", EXPLICIT, 10));
    outlet.put(b"no DICOM file");
    outlet.settled(1, 3);
    assert_eq!(outlet.kept(), ["not-accepted.dcm", "not-accepted.dcm", "not-sendable.dcm"]);
    assert_eq!(door.objects().len(), 1);
}

#[test]
fn an_answer_decides_what_becomes_of_an_object() {
    // What each object is answered the first time: when it comes depends on how fast the queue fills.
    let mut first = std::collections::BTreeMap::from([
        ("1.2.1", 0xB000),
        ("1.2.2", 0xA700),
        ("1.2.3", 0xB007),
        ("1.2.4", 0xC123),
        ("1.2.5", 0x0122),
        ("1.2.6", 0x0107),
        ("1.2.7", 0xA900),
        ("1.2.8", 0x0110),
    ]);
    let scripted = Scripted::that_does(move |instance| Act::Answer(first.remove(instance).unwrap_or(0)));
    let outlet = Outlet::new(peer(scripted.address));
    for number in 1..=8 {
        outlet.put(&file(CT, &format!("1.2.{number}"), EXPLICIT, 40_000));
    }
    // Warnings are stored; the one for which there was no room, and the one at which the peer failed, are sent again later;
    // the others are refused for good.
    outlet.settled(5, 3);
    let endings = ["0122", "A900", "C123"].map(|status| format!("refused-by-peer.{status}.dcm"));
    assert_eq!(outlet.kept(), endings);
    let sent = scripted.sent();
    for number in 1..=8 {
        let times = sent.iter().filter(|instance| **instance == format!("1.2.{number}")).count();
        assert_eq!(times, if [2, 8].contains(&number) { 2 } else { 1 }, "{sent:?}");
    }
    assert_eq!(sent[0], "1.2.1");
}

#[test]
fn an_association_that_breaks_loses_no_object_and_lets_the_others_by() {
    let scripted =
        Scripted::open(vec![Act::Abort, Act::Answer(0), Act::HangUp, Act::Nonsense, Act::Answer(0)]);
    let outlet = Outlet::new(peer(scripted.address));
    for number in 1..=4 {
        outlet.put(&file(CT, &format!("1.2.{number}"), EXPLICIT, 10));
    }
    outlet.settled(4, 0);
    let sent = scripted.sent();
    assert_eq!(sent.len(), 7, "{sent:?}");
    for number in 1..=4 {
        assert!(sent.contains(&format!("1.2.{number}")), "{sent:?}");
    }
}

#[test]
fn an_object_that_the_peer_cannot_stand_waits_and_lets_the_others_by() {
    let scripted =
        Scripted::that_does(|instance| if instance == "1.2.1" { Act::Abort } else { Act::Answer(0) });
    let outlet = Outlet::new(peer(scripted.address));
    for number in 1..=4 {
        outlet.put(&file(CT, &format!("1.2.{number}"), EXPLICIT, 10));
    }
    let begun = Instant::now();
    while outlet.queue.state_now().delivered < 3 {
        assert!(begun.elapsed() < LONG, "{:?}", scripted.sent());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((outlet.queue.state_now().waiting, outlet.queue.state_now().kept), (1, 0));
}

#[test]
fn a_peer_that_is_down_gets_everything_when_it_is_up_again() {
    // Bound and never listened on: nobody answers, and nobody else is given the port meanwhile.
    let held = {
        use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&held, true).unwrap();
        bind(&held, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        TcpListener::from(held)
    };
    let address = held.local_addr().unwrap();
    let outlet = Outlet::new(peer(address));
    outlet.put(&file(CT, "1.2.1", EXPLICIT, 10));
    outlet.put(&file(CT, "1.2.2", EXPLICIT, 10));
    outlet.failed(2);
    assert_eq!(outlet.queue.state_now().waiting, 2);
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), SpoolLimits::default()).unwrap();
    let listener = DicomListener::bind(address, settings(), Arc::clone(&spool)).unwrap();
    let stop = Arc::<AtomicBool>::default();
    std::thread::scope(|scope| {
        scope.spawn(|| listener.serve(&stop));
        outlet.settled(2, 0);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn who_is_refused_by_title_goes_on_trying_and_keeps_what_it_has() {
    let nobody = Callers::Listed(std::collections::BTreeSet::new());
    let door = Door::open(DicomSettings { callers: nobody, ..settings() }, SpoolLimits::default());
    let outlet = Outlet::new(peer(door.address));
    outlet.put(&file(CT, "1.2.1", EXPLICIT, 10));
    outlet.failed(3);
    assert_eq!((outlet.queue.state_now().waiting, outlet.queue.state_now().kept), (1, 0));
    assert!(door.objects().is_empty());
}

#[test]
fn a_file_that_was_changed_is_never_sent_whole() {
    let scripted = Scripted::open(Vec::new());
    let outlet = Outlet::new(peer(scripted.address));
    let bytes = file(CT, "1.2.1", EXPLICIT, 400_000);
    let path = outlet.folder.path().join("file");
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    let opened = fs::File::open(&path).unwrap();
    outlet.queue.put(&opened, martello_vocab::Digest::of(&bytes), bytes.len() as u64).unwrap();
    outlet.put(&file(CT, "1.2.2", EXPLICIT, 10));
    outlet.settled(1, 1);
    assert_eq!(outlet.kept(), ["changed.dcm"]);
    assert_eq!(scripted.sent(), ["1.2.2"]);
}

#[test]
fn what_was_kept_is_sent_when_it_is_taken_up_again() {
    let scripted = Scripted::open(vec![Act::Answer(0xC000)]);
    let outlet = Outlet::new(peer(scripted.address));
    outlet.put(&file(CT, "1.2.1", EXPLICIT, 10));
    outlet.settled(0, 1);
    assert_eq!(outlet.queue.take_up_again().unwrap(), 1);
    outlet.settled(1, 0);
    assert_eq!(Kept::Refused(0xC000).code(), "refused-by-peer");
}

/// A peer as [`peer`] has it, under TLS.
fn under_tls(address: std::net::SocketAddr, tls: TlsClient) -> DicomPeer {
    let mut peer = peer(address);
    peer.address.encryption = Encryption::Tls;
    "localhost".clone_into(&mut peer.address.host);
    DicomPeer { tls: Some(tls), ..peer }
}

#[test]
fn objects_go_over_tls_between_peers_that_know_each_other() {
    let authority = Authority::new();
    let server = TlsServer::load(&authority.issue("localhost"), Some(&authority.file())).unwrap();
    let door = Door::open(DicomSettings { tls: Some(server), ..settings() }, SpoolLimits::default());
    let client = TlsClient::load(&authority.file(), Some(&authority.issue("sender"))).unwrap();
    let outlet = Outlet::new(under_tls(door.address, client));
    let bytes = file(CT, "1.2.1", EXPLICIT, 3_000_000);
    outlet.put(&bytes);
    outlet.settled(1, 0);
    assert!(door.objects() == [bytes]);
}

#[test]
fn silence_on_a_port_under_tls_keeps_nobody_out() {
    let authority = Authority::new();
    let server = TlsServer::load(&authority.issue("localhost"), None).unwrap();
    let associations = std::num::NonZero::new(1).unwrap();
    let patience = Patience { artim: 3 * LONG, ..Patience::default() };
    let settings = DicomSettings { tls: Some(server), associations, patience, ..settings() };
    let door = Door::open(settings, SpoolLimits::default());
    let _silent: Vec<_> = (0..24).map(|_| door.peer()).collect();
    let client = TlsClient::load(&authority.file(), None).unwrap();
    let outlet = Outlet::new(under_tls(door.address, client));
    outlet.put(&file(CT, "1.2.1", EXPLICIT, 10));
    outlet.settled(1, 0);
}

#[test]
fn peers_that_do_not_know_each_other_exchange_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = |name: &str| TlsServer::load(&authority.issue(name), Some(&authority.file())).unwrap();
    let door = |tls| Door::open(DicomSettings { tls, ..settings() }, SpoolLimits::default());
    let (strict, elsewhere, plain) =
        (door(Some(server("localhost"))), door(Some(server("elsewhere"))), door(None));
    let (known, unknown) = (authority.issue("sender"), stranger.issue("sender"));
    let client = |authority: &Authority, identity| TlsClient::load(&authority.file(), identity).unwrap();
    let patience = SendingPatience { associating: Duration::from_millis(500), ..SendingPatience::default() };
    let cases = [
        ("shows no certificate", under_tls(strict.address, client(&authority, None))),
        ("shows one of a stranger", under_tls(strict.address, client(&authority, Some(&unknown)))),
        ("does not trust the door", under_tls(strict.address, client(&stranger, Some(&known)))),
        ("asked for another host", under_tls(elsewhere.address, client(&authority, Some(&known)))),
        ("speaks no TLS", peer(strict.address)),
        ("meets no TLS", under_tls(plain.address, client(&authority, Some(&known)))),
        ("has no authority", DicomPeer { tls: None, ..under_tls(plain.address, client(&authority, None)) }),
    ];
    for (who, peer) in cases {
        let outlet = Outlet::new(DicomPeer { patience, ..peer });
        outlet.put(&file(CT, "1.2.1", EXPLICIT, 10));
        outlet.failed(2);
        assert_eq!(outlet.queue.state_now().waiting, 1, "{who}");
        drop(outlet);
        for door in [&strict, &elsewhere, &plain] {
            assert!(door.objects().is_empty(), "{who}");
        }
    }
}

#[test]
fn a_peer_that_drips_into_a_handshake_or_a_record_loses_its_place() {
    let authority = Authority::new();
    let server = TlsServer::load(&authority.issue("localhost"), None).unwrap();
    let short = Duration::from_millis(400);
    let patience = Patience { artim: short, idle: short, pdu: short, ..Patience::default() };
    let door =
        Door::open(DicomSettings { tls: Some(server), patience, ..settings() }, SpoolLimits::default());
    // The head of a record of 16 KiB, and a byte of it now and then.
    let mut peer = door.peer();
    peer.send(&[22, 3, 1, 0x40, 0]);
    let begun = Instant::now();
    while begun.elapsed() < LONG && peer.0.write_all(&[1]).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() < LONG / 2, "a handshake without an end holds its place");
}

proptest! {
    #[test]
    fn what_a_peer_answers_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..200,
    ) {
        let syntax = names::Uid::from_wire(EXPLICIT.as_bytes()).unwrap();
        let verdicts = [(1, Verdict::Accepted(syntax)), (3, Verdict::TransferSyntaxes)];
        let accept = pdu::associate_accept(&[b' '; 32], b"1.2", &verdicts, 16384, ("1.2", "TEST"));
        let mut changed = accept.get(6..).unwrap().to_vec();
        prop_assert_eq!(Acceptance::read(&changed).unwrap().contexts.len(), 1);
        let at = at.min(changed.len());
        changed.splice(at..at, bytes.iter().copied().take(5));
        for body in [&bytes, &changed] {
            let _ = Acceptance::read(body);
            let _ = pdu::Rejected::read(body).map(|rejected| rejected.to_string());
        }
    }
}

#[test]
fn a_request_of_ours_is_read_as_it_was_meant() {
    let uid = |text: &str| names::Uid::from_wire(text.as_bytes()).unwrap();
    let (class, syntax) = (uid(CT), uid(EXPLICIT));
    let ours = pdu::associate_request(
        &"MARTELLO".parse().unwrap(),
        &"TESTER".parse().unwrap(),
        negotiation::APPLICATION_CONTEXT,
        &[(1, &class, &syntax)],
        16384,
        ("1.2", "TEST"),
    );
    let theirs = request("MARTELLO", "TESTER", &[(1, CT, &[EXPLICIT])]);
    let read = |bytes: &[u8]| AssociateRequest::read(&bytes[6..]).unwrap();
    assert_eq!(read(&ours), read(&theirs));
}
