//! How slowly a client may send the body of a request, and take an answer, while an instance is held for it.
//!
//! Only the time counts in which somebody waits for the client: a guest that reads slowly is no fault of its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::instances::Instances;

/// How often is looked whether others wait by now.
const LOOK: Duration = Duration::from_millis(250);

/// How slow a client may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long it may let others wait at a time, and beyond what the rate allows.
    pub grace: Duration,
    /// The rate that it must keep up, in bytes a second.
    pub rate: u64,
}

impl Patience {
    /// While no other request waits for an instance: a link of another century, and a pause of some seconds.
    pub(super) const USUAL: Self = Self { grace: Duration::from_secs(5), rate: 1 << 10 };
    /// While others wait.
    pub(super) const HURRIED: Self = Self { grace: Duration::from_secs(1), rate: 64 << 10 };

    fn is_over(self, waited: Duration, before: Duration, bytes: u64) -> bool {
        let earned = bytes.checked_div(self.rate).map_or(Duration::MAX, Duration::from_secs);
        waited > self.grace || before.saturating_add(waited) > self.grace.saturating_add(earned)
    }
}

/// What a client has had of patience.
pub(super) struct Pace {
    usual: Patience,
    instances: Arc<Instances>,
    bytes: u64,
    /// Time that it took in waits that are over.
    before: Duration,
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) const fn new(usual: Patience, instances: Arc<Instances>) -> Self {
        Self { usual, instances, bytes: 0, before: Duration::ZERO, since: None, alarm: None }
    }

    /// The client sent or took so much.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.before = self.before.saturating_add(since.elapsed());
        }
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        (self.bytes, self.before, self.since) = (0, Duration::ZERO, None);
    }

    /// Completes when the client has let others wait for too long.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        loop {
            let now = Instant::now();
            let waited = now.saturating_duration_since(since);
            let hurried = self.instances.are_wanted();
            let over = |patience: Patience| patience.is_over(waited, self.before, self.bytes);
            if over(self.usual) || hurried && over(Patience::HURRIED) {
                return Poll::Ready(());
            }
            let look = now.checked_add(LOOK).unwrap_or(now);
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(look)));
            if alarm.is_elapsed() || alarm.deadline() < now {
                alarm.as_mut().reset(look);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// The client sent a body too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request came too slowly")]
pub(super) struct TooSlow;

/// The body of a request, which ends with [`TooSlow`] where the client is.
pub(super) struct Paced<B> {
    body: B,
    pace: Pace,
    given_up: Arc<Notify>,
}

impl<B> Paced<B> {
    /// `given_up` is told when the client was too slow.
    pub(super) const fn new(body: B, pace: Pace, given_up: Arc<Notify>) -> Self {
        Self { body, pace, given_up }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                self.pace.moved(bytes.map_or(0, Bytes::len));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => self.pace.poll_over(context).map(|()| {
                self.given_up.notify_one();
                Some(Err(TooSlow.into()))
            }),
        }
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

    #[test]
    fn a_client_is_over_its_time_when_it_pauses_or_is_slow_on_the_whole() {
        let patience = Patience { grace: Duration::from_secs(5), rate: 1000 };
        let seconds = Duration::from_secs;
        let cases = [
            (seconds(5), seconds(0), 0, false),
            (seconds(6), seconds(0), 0, true),
            // What it sent early is no credit for a pause.
            (seconds(6), seconds(0), 1_000_000, true),
            (seconds(1), seconds(5), 0, true),
            (seconds(1), seconds(5), 1000, false),
            (seconds(1), seconds(100), 95_000, true),
            (seconds(1), seconds(100), 96_000, false),
        ];
        for (waited, before, bytes, over) in cases {
            assert_eq!(patience.is_over(waited, before, bytes), over, "{waited:?} {before:?} {bytes}");
        }
        let endless = Patience { grace: seconds(5), rate: 0 };
        assert!(!endless.is_over(seconds(1), seconds(100), 0));
    }
}
