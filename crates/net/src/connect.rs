//! One of several addresses in turn: the first that takes a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::link::CarrierFailure;
use crate::resolve;

/// Connects to the first of some addresses that takes a connection, in their order, until `end`. Each has an equal
/// share of the time that is left when its turn comes, so that one that doesn't answer leaves time for the others.
///
/// # Errors
///
/// What the last address said; [`io::ErrorKind::TimedOut`] if it said nothing in time, and
/// [`io::ErrorKind::NotFound`] where there is no address.
pub async fn connect_in_turn(addresses: Vec<SocketAddr>, end: Instant) -> io::Result<TcpStream> {
    try_in_turn(addresses, end, TcpStream::connect).await
}

/// How an attempt at one of several addresses fails.
pub(crate) trait AttemptFailure {
    /// There is no address to try.
    fn no_address() -> Self;

    /// The address took more than its share of the time.
    fn timed_out() -> Self;

    /// Says whether another address may still lead there.
    fn leaves_others(&self) -> bool;
}

impl AttemptFailure for io::Error {
    fn no_address() -> Self {
        io::ErrorKind::NotFound.into()
    }

    fn timed_out() -> Self {
        io::ErrorKind::TimedOut.into()
    }

    fn leaves_others(&self) -> bool {
        true
    }
}

impl AttemptFailure for CarrierFailure {
    fn no_address() -> Self {
        Self::GatewayName
    }

    fn timed_out() -> Self {
        Self::ConnectTimeout
    }

    /// What a gateway has answered stands.
    fn leaves_others(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ConnectTimeout)
    }
}

/// Tries addresses in their order until one leads there, or one has said that none does.
pub(crate) async fn try_in_turn<T, E, C>(
    addresses: Vec<SocketAddr>,
    end: Instant,
    attempt: impl Fn(SocketAddr) -> C,
) -> Result<T, E>
where
    E: AttemptFailure,
    C: Future<Output = Result<T, E>>,
{
    let mut addresses = addresses.into_iter();
    let mut last = E::no_address();
    while let Some(address) = addresses.next() {
        let left = end.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let share = left / others.saturating_add(1);
        let attempted = timeout(share, attempt(address)).await;
        match attempted.unwrap_or_else(|_| Err(E::timed_out())) {
            Err(failure) if failure.leaves_others() => last = failure,
            decided => return decided,
        }
    }
    Err(last)
}

/// Returns when a time from now on is over. One beyond what the clock can say is a year.
pub(crate) fn end_of(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + YEAR)
}

/// Looks up the addresses of a gateway until `end`.
pub(crate) async fn find_gateway(
    host: &str,
    port: u16,
    end: Instant,
) -> Result<Vec<SocketAddr>, CarrierFailure> {
    let addresses = timeout_at(end, resolve(host, port)).await;
    let addresses = addresses.map_err(|_| CarrierFailure::ConnectTimeout)?;
    addresses.map_err(|_| CarrierFailure::GatewayName)
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn addresses(number: u16) -> Vec<SocketAddr> {
        (1..=number)
            .map(|port| SocketAddr::from(([192, 0, 2, 1], port)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_addresses_leave_time_for_the_last_one() {
        let start = Instant::now();
        let connected = try_in_turn(addresses(3), start + SPAN, |address| async move {
            match address.port() {
                3 => io::Result::Ok(address),
                _ => std::future::pending().await,
            }
        });
        assert_eq!(connected.await.unwrap().port(), 3);
        // Each of the first two had a third.
        assert_eq!(start.elapsed().as_secs(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_an_address_leaves_is_for_the_others() {
        let start = Instant::now();
        let connected = try_in_turn(addresses(2), start + SPAN, |address| async move {
            match address.port() {
                1 => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => {
                    sleep(SPAN.mul_f32(0.9)).await;
                    io::Result::Ok(address)
                }
            }
        });
        assert_eq!(connected.await.unwrap().port(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_of_all_ends_in_time_and_no_address_at_once() {
        let start = Instant::now();
        let silent = |_| std::future::pending::<io::Result<()>>();
        let error = try_in_turn(addresses(8), start + SPAN, silent).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() <= SPAN + Duration::from_millis(10));
        let error = try_in_turn(Vec::new(), end_of(Duration::MAX), silent).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
