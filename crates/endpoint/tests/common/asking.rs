//! What the ends do: the client asks, and the device answers.

use std::ops::Range;

use hedgerow_coap::Code;
use hedgerow_core::{DropReason, Env, Instant};
use hedgerow_endpoint::Event;
use hedgerow_exchange::{Request, Response};
use rand_core::Rng;

use super::{DEVICE, Given, Host, Net, Scenario, To, at, ms};

/// Each answer names its request, and is as long as it is to be.
fn answer_to(scenario: &Scenario, number: u32) -> Vec<u8> {
    let mut answer = number.to_be_bytes().to_vec();
    answer.resize(scenario.asked_len.unwrap_or(4), 0xa5);
    answer
}

impl Net<'_> {
    pub fn give_client(&mut self, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        while !rest.is_empty() {
            let env = &mut Env::new(self.now, &mut self.rng);
            let record = rest.to_vec();
            let handled = self.client.handle_datagram(env, DEVICE, rest, &mut [0; 64]);
            let consumed = handled.consumed;
            self.given[1].push(Given::new(DEVICE, &record[..consumed], &handled.event));
            match handled.event {
                Some(Event::Response {
                    request, message, ..
                }) => {
                    let mut asked = self.requests.iter();
                    let index = asked.position(|it| *it == request).unwrap();
                    let number = u32::try_from(index).unwrap();
                    match message.code() {
                        Code::UNAUTHORIZED => self.unauthorized += 1,
                        _ => assert_eq!(message.payload(), answer_to(&self.scenario, number)),
                    }
                    assert_eq!(self.answered[index].1, Instant::ZERO, "answered twice");
                    self.answered[index].1 = self.now;
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
            let is_late =
                self.scenario.by_connection_id && self.established > 0 && rest.first() != Some(&25);
            let before = self.device.dropped(DropReason::UnknownPeer);
            let env = &mut Env::new(self.now, &mut self.rng);
            let record = rest.to_vec();
            let handled = self.device.handle_datagram(env, from, rest, &mut answer);
            let (consumed, answer_len) = (handled.consumed, handled.answer);
            self.given[0].push(Given::new(from, &record[..consumed], &handled.event));
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
                let number = u32::from_be_bytes(*what.first_chunk().unwrap());
                let answer = answer_to(&self.scenario, number);
                let code = match self.scenario.asked_len {
                    Some(_) => Code::CONTENT,
                    None => Code::CHANGED,
                };
                let response = Response::new(code).payload(&answer);
                self.device
                    .respond(env, association, request, &response)
                    .unwrap();
            }
            if answer_len > 0 {
                self.leg(To::FromDevice(from), &answer[..answer_len]);
            }
            let dropped = self.device.dropped(DropReason::UnknownPeer) - before;
            self.late += if is_late { dropped } else { 0 };
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    fn is_waiting(&self) -> bool {
        self.answered.iter().any(|it| it.1 == Instant::ZERO)
    }

    fn ask(&mut self) {
        let mut body = self.asked().to_be_bytes().to_vec();
        body.resize(self.scenario.body_len, 0x5a);
        let code = match self.scenario.asked_len {
            Some(_) => Code::GET,
            None => Code::POST,
        };
        let request = Request::new(code).payload(&body);
        let env = &mut Env::new(self.now, &mut self.rng);
        let asked = self.client.request(env, self.association, &request);
        self.requests.push(asked.unwrap());
        self.answered.push((self.now, Instant::ZERO));
    }

    /// Runs until every request is answered, or one has failed.
    pub fn run(&mut self) {
        let Range { start, end } = self.scenario.first;
        let mut next = match end - start {
            1 => at(start),
            width => at(start + u64::from(self.rng.next_u32()) % width),
        };
        loop {
            if !self.is_waiting() && self.asked() == self.scenario.requests {
                return;
            }
            if !self.is_waiting() && next <= self.now {
                for _ in 0..self.scenario.at_once {
                    self.ask();
                }
                // Not every beat falls on the same place of the probes'.
                let Range { start, end } = self.scenario.spacing;
                next = self.now + ms(start + u64::from(self.rng.next_u32()) % (end - start));
            }
            self.transmit();
            let is_waiting = self.is_waiting();
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
                    Event::RequestFailed { error, .. } => {
                        self.failed += 1;
                        self.failure = Some(error);
                    }
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
