//! What all tunnels share: users, places, counters.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::PeerId;
use hedgerow_net::UdpCarriers;
use hedgerow_proxy::{TunnelFault, TunnelRefusal};
use http::HeaderMap;
use tokio::time::Instant;

use crate::authorization::{authenticate, shown_name, shows_credentials};
use crate::config::{HttpsClient, HttpsPsk, TunnelLimits, User, UserSecret};
use crate::failure::RETRY_AFTER_SECS;
use crate::guesses::Guesses;

/// Who may open tunnels, and who has some.
pub(crate) struct Tunnels {
    users: Vec<User>,
    /// Who each client with a pre-shared key is, in the order of the configuration.
    psk_users: Vec<Option<usize>>,
    pub(crate) limits: TunnelLimits,
    /// Where clients that ask for a second carrier are offered one.
    pub(crate) udp: Option<UdpCarriers>,
    guesses: Mutex<Guesses>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Tunnels of each user.
    open: Vec<usize>,
    statistics: TunnelStatistics,
}

/// Counters of all tunnels since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelStatistics {
    /// Tunnels that there are now.
    pub open: u64,
    /// Tunnels that were opened.
    pub opened: u64,
    /// Requests for a tunnel that were refused.
    pub refused: u64,
    /// Tunnels whose stream ended within a capsule.
    pub truncated: u64,
    /// Tunnels whose stream had another fault.
    pub malformed: u64,
    /// What was carried and dropped by all of them.
    pub traffic: TunnelTraffic,
}

/// What a tunnel carried, and what it dropped by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelTraffic {
    /// Datagrams to the device.
    pub datagrams_up: u64,
    /// Their payloads, in bytes.
    pub bytes_up: u64,
    /// Datagrams to the client.
    pub datagrams_down: u64,
    /// Their payloads, in bytes.
    pub bytes_down: u64,
    /// Capsules of unknown types.
    pub unknown_capsule: u64,
    /// Datagrams in contexts that nobody has registered.
    pub unknown_context: u64,
    /// Datagrams longer than is kept.
    pub too_long: u64,
    /// Datagrams longer than the path to the device takes.
    pub too_big_for_path: u64,
    /// Datagrams that ICMP came back for, or that the system refused to send.
    pub icmp_refused: u64,
    /// Datagrams for a client that didn't read those before.
    pub queue_full: u64,
    /// Datagrams from elsewhere than the device.
    pub foreign_source: u64,
    /// Of the datagrams to the device, those that came by a UDP carrier.
    pub udp_datagrams_up: u64,
    /// Of the datagrams to the client, those that went by a UDP carrier. What went on both carriers
    /// counts twice.
    pub udp_datagrams_down: u64,
    /// Of the datagrams to the device, those from a UDP carrier's own address.
    pub udp_address_up: u64,
    /// Datagrams that found no room on a UDP carrier.
    pub udp_full: u64,
    /// Messages of a client with two carriers that are none.
    pub malformed_message: u64,
}

impl TunnelTraffic {
    /// Returns how many were dropped, for whatever reason.
    pub const fn dropped(&self) -> u64 {
        self.unknown_capsule
            .saturating_add(self.unknown_context)
            .saturating_add(self.too_long)
            .saturating_add(self.too_big_for_path)
            .saturating_add(self.icmp_refused)
            .saturating_add(self.queue_full)
            .saturating_add(self.foreign_source)
            .saturating_add(self.udp_full)
            .saturating_add(self.malformed_message)
    }
}

impl Tunnels {
    pub(crate) fn new(
        users: Vec<User>,
        limits: TunnelLimits,
        https_psk: Option<&HttpsPsk>,
        udp: Option<UdpCarriers>,
    ) -> Arc<Self> {
        let clients = https_psk.iter().flat_map(|https| &https.clients);
        let user_of = |client: &HttpsClient| {
            users.iter().position(|user| {
                matches!(&user.secret, UserSecret::PskClient(own) if *own == client.psk_identity)
            })
        };
        let psk_users = clients.map(user_of).collect();
        let open = vec![0; users.len()];
        let state = State {
            open,
            statistics: TunnelStatistics::default(),
        };
        Arc::new(Self {
            users,
            psk_users,
            limits,
            udp,
            guesses: Mutex::new(Guesses::new()),
            state: Mutex::new(state),
        })
    }

    /// Says whether anybody may open a tunnel at all.
    pub(crate) fn are_offered(&self) -> bool {
        !self.users.is_empty()
    }

    /// Returns the user that a request comes from, unless too many before it from there were nobody's.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        from: IpAddr,
        psk_client: Option<PeerId>,
    ) -> Result<usize, TunnelRefusal> {
        let number = psk_client.and_then(|PeerId(number)| usize::try_from(number).ok());
        let psk_user = number.and_then(|number| self.psk_users.get(number).copied());
        let check = || authenticate(&self.users, psk_user.flatten(), headers);
        // Who shows nothing guesses nothing.
        if !shows_credentials(headers) {
            return check().ok_or(TunnelRefusal::Unauthorized);
        }
        let name = shown_name(headers);
        let name = name.as_ref().map(|name| name.as_slice());
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = guesses.check(from, name, Instant::now(), check);
        drop(guesses);
        match checked {
            Ok(user) => user.ok_or(TunnelRefusal::Unauthorized),
            Err(wait) => Err(TunnelRefusal::TooManyGuesses {
                retry_after_secs: u32::try_from(wait.as_millis().div_ceil(1_000))
                    .unwrap_or(u32::MAX),
            }),
        }
    }

    /// Lists the users' names in the order of the configuration.
    pub(crate) fn user_names(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(User::name)
    }

    pub(crate) fn user_name(&self, user: usize) -> &str {
        self.users.get(user).map_or("-", |user| user.name())
    }

    /// Takes a place for a tunnel of a user's.
    pub(crate) fn enter(self: &Arc<Self>, user: usize) -> Result<TunnelPlace, TunnelRefusal> {
        let retry_after_secs = RETRY_AFTER_SECS;
        let mut state = self.lock();
        let most = self.limits.tunnels;
        if state.open.iter().sum::<usize>() >= most {
            return Err(TunnelRefusal::TooMany { retry_after_secs });
        }
        let own = state.open.get_mut(user);
        let own = own.filter(|own| **own < self.limits.tunnels_per_user);
        let own = own.ok_or(TunnelRefusal::TooManyOfUser { retry_after_secs })?;
        *own = own.saturating_add(1);
        Ok(TunnelPlace {
            tunnels: Arc::clone(self),
            user,
            is_opened: false,
        })
    }

    pub(crate) fn count_refusal(&self) {
        let refused = &mut self.lock().statistics.refused;
        *refused = refused.saturating_add(1);
    }

    pub(crate) fn statistics(&self) -> TunnelStatistics {
        self.lock().statistics
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the tunnels, free again once it is dropped.
pub(crate) struct TunnelPlace {
    tunnels: Arc<Tunnels>,
    user: usize,
    is_opened: bool,
}

impl TunnelPlace {
    /// Counts something that the tunnel did, beside what it counts itself.
    pub(crate) fn count(&self, count: impl FnOnce(&mut TunnelTraffic)) {
        count(&mut self.tunnels.lock().statistics.traffic);
    }

    /// Counts the tunnel as opened.
    pub(crate) fn open(&mut self) {
        self.is_opened = true;
        let mut state = self.tunnels.lock();
        let statistics = &mut state.statistics;
        statistics.open = statistics.open.saturating_add(1);
        statistics.opened = statistics.opened.saturating_add(1);
    }
}

impl TunnelPlace {
    /// Counts a tunnel that ended by a fault of its stream.
    pub(crate) fn count_fault(&self, fault: TunnelFault) {
        let statistics = &mut self.tunnels.lock().statistics;
        let counter = match fault {
            TunnelFault::Truncated => &mut statistics.truncated,
            _ => &mut statistics.malformed,
        };
        *counter = counter.saturating_add(1);
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        let mut state = self.tunnels.lock();
        if let Some(own) = state.open.get_mut(self.user) {
            *own = own.saturating_sub(1);
        }
        if self.is_opened {
            let open = &mut state.statistics.open;
            *open = open.saturating_sub(1);
        }
    }
}
