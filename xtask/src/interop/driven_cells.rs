//! The cells of a driven peer: each suite in both roles and every group, a wrong key, an unknown
//! identity.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use hedgerow_core::NamedGroup;
use hedgerow_handshake::{DEFAULT_SUITES, Settings, Timers};
use hedgerow_record::{CipherSuite, KeyExchange};

use super::cell::{enter, limitation, suite_text};
use super::driven::{Begun, Carrier, Driven, Job, Role, SAYS};
use super::dtls_end::{Dialogue, Identity, Losses, Report, run_moving_client, run_server_for};
use super::peers::free_address;
use super::tls_end;
use crate::table::Table;

pub(super) const IDENTITY: Identity<'static> = Identity {
    psk_identity: b"Client_identity",
    psk: b"secretPSK",
};

const WRONG_KEY: Identity<'static> = Identity {
    psk_identity: b"Client_identity",
    psk: b"otherwise",
};

const UNKNOWN: Identity<'static> = Identity {
    psk_identity: b"Somebody_else",
    psk: b"secretPSK",
};

const FROM_US: &[u8] = b"hedgerow speaks first\n";

const LIMIT: Duration = Duration::from_secs(20);

/// Ours for a handshake: what a refused one may take where both ends are silent.
const DEADLINE: Duration = Duration::from_secs(3);

/// What a peer is, and what it lacks.
pub(super) struct Offer {
    pub(super) name: &'static str,
    pub(super) carriers: &'static [Carrier],
    /// Suites that the library doesn't have, which its own two ends show.
    pub(super) lacks: &'static [CipherSuite],
}

/// Enters every cell.
pub(super) fn run(table: &mut Table, peer: &mut Driven, offer: &Offer) {
    for &carrier in offer.carriers {
        let whose = format!("{} {}", offer.name, carrier.name());
        for suite in DEFAULT_SUITES {
            if offer.lacks.contains(&suite) {
                let name = format!("client and server, {whose} {suite}");
                limitation(table, &name, || lacks(peer, carrier, suite));
                continue;
            }
            for role in [Role::Server, Role::Client] {
                let name = format!("{} {suite}", title(role, &whose));
                enter(table, &name, || in_each_group(peer, role, carrier, suite));
            }
        }
        for (what, shown) in [("wrong key", WRONG_KEY), ("unknown identity", UNKNOWN)] {
            for role in [Role::Server, Role::Client] {
                enter(table, &format!("{} {what}", title(role, &whose)), || {
                    refused(peer, role, carrier, shown)
                });
            }
        }
    }
}

fn title(peers_role: Role, whose: &str) -> String {
    match peers_role {
        Role::Server => format!("client -> {whose}"),
        Role::Client => format!("server <- {whose}"),
    }
}

fn in_each_group(
    peer: &mut Driven,
    role: Role,
    carrier: Carrier,
    suite: CipherSuite,
) -> Result<String, String> {
    if suite.key_exchange() == Some(KeyExchange::Psk) {
        let group = NamedGroup::X25519;
        let ms = succeeds(peer, role, carrier, suite, group)?;
        return Ok(format!("data both ways, {ms} ms"));
    }
    let mut shown = Vec::new();
    for group in [NamedGroup::X25519, NamedGroup::Secp256r1] {
        let ms = succeeds(peer, role, carrier, suite, group)
            .map_err(|error| format!("{group:?}: {error}"))?;
        shown.push(format!("{group:?} {ms} ms"));
    }
    Ok(format!("data both ways; {}", shown.join(", ")))
}

/// Both ends have one suite and one group, so that nothing else can be negotiated, and both say which
/// suite it was.
fn succeeds(
    peer: &mut Driven,
    role: Role,
    carrier: Carrier,
    suite: CipherSuite,
    group: NamedGroup,
) -> Result<u128, String> {
    let template = Job {
        role,
        carrier,
        port: 0,
        suite,
        group,
        identity: IDENTITY,
        more: "",
    };
    let (report, job) = associate(peer, &template, IDENTITY)?;
    report
        .outcome
        .map_err(|error| format!("{error}; peer: {:?}", peer.lines(job)))?;
    if report.suite != Some(suite) {
        return Err(format!("negotiated {}", suite_text(report.suite)));
    }
    let said = peer.wait_for(job, "established ")?;
    if !is_as_agreed(&said, suite, group) {
        return Err(format!("peer has established {said}"));
    }
    let heard = peer.wait_for(job, "heard ")?;
    if heard.as_bytes() != FROM_US.trim_ascii_end() {
        return Err(format!("peer heard {heard}"));
    }
    Ok(report.elapsed.as_millis())
}

/// Compares what the peer says of a session with what was to be agreed. Not every library can be
/// asked for the group and the extended master secret.
fn is_as_agreed(said: &str, suite: CipherSuite, group: NamedGroup) -> bool {
    let value = |name: &str| {
        said.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let has_group = suite.key_exchange() != Some(KeyExchange::Psk);
    let group = format!("{:04x}", group.code_point());
    value("suite").is_some_and(|said| said == format!("{:04x}", suite.0))
        && value("group").is_none_or(|said| !has_group || said == group)
        && value("ems").is_none_or(|said| said == "true")
}

fn refused(
    peer: &mut Driven,
    role: Role,
    carrier: Carrier,
    shown: Identity<'_>,
) -> Result<String, String> {
    // Whoever is the client shows what the server doesn't have.
    let (ours, peers) = match role {
        Role::Server => (shown, IDENTITY),
        Role::Client => (IDENTITY, shown),
    };
    let template = Job {
        role,
        carrier,
        port: 0,
        suite: CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        group: NamedGroup::X25519,
        identity: peers,
        more: "",
    };
    let (report, job) = associate(peer, &template, ours)?;
    if let Some(line) = peer
        .lines(job)
        .iter()
        .find(|line| line.starts_with("established") || line.starts_with("heard"))
    {
        return Err(format!("peer {line}"));
    }
    match report.outcome {
        Ok(()) => Err("data went through".to_owned()),
        Err(error) if report.suite.is_some() => Err(format!("established, then {error}")),
        Err(error) => Ok(format!("{error}, {} ms", report.elapsed.as_millis())),
    }
}

/// Runs one association with the peer in the role that the job names and this end in the other. The
/// job's port is chosen here.
pub(super) fn associate(
    peer: &mut Driven,
    template: &Job<'_>,
    ours: Identity<'_>,
) -> Result<(Report, Begun), String> {
    associate_with(peer, template, ours, 1, |settings| settings)
}

/// Does the same with further settings, and until all has been said so many times, the client's address
/// being another one each time.
pub(super) fn associate_with(
    peer: &mut Driven,
    template: &Job<'_>,
    ours: Identity<'_>,
    rounds: u32,
    further: impl FnOnce(Settings) -> Settings,
) -> Result<(Report, Begun), String> {
    let address = free_address()?;
    let job = Job {
        port: address.port(),
        ..*template
    };
    let settings = Settings::new(&[job.suite])
        .with_groups(&[job.group])
        .with_timers(Timers {
            deadline: DEADLINE,
            ..Timers::default()
        });
    let settings = further(settings);
    let dialogue = Dialogue {
        says: FROM_US.to_vec(),
        expects: SAYS.to_vec(),
    };
    match (job.role, job.carrier) {
        (Role::Server, Carrier::Dtls) => {
            let begun = peer.begin(&job)?;
            let losses = Losses::default();
            let report =
                run_moving_client(address, ours, settings, &dialogue, losses, LIMIT, rounds)?;
            Ok((report, begun))
        }
        (Role::Client, Carrier::Dtls) => {
            let socket = UdpSocket::bind(address).map_err(|error| error.to_string())?;
            let begun = peer.begin(&job)?;
            let losses = Losses::default();
            let report = run_server_for(&socket, ours, settings, &dialogue, losses, LIMIT, rounds)?;
            Ok((report, begun))
        }
        (Role::Server, Carrier::Tls) => {
            let begun = peer.begin(&job)?;
            let report = tls_end::run_client(address, ours, settings, &dialogue, LIMIT)?;
            Ok((report, begun))
        }
        (Role::Client, Carrier::Tls) => {
            let listener = TcpListener::bind(address).map_err(|error| error.to_string())?;
            let begun = peer.begin(&job)?;
            let report = tls_end::run_server(&listener, ours, settings, &dialogue, LIMIT)?;
            Ok((report, begun))
        }
    }
}

/// The library's own two ends don't come to an agreement either, and say why.
fn lacks(peer: &mut Driven, carrier: Carrier, suite: CipherSuite) -> Result<String, String> {
    let server = Job {
        role: Role::Server,
        carrier,
        port: free_address()?.port(),
        suite,
        group: NamedGroup::X25519,
        identity: IDENTITY,
        more: "",
    };
    let begun = peer.begin(&server)?;
    let client = Job {
        role: Role::Client,
        ..server
    };
    let client = peer.begin(&client)?;
    let at_server = peer.wait_for(begun, "failed ")?;
    let at_client = peer.wait_for(client, "failed ")?;
    if at_server == at_client {
        Ok(format!("both ends of the library: {at_server}"))
    } else {
        Ok(format!(
            "server of the library: {at_server}; client: {at_client}"
        ))
    }
}
