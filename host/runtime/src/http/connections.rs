//! The open connections: how many there may be, how many of one peer, and which of them makes room.
//!
//! A connection on which nothing is answered (it rests, or its client has not completed the head of a request) costs its
//! client nothing. So it must never keep out one that asks for something: where all places are taken, the one that has
//! waited longest is closed, and where none waits, the one whose client has taken longest to send the body of a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use wasmtime_wasi_http::WasiBody;

/// All connections of a server.
pub(super) struct Connections {
    most: usize,
    most_of_peer: usize,
    begun: Instant,
    open: Mutex<Open>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Arc<Connection>>,
    of_peer: HashMap<IpAddr, usize>,
}

/// A connection.
pub(super) struct Connection {
    peer: IpAddr,
    /// Since when it waits for a request, in nanoseconds of the server's life; [`AT_WORK`] while one is answered.
    waiting: AtomicU64,
    /// Since when the body of a request is received; [`NOTHING`] where none is under way.
    receiving: AtomicU64,
    closed: Notify,
}

const AT_WORK: u64 = u64::MAX;
const NOTHING: u64 = u64::MAX;

/// How long a client may take for the body of a request before its place is given away where there is no other.
const BODY_GRACE: Duration = Duration::from_secs(1);

/// The place of a connection; dropping it gives the place to another.
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

/// Why a connection gets no place.
pub(super) enum NoPlace {
    /// Its peer has as many as it may, and answers are made on all of them.
    OfPeer,
    /// Answers are made on all that there are. There will be a place when one ends.
    AtAll,
}

impl Connections {
    pub(super) fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            most_of_peer: most_of_peer.max(1),
            begun: Instant::now(),
            open: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// A place for a connection of this peer. Where there is none, one that waits is closed for it: of the peer itself,
    /// where it has as many as it may, else of anybody.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr) -> Result<Place, NoPlace> {
        let peer = network(peer);
        let now = self.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.of_peer.get(&peer).is_some_and(|&count| count >= self.most_of_peer) {
            open.close_one(now, |connection| connection.peer == peer).ok_or(NoPlace::OfPeer)?;
        }
        if open.all.len() >= self.most {
            open.close_one(now, |_| true).ok_or(NoPlace::AtAll)?;
        }
        let connection = Arc::new(Connection {
            peer,
            waiting: AtomicU64::new(now),
            receiving: AtomicU64::new(NOTHING),
            closed: Notify::new(),
        });
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        open.all.insert(number, Arc::clone(&connection));
        let count = open.of_peer.entry(peer).or_default();
        *count = count.saturating_add(1);
        Ok(Place { connections: Arc::clone(self), number, connection })
    }

    /// Waits until a connection has ended.
    pub(super) async fn one_ends(&self) {
        self.ended.notified().await;
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(AT_WORK).min(AT_WORK.saturating_sub(1))
    }

    fn remove(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
        self.ended.notify_one();
    }
}

impl Open {
    /// Closes the connection among these that has waited longest, or else received longest. None where there is none.
    fn close_one(&mut self, now: u64, among: impl Fn(&Connection) -> bool) -> Option<()> {
        let oldest = |since: fn(&Connection) -> &AtomicU64, latest: u64| {
            let those = self.all.iter().filter(|(_, connection)| among(connection));
            let since = those.map(|(&number, connection)| (since(connection).load(Ordering::SeqCst), number));
            since.filter(|&(since, _)| since <= latest).min()
        };
        let grace = u64::try_from(BODY_GRACE.as_nanos()).unwrap_or(u64::MAX);
        let waits = oldest(|it| &it.waiting, AT_WORK.saturating_sub(1));
        let receives = || now.checked_sub(grace).and_then(|latest| oldest(|it| &it.receiving, latest));
        let (_, number) = waits.or_else(receives)?;
        let connection = self.remove(number)?;
        // Kept for whoever asks later, where the connection is not looking yet.
        connection.closed.notify_one();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&number)?;
        if let Some(count) = self.of_peer.get_mut(&connection.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_peer.remove(&connection.peer);
            }
        }
        Some(connection)
    }
}

/// Whoever has one address of IPv6 has the 2⁶⁴ beside it (RFC 4291, section 2.5.4).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

impl Place {
    /// Whose connection it is: an IPv4 address, or a network of IPv6.
    pub(super) fn peer(&self) -> IpAddr {
        self.connection.peer
    }

    /// Completes when the connection is to be closed for another.
    pub(super) async fn closed(&self) {
        self.connection.closed.notified().await;
    }

    /// The body of a request, which is under way until its end has come or it is dropped.
    pub(super) fn receiving<B: Body>(&self, body: B) -> Receiving<B> {
        if !body.is_end_stream() {
            self.connection.receiving.store(self.connections.now(), Ordering::SeqCst);
        }
        Receiving { body, connection: Arc::clone(&self.connection) }
    }

    /// Marks the connection as one on which an answer is made, until this is dropped.
    pub(super) fn at_work(&self) -> AtWork {
        self.connection.waiting.store(AT_WORK, Ordering::SeqCst);
        AtWork { connections: Arc::clone(&self.connections), connection: Arc::clone(&self.connection) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.remove(self.number);
    }
}

/// An answer is made.
pub(super) struct AtWork {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.connection.waiting.store(self.connections.now(), Ordering::SeqCst);
    }
}

/// The body of a request.
pub(super) struct Receiving<B> {
    body: B,
    connection: Arc<Connection>,
}

impl<B: Body + Unpin> Body for Receiving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.connection.receiving.store(NOTHING, Ordering::SeqCst);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Receiving<B> {
    fn drop(&mut self) {
        self.connection.receiving.store(NOTHING, Ordering::SeqCst);
    }
}

/// The body of an answer, which is at work until it is dropped.
pub(super) struct Answering {
    pub(super) body: WasiBody,
    pub(super) _at_work: AtWork,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = <WasiBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn the_connection_that_has_waited_longest_makes_room_and_none_at_work_does() {
        let connections = Connections::new(3, 2);
        let first = connections.place(peer(1)).ok().unwrap();
        let second = connections.place(peer(1)).ok().unwrap();
        let third = connections.place(peer(2)).ok().unwrap();
        let busy = first.at_work();
        // The third peer takes the place of the second connection: the first is at work, the third came later.
        let fourth = connections.place(peer(3)).ok().unwrap();
        second.closed().await;
        drop(second);
        assert_eq!(connections.open.lock().unwrap().all.len(), 3);
        let others = [third.at_work(), fourth.at_work()];
        assert!(matches!(connections.place(peer(4)), Err(NoPlace::AtAll)));
        drop(busy);
        let fifth = connections.place(peer(4)).ok().unwrap();
        first.closed().await;
        drop((others, first, third, fourth, fifth));
        connections.one_ends().await;
        let open = connections.open.lock().unwrap();
        assert!(open.all.is_empty() && open.of_peer.is_empty());
    }

    #[tokio::test]
    async fn a_peer_makes_room_for_itself_and_takes_nobody_elses_place() {
        let connections = Connections::new(100, 2);
        let other = connections.place(peer(9)).ok().unwrap();
        let first = connections.place(peer(1)).ok().unwrap();
        let second = connections.place(peer(1)).ok().unwrap();
        let third = connections.place(peer(1)).ok().unwrap();
        first.closed().await;
        let busy = [second.at_work(), third.at_work()];
        assert!(matches!(connections.place(peer(1)), Err(NoPlace::OfPeer)));
        assert!(connections.place(peer(2)).is_ok());
        drop((busy, other));
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_a_mapped_address_is_that_of_ipv4() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::9"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), peer(1));
        assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
    }
}
