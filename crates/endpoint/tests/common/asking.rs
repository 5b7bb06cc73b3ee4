//! What the ends do: the client asks, and the device answers.

use std::ops::Range;

use hedgerow_coap::Code;
use hedgerow_core::{Env, Instant};
use hedgerow_endpoint::Event;
use hedgerow_exchange::{Request, Response};
use rand_core::Rng;

use super::{DEVICE, Host, Net, To, at, ms};

impl Net<'_> {
    pub fn give_client(&mut self, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        while !rest.is_empty() {
            let awaited = self.asked().saturating_sub(1);
            let env = &mut Env::new(self.now, &mut self.rng);
            let handled = self.client.handle_datagram(env, DEVICE, rest, &mut [0; 64]);
            let consumed = handled.consumed;
            match handled.event {
                Some(Event::Response { message, .. }) => {
                    match message.code() {
                        Code::UNAUTHORIZED => self.unauthorized += 1,
                        _ => assert_eq!(message.payload(), awaited.to_be_bytes()),
                    }
                    self.answered.last_mut().unwrap().1 = self.now;
                }
                Some(Event::Established { .. }) => self.established += 1,
                Some(Event::Closed { .. }) => self.closed += 1,
                Some(Event::Failed { error, .. }) => self.refused = Some(error),
                _ => {}
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    pub fn give_device(&mut self, from: Host, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let env = &mut Env::new(self.now, &mut self.rng);
            let handled = self.device.handle_datagram(env, from, rest, &mut answer);
            let (consumed, answer_len) = (handled.consumed, handled.answer);
            self.closed += u32::from(matches!(handled.event, Some(Event::Closed { .. })));
            if let Some(Event::Request {
                association,
                request,
                message,
                ..
            }) = handled.event
            {
                let what = message.payload().to_vec();
                *self.executed.entry(what.clone()).or_default() += 1;
                let response = Response::new(Code::CHANGED).payload(&what);
                self.device
                    .respond(env, association, request, &response)
                    .unwrap();
            }
            if answer_len > 0 {
                self.leg(To::FromDevice(from), &answer[..answer_len]);
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    /// Runs until every request is answered, or one has failed.
    pub fn run(&mut self) {
        let mut next = at(100);
        loop {
            let is_waiting = self
                .answered
                .last()
                .is_some_and(|last| last.1 == Instant::ZERO);
            if !is_waiting && self.asked() == self.scenario.requests {
                return;
            }
            if !is_waiting && next <= self.now {
                let number = (self.asked()).to_be_bytes();
                let request = Request::new(Code::POST).payload(&number);
                let env = &mut Env::new(self.now, &mut self.rng);
                self.client
                    .request(env, self.association, &request)
                    .unwrap();
                self.answered.push((self.now, Instant::ZERO));
                // Not every beat falls on the same place of the probes'.
                let Range { start, end } = self.scenario.spacing;
                next = self.now + ms(start + u64::from(self.rng.next_u32()) % (end - start));
            }
            self.transmit();
            let is_waiting = self
                .answered
                .last()
                .is_some_and(|last| last.1 == Instant::ZERO);
            let queued = self.due.first_key_value().map(|(key, _)| key.0);
            let all = [
                queued,
                self.client.poll_timeout(),
                self.device.poll_timeout(),
                self.near.poll_timeout(),
                self.far.poll_timeout(),
                (!is_waiting).then_some(next),
            ];
            let due = all.into_iter().flatten().min().unwrap();
            assert!(due < at(1_000_000_000), "nothing goes on");
            self.now = self.now.max(due);
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, bytes) = entry.remove();
                self.receive(to, &bytes);
            }
            let env = &mut Env::new(self.now, &mut self.rng);
            self.client.handle_timeout(env);
            self.device.handle_timeout(env);
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::RequestFailed { .. } => self.failed += 1,
                    Event::Closed { .. } => self.closed += 1,
                    Event::Failed { error, .. } => self.refused = Some(error),
                    _ => {}
                }
            }
            while let Some(event) = self.device.poll_event() {
                self.closed += u32::from(matches!(event, Event::Closed { .. }));
            }
            if self.failed > 0 || self.refused.is_some() {
                return;
            }
        }
    }
}
