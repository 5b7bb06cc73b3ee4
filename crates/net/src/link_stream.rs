//! A link's datagrams behind each other on a byte stream.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use crate::link::CarrierFailure;

/// Carries datagrams until either side ends, and says which did. Both directions go on by themselves.
///
/// `writing` ends in order once the node is gone, and with an error once nothing can be written any more. Where the
/// gateway holds it up, it has as long as an orderly end may take once `gone` says that the node is: whoever reads nothing and is
/// there would keep the stream for ever.
pub(crate) async fn carry_until_end(
    reading: impl Future<Output = CarrierFailure>,
    writing: impl Future<Output = io::Result<()>>,
    gone: impl Future<Output = ()>,
) -> CarrierFailure {
    tokio::pin!(reading, writing);
    tokio::select! {
        failure = &mut reading => failure,
        () = gone => {
            let _ = timeout(SHUTDOWN_TIMEOUT, writing).await;
            CarrierFailure::Gone
        }
        written = &mut writing => match written {
            Ok(()) => CarrierFailure::Gone,
            // A gateway that has closed takes nothing more: what it said before is still to be read.
            Err(_) => timeout(SHUTDOWN_TIMEOUT, reading)
                .await
                .unwrap_or(CarrierFailure::Truncated),
        },
    }
}

/// Writes messages as `append` puts them behind each other, until nobody is left who sends any; an error where
/// nothing can be written any more. As many as come to `len` bytes are written at once, or a few more.
pub(crate) async fn write_messages<M: AsRef<[u8]>>(
    writer: &mut (impl AsyncWrite + Unpin),
    messages: &mut Receiver<M>,
    len: usize,
    append: fn(&mut Vec<u8>, &[u8]),
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(len);
    while let Some(first) = messages.recv().await {
        bytes.clear();
        append(&mut bytes, first.as_ref());
        // Messages that wait already leave together, such as those of one flight.
        while bytes.len() < len
            && let Ok(next) = messages.try_recv()
        {
            append(&mut bytes, next.as_ref());
        }
        let written = writer.write_all(&bytes).await;
        written.and(writer.flush().await)?;
    }
    Ok(())
}

/// Ends a stream in order, unless that takes too long: what waits for room isn't waited for.
pub(crate) async fn shut_down(writer: &mut (impl AsyncWrite + Unpin)) {
    let _ = timeout(SHUTDOWN_TIMEOUT, writer.shutdown()).await;
}

/// How long an orderly end may take.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
