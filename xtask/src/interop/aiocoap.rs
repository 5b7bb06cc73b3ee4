//! aiocoap over its tinydtls transport: its client against our server, our client against its file
//! server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_net::{Node, RequestFailure, RequestMessage};
use hedgerow_record::CipherSuite;

use super::cell::enter;
use super::coap::{IDENTITY, PSK, ask, body, config, expect_code, start_node, target};
use super::peers::{Transport, free_address, wait_for_port};
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;
use crate::workspace::Workspace;

/// For one command. aiocoap's client gives a handshake up after some 15 s of silence.
const LIMIT: Duration = Duration::from_secs(30);

/// Versions that are known to build. `DTLSSocket` is tinydtls with a binding for Python, which pip
/// compiles. The server doesn't start without what aiocoap needs for OSCORE.
const PACKAGES: [&str; 2] = ["aiocoap[oscore]==0.4.17", "DTLSSocket==0.2.3"];

const WRONG_PSK: &str = "otherwise";

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
        Ok((runtime, folder(&workspace).join("bin")))
    });
    let (runtime, programs) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "aiocoap", || Err(error));
            return;
        }
    };
    let (client, server) = (
        programs.join("aiocoap-client"),
        programs.join("aiocoap-fileserver"),
    );
    enter(
        table,
        &format!("client -> aiocoap/tinydtls {SUITE}"),
        || runtime.block_on(as_client(&server)),
    );
    enter(table, "client -> aiocoap/tinydtls wrong key", || {
        runtime.block_on(client_refused(&server))
    });
    enter(
        table,
        &format!("server <- aiocoap/tinydtls {SUITE}"),
        || runtime.block_on(as_server(&client)),
    );
    for (what, identity, psk) in [
        ("wrong key", IDENTITY, WRONG_PSK),
        ("unknown identity", "Somebody_else", PSK),
    ] {
        enter(table, &format!("server <- aiocoap/tinydtls {what}"), || {
            runtime.block_on(server_refuses(&client, identity, psk))
        });
    }
}

/// Returns the folder of aiocoap's programs.
pub(super) fn programs() -> Result<PathBuf, String> {
    Ok(folder(&Workspace::load()?).join("bin"))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peer-aiocoap")
}

/// The file server on a port of its own, with a small file and one that is longer than a block.
struct FileServer {
    _running: Running,
    secure: SocketAddr,
    files: PathBuf,
}

impl FileServer {
    fn start(program: &Path) -> Result<Self, String> {
        let plain = free_address()?;
        let scratch = std::env::temp_dir().join(format!("hedgerow-files-{}", plain.port()));
        let files = scratch.join("files");
        let credentials = scratch.join("credentials.json");
        let dtls = format!(
            r#"{{":c": {{"dtls": {{"psk": {{"ascii": "{PSK}"}}, "client-identity": {{"ascii": "{IDENTITY}"}}}}}}}}"#
        );
        fs::create_dir_all(&files)
            .and_then(|()| fs::write(&credentials, dtls))
            .and_then(|()| fs::write(files.join("small"), "hedgerow"))
            .and_then(|()| fs::write(files.join("large"), body()))
            .map_err(|error| format!("{}: {error}", scratch.display()))?;
        let mut command = Command::new(program);
        command
            .env("AIOCOAP_SERVER_TRANSPORT", "udp6:tinydtls_server:tinydtls")
            .args(["--write", "--bind", &plain.to_string(), "--credentials"])
            .arg(&credentials)
            .arg(&files)
            .stdin(Stdio::null());
        let running = Running::start(&mut command, Echo::Hidden)?;
        // Its secure port is the one above the plain one.
        let secure = SocketAddr::new(plain.ip(), plain.port().saturating_add(1));
        wait_for_port(Transport::Dtls, secure.port(), &running)?;
        Ok(Self {
            _running: running,
            secure,
            files,
        })
    }
}

async fn bind_client() -> Result<Node, String> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    Node::bind_client(local, config(Some(SUITE)))
        .await
        .map_err(|error| error.to_string())
}

async fn as_client(program: &Path) -> Result<String, String> {
    let server = FileServer::start(program)?;
    let target = target(server.secure, Some(PSK))?;
    let node = bind_client().await?;
    let get = |path| RequestMessage::new(Code::GET).path(path);
    for (path, expected) in [("/small", b"hedgerow".to_vec()), ("/large", body())] {
        let read = ask(&node, &target, get(path)).await?;
        expect_code(&read, Code::CONTENT)?;
        if read.payload != expected {
            return Err(format!("{path}: {} bytes, or changed", read.payload.len()));
        }
    }
    let missing = ask(&node, &target, get("/not-here")).await?;
    expect_code(&missing, Code::NOT_FOUND)?;
    let put = RequestMessage::new(Code::PUT)
        .path("/written")
        .payload(body());
    let put = ask(&node, &target, put).await?;
    let written = fs::read(server.files.join("written")).unwrap_or_default();
    if !matches!(put.code, Code::CHANGED | Code::CREATED) || written != body() {
        return Err(format!("PUT: {}, {} bytes", put.code, written.len()));
    }
    node.close().await;
    Ok(format!(
        "GET, 4.04, {} bytes read and written in blocks",
        body().len()
    ))
}

async fn client_refused(program: &Path) -> Result<String, String> {
    let server = FileServer::start(program)?;
    let node = bind_client().await?;
    let target = target(server.secure, Some(WRONG_PSK))?;
    let request = RequestMessage::new(Code::GET).path("/small");
    match tokio::time::timeout(LIMIT, node.request(&target, request)).await {
        Ok(Err(RequestFailure::Channel(error))) => Ok(error.to_string()),
        Ok(Err(error)) => Err(format!("unclear: {error}")),
        Ok(Ok(_)) => Err("answered under a wrong key".to_owned()),
        Err(_) => Err(format!("nothing within {LIMIT:?}")),
    }
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
