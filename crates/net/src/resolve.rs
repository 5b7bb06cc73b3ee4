//! Names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// Returns the addresses of `host`, in the resolver's order and each once.
///
/// An IP literal, with or without the brackets of a URI, is taken as it is and no resolver is
/// asked. Whether an address may be spoken to is for the caller to say: a name can resolve to any.
///
/// # Errors
///
/// Those of the system's resolver, and [`io::ErrorKind::NotFound`] if the name has no address.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let mut addresses = Vec::new();
    for address in tokio::net::lookup_host((host, port)).await? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    Ok(addresses)
}
