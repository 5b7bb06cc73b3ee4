//! A tunnel's client by hand, whose UDP carrier is another program's DTLS session: what stands in its records, and in
//! the capsules beside them, byte by byte (docs/specs/auto.md, RFC 9297 §3.2 and §3.5, RFC 9298 §5).

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::auto::{Scene, TOKEN};
use crate::child::{Echo, Running};

/// For one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// A probe on UDP is as long as the longest message.
const PROBE_LEN: usize = 1_152;

/// Who speaks DTLS to the gateway's port for UDP carriers.
pub(super) const PEERS: [(&str, Cell); 2] =
    [("OpenSSL s_client", s_client), ("gnutls-cli", gnutls_cli)];

type Cell = fn(&Scene) -> Result<String, String>;

/// A tunnel with an offer.
struct Offered {
    stream: TcpStream,
    /// What has come on it and wasn't read.
    unread: Vec<u8>,
    port: u16,
    identity: Vec<u8>,
    psk: String,
}

impl Offered {
    /// Opens tunnels until an offer's identity can stand in a command's arguments: its octets are random.
    fn open(scene: &Scene) -> Result<Self, String> {
        for _ in 0..20 {
            let offered = Self::open_once(scene)?;
            if !offered
                .identity
                .iter()
                .any(|byte| matches!(byte, 0 | b'\n'))
            {
                return Ok(offered);
            }
        }
        Err("no identity without a zero".to_owned())
    }

    fn open_once(scene: &Scene) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(scene.http).map_err(text)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(text)?;
        let request = format!(
            "GET /.well-known/masque/udp/real/{}/ HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
             Upgrade: connect-udp\r\nCapsule-Protocol: ?1\r\nAuthorization: Bearer {TOKEN}\r\n\
             Hedgerow-Udp-Carrier: ?1\r\n\r\n",
            scene.device.port(),
            scene.http
        );
        stream.write_all(request.as_bytes()).map_err(text)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(text)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let field = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|field| field.0.eq_ignore_ascii_case("hedgerow-udp-carrier"))
            .map(|field| field.1.to_owned());
        let field = field.ok_or_else(|| format!("no offer: {head}"))?;
        let members: Vec<&str> = field.split(", ").collect();
        let &[port, identity, psk] = members.as_slice() else {
            return Err(format!("not three members: {field}"));
        };
        let quoted = |member: &str, name: &str, len: usize| {
            let value = member.strip_prefix(name)?.strip_prefix("=\"")?;
            let value = value.strip_suffix('"')?;
            (value.len() == 2 * len).then(|| value.to_owned())
        };
        let port = port
            .strip_prefix("port=")
            .and_then(|port| port.parse().ok());
        let identity = quoted(identity, "identity", 16).and_then(|hex| from_hex(&hex));
        match (port, identity, quoted(psk, "psk", 32)) {
            (Some(port), Some(identity), Some(psk)) if port == scene.udp.port() => Ok(Self {
                stream,
                unread: Vec::new(),
                port,
                identity,
                psk,
            }),
            _ => Err(format!("malformed offer: {field}")),
        }
    }

    /// Reads capsules up to the next UDP payload on the TCP carrier, and returns how many probes came before.
    fn next_payload(&mut self) -> Result<(Vec<u8>, u32), String> {
        let mut probes = 0;
        loop {
            let mut byte = [0; 2_048];
            while let Some((kind, value, rest)) = capsule(&self.unread) {
                let rest = rest.to_vec();
                let (kind, value) = (kind, value.to_vec());
                self.unread = rest;
                match (kind, value.split_first()) {
                    (0, Some((0, payload))) => return Ok((payload.to_vec(), probes)),
                    (0, Some((2, probe))) if probe.len() == 8 => probes += 1,
                    _ => return Err(format!("capsule {kind} with {value:?}")),
                }
            }
            let len = self
                .stream
                .read(&mut byte)
                .map_err(|error| error.to_string())?;
            match byte.get(..len) {
                Some(bytes @ [_, ..]) => self.unread.extend_from_slice(bytes),
                _ => return Err("the tunnel ended".to_owned()),
            }
        }
    }
}

/// A variable-length integer (RFC 9000 §16).
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (more, rest) = rest.split_at_checked((1 << (first >> 6)) - 1)?;
    let first = u64::from(first & 0x3f);
    let value = more
        .iter()
        .fold(first, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

/// The first whole capsule: type, value, and what is behind it.
fn capsule(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (kind, rest) = varint(bytes)?;
    let (len, rest) = varint(rest)?;
    let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((kind, value, rest))
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let is_lower = hex
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let digits = hex.as_bytes().chunks_exact(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    is_lower.then(|| bytes.collect()).flatten()
}

/// A ClientHello as RFC 6347 has it, which a server answers with HelloVerifyRequest.
fn client_hello() -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([0x5a; 32]);
    // No session, no cookie, TLS_PSK_WITH_AES_128_CCM_8, no compression.
    body.extend([0, 0, 0, 2, 0xc0, 0xa8, 1, 0]);
    let len = u8::try_from(body.len()).unwrap_or_default();
    let mut datagram = vec![
        22,
        0xfe,
        0xff,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        len.saturating_add(12),
    ];
    datagram.extend([1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    datagram.extend(body);
    datagram
}

/// Says whether a device's datagram is a HelloVerifyRequest.
fn is_hello_verify_request(datagram: &[u8]) -> bool {
    datagram.first() == Some(&22) && datagram.get(13) == Some(&3)
}

fn message(context: u8, payload: &[u8]) -> Vec<u8> {
    [&[context], payload].concat()
}

/// A child whose output is bytes. Dropping it kills it.
struct Piped {
    child: Child,
    bytes: Receiver<Vec<u8>>,
    unread: Vec<u8>,
}

impl Piped {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stdout = child.stdout.take().ok_or("no output")?;
        let (sender, bytes) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 4_096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                let read = buffer.get(..len).unwrap_or_default().to_vec();
                if sender.send(read).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            bytes,
            unread: Vec::new(),
        })
    }

    /// Has it send a message: what is written at once is one record.
    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("no input")?;
        let written = stdin.write_all(message).and_then(|()| stdin.flush());
        written.map_err(|error| error.to_string())
    }

    /// The next message of the gateway's. Records leave no borders in the output, so that each kind's own length counts.
    fn next(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let len = match self.unread.as_slice() {
                [2 | 4, ..] => Some(PROBE_LEN),
                [0, rest @ ..] => rest
                    .get(11..13)
                    .map(|len| {
                        len.iter()
                            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
                    })
                    .map(|len: usize| len.saturating_add(14)),
                [] => None,
                [other, ..] => return Err(format!("a message in context {other}")),
            };
            if let Some(len) = len
                && let Some((message, rest)) = self.unread.split_at_checked(len)
            {
                let message = message.to_vec();
                self.unread = rest.to_vec();
                return Ok(message);
            }
            let more = self.bytes.recv_timeout(LIMIT);
            self.unread.extend(more.map_err(|_| "nothing came by UDP")?);
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its input is a record for each write, and its output what came in records.
fn s_client(scene: &Scene) -> Result<String, String> {
    let mut offered = Offered::open(scene)?;
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-dtls1_2",
            "-quiet",
            "-cipher",
            "PSK-AES128-GCM-SHA256",
        ])
        .args(["-connect", &format!("127.0.0.1:{}", offered.port)])
        .args(["-psk", &offered.psk, "-psk_identity"])
        .arg(OsStr::from_bytes(&offered.identity));
    let mut udp = Piped::start(&mut command)?;

    // The gateway begins to measure as soon as the session is verified, with probes as long as can be.
    let mut probe = udp.next()?;
    if probe.len() != PROBE_LEN || probe.first() != Some(&2) || probe.get(9..) != Some(&[0; 1_143])
    {
        return Err(format!("no probe: {probe:?}"));
    }
    // What comes by UDP goes to the device; its answer takes the carrier that was measured: TCP.
    udp.send(&message(0, &client_hello()))?;
    let (answer, _) = offered.next_payload()?;
    if !is_hello_verify_request(&answer) {
        return Err(format!("no HelloVerifyRequest: {answer:?}"));
    }
    // Ten probes answered, the first one too, and it is UDP's.
    let mut echoes = 0;
    let own = message(
        2,
        &[&[1, 2, 3, 4, 5, 6, 7, 8], [0; 1_143].as_slice()].concat(),
    );
    let mut is_answered = false;
    loop {
        if probe.first() == Some(&2) {
            let mut echo = probe;
            if let Some(context) = echo.first_mut() {
                *context = 4;
            }
            udp.send(&echo)?;
            echoes += 1;
            // Long enough for s_client to read what stands for one record alone.
            thread::sleep(Duration::from_millis(50));
            match echoes {
                3 => udp.send(&own)?,
                12 => udp.send(&message(0, &client_hello()))?,
                _ => {}
            }
        } else if probe.first() == Some(&4) {
            if probe.get(1..) != own.get(1..) {
                return Err(format!("another echo: {probe:?}"));
            }
            is_answered = true;
        } else if probe.get(1..).is_some_and(is_hello_verify_request) {
            break;
        } else {
            return Err(format!("an unknown message: {probe:?}"));
        }
        if echoes > 30 {
            return Err("the device's answer never came by UDP".to_owned());
        }
        probe = udp.next()?;
    }
    match is_answered {
        true => Ok(format!(
            "offer and capsules read; {echoes} probes answered, its own too; a payload each way on UDP"
        )),
        false => Err("its own probe got no echo".to_owned()),
    }
}

/// It sends lines of text, which a probe can be made of whose number ends in a line feed.
fn gnutls_cli(scene: &Scene) -> Result<String, String> {
    let offered = Offered::open(scene)?;
    let mut command = Command::new("gnutls-cli");
    command
        .args(["--udp", "--port", &offered.port.to_string()])
        .args(["--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+PSK"])
        .args(["--pskkey", &offered.psk, "--pskusername"])
        .arg(OsStr::from_bytes(&offered.identity))
        .arg("127.0.0.1")
        .stdin(Stdio::piped());
    let mut running = Running::start(&mut command, Echo::Hidden)?;
    let mut stdin = running.take_stdin().ok_or("no input")?;
    if !running.wait_for("Handshake was completed", LIMIT) {
        return Err(format!("no session: {}", running.output()));
    }
    let sent = stdin
        .write_all(b"\x02ABCDEFG\n")
        .and_then(|()| stdin.flush());
    sent.map_err(|error| error.to_string())?;
    if !running.wait_for("\u{4}ABCDEFG\n", LIMIT) {
        return Err(format!("no echo: {}", running.output()));
    }
    Ok("its probe got its echo".to_owned())
}
