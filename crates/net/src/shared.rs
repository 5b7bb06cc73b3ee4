//! What the handles of a node and its task share, beside the queue of requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_core::Peer;
use hedgerow_record::CipherSuite;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::hop_queue::HopReporter;
use crate::hops::QueuedMessage;
use crate::inside::Inside;
use crate::leg_stream::StreamKey;
use crate::legs::QueuedStream;
use crate::path::Remote;
use crate::statistics::Counters;
use crate::{Credentials, InnerSession, RequestFailure, RequestMessage, ResponseMessage};

/// A request's own number, never given twice by one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestKey(pub(crate) u64);

/// What the handles of a node and its task share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) signals: Signals,
    pub(crate) counters: Counters,
}

/// Signals that must get through however full the queue is.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Requests that nobody waits for any more: each at most once, so that the number of requests
    /// bounds it.
    abandoned: Mutex<Vec<RequestKey>>,
    /// Streams to be looked after: each at most once, so that their number bounds it.
    streams: Mutex<Vec<StreamKey>>,
    is_stopping: AtomicBool,
    wake: Notify,
}

impl Signals {
    /// Says that nobody waits for a request any more.
    pub(crate) fn abandon(&self, key: RequestKey) {
        let mut abandoned = self
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        abandoned.push(key);
        drop(abandoned);
        self.wake.notify_one();
    }

    pub(crate) fn take_abandoned(&self) -> Vec<RequestKey> {
        let mut abandoned = self
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        core::mem::take(&mut *abandoned)
    }

    /// Says that a stream's handle has done something.
    pub(crate) fn note_stream(&self, key: StreamKey) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(key);
        drop(streams);
        self.wake.notify_one();
    }

    pub(crate) fn take_streams(&self) -> Vec<StreamKey> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        core::mem::take(&mut *streams)
    }

    /// Asks the task to shut down.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Waits until something was abandoned or the node is to stop.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// Tells the task when whoever waits for a response gives up.
pub(crate) struct AbandonOnDrop<'a> {
    pub(crate) signals: &'a Signals,
    pub(crate) key: Option<RequestKey>,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.signals.abandon(key);
        }
    }
}

/// What a handle asks the task for.
pub(crate) enum Command {
    Request(Box<QueuedRequest>),
    OpenStream(Box<QueuedStream>),
    HopEvents(HopReporter),
    BeginHop {
        remote: Remote,
        credentials: Option<Arc<Credentials>>,
    },
    Forward(QueuedMessage),
    Disconnect {
        target: Remote,
        done: oneshot::Sender<bool>,
    },
    InnerSession {
        remote: Remote,
        answer: oneshot::Sender<Option<InnerSession>>,
    },
    Session {
        remote: Remote,
        answer: oneshot::Sender<Option<(CipherSuite, Peer)>>,
    },
}

/// A request on its way to the task.
pub(crate) struct QueuedRequest {
    pub(crate) remote: Remote,
    pub(crate) credentials: Option<Arc<Credentials>>,
    /// Whom it is for inside the session with `remote`, if it isn't for that.
    pub(crate) inside: Option<Inside>,
    pub(crate) message: RequestMessage,
    pub(crate) waiting: Waiting,
}

/// Who waits for a response, with the place that the request takes up until it ends.
pub(crate) struct Waiting {
    pub(crate) key: RequestKey,
    pub(crate) answer: oneshot::Sender<Result<ResponseMessage, RequestFailure>>,
    pub(crate) place: OwnedSemaphorePermit,
}

impl Waiting {
    pub(crate) fn end(self, outcome: Result<ResponseMessage, RequestFailure>) {
        // The place is free before its owner learns of the end and asks for the next.
        drop(self.place);
        // Whoever has stopped waiting needs no answer.
        let _ = self.answer.send(outcome);
    }
}
