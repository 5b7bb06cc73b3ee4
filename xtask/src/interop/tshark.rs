//! Wireshark reads what our ends said: `dumpcap` records each suite over DTLS and over TLS from the
//! loopback interface, and `tshark` decrypts the recording with our key log.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hedgerow_coap::{
    Code, EncodeError, MessageId, MessageType, MessageWriter, OptionNumber, Token,
};
use hedgerow_core::AeadAlgorithm;
use hedgerow_handshake::{DEFAULT_CERTIFICATE_SUITES, DEFAULT_SUITES, Settings};
use hedgerow_net::KeyLogFile;
use hedgerow_record::{CipherSuite, ConnectionId};

use super::cell::{enter, hex, limitation};
use super::clock::Clock;
use super::handshakes::{FROM_PEER, IDENTITY, expect_output, feed};
use super::own_ends::{self, Talk};
use super::peers::{Peer, Transport, wait_for_port};
use crate::child::{self, Echo, Running};
use crate::table::Table;

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    let cells = cells();
    let folder = std::env::temp_dir();
    let recording = Recording {
        packets: folder.join("hedgerow.pcapng"),
        keys: folder.join("hedgerow.keys"),
        words: folder.join("tshark.log"),
    };
    let (said, read) = match recording.make(&cells) {
        Ok(said) => (said, recording.read(true)),
        Err(error) => return enter(table, "tshark", || Err(error)),
    };
    let read = match read {
        Ok(read) => read,
        Err(error) => return enter(table, "tshark", || Err(error)),
    };
    for (cell, said) in cells.iter().zip(said) {
        let (name, suite) = (cell.name(), cell.suite);
        if UNKNOWN_TO_TSHARK.contains(&suite) {
            limitation(table, &name, || {
                said.and_then(|()| recording.has_no_suite(suite))
            });
        } else if cell.transport == Transport::Dtls && is_cha_cha(suite) {
            limitation(table, &name, || said.and_then(|()| misreads_cha_cha(&read)));
        } else {
            enter(table, &name, || said.and_then(|()| cell.check(&read)));
        }
    }
    enter(table, "tshark without the key log", || {
        let read = recording.read(false)?;
        let hellos = read.iter().filter(|row| !row.suite.is_empty()).count();
        match read.iter().find(|row| !row.code.is_empty()) {
            Some(row) => Err(format!("reads {row:?}")),
            None if hellos == 0 => Err("reads nothing at all".to_owned()),
            None => Ok(format!("{hellos} ServerHellos and nothing of CoAP")),
        }
    });
}

/// Suites of RFC 8442, for which Wireshark 4.0 has a name and no way to decrypt.
const UNKNOWN_TO_TSHARK: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
];

fn is_cha_cha(suite: CipherSuite) -> bool {
    suite.aead() == Some(AeadAlgorithm::Chacha20Poly1305)
}

/// One association or connection, told apart from the others by the server's address.
struct Cell {
    transport: Transport,
    suite: CipherSuite,
    has_ids: bool,
    number: u8,
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let suites = DEFAULT_SUITES.iter().chain(&DEFAULT_CERTIFICATE_SUITES);
    for (transport, has_ids) in [
        (Transport::Dtls, false),
        (Transport::Dtls, true),
        (Transport::Tls, false),
    ] {
        for &suite in suites.clone() {
            cells.push(Cell {
                transport,
                suite,
                has_ids,
                number: u8::try_from(cells.len()).unwrap_or(u8::MAX),
            });
        }
    }
    cells
}

impl Cell {
    fn name(&self) -> String {
        match (self.transport, self.has_ids) {
            (Transport::Dtls, false) => format!("tshark DTLS {}", self.suite),
            (Transport::Dtls, true) => format!("tshark DTLS connection IDs {}", self.suite),
            (Transport::Tls, _) => format!("tshark TLS {}", self.suite),
        }
    }

    const fn server(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 1, self.number)
    }

    /// What client and server want in the records that they receive. tshark finds a session by them
    /// alone, so that no other cell may have the same.
    const fn ids(&self) -> [[u8; 4]; 2] {
        [
            [b'l', b'a', b'm', self.number],
            [b'g', b'w', b'y', self.number],
        ]
    }

    fn path(&self) -> String {
        format!("hedge{}", self.number)
    }

    fn payload(&self) -> String {
        format!("through hedge {}", self.number)
    }

    /// Both ends talk.
    fn talk(&self, log: &KeyLogFile) -> Result<(), String> {
        let settings = Settings::new(&[self.suite]);
        let ids = self.ids().map(|id| ConnectionId::new(&id).ok());
        let [client, server] = ids.map(|id| id.filter(|_| self.has_ids));
        let is_stream = self.transport == Transport::Tls;
        let path = self.path();
        let option = (OptionNumber::URI_PATH, path.as_bytes());
        let talk = Talk {
            transport: self.transport,
            address: SocketAddr::from((self.server(), PORT)),
            client: settings.with_connection_id(client),
            server: settings.with_connection_id(server),
            question: &message(is_stream, Code::GET, Some(option), b"")?,
            answer: &message(is_stream, Code::CONTENT, None, self.payload().as_bytes())?,
        };
        let suite = own_ends::run(&talk, log)?;
        match suite == self.suite {
            true => Ok(()),
            false => Err(format!("negotiated {suite}")),
        }
    }

    /// What tshark read is what went through, under the suite that was meant.
    fn check(&self, read: &[Row]) -> Result<String, String> {
        let own = |row: &&Row| {
            let server = self.server().to_string();
            row.from == server || row.to == server
        };
        let rows: Vec<&Row> = read.iter().filter(own).collect();
        let suite = format!("0x{:04x}", self.suite.0);
        let find =
            |what: &str, is_it: &dyn Fn(&Row) -> bool| match rows.iter().find(|row| is_it(row)) {
                Some(_) => Ok(()),
                None => Err(format!("{what} isn't in {rows:?}")),
            };
        find("the suite", &|row| row.suite == suite)?;
        find("the request", &|row| row.path.ends_with(&self.path()))?;
        let payload = hex(self.payload().as_bytes());
        find("the response", &|row| row.payload.contains(&payload))?;
        if self.has_ids {
            let [client, server] = self.ids().map(|id| hex(&id));
            find("the client's connection ID", &|row| row.id == client)?;
            find("the server's connection ID", &|row| row.id == server)?;
        }
        Ok(format!(
            "{suite}: GET /{}, \"{}\"",
            self.path(),
            self.payload()
        ))
    }
}

/// Writes a CoAP message for datagrams, or one for a stream.
fn message(
    is_stream: bool,
    code: Code,
    option: Option<(OptionNumber, &[u8])>,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    let mut out = [0; 128];
    let token = Token::from([0x68, 0x65]);
    let written = || -> Result<usize, EncodeError> {
        let mut writer = match is_stream {
            true => MessageWriter::new_framed(&mut out, code, token)?,
            false => {
                let id = MessageId(0x6865);
                MessageWriter::new(&mut out, MessageType::NonConfirmable, code, id, token)?
            }
        };
        if let Some((number, value)) = option {
            writer.option(number, value)?;
        }
        match payload {
            [] => Ok(writer.finish()),
            payload => writer.payload(payload),
        }
    };
    let len = { written }().map_err(|error| error.to_string())?;
    Ok(out.get(..len).unwrap_or_default().to_vec())
}

/// Two ends of OpenSSL's, under a suite that tshark opens over DTLS and under one that it doesn't.
const OPENSSL: [(Ipv4Addr, CipherSuite); 2] = [
    (
        Ipv4Addr::new(127, 0, 2, 1),
        CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    ),
    (
        Ipv4Addr::new(127, 0, 2, 2),
        CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Has OpenSSL's programs talk over DTLS, with their own key log.
fn openssl_talks(server: Ipv4Addr, suite: CipherSuite, keys: &Path) -> Result<(), String> {
    let address = SocketAddr::from((server, PORT)).to_string();
    let name = String::from_utf8_lossy(IDENTITY.psk_identity).into_owned();
    let openssl = |arguments: [&str; 4]| {
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .args([
                "-dtls1_2",
                "-psk",
                &hex(IDENTITY.psk),
                "-psk_identity",
                &name,
            ])
            .arg("-cipher")
            .arg(Peer::OpenSsl.suite(suite))
            .arg("-keylogfile")
            .arg(keys)
            .stdin(Stdio::piped());
        Running::start(&mut command, Echo::Hidden)
    };
    let mut server = openssl(["s_server", "-nocert", "-accept", &address])?;
    wait_for_port(Transport::Dtls, PORT, &server)?;
    let mut client = openssl(["s_client", "-nocommands", "-connect", &address])?;
    feed(&mut client)?;
    expect_output(&mut server, FROM_PEER)
}

/// RFC 7905 §2 has the epoch in the nonce. tshark opens neither our records nor OpenSSL's; its Finished
/// shows whether it has.
fn misreads_cha_cha(read: &[Row]) -> Result<String, String> {
    let finished = OPENSSL.map(|(server, _)| {
        let server = server.to_string();
        let messages = read
            .iter()
            .filter(|row| row.from == server || row.to == server);
        messages.filter(|row| row.has_finished).count()
    });
    match finished {
        [0, _] => Err("it opens nothing of OpenSSL's".to_owned()),
        [_, 0] => Ok(format!(
            "with OpenSSL's own key log, it opens records between two ends of OpenSSL's under {} and \
             none under {}, over DTLS",
            OPENSSL[0].1, OPENSSL[1].1
        )),
        [..] => Err("it opens OpenSSL's records".to_owned()),
    }
}

/// What was on the wire, the keys to it, and what tshark said while it read.
struct Recording {
    packets: PathBuf,
    keys: PathBuf,
    words: PathBuf,
}

impl Recording {
    /// Records all cells' packets, and the clients' secrets beside them. Returns how each cell went.
    fn make(&self, cells: &[Cell]) -> Result<Vec<Result<(), String>>, String> {
        let log = KeyLogFile::open(&self.keys).map_err(|error| error.to_string())?;
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "lo", "-w"]).arg(&self.packets);
        let mut dumpcap = Running::start(command.stdin(Stdio::null()), Echo::Hidden)?;
        if !dumpcap.wait_for("File: ", LIMIT) {
            return Err(format!("dumpcap doesn't begin: {}", dumpcap.output()));
        }
        let said = cells.iter().map(|cell| cell.talk(&log)).collect();
        for (server, suite) in OPENSSL {
            openssl_talks(server, suite, &self.keys)?;
        }
        // What is recorded reaches the file in order, so that a last datagram shows that all is there.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let sink = socket.local_addr().map_err(|error| error.to_string())?;
        socket
            .send_to(LAST, sink)
            .map_err(|error| error.to_string())?;
        let clock = Clock::start();
        while clock.elapsed() < LIMIT {
            let bytes = fs::read(&self.packets).unwrap_or_default();
            if bytes.windows(LAST.len()).any(|part| part == LAST) {
                return Ok(said);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("recording has no end: {}", dumpcap.output()))
    }

    /// Has tshark read it.
    fn read(&self, has_keys: bool) -> Result<Vec<Row>, String> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.packets);
        if has_keys {
            let [keys, words] = [&self.keys, &self.words].map(|path| path.display());
            command.arg("-o").arg(format!("tls.keylog_file:{keys}"));
            command.arg("-o").arg(format!("tls.debug_file:{words}"));
        }
        command.args(["-T", "fields", "-E", "separator=|"]);
        command.args(["-Y", "coap || tls.handshake || dtls.handshake"]);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
        if !finished.is_success() {
            return Err(format!("tshark: {}", finished.tail(3)));
        }
        Ok(finished.output.lines().filter_map(Row::of).collect())
    }

    /// tshark's own words for a suite that it can't decrypt.
    fn has_no_suite(&self, suite: CipherSuite) -> Result<String, String> {
        let words = fs::read_to_string(&self.words).map_err(|error| error.to_string())?;
        let wanted = format!("can't find cipher suite 0x{:04X}", suite.0);
        let line = words.lines().find(|line| line.contains(&wanted));
        line.map(|line| format!("tshark's log has \"{line}\""))
            .ok_or_else(|| format!("no {wanted:?} in tshark's log"))
    }
}

/// A frame that tshark had something to say about.
#[derive(Debug)]
struct Row {
    from: String,
    to: String,
    /// The suite of a ServerHello.
    suite: String,
    has_finished: bool,
    id: String,
    code: String,
    path: String,
    payload: String,
}

/// What a row is made of.
const FIELDS: [&str; 10] = [
    "ip.src",
    "ip.dst",
    "tls.handshake.type",
    "dtls.handshake.type",
    "tls.handshake.ciphersuite",
    "dtls.handshake.ciphersuite",
    "dtls.record.connection_id",
    "coap.code",
    "coap.opt.uri_path_recon",
    "data.data",
];

impl Row {
    fn of(line: &str) -> Option<Self> {
        let fields: Vec<String> = line.split('|').map(str::to_owned).collect();
        let [
            from,
            to,
            tls,
            dtls,
            suite,
            dtls_suite,
            id,
            code,
            path,
            payload,
        ] = <[String; FIELDS.len()]>::try_from(fields).ok()?;
        let types: Vec<&str> = tls.split(',').chain(dtls.split(',')).collect();
        Some(Self {
            from,
            to,
            // A ClientHello names many.
            suite: match types.contains(&"2") {
                true => suite + &dtls_suite,
                false => String::new(),
            },
            has_finished: types.contains(&"20"),
            id,
            code,
            path,
            payload,
        })
    }
}

/// Where tshark looks for CoAP by itself.
const PORT: u16 = 5_684;

/// For each program.
const LIMIT: Duration = Duration::from_secs(30);

/// What the recording ends with.
const LAST: &[u8] = b"end of what is to be read";
