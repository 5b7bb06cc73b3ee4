//! When something is due on a connection, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{ChannelError, Env, Instant, ServerCredentials};
use hedgerow_exchange::CloseReason;
use tracing::{debug, info};

use crate::Handler;
use crate::clock::os_random;
use crate::statistics::count;
use crate::stream::connection::{Connection, Side};
use crate::stream::transfer::close;

/// Why the connection ends, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    /// The first fault of the channel.
    pub(super) error: Option<ChannelError>,
    pub(super) reason: Option<CloseReason>,
    /// No bytes were taken, or no Pong came.
    pub(super) is_unresponsive: bool,
    /// Nothing more is written.
    pub(super) is_cut: bool,
}

impl<S, H> Connection<S, H>
where
    S: ServerCredentials,
    H: Handler,
{
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let config = &self.parts.config;
        let stalled = self.has_output();
        let stalled = stalled.then(|| self.progress.stalled_at(config.stall_timeout));
        let stop = self.stopping_since;
        let stop = stop.map(|since| since.saturating_add(config.shutdown_timeout));
        let machine = self.parts.machine.poll_timeout();
        let times = [machine, stalled, stop, self.idle_at()];
        times.into_iter().flatten().min()
    }

    /// Returns when idleness ends the connection.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        let is_idle = self.is_established
            && self.waiting.is_empty()
            && self.parts.handlers.is_empty()
            && self.parts.machine.accepts_requests()
            && self.parts.machine.is_idle();
        // A client asks once it has the server's CSM, a round trip after the server has its own. A server that
        // is tired of it before could never be asked over a slow path.
        let least = match (self.parts.side, self.has_been_asked) {
            (Side::Server, false) => FIRST_REQUEST_TIMEOUT,
            _ => Duration::ZERO,
        };
        let patience = self.parts.config.idle_timeout.max(least);
        is_idle.then(|| self.last_used.saturating_add(patience))
    }

    pub(super) fn handle_timeout(&mut self) {
        let now = self.parts.clock.now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.idle_at()) {
            // It takes requests, so that it takes this.
            let _ = self.parts.machine.release();
        }
        let config = Arc::clone(&self.parts.config);
        let stalled_at = self.progress.stalled_at(config.stall_timeout);
        if self.has_output() && stalled_at <= now {
            debug!(remote = %self.parts.remote, "peer doesn't read");
            self.ending.is_unresponsive = true;
            self.cut();
        }
        let stopping = self.stopping_since;
        if is_due(stopping.map(|since| since.saturating_add(config.shutdown_timeout))) {
            self.cut();
        }
        let mut rng = os_random();
        let mut env = Env::new(now, &mut rng);
        if let Err(error) = self.parts.machine.handle_timeout(&mut env) {
            self.ending.error.get_or_insert(error);
        }
    }

    /// Ends the connection in order, because this end is to stop.
    pub(super) fn stop(&mut self) {
        if self.stopping_since.is_some() {
            return;
        }
        self.stopping_since = Some(self.parts.clock.now());
        self.parts.handlers.abort();
        self.stop_waiting();
        if !self.is_established || self.parts.machine.release().is_err() {
            self.parts.machine.close();
            // It was cut off by this end, which knows.
            let _ = self.parts.machine.handle_end();
        }
    }

    /// Ends the connection without another word.
    pub(super) fn cut(&mut self) {
        self.ending.is_cut = true;
        self.handle_end();
    }

    /// Says whether all is over, and what is left to say is said.
    pub(super) fn is_over(&self) -> bool {
        let is_ended = self.ending.reason.is_some() || self.ending.error.is_some();
        is_ended && self.parts.machine.is_closed() && !self.has_output()
    }

    /// Closes the socket, so that the last words get through.
    pub(super) async fn finish(self) {
        let parts = &self.parts;
        let remote = parts.remote;
        let is_expected = matches!(
            self.ending.reason,
            Some(CloseReason::Released | CloseReason::ReleasedByPeer)
        );
        let is_stopped = self.stopping_since.is_some();
        match (self.ending.error, self.ending.reason) {
            (Some(error), _) if !is_expected && !is_stopped => match self.is_established {
                true => info!(%remote, %error, "connection failed"),
                false if parts.side == Side::Client => {
                    info!(%remote, %error, "connection failed");
                }
                false => debug!(%remote, %error, "handshake failed"),
            },
            (_, Some(reason)) => debug!(%remote, %reason, "connection closed"),
            _ => debug!(%remote, "connection closed"),
        }
        if !self.is_established && !is_stopped {
            count(&parts.counters.failed);
        }
        if !self.ending.is_cut && !self.is_at_end {
            close(&parts.stream).await;
        }
    }
}

/// How long a server waits at least for what a connection was opened for.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
