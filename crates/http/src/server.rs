//! One connection of an HTTP server.

use alloc::vec::Vec;
use core::fmt;

use crate::head::{EMPTY_LINE, Head};
use crate::refusal::Refusal;
use crate::request::map_request;
use crate::response::{Asked, write_refusal, write_response};
use crate::{Limits, ResourceRequest, ResourceResponse};

/// A server's side of one HTTP connection, without a socket.
///
/// What arrives goes to [`Self::push`]; [`Self::poll`] gives the next request, which
/// [`Self::respond`] answers; there is none before that. What is to be sent is in [`Self::take_output`] after each of them.
#[derive(Clone)]
pub struct HttpServer {
    limits: Limits,
    arrived: Vec<u8>,
    output: Vec<u8>,
    state: State,
    /// Whether there was an empty line before the next request.
    has_skipped: bool,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a client and a resource say to each other is their secret.
        formatter
            .debug_struct("HttpServer")
            .field("limits", &self.limits)
            .field("arrived_len", &self.arrived.len())
            .field("output_len", &self.output.len())
            .field("state", &self.state)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ExpectRequest,
    /// The resource hasn't answered yet.
    ExpectResponse(Asked),
    /// Nothing more is read.
    Closed,
}

impl HttpServer {
    /// Begins with the first byte of a connection.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            arrived: Vec::new(),
            output: Vec::new(),
            state: State::ExpectRequest,
            has_skipped: false,
        }
    }

    /// Returns how many bytes [`Self::push`] takes now: none while a request is being answered.
    pub fn room(&self) -> usize {
        let limits = &self.limits;
        let most = limits.max_head_len.saturating_add(limits.max_body_len);
        match self.state {
            State::ExpectRequest => most.saturating_sub(self.arrived.len()),
            State::ExpectResponse(_) | State::Closed => 0,
        }
    }

    /// Keeps bytes that have arrived and returns how many: no more than [`Self::room`] says.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut taken = self.keep(bytes);
        if self.skip_empty_line() {
            taken = taken.saturating_add(self.keep(bytes.get(taken..).unwrap_or_default()));
        }
        taken
    }

    fn keep(&mut self, bytes: &[u8]) -> usize {
        let part = bytes.get(..self.room()).unwrap_or(bytes);
        self.arrived.extend_from_slice(part);
        part.len()
    }

    /// RFC 9112 §2.2: an empty line before a request is ignored, one that is. It takes no room of the request's.
    fn skip_empty_line(&mut self) -> bool {
        let is_there = self.state == State::ExpectRequest
            && !self.has_skipped
            && self.arrived.starts_with(EMPTY_LINE);
        if is_there {
            self.arrived.drain(..EMPTY_LINE.len());
            self.has_skipped = true;
        }
        is_there
    }

    /// Takes the next request that is there as a whole. What can't be one is answered without asking
    /// anybody.
    pub fn poll(&mut self) -> Option<ResourceRequest> {
        loop {
            if self.state != State::ExpectRequest {
                return None;
            }
            match self.take_request()? {
                Ok((request, asked)) => {
                    self.state = State::ExpectResponse(asked);
                    return Some(request);
                }
                Err((refusal, asked)) => {
                    let keeps_alive = asked.keeps_alive && refusal.keeps_connection();
                    let asked = Asked {
                        keeps_alive,
                        ..asked
                    };
                    write_refusal(refusal, asked, &mut self.output);
                    self.go_on(keeps_alive);
                }
            }
        }
    }

    /// Answers the request that was taken. Without one it does nothing.
    pub fn respond(&mut self, response: &ResourceResponse<'_>) {
        if let State::ExpectResponse(asked) = self.state {
            write_response(response, asked, &mut self.output);
            self.go_on(asked.keeps_alive);
        }
    }

    /// Takes what is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    /// Says whether nothing more comes: the connection is to be closed once all is sent.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Says whether the connection may end here: no request has begun, and none waits for its response.
    pub fn is_idle(&self) -> bool {
        self.arrived.is_empty() && !matches!(self.state, State::ExpectResponse(_))
    }

    fn take_request(&mut self) -> Option<Result<(ResourceRequest, Asked), (Refusal, Asked)>> {
        let (head, head_len) = match Head::decode(&self.arrived, &self.limits) {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(refusal) => return Some(Err((refusal, NOBODY))),
        };
        let asked = Asked {
            is_head: head.method == "HEAD",
            is_get: matches!(head.method, "GET" | "HEAD"),
            keeps_alive: head.keeps_alive,
        };
        let len = head_len.saturating_add(head.body_len);
        if head.expects_continue && head.body_len > 0 {
            // RFC 9110 §10.1.1: a final answer instead of 100, whether the body is here or not. A client that
            // has so little to send doesn't ask first, or tries again without asking.
            return Some(Err((Refusal::ExpectationFailed, asked)));
        }
        let body = self.arrived.get(head_len..len)?;
        let mapped = map_request(&head, body, &self.limits);
        self.arrived.drain(..len);
        Some(match mapped {
            Ok(request) => Ok((request, asked)),
            Err(refusal) => Err((refusal, asked)),
        })
    }

    fn go_on(&mut self, keeps_alive: bool) {
        self.state = match keeps_alive {
            true => State::ExpectRequest,
            false => State::Closed,
        };
        self.has_skipped = false;
        self.skip_empty_line();
        if !keeps_alive {
            self.arrived = Vec::new();
        }
    }
}

/// What is known of a request that can't be read.
const NOBODY: Asked = Asked {
    is_head: false,
    is_get: false,
    keeps_alive: false,
};
