//! OpenSSL's abbreviated handshakes by ticket, both ends in memory.
//!
//! The `openssl` crate lets a client set a session in `unsafe` code alone. `hyper-openssl` does it inside,
//! with a cache of sessions by host, so that its connector is the client here. What the connector adds,
//! a boxed future, a lock and two look-ups, counts as the client's time; the server is OpenSSL's alone.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hyper::Uri;
use hyper::rt::{ReadBufCursor, Write as _};
use hyper_openssl::client::legacy::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use openssl::ssl::{Ssl, SslConnector, SslContext, SslMethod, SslOptions};
use tower_service::Service;

use crate::matrix::{Split, Transport, identity, set_up, set_up_client, set_up_server, timed};
use crate::openssl_dtls::{Pieces, Step};

/// OpenSSL's two ends, set up for one suite, of which the client has a session.
pub struct Resumed {
    client: HttpsConnector<Wire>,
    server: SslContext,
    wire: Wire,
    server_name: Uri,
}

impl Resumed {
    /// Sets both ends up for a suite by OpenSSL's name, and runs the handshake that the others resume.
    pub fn new(transport: Transport, suite: &str) -> Self {
        let [of_client, of_server] = &[identity(), identity()];
        let (client, server) = match transport {
            Transport::Dtls => (SslMethod::dtls_client(), SslMethod::dtls_server()),
            Transport::Tls => (SslMethod::tls_client(), SslMethod::tls_server()),
        };
        let mut client = SslConnector::builder(client).unwrap();
        set_up(&mut client, transport, suite, [of_client, of_server]);
        set_up_client(&mut client);
        client.clear_options(SslOptions::NO_TICKET);
        let mut server = SslContext::builder(server).unwrap();
        set_up(&mut server, transport, suite, [of_server, of_client]);
        set_up_server(&mut server, transport);
        server.clear_options(SslOptions::NO_TICKET);
        server.set_session_id_context(b"benches").unwrap();
        let wire = Wire::new(transport);
        let mut client = HttpsConnector::with_connector(wire.clone(), client).unwrap();
        client.set_callback(move |connection, _| {
            // Ours are known by their keys, too.
            connection.set_verify_hostname(false);
            connection.set_use_server_name_indication(false);
            match transport {
                Transport::Dtls => connection.set_mtu(1_200),
                Transport::Tls => Ok(()),
            }
        });
        let mut ends = Self {
            client,
            server: server.build(),
            wire,
            server_name: Uri::from_static("https://server"),
        };
        ends.handshake(false);
        ends
    }

    /// Resumes the session and returns what each end took.
    pub fn run(&mut self) -> Split {
        self.handshake(true)
    }

    fn handshake(&mut self, is_resumed: bool) -> Split {
        let mut split = Split::default();
        let [spent, served] = &mut split;
        let is_stream = self.wire.near.is_stream;
        let mut server = timed(served, || {
            let mut ssl = Ssl::new(&self.server).unwrap();
            if !is_stream {
                ssl.set_mtu(1_200).unwrap();
            }
            Step::new(ssl.accept(self.wire.far.clone()))
        });
        let context = &mut Context::from_waker(Waker::noop());
        let mut connecting = timed(spent, || self.client.call(self.server_name.clone()));
        let mut connected = None;
        loop {
            if connected.is_none() {
                connected = match timed(spent, || connecting.as_mut().poll(context)) {
                    Poll::Ready(client) => Some(client.unwrap()),
                    Poll::Pending => None,
                };
            }
            server = timed(served, || server.go_on());
            (connected, server) = match (connected, server) {
                (Some(MaybeHttpsStream::Https(mut client)), Step::Done(server)) => {
                    assert_eq!(client.ssl().session_reused(), is_resumed);
                    assert_eq!(server.ssl().session_reused(), is_resumed);
                    // OpenSSL doesn't resume the session of a connection that was left without a
                    // goodbye. It isn't part of the handshake, and nobody reads it.
                    assert!(Pin::new(&mut client).poll_shutdown(context).is_ready());
                    self.wire.far.incoming.lock().unwrap().clear();
                    timed(spent, || drop((client, connecting)));
                    timed(served, || drop(server));
                    return split;
                }
                unfinished => unfinished,
            };
        }
    }
}

/// What both ends share: a queue each way. One connection uses it at a time.
#[derive(Clone)]
struct Wire {
    near: SharedPipe,
    far: SharedPipe,
}

impl Wire {
    fn new(transport: Transport) -> Self {
        let (up, down) = (Queue::default(), Queue::default());
        let pipe = |incoming: &Queue, outgoing: &Queue| SharedPipe {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            is_stream: transport == Transport::Tls,
        };
        Self {
            near: pipe(&down, &up),
            far: pipe(&up, &down),
        }
    }
}

impl Service<Uri> for Wire {
    type Response = SharedPipe;
    type Error = Infallible;
    type Future = Ready<Result<SharedPipe, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Ok(self.near.clone()))
    }
}

type Queue = Arc<Mutex<Pieces>>;

/// One end's way to the other, which the connector wants to be able to send between threads.
#[derive(Clone, Debug)]
struct SharedPipe {
    incoming: Queue,
    outgoing: Queue,
    is_stream: bool,
}

impl Read for SharedPipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut pieces = self.incoming.lock().unwrap();
        let read = pieces.read(self.is_stream, out.len(), |bytes| {
            out[..bytes.len()].copy_from_slice(bytes);
        });
        Ok(read.ok_or(ErrorKind::WouldBlock)?)
    }
}

impl Write for SharedPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.lock().unwrap().write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl hyper::rt::Read for SharedPipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pieces = self.incoming.lock().unwrap();
        match pieces.read(self.is_stream, out.remaining(), |bytes| {
            out.put_slice(bytes)
        }) {
            Some(_) => Poll::Ready(Ok(())),
            // Whoever polls does so until both ends are through.
            None => Poll::Pending,
        }
    }
}

impl hyper::rt::Write for SharedPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for SharedPipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::KINDS;

    #[test]
    fn every_handshake_is_resumed() {
        for transport in [Transport::Dtls, Transport::Tls] {
            for suite in KINDS.into_iter().filter_map(|kind| kind.openssl) {
                let mut ends = Resumed::new(transport, suite);
                // Both ends say whether they have resumed, or it fails.
                ends.run();
                ends.run();
            }
        }
    }
}
