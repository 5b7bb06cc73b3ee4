//! OpenSSL's DTLS 1.2 with both ends in memory, through the `openssl` crate.
//!
//! Objects of the library are made and freed for every handshake, its contexts are kept. The cookie
//! is the same for all, which costs less than a real one. Sending a datagram copies it once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslMethod, SslOptions, SslStream,
    SslVersion,
};

use crate::handshake::{IDENTITY, PSK};

const COOKIE: [u8; 16] = [0xc0; 16];

const MTU: u32 = 1_200;

/// What outlives a handshake at both ends.
pub struct Ends {
    client: SslContext,
    server: SslContext,
}

/// Both ends after the handshake.
pub struct Streams {
    /// The client's.
    pub client: SslStream<Pipe>,
    /// The server's.
    pub server: SslStream<Pipe>,
    suite: &'static str,
}

impl Ends {
    /// Sets both ends up for one suite, by OpenSSL's name.
    pub fn new(suite: &str) -> Self {
        let context = |method| {
            let mut context = SslContext::builder(method).unwrap();
            context
                .set_min_proto_version(Some(SslVersion::DTLS1_2))
                .unwrap();
            context.set_cipher_list(suite).unwrap();
            // Level 1 and above refuse CCM_8 in some releases.
            context.set_security_level(0);
            context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
            context
        };
        let mut client = context(SslMethod::dtls_client());
        client.set_psk_client_callback(|_, _, identity, psk| {
            identity[..IDENTITY.len()].copy_from_slice(IDENTITY.as_bytes());
            identity[IDENTITY.len()] = 0;
            psk[..PSK.len()].copy_from_slice(PSK);
            Ok(PSK.len())
        });
        let mut server = context(SslMethod::dtls_server());
        server.set_options(SslOptions::COOKIE_EXCHANGE);
        server.set_cookie_generate_cb(|_, cookie| {
            cookie[..COOKIE.len()].copy_from_slice(&COOKIE);
            Ok(COOKIE.len())
        });
        server.set_cookie_verify_cb(|_, cookie| cookie == COOKIE);
        server.set_psk_server_callback(|_, identity, psk| {
            if identity != Some(IDENTITY.as_bytes()) {
                return Ok(0);
            }
            psk[..PSK.len()].copy_from_slice(PSK);
            Ok(PSK.len())
        });
        Self {
            client: client.build(),
            server: server.build(),
        }
    }

    /// Runs a handshake with a cookie round trip.
    pub fn run(&self) -> Streams {
        let (up, down) = (Queue::default(), Queue::default());
        let ssl = |context| {
            let mut ssl = Ssl::new(context).unwrap();
            ssl.set_mtu(MTU).unwrap();
            ssl
        };
        let near = Pipe::new(&down, &up, false);
        let far = Pipe::new(&up, &down, false);
        let mut client = Step::new(ssl(&self.client).connect(near));
        let mut server = Step::new(ssl(&self.server).accept(far));
        loop {
            (client, server) = match (client.go_on(), server.go_on()) {
                (Step::Done(client), Step::Done(server)) => {
                    let suite = server.ssl().current_cipher().unwrap().name();
                    return Streams {
                        client: *client,
                        server: *server,
                        suite,
                    };
                }
                unfinished => unfinished,
            };
        }
    }
}

impl Streams {
    /// Returns the suite that was negotiated.
    pub const fn suite(&self) -> &'static str {
        self.suite
    }

    /// Sends `plaintext` up and returns what arrived.
    pub fn pass(&mut self, plaintext: &[u8], out: &mut [u8]) -> usize {
        self.client.ssl_write(plaintext).unwrap();
        self.server.ssl_read(out).unwrap()
    }
}

/// One end on its way.
pub(crate) enum Step<W> {
    Waiting(Box<MidHandshakeSslStream<W>>),
    Done(Box<SslStream<W>>),
}

impl<W: Read + Write + Debug> Step<W> {
    pub(crate) fn new(result: Result<SslStream<W>, HandshakeError<W>>) -> Self {
        match result {
            Ok(stream) => Self::Done(Box::new(stream)),
            Err(HandshakeError::WouldBlock(stream)) => Self::Waiting(Box::new(stream)),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn go_on(self) -> Self {
        match self {
            Self::Waiting(stream) => Self::new(stream.handshake()),
            done @ Self::Done(_) => done,
        }
    }
}

/// What is under way one way, datagrams or pieces of a stream, and buffers to use again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Rc<RefCell<Pieces>>);

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first piece of a stream is read.
    read: usize,
    free: Vec<Vec<u8>>,
}

impl Pieces {
    /// Hands at most `len` bytes to `take`, which takes them all: of one datagram, whose rest is lost, or of
    /// one piece of a stream.
    pub(crate) fn read(
        &mut self,
        is_stream: bool,
        len: usize,
        take: impl FnOnce(&[u8]),
    ) -> Option<usize> {
        let rest = &self.waiting.front()?[self.read..];
        let len = rest.len().min(len);
        take(&rest[..len]);
        if is_stream && len < rest.len() {
            self.read += len;
        } else if let Some(mut piece) = self.waiting.pop_front() {
            self.read = 0;
            piece.clear();
            self.free.push(piece);
        }
        Some(len)
    }

    /// Forgets what wasn't read.
    pub(crate) fn clear(&mut self) {
        self.read = 0;
        self.waiting.clear();
    }

    /// Puts a datagram or a piece behind the others.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let mut piece = self.free.pop().unwrap_or_default();
        piece.extend_from_slice(bytes);
        self.waiting.push_back(piece);
    }
}

/// One end's way to the other. Over datagrams a write is one, and so is a read.
#[derive(Debug)]
pub struct Pipe {
    incoming: Queue,
    outgoing: Queue,
    is_stream: bool,
    sent: usize,
}

impl Pipe {
    pub(crate) fn new(incoming: &Queue, outgoing: &Queue, is_stream: bool) -> Self {
        Self {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            is_stream,
            sent: 0,
        }
    }

    /// Lets go of both ways, and with them of their memory; `nowhere` stands in for them.
    pub(crate) fn detach(&mut self, nowhere: &Queue) {
        self.incoming = nowhere.clone();
        self.outgoing = nowhere.clone();
    }
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut pieces = self.incoming.0.borrow_mut();
        let read = pieces.read(self.is_stream, out.len(), |bytes| {
            out[..bytes.len()].copy_from_slice(bytes);
        });
        Ok(read.ok_or(ErrorKind::WouldBlock)?)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.0.borrow_mut().write(bytes);
        self.sent += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::SUITES;

    #[test]
    fn handshakes_end_in_sessions_that_understand_each_other() {
        for suite in SUITES {
            let mut streams = Ends::new(suite.openssl).run();
            assert_eq!(streams.suite(), suite.openssl);
            // Three flights each way, so that the cookie went round.
            let sent = [&streams.client, &streams.server].map(|stream| stream.get_ref().sent);
            assert_eq!(sent, [3, 3]);
            let mut out = [0; 64];
            assert_eq!(streams.pass(b"text", &mut out), 4);
            assert_eq!(&out[..4], b"text");
        }
    }
}
