//! The program as people run it: its demonstration with every line that it prints, libcoap's clients
//! against the simulated devices, and the gateway with `curl` in front and libcoap behind.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hedgerow_record::{CipherSuite, KeyExchange};

use super::cell::{enter, hex};
use super::clock::Clock;
use super::coap::{Build, IDENTITY, PSK, start_server, start_server_at};
use super::dtls_end::Identity;
use super::gateway::make_private;
use super::peers::{Peer, SUITES, Transport, free_address};
use crate::child::{self, Echo, Finished, Running};
use crate::table::Table;

/// For one command.
const LIMIT: Duration = Duration::from_secs(40);

/// What is written through the gateway: longer than one block, and than 64 kB.
const IMAGE_LEN: usize = 100_000;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let program = match build() {
        Ok(program) => program,
        Err(error) => {
            enter(table, "program", || Err(error));
            return;
        }
    };
    demonstration(table, &program);
    for build in Build::SECURE {
        let name = format!("curl -> gateway -> libcoap/{}", build.suffix());
        enter(table, &name, || in_front_of(&program, build));
    }
    for peer in Peer::ALL {
        let name = format!("{} -> gateway's HTTPS with a key", peer.name());
        enter(table, &name, || https_psk(&program, peer));
    }
    enter(table, "gateway: device restarted", || restarted(&program));
    enter(table, "gateway: what people get wrong", || {
        mistakes(&program)
    });
    enter(table, "hedgerow get: exit codes", || exit_codes(&program));
}

pub(super) fn build() -> Result<PathBuf, String> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--locked", "--package", "hedgerow"]);
    let finished = child::run(&mut command, Duration::from_secs(900), Echo::Shown)?;
    if !finished.is_success() {
        return Err(format!("build: {}", finished.ending_text()));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let program = PathBuf::from(target).join("debug").join("hedgerow");
    fs::canonicalize(&program).map_err(|error| format!("{}: {error}", program.display()))
}

/// Starts the demonstration, which then has printed all that it says.
pub(super) fn start_demonstration(program: &Path) -> Result<Running, String> {
    let mut command = Command::new(program);
    command
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::null());
    let mut demo = Running::start(&mut command, Echo::Hidden)?;
    if demo.wait_for("Ctrl-C ends it.", LIMIT) {
        Ok(demo)
    } else {
        Err(format!("demonstration doesn't start: {}", demo.output()))
    }
}

fn demonstration(table: &mut Table, program: &Path) {
    let demo = match start_demonstration(program) {
        Ok(demo) => demo,
        Err(error) => {
            enter(table, "demonstration", || Err(error));
            return;
        }
    };
    let printed = demo.output();
    enter(table, "demonstration: every line it prints", || {
        printed_lines(&printed)
    });
    for build in Build::SECURE {
        let name = format!("libcoap/{} -> simulated devices", build.suffix());
        enter(table, &name, || libcoap_client(&printed, build));
    }
    enter(table, "demonstration: keys for their owner alone", || {
        keys_are_private(&printed)
    });
}

/// Runs every command that the demonstration suggests, in a folder of its own.
fn printed_lines(printed: &str) -> Result<String, String> {
    let folder = scratch("lines")?;
    // Without a terminal curl reports its progress, which would stand in the middle of the answers.
    fs::write(folder.join(".curlrc"), "silent\nshow-error\n").map_err(|error| error.to_string())?;
    let mut count = 0;
    for line in printed.lines() {
        let is_command = line.starts_with("  curl ")
            || line.starts_with("  head ")
            || line.starts_with("  printf ")
            || line.contains(" get --keys ")
            || line.contains(" put --keys ")
            || line.starts_with("  coap-client");
        if !is_command {
            continue;
        }
        let finished = shell(line.trim(), &folder)?;
        if !finished.is_success() {
            return Err(format!("{line}: {}", finished.output));
        }
        expect_answer(line, &finished.output)?;
        count += 1;
    }
    if count < 10 {
        return Err(format!("only {count} lines found in {printed}"));
    }
    Ok(format!("{count} lines run, each succeeded"))
}

/// What the answers have to contain, beyond an exit code of 0.
fn expect_answer(line: &str, output: &str) -> Result<(), String> {
    let is_right = if line.contains("s_client -quiet") {
        output.contains("HTTP/1.1 200 OK")
    } else if line.contains("/temperature") {
        output.chars().any(|char| char.is_ascii_digit())
    } else if line.contains("/meter/history") {
        output.len() >= 30_000
    } else if line.contains("sha256sum") {
        let digests: Vec<&str> = output
            .split(|char: char| !char.is_ascii_hexdigit())
            .filter(|word| word.len() == 64)
            .collect();
        matches!(digests.as_slice(), [stored, sent] if stored == sent)
    } else if line.contains("well-known") {
        output.contains("</")
    } else {
        true
    };
    let shown: String = output.chars().take(200).collect();
    if is_right {
        Ok(())
    } else {
        Err(format!("{line}: unexpected answer: {shown}"))
    }
}

/// Finds the value that the demonstration prints behind a name.
pub(super) fn value<'p>(printed: &'p str, name: &str) -> Result<&'p str, String> {
    printed
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(name)).then(|| words.next())?
        })
        .ok_or_else(|| format!("no line for {name} in {printed}"))
}

/// The identity and the key for `uri` in the demonstration's file.
fn key_for(printed: &str, uri: &str) -> Result<(String, String), String> {
    let file = value(printed, "keys")?;
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let field = |table: &str, name: &str| {
        table
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} = \"")))
            .and_then(|rest| rest.strip_suffix('"'))
            .map(str::to_owned)
    };
    text.split("[[key]]")
        .find(|table| field(table, "uri").as_deref() == Some(uri))
        .and_then(|table| Some((field(table, "identity")?, field(table, "key")?)))
        .ok_or_else(|| format!("no key for {uri} in {file}"))
}

fn libcoap_client(printed: &str, build: Build) -> Result<String, String> {
    let meter = value(printed, "meter")?;
    let lamp = value(printed, "lamp")?;
    let client = format!("coap-client-{}", build.suffix());
    let ask = |uri: &str, key: &str, identity: &str, more: &[&str]| {
        let mut command = Command::new(&client);
        command
            .args(["-u", identity, "-k", key, "-B", "8"])
            .args(more)
            .arg(uri)
            .stdin(Stdio::null());
        child::run(&mut command, LIMIT, Echo::Hidden).map(|finished| finished.output)
    };
    let (identity, key) = key_for(printed, meter)?;
    let history = ask(&format!("{meter}/history"), &key, &identity, &[])?;
    if history.len() < 30_000 {
        return Err(format!("history of {} bytes", history.len()));
    }
    let wrong = ask(&format!("{meter}/reading"), "wrong", &identity, &[])?;
    if wrong.chars().any(|char| char.is_ascii_digit()) && !wrong.contains("ERR") {
        return Err(format!("answered under a wrong key: {wrong}"));
    }
    let (identity, key) = key_for(printed, lamp)?;
    let state = format!("{lamp}/state");
    ask(
        &state,
        &key,
        &identity,
        &["-m", "put", "-t", "text", "-e", "on"],
    )?;
    let is_on = ask(&state, &key, &identity, &[])?;
    if !is_on.contains("on") {
        return Err(format!("lamp says {is_on}"));
    }
    Ok(format!(
        "{} bytes of history in blocks, lamp written and read, wrong key refused",
        history.len()
    ))
}

fn keys_are_private(printed: &str) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt as _;

    let file = value(printed, "keys")?;
    let mode = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| metadata.permissions().mode() & 0o777)
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let path = Path::new(file);
    let folder = path.parent().ok_or("no folder")?;
    match (mode(path)?, mode(folder)?) {
        (0o600, 0o700) => Ok("file 600 in a folder 700".to_owned()),
        (file, folder) => Err(format!("file {file:o} in a folder {folder:o}")),
    }
}

/// A gateway in front of a libcoap server, by configuration.
struct Gateway {
    running: Running,
    http: String,
    /// Where it takes HTTPS with a pre-shared key.
    https_psk: SocketAddr,
}

impl Gateway {
    fn start(program: &Path, device: SocketAddr, psk: &str) -> Result<Self, String> {
        let folder = scratch("gateway")?;
        let listen = free_address()?;
        let https_psk = free_address()?;
        let browser = String::from_utf8_lossy(BROWSER.psk_identity);
        let browser_key = hex(BROWSER.psk);
        let file = folder.join("hedgerow.toml");
        fs::write(
            &file,
            format!(
                r#"
[http]
listen = "{listen}"

[https_psk]
listen = "{https_psk}"
[[https_psk.client]]
psk_identity = "{browser}"
psk = "0x{browser_key}"

[dtls]
deadline = "6s"

[hc]
enabled = true
devices = ["real"]

[[device]]
name = "real"
uri = "coaps://{device}"
mode = "terminate"
security = "psk"
psk_identity = "{IDENTITY}"
psk = "{psk}"
methods = ["GET", "PUT", "POST", "DELETE"]
"#
            ),
        )
        .map_err(|error| error.to_string())?;
        make_private(&file)?;
        let mut command = Command::new(program);
        command
            .args(["gateway", "--config"])
            .arg(&file)
            .stdin(Stdio::null());
        let running = Running::start(&mut command, Echo::Hidden)?;
        let http = format!("http://{listen}");
        let gateway = Self {
            running,
            http,
            https_psk,
        };
        let clock = Clock::start();
        while clock.elapsed() < LIMIT {
            if gateway
                .curl(&["/healthz"])
                .is_ok_and(|(code, _)| code == 200)
            {
                return Ok(gateway);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "gateway doesn't start: {}",
            gateway.running.output()
        ))
    }

    /// Runs curl and returns status and body. The first argument is a path.
    fn curl(&self, args: &[&str]) -> Result<(u16, String), String> {
        let (path, more) = args.split_first().ok_or("no path")?;
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--max-time",
                "35",
                "--write-out",
                "\n%{http_code}",
            ])
            .args(more)
            .arg(format!("{}{path}", self.http))
            .stdin(Stdio::null());
        let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
        let (body, code) = finished
            .output
            .rsplit_once('\n')
            .ok_or_else(|| finished.output.clone())?;
        let code = code.trim().parse().map_err(|_| finished.output.clone())?;
        Ok((code, body.to_owned()))
    }

    fn expect(&self, status: u16, args: &[&str]) -> Result<String, String> {
        let (code, body) = self.curl(args)?;
        if code == status {
            return Ok(body);
        }
        let shown: String = body.chars().take(300).collect();
        Err(format!(
            "{args:?}: {code} where {status} was expected: {shown}"
        ))
    }
}

fn in_front_of(program: &Path, build: Build) -> Result<String, String> {
    let (_server, _, secure) = start_server(build)?;
    let gateway = Gateway::start(program, secure, PSK)?;
    gateway.expect(200, &["/devices/real/time"])?;
    gateway.expect(200, &[&format!("/hc/coaps://{secure}/time")])?;
    gateway.expect(404, &["/devices/real/not/here"])?;
    gateway.expect(404, &["/devices/unknown/time"])?;
    gateway.expect(403, &["/hc/coaps://127.0.0.1:9/time"])?;

    let folder = scratch("image")?;
    let image = folder.join("image");
    let bytes: Vec<u8> = (0..IMAGE_LEN)
        .map(|at| b'a'.saturating_add(u8::try_from(at % 26).unwrap_or_default()))
        .collect();
    fs::write(&image, &bytes).map_err(|error| error.to_string())?;
    let data = format!("@{}", image.display());
    let (code, answer) = gateway.curl(&[
        "/devices/real/example_data",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/octet-stream",
        "--data-binary",
        &data,
    ])?;
    if !matches!(code, 200 | 201 | 204) {
        return Err(format!("PUT of {IMAGE_LEN} bytes: {code} {answer}"));
    }
    let back = gateway.expect(200, &["/devices/real/example_data"])?;
    if back.as_bytes() != bytes {
        return Err(format!("{} bytes came back, or changed", back.len()));
    }
    Ok(format!(
        "GET by name and by URI, 404, 403, {IMAGE_LEN} bytes written and read in blocks"
    ))
}

/// Whoever shows this key is served over HTTPS.
const BROWSER: Identity<'static> = Identity {
    psk_identity: b"dashboard",
    psk: b"a browser's key!",
};

/// HTTP/1.1 by hand over TLS-PSK, suite by suite, and with a wrong key; curl has no TLS-PSK.
fn https_psk(program: &Path, peer: Peer) -> Result<String, String> {
    let (_server, _, secure) = start_server(Build::OpenSsl)?;
    let gateway = Gateway::start(program, secure, PSK)?;
    let ask = |suite, identity, path: &str| {
        let mut client = peer.start_client(Transport::Tls, suite, identity, gateway.https_psk)?;
        let mut input = client.take_stdin().ok_or("no standard input")?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        // A client that is refused has closed its input by then.
        let _ = input.write_all(head.as_bytes());
        let is_served = client.wait_for("HTTP/1.1 ", Duration::from_secs(8))
            && client.wait_for("\r\n\r\n", LIMIT);
        Ok::<_, String>((is_served, client.output()))
    };
    let mut suites = 0;
    for suite in SUITES {
        // A signal ends gnutls-cli with an ephemeral key and a pre-shared one; other cells show it.
        if peer == Peer::GnuTls && suite.key_exchange() == Some(KeyExchange::EcdhePsk) {
            continue;
        }
        for (path, status) in [("/devices/real/time", "200"), ("/devices/none/time", "404")] {
            let (_, output) = ask(suite, BROWSER, path)?;
            if !output.contains(&format!("HTTP/1.1 {status}")) {
                return Err(format!("{suite}: {path}: {output}"));
            }
        }
        suites += 1;
    }
    let wrong = Identity {
        psk: b"another 16 bytes",
        ..BROWSER
    };
    let unknown = Identity {
        psk_identity: b"nobody",
        ..BROWSER
    };
    for identity in [wrong, unknown] {
        let suite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;
        let (is_served, output) = ask(suite, identity, "/devices/real/time")?;
        if is_served {
            return Err(format!("served: {output}"));
        }
    }
    Ok(format!(
        "200 and 404 under {suites} suites, nothing for a wrong key or an unknown identity"
    ))
}

/// A device that is killed and comes back has lost its sessions; the gateway meets it again.
fn restarted(program: &Path) -> Result<String, String> {
    let (mut server, plain, secure) = start_server(Build::OpenSsl)?;
    let gateway = Gateway::start(program, secure, PSK)?;
    gateway.expect(200, &["/devices/real/time"])?;
    server.kill();
    let _again = start_server_at(Build::OpenSsl, plain)?;
    let clock = Clock::start();
    gateway.expect(200, &["/devices/real/time"])?;
    Ok(format!(
        "answered {} ms after the restart",
        clock.elapsed().as_millis()
    ))
}

fn mistakes(program: &Path) -> Result<String, String> {
    let (mut server, _, secure) = start_server(Build::OpenSsl)?;
    let wrong_key = Gateway::start(program, secure, "otherwise")?;
    let refused = wrong_key.expect(502, &["/devices/real/time"])?;
    let gateway = Gateway::start(program, secure, PSK)?;
    gateway.expect(200, &["/devices/real/time"])?;
    server.kill();
    let asleep = gateway.expect(504, &["/devices/real/time"])?;
    for body in [&refused, &asleep] {
        if !body.contains("\"title\"") {
            return Err(format!("no problem details: {body}"));
        }
    }
    Ok(format!("wrong key: {refused}; asleep: {asleep}"))
}

fn exit_codes(program: &Path) -> Result<String, String> {
    let (_server, plain, secure) = start_server(Build::OpenSsl)?;
    let silent = free_address()?;
    let cases: [(&str, Vec<String>, i32); 7] = [
        ("success in clear", vec![format!("coap://{plain}/time")], 0),
        (
            "success",
            strings(&["-u", IDENTITY, "-k", PSK, &format!("coaps://{secure}/time")]),
            0,
        ),
        (
            "4.04",
            strings(&["-u", IDENTITY, "-k", PSK, &format!("coaps://{secure}/no")]),
            14,
        ),
        (
            "wrong key",
            strings(&[
                "-u",
                IDENTITY,
                "-k",
                "no",
                &format!("coaps://{secure}/time"),
            ]),
            5,
        ),
        (
            "nobody there",
            strings(&["-B", "3", &format!("coap://{silent}/time")]),
            4,
        ),
        ("no credentials", vec![format!("coaps://{secure}/time")], 2),
        (
            "no such name",
            vec!["coap://no.such.name.invalid/".to_owned()],
            3,
        ),
    ];
    let mut said = Vec::new();
    for (what, args, expected) in cases {
        let mut command = Command::new(program);
        command.arg("get").args(&args).stdin(Stdio::null());
        let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
        if finished.ending != child::Ending::Exited(expected) {
            return Err(format!(
                "{what}: {} where code {expected} was expected: {}",
                finished.ending_text(),
                finished.output
            ));
        }
        said.push(format!("{what} {expected}"));
    }
    Ok(said.join(", "))
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn shell(line: &str, folder: &Path) -> Result<Finished, String> {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(folder)
        .env("CURL_HOME", folder)
        .stdin(Stdio::null());
    child::run(&mut command, LIMIT, Echo::Hidden)
}

/// A folder of this run's own.
fn scratch(name: &str) -> Result<PathBuf, String> {
    let port = free_address()?.port();
    let folder = std::env::temp_dir().join(format!(
        "hedgerow-interop-{}-{name}-{port}",
        std::process::id()
    ));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
