//! Our end of a TLS connection on a loopback socket, for interop only.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{PeerId, Psk};
use hedgerow_handshake::Settings;
use hedgerow_net::{Credentials, KeyStore, TlsStream};
use hedgerow_record::CipherSuite;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::clock::Clock;
use super::dtls_end::{Dialogue, Identity, Report};

/// A port that is listened on.
pub(super) struct Listening(TcpListener);

/// What one end came to: the suite, once there was one, and how the dialogue went.
struct End {
    suite: Option<CipherSuite>,
    outcome: Result<(), String>,
}

/// Connects to `server`, speaks, and closes.
pub(super) fn run_client(
    server: SocketAddr,
    identity: Identity<'_>,
    settings: Settings,
    dialogue: &Dialogue,
    limit: Duration,
) -> Result<Report, String> {
    let credentials = Credentials::new(identity.psk_identity, psk(identity)?, PeerId(0))
        .map_err(|error| error.to_string())?;
    in_time(limit, async {
        let tcp = TcpStream::connect(server).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsStream::connect(tcp, Arc::new(credentials), settings).await?;
        Ok(speak(tls, dialogue, true).await)
    })
}

impl Listening {
    /// Listens, so that a client can connect from now on.
    pub(super) fn at(address: SocketAddr) -> Result<Self, String> {
        TcpListener::bind(address)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Waits for one client, answers it, and ends when all is said.
    pub(super) fn run(
        self,
        identity: Identity<'_>,
        settings: Settings,
        dialogue: &Dialogue,
        limit: Duration,
    ) -> Result<Report, String> {
        let keys = KeyStore::new();
        keys.insert(identity.psk_identity, psk(identity)?, PeerId(0))
            .map_err(|error| error.to_string())?;
        in_time(limit, async {
            self.0.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(self.0)?;
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let tls = TlsStream::accept(tcp, &keys, settings).await?;
            Ok(speak(tls, dialogue, false).await)
        })
    }
}

fn psk(identity: Identity<'_>) -> Result<Psk, String> {
    Psk::new(identity.psk).map_err(|error| error.to_string())
}

fn in_time(
    limit: Duration,
    end: impl Future<Output = std::io::Result<End>>,
) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let clock = Clock::start();
    let outcome = runtime.block_on(async { timeout(limit, end).await });
    let end = match outcome {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => End {
            suite: None,
            outcome: Err(error.to_string()),
        },
        Err(_) => End {
            suite: None,
            outcome: Err(format!("no end within {limit:?}")),
        },
    };
    Ok(Report {
        suite: end.suite,
        outcome: end.outcome,
        sent: 0,
        received: 0,
        elapsed: clock.elapsed(),
    })
}

async fn speak(mut tls: TlsStream<TcpStream>, dialogue: &Dialogue, is_client: bool) -> End {
    let suite = tls.suite();
    let outcome = exchange(&mut tls, dialogue, is_client)
        .await
        .map_err(|error| error.to_string());
    End { suite, outcome }
}

async fn exchange(
    tls: &mut TlsStream<TcpStream>,
    dialogue: &Dialogue,
    is_client: bool,
) -> std::io::Result<()> {
    if is_client {
        tls.write_all(&dialogue.says).await?;
        tls.flush().await?;
    }
    let mut heard = vec![0; dialogue.expects.len()];
    tls.read_exact(&mut heard).await?;
    if heard != dialogue.expects {
        return Err(std::io::Error::other("peer says something else"));
    }
    if !is_client {
        tls.write_all(&dialogue.says).await?;
    }
    tls.shutdown().await
}
