//! An HTTP client over TLS that knows of no gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow::core::{PeerId, Psk};
use hedgerow::handshake::Settings;
use hedgerow::net::{Credentials, SecurityPolicy, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection on which one request comes after the other.
pub struct TlsClient {
    tls: TlsStream<TcpStream>,
}

impl TlsClient {
    pub async fn connect(to: SocketAddr, identity: &str, key: Psk, policy: SecurityPolicy) -> Self {
        let key = Arc::new(Credentials::new(identity, key, PeerId(1)).unwrap());
        let settings = Settings::default().with_application_protocols(&[b"http/1.1"]);
        let tcp = TcpStream::connect(to).await.unwrap();
        let connected = TlsStream::connect(tcp, key, settings, &Arc::new(policy)).await;
        Self {
            tls: connected.unwrap(),
        }
    }

    /// Reads a resource.
    pub async fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\n\r\n");
        self.tls.write_all(request.as_bytes()).await.unwrap();
        self.tls.flush().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.tls.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let mut fields = head.lines();
        let len = fields.find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; len.unwrap().parse().unwrap()];
        self.tls.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }
}
