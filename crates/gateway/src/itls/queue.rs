//! What waits for an Internet end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Messages on their way to an Internet end that reads them, or doesn't: 64 KiB with what is being written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    has_message: Notify,
    has_room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Vec<u8>>,
    /// With those that are being written.
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    /// Adds a message with its length before it; `false` if there is no room for it.
    pub(super) fn push(&self, message: &[u8]) -> bool {
        let Ok(len) = u16::try_from(message.len()) else {
            return false;
        };
        let framed = [&len.to_be_bytes(), message].concat();
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(framed.len());
        if bytes > MAX_WAITING || waiting.is_closed {
            return false;
        }
        waiting.bytes = bytes;
        waiting.messages.push_back(framed);
        drop(waiting);
        self.has_message.notify_one();
        true
    }

    /// Takes no more messages; those that wait are still written.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.has_message.notify_one();
    }

    /// Waits for what is to be written; `None` once it is closed and empty.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(message) = waiting.messages.pop_front() {
                    return Some(message);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.has_message.notified().await;
        }
    }

    /// Notes that so many bytes have been written.
    pub(super) fn written(&self, len: usize) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(len);
        drop(waiting);
        self.has_room.notify_one();
    }

    /// Waits until the other end has read so much that what it says may be answered.
    pub(super) async fn room(&self) {
        while self.lock().bytes > MAX_WAITING / 2 {
            self.has_room.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most that waits, in bytes (docs/specs/itls.md, "The gateway's part").
const MAX_WAITING: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_much_waits_as_has_room_and_what_is_being_written_counts() {
        let queue = Queue::default();
        let message = [7; 1_022];
        assert!((0..64).all(|_| queue.push(&message)));
        assert!(!queue.push(b"one more"));
        let mut taken = Vec::new();
        for _ in 0..40 {
            taken.push(queue.next().await.unwrap().len());
        }
        assert!(!queue.push(b"one more"), "nothing has been written");
        // Half of it has to be read before what that peer says is taken again.
        let mut written = 0;
        {
            let room = queue.room();
            tokio::pin!(room);
            for len in taken {
                tokio::select! {
                    biased;
                    () = &mut room => break,
                    () = std::future::ready(()) => {}
                }
                queue.written(len);
                written += 1;
            }
        }
        assert_eq!(written, 32);
        assert!(queue.push(b"one more"));
        queue.close();
        assert!(!queue.push(b"one more"));
        let mut left = 0;
        while queue.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 25);
    }
}
