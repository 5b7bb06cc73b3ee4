//! One connection of an Internet end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::Writer;
use hedgerow_itls::{CloseReason, Control, MAX_USER_LEN, RoutingHeader};
use hedgerow_net::{ITLS_ALPN, SILENCE_TIMEOUT, give_up_after};
use hedgerow_proxy::OuterSession;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};
use zeroize::Zeroizing;

use super::Itls;
use super::queue::Queue;

/// A connection, from its first byte to its end.
pub(super) struct Stream {
    pub(super) itls: Arc<Itls>,
    pub(super) tls: TlsAcceptor,
    pub(super) from: SocketAddr,
}

/// A user that has shown who it is.
struct Known {
    user: usize,
    takes_flows: bool,
}

impl Stream {
    pub(super) async fn run(self, stream: TcpStream) {
        let from = self.from;
        if let Err(error) = self.serve(stream).await {
            debug!(%from, %error, mode = "itls", "connection ended");
        }
    }

    async fn serve(self, stream: TcpStream) -> io::Result<()> {
        // Messages are written whole, so waiting for more to send only delays them.
        stream.set_nodelay(true)?;
        give_up_after(&stream, SILENCE_TIMEOUT);
        let (stream, known) = self.begin(stream).await?;
        self.carry(stream, known).await
    }

    /// Shakes hands and reads who comes, within the time for both.
    async fn begin<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Known)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = timeout(USER_TIMEOUT, async {
            let mut stream = self.tls.accept(stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(ITLS_ALPN) {
                return Err(invalid("another application protocol"));
            }
            let known = self.meet(&mut stream).await?;
            Ok((stream, known))
        });
        let begun = begun.await;
        begun.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Reads who comes. Nothing else is taken before.
    async fn meet<S>(&self, stream: &mut S) -> io::Result<Known>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let len = usize::from(stream.read_u16().await?);
        if len > MAX_USER_LEN + USER_HEADERS {
            return Err(invalid("a long first message"));
        }
        let mut message = Zeroizing::new(vec![0; len]);
        stream.read_exact(&mut message).await?;
        let Some((headers, takes_flows)) = read_user(&message) else {
            return Err(invalid("another first message"));
        };
        let from = self.from;
        let found = self.itls.tunnels.user(&headers, from.ip(), None);
        let refused = match found {
            Err(_) => CloseReason::Refused,
            Ok(user) if !self.itls.enter(user) => CloseReason::Busy,
            Ok(user) => return Ok(Known { user, takes_flows }),
        };
        info!(target: "hedgerow::audit", %from, mode = "itls", reason = ?refused, "connection refused");
        let mut out = [0; 16];
        let mut writer = Writer::new(&mut out);
        let header = RoutingHeader {
            flow: 0,
            is_control: true,
        };
        let written = header
            .encode(&mut writer)
            .and_then(|()| Control::Close(refused).encode(&mut writer));
        if let (Ok(()), Ok(len)) = (written, u16::try_from(writer.written().len())) {
            stream.write_u16(len).await?;
            stream.write_all(writer.written()).await?;
        }
        stream.shutdown().await?;
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }

    /// Carries messages until either side ends.
    async fn carry<S>(&self, stream: S, known: Known) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite,
    {
        let _place = UserPlace {
            itls: &self.itls,
            user: known.user,
        };
        let queue = Arc::new(Queue::default());
        let session = self
            .itls
            .begin_user(known.user, known.takes_flows, Arc::clone(&queue));
        let _over = Over {
            itls: &self.itls,
            session,
            known: &known,
            from: self.from,
        };
        let user = self.itls.tunnels.user_name(known.user);
        let (from, takes_flows) = (self.from, known.takes_flows);
        info!(target: "hedgerow::audit", user, %from, mode = "itls", takes_flows, "connection opened");
        let (mut reader, mut writer) = split(stream);
        let reads = async {
            let mut message = Vec::new();
            loop {
                queue.room().await;
                let len = match reader.read_u16().await {
                    Ok(len) => usize::from(len),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error),
                };
                message.resize(len, 0);
                reader.read_exact(&mut message).await?;
                self.itls.take(session, &message, false);
            }
        };
        let writes = async {
            while let Some(message) = queue.next().await {
                writer.write_all(&message).await?;
                writer.flush().await?;
                queue.written(message.len());
            }
            writer.shutdown().await
        };
        tokio::select! {
            read = reads => read,
            written = writes => written,
        }
    }
}

/// Reads USER, with what it shows where a request of HTTP has it.
fn read_user(message: &[u8]) -> Option<(HeaderMap, bool)> {
    let (header, rest) = RoutingHeader::decode(message).ok()?;
    if !header.is_control || header.flow != 0 {
        return None;
    }
    let Ok(Control::User(user)) = Control::decode(rest) else {
        return None;
    };
    let mut headers = HeaderMap::new();
    if !user.shown.is_empty() {
        let mut value = HeaderValue::from_bytes(user.shown).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Some((headers, user.takes_flows))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Frees a user's place, however the connection ends.
struct UserPlace<'s> {
    itls: &'s Itls,
    user: usize,
}

impl Drop for UserPlace<'_> {
    fn drop(&mut self) {
        self.itls.leave(self.user);
    }
}

/// Ends the outer session with its flows, however the connection ends.
struct Over<'s> {
    itls: &'s Itls,
    session: OuterSession,
    known: &'s Known,
    from: SocketAddr,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.itls.end(self.session);
        let user = self.itls.tunnels.user_name(self.known.user);
        info!(target: "hedgerow::audit", user, from = %self.from, mode = "itls", "connection ended");
    }
}

/// How long TLS and the first message may take together.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Routing header, type and options of USER.
const USER_HEADERS: usize = 3;

#[cfg(test)]
mod tests;
