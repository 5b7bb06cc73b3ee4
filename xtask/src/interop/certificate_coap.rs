//! Certificate mode with CoAP inside: the program and the gateway against libcoap's server, libcoap's
//! client against our nodes, over UDP and TCP.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_net::{Node, NodeConfig, ResponseMessage, ServerRequest, StreamConfig, StreamServer};

use super::cell::enter;
use super::certificate_files::{Files, SERVER_NAME};
use super::certificate_peers::Kind;
use super::certificates::store;
use super::coap::Build;
use super::peers::{Transport, free_address, wait_for_port};
use super::program;
use crate::child::{self, Echo, Running};
use crate::table::Table;

const LIMIT: Duration = Duration::from_secs(20);

/// What our node answers, with the mode in which it knows who asks.
const ANSWER: &str = "known as";

/// Enters every cell.
pub(super) fn run(table: &mut Table, files: &Files) {
    let program = match program::build() {
        Ok(program) => program,
        Err(error) => return enter(table, "program for certificates", || Err(error)),
    };
    for build in Build::SECURE {
        for scheme in ["coaps", "coaps+tcp"] {
            let suffix = build.suffix();
            let name = format!("hedgerow get {scheme} -> libcoap/{suffix} X.509");
            enter(table, &name, || as_client(&program, build, scheme, files));
            let name = format!("node {scheme} <- libcoap/{suffix} X.509");
            enter(table, &name, || as_server(build, scheme, files));
        }
        let name = format!("curl -> gateway -> libcoap/{} X.509", build.suffix());
        enter(table, &name, || in_front_of(&program, build, files));
    }
}

/// Starts libcoap's server with a certificate, wanting one of its clients.
fn start_server(build: Build, files: &Files) -> Result<(Running, SocketAddr), String> {
    start_server_at(build, files, free_address()?)
}

fn start_server_at(
    build: Build,
    files: &Files,
    plain: SocketAddr,
) -> Result<(Running, SocketAddr), String> {
    let mut command = Command::new(format!("coap-server-{}", build.suffix()));
    command
        .args([
            "-A",
            "127.0.0.1",
            "-d",
            "10",
            "-p",
            &plain.port().to_string(),
        ])
        .args(["-c", &files.path("server", "pem")])
        .args(["-j", &files.path("server", "key")])
        .args([
            "-C",
            &files.path("ca", "pem"),
            "-R",
            &files.path("ca", "pem"),
        ])
        .stdin(Stdio::null());
    let server = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Dtls, plain.port(), &server)?;
    wait_for_port(Transport::Tls, plain.port(), &server)?;
    let secure = SocketAddr::new(plain.ip(), plain.port().saturating_add(1));
    Ok((server, secure))
}

fn as_client(program: &Path, build: Build, scheme: &str, files: &Files) -> Result<String, String> {
    // On GnuTLS libcoap names no protocol (ALPN), which only port 5684 does without (RFC 8323 §8.2).
    let (_server, secure) = match (build, scheme) {
        (Build::GnuTls, "coaps+tcp") => {
            start_server_at(build, files, SocketAddr::from(([127, 0, 0, 1], 5_683)))?
        }
        _ => start_server(build, files)?,
    };
    let own = [files.path("client", "pem"), files.path("client", "key")];
    let ask = |authority: &str, with_own: bool| {
        let mut command = Command::new(program);
        command
            .args([
                "get",
                "--json",
                "-B",
                "8",
                &format!("{scheme}://{secure}/time"),
            ])
            .args([
                "-C",
                &files.path(authority, "pem"),
                "--server-name",
                SERVER_NAME,
            ])
            .stdin(Stdio::null());
        if with_own {
            command.args(["-c", &own[0], "-j", &own[1]]);
        }
        let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
        Ok::<_, String>((finished.ending, finished.output))
    };
    let (ending, output) = ask("ca", true)?;
    let is_read = output.contains("\"code\":\"2.05\"")
        && output.contains("\"security_mode\":\"Certificate\"");
    if !is_read {
        return Err(format!("{ending:?}: {output}"));
    }
    for (authority, with_own, what) in [("other", true, "authority"), ("ca", false, "own")] {
        let (ending, output) = ask(authority, with_own)?;
        if ending != child::Ending::Exited(5) {
            return Err(format!(
                "without the {what} certificate: {ending:?}: {output}"
            ));
        }
    }
    let suite = output
        .split("\"suite\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    Ok(format!(
        "2.05 under {}; another authority and no certificate: exit code 5",
        suite.unwrap_or("no suite")
    ))
}

/// Says who asks.
async fn whoami(request: ServerRequest) -> ResponseMessage {
    let mode = request.requester.security_mode();
    ResponseMessage::new(Code::CONTENT).payload(format!("{ANSWER} {mode}"))
}

fn as_server(build: Build, scheme: &str, files: &Files) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let store = store(files, Kind::X509)?;
        let address = free_address()?;
        let text = |error: std::io::Error| error.to_string();
        let (node, streams) = match scheme {
            "coaps" => {
                let node = Node::bind_server(address, NodeConfig::default(), store, whoami);
                (Some(node.await.map_err(text)?), None)
            }
            _ => {
                let server = StreamServer::bind(address, StreamConfig::default(), store, whoami);
                (None, Some(server.await.map_err(text)?))
            }
        };
        let right = libcoap(build, scheme, address, files, "client").await?;
        if !right.contains("known as Certificate") {
            return Err(format!("GET: {right}"));
        }
        let stranger = libcoap(build, scheme, address, files, "stranger").await?;
        if stranger.contains(ANSWER) {
            return Err(format!("another authority's client was let in: {stranger}"));
        }
        drop((node, streams));
        Ok("2.05, known as Certificate; another authority's client isn't let in".to_owned())
    })
}

/// libcoap's client as a child, showing what a name stands for.
async fn libcoap(
    build: Build,
    scheme: &str,
    server: SocketAddr,
    files: &Files,
    shown: &str,
) -> Result<String, String> {
    let mut command = Command::new(format!("coap-client-{}", build.suffix()));
    command
        .args(["-B", "6", "-c", &files.path(shown, "pem")])
        .args([
            "-j",
            &files.path(shown, "key"),
            "-C",
            &files.path("ca", "pem"),
        ])
        .args(["-R", &files.path("ca", "pem")])
        .arg(format!("{scheme}://{server}/whoami"))
        .stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    let finished = tokio::task::spawn_blocking(move || client.wait(LIMIT))
        .await
        .map_err(|error| error.to_string())??;
    Ok(finished.output)
}

fn in_front_of(program: &Path, build: Build, files: &Files) -> Result<String, String> {
    let (_server, secure) = start_server(build, files)?;
    let http = free_address()?;
    let config = format!(
        "[http]\nlisten = \"{http}\"\n[dtls]\ndeadline = \"5s\"\n[security]\nminimum = \"certificate\"\n\
         [certificate]\nprivate_key = \"client.key\"\nchain = \"client.pem\"\n\
         [[device]]\nname = \"real\"\nuri = \"coaps://{secure}\"\nmode = \"terminate\"\n\
         security = \"certificate\"\nauthority = \"ca.pem\"\ncertificate_name = \"{SERVER_NAME}\"\n\
         [[device]]\nname = \"stream\"\nuri = \"coaps+tcp://{secure}\"\nmode = \"terminate\"\n\
         security = \"certificate\"\nraw_public_key = \"stranger.pub\"\n"
    );
    let path = files.folder().join(format!("gateway-{}.toml", http.port()));
    fs::write(&path, config).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["gateway", "-v", "--config", &path.display().to_string()])
        .stdin(Stdio::null());
    let gateway = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Tls, http.port(), &gateway)?;
    let ask = |device: &str| {
        let mut command = Command::new("curl");
        command
            .args(["-s", "-m", "15", "-o", "/dev/null", "-w", "%{http_code}"])
            .arg(format!("http://{http}/devices/{device}/time"))
            .stdin(Stdio::null());
        child::run(&mut command, LIMIT, Echo::Hidden).map(|finished| finished.output)
    };
    let (right, wrong) = (ask("real")?, ask("stream")?);
    // libcoap 4.3.1 on GnuTLS refuses a type of certificate in silence where the hello comes while it
    // still accepts the connection ("session establish returned -61"), and with an alert otherwise.
    let is_refused = wrong == "502" || wrong == "504" && matches!(build, Build::GnuTls);
    if right != "200" || !is_refused {
        return Err(format!("{right}, {wrong}: {}", gateway.output()));
    }
    let log = gateway.output();
    if !log.contains("security=Certificate") {
        return Err(format!("the log names no mode: {log}"));
    }
    Ok(format!(
        "200; {wrong} for a device that has no raw public key"
    ))
}
