//! aiocoap's client over its tinydtls transport, against our server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use hedgerow_net::Node;
use hedgerow_record::CipherSuite;

use super::cell::enter;
use super::coap::{IDENTITY, PSK, body, start_node};
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;
use crate::workspace::Workspace;

/// For one command. aiocoap's client gives a handshake up after some 15 s of silence.
const LIMIT: Duration = Duration::from_secs(30);

/// Versions that are known to build. `DTLSSocket` is tinydtls with a binding for Python, which pip
/// compiles.
const PACKAGES: [&str; 2] = ["aiocoap==0.4.17", "DTLSSocket==0.2.3"];

/// The one suite that tinydtls has for pre-shared keys.
const SUITE: CipherSuite = CipherSuite::TLS_PSK_WITH_AES_128_CCM_8;

/// Installs the client into an environment of its own, unless it is there. This comes before the
/// namespace, since pip fetches it.
///
/// # Errors
///
/// What pip or the compiler said last.
pub(super) fn install() -> Result<(), String> {
    let folder = folder(&Workspace::load()?);
    let marker = folder.join("installed");
    let packages = PACKAGES.join(" ");
    if fs::read_to_string(&marker).is_ok_and(|text| text == packages) {
        return Ok(());
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet"]).args(PACKAGES);
    for command in [&mut make, &mut install] {
        let finished = child::run(command, Duration::from_secs(300), Echo::Hidden)?;
        if !finished.is_success() {
            return Err(format!(
                "aiocoap: {}; it needs Debian's packages autoconf, automake, gcc, make, python3-dev \
                 and python3-venv\n{}",
                finished.ending_text(),
                finished.tail(10)
            ));
        }
    }
    fs::write(&marker, packages).map_err(|error| format!("{}: {error}", marker.display()))
}

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let ready = Workspace::load().and_then(|workspace| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        println!("peer: {}", PACKAGES.join(" "));
        Ok((runtime, folder(&workspace).join("bin/aiocoap-client")))
    });
    let (runtime, program) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "aiocoap", || Err(error));
            return;
        }
    };
    enter(
        table,
        &format!("server <- aiocoap/tinydtls {SUITE}"),
        || runtime.block_on(as_server(&program)),
    );
    for (what, identity, psk) in [
        ("wrong key", IDENTITY, "otherwise"),
        ("unknown identity", "Somebody_else", PSK),
    ] {
        enter(table, &format!("server <- aiocoap/tinydtls {what}"), || {
            runtime.block_on(server_refuses(&program, identity, psk))
        });
    }
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peer-aiocoap")
}

/// Runs the client: `aiocoap-client MORE coaps://NODE/PATH`.
async fn client(
    program: &Path,
    node: &Node,
    (identity, psk): (&str, &str),
    path: &str,
    more: &[&str],
) -> Result<Finished, String> {
    let address = node.local_addr();
    let credentials =
        std::env::temp_dir().join(format!("hedgerow-aiocoap-{}.json", address.port()));
    fs::write(
        &credentials,
        format!(
            r#"{{"coaps://{address}/*": {{"dtls": {{"psk": {{"ascii": "{psk}"}}, "client-identity": {{"ascii": "{identity}"}}}}}}}}"#
        ),
    )
    .map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .env("AIOCOAP_CLIENT_TRANSPORT", "tinydtls")
        .arg("--credentials")
        .arg(&credentials)
        .args(more)
        .arg(format!("coaps://{address}/{path}"))
        .stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    // The node runs on this thread, so that the child is waited for on another.
    tokio::task::spawn_blocking(move || client.wait(LIMIT))
        .await
        .map_err(|error| error.to_string())?
}

async fn as_server(program: &Path) -> Result<String, String> {
    let (node, written) = start_node(SUITE).await?;
    let shown = (IDENTITY, PSK);
    let small = client(program, &node, shown, "small", &[]).await?;
    if !small.is_success() || small.output.trim() != "hedgerow" {
        return Err(format!("GET small: {}", small.output));
    }
    let large = client(program, &node, shown, "large", &[]).await?;
    if large.output.as_bytes().trim_ascii() != body().trim_ascii() {
        return Err(format!("GET large: {} bytes", large.output.len()));
    }
    let sent = std::env::temp_dir().join(format!("hedgerow-sent-{}", node.local_addr().port()));
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let payload = format!("@{}", sent.display());
    let put = ["-m", "PUT", "--payload", &payload];
    let put = client(program, &node, shown, "large", &put).await?;
    let kept = written
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if !put.is_success() || kept != body() {
        return Err(format!("PUT large: {} bytes; {}", kept.len(), put.output));
    }
    let missing = client(program, &node, shown, "nowhere", &[]).await?;
    if missing.is_success() || !missing.output.contains("4.04") {
        return Err(format!("GET nowhere: {}", missing.output));
    }
    let _ = fs::remove_file(&sent);
    node.close().await;
    Ok(format!(
        "GET, 4.04, {} bytes read and written in blocks",
        body().len()
    ))
}

async fn server_refuses(program: &Path, identity: &str, psk: &str) -> Result<String, String> {
    let (node, _) = start_node(SUITE).await?;
    let finished = client(program, &node, (identity, psk), "small", &[]).await?;
    if finished.is_success() || finished.output.contains("hedgerow") {
        return Err(format!("answered: {}", finished.output));
    }
    let counted = node.statistics();
    if counted.established > 0 {
        return Err("established".to_owned());
    }
    // A client that failed before it sent its key's Finished would show nothing.
    if counted.failed_handshakes == 0 {
        return Err(format!("no handshake that failed: {}", finished.output));
    }
    let last = finished.output.lines().last().unwrap_or("nothing");
    Ok(format!(
        "handshake failed; {}, peer says: {last}",
        finished.ending_text()
    ))
}
