//! What a connection is kept for: requests under way, and answers that wait for their reader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What goes on at a connection.
///
/// Requests count and bytes don't: a client that only sends PING (RFC 9113 §6.7) moves bytes for
/// ever and asks for nothing.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
    began: Instant,
    end: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that have no answer yet.
    asked: usize,
    /// Since when each answer waits to be read, in the order of both numbers and times.
    answers: BTreeMap<u64, Instant>,
    next_answer: u64,
    /// When the last request ended.
    still_since: Instant,
    has_asked: bool,
}

/// Why a connection isn't worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nothing has been asked for too long.
    Request,
    /// An answer has waited for its reader for too long.
    Reader,
}

/// Waits until too little has happened for too long. `due` says when that is and what to call it; it is asked again
/// once that time has come, and when `changed` tells that it may be another one.
pub(crate) async fn overdue<E>(due: impl Fn() -> (Instant, E), changed: &Notify) -> E {
    loop {
        let (at, end) = due();
        if at <= Instant::now() {
            return end;
        }
        tokio::select! {
            () = sleep_until(at) => {}
            () = changed.notified() => {}
        }
    }
}

impl Activity {
    /// Begins with a connection that has just been made.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            end: Notify::new(),
            state: Mutex::new(State {
                asked: 0,
                answers: BTreeMap::new(),
                next_answer: 0,
                still_since: now,
                has_asked: false,
            }),
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> RequestGuard {
        let mut state = self.lock();
        state.asked = state.asked.saturating_add(1);
        let is_first = !core::mem::replace(&mut state.has_asked, true);
        RequestGuard {
            activity: Arc::clone(self),
            answer: None,
            is_fresh: is_first && self.began.elapsed() <= RECENT,
        }
    }

    /// Waits until no request has been under way for `request`, or an answer hasn't been read for
    /// `reader`. The time without a request then begins anew.
    pub(crate) async fn overdue(&self, request: Duration, reader: Duration) -> Overdue {
        loop {
            match self.check(Instant::now(), request, reader) {
                Ok(next) => sleep_until(next).await,
                Err(overdue) => return overdue,
            }
        }
    }

    /// Says when to look again. Whatever begins in between ends later than that.
    fn check(&self, now: Instant, request: Duration, reader: Duration) -> Result<Instant, Overdue> {
        let mut state = self.lock();
        let oldest = state.answers.values().next();
        let unread = oldest.map_or(now, |since| *since) + reader;
        if unread <= now {
            return Err(Overdue::Reader);
        }
        let is_still = state.asked == 0 && state.answers.is_empty();
        let still = if is_still { state.still_since } else { now } + request;
        if still <= now {
            state.still_since = now;
            return Err(Overdue::Request);
        }
        Ok(unread.min(still))
    }

    /// Waits until a request has ended the connection.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    /// Lets the time without a request begin anew.
    pub(crate) fn begin_anew(&self) {
        self.lock().still_since = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer has been read.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    activity: Arc<Activity>,
    /// The answer's number, once there is one.
    answer: Option<u64>,
    is_fresh: bool,
}

impl RequestGuard {
    /// Says whether this is the first request on a connection that has just been made.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Lets nothing more be asked over the connection.
    pub(crate) fn end_connection(&self) {
        self.activity.end.notify_one();
    }

    /// Notes that from now on the client is waited for.
    pub(crate) fn answered(mut self) -> Self {
        let mut state = self.activity.lock();
        let number = state.next_answer;
        state.next_answer = number.saturating_add(1);
        state.asked = state.asked.saturating_sub(1);
        state.answers.insert(number, Instant::now());
        drop(state);
        self.answer = Some(number);
        self
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        match self.answer {
            Some(number) => drop(state.answers.remove(&number)),
            None => state.asked = state.asked.saturating_sub(1),
        }
        state.still_since = Instant::now();
    }
}

/// Lets a body own what its memory was taken from. That is given back once the last byte has been
/// written out or nobody will ever read it: hyper and h2 queue these very bytes, and copy none.
pub(crate) fn hold(body: Bytes, place: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Held {
        body,
        _place: place,
    })
}

struct Held<P> {
    body: Bytes,
    _place: P,
}

impl<P> AsRef<[u8]> for Held<P> {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// How long a connection counts as just made. RFC 9175 §2.3 asks for a recent one and names no time.
const RECENT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Duration = Duration::from_secs(15);
    const READER: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn connection_is_overdue_without_requests_and_without_readers() {
        let activity = Arc::new(Activity::new());
        let overdue = || activity.overdue(REQUEST, READER);
        let start = Instant::now();
        assert_eq!(overdue().await, Overdue::Request);
        assert_eq!(start.elapsed(), REQUEST);
        // Anew, not at once.
        assert_eq!(overdue().await, Overdue::Request);
        assert_eq!(start.elapsed(), 2 * REQUEST);

        let guard = activity.request();
        tokio::time::timeout(Duration::from_secs(3_600), overdue())
            .await
            .unwrap_err();
        let (start, guard) = (Instant::now(), guard.answered());
        assert_eq!(overdue().await, Overdue::Reader);
        assert_eq!(start.elapsed(), READER);
        let start = Instant::now();
        drop(guard);
        assert_eq!(overdue().await, Overdue::Request);
        assert_eq!(start.elapsed(), REQUEST);
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_answer_counts_whatever_comes_after_it() {
        let activity = Arc::new(Activity::new());
        let start = Instant::now();
        let _unread = activity.request().answered();
        let other = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(activity.request().answered());
            }
        };
        tokio::select! {
            () = other => {}
            overdue = activity.overdue(REQUEST, READER) => assert_eq!(overdue, Overdue::Reader),
        }
        assert_eq!(start.elapsed(), READER);
    }

    #[test]
    fn place_lives_as_long_as_the_last_byte() {
        let place = Arc::new(());
        let mut body = hold(Bytes::from_static(b"abc"), Arc::clone(&place));
        let first = body.split_to(1);
        drop(body);
        assert_eq!((&*first, Arc::strong_count(&place)), (b"a".as_slice(), 2));
        drop(first);
        assert_eq!(Arc::strong_count(&place), 1);
    }
}
