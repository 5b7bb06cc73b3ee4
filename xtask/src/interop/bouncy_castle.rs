//! Bouncy Castle, both directions: the one peer of Debian's that has forward secrecy with a pre-shared
//! key and AES-GCM or AES-CCM (RFC 8442).

use std::process::Command;

use super::cell::enter;
use super::driven::{Carrier, Driven};
use super::driven_cells::{self, Offer};
use crate::table::Table;
use crate::workspace::Workspace;

const OFFER: Offer = Offer {
    name: "Bouncy Castle",
    carriers: &[Carrier::Dtls, Carrier::Tls],
    lacks: &[],
};

/// Where Debian's packages `libbctls-java` and `libbcprov-java` put the library.
const CLASS_PATH: &str =
    "/usr/share/java/bctls.jar:/usr/share/java/bcprov.jar:/usr/share/java/bcutil.jar";

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    match start() {
        Ok(mut peer) => driven_cells::run(table, &mut peer, &OFFER),
        Err(error) => enter(table, OFFER.name, || {
            Err(format!(
                "{error}; Debian's packages are default-jdk-headless and libbctls-java"
            ))
        }),
    }
}

/// The JVM compiles the program itself.
fn start() -> Result<Driven, String> {
    let source = Workspace::load()?.root.join("peers/bouncycastle/Peer.java");
    let mut command = Command::new("java");
    command.args(["-cp", CLASS_PATH]).arg(source);
    Driven::start(&mut command)
}
