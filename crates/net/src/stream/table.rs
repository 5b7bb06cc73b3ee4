//! A client's connections, by whom they lead to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::Instant;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use hedgerow_core::ClientCredentials as _;

use crate::stream::connection::Link;
use crate::stream::requests::Queued;
use crate::{Credentials, RequestFailure, Target};

/// The connections of a client.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// The least recently used first.
    list: Vec<Entry>,
    /// Servers that want no connection until then.
    held_off: BTreeMap<SocketAddr, Instant>,
    last_id: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    address: SocketAddr,
    credentials: Option<Arc<Credentials>>,
    handle: Handle,
}

/// A way to a connection's task.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Queued>,
    pub(crate) link: Arc<Link>,
    /// Requests on their way through it.
    pending: Arc<AtomicUsize>,
}

/// A connection in use: as long as this is there, it isn't closed to make room.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) handle: Handle,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.handle.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handle {
    fn new(commands: mpsc::Sender<Queued>) -> Self {
        Self {
            commands,
            link: Arc::default(),
            pending: Arc::default(),
        }
    }

    fn in_use(&self) -> InUse {
        self.pending.fetch_add(1, Ordering::Relaxed);
        InUse {
            handle: self.clone(),
        }
    }
}

impl Entry {
    fn leads_to(&self, target: &Target) -> bool {
        let is_same = match (&self.credentials, &target.credentials) {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right) || left.is_same(right),
            (None, None) => true,
            // NoSec and a secured connection never stand in for each other.
            _ => false,
        };
        self.address == target.address && is_same && !self.handle.commands.is_closed()
    }
}

impl Entries {
    fn held_off(&self, server: SocketAddr, now: Instant) -> Option<Duration> {
        let left = self.held_off.get(&server)?.saturating_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// Tells a time that is left in seconds, rounded up.
pub(crate) fn whole_seconds(left: Duration) -> u64 {
    let is_more = left.subsec_nanos() > 0;
    left.as_secs().saturating_add(u64::from(is_more))
}

impl Table {
    /// Gives a request to the connection to its target, whose address is canonical, or to a new one,
    /// whose number and queue `open` is given. An idle connection is closed where there would be more
    /// than `max`. Queues have room for `max_requests`.
    ///
    /// Whether the server is held off is looked at again here: the connection that [`Self::held_off`] saw may have
    /// been released since.
    ///
    /// # Errors
    ///
    /// [`RequestFailure::HeldOff`], [`RequestFailure::TooManyConnections`], [`RequestFailure::TooManyRequests`],
    /// [`RequestFailure::NodeStopped`].
    pub(crate) fn submit(
        &self,
        target: &Target,
        now: Instant,
        mut queued: Queued,
        max: usize,
        max_requests: usize,
        open: impl FnOnce(u64, Arc<Link>, mpsc::Receiver<Queued>),
    ) -> Result<InUse, RequestFailure> {
        let mut entries = self.lock();
        if entries.is_closed {
            return Err(RequestFailure::NodeStopped);
        }
        let too_many = RequestFailure::TooManyRequests { max: max_requests };
        let found = entries.list.iter().position(|entry| entry.leads_to(target));
        if let Some(index) = found {
            let entry = entries.list.remove(index);
            let in_use = entry.handle.in_use();
            match entry.handle.commands.try_send(queued) {
                Ok(()) => {
                    entries.list.push(entry);
                    return Ok(in_use);
                }
                Err(TrySendError::Full(_)) => {
                    entries.list.push(entry);
                    return Err(too_many);
                }
                // It ended just now, and another one is opened.
                Err(TrySendError::Closed(back)) => queued = back,
            }
        }
        if let Some(left) = entries.held_off(target.address, now) {
            let seconds = whole_seconds(left);
            return Err(RequestFailure::HeldOff { seconds });
        }
        if entries.list.len() >= max {
            let is_idle = |entry: &Entry| entry.handle.pending.load(Ordering::Relaxed) == 0;
            let idle = entries.list.iter().position(is_idle);
            let idle = idle.ok_or(RequestFailure::TooManyConnections { max })?;
            entries.list.remove(idle).handle.link.signals.stop();
        }
        entries.last_id = entries.last_id.wrapping_add(1);
        let (sender, commands) = mpsc::channel(max_requests);
        // The request is there before the connection is: it learns how that ends.
        sender.try_send(queued).map_err(|_| too_many)?;
        let handle = Handle::new(sender);
        let in_use = handle.in_use();
        open(entries.last_id, Arc::clone(&handle.link), commands);
        let id = entries.last_id;
        entries.list.push(Entry {
            id,
            address: target.address,
            credentials: target.credentials.clone(),
            handle,
        });
        Ok(in_use)
    }

    /// Notes that a server, which has released a connection, wants no other for `seconds`. What it says
    /// while it is held off counts from then: the first word doesn't move.
    pub(crate) fn hold_off(&self, server: SocketAddr, now: Instant, seconds: u32) {
        let mut entries = self.lock();
        let held_off = &mut entries.held_off;
        held_off.retain(|_, until| *until > now);
        let asked = Duration::from_secs(seconds.into()).min(MAX_HOLD_OFF);
        if held_off.len() < MAX_HELD_OFF {
            held_off
                .entry(server)
                .or_insert_with(|| now.saturating_add(asked));
        }
    }

    /// Returns how long the server of a target wants no connection, if it does and there is none.
    pub(crate) fn held_off(&self, target: &Target, now: Instant) -> Option<Duration> {
        let entries = self.lock();
        if entries.list.iter().any(|entry| entry.leads_to(target)) {
            return None;
        }
        entries.held_off(target.address, now)
    }

    /// Forgets a connection, if it is still there: it takes no more requests.
    pub(crate) fn retire(&self, id: u64) {
        self.lock().list.retain(|entry| entry.id != id);
    }

    /// Lends what is shared with the connection to a target, if there is one.
    pub(crate) fn link(&self, target: &Target) -> Option<Arc<Link>> {
        let entries = self.lock();
        let mut list = entries.list.iter();
        let entry = list.find(|entry| entry.leads_to(target))?;
        Some(Arc::clone(&entry.handle.link))
    }

    /// Ends every connection and takes no more.
    pub(crate) fn close(&self) {
        let mut entries = self.lock();
        entries.is_closed = true;
        for entry in entries.list.drain(..) {
            entry.handle.link.signals.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest Hold-Off that is heeded. RFC 8323 §5.5.2 has up to half a year, and over TCP in clear
/// anybody on the path can say so.
const MAX_HOLD_OFF: Duration = Duration::from_secs(3_600);

/// How many servers are held off at the same time.
const MAX_HELD_OFF: usize = 1_024;

#[cfg(test)]
mod tests {
    use hedgerow_coap::Code;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::shared::{RequestKey, Waiting};

    #[test]
    fn server_that_is_held_off_since_it_was_looked_at_is_not_connected_to() {
        let table = Table::default();
        let server = SocketAddr::from(([192, 0, 2, 1], 5_683));
        let target = Target {
            address: server,
            credentials: None,
        };
        let submit = |now, open: &mut dyn FnMut(mpsc::Receiver<Queued>)| {
            let (answer, _) = oneshot::channel();
            let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let waiting = Waiting {
                key: RequestKey(0),
                answer,
                place,
            };
            let queued = Queued {
                message: Arc::new(crate::RequestMessage::new(Code::GET)),
                waiting,
            };
            let opened = table.submit(&target, now, queued, 4, 4, |_, _, commands| open(commands));
            opened.map(drop)
        };
        let now = Instant::ZERO;
        let mut connection = None;
        submit(now, &mut |commands| connection = Some(commands)).unwrap();
        // It is there, so that nobody waits; then it is released.
        assert_eq!(table.held_off(&target, now), None);
        table.hold_off(server, now, 10);
        drop(connection);
        let again = submit(now, &mut |_| panic!("connects"));
        assert!(
            matches!(again, Err(RequestFailure::HeldOff { seconds: 10 })),
            "{again:?}"
        );
        let later = now.saturating_add(Duration::from_secs(10));
        let mut is_opened = false;
        submit(later, &mut |_| is_opened = true).unwrap();
        assert!(is_opened);
    }
}
