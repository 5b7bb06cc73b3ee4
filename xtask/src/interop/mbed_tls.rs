//! Mbed TLS, both directions. It has connection IDs (RFC 9146), which its own two ends show.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hedgerow_core::NamedGroup;
use hedgerow_record::{CipherSuite, ConnectionId};

use super::cell::enter;
use super::driven::{Carrier, Driven, Job, Role};
use super::driven_cells::{self, IDENTITY, Offer, associate, associate_with};
use super::peers::free_address;
use crate::child::{self, Echo};
use crate::table::Table;
use crate::workspace::Workspace;

const OFFER: Offer = Offer {
    name: "Mbed TLS",
    carriers: &[Carrier::Dtls],
    lacks: &[
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
        CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
    ],
};

/// Each end's own connection ID, of different lengths.
const SERVER_CID: &str = "0102030405";
const CLIENT_CID: &str = "aabb";

/// Ours, of the usual length and of the greatest.
const OUR_CID: &str = "0700000a0b0c0d0e";
const LONGEST_CID: &str = "1f0000030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Builds the program. Cargo fetches what it needs, so that this comes before the namespace.
///
/// # Errors
///
/// How the build ended.
pub(super) fn build() -> Result<(), String> {
    let workspace = Workspace::load()?;
    let mut command = Command::new("cargo");
    command
        .args(["build", "--quiet", "--locked"])
        .current_dir(workspace.root.join("peers/mbedtls"))
        .env("CARGO_TARGET_DIR", target(&workspace));
    let finished = child::run(&mut command, Duration::from_secs(600), Echo::Shown)?;
    if finished.is_success() {
        Ok(())
    } else {
        Err(format!(
            "peers/mbedtls: {}; it needs Debian's packages cmake, gcc, libclang-dev and ninja-build",
            finished.ending_text()
        ))
    }
}

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let started = Workspace::load().and_then(|workspace| {
        let program = target(&workspace).join("debug/hedgerow-peer-mbedtls");
        Driven::start(&mut Command::new(program))
    });
    let mut peer = match started {
        Ok(peer) => peer,
        Err(error) => {
            enter(table, OFFER.name, || Err(error));
            return;
        }
    };
    driven_cells::run(table, &mut peer, &OFFER);
    enter(table, "Mbed TLS <- Mbed TLS connection IDs, a move", || {
        with_itself(&mut peer)
    });
    for role in [Role::Server, Role::Client] {
        for (ours, cid) in [
            ("", "empty"),
            (OUR_CID, "8 octets"),
            (LONGEST_CID, "32 octets"),
        ] {
            for moves in [false, true] {
                let whose = match role {
                    Role::Server => "client -> Mbed TLS",
                    Role::Client => "server <- Mbed TLS",
                };
                let then = if moves { ", the client moves" } else { "" };
                let name = format!("{whose} connection IDs, ours {cid}{then}");
                // Whose address changes has to be known by an ID at the other end.
                if !(moves && role == Role::Client && ours.is_empty()) {
                    enter(table, &name, || taken(&mut peer, role, ours, moves));
                }
            }
        }
    }
    for role in [Role::Server, Role::Client] {
        let name = match role {
            Role::Server => "client -> Mbed TLS with connection IDs: not offered",
            Role::Client => "server <- Mbed TLS connection ID offered: not taken",
        };
        enter(table, name, || not_taken(&mut peer, role));
    }
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peer-mbedtls")
}

fn job(role: Role, port: u16, more: &str) -> Job<'_> {
    Job {
        role,
        carrier: Carrier::Dtls,
        port,
        suite: CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        group: NamedGroup::X25519,
        identity: IDENTITY,
        more,
    }
}

/// Shows that the program is fit to judge others: a client goes on from another port.
fn with_itself(peer: &mut Driven) -> Result<String, String> {
    let port = free_address()?.port();
    let server = peer.begin(&job(Role::Server, port, SERVER_CID))?;
    let moving = format!("{CLIENT_CID} move");
    let client = peer.begin(&job(Role::Client, port, &moving))?;
    let at_server = peer.wait_for(server, "established ")?;
    let at_client = peer.wait_for(client, "established ")?;
    for (said, cids) in [
        (&at_server, format!("cid={SERVER_CID}/{CLIENT_CID}")),
        (&at_client, format!("cid={CLIENT_CID}/{SERVER_CID}")),
    ] {
        if !said.ends_with(&cids) {
            return Err(format!("{said} where {cids} was expected"));
        }
    }
    peer.wait_for(client, "done")?;
    peer.wait_for(server, "done")?;
    let after = peer.lines(client);
    let moved = after.iter().position(|line| line == "moved");
    let heard = after.iter().rposition(|line| line.starts_with("heard "));
    match (moved, heard) {
        (Some(moved), Some(heard)) if moved < heard => {
            Ok(format!("{at_client}; answered after the move"))
        }
        _ => Err(format!("{after:?}")),
    }
}

/// Both ends have one of the other's, and records carry them; where the client moves, it goes on from another
/// port without a handshake.
fn taken(peer: &mut Driven, role: Role, ours: &str, moves: bool) -> Result<String, String> {
    let theirs = match role {
        Role::Server => SERVER_CID,
        Role::Client => CLIENT_CID,
    };
    let more = match (role, moves) {
        (Role::Client, true) => format!("{theirs} move"),
        _ => theirs.to_owned(),
    };
    let rounds = if moves { 2 } else { 1 };
    let octets: Vec<u8> = (0..ours.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(ours.get(at..at + 2)?, 16).ok())
        .collect();
    let cid = ConnectionId::new(&octets).map_err(|error| error.to_string())?;
    let (report, begun) =
        associate_with(peer, &job(role, 0, &more), IDENTITY, rounds, |settings| {
            settings.with_connection_id(Some(cid))
        })?;
    report
        .outcome
        .map_err(|error| format!("{error}; peer: {:?}", peer.lines(begun)))?;
    let said = peer.wait_for(begun, "established ")?;
    let expected = format!("cid={theirs}/{ours}");
    if !said.ends_with(&expected) {
        return Err(format!("{said} where {expected} was expected"));
    }
    if moves && role == Role::Client && !report.has_peer_moved {
        return Err("nothing came from another port".to_owned());
    }
    peer.wait_for(begun, "done")?;
    let lines = peer.lines(begun);
    let heard = lines
        .iter()
        .filter(|line| line.starts_with("heard "))
        .count();
    if heard != if moves { 2 } else { 1 } {
        return Err(format!("{lines:?}"));
    }
    Ok(format!("{said}, {heard} times data both ways"))
}

/// An end without connection IDs and one that wants them agree on having none.
fn not_taken(peer: &mut Driven, role: Role) -> Result<String, String> {
    let cid = match role {
        Role::Server => SERVER_CID,
        Role::Client => CLIENT_CID,
    };
    let (report, begun) = associate(peer, &job(role, 0, cid), IDENTITY)?;
    report.outcome?;
    let said = peer.wait_for(begun, "established ")?;
    if said.ends_with("cid=-") {
        Ok(format!("{said}, data both ways"))
    } else {
        Err(said)
    }
}
