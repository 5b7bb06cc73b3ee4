//! The handlers that run for requests of peers.

use std::collections::HashMap;
use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_endpoint::AssociationId;
use hedgerow_exchange::IncomingRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::warn;

use crate::{Handler, ResponseMessage, ServerRequest};

/// A request of a peer of a node, by its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) association: AssociationId,
    pub(crate) request: IncomingRequest,
}

/// The tasks that answer requests, bounded in number; `A` names a request.
pub(crate) struct Handlers<H, A> {
    handler: Arc<H>,
    places: Arc<Semaphore>,
    tasks: JoinSet<ResponseMessage>,
    asked: HashMap<Id, (A, OwnedSemaphorePermit)>,
}

/// Makes room for so many handlers, which several [`Handlers`] may share.
pub(crate) fn handler_places(max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))
}

impl<H: Handler, A> Handlers<H, A> {
    pub(crate) fn new(handler: Arc<H>, places: Arc<Semaphore>) -> Self {
        Self {
            handler,
            places,
            tasks: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Takes a place for one more handler, if there is one.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn start(&mut self, place: OwnedSemaphorePermit, asked: A, request: ServerRequest) {
        let handler = Arc::clone(&self.handler);
        let task = self
            .tasks
            .spawn(async move { handler.handle(request).await });
        self.asked.insert(task.id(), (asked, place));
    }

    /// Waits for the next handler to end, and returns its answer. Cancelling loses none.
    ///
    /// A handler that didn't end by itself is answered for with 5.00 (RFC 7252 §5.9.3.1).
    pub(crate) async fn next(&mut self) -> Option<(A, ResponseMessage)> {
        let ended = self.tasks.join_next_with_id().await?;
        self.answer(ended)
    }

    /// Returns the answer of another handler that has ended by now.
    pub(crate) fn next_ended(&mut self) -> Option<(A, ResponseMessage)> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.answer(ended)
    }

    fn answer(
        &mut self,
        ended: Result<(Id, ResponseMessage), JoinError>,
    ) -> Option<(A, ResponseMessage)> {
        let (id, response) = match ended {
            Ok((id, response)) => (id, response),
            Err(error) => {
                // The panic's message is the application's and may hold anything.
                warn!(is_panic = error.is_panic(), "handler gave no response");
                (
                    error.id(),
                    ResponseMessage::new(Code::INTERNAL_SERVER_ERROR),
                )
            }
        };
        let (asked, _) = self.asked.remove(&id)?;
        Some((asked, response))
    }

    /// Drops the handlers that run.
    pub(crate) fn abort(&mut self) {
        self.tasks.abort_all();
        self.asked.clear();
    }
}
