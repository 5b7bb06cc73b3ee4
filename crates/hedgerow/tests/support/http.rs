//! HTTP as a client that knows the least of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A response.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl HttpResponse {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends one request over a connection of its own.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &str,
    body: &[u8],
) -> HttpResponse {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {len}\r\n{fields}\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let body = all[end + 4..].to_vec();
    let announced = format!("content-length: {}", body.len());
    assert!(
        body.is_empty() || head.contains(&announced),
        "body cut off: {head}"
    );
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    HttpResponse { status, head, body }
}

/// Reads a resource.
pub fn http_get(address: SocketAddr, path: &str) -> HttpResponse {
    http(address, "GET", path, "", b"")
}
