//! What inner sessions of mode `itls` are resumed by once there is another outer session.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hedgerow_core::Instant;
use hedgerow_endpoint::InnerSessions;
use tokio::time::sleep_until;

use crate::clock::Clock;
use crate::credentials::SharedCredentials;

/// What the inner sessions of an Internet end can be resumed by that lost their outer session: without another
/// key agreement, and without the end-to-end key (docs/specs/itls.md, "A new outer session").
///
/// Clones are the same. A session is resumed with the device, the credentials and the demand for forward secrecy that
/// it was begun with, and with no others. It is forgotten 24 h after the ends last proved themselves by their key, and
/// once it was resumed. A device whose key is taken out of a store goes on by a session that it had before until then: whoever
/// wants it shut out at once makes another one of these. There is room for 64 devices with 16 sessions each; what is beyond isn't kept, and begins anew.
#[derive(Clone)]
pub struct ItlsSessions(Arc<Mutex<Kept>>);

struct Kept {
    /// Which the nodes have in common: the sessions' age is told by it.
    clock: Clock,
    of: BTreeMap<KeptFor, InnerSessions<SharedCredentials>>,
    /// Whether somebody sees to it that they are forgotten in time.
    is_watched: bool,
}

/// Whose sessions they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptFor {
    /// Whom the gateway is asked for.
    pub(crate) device: Vec<u8>,
    pub(crate) requires_forward_secrecy: bool,
}

impl ItlsSessions {
    /// Keeps nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            clock: Clock::start(),
            of: BTreeMap::new(),
            is_watched: false,
        })))
    }

    /// Returns the clock of whoever takes sessions and gives them back.
    pub(crate) fn clock(&self) -> Clock {
        lock(&self.0).clock
    }

    /// Takes out what there is.
    pub(crate) fn take(&self, whose: &KeptFor) -> InnerSessions<SharedCredentials> {
        lock(&self.0).of.remove(whose).unwrap_or_default()
    }

    /// Keeps sessions in the place of earlier ones. It runs within a tokio runtime.
    pub(crate) fn keep(&self, whose: KeptFor, mut sessions: InnerSessions<SharedCredentials>) {
        let mut kept = lock(&self.0);
        if sessions.expire(kept.clock.now()).is_none() {
            return;
        }
        // Nobody's place is taken from who has one.
        if kept.of.len() >= MAX_DEVICES && !kept.of.contains_key(&whose) {
            return;
        }
        kept.of.insert(whose, sessions);
        if !kept.is_watched {
            kept.is_watched = true;
            tokio::spawn(forget_in_time(Arc::downgrade(&self.0)));
        }
    }
}

impl Kept {
    /// Forgets what is too old, and returns when the next of it is.
    fn expire(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let mut next = None::<Instant>;
        self.of.retain(|_, sessions| {
            let due = sessions.expire(now);
            next = next.into_iter().chain(due).min();
            due.is_some()
        });
        next
    }
}

impl Default for ItlsSessions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ItlsSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ItlsSessions(..)")
    }
}

/// Ends once nothing is kept, or nobody could take it any more.
async fn forget_in_time(kept: Weak<Mutex<Kept>>) {
    loop {
        let at = {
            let Some(kept) = kept.upgrade() else {
                return;
            };
            let mut kept = lock(&kept);
            match kept.expire() {
                Some(at) => kept.clock.wake_at(at),
                None => {
                    kept.is_watched = false;
                    return;
                }
            }
        };
        sleep_until(at).await;
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Devices, each once with forward secrecy and once without.
const MAX_DEVICES: usize = 64;
