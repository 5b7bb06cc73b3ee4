//! Noticing that the other end of a TCP connection is gone without a word.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

/// Has the system end a connection whose other end has given no sign of life for about so long, whether
/// it was asked something or not. What the system doesn't know how to do isn't done.
pub fn give_up_after(stream: &TcpStream, silence: Duration) {
    let socket = SockRef::from(stream);
    let interval = (silence / 6).max(SHORTEST);
    let keep_alive = TcpKeepalive::new().with_time((silence / 2).max(SHORTEST));
    #[cfg(any(target_os = "android", target_os = "linux", target_vendor = "apple"))]
    let keep_alive = keep_alive.with_interval(interval).with_retries(PROBES);
    let mut set = socket.set_tcp_keepalive(&keep_alive);
    // Without it what is on its way is sent again for about 15 minutes.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        set = set.and(socket.set_tcp_user_timeout(Some(silence)));
    }
    if let Err(error) = set {
        debug!(%error, "no keep-alive");
    }
}

/// How long a gateway that gives no sign of life is taken for there, if nothing else is said.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Unanswered probes that are the end.
const PROBES: u32 = 3;

/// The shortest time that systems take here.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn system_is_told_how_long_silence_may_last() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        give_up_after(&stream, SILENCE_TIMEOUT);
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 15);
        assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 5);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(SILENCE_TIMEOUT));
    }
}
