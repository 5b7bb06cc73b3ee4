//! The handlers that run for requests of peers.

use std::collections::HashMap;
use std::sync::Arc;

use hedgerow_coap::Code;
use hedgerow_endpoint::AssociationId;
use hedgerow_exchange::IncomingRequest;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::warn;

use crate::{Handler, ResponseMessage, ServerRequest};

/// A request of a peer, by its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) association: AssociationId,
    pub(crate) request: IncomingRequest,
}

/// The tasks that answer requests, bounded in number.
pub(crate) struct Handlers<H> {
    handler: Arc<H>,
    max: usize,
    tasks: JoinSet<ResponseMessage>,
    asked: HashMap<Id, Asked>,
}

impl<H: Handler> Handlers<H> {
    pub(crate) fn new(handler: H, max: usize) -> Self {
        Self {
            handler: Arc::new(handler),
            max,
            tasks: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn start(&mut self, asked: Asked, request: ServerRequest) {
        let handler = Arc::clone(&self.handler);
        let task = self
            .tasks
            .spawn(async move { handler.handle(request).await });
        self.asked.insert(task.id(), asked);
    }

    /// Waits for the next handler to end, and returns its answer. Cancelling loses none.
    ///
    /// A handler that didn't end by itself is answered for with 5.00 (RFC 7252 §5.9.3.1).
    pub(crate) async fn next(&mut self) -> Option<(Asked, ResponseMessage)> {
        let ended = self.tasks.join_next_with_id().await?;
        self.answer(ended)
    }

    /// Returns the answer of another handler that has ended by now.
    pub(crate) fn next_ended(&mut self) -> Option<(Asked, ResponseMessage)> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.answer(ended)
    }

    fn answer(
        &mut self,
        ended: Result<(Id, ResponseMessage), JoinError>,
    ) -> Option<(Asked, ResponseMessage)> {
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
        let asked = self.asked.remove(&id)?;
        Some((asked, response))
    }

    /// Drops the handlers that run.
    pub(crate) fn abort(&mut self) {
        self.tasks.abort_all();
        self.asked.clear();
    }
}
