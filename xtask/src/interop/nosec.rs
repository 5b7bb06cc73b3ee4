//! CoAP in clear (NoSec): our server against libcoap's client and aiocoap, which have to answer its Echo
//! challenge (RFC 9175), and our client against aiocoap's server. libcoap's server in clear is among the
//! cells of `coap`.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_net::{Node, RequestMessage, ResponseMessage, ServerRequest};

use super::aiocoap;
use super::cell::{enter, limitation};
use super::coap::{LIMIT, answer, ask, body, clear_config, expect_code, target};
use super::peers::{Transport, free_address, wait_for_port};
use crate::child::{Echo, Finished, Running};
use crate::table::Table;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let ready = aiocoap::programs().and_then(|programs| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok((runtime, programs))
    });
    let (runtime, programs) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            enter(table, "nosec", || Err(error));
            return;
        }
    };
    enter(table, "server <- libcoap/notls coap", || {
        runtime.block_on(libcoap_asks())
    });
    let python = programs.join("python");
    enter(table, "server <- aiocoap coap", || {
        runtime.block_on(aiocoap_asks(&python))
    });
    let client = programs.join("aiocoap-client");
    limitation(table, "server <- aiocoap-client coap", || {
        ignores_echo(&client)
    });
    enter(table, "server <- aiocoap-client coap, unproved", || {
        runtime.block_on(unproved_asks(&client))
    });
    let server = programs.join("aiocoap-fileserver");
    enter(table, "client -> aiocoap coap", || {
        runtime.block_on(ask_aiocoap(&server))
    });
}

/// Our server, and what was written to it.
struct Served {
    node: Node,
    written: Arc<Mutex<Vec<u8>>>,
    /// How often it was asked for something that it carried out.
    handled: Arc<Mutex<Vec<Code>>>,
}

impl Served {
    async fn start(max_unproved: usize) -> Result<Self, String> {
        let mut config = clear_config();
        config.endpoint.max_unproved_associations = max_unproved;
        let written = Arc::new(Mutex::new(Vec::new()));
        let handled = Arc::new(Mutex::new(Vec::new()));
        let (kept, noted) = (Arc::clone(&written), Arc::clone(&handled));
        let handler = move |request: ServerRequest| {
            let (kept, noted) = (Arc::clone(&kept), Arc::clone(&noted));
            async move { handle(&request.message, &kept, &noted) }
        };
        let node = Node::bind_server_without_security(free_address()?, config, handler)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self {
            node,
            written,
            handled,
        })
    }

    fn uri(&self, path: &str) -> String {
        format!("coap://{}/{path}", self.node.local_addr())
    }

    fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, code: Code) -> usize {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        handled.iter().filter(|it| **it == code).count()
    }
}

fn handle(
    request: &RequestMessage,
    kept: &Mutex<Vec<u8>>,
    noted: &Mutex<Vec<Code>>,
) -> ResponseMessage {
    noted
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.method);
    if request.method == Code::POST {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = request.payload.clone();
        let len = request.payload.len();
        return ResponseMessage::new(Code::CHANGED).payload(format!("{len} bytes posted"));
    }
    answer(request, kept)
}

/// Runs a peer's client. The node runs on this thread, so the child is waited for on another.
async fn finish(mut command: Command) -> Result<Finished, String> {
    command.stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    tokio::task::spawn_blocking(move || client.wait(LIMIT))
        .await
        .map_err(|error| error.to_string())?
}

fn scratch(port: u16) -> Result<PathBuf, String> {
    let folder = std::env::temp_dir().join(format!("hedgerow-nosec-{port}"));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// Each command is a client of its own, whose first request is challenged.
async fn libcoap_asks() -> Result<String, String> {
    let served = Served::start(0).await?;
    let files = scratch(served.node.local_addr().port())?;
    let (sent, received) = (files.join("sent"), files.join("received"));
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let (sent, got) = (sent.to_string_lossy(), received.to_string_lossy());
    let command = |path: &str, more: &[&str]| {
        let mut command = Command::new("coap-client-notls");
        command.args(["-B", "8"]).args(more).arg(served.uri(path));
        command
    };
    // Its log at this level shows each message: what came back, and what went out after it.
    let small = finish(command("small", &["-v", "7"])).await?;
    if !small.output.contains("hedgerow") {
        return Err(format!("GET small: {}", small.tail(10)));
    }
    let echoed = small
        .output
        .lines()
        .filter(|line| line.contains("Echo:0x"))
        .count();
    if echoed < 2 {
        return Err("no challenge and answer in libcoap's log".to_owned());
    }
    finish(command("large", &["-o", &got])).await?;
    let read = fs::read(&received).unwrap_or_default();
    if read != body() {
        return Err(format!("GET large: {} bytes, or changed", read.len()));
    }
    finish(command("large", &["-m", "put", "-f", &sent])).await?;
    let put = served.take_written();
    if put != body() {
        return Err(format!("PUT large: {} bytes, or changed", put.len()));
    }
    let posted = finish(command("here", &["-m", "post", "-e", "once"])).await?;
    if !posted.output.contains("4 bytes posted") || served.count(Code::POST) != 1 {
        return Err(format!(
            "POST: carried out {} times: {}",
            served.count(Code::POST),
            posted.output
        ));
    }
    finish(command("here", &["-m", "post", "-f", &sent])).await?;
    let posted = served.take_written();
    if posted != body() {
        return Err(format!("POST large: {} bytes, or changed", posted.len()));
    }
    let _ = fs::remove_dir_all(&files);
    served.node.close().await;
    Ok(format!(
        "Echo answered; GET, PUT, POST, {} bytes read and written in blocks",
        body().len()
    ))
}

/// A client on aiocoap's library. Its own program takes a challenge for the answer.
const AIOCOAP_CLIENT: &str = r#"
import asyncio, sys
from aiocoap import Code, Context, Message, UNAUTHORIZED

async def main(method, uri, payload):
    context = await Context.create_client_context()
    payload = open(payload[1:], "rb").read() if payload.startswith("@") else payload.encode()
    def request(**options):
        return Message(code=getattr(Code, method), uri=uri, payload=payload, **options)
    response = await context.request(request()).response
    if response.code == UNAUTHORIZED and response.opt.echo is not None:
        response = await context.request(request(echo=response.opt.echo)).response
    sys.stdout.buffer.write(response.payload)
    await context.shutdown()
    sys.exit(0 if response.code.is_successful() else str(response.code))

asyncio.run(main(*sys.argv[1:]))
"#;

/// The limitation of aiocoap's program: after a challenge of a server that isn't ours nothing more comes.
fn ignores_echo(program: &Path) -> Result<String, String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .arg(format!("coap://{address}/small"))
        .stdin(Stdio::null());
    let client = Running::start(&mut command, Echo::Hidden)?;
    let mut request = [0; 64];
    let (len, from) = socket
        .recv_from(&mut request)
        .map_err(|error| error.to_string())?;
    let [first, _, high, low, rest @ ..] = request.get(..len).unwrap_or_default() else {
        return Err(format!("{len} bytes came"));
    };
    let token_len = first & 0x0f;
    let token = rest.get(..usize::from(token_len)).unwrap_or_default();
    // 4.01, acknowledged and piggybacked, with the option 252 and eight bytes in it.
    let mut challenge = vec![0x60 | token_len, 0x81, *high, *low];
    challenge.extend_from_slice(token);
    challenge.extend_from_slice(b"\xd8\xef01234567");
    socket
        .send_to(&challenge, from)
        .map_err(|error| error.to_string())?;
    let finished = client.wait(LIMIT)?;
    let set = socket.set_nonblocking(true);
    set.map_err(|error| error.to_string())?;
    if finished.is_success() || socket.recv_from(&mut request).is_ok() {
        return Err("it goes on after a challenge".to_owned());
    }
    let last = finished.output.lines().last().unwrap_or("nothing");
    Ok(format!(
        "after 4.01 with Echo it sends nothing more and says: {last}"
    ))
}

/// aiocoap's program against a server that is configured for such clients: what is short or was asked
/// with as much goes through, the rest is challenged.
async fn unproved_asks(program: &Path) -> Result<String, String> {
    let served = Served::start(8).await?;
    let files = scratch(served.node.local_addr().port())?;
    let sent = files.join("sent");
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let sent = format!("@{}", sent.display());
    let command = |path: &str, more: &[&str]| {
        let mut command = Command::new(program);
        command.args(more).arg(served.uri(path));
        command
    };
    let small = finish(command("small", &[])).await?;
    if !small.is_success() || small.output.trim() != "hedgerow" {
        return Err(format!("GET small: {}", small.tail(10)));
    }
    let put = finish(command("large", &["-m", "PUT", "--payload", &sent])).await?;
    let written = served.take_written();
    if !put.is_success() || written != body() {
        let len = written.len();
        return Err(format!("PUT large: {len} bytes; {}", put.tail(10)));
    }
    for more in [&["-m", "POST", "--payload", "once"][..], &[][..]] {
        let path = if more.is_empty() { "large" } else { "here" };
        let refused = finish(command(path, more)).await?;
        if refused.is_success() || !refused.output.contains("4.01") {
            return Err(format!("{path} {more:?}: {}", refused.tail(10)));
        }
    }
    if served.count(Code::POST) != 0 {
        return Err("POST was carried out and challenged".to_owned());
    }
    let _ = fs::remove_dir_all(&files);
    served.node.close().await;
    Ok(format!(
        "GET, {} bytes written in blocks; POST and a long answer challenged",
        body().len()
    ))
}

async fn aiocoap_asks(program: &Path) -> Result<String, String> {
    let served = Served::start(0).await?;
    let files = scratch(served.node.local_addr().port())?;
    let sent = files.join("sent");
    fs::write(&sent, body()).map_err(|error| error.to_string())?;
    let sent = format!("@{}", sent.display());
    let command = |method: &str, path: &str, payload: &str| {
        let mut command = Command::new(program);
        command
            .args(["-c", AIOCOAP_CLIENT, method])
            .arg(served.uri(path))
            .arg(payload);
        command
    };
    let small = finish(command("GET", "small", "")).await?;
    if !small.is_success() || small.output.trim() != "hedgerow" {
        return Err(format!("GET small: {}", small.tail(10)));
    }
    let large = finish(command("GET", "large", "")).await?;
    if large.output.as_bytes().trim_ascii() != body().trim_ascii() {
        return Err(format!("GET large: {} bytes", large.output.len()));
    }
    let put = finish(command("PUT", "large", &sent)).await?;
    let written = served.take_written();
    if !put.is_success() || written != body() {
        return Err(format!(
            "PUT large: {} bytes; {}",
            written.len(),
            put.tail(10)
        ));
    }
    let post = finish(command("POST", "here", "once")).await?;
    if !post.is_success() || served.take_written() != b"once" || served.count(Code::POST) != 1 {
        return Err(format!(
            "POST: carried out {} times: {}",
            served.count(Code::POST),
            post.tail(10)
        ));
    }
    let _ = fs::remove_dir_all(&files);
    served.node.close().await;
    Ok(format!(
        "Echo answered; GET, PUT, POST, {} bytes read and written in blocks",
        body().len()
    ))
}

/// aiocoap's file server.
async fn ask_aiocoap(program: &Path) -> Result<String, String> {
    let plain = free_address()?;
    let files = scratch(plain.port())?;
    fs::write(files.join("small"), "hedgerow")
        .and_then(|()| fs::write(files.join("large"), body()))
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .env("AIOCOAP_SERVER_TRANSPORT", "udp6")
        .args(["--write", "--bind", &plain.to_string()])
        .arg(&files)
        .stdin(Stdio::null());
    let server = Running::start(&mut command, Echo::Hidden)?;
    wait_for_port(Transport::Dtls, plain.port(), &server)?;

    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let node = Node::bind_client(local, clear_config())
        .await
        .map_err(|error| error.to_string())?;
    let target = target(plain, None)?;
    let get = |path| RequestMessage::new(Code::GET).path(path);
    let untouched = RequestMessage {
        answers_challenges: false,
        ..get("/small")
    };
    let first = ask(&node, &target, untouched).await?;
    let challenged = first.values(OptionNumber::ECHO).next().is_some();
    for (path, expected) in [("/small", b"hedgerow".to_vec()), ("/large", body())] {
        let read = ask(&node, &target, get(path)).await?;
        expect_code(&read, Code::CONTENT)?;
        if read.payload != expected {
            return Err(format!("{path}: {} bytes, or changed", read.payload.len()));
        }
    }
    let put = RequestMessage::new(Code::PUT)
        .path("/written")
        .payload(body());
    let put = ask(&node, &target, put).await?;
    let written = fs::read(files.join("written")).unwrap_or_default();
    if !matches!(put.code, Code::CHANGED | Code::CREATED) || written != body() {
        return Err(format!("PUT: {}, {} bytes", put.code, written.len()));
    }
    // It takes no POST, and says so.
    let post = RequestMessage::new(Code::POST).path("/small").payload("x");
    let post = ask(&node, &target, post).await?;
    expect_code(&post, Code::METHOD_NOT_ALLOWED)?;
    let _ = fs::remove_dir_all(&files);
    node.close().await;
    let how = match (challenged, first.code) {
        (true, code) => format!("its challenge ({code} with Echo) answered"),
        (false, code) => format!("no challenge, {code} at once"),
    };
    Ok(format!(
        "{how}; GET, PUT, POST (4.05), {} bytes read and written in blocks",
        body().len()
    ))
}
