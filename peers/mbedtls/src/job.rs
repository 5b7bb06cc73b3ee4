//! One association: what it is to be, and its dialogue.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::association::{Association, Config};
use crate::link::Link;

const SAYS: &[u8] = b"peer speaks as well\n";

/// A job as it was read.
pub(crate) struct Job {
    pub(crate) number: String,
    port: u16,
    config: Config,
    moves: bool,
}

/// Where a job's lines go.
pub(crate) struct Say(String);

impl Say {
    pub(crate) fn new(number: &str) -> Self {
        Self(number.to_owned())
    }

    pub(crate) fn line(&self, text: &str) {
        println!("{} {}", self.0, text.trim_end());
    }
}

impl Job {
    /// Reads `NUMBER ROLE PROTOCOL PORT SUITE GROUP IDENTITY KEY [CID [move]]`.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            number,
            role,
            "dtls",
            port,
            suite,
            group,
            identity,
            key,
            more @ ..,
        ] = words.as_slice()
        else {
            return Err("not a job".to_owned());
        };
        let cid = match more.first() {
            None | Some(&"-") => None,
            Some(&"0") => Some(Vec::new()),
            Some(hex) => Some(from_hex(hex)?),
        };
        let code_point = |text: &str| u16::from_str_radix(text, 16).map_err(|e| e.to_string());
        Ok(Self {
            number: (*number).to_owned(),
            port: port.parse().map_err(|_| "not a port")?,
            config: Config {
                is_client: *role == "client",
                suite: code_point(suite)?,
                group: code_point(group)?,
                identity: identity.as_bytes().to_vec(),
                key: from_hex(key)?,
                cid,
            },
            moves: more.get(1) == Some(&"move"),
        })
    }

    /// Shakes hands and speaks.
    pub(crate) fn run(self, say: &Say) -> Result<(), String> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        if self.config.is_client {
            let mut end = Association::new(&self.config, Link::new(socket(0)?, Some(server)))?;
            end.shake_hands()?;
            say.line(&end.established()?);
            end.write(SAYS)?;
            say.line(&format!("heard {}", end.read()?.ok_or("closed")?));
            if self.moves {
                end.link().replace_socket(socket(0)?);
                say.line("moved");
                end.write(SAYS)?;
                say.line(&format!("heard {}", end.read()?.ok_or("closed")?));
            }
            end.close();
            return Ok(());
        }
        let socket = socket(self.port)?;
        say.line("listening");
        let mut end = Association::new(&self.config, Link::new(socket, None))?;
        end.shake_hands()?;
        say.line(&end.established()?);
        while let Some(text) = end.read()? {
            say.line(&format!("heard {text}"));
            end.write(SAYS)?;
        }
        Ok(())
    }
}

fn socket(port: u16) -> Result<UdpSocket, String> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text.chars().filter_map(|char| char.to_digit(16)).collect();
    if digits.len() != text.len() || !digits.len().is_multiple_of(2) {
        return Err(format!("not hexadecimal: {text}"));
    }
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).map_err(|error| error.to_string()))
        .collect()
}
